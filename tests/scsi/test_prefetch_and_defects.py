"""PRE-FETCH reads into the cache; READ DEFECT DATA has nothing to tell."""

import pytest
from medium import Ram, carry_out
from scsi_initiator import Path

from mpxtarget.scsi.codes import Status
from mpxtarget.scsi.plan import WorkOnBlocks

BLOCKS = 1 << 21
BLOCK = 512


def prefetch(lba: int, count: int, flags: int = 0) -> list[str]:
    """PRE-FETCH(10) and (16)."""
    return [f"34 {flags:02X} {lba:08X} 00 {count:04X}", f"90 {flags:02X} {lba:016X} {count:08X}"]


@pytest.mark.conformance("SBC-010")
@pytest.mark.parametrize("cdb", prefetch(16, 3000))
def test_all_blocks_are_read_in_pieces(path: Path, cdb: str) -> None:
    medium = Ram()
    assert carry_out(path, cdb, medium).status == Status.CONDITION_MET
    assert medium.done("read") == [(16 * BLOCK, 1 << 20), (16 * BLOCK + (1 << 20), 3000 * BLOCK - (1 << 20))]


@pytest.mark.conformance("SBC-010", "CDB-004")
@pytest.mark.parametrize("cdb", prefetch(BLOCKS - 5, 0))
def test_length_0_is_up_to_the_last_block(path: Path, cdb: str) -> None:
    medium = Ram()
    assert carry_out(path, cdb, medium).status == Status.CONDITION_MET
    assert medium.done("read") == [((BLOCKS - 5) * BLOCK, 5 * BLOCK)]


@pytest.mark.conformance("SBC-010", "VPD-013")
@pytest.mark.parametrize("cdb", prefetch(0, 0))
def test_more_than_the_cache_takes_is_read_as_far_as_that(path: Path, cdb: str) -> None:
    medium = Ram()
    assert carry_out(path, cdb, medium).status == Status.GOOD
    assert sum(length for _, length in medium.done("read")) == 32 << 20


@pytest.mark.conformance("SBC-010", "CDB-012")
def test_more_than_the_limit_is_refused(path: Path) -> None:
    assert path.sense(prefetch(0, 65537)[1]).pointer == ("CDB", 10, None)


@pytest.mark.conformance("SBC-010", "CDB-005")
@pytest.mark.parametrize("cdb", prefetch(BLOCKS, 0) + prefetch(BLOCKS - 1, 2))
def test_address_out_of_range(path: Path, cdb: str) -> None:
    assert path.sense(cdb).code == (5, 0x2100)


@pytest.mark.conformance("SBC-010")
@pytest.mark.parametrize(("flags", "immediate"), [(0x00, False), (0x02, True)])
def test_immed_does_not_wait(path: Path, flags: int, immediate: bool) -> None:
    for cdb in prefetch(0, 8, flags):
        plan = path.plan(cdb)
        assert isinstance(plan, WorkOnBlocks)
        assert plan.immediate is immediate
        assert not any(extent.writing for extent in plan.extents)


@pytest.mark.conformance("SBC-020", "CDB-002")
@pytest.mark.parametrize("lists", [0x00, 0x08, 0x10, 0x18])
@pytest.mark.parametrize("form", [0b000, 0b011, 0b100, 0b101, 0b110])
def test_lists_of_defects_are_empty(path: Path, lists: int, form: int) -> None:
    asked = lists | form
    assert path.read(f"37 00 {asked:02X} 00000000 0020") == bytes((0, asked, 0, 0))
    assert path.read(f"B7 {asked:02X} 00000000 00000020") == bytes((0, asked, 0, 0, 0, 0, 0, 0))
    assert path.read(f"37 00 {asked:02X} 00000000 0003") == bytes((0, asked, 0))
    assert path.read(f"B7 {asked:02X} 00000007 00000000") == b""


@pytest.mark.conformance("SBC-020", "OPC-001")
@pytest.mark.parametrize("form", [0b001, 0b010, 0b111])
def test_other_formats_are_refused(path: Path, form: int) -> None:
    assert path.sense(f"37 00 {form:02X} 00000000 0020").pointer == ("CDB", 2, 2)
    assert path.sense(f"B7 {form:02X} 00000000 00000020").pointer == ("CDB", 1, 2)
