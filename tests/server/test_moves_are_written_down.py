"""Who manages a disk is on its way to the database before anybody can be told of it."""

import pytest

from bridge.factory import FakeStore, bridge, vdisk_record
from mpxtarget.array.ownership import GROUP_IDS
from mpxtarget.bridge.bridge import Bridge
from mpxtarget.scsi.logical_unit import Disk
from mpxtarget.server.controllers import Controllers


def nobody(_target: str, _reason: str) -> None:
    """No session ends."""


def family() -> Bridge:
    """An array with disk 1 at controller A, and its snapshot 2."""
    made = bridge(0)
    made.add_vdisk(vdisk_record(1, controller="A"), FakeStore())
    made.add_vdisk(vdisk_record(2, controller="A", parent=1, kind="snapshot"), FakeStore())
    return made


@pytest.mark.conformance("ALU-009")
@pytest.mark.parametrize("moved", [1, 2])
@pytest.mark.parametrize("transition_time", [0, 60])
async def test_all_of_a_family_is_written_down_when_a_host_moves_one_of_it(
    moved: int, transition_time: int
) -> None:
    made = family()
    made.array.ownership.transition_time = transition_time
    kept: list[tuple[Disk, int]] = []
    controllers = Controllers(made, lambda disk: kept.append((disk, disk.managing_group)), nobody)
    controllers.start()
    made.array.vdisks[moved].disk.manage(GROUP_IDS["B"])
    assert set(kept) == {(vdisk.disk, GROUP_IDS["B"]) for vdisk in made.array.vdisks.values()}
    controllers.stop()


@pytest.mark.conformance("ALU-009", "ALU-010")
async def test_nothing_that_moved_is_left_when_time_stands_still() -> None:
    made = family()
    kept: list[Disk] = []
    controllers = Controllers(made, kept.append, nobody)
    controllers.start()
    controllers.fail("A")
    controllers.stop()
    assert set(kept) == {vdisk.disk for vdisk in made.array.vdisks.values()}
