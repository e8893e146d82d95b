"""SET TARGET PORT GROUPS: which lists move the disk, which are refused, and who hears of it."""

import pytest
from scsi_initiator import (
    ACCESS_CHANGED,
    CONTROLLER_A,
    CONTROLLER_B,
    GOOD,
    READ_8,
    RESERVATION_CONFLICT,
    Array,
    Custody,
    Path,
)
from test_asymmetric_access import report

from mpxtarget.scsi.codes import AccessState
from mpxtarget.scsi.personality import Personality
from mpxtarget.scsi.plan import GOOD as REPLY_GOOD
from mpxtarget.scsi.plan import Keep, ReadBlocks, TakeData

A, B = f"{CONTROLLER_A:04X}", f"{CONTROLLER_B:04X}"
OPTIMIZED, NON_OPTIMIZED = "00", "01"
INVALID_FIELD = (5, 0x2600)


def parameters(*descriptors: tuple[str, str]) -> bytes:
    """A parameter list: states and groups."""
    return bytes.fromhex("00000000" + "".join(f"{state} 00 {group}" for state, group in descriptors))


def cdb(data: bytes) -> str:
    """The CDB for a parameter list."""
    return f"A4 0A 00000000 {len(data):08X}"


def states(path: Path) -> list[int]:
    """The access states of both groups."""
    return [group.state for group in report(path)]


@pytest.mark.conformance("ALU-006", "UAT-001", "UAT-006", "UAT-007")
@pytest.mark.parametrize(
    "descriptors",
    [
        [(OPTIMIZED, B)],  # as Linux and Windows ask
        [(OPTIMIZED, B), (NON_OPTIMIZED, A)],  # as SANs' own drivers do
        [(NON_OPTIMIZED, A), (OPTIMIZED, B)],
        [(NON_OPTIMIZED, A)],
    ],
)
@pytest.mark.parametrize("port", [0, 1, 2, 3])
def test_the_disk_moves_and_everybody_but_the_issuer_is_told(
    array: Array, descriptors: list[tuple[str, str]], port: int
) -> None:
    issuer = array.path(port=port)
    same_host = [array.path(port=other) for other in range(4) if other != port]
    others = [*same_host, array.path("iqn.1994-05.com.redhat:host", port=port)]
    data = parameters(*descriptors)
    assert issuer.send(cdb(data), data=data).status == GOOD
    assert array.disk.managing_group == CONTROLLER_B
    assert issuer.attentions() == []
    for each in others:
        assert each.attentions() == [ACCESS_CHANGED]
    for each in (issuer, *others):
        assert [(group.state, group.status_code) for group in report(each)] == [(1, 1), (0, 1)]
        assert isinstance(each.plan(READ_8), ReadBlocks)


@pytest.mark.conformance("ALU-006")
def test_good_comes_after_the_new_state_is_written_down(array: Array, path: Path) -> None:
    data = parameters((OPTIMIZED, B))
    asked = path.plan(cdb(data))
    assert isinstance(asked, TakeData)
    assert asked.then(data) == Keep(array.disk, REPLY_GOOD)
    assert array.disk.kept.managing_group == CONTROLLER_B


@pytest.mark.conformance("ALU-006", "CDB-003")
@pytest.mark.parametrize(
    "descriptors",
    [
        [(OPTIMIZED, A)],
        [(OPTIMIZED, A), (NON_OPTIMIZED, B)],
        [(NON_OPTIMIZED, B)],
        [],
        None,
    ],
)
def test_what_is_so_already_changes_nothing_and_is_told_to_nobody(
    path: Path, other: Path, descriptors: list[tuple[str, str]] | None
) -> None:
    data = b"" if descriptors is None else parameters(*descriptors)
    assert path.send(cdb(data), data=data).status == GOOD
    assert other.attentions() == []
    assert [(group.state, group.status_code) for group in report(path)] == [(0, 0), (1, 0)]


@pytest.mark.conformance("ALU-006", "SNS-004")
@pytest.mark.parametrize(
    ("descriptors", "byte", "bit"),
    [
        ([(OPTIMIZED, "0003")], 6, None),
        ([(OPTIMIZED, "0000")], 6, None),
        ([(OPTIMIZED, B), (NON_OPTIMIZED, "FFFF")], 10, None),
        ([(OPTIMIZED, B), (OPTIMIZED, A)], 8, 3),
        ([(NON_OPTIMIZED, A), (NON_OPTIMIZED, B)], 4, 3),
        ([(NON_OPTIMIZED, B), (NON_OPTIMIZED, A)], 8, 3),
        ([(OPTIMIZED, B), (OPTIMIZED, B)], 10, None),
        ([(OPTIMIZED, B), (NON_OPTIMIZED, B)], 10, None),
        *(([(f"{state:02X}", B)], 4, 3) for state in (2, 3, 4, 0xE, 0xF)),
    ],
)
def test_what_cannot_be_is_refused_and_pointed_at(
    array: Array, path: Path, other: Path, descriptors: list[tuple[str, str]], byte: int, bit: int | None
) -> None:
    data = parameters(*descriptors)
    sense = path.sense(cdb(data), data=data)
    assert sense.code == INVALID_FIELD
    assert sense.pointer == ("data", byte, bit)
    assert array.disk.managing_group == CONTROLLER_A
    assert other.attentions() == []


@pytest.mark.conformance("ALU-006", "CDB-003")
@pytest.mark.parametrize("length", [1, 2, 3, 5, 6, 7, 9, 11])
def test_a_list_that_ends_in_the_middle_is_refused(path: Path, length: int) -> None:
    assert path.sense(f"A4 0A 00000000 {length:08X}").code == (5, 0x1A00)


@pytest.mark.conformance("ALU-006", "CDB-009")
@pytest.mark.parametrize("length", [4 + 257 * 4, 0x10000, 0xFFFFFFFC])
def test_a_list_beyond_reason_is_not_even_taken(path: Path, length: int) -> None:
    sense = path.sense(f"A4 0A 00000000 {length:08X}")
    assert sense.code == (5, 0x2400)
    assert sense.pointer == ("CDB", 6, None)


@pytest.mark.conformance("ALU-006")
def test_reserved_bits_of_a_descriptor_are_not_looked_at(array: Array, path: Path) -> None:
    data = bytes.fromhex("FFFFFFFF F0 FF") + bytes.fromhex(B)
    assert path.send(cdb(data), data=data).status == GOOD
    assert array.disk.managing_group == CONTROLLER_B


@pytest.mark.conformance("ALU-006", "ALU-010")
@pytest.mark.parametrize("descriptors", [[(OPTIMIZED, B)], [(NON_OPTIMIZED, A)], [(NON_OPTIMIZED, B)]])
def test_a_failed_controller_is_not_made_to_work_by_asking(
    array: Array, path: Path, descriptors: list[tuple[str, str]]
) -> None:
    array.disk.limit_access(CONTROLLER_B, AccessState.UNAVAILABLE)
    path.attentions()
    data = parameters(*descriptors)
    assert path.sense(cdb(data), data=data).code == (4, 0x670A)
    assert states(path) == [0, 3]


@pytest.mark.conformance("ALU-005", "ALU-006")
def test_an_unavailable_path_can_still_make_the_other_group_active(array: Array, path: Path) -> None:
    array.disk.limit_access(CONTROLLER_A, AccessState.UNAVAILABLE)
    assert path.sense("00").code == (6, ACCESS_CHANGED)
    data = parameters((OPTIMIZED, B))
    assert path.send(cdb(data), data=data).status == GOOD
    assert states(path) == [3, 0]


@pytest.mark.conformance("ALU-005", "ALU-006", "UAT-006")
def test_a_move_that_takes_time_ends_for_the_issuer_without_a_word(
    array: Array, path: Path, other: Path
) -> None:
    array.disk.custody = Custody()
    data = parameters((OPTIMIZED, B))
    assert path.send(cdb(data), data=data).status == GOOD
    assert states(path) == [0xF, 0xF]
    assert path.sense(cdb(data)).code == (2, 0x040A)
    assert other.sense(READ_8).code == (2, 0x040A)
    array.disk.arrive()
    assert path.attentions() == []
    assert other.attentions() == [ACCESS_CHANGED]
    assert [(group.state, group.status_code) for group in report(path)] == [(1, 1), (0, 1)]


@pytest.mark.conformance("ALU-005", "ALU-006")
def test_a_list_that_comes_in_a_transition_moves_nothing(array: Array, path: Path) -> None:
    data = parameters((OPTIMIZED, A))
    asked = path.plan(cdb(data))
    assert isinstance(asked, TakeData)
    array.disk.custody = Custody()
    array.disk.manage(CONTROLLER_B)
    refused = asked.then(data)
    assert getattr(refused, "sense", b"")[12:14] == bytes.fromhex("040A")
    assert array.disk.managing_group == CONTROLLER_B


@pytest.mark.conformance("OPC-001", "ALU-006")
def test_it_conflicts_with_the_reservation_of_another_host(array: Array, path: Path, other: Path) -> None:
    other.send("16")
    data = parameters((OPTIMIZED, B))
    assert path.send(cdb(data)).status == RESERVATION_CONFLICT
    assert other.send(cdb(data), data=data).status == GOOD


@pytest.mark.conformance("ALU-006", "ALU-011", "INQ-004")
def test_it_exists_where_tpgs_says_so(array: Array, path: Path) -> None:
    assert path.read("12 00 00 00 60")[5] >> 4 == 0b11
    array.disk.become(
        array.disk.identity, Personality("implicit only", frozenset({"INQUIRY", "REPORT TARGET PORT GROUPS"}))
    )
    assert path.read("12 00 00 00 60")[5] >> 4 == 0b01
    path.sense(cdb(b""))  # INQUIRY DATA HAS CHANGED
    assert path.sense(cdb(b"")).code == (5, 0x2000)
    assert path.sense(cdb(b""), lun=0).code == (5, 0x2000)
