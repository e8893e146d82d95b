"""REPORT SUPPORTED OPERATION CODES, and the classes of the command table."""

import pytest
from scsi_initiator import Path

from mpxtarget.scsi.codes import PeripheralType
from mpxtarget.scsi.command import Command, Direction, Reserved
from mpxtarget.scsi.commands import COMMANDS, command_set
from mpxtarget.scsi.personality import EVERYTHING
from mpxtarget.scsi.plan import ReadBlocks, Reply, TakeData, WriteBlocks

DISK = command_set(EVERYTHING, PeripheralType.DISK)

A, R, W = "AAAAA", "ACAAC", "CCACC"

# The columns WE, EA, REG, WEnr, EAnr of the checklist's table of commands; CDBs where a field decides
RESERVATION_CLASSES = {
    "00": A,
    "03": A,
    "08": R,
    "0A": W,
    "12": A,
    "15": W,
    "16": A,
    "17": A,
    "1A": R,
    "1B 00 00 00 01": A,
    "1B 00 00 00 00": W,
    "1B 00 00 00 10": W,
    "1B 00 00 00 11": W,
    "1D": W,
    "1E 00 00 00 00": A,
    "1E 00 00 00 01": W,
    "25": A,
    "28": R,
    "2A": W,
    "2F": R,
    "35": W,
    "55": W,
    "56": A,
    "57": A,
    "5A": R,
    "5E 00": A,
    "5E 01": A,
    "5E 02": A,
    "5E 03": A,
    "88": R,
    "8A": W,
    "8F": R,
    "91": W,
    "9E 10": A,
    "A0": A,
    "A3 0A": A,
    "A3 0C": R,
    "A4 0A": W,
    "A8": R,
    "AA": W,
    "AF": R,
}

TIMEOUTS = bytes.fromhex("000A") + bytes(10)


def all_commands(path: Path, rctd: bool = False) -> dict[tuple[int, int | None], int]:
    """Reporting option 0: CDB length by operation code and service action."""
    data = path.read(f"A3 0C {0x80 * rctd:02X} 000000 00001000")
    assert int.from_bytes(data[:4], "big") == len(data) - 4
    found, at, size = {}, 4, 20 if rctd else 8
    while at < len(data):
        row = data[at : at + size]
        assert row[1] == row[4] == 0
        assert bool(row[5] & 0x02) is rctd
        assert row[8:] == (TIMEOUTS if rctd else b"")
        service_action = int.from_bytes(row[2:4], "big")
        assert row[5] & 0x01 or not service_action
        found[row[0], service_action if row[5] & 0x01 else None] = int.from_bytes(row[6:8], "big")
        at += size
    return found


@pytest.mark.conformance("RSO-001", "RSO-002", "RSO-005", "MSC-006")
@pytest.mark.parametrize("rctd", [False, True])
def test_all_commands_are_those_of_the_table(path: Path, rctd: bool) -> None:
    found = all_commands(path, rctd)
    assert found == {(row.opcode, row.service_action): row.length for row in DISK}
    assert list(found) == sorted(found, key=lambda key: (key[0], key[1] or 0))


@pytest.mark.conformance("RSO-005", "CDB-001")
def test_list_equals_what_the_dispatcher_accepts(path: Path) -> None:
    listed = set(all_commands(path))
    with_actions = {opcode for opcode, action in listed if action is not None}
    for opcode in range(256):
        for action in range(32):
            cdb = bytes((opcode, action)).ljust(16, b"\0")
            exists = not isinstance(DISK.find(cdb), Exception)
            key = (opcode, action if opcode in with_actions else None)
            assert exists is (key in listed)


@pytest.mark.conformance("RSO-001", "RSO-002", "RSO-003", "RSO-004")
@pytest.mark.parametrize("command", list(DISK), ids=lambda command: command.name)
@pytest.mark.parametrize("rctd", [0x00, 0x80])
def test_one_command_reports_its_usage_map(path: Path, command: Command, rctd: int) -> None:
    action = command.service_action
    for option in (1 if action is None else 2, 3):
        data = path.read(f"A3 0C {rctd | option:02X} {command.opcode:02X} {action or 0:04X} 00001000")
        assert data[0] == 0
        assert data[1] == rctd | 3
        assert int.from_bytes(data[2:4], "big") == command.length
        usage = data[4 : 4 + command.length]
        assert usage[0] == command.opcode
        if action is None:
            assert usage == command.usage
        else:
            assert usage[1] & 0x1F == action
            assert usage[1] & 0xE0 == command.usage[1] & 0xE0
            assert usage[2:] == command.usage[2:]
        assert usage[-1] == 0x04
        assert data[4 + command.length :] == (TIMEOUTS if rctd else b"")


@pytest.mark.conformance("RSO-003")
@pytest.mark.parametrize(
    "asked", ["01 C1 0000", "02 C1 0000", "02 A3 001E", "02 A3 010C", "03 A3 001E", "03 28 0001"]
)
@pytest.mark.parametrize("rctd", [0x00, 0x80])
def test_command_that_does_not_exist(path: Path, asked: str, rctd: int) -> None:
    option, rest = asked.split(" ", 1)
    assert path.read(f"A3 0C {int(option) | rctd:02X} {rest} 00001000") == bytes.fromhex("00 01 0000")


@pytest.mark.conformance("RSO-001", "OPC-001")
@pytest.mark.parametrize("asked", ["01 A3 0000", "01 9E 0010", "02 28 0000", "04 28 0000", "07 28 0000"])
def test_option_that_does_not_fit_is_refused(path: Path, asked: str) -> None:
    sense = path.sense(f"A3 0C {asked} 00001000")
    assert sense.code == (5, 0x2400)
    assert sense.pointer == ("CDB", 2, 2)


@pytest.mark.conformance("CDB-002")
def test_answer_is_cut_to_the_allocation_length(path: Path) -> None:
    whole = path.read("A3 0C 00 000000 00001000")
    assert path.read("A3 0C 00 000000 0000000D") == whole[:13]
    assert path.read("A3 0C 00 000000 00000000") == b""


@pytest.mark.conformance("OPC-005")
def test_mandatory_commands_are_there() -> None:
    there = {(row.opcode, row.service_action) for row in DISK}
    assert there >= {
        (0x00, None), (0x03, None), (0x12, None), (0x1D, None), (0xA0, None), (0x25, None), (0x9E, 0x10),
        (0x28, None), (0x88, None), (0xA3, 0x0A), (0xA3, 0x0C),
    }  # fmt: skip


@pytest.mark.conformance("LUN-006")
def test_console_knows_little() -> None:
    names = {row.name for row in command_set(EVERYTHING, PeripheralType.STORAGE_ARRAY_CONTROLLER)}
    assert names == {"TEST UNIT READY", "REQUEST SENSE", "INQUIRY", "SEND DIAGNOSTIC", "REPORT LUNS"}


@pytest.mark.conformance("OPC-001", "OPC-003", "OPC-004")
def test_reservation_classes_are_those_of_the_checklist() -> None:
    found = {}
    for text in RESERVATION_CLASSES:
        cdb = bytes.fromhex(text).ljust(16, b"\0")
        row = DISK.find(cdb)
        assert not isinstance(row, Exception)
        found[text] = row.reserved_class(cdb).value[:5]
    assert found == RESERVATION_CLASSES
    rows = {text[:5] if text[:2] in ("5E", "9E", "A3", "A4") else text[:2] for text in found}
    assert len(rows) == len(list(DISK))
    assert {len(each.value) for each in Reserved} == {6}


# Commands that move data, each asking for some
TRANSFERS = {
    "REQUEST SENSE": "03 00 00 00 12",
    "READ(6)": "08 000000 01",
    "WRITE(6)": "0A 000000 01",
    "INQUIRY": "12 00 00 00 60",
    "MODE SELECT(6)": "15 10 00 00 10",
    "MODE SENSE(6)": "1A 00 3F 00 FF",
    "READ CAPACITY(10)": "25",
    "READ(10)": "28 00 00000000 00 0001",
    "WRITE(10)": "2A 00 00000000 00 0001",
    "VERIFY(10)": "2F 02 00000000 00 0001",
    "MODE SELECT(10)": "55 10 0000000000 0010",
    "MODE SENSE(10)": "5A 00 3F 00 000000 00FF",
    "PERSISTENT RESERVE IN, READ KEYS": "5E 00 0000000000 0100",
    "PERSISTENT RESERVE IN, READ RESERVATION": "5E 01 0000000000 0100",
    "PERSISTENT RESERVE IN, REPORT CAPABILITIES": "5E 02 0000000000 0100",
    "PERSISTENT RESERVE IN, READ FULL STATUS": "5E 03 0000000000 0100",
    "READ(16)": "88 00 0000000000000000 00000001",
    "WRITE(16)": "8A 00 0000000000000000 00000001",
    "VERIFY(16)": "8F 02 0000000000000000 00000001",
    "READ CAPACITY(16)": "9E 10 0000000000000000 00000020",
    "REPORT LUNS": "A0 00 00 000000 00001000",
    "REPORT TARGET PORT GROUPS": "A3 0A 00000000 00001000",
    "REPORT SUPPORTED OPERATION CODES": "A3 0C 00 000000 00001000",
    "SET TARGET PORT GROUPS": "A4 0A 00000000 00000008",
    "READ(12)": "A8 00 00000000 00000001",
    "WRITE(12)": "AA 00 00000000 00000001",
    "VERIFY(12)": "AF 02 00000000 00000001",
}


@pytest.mark.conformance("OPC-001")
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_direction_is_the_one_the_data_goes(path: Path, command: Command) -> None:
    if command.direction is Direction.NONE:
        assert command.name not in TRANSFERS
        return
    plan = path.plan(TRANSFERS[command.name])
    if command.direction is Direction.OUT:
        assert isinstance(plan, WriteBlocks | TakeData)
    else:
        assert isinstance(plan, ReadBlocks) or (isinstance(plan, Reply) and plan.data)
