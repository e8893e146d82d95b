"""The usage maps decide which bits of a CDB may be set."""

import pytest
from scsi_initiator import Array, Path

from mpxtarget.scsi.codes import PeripheralType
from mpxtarget.scsi.command import Command, CommandSet, usage_map
from mpxtarget.scsi.commands import COMMANDS, command_set
from mpxtarget.scsi.personality import EVERYTHING
from mpxtarget.scsi.plan import Reply

DISK_COMMANDS = list(command_set(EVERYTHING, PeripheralType.DISK))

BY_NAME = {command.name: command for command in COMMANDS}

# Appendix A of the conformance checklist, by operation code and service action
MAPS = {
    "00": "00 00 00 00 00 04",
    "03": "03 01 00 00 FF 04",
    "04": "04 FF 00 00 00 04",
    "08": "08 1F FF FF FF 04",
    "0A": "0A 1F FF FF FF 04",
    "12": "12 01 FF FF FF 04",
    "15": "15 11 00 00 FF 04",
    "16": "16 00 00 00 00 04",
    "17": "17 00 00 00 00 04",
    "1A": "1A 08 FF FF FF 04",
    "1B": "1B 01 00 0F F7 04",
    "1C": "1C 01 FF FF FF 04",
    "1D": "1D F7 00 FF FF 04",
    "1E": "1E 00 00 00 03 04",
    "25": "25 00 FF FF FF FF 00 00 01 04",
    "28": "28 FC FF FF FF FF 1F FF FF 04",
    "2A": "2A F8 FF FF FF FF 1F FF FF 04",
    "2E": "2E F6 FF FF FF FF 1F FF FF 04",
    "2F": "2F F6 FF FF FF FF 1F FF FF 04",
    "34": "34 02 FF FF FF FF 1F FF FF 04",
    "35": "35 02 FF FF FF FF 1F FF FF 04",
    "37": "37 00 1F 00 00 00 00 FF FF 04",
    "3B": "3B FF FF FFFFFFFFFFFF 04",
    "3C": "3C FF FF FFFFFFFFFFFF 04",
    "41": "41 F8 FF FF FF FF 1F FF FF 04",
    "42": "42 01 00 00 00 00 1F FF FF 04",
    # but for bit 6 of byte 1, which means something to zoned devices only (SBC-4 5.31)
    **{f"48 {action}": "48 BF 00 00 00 00 00 FF FF 04" for action in ("01", "02", "03", "1F")},
    "4C": "4C 03 FF FF 00 00 00 FF FF 04",
    "4D": "4D 01 FF FF 00 FF FF FF FF 04",
    "55": "55 11 00 00 00 00 00 FF FF 04",
    "56": "56 00 00 00 00 00 00 00 00 04",
    "57": "57 00 00 00 00 00 00 00 00 04",
    "5A": "5A 18 FF FF 00 00 00 FF FF 04",
    **{f"5E {action:02X}": "5E 1F 00 00 00 00 00 FF FF 04" for action in range(4)},
    **{f"5F {action:02X}": "5F 1F FF 00 00 FF FF FF FF 04" for action in range(8)},
    **{f"83 {action}": "83 1F 0000000000000000 FFFFFFFF 00 04" for action in ("00", "01")},
    **{f"83 {action}": "83 1F 00000000 FFFFFFFF FFFFFFFF 00 04" for action in ("10", "11")},
    "83 1C": "83 1F FFFFFFFF 0000000000000000 00 04",
    **{f"84 {action}": "84 1F FF 00000000000000 FFFFFFFF 00 04" for action in ("00", "01", "03", "04")},
    **{f"84 {action}": "84 1F FFFFFFFF 00000000 FFFFFFFF 00 04" for action in ("05", "07")},
    "84 08": "84 1F 0000000000000000 FFFFFFFF 00 04",
    "88": "88 FC FFFFFFFFFFFFFFFF FFFFFFFF 1F 04",
    "89": "89 F8 FFFFFFFFFFFFFFFF 000000 FF 1F 04",
    "8A": "8A F8 FFFFFFFFFFFFFFFF FFFFFFFF 1F 04",
    "8B": "8B F8 FFFFFFFFFFFFFFFF FFFFFFFF 1F 04",
    "8E": "8E F6 FFFFFFFFFFFFFFFF FFFFFFFF 1F 04",
    "8F": "8F F6 FFFFFFFFFFFFFFFF FFFFFFFF 1F 04",
    "90": "90 02 FFFFFFFFFFFFFFFF FFFFFFFF 1F 04",
    "91": "91 02 FFFFFFFFFFFFFFFF FFFFFFFF 1F 04",
    "93": "93 F9 FFFFFFFFFFFFFFFF FFFFFFFF 1F 04",
    "9C": "9C F8 FFFFFFFFFFFFFFFF FFFF FFFF 1F 04",
    "9E 10": "9E 1F FFFFFFFFFFFFFFFF FFFFFFFF 01 04",
    "9E 12": "9E 1F FFFFFFFFFFFFFFFF FFFFFFFF FF 04",
    "A0": "A0 00 FF 00 00 00 FFFFFFFF 00 04",
    "A3 05": "A3 1F 00000000 FFFFFFFF FE 04",
    "A3 0A": "A3 FF 00 00 00 00 FFFFFFFF 00 04",
    "A3 0C": "A3 1F 87 FF FF FF FFFFFFFF 00 04",
    "A3 0D": "A3 1F 80 000000 FFFFFFFF 00 04",
    "A3 0E": "A3 1F C0 000000 FFFFFFFF 00 04",
    "A3 0F": "A3 1F 00000000 FFFFFFFF 00 04",
    "A4 06": "A4 1F 00000000 FFFFFFFF FE 04",
    "A4 0A": "A4 1F 00000000 FFFFFFFF 00 04",
    "A4 0F": "A4 1F 00000000 FFFFFFFF 00 04",
    "A8": "A8 FC FFFFFFFF FFFFFFFF 1F 04",
    "AA": "AA F8 FFFFFFFF FFFFFFFF 1F 04",
    "AE": "AE F6 FFFFFFFF FFFFFFFF 1F 04",
    "AF": "AF F6 FFFFFFFF FFFFFFFF 1F 04",
    "B7": "B7 1F FFFFFFFF FFFFFFFF 00 04",
}

# bits of byte 1 that are obsolete: FUA_NV, SYNC_NV, RELADR
OBSOLETE = {
    "25": 0x01,
    "28": 0x03,
    "2A": 0x03,
    "2E": 0x01,
    "2F": 0x01,
    "34": 0x01,
    "35": 0x05,
    "88": 0x02,
    "89": 0x02,
    "8A": 0x02,
    "8B": 0x02,
    "91": 0x04,
    "A8": 0x03,
    "AA": 0x03,
    "AE": 0x01,
    "AF": 0x01,
}


def key(command: Command) -> str:
    """Operation code, and service action if there are any."""
    action = command.service_action
    return f"{command.opcode:02X}" if action is None else f"{command.opcode:02X} {action:02X}"


def bits(command: Command) -> list[tuple[int, int]]:
    """Every bit of the CDB but those of the operation code and the service action."""
    first = 5 if command.service_action is not None else 0
    return [(byte, bit) for byte in range(1, command.length) for bit in range(8) if byte > 1 or bit >= first]


def with_bit(command: Command, byte: int, bit: int) -> str:
    """An otherwise empty CDB with one bit set."""
    cdb = bytearray(16)
    cdb[0] = command.opcode
    cdb[1] = command.service_action or 0
    cdb[byte] |= 1 << bit
    return cdb.hex()


def is_allowed(command: Command, byte: int, bit: int) -> bool:
    """Whether a bit may be set: in the usage map, obsolete, or in CONTROL and not NACA."""
    if byte == command.length - 1:
        return bit != 2
    ignored = OBSOLETE.get(key(command), 0) if byte == 1 else 0
    return bool((usage_map(MAPS[key(command)])[byte] | ignored) >> bit & 1)


@pytest.mark.conformance("MAP-001", "MAP-002")
def test_usage_maps_are_those_of_the_checklist() -> None:
    for command in COMMANDS:
        assert command.usage == usage_map(MAPS[key(command)]), command.name


@pytest.mark.conformance(
    "MAP-001", "CDB-001", "CDB-007", "CDB-009", "SNS-004", "RSV-001", "INQ-006", "OPC-001"
)
@pytest.mark.parametrize("command", DISK_COMMANDS, ids=lambda command: command.name)
def test_bit_outside_the_map_is_refused_and_pointed_at(command: Command) -> None:
    path = Array().path()
    for byte, bit in bits(command):
        if not is_allowed(command, byte, bit):
            sense = path.sense(with_bit(command, byte, bit))
            assert sense.code == (5, 0x2400), (byte, bit)
            assert sense.pointer == ("CDB", byte, bit)


@pytest.mark.conformance("MAP-001", "CDB-009", "CDB-010")
@pytest.mark.parametrize("command", DISK_COMMANDS, ids=lambda command: command.name)
def test_bit_inside_the_map_is_judged_by_its_meaning(command: Command) -> None:
    quiet = Array().path()
    for byte, bit in bits(command):
        if is_allowed(command, byte, bit):
            command.check(bytes.fromhex(with_bit(command, byte, bit)))
            plan = quiet.plan(with_bit(command, byte, bit))
            if isinstance(plan, Reply) and command.name != "START STOP UNIT":
                assert plan.status in (0, 2)


@pytest.mark.conformance("CDB-010")
@pytest.mark.parametrize(
    "command", [BY_NAME["READ(10)"], BY_NAME["WRITE(16)"]], ids=lambda command: command.name
)
def test_group_number_and_obsolete_bits_change_nothing(path: Path, command: Command) -> None:
    plain = bytearray(16)
    plain[0] = command.opcode
    plain[8 if command.length == 10 else 13] = 8
    marked = bytearray(plain)
    marked[6 if command.length == 10 else 14] = 0x1F
    marked[1] = OBSOLETE[key(command)]
    assert path.plan(marked.hex()) == path.plan(plain.hex())


def test_table_refuses_an_operation_code_with_and_without_service_actions() -> None:
    def row(service_action: int | None) -> Command:
        return Command("X", 0xC0, "C0 1F 04", lambda call: Reply(0), service_action=service_action)

    with pytest.raises(AssertionError):
        CommandSet([row(None), row(1)])
