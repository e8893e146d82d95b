"""Which disk an initiator finds at which LUN, under both policies."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from bridge.factory import INITIATOR, ISID, OTHER, array_record, bridge, found, login
from mpxtarget.array.records import Policy
from mpxtarget.bridge.masking import LunMask
from mpxtarget.bridge.records import InitiatorRecord, PresentationRecord


@pytest.mark.conformance("LUN-006")
@pytest.mark.parametrize("policy", ["present-all", "masked"])
def test_lun_0_is_the_console_on_every_target(policy: Policy) -> None:
    made = bridge(policy=policy)
    for number in range(4):
        nexus = login(made, target=number)
        assert nexus.by_number[0].lu is made.array.console


def test_every_target_shows_the_same() -> None:
    made = bridge(policy="masked")
    made.present(PresentationRecord(2, INITIATOR, 7))
    assert all(found(login(made, target=number)) == {0: None, 7: 2} for number in range(4))


@pytest.mark.conformance("SEC-007")
def test_a_presentation_is_for_one_initiator() -> None:
    made = bridge(policy="masked")
    made.present(PresentationRecord(1, INITIATOR, 1))
    made.present(PresentationRecord(1, OTHER, 9))
    assert found(login(made)) == {0: None, 1: 1}
    assert found(login(made, OTHER)) == {0: None, 9: 1}


def test_a_presentation_moves_its_disk_and_comes_first() -> None:
    made = bridge(3)
    made.present(PresentationRecord(1, INITIATOR, 2))
    assert found(login(made)) == {0: None, 2: 1, 3: 3}  # disk 1 has left LUN 1, disk 2 is hidden
    assert found(login(made, OTHER)) == {0: None, 1: 1, 2: 2, 3: 3}


def test_a_disk_or_lun_is_presented_once() -> None:
    made = bridge()
    made.present(PresentationRecord(1, INITIATOR, 5))
    with pytest.raises(ValueError, match="already"):
        made.present(PresentationRecord(1, INITIATOR, 6))
    with pytest.raises(ValueError, match="LUN 5"):
        made.present(PresentationRecord(2, INITIATOR, 5))
    with pytest.raises(KeyError):
        made.present(PresentationRecord(99, INITIATOR, 8))
    with pytest.raises(KeyError):
        made.unpresent(2, INITIATOR)


def test_a_forgotten_initiator_is_a_stranger() -> None:
    made = bridge(policy="masked")
    made.set_initiator(InitiatorRecord(INITIATOR))
    made.present(PresentationRecord(1, INITIATOR, 1))
    nexus = login(made)
    made.remove_initiator(INITIATOR)
    assert found(nexus) == {0: None}
    assert found(login(made, isid=ISID + 1)) == {0: None}


def test_the_policy_can_change_under_sessions() -> None:
    made = bridge()
    made.present(PresentationRecord(2, INITIATOR, 9))
    nexus, other = login(made), login(made, OTHER)
    made.set_array(array_record(policy="masked"))
    assert found(nexus) == {0: None, 9: 2} and found(other) == {0: None}
    made.set_array(array_record(policy="present-all"))
    assert found(nexus) == {0: None, 1: 1, 9: 2} and found(other) == {0: None, 1: 1, 2: 2}


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), max_size=8))
def test_two_disks_never_share_a_lun_of_their_own(changes: list[tuple[int, int]]) -> None:
    mask = LunMask("present-all")
    for vdisk_id, lun in changes:
        try:
            mask.set_own_lun(vdisk_id, lun)
        except ValueError:
            assert dict(mask.view("x"))[lun] != vdisk_id
    view = list(mask.view("x"))
    assert len({vdisk_id for _, vdisk_id in view}) == len(view) == len({lun for lun, _ in view})


class LiveMapIsTheMask(RuleBasedStateMachine):
    """Whatever changes in whatever order, a live nexus has the map that a new login would get."""

    def __init__(self) -> None:
        super().__init__()
        self.made = bridge(4, policy="masked")
        self.names = [INITIATOR, OTHER]
        self.live = [login(self.made, name) for name in self.names]
        self.isid = ISID

    numbers = st.integers(1, 4)

    @rule(which=st.integers(0, 1), vdisk_id=numbers, lun=numbers)
    def present(self, which: int, vdisk_id: int, lun: int) -> None:
        try:
            self.made.present(PresentationRecord(vdisk_id, self.names[which], lun))
        except (KeyError, ValueError):
            pass

    @rule(which=st.integers(0, 1), vdisk_id=numbers)
    def unpresent(self, which: int, vdisk_id: int) -> None:
        try:
            self.made.unpresent(vdisk_id, self.names[which])
        except KeyError:
            pass

    @rule(vdisk_id=numbers, lun=st.none() | numbers)
    def move(self, vdisk_id: int, lun: int | None) -> None:
        if vdisk_id not in self.made.array.vdisks:
            return
        try:
            self.made.update_vdisk(replace(self.made.array.vdisks[vdisk_id].record, lun=lun))
        except ValueError:
            pass

    @rule(policy=st.sampled_from(["present-all", "masked"]))
    def policy(self, policy: Policy) -> None:
        self.made.set_array(array_record(policy=policy))

    @precondition(lambda self: len(self.made.array.vdisks) > 1)
    @rule(vdisk_id=numbers)
    def remove(self, vdisk_id: int) -> None:
        if vdisk_id in self.made.array.vdisks:
            self.made.remove_vdisk(vdisk_id)

    @invariant()
    def live_nexuses_are_up_to_date(self) -> None:
        for name, nexus in zip(self.names, self.live, strict=True):
            self.isid += 1
            fresh = self.made.attach(name, self.isid, next(iter(self.made.targets)))
            assert found(fresh) == found(nexus)
            self.made.detach(fresh)


TestLiveMapIsTheMask = LiveMapIsTheMask.TestCase
