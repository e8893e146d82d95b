"""A change reaches exactly the nexuses it concerns, at once, with the unit attention that is due."""

from dataclasses import replace

import pytest

from bridge.factory import (
    GIB,
    INITIATOR,
    ISID,
    OTHER,
    FakeStore,
    array_record,
    bridge,
    found,
    login,
    pending,
    settled,
    vdisk_record,
)
from mpxtarget.bridge.records import InitiatorRecord, PresentationRecord
from mpxtarget.scsi.codes import Asc
from mpxtarget.scsi.nexus import ITLNexus, ITNexus

LUNS_CHANGED = Asc.REPORTED_LUNS_DATA_HAS_CHANGED
CAPACITY = Asc.CAPACITY_DATA_HAS_CHANGED
POWER_ON = Asc.POWER_ON_RESET_OR_BUS_DEVICE_RESET_OCCURRED
NEXUS_LOSS = Asc.I_T_NEXUS_LOSS_OCCURRED


@pytest.mark.conformance("LUN-014", "UAT-001")
def test_a_new_disk_is_told_on_every_lun_of_every_nexus_under_present_all() -> None:
    made = bridge()
    nexuses = [login(made), login(made, target=2), login(made, OTHER)]
    made.add_vdisk(vdisk_record(3), FakeStore())
    for nexus in nexuses:
        assert found(nexus) == {0: None, 1: 1, 2: 2, 3: 3}
        assert pending(nexus) == {0: [LUNS_CHANGED], 1: [LUNS_CHANGED], 2: [LUNS_CHANGED], 3: [POWER_ON]}


@pytest.mark.conformance("LUN-014", "UAT-001")
def test_a_new_disk_behind_a_mask_is_told_to_nobody() -> None:
    made = bridge(policy="masked")
    nexus = login(made)
    made.add_vdisk(vdisk_record(3), FakeStore())
    made.add_vdisk(vdisk_record(4, lun=None), FakeStore())
    assert found(nexus) == {0: None} and not pending(nexus)


@pytest.mark.conformance("LUN-014", "UAT-001")
def test_a_presentation_is_told_to_its_initiator_alone_on_all_its_paths() -> None:
    made = bridge(policy="masked")
    paths = [login(made, target=number) for number in range(4)]
    other = login(made, OTHER)
    made.present(PresentationRecord(1, INITIATOR, 1))
    for nexus in paths:
        assert found(nexus) == {0: None, 1: 1}
        assert pending(nexus) == {0: [LUNS_CHANGED], 1: [POWER_ON]}
        settled(nexus)
    made.unpresent(1, INITIATOR)
    for nexus in paths:
        assert found(nexus) == {0: None}
        assert pending(nexus) == {0: [LUNS_CHANGED]}
    assert not pending(other)


def test_a_presentation_that_changes_no_map_is_told_to_nobody() -> None:
    made = bridge()
    nexus = login(made)
    made.present(PresentationRecord(1, INITIATOR, 1))  # where it is anyway
    assert not pending(nexus)
    made.unpresent(1, INITIATOR)
    assert not pending(nexus)


@pytest.mark.conformance("LUN-014", "LUN-015", "UAT-001")
def test_a_removed_disk_is_gone_from_everybody() -> None:
    made = bridge(3, policy="masked")
    made.present(PresentationRecord(1, INITIATOR, 1))
    made.present(PresentationRecord(1, OTHER, 9))
    made.present(PresentationRecord(2, OTHER, 2))
    nexus, other = login(made), login(made, OTHER)
    third = login(made, "iqn.1994-05.com.redhat:third")
    disk = made.array.vdisks[1].disk
    made.remove_vdisk(1)
    assert found(nexus) == {0: None} and pending(nexus) == {0: [LUNS_CHANGED]}
    assert found(other) == {0: None, 2: 2} and pending(other) == {0: [LUNS_CHANGED], 2: [LUNS_CHANGED]}
    assert not pending(third)
    assert not disk.attached and 1 not in made.array.vdisks
    with pytest.raises(KeyError):
        made.remove_vdisk(1)


def test_a_disk_removed_under_present_all_does_not_come_back_for_a_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = bridge()
    made.present(PresentationRecord(1, INITIATOR, 9))
    nexus = login(made)
    monkeypatch.delattr(ITNexus, "map")
    made.remove_vdisk(1)
    assert found(nexus) == {0: None, 2: 2}


@pytest.mark.conformance("UAT-001")
def test_a_new_capacity_is_told_on_every_path_of_the_disk_and_nowhere_else() -> None:
    made = bridge(policy="masked")
    made.present(PresentationRecord(1, INITIATOR, 1))
    made.present(PresentationRecord(2, INITIATOR, 2))
    made.present(PresentationRecord(2, OTHER, 2))
    paths, other = [login(made, target=number) for number in range(2)], login(made, OTHER)
    made.resize_vdisk(1, 2 * GIB)
    for nexus in paths:
        assert pending(nexus) == {1: [CAPACITY]}
        assert nexus.by_number[1].blocks == 2 * GIB // 512
    assert not pending(other)
    with pytest.raises(KeyError):
        made.resize_vdisk(99, GIB)


def test_the_same_capacity_again_is_no_news() -> None:
    made = bridge()
    nexus = login(made)
    made.resize_vdisk(1, GIB)
    assert not pending(nexus)


@pytest.mark.conformance("ALU-007")
def test_a_disk_that_moves_to_the_other_controller_is_told_on_all_its_paths() -> None:
    made = bridge()
    paths = [login(made, target=number) for number in (0, 3)]
    made.array.ownership.trespass(1, "B")
    for nexus in paths:
        assert pending(nexus) == {1: [Asc.ASYMMETRIC_ACCESS_STATE_CHANGED]}


def test_write_protection_is_told_and_counts_at_once() -> None:
    made = bridge()
    nexus = login(made)
    made.update_vdisk(replace(made.array.vdisks[1].record, read_only=True))
    assert pending(nexus) == {1: [Asc.MODE_PARAMETERS_CHANGED]}
    settled(nexus)
    assert nexus.by_number[1].go_read and not nexus.by_number[1].go_write


@pytest.mark.conformance("LUN-014")
def test_a_disk_that_moves_to_another_lun_is_told() -> None:
    made = bridge()
    nexus = login(made)
    made.update_vdisk(replace(made.array.vdisks[1].record, lun=5))
    assert found(nexus) == {0: None, 2: 2, 5: 1}
    assert pending(nexus) == {0: [LUNS_CHANGED], 2: [LUNS_CHANGED], 5: [POWER_ON]}


def test_a_refused_change_changes_nothing() -> None:
    made = bridge()
    nexus = login(made)
    with pytest.raises(ValueError, match="LUN 2"):
        made.update_vdisk(replace(made.array.vdisks[1].record, lun=2))
    with pytest.raises(ValueError, match="cannot change"):
        made.update_vdisk(replace(made.array.vdisks[1].record, lun=7, block_size=4096))
    with pytest.raises(ValueError, match="LUN 2"):
        made.add_vdisk(vdisk_record(3, lun=2), FakeStore())
    with pytest.raises(ValueError, match="already"):
        made.add_vdisk(vdisk_record(1, lun=9), FakeStore())
    assert found(nexus) == {0: None, 1: 1, 2: 2} == found(login(made, isid=ISID + 1))
    assert not pending(nexus) and set(made.array.vdisks) == {1, 2}


def test_an_initiator_that_has_sent_nothing_yet_has_seen_no_inventory_to_change() -> None:
    made = bridge()
    nexus = made.attach(INITIATOR, ISID, next(iter(made.targets)))
    made.add_vdisk(vdisk_record(3), FakeStore())
    assert pending(nexus) == {lun: [POWER_ON] for lun in range(4)}


@pytest.mark.conformance("NAM-003", "NAM-005")
def test_a_nexus_is_initiator_port_and_target_port() -> None:
    made = bridge()
    nexus = login(made)
    assert nexus.initiator_port == f"{INITIATOR},i,0x400001370000"
    login(made, isid=1)
    login(made, target=1)
    with pytest.raises(ValueError, match="has a nexus"):
        login(made)
    assert len(made.nexuses()) == 3
    assert [n.initiator_port for n in made.nexuses(INITIATOR)][1] == f"{INITIATOR},i,0x000000000001"


@pytest.mark.conformance("NAM-004", "UAT-009")
def test_a_lost_nexus_leaves_every_disk_and_learns_of_it_when_it_is_back() -> None:
    made = bridge()
    nexus = login(made)
    made.detach(nexus)
    assert not made.nexuses()
    assert not any(vdisk.disk.attached for vdisk in made.array.vdisks.values())
    assert not made.array.console.attached
    again = made.attach(INITIATOR, ISID, nexus.target_port.name)
    assert pending(again) == {lun: [NEXUS_LOSS] for lun in range(3)}
    made.detach(again)
    with pytest.raises(KeyError):
        made.detach(again)


def test_a_change_costs_what_it_touches_not_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    made = bridge(0)
    nexuses = [login(made, target=number) for number in range(4)]
    for number in range(1, 1001):
        made.add_vdisk(vdisk_record(number, lun=number if number <= 255 else None), FakeStore())
    calls: list[int] = []
    original = ITNexus.map

    def counted(nexus: ITNexus, lun: int, lu: object) -> ITLNexus:
        calls.append(lun)
        return original(nexus, lun, lu)  # type: ignore[arg-type]

    monkeypatch.setattr(ITNexus, "map", counted)
    made.set_initiator(InitiatorRecord(OTHER))
    made.present(PresentationRecord(1000, OTHER, 1))  # nobody there
    made.remove_vdisk(999)
    assert not calls
    made.present(PresentationRecord(998, INITIATOR, 1))
    assert calls == [1] * len(nexuses)
    calls.clear()
    made.set_array(array_record(policy="masked"))
    assert not calls
    assert found(nexuses[0]) == {0: None, 1: 998}
