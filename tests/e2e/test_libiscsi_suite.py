"""libiscsi's conformance suite, iscsi-test-cu, each of its tests a case of its own.

A case passes when the tool ran that one test, nothing failed and nothing was skipped inside it. Skips are
expected by name only: SKIPPED says which tests the tool leaves out against this target, wholly or in part,
and why that is right. A test that begins to pass has to leave that table.
"""

from pathlib import Path

import pytest

from tools import require_tool

from .harness import TargetUnderTest
from .libiscsi import list_suite_tests, run_suite_test

pytestmark = require_tool("iscsi-test-cu")

SCOREBOARD = Path(__file__).parents[2] / "docs" / "scoreboard.md"

SUITES = {
    "SCSI.CompareAndWrite": "Simple DpoFua Miscompare Unwritten InvalidDataOutSize",
    "SCSI.ExtendedCopy": "Simple ParamHdr DescrLimits DescrType ValidTgtDescr ValidSegDescr",
    "SCSI.GetLBAStatus": "Simple BeyondEol UnmapSingle",
    "SCSI.Inquiry": "Standard AllocLength EVPD BlockLimits MandatoryVPDSBC SupportedVPD VersionDescriptors",
    "SCSI.Mandatory": "MandatorySBC",
    "SCSI.ModeSense6": "AllPages Control Control-D_SENSE Control-SWP Residuals",
    "SCSI.NoMedia": "NoMediaSBC",
    "SCSI.OrWrite": "Simple BeyondEol ZeroBlocks Protect DpoFua Verify",
    "SCSI.Prefetch10": "Simple BeyondEol ZeroBlocks Flags",
    "SCSI.Prefetch16": "Simple BeyondEol ZeroBlocks Flags",
    "SCSI.PreventAllow": "Simple Eject ITNexusLoss Logout WarmReset ColdReset LUNReset 2ITNexuses",
    "SCSI.PrinReadKeys": "Simple Truncate",
    "SCSI.PrinServiceactionRange": "Range",
    "SCSI.PrinReportCapabilities": "Simple",
    "SCSI.ProutRegister": "Simple",
    "SCSI.ProutReserve": (
        "Simple AccessEA AccessWE AccessEARO AccessWERO AccessEAAR AccessWEAR OwnershipEA OwnershipWE "
        "OwnershipEARO OwnershipWERO OwnershipEAAR OwnershipWEAR"
    ),
    "SCSI.ProutClear": "Simple",
    "SCSI.ProutPreempt": "RemoveRegistration",
    "SCSI.Read6": "Simple BeyondEol",
    "SCSI.Read10": "Simple BeyondEol ZeroBlocks ReadProtect DpoFua Async",
    "SCSI.Read12": "Simple BeyondEol ZeroBlocks ReadProtect DpoFua",
    "SCSI.Read16": "Simple BeyondEol ZeroBlocks ReadProtect DpoFua",
    "SCSI.ReadCapacity10": "Simple",
    "SCSI.ReadCapacity16": "Simple Alloclen PI Support",
    "SCSI.ReadDefectData10": "Simple",
    "SCSI.ReadDefectData12": "Simple",
    "SCSI.ReadOnly": "ReadOnlySBC",
    "SCSI.ReceiveCopyResults": "CopyStatus OpParams",
    "SCSI.ReportSupportedOpcodes": "Simple OneCommand RCTD SERVACTV",
    "SCSI.Reserve6": "Simple 2Initiators Logout ITNexusLoss TargetColdReset TargetWarmReset LUNReset",
    "SCSI.Sanitize": (
        "BlockErase BlockEraseReserved CryptoErase CryptoEraseReserved ExitFailureMode "
        "InvalidServiceAction Overwrite OverwriteReserved Readonly Reservations Reset"
    ),
    "SCSI.StartStopUnit": "Simple PwrCnd NoLoej",
    "SCSI.TestUnitReady": "Simple",
    "SCSI.Unmap": "Simple VPD ZeroBlocks",
    "SCSI.Verify10": "Simple BeyondEol ZeroBlocks VerifyProtect Flags Dpo Mismatch MismatchNoCmp",
    "SCSI.Verify12": "Simple BeyondEol ZeroBlocks VerifyProtect Flags Dpo Mismatch MismatchNoCmp",
    "SCSI.Verify16": "Simple BeyondEol ZeroBlocks VerifyProtect Flags Dpo Mismatch MismatchNoCmp",
    "SCSI.Write10": "Simple BeyondEol ZeroBlocks WriteProtect DpoFua Async",
    "SCSI.Write12": "Simple BeyondEol ZeroBlocks WriteProtect DpoFua",
    "SCSI.Write16": "Simple BeyondEol ZeroBlocks WriteProtect DpoFua",
    "SCSI.WriteAtomic16": "Simple BeyondEol ZeroBlocks WriteProtect DpoFua VPD",
    "SCSI.WriteSame10": (
        "Simple BeyondEol ZeroBlocks WriteProtect Unmap UnmapUnaligned UnmapUntilEnd UnmapVPD Check "
        "InvalidDataOutSize"
    ),
    "SCSI.WriteSame16": (
        "Simple BeyondEol ZeroBlocks WriteProtect Unmap UnmapUnaligned UnmapUntilEnd UnmapVPD Check "
        "InvalidDataOutSize"
    ),
    "SCSI.WriteVerify10": "Simple BeyondEol ZeroBlocks WriteProtect Flags Dpo",
    "SCSI.WriteVerify12": "Simple BeyondEol ZeroBlocks WriteProtect Flags Dpo",
    "SCSI.WriteVerify16": "Simple BeyondEol ZeroBlocks WriteProtect Flags Dpo",
    "SCSI.MultipathIO": "Simple Reset CompareAndWrite CompareAndWriteAsync",
    "iSCSI.iSCSIcmdsn": "iSCSICmdSnTooHigh iSCSICmdSnTooLow",
    "iSCSI.iSCSIdatasn": "iSCSIDataSnInvalid",
    "iSCSI.iSCSIResiduals": (
        "Read10Invalid Read10Residuals Read12Residuals Read16Residuals Write10Residuals "
        "Write12Residuals Write16Residuals WriteVerify10Residuals WriteVerify12Residuals "
        "WriteVerify16Residuals"
    ),
    "iSCSI.iSCSITMF": "AbortTaskSimpleAsync LUNResetSimpleAsync",
}
"""Every test of libiscsi 1.19.0, by family and suite."""

NO_MEDIUM = "a disk of an array has no medium to remove"
NATIVE_BLOCKS = "it takes a disk with several logical blocks in a physical one"
NOT_ENCRYPTED = "in part: nothing on the disks is encrypted, so there is no CRYPTOGRAPHIC ERASE to try"
SKIPPED = {
    "CompareAndWrite.InvalidDataOutSize": NATIVE_BLOCKS,
    "PreventAllow": NO_MEDIUM,
    "ReadOnly": "needs a write-protected disk; this one is written to",
    "Sanitize.CryptoErase": NOT_ENCRYPTED,
    "Sanitize.Readonly": NOT_ENCRYPTED,
    "Sanitize.Reservations": NOT_ENCRYPTED,
    "StartStopUnit.Simple": NO_MEDIUM,
    "WriteSame10.InvalidDataOutSize": NATIVE_BLOCKS,
    "WriteSame10.UnmapUnaligned": NATIVE_BLOCKS,
    "WriteSame16.InvalidDataOutSize": NATIVE_BLOCKS,
    "WriteSame16.UnmapUnaligned": NATIVE_BLOCKS,
}
"""Tests, or whole suites, that the tool itself skips against this target, and why that is right."""

NOT_RUN = {
    "Sanitize.Reset": "it wants a SANITIZE of the whole disk to go on for longer than four seconds;"
    " tests/server/test_sanitize_goes_on.py has one that does",
}
"""Tests that this disk is too fast for."""

NOT_ALONE = {
    "iSCSITMF.LUNResetSimpleAsync": "it wants the answer to its reset before it has sent the reset, and finds"
    " what the test before it left there",
}
"""Tests that are wrong in this version of the tool, and pass only in the run of their whole suite."""

CASES = [f"{suite}.{test}" for suite, tests in SUITES.items() for test in tests.split()]


def test_the_table_holds_every_test_of_the_tool() -> None:
    assert {case.partition(".")[2] for case in CASES} == list_suite_tests()


def test_the_tables_of_exceptions_name_tests_that_exist() -> None:
    names = {case.partition(".")[2] for case in CASES}
    exceptions = SKIPPED | NOT_RUN | NOT_ALONE
    assert set(exceptions) <= names | {name.partition(".")[0] for name in names}


def test_the_scoreboard_has_these_figures_and_reasons() -> None:
    page = SCOREBOARD.read_text()
    tests = [case.partition(".")[2] for case in CASES]
    left_out = sum(_reason(test) is not None or test in NOT_RUN for test in tests)
    assert f"| mpxtarget | {len(tests) - left_out} | 0 | {left_out} |" in page
    for name in SKIPPED | NOT_RUN | NOT_ALONE:
        assert f"`{name}`" in page


@pytest.mark.conformance("CLI-007")
@pytest.mark.parametrize(
    "name", [case for case in CASES if case.partition(".")[2] not in NOT_RUN | NOT_ALONE]
)
def test_suite(target: TargetUnderTest, name: str) -> None:
    urls = [target.url(0, lun=2)]
    if ".Multipath" in name:
        urls.append(target.url(1, lun=2))
    verdict = run_suite_test(name, *urls)
    reason = _reason(name.partition(".")[2])
    expected = "passed" if reason is None else "skipped"
    assert verdict.outcome == expected, f"{reason or 'this test has to pass'}\n{verdict}"


@pytest.mark.conformance("CLI-007", "TMF-014")
def test_the_reset_of_a_unit_passes_in_its_suite(target: TargetUnderTest) -> None:
    verdict = run_suite_test("iSCSI.iSCSITMF", target.url(0, lun=2), tests=2)
    assert verdict.outcome == "passed", verdict


@pytest.mark.conformance("CLI-007", "SBC-006")
def test_a_write_protected_disk_passes_the_test_that_wants_one(target: TargetUnderTest) -> None:
    protected = ("protected", "--size", "1M", "--store", "memory:", "--read-only", "--lun", "9")
    target.cli("lun", "create", *protected)
    verdict = run_suite_test("SCSI.ReadOnly.ReadOnlySBC", target.url(0, lun=9))
    assert verdict.outcome == "passed", verdict


def _reason(test: str) -> str | None:
    return SKIPPED.get(test, SKIPPED.get(test.partition(".")[0]))
