"""A virtual disk is served by both controllers, and changes as its record says."""

from dataclasses import replace

import pytest

from bridge.factory import GIB, FakeStore, eva, vdisk_record
from mpxtarget.array.ownership import GROUP_IDS
from mpxtarget.scsi.codes import AccessState


@pytest.mark.conformance("ALU-004")
@pytest.mark.parametrize(("controller", "other"), [("A", "B"), ("B", "A")])
def test_the_managing_controller_is_optimized_and_the_other_is_not(controller: str, other: str) -> None:
    disk = eva(0).add_vdisk(vdisk_record(1, controller=controller), FakeStore()).disk
    assert disk.access_state(GROUP_IDS[controller]) == AccessState.ACTIVE_OPTIMIZED
    assert disk.access_state(GROUP_IDS[other]) == AccessState.ACTIVE_NON_OPTIMIZED


@pytest.mark.conformance("ALU-008")
@pytest.mark.parametrize(
    ("preferred", "group"), [("none", None), ("A", 1), ("B", 2), ("A-failback", 1), ("B-failback", 2)]
)
def test_the_preferred_path_names_the_preferred_group(preferred: str, group: int | None) -> None:
    array = eva(0)
    assert array.add_vdisk(vdisk_record(1, preferred=preferred), FakeStore()).disk.preferred_group == group
    array.add_vdisk(vdisk_record(2), FakeStore())
    assert array.update_vdisk(vdisk_record(2, preferred=preferred)).disk.preferred_group == group


def test_blocks_follow_from_size_and_block_size() -> None:
    array = eva(0)
    assert array.add_vdisk(vdisk_record(1), FakeStore()).disk.blocks == GIB // 512
    disk = array.add_vdisk(vdisk_record(2, block_size=4096), FakeStore()).disk
    assert (disk.block_size, disk.blocks) == (4096, GIB // 4096)


def test_a_store_that_is_too_small_is_refused_and_leaves_nothing() -> None:
    array = eva(0)
    with pytest.raises(ValueError, match="vdisk1 has 1073741312 bytes"):
        array.add_vdisk(vdisk_record(1), FakeStore(GIB - 512))
    assert not array.vdisks


@pytest.mark.parametrize(("record", "store"), [(True, False), (False, True), (True, True)])
def test_read_only_is_what_record_or_store_say(record: bool, store: bool) -> None:
    disk = eva(0).add_vdisk(vdisk_record(1, read_only=record), FakeStore(read_only=store)).disk
    assert disk.read_only


def test_a_disk_stays_read_only_while_its_store_is() -> None:
    array = eva(0)
    array.add_vdisk(vdisk_record(1, read_only=True), FakeStore(read_only=True))
    assert array.update_vdisk(vdisk_record(1, read_only=False)).disk.read_only


def test_a_disk_cannot_be_added_twice() -> None:
    array = eva(1)
    with pytest.raises(ValueError, match="already"):
        array.add_vdisk(vdisk_record(1, lun=9), FakeStore())
    assert array.vdisks[1].record.lun == 1


def test_a_changed_record_changes_the_disk() -> None:
    array = eva(1)
    record = replace(array.vdisks[1].record, size=2 * GIB, read_only=True)
    disk = array.update_vdisk(record).disk
    assert (disk.blocks, disk.read_only) == (2 * GIB // 512, True)
    assert array.vdisks[1].record == record


def test_a_changed_record_moves_no_disk() -> None:
    array = eva(1)
    disk = array.update_vdisk(replace(array.vdisks[1].record, name="other", controller="B")).disk
    assert disk.managing_group == GROUP_IDS["A"]
    assert (array.vdisks[1].record.name, array.vdisks[1].record.controller) == ("other", "A")


@pytest.mark.parametrize("change", [{"block_size": 4096}, {"wwlun": bytes.fromhex("6" + "1" * 31)}])
def test_what_a_disk_is_cannot_change(change: dict[str, object]) -> None:
    array = eva(1)
    record = array.vdisks[1].record
    with pytest.raises(ValueError, match="cannot change"):
        array.update_vdisk(replace(record, **change))  # type: ignore[arg-type]
    assert array.vdisks[1].record == record
