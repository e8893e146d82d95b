"""CRC32C as RFC 7143 13.1 wants it, least significant byte first."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpxtarget.pdu import crc32c, data_digest, header_digest

READ_10 = bytes.fromhex(
    "01c00000 00000000 00000000 00000000 14000000 00000400 00000014 00000018"
    "28000000 00000000 02000000 00000000"
)


@pytest.mark.conformance("DIG-001")
@pytest.mark.conformance("DIG-002")
@pytest.mark.parametrize(
    ("data", "digest"),
    [
        (bytes(32), "aa36918a"),
        (b"\xff" * 32, "43aba862"),
        (bytes(range(32)), "4e79dd46"),
        (bytes(range(31, -1, -1)), "5cdb3f11"),
        (READ_10, "563a96d9"),
    ],
)
def test_the_examples_of_appendix_a_4(data: bytes, digest: str) -> None:
    assert data_digest(data).hex() == digest
    assert header_digest(data).hex() == digest
    assert crc32c(data) == int.from_bytes(bytes.fromhex(digest), "little")


@pytest.mark.conformance("DIG-002")
@pytest.mark.conformance("PDU-008")
@given(st.binary(max_size=64))
def test_padding_is_counted_as_zeros(data: bytes) -> None:
    assert data_digest(data) == data_digest(data + bytes(-len(data) % 4))


@given(st.binary(max_size=64), st.integers(0, 64))
def test_parts_are_counted_as_one_and_read_in_place(data: bytes, cut: int) -> None:
    view = memoryview(bytearray(data))
    assert data_digest(view[:cut], view[cut:]) == data_digest(data)
    assert crc32c(view[cut:], crc32c(view[:cut])) == crc32c(data)


@pytest.mark.conformance("DIG-002")
@given(st.binary(min_size=48, max_size=48), st.binary(max_size=16))
def test_the_header_digest_covers_the_ahs(header: bytes, ahs: bytes) -> None:
    assert header_digest(header, ahs) == header_digest(header + ahs)
