"""A disk in memory, as libiscsi's suite judges it: DPO and FUA are refused, as its mode data says."""

from pathlib import Path

import pytest

from tools import require_tool

from .harness import TargetUnderTest, mpxtarget
from .libiscsi import run_suite_test

pytestmark = require_tool("iscsi-test-cu")

SUITES = (
    "Read10.DpoFua",
    "Read16.DpoFua",
    "Write10.DpoFua",
    "Write16.DpoFua",
    "OrWrite.DpoFua",
    "CompareAndWrite.DpoFua",
    "WriteAtomic16.DpoFua",
    "Verify10.Dpo",
    "WriteVerify16.Dpo",
    "ModeSense6.AllPages",
)


@pytest.mark.conformance("CDB-009", "MOD-005")
def test_suite_agrees_with_what_a_volatile_disk_says(tmp_path: Path) -> None:
    with TargetUnderTest(tmp_path / "array") as target:
        mpxtarget(
            "lun",
            "create",
            "scratch",
            "--size",
            "16M",
            "--store",
            "memory:",
            "--lun",
            "7",
            "--state",
            target.folder,
        )
        verdicts = {name: run_suite_test(f"SCSI.{name}", target.url(0, lun=7)) for name in SUITES}
    failures = [str(verdict) for verdict in verdicts.values() if verdict.outcome != "passed"]
    assert not failures, "\n".join(failures)
