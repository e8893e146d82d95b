"""READ CAPACITY(10) and (16)."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scsi_initiator import Array, Path, make_disk

from mpxtarget.scsi.personality import Personality

BASIC = ("TEST UNIT READY", "INQUIRY", "REQUEST SENSE", "REPORT LUNS")
RC_16 = "9E 10 0000000000000000 000000FF"


@given(st.integers(1, 2**64 >> 12), st.sampled_from([512, 1024, 2048, 4096]))
@pytest.mark.conformance("SBC-001", "SBC-002", "SBC-004", "VPD-015")
def test_capacity_is_the_last_address_and_the_block_length(blocks: int, block_size: int) -> None:
    path = Array({1: make_disk(blocks=blocks, block_size=block_size)}).path()
    last, length = struct.unpack(">II", path.read("25"))
    assert last == min(blocks - 1, 0xFFFF_FFFF)
    assert length == block_size
    data = path.read(RC_16)
    assert len(data) == 32
    assert struct.unpack_from(">QI", data) == (blocks - 1, block_size)
    # no protection information, no larger physical blocks; thin, and unmapped blocks read as zeros
    assert data[12:] == bytes.fromhex("0000 C000") + bytes(16)


@pytest.mark.conformance("SBC-002", "VPD-015", "SBC-017")
def test_disk_without_unmap_is_fully_provisioned() -> None:
    path = Array(
        {1: make_disk(personality=Personality("old", frozenset({"READ CAPACITY(16)", *BASIC})))}
    ).path()
    assert path.read(RC_16)[12:] == bytes(20)


@pytest.mark.conformance("SBC-001")
@pytest.mark.parametrize(
    ("blocks", "last"), [(2**32 - 1, 2**32 - 2), (2**32, 2**32 - 1), (2**32 + 1, 2**32 - 1)]
)
def test_ten_bytes_say_so_if_they_are_not_enough(blocks: int, last: int) -> None:
    path = Array({1: make_disk(blocks=blocks)}).path()
    assert struct.unpack(">II", path.read("25"))[0] == last


@pytest.mark.conformance("SBC-003", "OPC-001")
@pytest.mark.parametrize("cdb", ["25 00 00000001", "9E 10 0000000000000001 00000020"])
def test_address_without_pmi_is_refused(path: Path, cdb: str) -> None:
    sense = path.sense(cdb)
    assert sense.code == (5, 0x2400)
    assert sense.pointer == ("CDB", 2, None)


@pytest.mark.conformance("SBC-003")
def test_address_with_pmi_answers_the_last_one(path: Path) -> None:
    assert path.read("25 00 00000001 0000 01") == path.read("25")
    assert path.read("9E 10 0000000000000001 00000020 01") == path.read(RC_16)


@pytest.mark.conformance("CDB-002", "SBC-002")
@pytest.mark.parametrize("allocation_length", [0, 8, 12, 32, 33, 0xFFFFFFFF])
def test_answer_is_cut_to_the_allocation_length(path: Path, allocation_length: int) -> None:
    assert (
        path.read(f"9E 10 0000000000000000 {allocation_length:08X}") == path.read(RC_16)[:allocation_length]
    )
