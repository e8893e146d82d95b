"""A strict array is an honest old one: libiscsi's suite finds nothing that it announces and has not.

The suite skips what a disk says it does not offer, and fails where INQUIRY, vital product data, REPORT
SUPPORTED OPERATION CODES and the commands themselves tell different stories.
"""

import re
from pathlib import Path

import pytest

from mpxtarget.array.models import MODELS
from tools import require_tool

from .harness import TargetUnderTest
from .libiscsi import fields, inquire
from .processes import run

pytestmark = require_tool("iscsi-test-cu", "iscsi-inq")

GENERATIONS = ["HSV210", "HSV300", "HSV360"]
"""Disks of SBC-2, of SBC-3 without offloads, and with them."""

SUITES = (
    "CompareAndWrite ExtendedCopy GetLBAStatus Inquiry Mandatory ModeSense6 OrWrite Prefetch16 "
    "PrinReportCapabilities Read12 Read16 ReadCapacity10 ReadCapacity16 ReadDefectData12 ReceiveCopyResults "
    "ReportSupportedOpcodes StartStopUnit Unmap Verify16 Write16 WriteAtomic16 WriteSame10 WriteSame16 "
    "WriteVerify16"
)
"""Those that look at what is offered before they try it."""


@pytest.mark.conformance("MSC-006", "INQ-003", "VPD-001")
@pytest.mark.parametrize("model", GENERATIONS)
def test_what_is_announced_is_offered(tmp_path: Path, model: str) -> None:
    target = TargetUnderTest(tmp_path / "array")
    configuration = tmp_path / "strict.toml"
    configuration.write_text(f'[array]\nmodel = "{model}"\nstrict = true\n')
    target.cli("apply", configuration)
    with target:
        told = fields(inquire(target.url()).output)
        assert told["Product"].strip() == model
        assert told["Revision"].strip() == MODELS[model].revision
        for suite in SUITES.split():
            done = run(
                ["iscsi-test-cu", "--dataloss", "--ignore", "--test", f"SCSI.{suite}", target.url(0, lun=2)],
                timeout=30,
            )
            counts = re.search(r"^\s+tests\s+(\d+)\s+(\d+)\s+(\d+)\s+(\d+)", done.text, re.MULTILINE)
            assert counts is not None and counts[2] != "0" and counts[4] == "0", f"{suite}: {done}"
