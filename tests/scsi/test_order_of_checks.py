"""The order in which a command is checked, and which status wins."""

import pytest
from scsi_initiator import (
    GOOD,
    LU_RESET,
    POWER_ON,
    READ_8,
    RESERVATION_CONFLICT,
    WRITE_8,
    Array,
    Path,
)

from mpxtarget.scsi.codes import AccessState
from mpxtarget.scsi.plan import ReadBlocks

UNAVAILABLE_SENSE = (2, 0x040C)
RESERVED_BIT_SET = "28 00 00000000 20 0008"
BEYOND_END = "28 00 FFFFFFFF 00 0008"


@pytest.mark.conformance("SAM-001")
def test_missing_lun_comes_before_everything(array: Array) -> None:
    assert array.login().sense("FF", lun=9).code == (5, 0x2500)


@pytest.mark.conformance("SAM-001", "SAM-002", "OPC-003")
def test_checks_fail_one_after_the_other(array: Array, other: Path) -> None:
    path = array.login()
    disk = array.disk
    other.send("16")
    disk.limit_access(path.nexus.target_port.group_id, AccessState.UNAVAILABLE)
    disk.stop()
    assert path.sense(RESERVED_BIT_SET).code == (6, POWER_ON)
    assert path.sense(RESERVED_BIT_SET).code == (6, 0x2A06)
    assert path.sense(RESERVED_BIT_SET).code == UNAVAILABLE_SENSE
    disk.limit_access(path.nexus.target_port.group_id, None)
    assert path.sense(RESERVED_BIT_SET).code == (6, 0x2A06)
    assert path.send(RESERVED_BIT_SET).status == RESERVATION_CONFLICT
    assert other.sense("17").code == (6, 0x2A06)
    assert other.send("17").status == GOOD
    assert path.sense(RESERVED_BIT_SET).pointer == ("CDB", 6, 5)
    assert path.sense(BEYOND_END).code == (2, 0x0402)
    disk.start()
    assert path.sense(BEYOND_END).code == (5, 0x2100)
    assert isinstance(path.plan(READ_8), ReadBlocks)


@pytest.mark.conformance("SAM-001", "UAT-004")
def test_unknown_command_still_reports_the_unit_attention_first(array: Array) -> None:
    path = array.login()
    assert path.sense("FF").code == (6, POWER_ON)
    assert path.sense("FF").code == (5, 0x2000)


@pytest.mark.conformance("UAT-004")
def test_nothing_is_written_while_a_unit_attention_is_pending(array: Array, path: Path) -> None:
    array.disk.reset()
    assert path.sense(WRITE_8).code == (6, LU_RESET)


@pytest.mark.conformance("SAM-006", "CDB-007")
@pytest.mark.parametrize(
    ("cdb", "control"),
    [
        ("00 00 00 00 00 04", 5),
        ("12 00 00 00 60 04", 5),
        ("28 00 00000000 00 0008 04", 9),
        ("A0 00 00 000000 00000010 00 04", 11),
        ("88 00 0000000000000000 00000008 00 04", 15),
    ],
)
def test_naca_is_refused(path: Path, cdb: str, control: int) -> None:
    sense = path.sense(cdb)
    assert sense.code == (5, 0x2400)
    assert sense.pointer == ("CDB", control, 2)


@pytest.mark.conformance("SAM-007", "CDB-007")
@pytest.mark.parametrize("control", [0x01, 0x02, 0x03, 0x40, 0x80, 0xFB])
def test_other_bits_of_control_are_ignored(path: Path, control: int) -> None:
    assert isinstance(path.plan(f"28 00 00000000 00 0008 {control:02X}"), ReadBlocks)


@pytest.mark.conformance("SAM-008", "SAM-010", "ALU-004")
def test_both_controllers_serve_the_same_blocks(path: Path, other: Path) -> None:
    assert path.plan(READ_8) == other.plan(READ_8)
    assert path.plan(WRITE_8) == other.plan(WRITE_8)


@pytest.mark.conformance("CDB-001", "MSC-006")
@pytest.mark.parametrize("opcode", ["07", "7F", "9F", "A2", "B5", "C0", "FF"])
def test_commands_not_offered_do_not_exist(path: Path, opcode: str) -> None:
    sense = path.sense(opcode)
    assert sense.code == (5, 0x2000)
    assert sense.pointer == ("CDB", 0, None)


@pytest.mark.conformance("CDB-001")
@pytest.mark.parametrize("cdb", ["9E 13", "9E 00", "A3 0B", "A3 1F", "A4 0E"])
def test_unknown_service_action_points_at_it(path: Path, cdb: str) -> None:
    sense = path.sense(cdb)
    assert sense.code == (5, 0x2400)
    assert sense.pointer == ("CDB", 1, 4)
