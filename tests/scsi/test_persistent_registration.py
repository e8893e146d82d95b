"""Registering, changing keys and unregistering: who may, and what becomes of the reservation."""

import pytest
from persistent_initiator import (
    ALL_REGISTRANTS,
    ALL_TG_PT,
    APTPL,
    CLEAR,
    FOR_REGISTRANTS,
    IGNORE,
    INVALID_FIELD_IN_CDB,
    INVALID_FIELD_IN_LIST,
    LIST_LENGTH_ERROR,
    MOVE,
    NO_ROOM,
    PREEMPT,
    PREEMPT_AND_ABORT,
    REGISTER,
    RELEASE,
    RESERVE,
    SPEC_I_PT,
    TYPES,
    WE,
    WE_RO,
    A,
    B,
    C,
    basic_list,
    full_status,
    generation,
    good,
    keys,
    listing,
    move,
    move_list,
    out,
    out_cdb,
    port_id,
    refused,
    register,
    reservation,
    sense_of,
)
from scsi_initiator import GOOD, PORTS, RESERVATION_CONFLICT, Array, Path

from mpxtarget.scsi.plan import TakeData
from mpxtarget.scsi.reservations import MAXIMUM_REGISTRATIONS

WRONG = 0xBAD


@pytest.mark.conformance("PRS-001", "PRS-007")
@pytest.mark.parametrize(
    ("key", "new_key", "status", "registered"),
    [
        (0, A, GOOD, [A]),
        (0, 0, GOOD, []),
        (WRONG, A, RESERVATION_CONFLICT, []),
        (WRONG, 0, RESERVATION_CONFLICT, []),
    ],
)
def test_register_from_a_nexus_that_is_not_registered(
    path: Path, key: int, new_key: int, status: int, registered: list[int]
) -> None:
    assert out(path, REGISTER, key, new_key) == status
    assert keys(path) == registered
    assert generation(path) == len(registered)


@pytest.mark.conformance("PRS-001", "PRS-006", "PRS-008")
@pytest.mark.parametrize("holds", [False, True])
@pytest.mark.parametrize(
    ("key", "new_key", "status", "registered"),
    [
        (A, B, GOOD, [B]),
        (A, A, GOOD, [A]),
        (A, 0, GOOD, []),
        (WRONG, B, RESERVATION_CONFLICT, [A]),
        (WRONG, 0, RESERVATION_CONFLICT, [A]),
        (0, B, RESERVATION_CONFLICT, [A]),
        (0, 0, RESERVATION_CONFLICT, [A]),
    ],
)
def test_register_from_a_registered_nexus(
    path: Path, holds: bool, key: int, new_key: int, status: int, registered: list[int]
) -> None:
    register((path, A))
    if holds:
        good(path, RESERVE, A, type_=WE)
    before = generation(path)
    assert out(path, REGISTER, key, new_key) == status
    assert keys(path) == registered
    assert generation(path) == before + (status == GOOD)
    assert reservation(path) == ((registered[0], WE) if holds and registered else None)


@pytest.mark.conformance("PRS-001", "PRS-007")
@pytest.mark.parametrize("key", [0, A, WRONG])
@pytest.mark.parametrize("registered", [False, True])
@pytest.mark.parametrize("holds", [False, True])
@pytest.mark.parametrize("new_key", [0, B])
def test_register_and_ignore_looks_at_no_key(
    path: Path, key: int, registered: bool, holds: bool, new_key: int
) -> None:
    if registered:
        register((path, A))
        if holds:
            good(path, RESERVE, A, type_=WE_RO)
    before = generation(path)
    good(path, IGNORE, key, new_key)
    assert keys(path) == ([new_key] if new_key else [])
    assert generation(path) == before + bool(registered or new_key)
    assert reservation(path) == ((new_key, WE_RO) if registered and holds and new_key else None)


@pytest.mark.conformance("PRS-001")
@pytest.mark.parametrize("key", [0, A, WRONG])
@pytest.mark.parametrize("action", [RESERVE, RELEASE, CLEAR, PREEMPT, PREEMPT_AND_ABORT])
@pytest.mark.parametrize("type_", TYPES)
def test_nexus_that_is_not_registered_may_do_nothing_else(
    path: Path, other: Path, action: int, key: int, type_: int
) -> None:
    register((other, A))
    good(other, RESERVE, A, type_=type_)
    before = generation(path)
    refused(path, action, key, A, type_=type_)
    assert move(path, move_list(key, B, port_id("iqn.c"))) == RESERVATION_CONFLICT
    assert reservation(path) == (0 if type_ in ALL_REGISTRANTS else A, type_)
    assert generation(path) == before


@pytest.mark.conformance("PRS-001")
@pytest.mark.parametrize("key", [0, WRONG, B])
@pytest.mark.parametrize("action", [RESERVE, RELEASE, CLEAR, PREEMPT, PREEMPT_AND_ABORT])
@pytest.mark.parametrize("holds", [False, True])
def test_wrong_key_is_a_conflict_for_the_holder_too(
    path: Path, other: Path, action: int, key: int, holds: bool
) -> None:
    register((path, A), (other, B))
    good(path if holds else other, RESERVE, A if holds else B, type_=WE)
    refused(path, action, key, B, type_=WE)
    assert move(path, move_list(key, C, port_id("iqn.c"))) == RESERVATION_CONFLICT
    assert keys(path) == [A, B]
    assert reservation(path) == (A if holds else B, WE)


@pytest.mark.conformance("PRS-006")
@pytest.mark.parametrize("type_", TYPES)
@pytest.mark.parametrize("how", [REGISTER, IGNORE])
def test_reservation_goes_with_its_last_holder(path: Path, other: Path, type_: int, how: int) -> None:
    register((path, A), (other, B))
    good(path, RESERVE, A, type_=type_)
    good(path, how, A, 0)
    if type_ in ALL_REGISTRANTS:
        assert reservation(other) == (0, type_)
        assert other.attentions() == []
        good(other, how, B, 0)
    assert reservation(path) is None
    assert path.attentions() == []


@pytest.mark.conformance("PRS-006")
@pytest.mark.parametrize("type_", FOR_REGISTRANTS)
def test_others_leave_and_the_reservation_stays(path: Path, other: Path, type_: int) -> None:
    register((path, A), (other, B))
    good(path, RESERVE, A, type_=type_)
    good(other, REGISTER, B, 0)
    assert reservation(path) == (0 if type_ in ALL_REGISTRANTS else A, type_)
    assert path.attentions() == []


@pytest.mark.conformance("PRS-008", "PRS-024")
def test_one_key_is_listed_once_for_each_nexus_that_shares_it(array: Array) -> None:
    paths = [array.path("iqn.a", port, isid) for port in range(4) for isid in (1, 2)]
    for path in paths:
        register((path, A))
    assert keys(paths[0]) == [A] * 8
    good(paths[0], REGISTER, A, B)
    assert sorted(keys(paths[5])) == [A] * 7 + [B]


@pytest.mark.conformance("PRS-005")
def test_generation_counts_changes_of_registrations_and_nothing_else(array: Array) -> None:
    path, other = array.path("iqn.a"), array.path("iqn.b", port=2)
    assert generation(path) == 0
    steps = [
        (path, REGISTER, 0, A, 1),
        (other, IGNORE, 0, B, 2),
        (path, RESERVE, A, 0, 2),
        (path, REGISTER, A, A, 3),
        (other, RESERVE, B, 0, 3),
        (other, PREEMPT, B, A, 4),
        (other, RELEASE, B, 0, 4),
        (path, REGISTER, 0, A, 5),
        (other, PREEMPT_AND_ABORT, B, A, 6),
        (other, PREEMPT, B, C, 6),
        (other, CLEAR, B, 0, 7),
        (other, CLEAR, B, 0, 7),
    ]
    for who, action, key, new_key, expected in steps:
        out(who, action, key, new_key, type_=WE if action in (RESERVE, RELEASE, PREEMPT) else 0)
        who.attentions()
        path.attentions()
        assert generation(other) == expected, action


@pytest.mark.conformance("PRS-005")
def test_generation_begins_again_after_the_largest_number(array: Array, path: Path) -> None:
    array.disk.reservations.generation = 0xFFFF_FFFF
    register((path, A))
    assert generation(path) == 0


@pytest.mark.conformance("PRS-002", "CDB-003")
@pytest.mark.parametrize("action", range(8))
@pytest.mark.parametrize("length", [0, 1, 23, 25, 28, 48, 65537, 0xFFFFFFFF])
def test_parameter_list_of_another_length_is_refused(path: Path, action: int, length: int) -> None:
    register((path, A))
    plan = path.plan(out_cdb(action, WE, length))
    if isinstance(plan, TakeData):
        assert action in (REGISTER, IGNORE, MOVE)
        assert length <= 65536
        data = basic_list(A, B).ljust(length, b"\0")
        expected = INVALID_FIELD_IN_CDB if action == MOVE else LIST_LENGTH_ERROR
        assert sense_of(path, action, data).code == expected
    else:
        assert path.sense(out_cdb(action, WE, length)).code == LIST_LENGTH_ERROR
    assert keys(path) == [A]


@pytest.mark.conformance("PRS-002", "PRS-017")
@pytest.mark.parametrize("action", [RESERVE, RELEASE, CLEAR, PREEMPT, PREEMPT_AND_ABORT, IGNORE])
def test_initiators_are_listed_with_register_only(path: Path, action: int) -> None:
    register((path, A))
    sense = sense_of(path, action, basic_list(A, B, SPEC_I_PT), WE)
    assert sense.code == INVALID_FIELD_IN_LIST
    assert sense.pointer == ("data", 20, 3)


@pytest.mark.conformance("PRS-003")
@pytest.mark.parametrize("scope_and_type", [0x00, 0x02, 0x04, 0x09, 0x0F, 0x11, 0x21, 0xF5])
@pytest.mark.parametrize("action", [RESERVE, RELEASE])
def test_scope_and_type_that_do_not_exist(path: Path, action: int, scope_and_type: int) -> None:
    register((path, A))
    sense = sense_of(path, action, basic_list(A), scope_and_type)
    assert sense.code == INVALID_FIELD_IN_CDB
    assert sense.pointer == ("CDB", 2, 7 if scope_and_type >> 4 else 3)


@pytest.mark.conformance("PRS-003")
@pytest.mark.parametrize("scope_and_type", [0x00, 0x0F, 0x11])
def test_scope_and_type_are_looked_at_where_a_reservation_begins_only(
    path: Path, other: Path, scope_and_type: int
) -> None:
    good(path, REGISTER, 0, A, type_=scope_and_type)
    good(path, IGNORE, 0, A, type_=scope_and_type)
    register((other, B))
    good(path, PREEMPT, A, B, type_=scope_and_type)
    other.attentions()
    register((other, B))
    good(other, RESERVE, B, type_=WE)
    assert out(path, PREEMPT, A, B, type_=scope_and_type) == INVALID_FIELD_IN_CDB
    assert reservation(path) == (B, WE)
    assert keys(path) == [A, B]
    good(path, CLEAR, A, type_=scope_and_type)


@pytest.mark.conformance("PRS-004")
@pytest.mark.parametrize("action", [8, 9, 0x1F])
def test_service_action_that_does_not_exist(path: Path, action: int) -> None:
    sense = path.sense(out_cdb(action))
    assert sense.code == INVALID_FIELD_IN_CDB
    assert sense.pointer == ("CDB", 1, 4)


@pytest.mark.conformance("PRS-016")
@pytest.mark.parametrize("how", [REGISTER, IGNORE])
def test_all_target_ports_at_once(array: Array, how: int) -> None:
    paths = [array.path("iqn.a", port) for port in range(4)]
    stranger = array.path("iqn.b")
    good(paths[2], how, 0, A, flags=ALL_TG_PT)
    assert keys(stranger) == [A] * 4
    for path in paths:
        refused(path, REGISTER, B, C)
    good(paths[0], how, A, B, flags=ALL_TG_PT)
    assert keys(stranger) == [B] * 4
    good(paths[1], how, B, C)
    assert sorted(keys(stranger)) == [B, B, B, C]
    good(paths[1], how, C, B)
    good(paths[3], how, B, 0, flags=ALL_TG_PT)
    assert keys(stranger) == []


@pytest.mark.conformance("PRS-016")
def test_all_target_ports_register_as_if_asked_on_each(array: Array) -> None:
    first, second = array.path("iqn.a", 0), array.path("iqn.a", 1)
    register((second, B))
    assert out(first, REGISTER, 0, A, flags=ALL_TG_PT) == RESERVATION_CONFLICT
    assert keys(first) == [B]
    good(first, IGNORE, 0, 0, flags=ALL_TG_PT)
    assert keys(first) == []
    register((second, B))
    good(first, IGNORE, 0, A, flags=ALL_TG_PT)
    assert keys(first) == [A] * 4


@pytest.mark.conformance("PRS-016")
def test_all_target_ports_are_told_as_one_while_they_are_alike(array: Array) -> None:
    path, stranger = array.path("iqn.a", 1), array.path("iqn.b")
    good(path, REGISTER, 0, A, flags=ALL_TG_PT)
    (status,) = full_status(path)
    assert (status.key, status.all_ports, status.holds) == (A, True, False)
    good(path, RESERVE, A, type_=WE)
    one_by_one = full_status(stranger)
    assert {(each.port, each.all_ports, each.holds) for each in one_by_one} == {
        (port.relative_id, False, port.relative_id == 2) for port in PORTS
    }
    good(path, RELEASE, A, type_=WE)
    good(path, RESERVE, A, type_=ALL_REGISTRANTS[0])
    (status,) = full_status(stranger)
    assert (status.all_ports, status.holds, status.scope_and_type) == (True, True, ALL_REGISTRANTS[0])


@pytest.mark.conformance("PRS-023")
def test_no_room_for_more_registrations(array: Array) -> None:
    path = array.path("iqn.a")
    assert MAXIMUM_REGISTRATIONS >= 128
    register((path, A))
    for first in range(2, MAXIMUM_REGISTRATIONS + 1, 100):
        newcomer = array.login("iqn.b", isid=first)
        newcomer.attentions()
        last = min(first + 99, MAXIMUM_REGISTRATIONS)
        names = [port_id("iqn.b", f"{isid:x}") for isid in range(first + 1, last + 1)]
        good(newcomer, REGISTER, 0, B, flags=SPEC_I_PT, more=listing(*names))
    assert len(keys(path)) == MAXIMUM_REGISTRATIONS
    late = array.path("iqn.late", port=1)
    before = generation(path)
    for how, flags in ((REGISTER, 0), (IGNORE, 0), (IGNORE, ALL_TG_PT)):
        assert out(late, how, 0, C, flags=flags) == NO_ROOM
    good(path, REGISTER, A, C)
    good(path, RESERVE, C, type_=WE)
    assert move(path, move_list(C, A, port_id("iqn.late"))) == NO_ROOM
    assert reservation(path) == (C, WE)
    assert generation(path) == before + 1
    assert move(path, move_list(C, A, port_id("iqn.late"), flags=2, port=2)) == GOOD
    assert len(keys(path)) == MAXIMUM_REGISTRATIONS
    assert reservation(path) == (A, WE)


@pytest.mark.conformance("PRS-015", "PRS-020")
@pytest.mark.parametrize("how", [REGISTER, IGNORE])
def test_last_aptpl_bit_counts(path: Path, other: Path, how: int) -> None:
    def activated() -> int:
        return path.read("5E 02 00 00 00 00 00 00 08 00")[3] & 1

    assert activated() == 0
    good(path, how, 0, A, flags=APTPL)
    assert activated() == 1
    good(other, how, 0, B)
    assert activated() == 0
    good(other, how, B, B, flags=APTPL)
    good(other, RESERVE, B, type_=WE)
    good(other, RELEASE, B, type_=WE)
    assert activated() == 1
    good(path, how, 0 if how == IGNORE else A, 0)
    assert activated() == 0
    good(path, how, 0, 0, flags=APTPL)
    assert activated() == 0
