"""What registrations and the reservation outlast: sessions, resets, and with APTPL a loss of power."""

import pytest
from persistent_initiator import (
    APTPL,
    CLEAR,
    IGNORE,
    MOVE,
    PREEMPT,
    PREEMPT_AND_ABORT,
    REGISTER,
    RELEASE,
    RESERVE,
    TYPES,
    WE,
    WE_AR,
    WE_RO,
    A,
    B,
    C,
    basic_list,
    carry_out,
    full_status,
    generation,
    good,
    keys,
    move_list,
    port_id,
    refused,
    register,
    reservation,
)
from scsi_initiator import RESERVATION_CONFLICT, WRITE_8, Array, Path

from mpxtarget.scsi import task_management
from mpxtarget.scsi.plan import Fence, Keep, Plan, Reply
from mpxtarget.scsi.reservations import (
    MAXIMUM_REGISTRATIONS,
    KeptReservations,
    NexusName,
    Registration,
    Reservation,
    Reservations,
    Type,
)

HOST = "iqn.a"


@pytest.mark.conformance("PRS-014", "TMF-014", "RSV-003")
@pytest.mark.parametrize("type_", TYPES)
@pytest.mark.parametrize("end", ["nexus loss", "lun reset", "target reset", "unmapping"])
def test_resets_and_losses_end_nothing(array: Array, other: Path, end: str, type_: int) -> None:
    path = array.path(HOST)
    register((path, A), (other, B))
    good(path, RESERVE, A, type_=type_)
    before = (keys(other), reservation(other), full_status(other), generation(other))
    if end == "nexus loss":
        path.nexus.lose()
        path = array.path(HOST)
    elif end == "lun reset":
        task_management.lun_reset(path.nexus, 1 << 48)
    elif end == "target reset":
        task_management.target_reset(other.nexus)
    else:
        path.nexus.unmap(1)
        path.nexus.map(1, array.disk)
    path.attentions()
    other.attentions()
    assert (keys(other), reservation(other), full_status(other), generation(other)) == before
    assert path.itl().go_write
    stranger = array.path("iqn.stranger")
    assert stranger.send(WRITE_8).status == RESERVATION_CONFLICT
    good(path, RELEASE, A, type_=type_)


@pytest.mark.conformance("PRS-014", "NAM-004")
@pytest.mark.parametrize(("name", "port", "isid"), [(HOST, 0, 2), (HOST, 1, 1), ("iqn.b", 0, 1)])
def test_a_registration_is_of_a_port_of_an_initiator_on_a_target_port(
    array: Array, name: str, port: int, isid: int
) -> None:
    register((array.path(HOST, 0, 1), A))
    refused(array.path(name, port, isid), RESERVE, A, type_=WE)


@pytest.mark.conformance("PRS-014")
def test_what_is_gone_stays_registered_and_can_be_preempted(array: Array, path: Path) -> None:
    gone = array.path(HOST)
    register((gone, A), (path, B))
    good(gone, RESERVE, A, type_=WE_RO)
    gone.nexus.lose()
    assert keys(path) == [A, B]
    good(path, PREEMPT, B, A, type_=WE_RO)
    assert keys(path) == [B]
    refused(array.path(HOST), RESERVE, A, type_=WE_RO)


def kept_after(plan: Plan) -> bool:
    """Whether the answer waits until things are written down."""
    if isinstance(plan, Fence):
        plan = plan.then
    assert plan == Reply(0) or (isinstance(plan, Keep) and plan.reply == Reply(0)), plan
    return isinstance(plan, Keep)


@pytest.mark.conformance("PRS-015")
@pytest.mark.parametrize("aptpl", [False, True])
def test_with_aptpl_every_change_is_written_down_before_it_is_answered(
    array: Array, path: Path, other: Path, aptpl: bool
) -> None:
    flags = APTPL * aptpl
    steps = [
        (path, REGISTER, basic_list(0, A, flags)),
        (other, IGNORE, basic_list(0, B, flags)),
        (path, RESERVE, basic_list(A)),
        (path, MOVE, move_list(A, C, port_id(other.nexus.initiator), flags=int(aptpl), port=3)),
        (other, RELEASE, basic_list(C)),
        (path, RESERVE, basic_list(A)),
        (other, PREEMPT, basic_list(C, A)),
        (path, REGISTER, basic_list(0, A, flags)),
        (path, PREEMPT_AND_ABORT, basic_list(A, C)),
        (path, CLEAR, basic_list(A)),
    ]
    for who, action, data in steps:
        path.attentions()
        other.attentions()
        assert kept_after(carry_out(who, action, WE, data)) is aptpl, action
        expected = array.disk.reservations.kept
        assert array.disk.kept.reservations == expected
        assert (expected is not None) is aptpl
        assert hash(array.disk.kept) == hash(array.disk.kept)


@pytest.mark.conformance("PRS-015")
@pytest.mark.parametrize("how", [REGISTER, IGNORE, MOVE])
def test_turning_aptpl_off_is_written_down_too(array: Array, path: Path, how: int) -> None:
    good(path, REGISTER, 0, A, flags=APTPL)
    good(path, RESERVE, A, type_=WE)
    data = move_list(A, A, port_id("iqn.heir")) if how == MOVE else basic_list(A, A)
    assert kept_after(carry_out(path, how, 0, data))
    assert array.disk.kept.reservations is None
    assert not kept_after(carry_out(path, REGISTER, 0, basic_list(A, B)))


@pytest.mark.conformance("PRS-015")
@pytest.mark.parametrize("type_", [None, *TYPES])
def test_with_aptpl_a_loss_of_power_changes_nothing_but_the_generation(type_: int | None) -> None:
    before = Array()
    path, other = before.path(HOST, 1), before.path("iqn.b", 2)
    good(path, REGISTER, 0, A, flags=APTPL)
    good(other, REGISTER, 0, B, flags=APTPL)
    if type_ is not None:
        good(path, RESERVE, A, type_=type_)
    status = full_status(path)
    after = Array()
    after.disk.restore(before.disk.kept)
    again = after.login(HOST, 1)
    again.attentions()
    assert keys(again) == [A, B]
    assert full_status(again) == status
    assert reservation(again) == reservation(path)
    assert generation(again) == 0
    assert after.disk.kept == before.disk.kept
    stranger = after.path("iqn.stranger")
    assert stranger.itl().go_write is (type_ is None)
    assert again.itl().go_write


@pytest.mark.conformance("PRS-015")
@pytest.mark.parametrize("turned_off", [False, True])
def test_without_aptpl_nothing_outlasts_a_loss_of_power(array: Array, path: Path, turned_off: bool) -> None:
    if turned_off:
        good(path, REGISTER, 0, A, flags=APTPL)
    good(path, IGNORE, 0, A)
    good(path, RESERVE, A, type_=WE)
    after = Array()
    after.disk.restore(array.disk.kept)
    again = after.path(path.nexus.initiator)
    assert keys(again) == []
    assert reservation(again) is None


ONE, TWO = NexusName("iqn.a,i,0x000000000001", 1), NexusName("iqn.a,i,0x000000000001", 2)


@pytest.mark.conformance("PRS-015")
@pytest.mark.parametrize(
    "kept",
    [
        KeptReservations((Registration(ONE, A), Registration(ONE, B)), None),
        KeptReservations((Registration(ONE, 0),), None),
        KeptReservations((Registration(ONE, 1 << 64),), None),
        KeptReservations((Registration(NexusName("x", 0), A),), None),
        KeptReservations((Registration(ONE, A),), Reservation(Type(WE), TWO)),
        KeptReservations((Registration(ONE, A),), Reservation(Type(WE), None)),
        KeptReservations((Registration(ONE, A),), Reservation(Type(WE_AR), ONE)),
        KeptReservations((), Reservation(Type(WE_AR), None)),
        KeptReservations(
            tuple(Registration(NexusName(str(n), 1), A) for n in range(MAXIMUM_REGISTRATIONS + 1)), None
        ),
    ],
)
def test_what_can_never_have_been_kept_is_refused(kept: KeptReservations) -> None:
    reservations = Reservations()
    with pytest.raises(ValueError, match=r"registration|holder"):
        reservations.restore(kept)
    assert not reservations
    assert not reservations.aptpl
