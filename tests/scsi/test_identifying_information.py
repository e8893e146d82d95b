"""REPORT and SET IDENTIFYING INFORMATION."""

import pytest
from scsi_initiator import GOOD, Array, Path, Sense, make_disk, parse_sense

from mpxtarget.scsi.plan import Keep, Reply, TakeData

BYTES, TEXT, LIST = 0x00, 0x02, 0x7F
IDENTIFIER_CHANGED = 0x3F05


def report(path: Path, kind: int) -> bytes:
    """REPORT IDENTIFYING INFORMATION; the information."""
    data = path.read(f"A3 05 00000000 00001000 {kind << 1:02X}")
    assert data[:2] == bytes(2)
    assert int.from_bytes(data[2:4], "big") == len(data) - 4
    return data[4:]


def label(path: Path, kind: int, data: bytes) -> Reply:
    """SET IDENTIFYING INFORMATION, written down before it is answered."""
    plan = path.plan(f"A4 06 00000000 {len(data):08X} {kind << 1:02X}")
    if isinstance(plan, TakeData):
        plan = plan.then(data)
    if isinstance(plan, Keep):
        assert plan.disk is path.itl().lu
        plan = plan.reply
    assert isinstance(plan, Reply)
    return plan


def refused(path: Path, kind: int, data: bytes) -> Sense:
    """Information that has to be refused; why."""
    return parse_sense(label(path, kind, data).sense)


@pytest.mark.conformance("MSC-003", "LAY-001")
@pytest.mark.parametrize(("kind", "data"), [(BYTES, bytes(range(256)) * 2), (TEXT, "Gehäuse 7\0".encode())])
def test_information_is_the_same_on_every_path(path: Path, other: Path, kind: int, data: bytes) -> None:
    assert label(path, kind, data) == Reply(GOOD)
    assert other.attentions() == [IDENTIFIER_CHANGED]
    assert report(path, kind) == report(other, kind) == data
    assert report(path, BYTES if kind == TEXT else TEXT) == b""


@pytest.mark.conformance("MSC-003")
def test_information_belongs_to_one_unit() -> None:
    path = Array({1: make_disk(), 2: make_disk()}).path()
    label(path, BYTES, b"one")
    assert path.read("A3 05 00000000 00001000 00", lun=2) == bytes(4)


@pytest.mark.conformance("MSC-003")
def test_what_is_kept_is_what_was_set(path: Path, array: Array) -> None:
    label(path, BYTES, b"one")
    label(path, TEXT, b"two\0")
    assert (array.disk.kept.identifying_information, array.disk.kept.identifying_text) == (b"one", b"two\0")


@pytest.mark.conformance("MSC-003", "LAY-001")
def test_list_tells_types_and_their_longest_information(path: Path) -> None:
    assert report(path, LIST) == bytes.fromhex("00 00 0200 04 00 0100")


@pytest.mark.conformance("MSC-003", "CDB-003")
def test_empty_list_takes_the_information_away(path: Path, other: Path) -> None:
    label(path, BYTES, b"one")
    other.attentions()
    assert label(path, BYTES, b"") == Reply(GOOD)
    assert other.attentions() == [IDENTIFIER_CHANGED]
    assert report(path, BYTES) == b""


@pytest.mark.conformance("UAT-001", "UAT-006")
def test_only_a_real_change_is_announced_and_not_to_its_causer(path: Path, other: Path) -> None:
    label(path, BYTES, b"one")
    assert path.attentions() == []
    assert other.attentions() == [IDENTIFIER_CHANGED]
    label(other, BYTES, b"one")
    assert path.attentions() == other.attentions() == []


@pytest.mark.conformance("MSC-003", "OPC-001")
@pytest.mark.parametrize(
    ("cdb", "pointer"),
    [
        *((f"A3 05 00000000 00000100 {kind << 1:02X}", (10, 7)) for kind in (1, 3, 4, 0x7E)),
        *((f"A4 06 00000000 00000004 {kind << 1:02X}", (10, 7)) for kind in (1, 3, 0x7E, 0x7F)),
        ("A4 06 00000000 00000201 00", (6, None)),
        ("A4 06 00000000 00000101 04", (6, None)),
        ("A4 06 00000000 FFFFFFFF 00", (6, None)),
    ],
)
def test_wrong_field_is_pointed_at(path: Path, cdb: str, pointer: tuple[int, int | None]) -> None:
    sense = path.sense(cdb)
    assert sense.code == (5, 0x2400)
    assert sense.pointer == ("CDB", *pointer)


@pytest.mark.conformance("MSC-003")
@pytest.mark.parametrize(
    ("data", "code", "at"),
    [(b"no end", 0x1A00, None), (b"two\0ends\0", 0x2600, 3), (b"ab\xff\0", 0x2600, 2)],
)
def test_text_is_utf_8_with_one_end(path: Path, data: bytes, code: int, at: int | None) -> None:
    sense = refused(path, TEXT, data)
    assert sense.code == (5, code)
    assert sense.pointer == (None if at is None else ("data", at, None))
    assert report(path, TEXT) == b""


@pytest.mark.conformance("MSC-003", "CDB-002")
def test_length_is_not_changed_by_truncation(path: Path) -> None:
    label(path, BYTES, b"0123456789")
    assert path.read("A3 05 00000000 00000006 00") == bytes.fromhex("0000000A") + b"01"
    assert path.read("A3 05 00000000 00000000 00") == b""
