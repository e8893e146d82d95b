"""The checked-in codec is what the declarations say, in every field of every PDU, in both directions."""

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpxtarget import pdu
from mpxtarget.pdu import generate
from mpxtarget.pdu.declarations import DECLARATIONS, DataOut, Declaration, LoginRequest, dissect

HEADERS = st.binary(min_size=48, max_size=48)
BY_NAME = {declaration.__name__: declaration for declaration in DECLARATIONS}


def declared_fields(packet: Declaration) -> dict[str, Any]:
    return {
        field.name: getattr(packet, field.name)
        for field in packet.fields_desc
        if not field.name.startswith("reserved") and field.name != "opcode"
    }


def codec_fields(header: pdu.Pdu) -> dict[str, Any]:
    return {name: getattr(header, name) for name in header.FIELDS}


def without_reserved(packet: Declaration) -> bytes:
    cleared = packet.copy()
    for field in packet.fields_desc:
        if field.name.startswith("reserved"):
            setattr(cleared, field.name, 0)
    return bytes(cleared)


def test_generating_again_gives_the_checked_in_codec() -> None:
    assert generate.generate() == generate.OUTPUT.read_text(encoding="utf-8")


def test_there_is_one_class_for_each_of_the_18_opcodes() -> None:
    assert {c.__name__ for c in pdu.PDU_CLASSES.values()} == set(BY_NAME)
    assert len(pdu.PDU_CLASSES) == 18
    assert all(pdu.PDU_CLASSES[d.OPCODE].OPCODE == d.OPCODE for d in DECLARATIONS)


@pytest.mark.parametrize("name", BY_NAME)
@given(random=HEADERS)
def test_both_read_the_same_fields_and_write_the_same_bytes(name: str, random: bytes) -> None:
    declaration = BY_NAME[name]
    header = bytes([random[0] & 0xC0 | declaration.OPCODE]) + random[1:]
    packet = declaration(header)
    parsed = pdu.parse_bhs(header)
    assert type(parsed).__name__ == name
    assert codec_fields(parsed) == declared_fields(packet)
    assert parsed.to_bytes() == without_reserved(packet)


@pytest.mark.parametrize("name", BY_NAME)
@given(random=HEADERS)
def test_both_build_the_same_header_from_the_same_fields(name: str, random: bytes) -> None:
    declaration = BY_NAME[name]
    values = declared_fields(declaration(random))
    built = pdu.PDU_CLASSES[declaration.OPCODE](**values)
    assert built.to_bytes() == bytes(declaration(**values))
    assert built == pdu.parse_bhs(built.to_bytes())


@pytest.mark.parametrize("name", BY_NAME)
def test_both_have_the_same_defaults(name: str) -> None:
    declaration = BY_NAME[name]
    assert pdu.PDU_CLASSES[declaration.OPCODE]().to_bytes() == bytes(declaration())


@pytest.mark.conformance("PDU-002")
@pytest.mark.parametrize("name", BY_NAME)
@given(random=HEADERS)
def test_reserved_bits_are_ignored_when_read_and_zero_when_written(name: str, random: bytes) -> None:
    declaration = BY_NAME[name]
    header = bytes([random[0] & 0xC0 | declaration.OPCODE]) + random[1:]
    clean = without_reserved(declaration(header))
    assert pdu.parse_bhs(header) == pdu.parse_bhs(clean)
    assert pdu.parse_bhs(header).to_bytes() == clean


@given(random=HEADERS, offset=st.integers(0, 100))
def test_a_header_is_read_and_written_in_place(random: bytes, offset: int) -> None:
    header = pdu.DataOut.parse(bytes(offset) + random, offset)
    buffer = bytearray(b"\xff" * (offset + 60))
    header.pack_into(memoryview(buffer), offset)
    assert buffer == b"\xff" * offset + header.to_bytes() + b"\xff" * 12
    assert pdu.DataOut.parse(memoryview(buffer), offset) == header


@pytest.mark.conformance("PDU-004")
@pytest.mark.parametrize("opcode", sorted(set(range(64)) - {d.OPCODE for d in DECLARATIONS}))
def test_an_opcode_that_is_none_is_told(opcode: int) -> None:
    with pytest.raises(pdu.UnknownOpcode) as caught:
        pdu.parse_bhs(bytes([opcode | 0xC0]) + bytes(47))
    assert caught.value.opcode == opcode


def test_a_header_shows_its_fields_and_differs_by_any_of_them() -> None:
    first = pdu.ScsiCommand(itt=16, read=1, cdb=bytes([0x28]) + bytes(15))
    assert repr(first) == "ScsiCommand(read=1, itt=0x10, cdb=28000000000000000000000000000000)"
    second = pdu.parse_bhs(first.to_bytes())
    assert first == second
    second.itt = 17
    assert first != second
    assert pdu.NopIn() != pdu.R2T()
    with pytest.raises(TypeError):
        hash(first)


def test_dissecting_a_whole_pdu_keeps_every_byte_and_shows_text() -> None:
    text = pdu.encode_pairs([("InitiatorName", "iqn.2001-04.com.example:a"), ("SessionType", "Normal")])
    login = pdu.assemble(pdu.LoginRequest(csg=1, nsg=3, transit=1), text)
    packet = dissect(login)
    assert isinstance(packet, LoginRequest)
    assert bytes(packet) == login
    assert "InitiatorName=iqn.2001-04.com.example:a SessionType=Normal" in packet.show(dump=True)

    ahs = pdu.extended_cdb(bytes(range(32))).to_bytes() + pdu.bidirectional_read_length(512).to_bytes()
    command = pdu.assemble(
        pdu.ScsiCommand(write=1, final=1), b"12345", ahs, header_digest=True, data_digest=True
    )
    packet = dissect(command, header_digest=True, data_digest=True)
    assert bytes(packet) == command
    names = [layer.__name__ for layer in packet.layers()]
    assert names == [
        "ScsiCommand",
        "AdditionalHeader",
        "AdditionalHeader",
        "HeaderDigest",
        "DataSegment",
        "DataDigest",
    ]

    empty = pdu.assemble(pdu.DataOut(final=1), header_digest=True, data_digest=True)
    packet = dissect(empty, header_digest=True, data_digest=True)
    assert [layer.__name__ for layer in packet.layers()] == [DataOut.__name__, "HeaderDigest"]


@pytest.mark.parametrize("cut", [0, 47, 48, 51, 55])
def test_dissecting_refuses_what_is_not_one_whole_pdu(cut: int) -> None:
    whole = pdu.assemble(pdu.NopOut(), b"12345678")
    with pytest.raises(ValueError, match="bytes"):
        dissect(whole[:cut])
    with pytest.raises(ValueError, match="bytes"):
        dissect(whole + b"\0")
    with pytest.raises(pdu.UnknownOpcode):
        dissect(b"\x07" + bytes(47))


def test_running_on_the_codec_does_not_import_scapy() -> None:
    check = "import sys, mpxtarget.pdu; sys.exit(any(name.startswith('scapy') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
