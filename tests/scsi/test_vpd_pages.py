"""Vital product data pages."""

import struct
from dataclasses import dataclass

import pytest
from scsi_initiator import NAA, PORTS, Array, Path, make_disk

from mpxtarget.scsi.personality import Personality

DISK_LUN, CONSOLE_LUN = 1, 0
LU, PORT, DEVICE = 0, 1, 2
TASK_ATTRIBUTES = 0x07
T10, NAA_TYPE, RELATIVE_PORT, PORT_GROUP, SCSI_NAME = 1, 3, 4, 5, 8


def page(path: Path, code: int, lun: int = DISK_LUN) -> bytes:
    """A page, its header checked; the payload."""
    data = path.read(f"12 01 {code:02X} 04 00", lun)
    assert data[0] == (0x0C if lun == CONSOLE_LUN else 0x00)
    assert data[1] == code
    assert int.from_bytes(data[2:4], "big") == len(data) - 4
    return data[4:]


@dataclass(frozen=True)
class Designator:
    """One designation descriptor of page 83h."""

    protocol: int | None
    code_set: int
    association: int
    type: int
    value: bytes


def designators(path: Path, lun: int = DISK_LUN) -> list[Designator]:
    """Page 83h, taken apart by hand."""
    return parse_designators(page(path, 0x83, lun))


def parse_designators(data: bytes) -> list[Designator]:
    """A list of designation descriptors, taken apart by hand."""
    found = []
    while data:
        protocol = data[0] >> 4 if data[1] & 0x80 else None
        length = data[3]
        assert data[2] == 0
        found.append(Designator(protocol, data[0] & 15, data[1] >> 4 & 3, data[1] & 15, data[4 : 4 + length]))
        data = data[4 + length :]
    return found


@pytest.mark.conformance("VPD-001", "VPD-002")
@pytest.mark.parametrize(
    ("lun", "codes"),
    [
        (DISK_LUN, [0x00, 0x80, 0x83, 0x86, 0x87, 0x88, 0x8F, 0xB0, 0xB1, 0xB2]),
        (CONSOLE_LUN, [0x00, 0x80, 0x83, 0x86, 0x88]),
    ],
)
def test_listed_pages_are_readable_and_no_others(path: Path, lun: int, codes: list[int]) -> None:
    assert list(page(path, 0x00, lun)) == codes
    for code in range(256):
        if code in codes:
            page(path, code, lun)
        else:
            sense = path.sense(f"12 01 {code:02X} 00 FF", lun)
            assert sense.code == (5, 0x2400)
            assert sense.pointer == ("CDB", 2, None)


@pytest.mark.conformance("VPD-002", "CDB-002")
@pytest.mark.parametrize("code", [0x00, 0x80, 0x83, 0xB0])
@pytest.mark.parametrize("allocation_length", [0, 3, 4, 20])
def test_truncation_leaves_the_page_length_alone(path: Path, code: int, allocation_length: int) -> None:
    whole = path.read(f"12 01 {code:02X} 04 00")
    assert path.read(f"12 01 {code:02X} {allocation_length:04X}") == whole[:allocation_length]


@pytest.mark.conformance("VPD-001")
def test_every_page_fits_255_bytes(path: Path) -> None:
    for code in set(page(path, 0x00)) - {0x88, 0x8F}:
        assert len(page(path, code)) + 4 <= 255


@pytest.mark.conformance("VPD-003")
def test_serial_number_is_the_controllers_for_every_lun(path: Path, other: Path) -> None:
    for each in (path, other):
        for lun in (DISK_LUN, CONSOLE_LUN):
            assert page(each, 0x80, lun) == b"P65E2A8GAHZ0AB"


@pytest.mark.conformance("VPD-004")
def test_disk_is_known_by_its_naa_name(path: Path) -> None:
    naa, name = [each for each in designators(path) if each.association == LU]
    assert naa == Designator(None, 1, LU, NAA_TYPE, NAA)
    assert name == Designator(
        None, 3, LU, SCSI_NAME, b"naa.600508B40006D7DA0001A00004740000".ljust(40, b"\0")
    )


@pytest.mark.conformance("VPD-004")
def test_unit_without_naa_name_is_known_by_vendor_product_and_serial(path: Path) -> None:
    (only,) = [each for each in designators(path, CONSOLE_LUN) if each.association == LU]
    assert only == Designator(None, 2, LU, T10, b"HP      HSV300          P65E2A8GAHZ0AB")


@pytest.mark.conformance("VPD-005", "ALU-002")
@pytest.mark.parametrize("port", range(4))
def test_port_is_told_by_number_group_and_name(array: Array, port: int) -> None:
    path = array.path(port=port)
    number, group, name = [each for each in designators(path) if each.association == PORT]
    assert number == Designator(5, 1, PORT, RELATIVE_PORT, bytes((0, 0, 0, port + 1)))
    assert group == Designator(5, 1, PORT, PORT_GROUP, bytes((0, 0, 0, port // 2 + 1)))
    assert name == Designator(5, 3, PORT, SCSI_NAME, name.value)
    text = name.value.rstrip(b"\0").decode()
    assert text == f"{PORTS[port].name},t,0x0001"
    assert len(name.value) % 4 == 0
    assert 1 <= len(name.value) - len(text) <= 4


@pytest.mark.conformance("LUN-006")
def test_console_belongs_to_no_port_group(path: Path) -> None:
    assert PORT_GROUP not in [each.type for each in designators(path, CONSOLE_LUN)]


@pytest.mark.conformance("VPD-006")
def test_device_is_told_by_name(path: Path, array: Array) -> None:
    (device,) = [each for each in designators(path) if each.association == DEVICE]
    assert device.type == SCSI_NAME
    assert device.value.rstrip(b"\0").decode() == array.device.name
    assert len(device.value) % 4 == 0


@pytest.mark.conformance("VPD-007", "INQ-007", "NAM-005")
def test_unit_designators_are_the_same_bytes_on_every_path(array: Array) -> None:
    paths = [array.path(port=port) for port in range(4)]
    seen = {tuple(each for each in designators(path) if each.association == LU) for path in paths}
    assert len(seen) == 1
    again = Array().path(port=3)
    assert tuple(each for each in designators(again) if each.association == LU) in seen


@pytest.mark.conformance("VPD-007")
def test_pages_of_two_ports_are_not_mixed_up(array: Array) -> None:
    first, second = array.path(port=0), array.path(port=3)
    before = page(first, 0x83)
    assert page(second, 0x83) != before
    assert page(first, 0x83) == before


@pytest.mark.conformance("VPD-009", "LUN-013", "SAM-003")
@pytest.mark.parametrize(("lun", "cache"), [(DISK_LUN, 0x01), (CONSOLE_LUN, 0x00)])
def test_extended_inquiry_tells_what_is_so(path: Path, lun: int, cache: int) -> None:
    # HEADSUP, ORDSUP, SIMPSUP; V_SUP for what has a cache; LUICLR: REPORT LUNS clears its condition
    assert page(path, 0x86, lun) == bytes((0, TASK_ATTRIBUTES, cache, 0x01)) + bytes(56)


@pytest.mark.conformance("VPD-010", "MOD-009")
def test_every_mode_page_is_shared(path: Path) -> None:
    assert page(path, 0x87) == bytes.fromhex("3F FF 00 00")


@pytest.mark.conformance("VPD-011", "ALU-002")
@pytest.mark.parametrize("lun", [DISK_LUN, CONSOLE_LUN])
def test_all_ports_are_listed_under_the_names_they_give_themselves(array: Array, lun: int) -> None:
    named = {}
    for index in range(4):
        own = [each for each in designators(array.path(port=index)) if each.association == PORT]
        numbers = {each.type: each.value for each in own}
        named[int.from_bytes(numbers[RELATIVE_PORT], "big")] = numbers[SCSI_NAME]
    data, found = page(array.path(port=2), 0x88, lun), {}
    while data:
        assert data[0:2] + data[4:10] == bytes(8)
        length = int.from_bytes(data[10:12], "big")
        (name,) = parse_designators(data[12 : 12 + length])
        assert (name.protocol, name.association, name.type) == (5, PORT, SCSI_NAME)
        found[int.from_bytes(data[2:4], "big")] = name.value
        data = data[12 + length :]
    assert found == named
    assert list(found) == sorted(found)


OLD = Personality(
    "old", frozenset({"TEST UNIT READY", "INQUIRY", "REQUEST SENSE", "REPORT LUNS", "READ CAPACITY(16)"})
)


def old_path(**changes: object) -> Path:
    """To a disk that offers none of the commands that pages B0h to B2h are about."""
    return Array({1: make_disk(personality=OLD, **changes)}).path()


@pytest.mark.conformance("VPD-013", "XCP-001", "MSC-006")
@pytest.mark.parametrize(("block_size", "blocks"), [(512, 65536), (4096, 8192)])
def test_block_limits_tell_the_transfer_limit_and_nothing_that_is_not_there(
    block_size: int, blocks: int
) -> None:
    payload = page(old_path(block_size=block_size), 0xB0)
    assert len(payload) == 0x3C
    assert payload[4:8] == blocks.to_bytes(4, "big")
    assert payload[:4] + payload[8:] == bytes(0x38)


@pytest.mark.conformance("VPD-013", "SBC-011", "SBC-014", "SBC-015", "SBC-016")
@pytest.mark.parametrize(("block_size", "page_blocks"), [(512, 8), (4096, 1)])
def test_block_limits_of_what_is_offered(block_size: int, page_blocks: int) -> None:
    payload = page(Array({1: make_disk(block_size=block_size)}).path(), 0xB0)
    assert struct.unpack(">BBHIIIIIIIQIIIII", payload) == (
        0,  # WSNZ
        255,
        0,
        (32 << 20) // block_size,
        0,
        (32 << 20) // block_size,  # PRE-FETCH
        0xFFFF_FFFF,
        256,
        page_blocks,
        0x8000_0000,  # UGAVALID, alignment 0
        0xFFFF_FFFF,
        (1 << 20) // block_size,  # WRITE ATOMIC
        page_blocks,
        page_blocks,
        0,
        0,
    )


@pytest.mark.conformance("VPD-014")
def test_block_device_characteristics_tell_the_rotation_rate() -> None:
    # WABEREQ 01b: reads after BLOCK ERASE succeed; FUAB; VBULS: unmapped blocks can be compared
    payload = page(Array({1: make_disk(rotation_rate=10000)}).path(), 0xB1)
    assert payload == (10000).to_bytes(2, "big") + bytes.fromhex("00 40 03") + bytes(0x37)
    payload = page(old_path(rotation_rate=10000), 0xB1)
    assert payload == (10000).to_bytes(2, "big") + bytes.fromhex("00 00 02") + bytes(0x37)


@pytest.mark.conformance("VPD-015", "SBC-017")
def test_disk_is_thin_and_reads_zeros_where_it_is_unmapped(path: Path) -> None:
    # LBPU, LBPWS, LBPWS10, LBPRZ 001b; thin provisioned; no thresholds
    assert page(path, 0xB2) == bytes.fromhex("00 E4 02 00")


@pytest.mark.conformance("VPD-015")
def test_provisioning_bits_follow_the_commands() -> None:
    only_unmap = Personality("thin", frozenset({*(OLD.commands or ()), "UNMAP"}))
    assert page(Array({1: make_disk(personality=only_unmap)}).path(), 0xB2) == bytes.fromhex("00 84 02 00")
    write_same = Personality("thick", frozenset({*(OLD.commands or ()), "WRITE SAME(10)", "WRITE SAME(16)"}))
    assert page(Array({1: make_disk(personality=write_same)}).path(), 0xB2) == bytes(4)


@pytest.mark.conformance("VPD-015", "VPD-002")
def test_disk_without_unmap_is_fully_provisioned() -> None:
    assert page(old_path(), 0xB2) == bytes(4)
