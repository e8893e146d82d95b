"""Whole PDUs come out of a byte stream, however it was cut, and lengths are checked first."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpxtarget.pdu import (
    FramingError,
    NopOut,
    PduStream,
    WholePdu,
    assemble,
    bidirectional_read_length,
    enclose,
    padded,
    serial_add,
    serial_less,
)

AHS = bidirectional_read_length(4096).to_bytes()


def stream(header_digest: bool = False, data_digest: bool = False) -> PduStream:
    stream = PduStream()
    stream.header_digest = header_digest
    stream.data_digest = data_digest
    return stream


def all_of(stream: PduStream) -> list[WholePdu]:
    found = []
    while (pdu := stream.next()) is not None:
        found.append(pdu)
    return found


@pytest.mark.conformance("PDU-001")
@pytest.mark.conformance("PDU-021")
@given(
    segments=st.lists(st.tuples(st.binary(max_size=40), st.booleans()), max_size=6),
    digests=st.tuples(st.booleans(), st.booleans()),
    cuts=st.lists(st.integers(0, 700), max_size=12),
)
def test_pdus_come_out_whole_however_the_stream_is_cut(
    segments: list[tuple[bytes, bool]], digests: tuple[bool, bool], cuts: list[int]
) -> None:
    header_digest, data_digest = digests
    wire = b"".join(
        assemble(
            NopOut(itt=itt), data, AHS if ahs else b"", header_digest=header_digest, data_digest=data_digest
        )
        for itt, (data, ahs) in enumerate(segments)
    )
    receiver = stream(header_digest, data_digest)
    found: list[WholePdu] = []
    edges = [0, *sorted(cuts), len(wire)]
    for start, end in pairwise(edges):
        receiver.receive(wire[start:end])
        found += all_of(receiver)
    assert [(pdu.data, bool(pdu.ahs)) for pdu in found] == segments
    assert [pdu.parse().itt for pdu in found] == list(range(len(segments)))
    assert all(pdu.data_intact for pdu in found)
    assert receiver.pending == 0


@pytest.mark.conformance("PDU-021")
def test_a_pdu_may_come_byte_by_byte() -> None:
    receiver = stream(header_digest=True, data_digest=True)
    wire = assemble(NopOut(itt=7), b"ping!", AHS, header_digest=True, data_digest=True)
    for byte in wire[:-1]:
        receiver.receive(bytes([byte]))
        assert receiver.next() is None
    receiver.receive(wire[-1:])
    assert receiver.next() is not None


@pytest.mark.conformance("PDU-007")
def test_lengths_count_neither_padding_nor_digests() -> None:
    pdu = NopOut()
    wire = assemble(pdu, b"12345", AHS, header_digest=True, data_digest=True)
    assert (pdu.total_ahs_length, pdu.data_segment_length) == (2, 5)
    assert len(wire) == 48 + 8 + 4 + 8 + 4


@pytest.mark.conformance("PDU-008")
@pytest.mark.parametrize("length", range(1, 9))
def test_padding_is_sent_as_zeros_and_accepted_as_anything(length: int) -> None:
    wire = assemble(NopOut(), b"x" * length)
    assert wire[48:] == b"x" * length + bytes(padded(length) - length)
    receiver = stream()
    receiver.receive(wire[: 48 + length] + b"\xa5" * (padded(length) - length))
    pdu = receiver.next()
    assert pdu is not None
    assert pdu.data == b"x" * length
    assert pdu.padding == b"\xa5" * (padded(length) - length)


@pytest.mark.conformance("PDU-009")
@pytest.mark.conformance("DIG-009")
def test_an_empty_segment_has_no_digest() -> None:
    assert assemble(NopOut(), data_digest=True) == NopOut().to_bytes()
    receiver = stream(data_digest=True)
    receiver.receive(NopOut().to_bytes() * 2)
    assert len(all_of(receiver)) == 2


@pytest.mark.conformance("PDU-011")
def test_a_segment_above_the_limit_ends_the_stream_before_it_is_waited_for() -> None:
    receiver = PduStream(max_data_segment_length=8192)
    receiver.receive(NopOut(data_segment_length=8192).to_bytes())
    assert receiver.next() is None
    receiver = PduStream(max_data_segment_length=8192)
    receiver.receive(NopOut(data_segment_length=8193).to_bytes())
    with pytest.raises(FramingError, match="8193"):
        receiver.next()


@pytest.mark.conformance("DIG-003")
def test_a_wrong_header_digest_ends_the_stream_before_a_length_is_believed() -> None:
    receiver = stream(header_digest=True)
    broken = bytearray(enclose(NopOut(data_segment_length=16 << 19).to_bytes(), header_digest=True))
    broken[51] ^= 1
    receiver.receive(broken)
    with pytest.raises(FramingError, match="digest"):
        receiver.next()


@pytest.mark.conformance("DIG-004")
@pytest.mark.conformance("PDU-008")
def test_a_wrong_data_digest_spoils_one_pdu_and_not_the_stream() -> None:
    receiver = stream(data_digest=True)
    good = assemble(NopOut(itt=1), b"12345", data_digest=True)
    for position in (48, 55, 59):  # in the data, in the padding, in the digest
        bad = bytearray(good)
        bad[position] ^= 0x40
        receiver.receive(bad)
        receiver.receive(good)
        assert [pdu.data_intact for pdu in all_of(receiver)] == [False, True]


@pytest.mark.conformance("PDU-022")
def test_part_of_a_pdu_is_never_handed_out() -> None:
    wire = assemble(NopOut(), b"1234", AHS)
    for length in range(len(wire)):
        receiver = stream()
        receiver.receive(wire[:length])
        assert receiver.next() is None
        assert receiver.pending == length


def test_an_ahs_is_whole_words() -> None:
    with pytest.raises(ValueError, match="AHS"):
        assemble(NopOut(), ahs=b"123")
    with pytest.raises(ValueError, match="AHS"):
        assemble(NopOut(), ahs=bytes(1024))


@pytest.mark.conformance("CSN-001")
@given(st.integers(0, 0xFFFFFFFF), st.integers(1, 0x7FFFFFFF))
def test_serial_numbers_wrap(number: int, step: int) -> None:
    assert serial_less(number, serial_add(number, step))
    assert not serial_less(serial_add(number, step), number)
    assert not serial_less(number, number)
    assert serial_add(serial_add(number, step), -step) == number
