"""TransportIDs of iSCSI: what they name, and what hostile ones do not do."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from persistent_initiator import (
    ALL_TG_PT,
    INVALID_FIELD_IN_LIST,
    LIST_LENGTH_ERROR,
    REGISTER,
    RESERVE,
    SPEC_I_PT,
    WE,
    A,
    B,
    C,
    basic_list,
    carry_out,
    device_id,
    full_status,
    generation,
    good,
    keys,
    listing,
    move,
    move_list,
    out,
    outcome,
    port_id,
    refused,
    register,
    reply_of,
    reservation,
    sense_of,
)
from scsi_initiator import CHECK_CONDITION, GOOD, RESERVATION_CONFLICT, Array, Path

from mpxtarget.scsi import transport_id
from mpxtarget.scsi.nexus import ITLNexus
from mpxtarget.scsi.sense import CheckCondition

OTHER = "iqn.1994-05.com.redhat:host"


def spec_i_pt(path: Path, *ids: bytes, flags: int = 0) -> int | tuple[int, int]:
    """REGISTER with key A for these too."""
    return out(path, REGISTER, 0, A, flags=SPEC_I_PT | flags, more=listing(*ids))


def ports(path: Path) -> set[tuple[str, int]]:
    """Who is registered."""
    return {(each.name, each.port) for each in full_status(path)}


@pytest.mark.conformance("PRS-017", "PRS-018")
def test_ports_that_are_listed_are_registered_on_the_same_target_port(path: Path) -> None:
    own = f"{path.nexus.initiator},i,0x000000000001"
    assert spec_i_pt(path, port_id("iqn.x", "00023d000002"), port_id("iqn.y", "AbC")) == GOOD
    assert ports(path) == {(own, 1), ("iqn.x,i,0x00023d000002", 1), ("iqn.y,i,0x000000000abc", 1)}
    assert keys(path) == [A, A, A]
    assert generation(path) == 1


@pytest.mark.conformance("PRS-014", "PRS-017", "PRS-018", "NAM-004")
def test_a_port_that_was_listed_is_registered_when_it_logs_in(array: Array, path: Path) -> None:
    assert spec_i_pt(path, port_id("IQN.Later", "0X2A"[2:])) == GOOD
    later = array.path("iqn.later", port=0, isid=0x2A)
    refused(later, REGISTER, 0, B)
    good(later, RESERVE, A, type_=WE)
    same_name = array.path("iqn.later", port=0, isid=0x2B)
    refused(same_name, RESERVE, A, type_=WE)
    other_port = array.path("iqn.later", port=1, isid=0x2A)
    refused(other_port, RESERVE, A, type_=WE)


@pytest.mark.conformance("PRS-018")
def test_a_name_stands_for_its_ports_that_are_logged_in_to_the_target_port(array: Array, path: Path) -> None:
    for port, isid in ((0, 1), (0, 2), (1, 3)):
        array.path("iqn.x", port, isid)
    array.path("iqn.xx", 0)
    assert spec_i_pt(path, device_id("iqn.x")) == GOOD
    assert {name for name, port in ports(path) if name.startswith("iqn.x") and port == 1} == {
        "iqn.x,i,0x000000000001",
        "iqn.x,i,0x000000000002",
    }
    assert len(keys(path)) == 3


class Looked(list[ITLNexus]):
    """Counts how often all of it is looked at."""

    times = 0

    def __iter__(self) -> Iterator[ITLNexus]:
        self.times += 1
        return super().__iter__()


@pytest.mark.conformance("PRS-018")
def test_a_long_list_of_names_is_looked_up_once(array: Array, path: Path) -> None:
    attached = array.disk.attached = Looked(array.disk.attached)
    refused_list = listing(*[device_id(path.nexus.initiator)] * 1000, device_id("iqn.nobody"))
    assert out(path, REGISTER, 0, A, flags=SPEC_I_PT | ALL_TG_PT, more=refused_list) == INVALID_FIELD_IN_LIST
    assert attached.times == 1


@pytest.mark.conformance("PRS-017", "PRS-018")
def test_a_name_that_nobody_has_there_fails_all(array: Array, path: Path) -> None:
    array.path("iqn.x", 1)
    assert spec_i_pt(path, port_id("iqn.y"), device_id("iqn.x")) == INVALID_FIELD_IN_LIST
    assert spec_i_pt(path, device_id("iqn.nobody")) == INVALID_FIELD_IN_LIST
    assert keys(path) == []
    assert generation(path) == 0


@pytest.mark.conformance("PRS-016", "PRS-017")
def test_listed_ports_on_all_target_ports(array: Array, path: Path) -> None:
    array.path("iqn.x", 1, isid=7)
    assert spec_i_pt(path, port_id("iqn.y"), device_id("iqn.x"), flags=ALL_TG_PT) == GOOD
    assert keys(path) == [A] * 9
    assert [(each.name, each.all_ports) for each in full_status(path)] == [
        (path.nexus.initiator_port, True),
        ("iqn.y,i,0x000000000001", True),
        ("iqn.x,i,0x000000000007", False),
    ]


@pytest.mark.conformance("PRS-017")
def test_a_listed_port_that_is_registered_already_fails_all(path: Path, other: Path) -> None:
    third = port_id("iqn.third")
    good(other, REGISTER, 0, B, flags=SPEC_I_PT, more=listing(third))
    before = generation(path)
    here = path.nexus.device.ports[0]
    assert here.relative_id == 1
    good(path, REGISTER, 0, A, flags=SPEC_I_PT, more=listing(third))
    good(path, REGISTER, A, 0)
    assert spec_i_pt(path, port_id("iqn.fourth"), third) == INVALID_FIELD_IN_LIST
    assert generation(path) == before + 2
    assert keys(path) == [B, B, A]


@pytest.mark.conformance("PRS-017")
def test_own_port_and_one_port_twice_are_no_error(path: Path) -> None:
    own, once = port_id(path.nexus.initiator), port_id("iqn.x")
    assert spec_i_pt(path, own, once, once) == GOOD
    assert keys(path) == [A, A]


@pytest.mark.conformance("PRS-017")
def test_a_registered_nexus_lists_nobody(path: Path) -> None:
    register((path, A))
    data = basic_list(A, B, SPEC_I_PT) + listing(port_id("iqn.x"))
    sense = sense_of(path, REGISTER, data)
    assert sense.code == INVALID_FIELD_IN_LIST
    assert sense.pointer == ("data", 20, 3)
    assert out(path, REGISTER, A, 0, flags=SPEC_I_PT, more=listing(port_id("iqn.x"))) == INVALID_FIELD_IN_LIST
    assert out(path, REGISTER, C, B, flags=SPEC_I_PT, more=listing(b"\xff")) == RESERVATION_CONFLICT
    assert keys(path) == [A]


@pytest.mark.conformance("PRS-007", "PRS-017")
def test_a_list_without_a_key_is_not_looked_at(path: Path) -> None:
    assert out(path, REGISTER, 0, 0, flags=SPEC_I_PT, more=listing(b"\xff" * 24)) == GOOD
    assert out(path, REGISTER, B, A, flags=SPEC_I_PT, more=listing(b"\xff" * 24)) == RESERVATION_CONFLICT
    assert keys(path) == []


@pytest.mark.conformance("PRS-017")
def test_an_empty_list_registers_the_sender(path: Path) -> None:
    assert spec_i_pt(path) == GOOD
    assert keys(path) == [A]


@pytest.mark.conformance("PRS-002", "PRS-017")
@pytest.mark.parametrize(
    "more", [b"", b"\0\0\0", b"\0\0\0\1", (64).to_bytes(4, "big") + bytes(60), b"\xff" * 28]
)
def test_list_that_is_longer_than_what_was_sent(path: Path, more: bytes) -> None:
    assert out(path, REGISTER, 0, A, flags=SPEC_I_PT, more=more) == LIST_LENGTH_ERROR
    assert keys(path) == []


LONG = "iqn." + "x" * 219  # 223 bytes, the longest name there is


@pytest.mark.conformance("PRS-018", "PRS-021")
@pytest.mark.parametrize("name", ["iqn.x", "eui.02004567A425678D", "naa.52004567BA64678D", LONG, "iqn.ä"])
def test_names_that_are_taken(path: Path, name: str) -> None:
    assert spec_i_pt(path, port_id(name, "F")) == GOOD
    assert (f"{name.lower()},i,0x00000000000f", 1) in ports(path)


def raw(first: int, field: bytes, length: int | None = None) -> bytes:
    """A TransportID, right or wrong."""
    return bytes((first, 0, *(len(field) if length is None else length).to_bytes(2, "big"))) + field


def padded(text: bytes) -> bytes:
    """A field with its null, as long as the rules want it."""
    return (text + b"\0").ljust(max(20, (len(text) + 4) & ~3), b"\0")


@pytest.mark.conformance("PRS-017", "PRS-018")
@pytest.mark.parametrize(
    ("transport_id_", "byte"),
    [
        (raw(0x00, padded(b"iqn.x")), 28),
        (raw(0x46, padded(b"iqn.x,i,0x1")), 28),
        (raw(0x85, padded(b"iqn.x,i,0x1")), 28),
        (raw(0xC5, padded(b"iqn.x,i,0x1")), 28),
        (raw(0x45, b"iqn.x,i,0x1".ljust(16, b"\0")), 30),
        (raw(0x45, padded(b"iqn.x,i,0x1") + b"\0"), 30),
        (raw(0x45, padded(b"iqn.x,i,0x1"), 24), 30),
        (raw(0x45, padded(b"iqn.x,i,0x1"), 0), 30),
        (raw(0x45, padded(b"iqn.x,i,0x1"), 0xFFFC), 30),
        (raw(0x45, padded(b"iqn.x")), 32),
        (raw(0x05, padded(b"iqn.x,i,0x1")), 32),
        (raw(0x45, padded(b"iqn.x,i,0x")), 32),
        (raw(0x45, padded(b"iqn.x,i,0xg")), 32),
        (raw(0x45, padded(b"iqn.x,i,0x1234567890abc")), 32),
        (raw(0x45, padded(b"iqn.x,i,0x1,i,0x2")), 32),
        (raw(0x45, padded(b"iqn.x,t,0x0001")), 32),
        (raw(0x45, padded(b",i,0x1")), 32),
        (raw(0x45, padded(b"fred,i,0x1")), 32),
        (raw(0x45, padded(b"iqn.x y,i,0x1")), 32),
        (raw(0x45, padded(b"iqn.\xff,i,0x1")), 32),
        (raw(0x45, padded(LONG.encode() + b"x,i,0x1")), 32),
        (raw(0x45, bytes(20)), 32),
        (raw(0x45, padded(b"iqn.x,i,0x1"))[:3], 28),
        (b"\x45", 28),
    ],
)
def test_wrong_one_fails_all_and_is_pointed_at(path: Path, transport_id_: bytes, byte: int) -> None:
    sense = sense_of(path, REGISTER, basic_list(0, A, SPEC_I_PT) + listing(transport_id_))
    assert sense.code == INVALID_FIELD_IN_LIST
    assert sense.pointer is not None
    assert sense.pointer[:2] == ("data", byte)
    first = port_id("iqn.fine")
    sense = sense_of(path, REGISTER, basic_list(0, A, SPEC_I_PT) + listing(first, transport_id_))
    assert sense.pointer is not None
    assert sense.pointer[:2] == ("data", byte + len(first))
    assert keys(path) == []
    assert generation(path) == 0


@pytest.mark.conformance("PRS-018")
def test_the_first_null_ends_a_name_whatever_follows(path: Path) -> None:
    assert spec_i_pt(path, raw(0x45, b"iqn.x,i,0x1\0garbage, more of it".ljust(32, b"!"))) == GOOD
    assert ("iqn.x,i,0x000000000001", 1) in ports(path)


@pytest.mark.conformance("PRS-018", "LAY-001")
@given(
    name=st.text(st.sampled_from("abcxyz0189.-:_"), min_size=1, max_size=219),
    isid=st.integers(0, (1 << 48) - 1),
)
def test_what_is_packed_is_parsed(name: str, isid: int) -> None:
    port = f"iqn.{name},i,0x{isid:012x}"
    packed = transport_id.pack(port)
    assert len(packed) >= 24
    assert len(packed) % 4 == 0
    assert packed[-1] == 0
    assert list(transport_id.parse(b"??" + packed, 2, 2 + len(packed))) == [
        (2, transport_id.TransportId(f"iqn.{name}", port))
    ]


_PIECES = st.one_of(
    st.binary(max_size=40),
    st.builds(raw, st.integers(0, 255), st.binary(max_size=60), st.none() | st.integers(0, 0xFFFF)),
    st.builds(port_id, st.text(max_size=40), st.text(max_size=14)),
    st.builds(device_id, st.just("iqn.host") | st.text(max_size=40)),
)


@pytest.mark.conformance("PRS-017", "PRS-018")
@settings(max_examples=400, deadline=None)
@given(pieces=st.lists(_PIECES, max_size=6), length=st.none() | st.integers(0, 1 << 32), moves=st.booleans())
def test_anything_may_come_and_it_is_all_or_nothing(
    pieces: list[bytes], length: int | None, moves: bool
) -> None:
    array = Array()
    path = array.path("iqn.host")
    joined = b"".join(pieces)
    if moves:
        register((path, A))
        good(path, RESERVE, A, type_=WE)
        data = move_list(A, B, joined)
        if length is not None:
            data = data[:20] + (length & 0xFFFFFFFF).to_bytes(4, "big") + data[24:]
        result = move(path, data)
        assert (reservation(path) == (A, WE)) is (result != GOOD)
    else:
        head = (len(joined) if length is None else length & 0xFFFFFFFF).to_bytes(4, "big")
        reply = reply_of(carry_out(path, REGISTER, 0, basic_list(0, A, SPEC_I_PT) + head + joined))
        result = outcome(reply)
        assert bool(keys(path)) is (reply.status == GOOD)
        assert reply.status in (GOOD, CHECK_CONDITION)
    assert result in (GOOD, INVALID_FIELD_IN_LIST, LIST_LENGTH_ERROR)
    for each in full_status(path):
        assert each.name == each.name.lower()


@given(st.binary(max_size=400))
def test_parser_ends_or_refuses(data: bytes) -> None:
    try:
        found = list(transport_id.parse(data, 0, len(data)))
    except CheckCondition:
        return
    assert len(found) <= len(data) // 24
