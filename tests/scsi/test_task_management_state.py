"""What resets and clearing leave behind in logical units."""

import pytest
from scsi_initiator import BUS_RESET, LU_RESET, Array, Path, make_disk

from mpxtarget.scsi import task_management
from mpxtarget.scsi.codes import Asc
from mpxtarget.scsi.logical_unit import ModeParameters


@pytest.mark.conformance("TMF-016", "LUN-003")
@pytest.mark.parametrize("lun", [9 << 48, 0x0001_0001_0000_0000, 0xC101 << 48])
def test_reset_of_a_missing_lun_does_nothing(path: Path, lun: int) -> None:
    assert not task_management.lun_reset(path.nexus, lun)
    assert path.attentions() == []


@pytest.mark.conformance("TMF-014", "TMF-015", "TMF-020")
@pytest.mark.parametrize("field", [0x0001 << 48, 0x4001 << 48])
def test_lun_reset_brings_one_lun_to_its_start(field: int) -> None:
    array = Array({1: make_disk(), 2: make_disk()})
    path, other = array.path(), array.path("iqn.b", port=2)
    for disk in array.disks.values():
        disk.select_mode(ModeParameters(write_cache_enable=False), path.nexus)
        disk.stop()
        disk.reserve_for(other.nexus)
    for lun in (1, 2):
        other.sense("00", lun)
    assert task_management.lun_reset(path.nexus, field)
    assert path.attentions(1) == [LU_RESET]
    assert other.attentions(1) == [LU_RESET]
    assert path.attentions(0) == other.attentions(0) == []
    reset, left = array.disks[1], array.disks[2]
    assert (reset.mode, reset.stopped, reset.reserved_by) == (ModeParameters(), False, None)
    assert (left.mode.write_cache_enable, left.stopped, left.reserved_by) == (False, True, other.nexus)


@pytest.mark.conformance("TMF-014", "TMF-010")
def test_target_reset_reaches_each_lun_of_the_issuer_once() -> None:
    array = Array({1: make_disk(), 2: make_disk()})
    path, other = array.path(), array.path("iqn.b", port=2)
    path.nexus.unmap(2)
    path.nexus.luns_reported()
    path.nexus.map(7, array.disks[1])
    path.nexus.luns_reported()
    path.attentions(7)
    task_management.target_reset(path.nexus)
    assert path.attentions(0) == path.attentions(1) == path.attentions(7) == [BUS_RESET]
    assert other.attentions(0) == other.attentions(1) == [BUS_RESET]
    assert other.attentions(2) == []


@pytest.mark.conformance("TMF-015", "UAT-008")
def test_reset_keeps_what_belongs_to_the_array(array: Array, path: Path) -> None:
    disk = array.disk
    disk.manage(2)
    disk.set_read_only(True)
    disk.reset(Asc.SCSI_BUS_RESET_OCCURRED)
    assert disk.managing_group == 2
    assert disk.read_only
