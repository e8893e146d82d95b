"""RELEASE, CLEAR, PREEMPT and REGISTER AND MOVE: what they take away, and from whom."""

import pytest
from persistent_initiator import (
    ALL_REGISTRANTS,
    CLEAR,
    EA_AR,
    EA_RO,
    INVALID_FIELD_IN_CDB,
    INVALID_FIELD_IN_LIST,
    INVALID_RELEASE,
    PREEMPT,
    PREEMPT_AND_ABORT,
    RELEASE,
    RESERVE,
    TYPES,
    UNREG,
    WE,
    WE_AR,
    WE_RO,
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
    move,
    move_list,
    out,
    port_id,
    register,
    reservation,
)
from scsi_initiator import GOOD, RESERVATION_CONFLICT, Array, Path

from mpxtarget.scsi.copy.manager import Copy
from mpxtarget.scsi.plan import GOOD as DONE
from mpxtarget.scsi.plan import Fence

PREEMPTS = pytest.mark.parametrize("action", [PREEMPT, PREEMPT_AND_ABORT])
HEIR = "iqn.1994-05.com.redhat:host"


@pytest.fixture
def third(array: Array) -> Path:
    """One more host."""
    return array.path("iqn.third", port=1)


@pytest.mark.conformance("PRS-001")
@pytest.mark.parametrize("held", TYPES)
@pytest.mark.parametrize("asked", TYPES)
@pytest.mark.parametrize("by", ["holder", "other"])
def test_release(path: Path, other: Path, held: int, asked: int, by: str) -> None:
    register((path, A), (other, B))
    good(path, RESERVE, A, type_=held)
    before = generation(path)
    who, key = (path, A) if by == "holder" else (other, B)
    if who is path or held in ALL_REGISTRANTS:
        assert out(who, RELEASE, key, type_=asked) == (GOOD if asked == held else INVALID_RELEASE)
        released = asked == held
    else:
        good(who, RELEASE, key, type_=asked)
        released = False
    assert reservation(path if who is path else other) == (
        None if released else (0 if held in ALL_REGISTRANTS else A, held)
    )
    assert keys(who) == [A, B]
    assert generation(who) == before


@pytest.mark.conformance("PRS-001")
def test_release_of_nothing_is_good(path: Path) -> None:
    register((path, A))
    good(path, RELEASE, A, type_=WE)


@pytest.mark.conformance("PRS-001")
@pytest.mark.parametrize("held", [None, *TYPES])
@pytest.mark.parametrize("by", ["holder", "other"])
def test_clear(path: Path, other: Path, held: int | None, by: str) -> None:
    register((path, A), (other, B))
    if held is not None:
        good(path, RESERVE, A, type_=held)
    good(*((path, CLEAR, A) if by == "holder" else (other, CLEAR, B)))
    path.attentions()
    assert keys(path) == []
    assert reservation(path) is None


@pytest.mark.conformance("PRS-010")
@PREEMPTS
@pytest.mark.parametrize("held", [1, 3, 5, 6])
@pytest.mark.parametrize("asked", TYPES)
def test_reservation_passes_to_who_preempts_its_holder(
    path: Path, other: Path, third: Path, action: int, held: int, asked: int
) -> None:
    register((path, A), (other, B), (third, C))
    good(path, RESERVE, A, type_=held)
    good(other, action, B, A, type_=asked)
    assert reservation(other) == (0 if asked in ALL_REGISTRANTS else B, asked)
    assert keys(other) == [B, C]


@pytest.mark.conformance("PRS-008", "PRS-009", "PRS-010")
@PREEMPTS
def test_all_who_share_the_holders_key_go_and_the_preemptor_stays(array: Array, action: int) -> None:
    first, second, mine, my_second = (array.path(name, port) for name in "ab" for port in (0, 2))
    register((first, A), (second, A), (mine, A), (my_second, A))
    good(first, RESERVE, A, type_=WE_RO)
    good(mine, action, A, A, type_=WE_RO)
    assert keys(mine) == [A]
    assert reservation(mine) == (A, WE_RO)
    assert [(each.name, each.holds) for each in full_status(mine)] == [("b,i,0x000000000001", True)]


@pytest.mark.conformance("PRS-010")
@PREEMPTS
@pytest.mark.parametrize("held", [1, 3, 5, 6])
@pytest.mark.parametrize("asked", TYPES)
def test_holder_preempts_itself_to_change_the_type(
    path: Path, other: Path, action: int, held: int, asked: int
) -> None:
    register((path, A), (other, B))
    good(path, RESERVE, A, type_=held)
    good(path, action, A, A, type_=asked)
    assert keys(path) == [A, B]
    assert reservation(path) == (0 if asked in ALL_REGISTRANTS else A, asked)
    assert path.attentions() == []


@pytest.mark.conformance("PRS-011")
@PREEMPTS
@pytest.mark.parametrize("held", [None, *TYPES])
def test_only_registrations_go_where_the_key_is_not_the_holders(
    array: Array, path: Path, other: Path, third: Path, action: int, held: int | None
) -> None:
    fourth = array.path("iqn.fourth")
    register((path, A), (other, B), (third, C), (fourth, C))
    if held is not None:
        good(path, RESERVE, A, type_=held)
    good(other, action, B, C, type_=0)
    assert keys(path) == [A, B]
    assert reservation(path) == (None if held is None else (0 if held in ALL_REGISTRANTS else A, held))


@pytest.mark.conformance("PRS-009")
@PREEMPTS
@pytest.mark.parametrize("held", [None, WE, EA_RO, WE_AR])
def test_key_of_nobody_is_a_conflict(path: Path, other: Path, action: int, held: int | None) -> None:
    register((path, A), (other, B))
    if held is not None:
        good(path, RESERVE, A, type_=held)
    before = generation(path)
    assert out(other, action, B, C, type_=WE) == RESERVATION_CONFLICT
    assert generation(path) == before
    assert keys(path) == [A, B]


@pytest.mark.conformance("PRS-009")
@PREEMPTS
def test_own_key_takes_the_own_registration_away_where_no_reservation_passes(
    path: Path, other: Path, action: int
) -> None:
    # "It is not an error ... The registration is removed" (SPC-4 5.13.11.2.5)
    register((path, A), (other, B))
    good(path, RESERVE, A, type_=WE_RO)
    good(other, action, B, B)
    assert keys(path) == [A]
    assert other.attentions() == path.attentions() == []


@pytest.mark.conformance("PRS-009")
@PREEMPTS
@pytest.mark.parametrize("held", [None, *TYPES])
def test_key_zero_preempts_all_others_under_all_registrants_only(
    path: Path, other: Path, third: Path, action: int, held: int | None
) -> None:
    register((path, A), (other, B), (third, C))
    if held is None:
        assert out(other, action, B, 0, type_=WE) == RESERVATION_CONFLICT
        return
    good(path, RESERVE, A, type_=held)
    if held in ALL_REGISTRANTS:
        good(other, action, B, 0, type_=WE)
        assert keys(other) == [B]
        assert reservation(other) == (B, WE)
    else:
        assert out(other, action, B, 0, type_=WE) == INVALID_FIELD_IN_LIST
        assert keys(path) == [A, B, C]
        assert reservation(path) == (A, held)


@pytest.mark.conformance("PRS-006", "PRS-009")
@pytest.mark.parametrize("held", ALL_REGISTRANTS)
def test_last_registrant_that_preempts_itself_takes_the_reservation_along(path: Path, held: int) -> None:
    register((path, A))
    good(path, RESERVE, A, type_=held)
    good(path, PREEMPT, A, A, type_=held)
    assert keys(path) == []
    assert reservation(path) is None


@pytest.mark.conformance("PRS-012")
@pytest.mark.parametrize("held", [None, WE, WE_AR])
def test_tasks_of_those_who_lost_their_registration_are_aborted(
    array: Array, path: Path, other: Path, third: Path, held: int | None
) -> None:
    second = array.path("iqn.second", port=3)
    gone = array.path("iqn.gone")
    register((path, A), (other, B), (third, C), (second, A), (gone, A))
    if held is not None:
        good(path, RESERVE, A, type_=held)
    gone.nexus.lose()
    plan = carry_out(other, PREEMPT_AND_ABORT, WE, basic_list(B, A))
    assert plan == Fence(array.disk, DONE, (path.itl(), second.itl()))
    assert keys(other) == [B, C]


@pytest.mark.conformance("PRS-012")
def test_all_others_are_aborted_with_key_zero(path: Path, other: Path, third: Path) -> None:
    register((path, A), (other, B), (third, C))
    good(path, RESERVE, A, type_=EA_AR)
    plan = carry_out(other, PREEMPT_AND_ABORT, EA_AR, basic_list(B, 0))
    assert isinstance(plan, Fence)
    assert plan.abort == (path.itl(), third.itl())


@pytest.mark.conformance("PRS-012")
def test_a_preempt_that_fails_aborts_nothing(path: Path, other: Path) -> None:
    register((path, A), (other, B))
    plan = carry_out(other, PREEMPT_AND_ABORT, WE, basic_list(B, C))
    assert plan.status == RESERVATION_CONFLICT  # type: ignore[union-attr]


@pytest.mark.conformance("PRS-012", "PRS-027")
@pytest.mark.parametrize(
    ("action", "new_key", "fenced"),
    [
        (RESERVE, 0, True),
        (PREEMPT, A, True),
        (PREEMPT_AND_ABORT, A, True),
        (RELEASE, 0, False),
        (CLEAR, 0, False),
    ],
)
def test_answer_waits_for_a_fence_where_somebody_may_no_longer_write(
    path: Path, other: Path, action: int, new_key: int, fenced: bool
) -> None:
    register((path, A), (other, B))
    plan = carry_out(other, action, WE, basic_list(B, new_key))
    assert plan == (Fence(path.itl().lu, DONE) if fenced else DONE) or (
        action == PREEMPT_AND_ABORT and isinstance(plan, Fence) and plan.abort == (path.itl(),)
    )


@pytest.mark.conformance("PRS-012", "PRS-027")
@pytest.mark.parametrize(
    ("action", "reserve", "wanted"),
    [(PREEMPT, None, True), (PREEMPT, WE_RO, False), (PREEMPT_AND_ABORT, None, False)],
)
def test_copies_in_the_background_end_with_the_right_to_make_them(
    array: Array, path: Path, other: Path, third: Path, action: int, reserve: int | None, wanted: bool
) -> None:
    register((path, A), (other, B), (third, C))
    if reserve is not None:
        good(other, RESERVE, B, type_=reserve)
    copies = {each: Copy(0x01, background=True) for each in (path.nexus, third.nexus)}
    for nexus, copy in copies.items():
        array.disk.copies.start(nexus, 1, copy)
    good(other, action, B, A)
    assert copies[path.nexus].wanted is wanted
    assert copies[third.nexus].wanted
    assert array.disk.copies.find(path.nexus, 1) is copies[path.nexus]


# REGISTER AND MOVE


@pytest.mark.conformance("PRS-019")
@pytest.mark.parametrize("held", [1, 3, 5, 6])
@pytest.mark.parametrize("unreg", [False, True])
@pytest.mark.parametrize("heir_key", [None, A, B])
def test_reservation_moves(path: Path, other: Path, held: int, unreg: bool, heir_key: int | None) -> None:
    register((path, A))
    if heir_key is not None:
        register((other, heir_key))
    good(path, RESERVE, A, type_=held)
    before = generation(path)
    assert move(path, move_list(A, C, port_id(HEIR), flags=UNREG * unreg, port=3)) == GOOD
    assert reservation(other) == (C, held)
    assert sorted(keys(other)) == ([C] if unreg else sorted([A, C]))
    assert generation(other) == before + 1
    assert path.attentions() == other.attentions() == []
    good(other, RELEASE, C, type_=held)


@pytest.mark.conformance("PRS-019")
def test_heir_need_not_be_there(array: Array, path: Path) -> None:
    register((path, A))
    good(path, RESERVE, A, type_=WE)
    assert move(path, move_list(A, C, port_id("iqn.later", "F"), port=4)) == GOOD
    later = array.path("iqn.later", port=3, isid=15)
    assert later.itl().go_write
    assert not path.itl().go_write


@pytest.mark.conformance("PRS-018", "PRS-019")
def test_heir_by_its_name_alone_if_that_is_one_port(array: Array, path: Path, other: Path) -> None:
    register((path, A))
    good(path, RESERVE, A, type_=WE)
    by_name = move_list(A, C, device_id(HEIR), port=3)
    second = array.path(HEIR, port=2, isid=2)
    assert move(path, by_name) == INVALID_FIELD_IN_LIST
    second.nexus.lose()
    assert move(path, move_list(A, C, device_id(HEIR), port=1)) == INVALID_FIELD_IN_LIST
    assert move(path, by_name) == GOOD
    assert reservation(other) == (C, WE)
    good(other, RELEASE, C, type_=WE)


@pytest.mark.conformance("PRS-001", "PRS-019")
@pytest.mark.parametrize("held", [None, *TYPES])
@pytest.mark.parametrize("by", ["holder", "other"])
def test_only_the_one_holder_moves_a_reservation(path: Path, other: Path, held: int | None, by: str) -> None:
    register((path, A), (other, B))
    if held is not None:
        good(path, RESERVE, A, type_=held)
    who, key = (path, A) if by == "holder" else (other, B)
    result = move(who, move_list(key, C, port_id("iqn.heir")))
    if held is None:
        assert result == INVALID_FIELD_IN_CDB
    elif held in ALL_REGISTRANTS or by == "other":
        assert result == RESERVATION_CONFLICT
    else:
        assert result == GOOD
        return
    assert keys(path) == [A, B]


@pytest.mark.conformance("PRS-019")
@pytest.mark.parametrize("port", [1, 2])
def test_the_heir_is_another_initiator_port(path: Path, port: int) -> None:
    register((path, A))
    good(path, RESERVE, A, type_=WE)
    own = port_id(path.nexus.initiator, "1")
    assert move(path, move_list(A, C, own, port=port)) == INVALID_FIELD_IN_LIST
    assert move(path, move_list(A, C, port_id(path.nexus.initiator, "2"), port=port)) == GOOD


@pytest.mark.conformance("PRS-019")
@pytest.mark.parametrize(
    "data",
    [
        move_list(A, 0, port_id(HEIR)),
        move_list(A, C, port_id(HEIR), port=0),
        move_list(A, C, port_id(HEIR), port=5),
        move_list(A, C, b""),
        move_list(A, C, port_id(HEIR)[:-4]),
        move_list(A, C, port_id(HEIR) + port_id(HEIR)),
        move_list(A, C, b"\x05" + port_id(HEIR)[1:]),
        move_list(A, C, b"\x46" + port_id(HEIR)[1:]),
    ],
    ids=["no key", "port 0", "port 5", "nobody", "cut", "two", "comma in a name", "SAS"],
)
def test_wrong_list_moves_nothing(path: Path, data: bytes) -> None:
    register((path, A))
    good(path, RESERVE, A, type_=WE)
    before = generation(path)
    assert move(path, data) == INVALID_FIELD_IN_LIST
    assert keys(path) == [A]
    assert reservation(path) == (A, WE)
    assert generation(path) == before


@pytest.mark.conformance("PRS-002", "PRS-019")
def test_transport_id_that_does_not_fit_the_list(path: Path) -> None:
    register((path, A))
    good(path, RESERVE, A, type_=WE)
    assert move(path, move_list(A, C, port_id(HEIR))[:-1]) == (5, 0x1A00)
