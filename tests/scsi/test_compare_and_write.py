"""The commands that look at what they change: COMPARE AND WRITE, ORWRITE, WRITE AND VERIFY, WRITE ATOMIC."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from medium import Ram, carry_out, changed, sense_of
from scsi_initiator import GOOD, Array, Path, make_disk

from mpxtarget.scsi.pieces import first_unequal
from mpxtarget.scsi.plan import Reply, TakeData, WorkOnBlocks

BLOCKS = 1 << 21
BLOCK = 512
D_SENSE_1 = "0A0A 04 10 00 00 0000 FFFF 0000"
WCE_0 = "0812" + "00" * 18

OLD, NEW = bytes(range(256)) * 2, b"new!" * 128


def caw(lba: int, count: int, flags: int = 0) -> str:
    """COMPARE AND WRITE."""
    return f"89 {flags:02X} {lba:016X} 000000 {count:02X}"


def long(opcode: int, lba: int, count: int, flags: int = 0) -> str:
    """A block command of 16 bytes."""
    return f"{opcode:02X} {flags:02X} {lba:016X} {count:08X}"


def verifies(lba: int, count: int, flags: int = 0) -> list[str]:
    """WRITE AND VERIFY(10), (12), (16)."""
    return [
        f"2E {flags:02X} {lba:08X} 00 {count:04X}",
        f"AE {flags:02X} {lba:08X} {count:08X}",
        long(0x8E, lba, count, flags),
    ]


OR, ATOMIC = 0x8B, 0x9C


def holding(data: bytes, lba: int) -> Ram:
    """A medium with these blocks."""
    medium = Ram()
    medium.write(lba * BLOCK, data)
    medium.log.clear()
    return medium


@pytest.mark.conformance("SBC-011")
@pytest.mark.parametrize("count", [1, 2, 255])
def test_equal_blocks_are_replaced(path: Path, count: int) -> None:
    medium = holding(OLD * count, 40)
    assert changed(path, caw(40, count), OLD * count + NEW * count) == [(40 * BLOCK, count * BLOCK)]
    assert carry_out(path, caw(40, count), medium, OLD * count + NEW * count).status == GOOD
    assert medium.read(40 * BLOCK, count * BLOCK) == NEW * count
    assert medium.done("flush") == []


@pytest.mark.conformance("SBC-011", "SNS-003")
@pytest.mark.parametrize("at", [0, 511, 512, 1000, 1535])
@pytest.mark.parametrize("descriptor", [False, True])
def test_miscompare_tells_where_and_writes_nothing(path: Path, at: int, descriptor: bool) -> None:
    if descriptor:
        path.send("15 10 00 00 10", data=bytes(4) + bytes.fromhex(D_SENSE_1))
    medium = holding(OLD * 3, 0)
    wanted = bytearray(OLD * 3)
    wanted[at] ^= 0x01
    wanted[1535] ^= 0x80
    sense = sense_of(path, caw(0, 3), medium, bytes(wanted) + NEW * 3)
    assert (sense.code, sense.information) == ((0xE, 0x1D00), at)
    assert sense.response_code == (0x72 if descriptor else 0x70)
    assert medium.done("write") == []


@pytest.mark.conformance("SBC-011", "CDB-009", "SBC-009")
def test_fua_is_durable_and_so_is_every_one_without_write_cache(path: Path) -> None:
    for flags in (0x08, 0x18):
        medium = holding(OLD, 0)
        carry_out(path, caw(0, 1, flags), medium, OLD + NEW)
        assert [each for each, _, _ in medium.log] == ["read", "write", "flush"]
    path.send("15 10 00 00 18", data=bytes(4) + bytes.fromhex(WCE_0))
    for cdb, data in ((caw(0, 1), OLD + NEW), (long(OR, 0, 1), NEW)):
        medium = holding(OLD, 0)
        carry_out(path, cdb, medium, data)
        assert medium.log[-1][0] == "flush"


@pytest.mark.conformance("SBC-011", "CDB-004")
def test_nothing_to_compare_is_good(path: Path) -> None:
    plan = path.plan(caw(5, 0))
    assert isinstance(plan, TakeData)
    assert plan.length == 0
    assert plan.then(b"") == Reply(GOOD)


@pytest.mark.conformance("SBC-011")
@pytest.mark.parametrize(("count", "most"), [(0, 512), (1, 1024), (255, 510 * 512)])
def test_data_out_of_another_length_is_the_data_of_another_command(path: Path, count: int, most: int) -> None:
    plan = path.plan(caw(5, count))
    assert isinstance(plan, TakeData)
    assert (plan.length, plan.most, plan.unit) == (2 * count * BLOCK, most, 0)
    assert plan.too_much is not None
    assert plan.too_much.sense[2] == 0x5
    assert plan.too_much.sense[12:18] == bytes.fromhex("2400 00 C0 000D")


@pytest.mark.conformance("CDB-012", "VPD-013", "SBC-014")
@pytest.mark.parametrize(
    ("cdb", "byte"),
    [
        (long(OR, 0, 65537), 10),
        (long(ATOMIC, 0, 2056), 12),
        (verifies(0, 65537)[1], 6),
        (verifies(0, 65537)[2], 10),
    ],
)
def test_more_than_the_limit_is_refused(path: Path, cdb: str, byte: int) -> None:
    sense = path.sense(cdb)
    assert sense.code == (5, 0x2400)
    assert sense.pointer == ("CDB", byte, None)


ALL = [caw(0, 1), long(OR, 0, 1), long(ATOMIC, 0, 8), *verifies(0, 1)]


@pytest.mark.conformance("CDB-008", "OPC-001")
@pytest.mark.parametrize("cdb", ALL)
def test_protection_information_is_refused(path: Path, cdb: str) -> None:
    assert path.sense(cdb[:3] + "20" + cdb[5:]).pointer == ("CDB", 1, 7)


@pytest.mark.conformance("SBC-006", "OPC-001")
@pytest.mark.parametrize("cdb", ALL)
def test_write_protected_disk_refuses(cdb: str) -> None:
    assert Array({1: make_disk(read_only=True)}).path().sense(cdb).code == (7, 0x2700)


@pytest.mark.conformance("CDB-005", "CDB-006", "SBC-011", "SBC-014")
@pytest.mark.parametrize(
    "cdb",
    [
        form
        for lba, count in [(BLOCKS, 0), (BLOCKS, 8), (BLOCKS - 8, 16), (2**64 - 8, 8), (2**63, 0)]
        for form in (caw(lba, count), long(OR, lba, count), long(ATOMIC, lba, count), verifies(lba, count)[2])
    ],
)
def test_address_out_of_range(path: Path, cdb: str) -> None:
    assert path.sense(cdb).code == (5, 0x2100)


@pytest.mark.conformance("SBC-005")
@pytest.mark.parametrize("cdb", [caw(BLOCKS - 8, 8), long(OR, BLOCKS - 8, 8), long(ATOMIC, BLOCKS - 8, 8)])
def test_disk_that_became_smaller_meanwhile_is_not_written_behind_its_end(
    path: Path, array: Array, cdb: str
) -> None:
    plan = path.plan(cdb)
    assert isinstance(plan, TakeData)
    array.disk.resize(BLOCKS - 1)
    reply = plan.then(bytes(plan.length))
    assert isinstance(reply, Reply)
    assert reply.sense[12] == 0x21


@pytest.mark.conformance("SBC-013")
def test_orwrite_sets_bits_and_clears_none(path: Path) -> None:
    medium = holding(b"\x0f\xf0" * 256 * 3000, 7)
    data = b"\xa0\x05" * 256 * 3000
    assert carry_out(path, long(OR, 7, 3000), medium, data).status == GOOD
    assert medium.read(7 * BLOCK, 3000 * BLOCK) == b"\xaf\xf5" * 256 * 3000
    assert max(length for _, length in medium.done("write")) <= 1 << 20


@pytest.mark.conformance("SBC-013", "RES-006")
@pytest.mark.parametrize("cdb", [long(OR, 8, 4), *verifies(8, 4)])
def test_as_many_blocks_as_there_are_are_written(path: Path, cdb: str) -> None:
    plan = path.plan(cdb)
    assert isinstance(plan, TakeData)
    assert (plan.length, plan.unit) == (4 * BLOCK, BLOCK)
    assert plan.then(b"") == Reply(GOOD)
    medium = Ram()
    assert carry_out(path, cdb, medium, NEW * 2).status == GOOD
    assert medium.done("write") == [(8 * BLOCK, 2 * BLOCK)]


@pytest.mark.conformance("SBC-008")
@pytest.mark.parametrize("cdb", verifies(16, 3000) + verifies(16, 3000, 0x12))
def test_what_is_verified_was_written_and_flushed_before(path: Path, cdb: str) -> None:
    medium = Ram()
    assert carry_out(path, cdb, medium, NEW * 3000).status == GOOD
    order = [each for each, _, _ in medium.log]
    assert order == ["write", "write", "flush", "read", "read"]
    assert medium.read(16 * BLOCK, 3000 * BLOCK) == NEW * 3000


@pytest.mark.conformance("SBC-008", "SBC-023")
@pytest.mark.parametrize("cdb", verifies(0, 3, 0x02))
def test_medium_that_forgets_is_found_out(path: Path, cdb: str) -> None:
    class Forgetful(Ram):
        def write(self, offset: int, data: bytes | memoryview) -> None:
            super().write(offset, bytes(data)[:700] + b"\0" * (len(data) - 700))

    sense = sense_of(path, cdb, Forgetful(), NEW * 3)
    assert (sense.code, sense.information) == ((0xE, 0x1D00), 700)


@pytest.mark.conformance("SBC-008", "OPC-001")
@pytest.mark.parametrize("cdb", verifies(0, 1, 0x04) + verifies(0, 1, 0x06))
def test_other_byte_checks_are_refused(path: Path, cdb: str) -> None:
    assert path.sense(cdb).pointer == ("CDB", 1, 2)


@pytest.mark.conformance("CDB-004")
@pytest.mark.parametrize("cdb", [long(OR, 8, 0), long(ATOMIC, 8, 0), *verifies(8, 0)])
def test_writing_nothing_is_good(path: Path, cdb: str) -> None:
    assert path.send(cdb).status == GOOD


@pytest.mark.conformance("SBC-014")
@pytest.mark.parametrize("count", [8, 16, 2048])
def test_atomic_write_is_one_whole_write(path: Path, count: int) -> None:
    medium = Ram()
    assert carry_out(path, long(ATOMIC, 16, count), medium, NEW * count).status == GOOD
    assert medium.log == [("write whole", 16 * BLOCK, count * BLOCK)]


@pytest.mark.conformance("SBC-014", "VPD-013", "OPC-001")
@pytest.mark.parametrize(
    ("cdb", "byte"),
    [
        (long(ATOMIC, 1, 8), 2),
        (long(ATOMIC, 7, 8), 2),
        (long(ATOMIC, 8, 1), 12),
        (long(ATOMIC, 8, 12), 12),
        (long(ATOMIC, 8, 0x0001_0008), 10),
    ],
)
def test_atomic_write_keeps_to_alignment_granularity_and_no_boundary(path: Path, cdb: str, byte: int) -> None:
    sense = path.sense(cdb)
    assert sense.code == (5, 0x2400)
    assert sense.pointer == ("CDB", byte, None)


@pytest.mark.conformance("SBC-004", "SBC-014")
def test_blocks_of_a_page_each_are_aligned_everywhere() -> None:
    path = Array({1: make_disk(block_size=4096)}).path()
    plan = path.plan(long(ATOMIC, 1, 1))
    assert isinstance(plan, TakeData)
    work = plan.then(bytes(4096))
    assert isinstance(work, WorkOnBlocks)
    assert [(extent.offset, extent.length) for extent in work.extents] == [(4096, 4096)]


@given(st.binary(min_size=1, max_size=5000), st.sets(st.integers(0, 4999), min_size=1))
@pytest.mark.conformance("SBC-011", "SBC-007")
def test_first_unequal_byte_is_found(data: bytes, places: set[int]) -> None:
    other = bytearray(data)
    at = {place % len(data) for place in places}
    for place in at:
        other[place] ^= 0xFF
    assert first_unequal(memoryview(data), memoryview(other)) == min(at)
