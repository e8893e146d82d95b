"""Sense data: formats, field pointers, information, and which error tells what."""

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scsi_initiator import REQUEST_SENSE, Array, Path, make_disk, parse_sense

from mpxtarget.scsi.codes import Asc, SenseKey
from mpxtarget.scsi.sense import FieldPointer, SenseData, io_failed

D_SENSE = bytes.fromhex("00000000 0A0A 04 10 00 00 0000 FFFF 0000")
SELECT_D_SENSE = "15 10 00 00 10"

SENSE = st.builds(
    SenseData,
    key=st.integers(0, 15),
    asc=st.integers(0, 0xFFFF),
    information=st.none() | st.integers(0, 2**64 - 1),
    field=st.none()
    | st.builds(
        FieldPointer, in_cdb=st.booleans(), byte=st.integers(0, 0xFFFF), bit=st.none() | st.integers(0, 7)
    ),
)


@given(SENSE)
@pytest.mark.conformance("SNS-001", "SNS-002", "SNS-003", "SNS-004", "LAY-001")
def test_fixed_format_says_what_is_meant(sense: SenseData) -> None:
    data = sense.pack(descriptor=False)
    assert len(data) == 18
    parsed = parse_sense(data)
    assert parsed.response_code == 0x70
    assert parsed.code == (sense.key, sense.asc)
    fits = sense.information is not None and sense.information < 2**32
    assert parsed.information == (sense.information if fits else None)
    assert parsed.pointer == pointer(sense)


@given(SENSE)
@pytest.mark.conformance("SNS-001", "SNS-003", "SNS-004", "LAY-001")
def test_descriptor_format_says_what_is_meant(sense: SenseData) -> None:
    parsed = parse_sense(sense.pack(descriptor=True))
    assert parsed.response_code == 0x72
    assert parsed.code == (sense.key, sense.asc)
    assert parsed.information == sense.information
    assert parsed.pointer == pointer(sense)


def pointer(sense: SenseData) -> tuple[str, int, int | None] | None:
    """A field pointer as `parse_sense` gives it."""
    at = sense.field
    return None if at is None else ("CDB" if at.in_cdb else "data", at.byte, at.bit)


@pytest.mark.conformance("SNS-001", "MOD-010")
def test_d_sense_selects_the_format_for_every_nexus_at_once(path: Path, other: Path) -> None:
    assert path.sense("FF").response_code == 0x70
    path.send(SELECT_D_SENSE, data=D_SENSE)
    assert path.sense("FF").response_code == 0x72
    assert other.sense("00").response_code == 0x72
    assert other.sense("28 80").pointer == ("CDB", 1, 7)


@pytest.mark.conformance("SNS-001")
def test_desc_selects_the_format_of_request_sense_whatever_d_sense_says(path: Path) -> None:
    path.send(SELECT_D_SENSE, data=D_SENSE)
    assert parse_sense(path.read("03 00 00 00 FC")).response_code == 0x70
    assert parse_sense(path.read("03 01 00 00 FC")).response_code == 0x72


@pytest.mark.conformance("SNS-006")
@pytest.mark.parametrize(("cdb", "code"), [("03 00 00 00 FC", 0x70), ("03 01 00 00 FC", 0x72)])
def test_nothing_to_report(path: Path, cdb: str, code: int) -> None:
    sense = parse_sense(path.read(cdb))
    assert sense.response_code == code
    assert sense.code == (0, 0)


@pytest.mark.conformance("CDB-002")
@pytest.mark.parametrize("allocation_length", [0, 1, 8, 18, 252])
def test_request_sense_is_cut_to_the_allocation_length(path: Path, allocation_length: int) -> None:
    whole = path.read(REQUEST_SENSE)
    assert path.read(f"03 00 00 00 {allocation_length:02X}") == whole[:allocation_length]


@pytest.mark.conformance("SBC-021")
def test_request_sense_tells_that_the_disk_is_stopped(array: Array, path: Path) -> None:
    array.disk.stop()
    assert parse_sense(path.read(REQUEST_SENSE)).code == (2, 0x0402)


@pytest.mark.conformance("SNS-008", "SBC-023")
@pytest.mark.parametrize(
    ("error", "writing", "code"),
    [
        (errno.EIO, False, (3, 0x1100)),
        (errno.EIO, True, (3, 0x0C00)),
        (errno.ENOSPC, True, (7, 0x2707)),
        (errno.EDQUOT, True, (7, 0x2707)),
        (errno.EROFS, True, (7, 0x2700)),
        (errno.EBADF, False, (4, 0x4400)),
        (errno.ENOMEM, True, (4, 0x4400)),
        (None, True, (4, 0x4400)),
    ],
)
@pytest.mark.parametrize("descriptor", [False, True])
def test_failed_io_tells_where(
    error: int | None, writing: bool, code: tuple[int, int], descriptor: bool
) -> None:
    failure = OSError(error, "") if error is not None else OSError("no number")
    for block_size in (512, 4096):
        disk = make_disk(block_size=block_size)
        reply = io_failed(failure, disk, 7 * block_size, writing, descriptor)
        sense = parse_sense(reply.sense)
        assert sense.code == code
        assert sense.information == 7
        assert sense.response_code == (0x72 if descriptor else 0x70)


@pytest.mark.conformance("SNS-003")
def test_address_that_does_not_fit_is_not_cut(path: Path) -> None:
    sense = path.sense("88 00 0000000100000000 00000001")
    assert sense.code == (SenseKey.ILLEGAL_REQUEST, Asc.LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE)
    assert sense.information is None
    path.send(SELECT_D_SENSE, data=D_SENSE)
    assert path.sense("88 00 0000000100000000 00000001").information == 1 << 32
