"""MODE SENSE and MODE SELECT."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scsi_initiator import CHECK_CONDITION, GOOD, MODE_CHANGED, Array, Path, make_disk, parse_sense

from mpxtarget.scsi.logical_unit import ModeParameters
from mpxtarget.scsi.personality import Personality
from mpxtarget.scsi.plan import Flush, Plan, Reply, TakeData

ALL = [0x01, 0x02, 0x03, 0x04, 0x08, 0x0A, 0x1A, 0x1C]
LENGTHS = {0x01: 12, 0x02: 16, 0x03: 24, 0x04: 24, 0x08: 20, 0x0A: 12, 0x1A: 40, 0x1C: 12}
CURRENT, CHANGEABLE, DEFAULT, SAVED = range(4)

CONTROL_EXTENSION = bytes.fromhex("4A01 001C 07").ljust(32, b"\0")

CONTROL = bytes.fromhex("0A0A 00 10 00 00 0000 FFFF 0000")
CACHING = bytes.fromhex("0812 04").ljust(20, b"\0")
HEADER_6, HEADER_10 = bytes(4), bytes(8)


def sense_6(path: Path, page: int = 0x3F, control: int = CURRENT, dbd: int = 0x08) -> bytes:
    """MODE SENSE(6) data, its length checked."""
    data = path.read(f"1A {dbd:02X} {control << 6 | page:02X} 00 FF")
    assert data[0] == len(data) - 1
    return data


def sense_10(path: Path, page: int = 0x3F, flags: int = 0x08) -> bytes:
    """MODE SENSE(10) data, its length checked."""
    data = path.read(f"5A {flags:02X} {page:02X} 00 00 00 00 0FFF")
    assert int.from_bytes(data[:2], "big") == len(data) - 2
    return data


def pages(data: bytes) -> dict[int, bytes]:
    """The pages after a header without block descriptors, by page code."""
    found = {}
    while data:
        length = 2 + data[1]
        found[data[0]] = data[:length]
        data = data[length:]
    return found


def pages_and_subpages(data: bytes) -> dict[tuple[int, int], bytes]:
    """The pages after a header without block descriptors, by page code and subpage code."""
    found = {}
    while data:
        long = bool(data[0] & 0x40)
        length = 4 + int.from_bytes(data[2:4], "big") if long else 2 + data[1]
        found[data[0] & 0x3F, data[1] if long else 0] = data[:length]
        data = data[length:]
    return found


def select(path: Path, data: bytes, opcode: int = 0x15, flags: int = 0x10) -> Reply:
    """MODE SELECT(6) or (10)."""
    length = f"{len(data):02X}" if opcode == 0x15 else f"000000{len(data):04X}"
    return path.send(f"{opcode:02X} {flags:02X} 0000 {length}", data=data)


@pytest.mark.conformance("MOD-002", "MOD-003", "MOD-006", "MOD-007")
@pytest.mark.parametrize("control", [CURRENT, CHANGEABLE, DEFAULT])
def test_all_pages_ascending(path: Path, control: int) -> None:
    found = pages(path.read(f"1A 08 {control << 6 | 0x3F:02X} 00 FF")[4:])
    assert list(found) == ALL
    assert {code: len(page) for code, page in found.items()} == LENGTHS


@pytest.mark.conformance("MOD-002", "MOD-003", "MOD-006", "MOD-007")
@pytest.mark.parametrize("control", [CURRENT, CHANGEABLE, DEFAULT])
@pytest.mark.parametrize("cdb", ["1A 08 {} FF FF", "5A 08 {} FF 000000 00FF"])
def test_all_pages_and_subpages_ascending(path: Path, control: int, cdb: str) -> None:
    data = path.read(cdb.format(f"{control << 6 | 0x3F:02X}"))
    found = pages_and_subpages(data[4:] if cdb.startswith("1A") else data[8:])
    assert list(found) == sorted([*((code, 0) for code in ALL), (0x0A, 1)])
    assert len(found[0x0A, 1]) == 32


@pytest.mark.conformance("MOD-002", "MOD-006")
@pytest.mark.parametrize("code", ALL)
def test_one_page_is_the_one_among_all(path: Path, code: int) -> None:
    everything = pages(sense_6(path)[4:])
    assert path.read(f"1A 08 {code:02X} 00 FF")[4:] == everything[code]
    assert sense_10(path, code)[8:] == everything[code]


@pytest.mark.conformance("MOD-006")
def test_a_disk_without_a_clock_says_nothing_of_one() -> None:
    personality = Personality("no clock", frozenset({"MODE SENSE(6)", "TEST UNIT READY"}))
    path = Array({1: make_disk(personality=personality)}).path()
    assert path.read("1A 08 0A 01 FF")[8] == 0x01


@pytest.mark.conformance("MOD-002", "MOD-006")
@pytest.mark.parametrize("code", ALL)
def test_subpage_ff_is_all_of_one_code(path: Path, code: int) -> None:
    everything = pages_and_subpages(path.read("1A 08 3F FF FF")[4:])
    found = pages_and_subpages(path.read(f"1A 08 {code:02X} FF FF")[4:])
    assert found == {key: page for key, page in everything.items() if key[0] == code}


@pytest.mark.conformance("MOD-006", "MSC-004", "LAY-001")
def test_control_extension_page_tells_of_the_clock_and_of_implicit_access_states(path: Path) -> None:
    # TCMOS, SCSIP, IALUAE; no command priority, no limit to sense data
    for control in (CURRENT, DEFAULT):
        assert path.read(f"1A 08 {control << 6 | 0x0A:02X} 01 FF")[4:] == CONTROL_EXTENSION
    assert path.read("1A 08 4A 01 FF")[4:] == CONTROL_EXTENSION[:4] + bytes(28)


@pytest.mark.conformance("MOD-002", "MOD-007", "OPC-001")
@pytest.mark.parametrize("code", sorted(set(range(0x3F)) - set(ALL)))
def test_unknown_page_is_refused(path: Path, code: int) -> None:
    sense = path.sense(f"1A 00 {code:02X} 00 FF")
    assert sense.code == (5, 0x2400)
    assert sense.pointer == ("CDB", 2, 5)


@pytest.mark.conformance("MOD-002", "OPC-001")
@pytest.mark.parametrize(
    "cdb", ["1A 00 0A 02 FF", "1A 00 08 01 FF", "1A 00 3F 01 FF", "5A 00 1C 02 000000 00FF"]
)
def test_unknown_subpage_is_refused(path: Path, cdb: str) -> None:
    sense = path.sense(cdb)
    assert sense.code == (5, 0x2400)
    assert sense.pointer == ("CDB", 3, None)


@pytest.mark.conformance("MOD-001")
@pytest.mark.parametrize("cdb", ["1A 08 FF 00 FF", "5A 08 C8 00 000000 00FF"])
def test_there_are_no_saved_values(path: Path, cdb: str) -> None:
    assert path.sense(cdb).code == (5, 0x3900)


@pytest.mark.conformance("MOD-001", "MOD-006")
def test_changeable_values_are_wce_d_sense_swp_and_tas(path: Path) -> None:
    found = pages(sense_6(path, control=CHANGEABLE)[4:])
    ones = {
        (code, byte, bit)
        for code, page in found.items()
        for byte in range(2, len(page))
        for bit in range(8)
        if page[byte] >> bit & 1
    }
    assert ones == {(0x08, 2, 2), (0x0A, 2, 2), (0x0A, 4, 3), (0x0A, 5, 6)}


@pytest.mark.conformance("MOD-001")
def test_default_values_stay_when_current_ones_change(path: Path) -> None:
    before = sense_6(path, control=DEFAULT)
    select(path, HEADER_6 + CACHING[:2] + b"\0" + CACHING[3:])
    assert sense_6(path, control=DEFAULT) == before
    assert pages(sense_6(path)[4:])[0x08][2] == 0x00
    assert pages(before[4:])[0x08][2] == 0x04


@pytest.mark.conformance("MOD-003", "CDB-002")
@pytest.mark.parametrize("allocation_length", [0, 1, 4, 12, 192, 255])
def test_truncation_leaves_the_mode_data_length_alone(path: Path, allocation_length: int) -> None:
    whole = path.read("1A 00 3F 00 FF")
    assert path.read(f"1A 00 3F 00 {allocation_length:02X}") == whole[:allocation_length]
    assert whole[0] == len(whole) - 1


@pytest.mark.conformance("MOD-003")
def test_all_pages_fit_what_windows_asks_for(path: Path) -> None:
    assert len(path.read("1A 00 3F 00 FF")) <= 192


@pytest.mark.conformance("MOD-004")
@pytest.mark.parametrize(("blocks", "told"), [(1 << 21, 1 << 21), (2**32 - 1, 2**32 - 1), (2**32, 2**32 - 1)])
def test_short_block_descriptor(blocks: int, told: int) -> None:
    path = Array({1: make_disk(blocks=blocks, block_size=4096)}).path()
    expected = told.to_bytes(4, "big") + b"\0" + (4096).to_bytes(3, "big")
    data = sense_6(path, 0x08, dbd=0)
    assert data[3] == 8
    assert data[4:12] == expected
    data = sense_10(path, 0x08, flags=0)
    assert data[4:8] == bytes.fromhex("00 00 0008")
    assert data[8:16] == expected


@pytest.mark.conformance("MOD-004")
def test_long_block_descriptor() -> None:
    path = Array({1: make_disk(blocks=2**33)}).path()
    data = sense_10(path, 0x08, flags=0x10)
    assert data[4:8] == bytes.fromhex("01 00 0010")
    assert data[8:24] == (2**33).to_bytes(8, "big") + bytes(4) + (512).to_bytes(4, "big")


@pytest.mark.conformance("MOD-004")
def test_dbd_leaves_the_block_descriptor_out(path: Path) -> None:
    assert sense_6(path, 0x08)[3] == 0
    assert sense_10(path, 0x08, flags=0x18)[4:8] == bytes(4)


@pytest.mark.conformance("MOD-005", "CDB-009")
def test_device_specific_parameter(path: Path) -> None:
    assert sense_6(path)[2] == 0x10
    assert sense_10(path)[3] == 0x10
    assert sense_6(Array({1: make_disk(read_only=True)}).path())[2] == 0x90


@pytest.mark.conformance("MOD-006")
def test_geometry_is_that_of_an_eva() -> None:
    found = pages(sense_6(Array({1: make_disk(blocks=251658240, rotation_rate=10000)}).path())[4:])
    assert found[0x03][10:14] == bytes.fromhex("0080 0200")
    assert found[0x04][2:6] == (251658240 // 16384).to_bytes(3, "big") + b"\x80"
    assert found[0x04][20:22] == (10000).to_bytes(2, "big")


@pytest.mark.conformance("MOD-006", "SAM-004", "SAM-005", "UAT-002")
def test_control_page_tells_what_this_target_does(path: Path) -> None:
    # one task set, unrestricted reordering, fixed format sense data, QERR 0, TAS 0, UA_INTLCK_CTRL 0
    assert pages(sense_6(path)[4:])[0x0A] == CONTROL


@pytest.mark.conformance("MOD-008", "MOD-010", "LAY-001")
@given(st.booleans(), st.booleans(), st.booleans(), st.booleans(), st.sampled_from([0x15, 0x55]))
def test_selected_values_are_in_force_and_read_back(
    wce: bool, d_sense: bool, swp: bool, tas: bool, opcode: int
) -> None:
    array = Array()
    path = array.path()
    caching = bytes((8, 18, 4 * wce)) + bytes(17)
    control = bytes((10, 10, 4 * d_sense, 0x10, 8 * swp, 64 * tas)) + CONTROL[6:]
    data = (HEADER_6 if opcode == 0x15 else HEADER_10) + caching + control
    assert select(path, data, opcode).status == GOOD
    assert array.disk.mode == ModeParameters(wce, d_sense, swp, tas)
    found = pages(sense_6(path)[4:])
    assert found[0x08] == caching
    assert found[0x0A] == control


@pytest.mark.conformance("MOD-010", "SBC-009")
def test_turning_the_write_cache_off_brings_what_it_holds_to_stable_storage(path: Path, array: Array) -> None:
    def plan(wce: int) -> Plan:
        data = HEADER_6 + bytes((8, 18, 4 * wce)) + bytes(17)
        taken = path.plan(f"15 10 00 00 {len(data):02X}")
        assert isinstance(taken, TakeData)
        return taken.then(data)

    assert plan(1) == Reply(GOOD)
    assert plan(0) == Flush(array.disk, 0, array.disk.blocks << array.disk.shift, immediate=False)
    assert not array.disk.mode.write_cache_enable
    assert plan(0) == Reply(GOOD), "nothing is cached"
    assert plan(1) == Reply(GOOD)


@pytest.mark.conformance("MOD-008")
def test_what_mode_sense_gives_can_be_selected_as_it_is(path: Path, array: Array) -> None:
    for dbd in (0x00, 0x08):
        assert select(path, sense_6(path, dbd=dbd)).status == GOOD
        assert select(path, sense_10(path, flags=dbd), 0x55).status == GOOD
    assert select(path, sense_10(path, flags=0x10), 0x55).status == GOOD
    assert select(path, path.read("1A 08 3F FF FF")).status == GOOD
    assert array.disk.mode == ModeParameters()


@pytest.mark.conformance("MOD-009", "UAT-006")
def test_only_a_real_change_is_announced(path: Path, other: Path) -> None:
    select(path, HEADER_6 + CACHING)
    assert other.attentions() == []
    select(path, HEADER_6 + CACHING[:2] + bytes(18))
    assert other.attentions() == [MODE_CHANGED]
    assert path.attentions() == []


@pytest.mark.conformance("CDB-003", "MOD-008")
@pytest.mark.parametrize("cdb", ["15 10", "15 00", "55 10", "55 00"])
def test_empty_list_is_good(path: Path, cdb: str) -> None:
    assert path.send(cdb) == Reply(GOOD)


@pytest.mark.conformance("MOD-008", "OPC-001")
@pytest.mark.parametrize(
    ("cdb", "bit"), [("15 11 00 00 18", 0), ("15 00 00 00 18", 4), ("55 11 0000000000 0018", 0), ("55 01", 0)]
)
def test_saving_and_vendor_formats_are_refused(path: Path, cdb: str, bit: int) -> None:
    sense = path.sense(cdb)
    assert sense.code == (5, 0x2400)
    assert sense.pointer == ("CDB", 1, bit)


@pytest.mark.conformance("CDB-003", "MOD-008")
@pytest.mark.parametrize("cdb", ["15 10 00 00 03", "55 10 0000000000 0007"])
def test_list_shorter_than_its_header_is_refused_unseen(path: Path, cdb: str) -> None:
    assert path.sense(cdb).code == (5, 0x1A00)


@pytest.mark.conformance("MOD-008", "CDB-003")
@pytest.mark.parametrize(
    "data",
    [
        HEADER_6 + CACHING[:1],
        HEADER_6 + CACHING[:19],
        HEADER_6 + CACHING + CONTROL[:5],
        HEADER_6 + CONTROL_EXTENSION[:1],
        HEADER_6 + CONTROL_EXTENSION[:3],
        HEADER_6 + CONTROL_EXTENSION[:31],
        bytes.fromhex("00000008") + bytes(7),
    ],
)
def test_truncated_page_is_refused(path: Path, data: bytes) -> None:
    sense = parse_sense(select(path, data).sense)
    assert sense.code == (5, 0x1A00)


@pytest.mark.conformance("MOD-008", "SNS-004")
@pytest.mark.parametrize(
    ("data", "pointer"),
    [
        (bytes.fromhex("00 01 00 00"), (1, None)),
        (bytes.fromhex("00 00 00 04") + bytes(4), (3, None)),
        (bytes.fromhex("00 00 00 10") + bytes(16), (3, None)),
        (bytes.fromhex("00 00 00 08 00000001 00 000200"), (4, None)),
        (bytes.fromhex("00 00 00 08 00000000 00 000400"), (9, None)),
        (HEADER_6 + bytes.fromhex("0902 0000"), (4, 5)),
        (HEADER_6 + bytes.fromhex("480A") + CONTROL[2:], (5, None)),
        (HEADER_6 + bytes.fromhex("4A00") + CONTROL[2:], (4, 6)),
        (HEADER_6 + bytes.fromhex("4A02") + CONTROL_EXTENSION[2:], (5, None)),
        (HEADER_6 + bytes.fromhex("4A01 001B") + bytes(27), (6, None)),
        (HEADER_6 + CONTROL_EXTENSION[:4] + b"\x05" + CONTROL_EXTENSION[5:], (8, 1)),
        (HEADER_6 + CONTROL_EXTENSION + CONTROL_EXTENSION, (36, 5)),
        (HEADER_6 + bytes.fromhex("0810") + bytes(16), (5, None)),
        (HEADER_6 + CACHING[:2] + b"\x05" + CACHING[3:], (6, 0)),
        (HEADER_6 + CACHING + CONTROL[:3] + b"\x00" + CONTROL[4:], (27, 4)),
    ],
)
def test_wrong_field_is_pointed_at(path: Path, data: bytes, pointer: tuple[int, int | None]) -> None:
    sense = parse_sense(select(path, data).sense)
    assert sense.code == (5, 0x2600)
    assert sense.pointer == ("data", *pointer)


@pytest.mark.conformance("MOD-008")
@pytest.mark.parametrize(
    ("data", "pointer"),
    [
        (bytes.fromhex("0000 01 00 00 00 0000"), (2, None)),
        (bytes.fromhex("0000 00 00 01 00 0008") + bytes(8), (6, None)),
        (bytes.fromhex("0000 00 00 01 00 0010") + bytes(16), (20, None)),
    ],
)
def test_wrong_field_in_the_long_header_is_pointed_at(
    path: Path, data: bytes, pointer: tuple[int, int | None]
) -> None:
    assert parse_sense(select(path, data, 0x55).sense).pointer == ("data", *pointer)


@pytest.mark.conformance("MOD-008")
def test_nothing_of_a_faulty_list_takes_effect(path: Path, other: Path, array: Array) -> None:
    reply = select(path, HEADER_6 + CACHING[:2] + bytes(18) + b"\x3e\x00")
    assert reply.status == CHECK_CONDITION
    assert array.disk.mode == ModeParameters()
    assert other.attentions() == []


@pytest.mark.conformance("MOD-008")
@given(st.binary(min_size=4, max_size=80), st.sampled_from([0x15, 0x55]))
def test_no_parameter_list_does_harm(data: bytes, opcode: int) -> None:
    path = Array().path()
    length = f"{len(data):02X}" if opcode == 0x15 else f"000000{len(data):04X}"
    plan = path.plan(f"{opcode:02X} 10 0000 {length}")
    reply = plan.then(data) if isinstance(plan, TakeData) else plan
    assert isinstance(reply, Reply)


@pytest.mark.conformance("TMF-015", "MOD-010")
def test_reset_brings_the_defaults_back(path: Path, array: Array) -> None:
    select(path, HEADER_6 + CACHING[:2] + bytes(18))
    array.disk.reset()
    assert array.disk.mode == ModeParameters()


@pytest.mark.conformance("MOD-008", "SEC-004")
def test_a_page_comes_once_in_a_list(path: Path, array: Array) -> None:
    reply = select(path, HEADER_6 + CACHING[:2] + bytes(18) + CACHING)
    assert parse_sense(reply.sense).code == (5, 0x2600)
    assert parse_sense(reply.sense).pointer == ("data", 4 + 20, 5)
    assert array.disk.mode == ModeParameters()


@pytest.mark.conformance("SBC-009", "MOD-005", "CDB-009")
def test_store_that_cannot_be_durable_says_so() -> None:
    array = Array({1: make_disk(durable=False)})
    path = array.path()
    assert sense_6(path)[2] == 0x00  # DPOFUA 0
    assert pages(sense_6(path)[4:])[0x08][2] == 0x04  # WCE 1
    assert pages(sense_6(path, control=CHANGEABLE)[4:])[0x08][2] == 0x00
    sense = parse_sense(select(path, HEADER_6 + CACHING[:2] + bytes(18)).sense)
    assert sense.code == (5, 0x2600)
    assert sense.pointer == ("data", 6, 2)
    assert select(path, HEADER_6 + CACHING).status == GOOD


@pytest.mark.conformance("SBC-009", "CDB-009", "OPC-001", "RSO-004")
@pytest.mark.parametrize(
    "opcode", ["28", "2A", "2E", "2F", "88", "89", "8A", "8B", "8E", "8F", "9C", "A8", "AA", "AE", "AF"]
)
def test_without_dpofua_neither_bit_is_accepted(opcode: str) -> None:
    path = Array({1: make_disk(durable=False)}).path()
    durable = Array().path()
    usage = path.read(f"A3 0C 01 {opcode} 0000 00000100")[4:]
    for bit in (4,) if opcode in ("2E", "2F", "8E", "8F", "AE", "AF") else (3, 4):
        cdb = bytearray(bytes.fromhex(opcode).ljust(16, b"\0"))
        cdb[1] = 1 << bit
        sense = path.sense(cdb.hex())
        assert sense.code == (5, 0x2400)
        assert sense.pointer == ("CDB", 1, bit)
        assert not usage[1] >> bit & 1
        plan = durable.plan(cdb.hex())
        assert not isinstance(plan, Reply) or plan.status == GOOD
