"""The table of preferred paths: who manages a disk at start, when a controller fails, and when it is back."""

import pytest

from bridge.factory import FakeStore, array_record, bridge, eva, login, pending, settled, vdisk_record
from mpxtarget.array.array import Array
from mpxtarget.array.ownership import GROUP_IDS, ControllerUnavailable, moves_at_start
from mpxtarget.array.records import ControllerName, Preferred
from mpxtarget.scsi.codes import AccessState, Asc

ACCESS_CHANGED = Asc.ASYMMETRIC_ACCESS_STATE_CHANGED


def owners(array: Array) -> dict[int, str]:
    """Who manages which disk, as records and disks agree."""
    for vdisk in array.vdisks.values():
        assert vdisk.disk.managing_group == GROUP_IDS[vdisk.record.controller]
    return {number: vdisk.record.controller for number, vdisk in array.vdisks.items()}


def states(array: Array, number: int = 1) -> tuple[int, int]:
    """The access states of a disk by controller A and B."""
    disk = array.vdisks[number].disk
    return disk.access_state(GROUP_IDS["A"]), disk.access_state(GROUP_IDS["B"])


def array_of(*disks: tuple[Preferred, ControllerName]) -> Array:
    """An array with disks 1, 2, ... of these preferred paths, at these controllers."""
    array = eva(0)
    for number, (preferred, controller) in enumerate(disks, 1):
        array.add_vdisk(vdisk_record(number, preferred=preferred, controller=controller), FakeStore())
    return array


@pytest.mark.conformance("ALU-008", "ALU-009")
@pytest.mark.parametrize("controller", ["A", "B"])
@pytest.mark.parametrize(
    ("preferred", "named"), [("none", None), ("A", "A"), ("B", "B"), ("A-failback", "A"), ("B-failback", "B")]
)
def test_after_a_clean_stop_the_preferred_path_decides_after_a_crash_nothing_moves(
    preferred: Preferred, named: ControllerName | None, controller: ControllerName
) -> None:
    record = vdisk_record(1, preferred=preferred, controller=controller)
    moved = {} if named in (None, controller) else {1: named}
    assert moves_at_start([record], clean=True, failed=None) == moved
    assert moves_at_start([record], clean=False, failed=None) == {}


@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize("preferred", ["none", "A", "B-failback"])
def test_nothing_starts_at_a_controller_that_has_failed(preferred: Preferred, clean: bool) -> None:
    for controller in GROUP_IDS:
        record = vdisk_record(1, preferred=preferred, controller=controller)
        assert moves_at_start([record], clean=clean, failed="A").get(1, controller) == "B"


@pytest.mark.conformance("ALU-010", "ALU-009")
def test_disks_go_to_the_survivor_and_only_failback_ones_come_back() -> None:
    array = array_of(
        ("none", "A"),
        ("A", "A"),
        ("A-failback", "A"),
        ("none", "B"),
        ("A-failback", "B"),
        ("B-failback", "A"),
    )
    array.ownership.fail("A")
    assert set(owners(array).values()) == {"B"}
    array.ownership.recover()
    assert owners(array) == {1: "B", 2: "B", 3: "A", 4: "B", 5: "A", 6: "B"}


@pytest.mark.conformance("ALU-009")
def test_failback_is_once_and_later_moves_of_hosts_stick() -> None:
    array = array_of(("A-failback", "A"))
    array.ownership.fail("A")
    array.ownership.recover()
    array.vdisks[1].disk.manage(GROUP_IDS["B"])
    for now in (0.0, 4000.0, 8000.0):
        array.ownership.tick(now)
    array.ownership.fail("A")
    assert owners(array) == {1: "B"}
    array.ownership.recover()
    assert owners(array) == {1: "A"}
    array.ownership.fail("B")
    array.ownership.recover()
    assert owners(array) == {1: "A"}


@pytest.mark.conformance("ALU-010", "ALU-003")
def test_group_of_a_failed_controller_is_unavailable_for_every_disk_old_and_new() -> None:
    array = array_of(("none", "A"), ("none", "B"))
    array.ownership.fail("A")
    array.add_vdisk(vdisk_record(3, controller="B"), FakeStore())
    for number in (1, 2, 3):
        assert states(array, number) == (AccessState.UNAVAILABLE, AccessState.ACTIVE_OPTIMIZED)
    array.ownership.recover()
    for number in (1, 2, 3):
        assert states(array, number) == (AccessState.ACTIVE_NON_OPTIMIZED, AccessState.ACTIVE_OPTIMIZED)


def test_an_array_can_start_with_a_failed_controller() -> None:
    array = Array(array_record(), failed="B")
    array.add_vdisk(vdisk_record(1, controller="A"), FakeStore())
    assert states(array) == (AccessState.ACTIVE_OPTIMIZED, AccessState.UNAVAILABLE)
    assert (array.ownership.state("A"), array.ownership.state("B")) == ("ok", "failed")


def test_the_last_controller_that_works_cannot_fail_and_a_failed_one_gets_no_disk() -> None:
    array = array_of(("none", "A"))
    array.ownership.fail("A")
    with pytest.raises(ControllerUnavailable, match="only one that works"):
        array.ownership.fail("B")
    with pytest.raises(ControllerUnavailable, match="out of service"):
        array.ownership.trespass(1, "A")
    assert owners(array) == {1: "B"}
    assert array.ownership.out_of_service == "A"


def test_a_restart_ends_by_itself_and_says_how_long_it_takes() -> None:
    array = array_of(("A-failback", "A"), ("none", "A"))
    array.ownership.fail("A", 60.0)
    assert array.ownership.state("A") == "restarting"
    assert array.ownership.seconds_left(5.0) == 60.0
    assert array.ownership.tick(10.0) == {1: "B", 2: "B"}
    assert array.ownership.next_event() == 70.0
    assert array.ownership.seconds_left(30.0) == 40.0
    assert array.ownership.tick(69.9) == {}
    assert array.ownership.tick(70.0) == {1: "A"}
    assert (array.ownership.state("A"), array.ownership.seconds_left(71.0)) == ("ok", None)


def test_a_controller_that_restarts_can_fail_for_good_and_the_other_way_round() -> None:
    array = array_of(("none", "A"))
    array.ownership.fail("A", 60.0)
    array.ownership.fail("A")
    array.ownership.tick(0.0)
    array.ownership.tick(100.0)
    assert array.ownership.state("A") == "failed"
    array.ownership.fail("A", 5.0)
    array.ownership.tick(200.0)
    array.ownership.tick(205.0)
    assert array.ownership.state("A") == "ok"


@pytest.mark.conformance("ALU-007", "ALU-010", "UAT-001", "UAT-007")
def test_all_nexuses_of_the_survivor_are_told_and_lose_no_other_attention() -> None:
    made = bridge()
    survivors = [login(made, target=2), login(made, "iqn.1994-05.com.redhat:other", target=3)]
    for nexus in survivors:
        nexus.by_number[1].raise_unit_attention(Asc.CAPACITY_DATA_HAS_CHANGED)
    made.array.ownership.fail("A")
    for nexus in survivors:
        assert pending(nexus) == {1: [Asc.CAPACITY_DATA_HAS_CHANGED, ACCESS_CHANGED], 2: [ACCESS_CHANGED]}
        settled(nexus)
    made.array.ownership.recover()
    for nexus in survivors:
        assert pending(nexus) == {1: [ACCESS_CHANGED], 2: [ACCESS_CHANGED]}


@pytest.mark.conformance("ALU-005", "ALU-007")
@pytest.mark.parametrize("how", ["trespass", "host", "failure"])
def test_a_move_takes_the_transition_time_whatever_the_cause(how: str) -> None:
    made = bridge(transition_time=15)
    array = made.array
    nexuses = [login(made, target=0), login(made, target=2)]
    woken: list[bool] = []
    array.ownership.wake = lambda: woken.append(True)
    if how == "trespass":
        array.ownership.trespass(1, "B")
    elif how == "host":
        array.vdisks[1].disk.manage(GROUP_IDS["B"], nexuses[0])
    else:
        array.ownership.fail("A")
    assert woken
    assert AccessState.TRANSITIONING in states(array)
    assert array.ownership.tick(100.0) == {1: "B"}
    assert array.ownership.next_event() == 115.0
    for nexus in nexuses:
        settled(nexus)
    array.ownership.tick(114.0)
    assert AccessState.TRANSITIONING in states(array)
    array.ownership.tick(115.0)
    assert states(array)[1] == AccessState.ACTIVE_OPTIMIZED
    told = [nexus for nexus in nexuses if pending(nexus)]
    assert told == (nexuses[1:] if how == "host" else nexuses)
    assert all(pending(nexus) == {1: [ACCESS_CHANGED]} for nexus in told)


@pytest.mark.conformance("UAT-001", "ALU-007")
def test_a_transition_whose_controller_fails_is_told_as_failed_to_all() -> None:
    made = bridge(transition_time=10)
    array = made.array
    by_a = login(made, target=0)
    array.ownership.trespass(1, "B")
    array.ownership.tick(0.0)
    array.ownership.fail("B")
    assert pending(by_a)[1] == [ACCESS_CHANGED, Asc.IMPLICIT_ASYMMETRIC_ACCESS_STATE_TRANSITION_FAILED]
    assert pending(by_a)[2] == [ACCESS_CHANGED]
    array.ownership.tick(1.0)
    array.ownership.tick(11.0)
    assert states(array) == (AccessState.ACTIVE_OPTIMIZED, AccessState.UNAVAILABLE)


def test_a_move_that_a_host_asked_for_does_not_fail_as_an_implicit_one() -> None:
    made = bridge(transition_time=10)
    nexuses = [login(made, target=0), login(made, target=1)]
    made.array.vdisks[1].disk.manage(GROUP_IDS["B"], nexuses[0])
    made.array.ownership.fail("B")
    assert [pending(nexus)[1] for nexus in nexuses] == [[ACCESS_CHANGED]] * 2


def test_a_disk_that_is_made_while_its_controller_restarts_starts_at_the_survivor() -> None:
    array = eva(0)
    array.ownership.fail("A", 60.0)
    array.add_vdisk(vdisk_record(1, controller="A", preferred="A-failback"), FakeStore())
    assert owners(array) == {1: "B"}
    assert states(array) == (AccessState.UNAVAILABLE, AccessState.ACTIVE_OPTIMIZED)
    assert array.ownership.tick(0.0) == {1: "B"}
    assert array.ownership.tick(60.0) == {1: "A"}


def test_a_disk_that_turns_round_in_transition_arrives_once_and_tells_everybody() -> None:
    made = bridge(transition_time=10)
    array = made.array
    nexuses = [login(made, target=0), login(made, target=2)]
    array.vdisks[1].disk.manage(GROUP_IDS["B"], nexuses[0])
    array.ownership.tick(0.0)
    array.ownership.trespass(1, "A")
    array.ownership.tick(5.0)
    array.ownership.tick(14.0)
    assert states(array) == (AccessState.TRANSITIONING, AccessState.TRANSITIONING)
    array.ownership.tick(15.0)
    assert states(array) == (AccessState.ACTIVE_OPTIMIZED, AccessState.ACTIVE_NON_OPTIMIZED)
    assert [pending(nexus) for nexus in nexuses] == [{1: [ACCESS_CHANGED]}] * 2


def test_a_family_is_managed_by_one_controller() -> None:
    array = eva(0)
    array.add_vdisk(vdisk_record(1, controller="A", preferred="A-failback"), FakeStore())
    array.add_vdisk(vdisk_record(2, controller="A", parent=1, kind="snapshot"), FakeStore())
    array.add_vdisk(vdisk_record(3, controller="A", parent=2, kind="snapshot"), FakeStore())
    array.add_vdisk(vdisk_record(4, controller="A"), FakeStore())
    array.vdisks[2].disk.manage(GROUP_IDS["B"])
    assert owners(array) == {1: "B", 2: "B", 3: "B", 4: "A"}
    assert array.ownership.tick(0.0) == {1: "B", 2: "B", 3: "B"}
    array.ownership.trespass(1, "A")
    assert owners(array) == {1: "A", 2: "A", 3: "A", 4: "A"}
    array.ownership.fail("A")
    array.ownership.recover()
    assert owners(array) == {1: "A", 2: "A", 3: "A", 4: "B"}
    array.ownership.fail("A")
    records = [vdisk.record for vdisk in array.vdisks.values()]
    assert moves_at_start(records, clean=True, failed=None) == {1: "A", 2: "A", 3: "A"}


def test_a_snapshot_is_managed_where_its_parent_is_now() -> None:
    array = array_of(("none", "A"))
    array.vdisks[1].disk.manage(GROUP_IDS["B"])
    array.add_vdisk(vdisk_record(2, controller="A", parent=1, kind="snapshot"), FakeStore())
    assert owners(array) == {1: "B", 2: "B"}
    assert array.ownership.take_moved() == {1: "B", 2: "B"}


def test_a_disk_that_is_gone_is_nobodys_any_more() -> None:
    array = array_of(("none", "A"))
    array.vdisks[1].disk.manage(GROUP_IDS["B"])
    array.remove_vdisk(1)
    assert array.ownership.tick(0.0) == {}
    assert array.ownership.next_event() is None
    with pytest.raises(KeyError):
        array.ownership.trespass(1, "A")
