"""AHS: lengths, padding, and a chain that stays inside TotalAHSLength (RFC 7143 11.2.2)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpxtarget.pdu import Ahs, AhsError, AhsType, bidirectional_read_length, extended_cdb, parse_ahs


@pytest.mark.conformance("PDU-017")
def test_a_32_byte_cdb_takes_20_bytes_of_ahs() -> None:
    wire = extended_cdb(bytes(range(32))).to_bytes()
    assert wire.hex() == "00110100" + bytes(range(16, 32)).hex()
    assert len(wire) == 20


@pytest.mark.conformance("PDU-017")
def test_a_cdb_of_16_bytes_needs_no_ahs() -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        extended_cdb(bytes(16))
    assert extended_cdb(bytes(17)).to_bytes() == bytes.fromhex("0002 01 00 00 000000")


@pytest.mark.conformance("PDU-018")
def test_the_bidirectional_read_length_is_five_bytes() -> None:
    assert bidirectional_read_length(0x12345678).to_bytes().hex() == "0005020012345678"


@pytest.mark.conformance("PDU-016")
@given(
    st.lists(st.builds(Ahs, st.integers(0, 255), st.integers(0, 255), st.binary(max_size=40)), max_size=4),
)
def test_a_chain_is_walked_to_its_end(chain: list[Ahs]) -> None:
    wire = b"".join(ahs.to_bytes() for ahs in chain)
    assert len(wire) % 4 == 0
    assert parse_ahs(memoryview(wire)) == chain


@pytest.mark.conformance("PDU-016")
@pytest.mark.parametrize("wire", ["00060200 12345678", "0005", "00050200", "00000100", "ffff0100 00000000"])
def test_an_ahs_that_runs_past_its_end_is_an_error(wire: str) -> None:
    with pytest.raises(AhsError):
        parse_ahs(bytes.fromhex(wire))


@given(st.binary(max_size=64))
def test_any_bytes_are_a_chain_or_an_error(wire: bytes) -> None:
    try:
        chain = parse_ahs(wire)
    except AhsError:
        return
    assert sum(len(ahs.to_bytes()) for ahs in chain) == len(wire)


def test_types_have_their_numbers() -> None:
    assert (AhsType.EXTENDED_CDB, AhsType.BIDIRECTIONAL_READ_LENGTH) == (1, 2)
