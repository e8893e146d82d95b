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

# Appendix A of the conformance checklist, the commands in scope
MAPS = {
    "TEST UNIT READY": "00 00 00 00 00 04",
    "REQUEST SENSE": "03 01 00 00 FF 04",
    "INQUIRY": "12 01 FF FF FF 04",
    "READ(6)": "08 1F FF FF FF 04",
    "WRITE(6)": "0A 1F FF FF FF 04",
    "MODE SELECT(6)": "15 11 00 00 FF 04",
    "RESERVE(6)": "16 00 00 00 00 04",
    "RELEASE(6)": "17 00 00 00 00 04",
    "MODE SENSE(6)": "1A 08 FF FF FF 04",
    "START STOP UNIT": "1B 01 00 0F F7 04",
    "SEND DIAGNOSTIC": "1D F7 00 FF FF 04",
    "PREVENT ALLOW MEDIUM REMOVAL": "1E 00 00 00 03 04",
    "READ CAPACITY(10)": "25 00 FF FF FF FF 00 00 01 04",
    "READ(10)": "28 FC FF FF FF FF 1F FF FF 04",
    "WRITE(10)": "2A F8 FF FF FF FF 1F FF FF 04",
    "VERIFY(10)": "2F F6 FF FF FF FF 1F FF FF 04",
    "SYNCHRONIZE CACHE(10)": "35 02 FF FF FF FF 1F FF FF 04",
    "MODE SELECT(10)": "55 11 00 00 00 00 00 FF FF 04",
    "RESERVE(10)": "56 00 00 00 00 00 00 00 00 04",
    "RELEASE(10)": "57 00 00 00 00 00 00 00 00 04",
    "MODE SENSE(10)": "5A 18 FF FF 00 00 00 FF FF 04",
    "PERSISTENT RESERVE IN, READ KEYS": "5E 1F 00 00 00 00 00 FF FF 04",
    "PERSISTENT RESERVE IN, READ RESERVATION": "5E 1F 00 00 00 00 00 FF FF 04",
    "PERSISTENT RESERVE IN, REPORT CAPABILITIES": "5E 1F 00 00 00 00 00 FF FF 04",
    "PERSISTENT RESERVE IN, READ FULL STATUS": "5E 1F 00 00 00 00 00 FF FF 04",
    "READ(16)": "88 FC FFFFFFFFFFFFFFFF FFFFFFFF 1F 04",
    "WRITE(16)": "8A F8 FFFFFFFFFFFFFFFF FFFFFFFF 1F 04",
    "VERIFY(16)": "8F F6 FFFFFFFFFFFFFFFF FFFFFFFF 1F 04",
    "SYNCHRONIZE CACHE(16)": "91 02 FFFFFFFFFFFFFFFF FFFFFFFF 1F 04",
    "READ CAPACITY(16)": "9E 1F FFFFFFFFFFFFFFFF FFFFFFFF 01 04",
    "REPORT LUNS": "A0 00 FF 00 00 00 FFFFFFFF 00 04",
    "REPORT TARGET PORT GROUPS": "A3 FF 00 00 00 00 FFFFFFFF 00 04",
    "REPORT SUPPORTED OPERATION CODES": "A3 1F 87 FF FF FF FFFFFFFF 00 04",
    "SET TARGET PORT GROUPS": "A4 1F 00 00 00 00 FFFFFFFF 00 04",
    "READ(12)": "A8 FC FFFFFFFF FFFFFFFF 1F 04",
    "WRITE(12)": "AA F8 FFFFFFFF FFFFFFFF 1F 04",
    "VERIFY(12)": "AF F6 FFFFFFFF FFFFFFFF 1F 04",
}

# bits of byte 1 that are obsolete: FUA_NV, SYNC_NV, RELADR
OBSOLETE = {
    "READ CAPACITY(10)": 0x01,
    "READ(10)": 0x03,
    "WRITE(10)": 0x03,
    "VERIFY(10)": 0x01,
    "SYNCHRONIZE CACHE(10)": 0x05,
    "READ(16)": 0x02,
    "WRITE(16)": 0x02,
    "SYNCHRONIZE CACHE(16)": 0x04,
    "READ(12)": 0x03,
    "WRITE(12)": 0x03,
    "VERIFY(12)": 0x01,
}


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
    ignored = OBSOLETE.get(command.name, 0) if byte == 1 else 0
    return bool((usage_map(MAPS[command.name])[byte] | ignored) >> bit & 1)


@pytest.mark.conformance("MAP-001", "MAP-002")
def test_usage_maps_are_those_of_the_checklist() -> None:
    assert {name: command.usage for name, command in BY_NAME.items()} == {
        name: usage_map(text) for name, text in MAPS.items()
    }


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
    marked[1] = OBSOLETE[command.name]
    assert path.plan(marked.hex()) == path.plan(plain.hex())


def test_table_refuses_an_operation_code_with_and_without_service_actions() -> None:
    def row(service_action: int | None) -> Command:
        return Command("X", 0xC0, "C0 1F 04", lambda call: Reply(0), service_action=service_action)

    with pytest.raises(AssertionError):
        CommandSet([row(None), row(1)])
