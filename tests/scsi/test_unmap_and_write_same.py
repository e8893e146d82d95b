"""UNMAP and WRITE SAME: checked as a whole before anything is changed; zeros take no space."""

import struct

import pytest
from medium import Ram, carry_out, changed
from scsi_initiator import GOOD, Array, Path, make_disk

from mpxtarget.scsi.personality import Personality
from mpxtarget.scsi.plan import Reply, TakeData

BLOCKS = 1 << 21
BLOCK = 512
WCE_0 = "0812" + "00" * 18
THICK = Personality(
    "thick", frozenset({"TEST UNIT READY", "WRITE SAME(10)", "WRITE SAME(16)", "MODE SELECT(6)"})
)


def unmap(*ranges: tuple[int, int], described: int | None = None, extra: bytes = b"") -> tuple[str, bytes]:
    """UNMAP of these (LBA, blocks): CDB and parameter list."""
    descriptors = b"".join(struct.pack(">QI4x", lba, blocks) for lba, blocks in ranges) + extra
    described = len(descriptors) if described is None else described
    data = struct.pack(">HH4x", described + 6, described) + descriptors
    return f"42 00 00000000 00 {len(data):04X}", data


def write_same(lba: int, count: int, flags: int = 0) -> str:
    """WRITE SAME(16)."""
    return f"93 {flags:02X} {lba:016X} {count:08X}"


PATTERN = bytes(range(256)) * 2


@pytest.mark.conformance("SBC-016", "SBC-017")
def test_unmapped_blocks_read_as_zeros(path: Path) -> None:
    medium = Ram()
    medium.write(8 * BLOCK, b"x" * 4096)
    cdb, data = unmap((8, 8), (100, 1))
    assert carry_out(path, cdb, medium, data).status == GOOD
    assert medium.done("zero") == [(8 * BLOCK, 4096), (100 * BLOCK, BLOCK)]
    assert medium.read(8 * BLOCK, 4096) == bytes(4096)


@pytest.mark.conformance("SBC-016")
def test_overlapping_descriptors_are_one_range_each(path: Path) -> None:
    assert changed(path, *unmap((20, 10), (0, 4), (25, 10), (4, 4), (40, 0), (26, 1))) == [
        (0, 8 * BLOCK),
        (20 * BLOCK, 15 * BLOCK),
    ]


@pytest.mark.conformance("SBC-016", "CDB-003")
def test_list_of_nothing_is_good(path: Path) -> None:
    assert path.send("42 00 00000000 00 0000").status == GOOD
    for ranges in ((), ((5, 0),), ((BLOCKS, 0), (2**64 - 1, 0))):
        cdb, data = unmap(*ranges)
        assert path.send(cdb, data=data).status == GOOD


@pytest.mark.conformance("SBC-016", "CDB-003")
@pytest.mark.parametrize("length", range(1, 8))
def test_list_without_a_whole_header_is_too_short(path: Path, length: int) -> None:
    assert path.sense(f"42 00 00000000 00 {length:04X}").code == (5, 0x1A00)


@pytest.mark.conformance("SBC-016", "CDB-003")
def test_list_that_ends_before_its_descriptors_is_too_short(path: Path) -> None:
    cdb, data = unmap((0, 1), described=17)
    assert path.sense(cdb, data=data).code == (5, 0x1A00)


@pytest.mark.conformance("SBC-016")
@pytest.mark.parametrize("extra", [1, 15])
def test_incomplete_last_descriptor_is_ignored(path: Path, extra: int) -> None:
    assert changed(path, *unmap((3, 1), extra=b"\xff" * extra)) == [(3 * BLOCK, BLOCK)]


@pytest.mark.conformance("SBC-016", "CDB-006", "SNS-003")
@pytest.mark.parametrize(
    ("bad", "first"),
    [((BLOCKS, 1), BLOCKS), ((BLOCKS - 1, 2), BLOCKS), ((0, 0xFFFF_FFFF), BLOCKS), ((2**64 - 1, 2), None)],
)
def test_address_out_of_range_unmaps_nothing(path: Path, bad: tuple[int, int], first: int | None) -> None:
    cdb, data = unmap((0, 8), bad)
    sense = path.sense(cdb, data=data)
    assert sense.code == (5, 0x2100)
    assert sense.information == first


@pytest.mark.conformance("SBC-016", "VPD-013")
def test_more_descriptors_than_the_limit_are_refused(path: Path) -> None:
    assert len(changed(path, *unmap(*((2 * n, 1) for n in range(256))))) == 256
    cdb, data = unmap(*((2 * n, 1) for n in range(257)))
    sense = path.sense(cdb, data=data)
    assert sense.code == (5, 0x2600)
    assert sense.pointer == ("data", 2, None)


@pytest.mark.conformance("SBC-016", "OPC-001")
def test_anchor_is_refused(path: Path) -> None:
    assert path.sense("42 01 00000000 00 0018").pointer == ("CDB", 1, 0)
    assert path.sense(write_same(0, 1, 0x18)).pointer == ("CDB", 1, 4)
    assert path.sense("41 10 00000000 00 0001").pointer == ("CDB", 1, 4)


@pytest.mark.conformance("SBC-006", "OPC-001")
@pytest.mark.parametrize("cdb", ["42 00 00000000 00 0018", write_same(0, 1), "41 00 00000000 00 0001"])
def test_write_protected_disk_refuses(cdb: str) -> None:
    assert Array({1: make_disk(read_only=True)}).path().sense(cdb).code == (7, 0x2700)


@pytest.mark.conformance("SBC-015")
@pytest.mark.parametrize("cdb", [write_same(16, 5000), "41 00 00000010 00 1388"])
def test_one_block_is_written_to_many(path: Path, cdb: str) -> None:
    medium = Ram()
    assert carry_out(path, cdb, medium, PATTERN).status == GOOD
    written = medium.done("write")
    assert written[0][0] == 16 * BLOCK
    assert sum(length for _, length in written) == 5000 * BLOCK
    assert max(length for _, length in written) <= 1 << 20, "pieces, between which it can be abandoned"
    assert medium.read(16 * BLOCK, 5000 * BLOCK) == PATTERN * 5000
    assert medium.done("flush") == []


@pytest.mark.conformance("SBC-015", "SBC-009")
@pytest.mark.parametrize("block", [PATTERN, bytes(BLOCK)])
def test_without_write_cache_it_is_durable(path: Path, block: bytes) -> None:
    path.send("15 10 00 00 18", data=bytes(4) + bytes.fromhex(WCE_0))
    medium = Ram()
    carry_out(path, write_same(0, 8), medium, block)
    cdb, data = unmap((100, 1))
    carry_out(path, cdb, medium, data)
    assert medium.done("flush") == [(0, 0), (0, 0)]


@pytest.mark.conformance("SBC-015", "SBC-017")
@pytest.mark.parametrize(
    ("cdb", "block"),
    [
        (write_same(8, 80), bytes(BLOCK)),
        (write_same(8, 80, 0x08), bytes(BLOCK)),
        (write_same(8, 80, 0x08), PATTERN),
        ("41 08 00000008 00 0050", bytes(BLOCK)),
        ("41 00 00000008 00 0050", bytes(BLOCK)),
        (write_same(8, 80, 0x01), b""),
        (write_same(8, 80, 0x09), b""),
    ],
)
def test_zeros_take_no_space(path: Path, cdb: str, block: bytes) -> None:
    medium = Ram()
    assert carry_out(path, cdb, medium, block).status == GOOD
    assert medium.done("zero") == [(8 * BLOCK, 80 * BLOCK)]
    assert medium.done("write") == []


@pytest.mark.conformance("SBC-015", "CDB-004")
@pytest.mark.parametrize("cdb", [write_same(BLOCKS - 3, 0), f"41 00 {BLOCKS - 3:08X} 00 0000"])
def test_length_0_is_up_to_the_last_block(path: Path, cdb: str) -> None:
    assert changed(path, cdb, PATTERN) == [((BLOCKS - 3) * BLOCK, 3 * BLOCK)]


@pytest.mark.conformance("SBC-015", "SBC-017")
def test_whole_sparse_disk_is_one_call() -> None:
    path = Array({1: make_disk(blocks=1 << 31)}).path()
    medium = Ram(1 << 40)
    assert carry_out(path, write_same(0, 0, 0x01), medium).status == GOOD
    assert medium.done("zero") == [(0, 1 << 40)]


@pytest.mark.conformance("SBC-015", "VPD-013")
def test_more_blocks_than_the_limit_are_refused() -> None:
    path = Array({1: make_disk(blocks=2**33)}).path()
    assert changed(path, write_same(0, 0xFFFF_FFFF, 0x01)) == [(0, 0xFFFF_FFFF * BLOCK)]
    sense = path.sense(write_same(0, 0))
    assert sense.code == (5, 0x2400)
    assert sense.pointer == ("CDB", 10, None)


@pytest.mark.conformance("SBC-015", "CDB-005", "CDB-006")
@pytest.mark.parametrize(("lba", "count"), [(BLOCKS, 0), (BLOCKS, 1), (BLOCKS - 1, 2), (2**64 - 1, 1)])
def test_write_same_out_of_range(path: Path, lba: int, count: int) -> None:
    assert path.sense(write_same(lba, count)).code == (5, 0x2100)


@pytest.mark.conformance("SBC-015")
def test_data_out_is_exactly_one_block(path: Path) -> None:
    plan = path.plan(write_same(0, 8))
    assert isinstance(plan, TakeData)
    assert (plan.length, plan.most, plan.unit) == (BLOCK, BLOCK, 0)
    assert isinstance(plan.too_much, Reply)


@pytest.mark.conformance("VPD-015", "SBC-015", "MSC-006")
def test_fully_provisioned_disk_knows_no_unmap() -> None:
    path = Array({1: make_disk(personality=THICK)}).path()
    assert path.sense("42 00 00000000 00 0018").code == (5, 0x2000)
    for cdb in (write_same(0, 1, 0x08), "41 08 00000000 00 0001"):
        assert path.sense(cdb).pointer == ("CDB", 1, 3)
    assert changed(path, write_same(0, 1, 0x01)) == [(0, BLOCK)]


@pytest.mark.conformance("SBC-005", "SBC-015", "SBC-016")
def test_disk_that_became_smaller_meanwhile_is_not_written_behind_its_end(path: Path, array: Array) -> None:
    plan = path.plan(write_same(BLOCKS - 8, 8))
    cdb, data = unmap((BLOCKS - 8, 8))
    second = path.plan(cdb)
    array.disk.resize(BLOCKS - 1)
    assert isinstance(plan, TakeData)
    assert isinstance(second, TakeData)
    for reply in (plan.then(PATTERN), second.then(data)):
        assert isinstance(reply, Reply)
        assert reply.sense[12] == 0x21


@pytest.mark.conformance("SBC-023")
def test_an_abandoned_write_same_stops_between_two_pieces(path: Path) -> None:
    medium = Ram()
    medium.patience = 3
    with pytest.raises(AssertionError, match="abandoned"):
        carry_out(path, write_same(0, 1 << 20), medium, PATTERN)
    assert medium.done("write") == [(0, 1 << 20), (1 << 20, 1 << 20), (2 << 20, 1 << 20)]
