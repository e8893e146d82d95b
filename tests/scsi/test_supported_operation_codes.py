"""REPORT SUPPORTED OPERATION CODES, and the classes of the command table."""

import pytest
from scsi_initiator import Path

from mpxtarget.scsi.codes import PeripheralType
from mpxtarget.scsi.command import Command, Direction
from mpxtarget.scsi.commands import COMMANDS, command_set
from mpxtarget.scsi.personality import EVERYTHING
from mpxtarget.scsi.plan import Reply, TakeData, WriteBlocks
from mpxtarget.scsi.reservations import Reserved

DISK = command_set(EVERYTHING, PeripheralType.DISK)

PERSISTENT_RESERVE_OUT = 0x5F

A, R, W = "AAAAA", "ACAAC", "CCACC"

# The columns WE, EA, REG, WEnr, EAnr of the checklist's table of commands; CDBs where a field decides
RESERVATION_CLASSES = {
    "00": A,
    "03": A,
    "04": W,
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
    "1C": R,
    "1D": W,
    "1E 00 00 00 00": A,
    "1E 00 00 00 01": W,
    "25": A,
    "28": R,
    "2A": W,
    "2E": W,
    "2F": R,
    "34": R,
    "35": W,
    "37": R,
    "3B": W,
    "3C": R,
    "41": W,
    "42": W,
    "48 01": W,
    "48 02": W,
    "48 03": W,
    "48 1F": W,
    "4C": W,
    "4D": A,
    "55": W,
    "56": A,
    "57": A,
    "5A": R,
    "5E 00": A,
    "5E 01": A,
    "5E 02": A,
    "5E 03": A,
    "83 00": W,
    "83 01": W,
    "83 10": W,
    "83 11": W,
    "83 1C": W,
    "84 00": A,
    "84 01": A,
    "84 03": A,
    "84 04": A,
    "84 05": A,
    "84 07": A,
    "84 08": A,
    "88": R,
    "89": W,
    "8A": W,
    "8B": W,
    "8E": W,
    "8F": R,
    "90": R,
    "91": W,
    "93": W,
    "9C": W,
    "9E 10": A,
    "9E 12": R,
    "A0": A,
    "A3 05": A,
    "A3 0A": A,
    "A3 0C": R,
    "A3 0D": R,
    "A3 0E": A,
    "A3 0F": A,
    "A4 06": W,
    "A4 0A": W,
    "A4 0F": W,
    "A8": R,
    "AA": W,
    "AE": W,
    "AF": R,
    "B7": R,
}
"""PERSISTENT RESERVE OUT is not here: it has rules of its own."""

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
    assert names == {
        "TEST UNIT READY",
        "REQUEST SENSE",
        "INQUIRY",
        "RECEIVE DIAGNOSTIC RESULTS",
        "SEND DIAGNOSTIC",
        "REPORT LUNS",
    }


@pytest.mark.conformance("OPC-001", "OPC-003", "OPC-004")
def test_reservation_classes_are_those_of_the_checklist() -> None:
    found, rows = {}, set()
    for text in RESERVATION_CLASSES:
        cdb = bytes.fromhex(text).ljust(16, b"\0")
        row = DISK.find(cdb)
        if isinstance(row, Command):
            found[text] = row.reserved_class(cdb).value[:5]
            rows.add(row.name)
    assert found == {text: RESERVATION_CLASSES[text] for text in found}
    assert rows == {row.name for row in DISK if row.opcode != PERSISTENT_RESERVE_OUT}
    assert {len(each.value) for each in Reserved} == {6}


# Commands that move data, each asking for some
TRANSFERS = {
    "03": "03 00 00 00 12",
    "08": "08 000000 01",
    "0A": "0A 000000 01",
    "12": "12 00 00 00 60",
    "15": "15 10 00 00 10",
    "1A": "1A 00 3F 00 FF",
    "1C": "1C 01 00 00 FF",
    "1D": "1D 10 00 00 04",
    "25": "25",
    "28": "28 00 00000000 00 0001",
    "2A": "2A 00 00000000 00 0001",
    "2E": "2E 00 00000000 00 0001",
    "2F": "2F 02 00000000 00 0001",
    "37": "37 00 1D 00000000 0008",
    "3B": "3B 02 00 000000 000010",
    "3C": "3C 02 00 000000 000010",
    "41": "41 00 00000000 00 0001",
    "42": "42 00 00000000 00 0008",
    "48 01": "48 01 00 00000000 0008",
    "4C": "4C 00 40 000000 00 0008",
    "4D": "4D 00 40 000000 00 00FF",
    "55": "55 10 0000000000 0010",
    "5A": "5A 00 3F 00 000000 00FF",
    "5E": "5E {action} 0000000000 0100",
    "5F": "5F {action} 0100 00 00000018",
    "83": "83 {action} 0000000000000000 00000020",
    "83 01": "83 01 0000000000000000 00000030",
    "83 11": "83 11 0000000000000000 00000228",
    "84": "84 {action} 00000000 00000000 00001000",
    "88": "88 00 0000000000000000 00000001",
    "89": "89 00 0000000000000000 000000 01",
    "8A": "8A 00 0000000000000000 00000001",
    "8B": "8B 00 0000000000000000 00000001",
    "8E": "8E 00 0000000000000000 00000001",
    "8F": "8F 02 0000000000000000 00000001",
    "93": "93 00 0000000000000000 00000001",
    "9C": "9C 00 0000000000000000 0000 0008",
    "9E": "9E {action} 0000000000000000 00000020",
    "A0": "A0 00 00 000000 00001000",
    "A3": "A3 {action} 00000000 00001000",
    "A4": "A4 {action} 00000000 0000000C",
    "A8": "A8 00 00000000 00000001",
    "AA": "AA 00 00000000 00000001",
    "AE": "AE 00 00000000 00000001",
    "AF": "AF 02 00000000 00000001",
    "B7": "B7 1D 00000000 00000008",
}


@pytest.mark.conformance("OPC-001")
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_direction_is_the_one_the_data_goes(path: Path, command: Command) -> None:
    action = f"{command.service_action or 0:02X}"
    opcode = f"{command.opcode:02X}"
    asking = TRANSFERS.get(f"{opcode} {action}") or TRANSFERS.get(opcode)
    if command.direction is Direction.NONE:
        assert asking is None or "{action}" in asking
        return
    assert asking is not None
    plan = path.plan(asking.format(action=action))
    if command.direction is Direction.OUT:
        assert isinstance(plan, WriteBlocks | TakeData), plan
    else:
        assert not isinstance(plan, WriteBlocks | TakeData), plan
        assert not isinstance(plan, Reply) or plan.data or plan.sense, plan
