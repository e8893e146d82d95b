"""What hosts have made of a disk is there after the database was closed and opened again."""

from pathlib import Path

import pytest

from mpxtarget.scsi.logical_unit import Kept
from mpxtarget.server.errors import Refusal
from mpxtarget.server.state import State, VdiskSpec


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State.create(tmp_path / "array", vdisks=[VdiskSpec("one", 1 << 20), VdiskSpec("two", 1 << 20)])


def test_nothing_is_kept_of_a_new_disk(state: State) -> None:
    assert state.kept(1) is None


def test_what_is_kept_is_found_again(state: State) -> None:
    state.keep(1, Kept(managing_group=2))
    state.close()
    with State.open(state.folder) as again:
        assert again.kept(1) == Kept(managing_group=2)
        assert again.kept(2) is None
        assert again.get_vdisk(1).controller == "B"


def test_the_controller_of_the_record_is_the_one_that_counts(state: State) -> None:
    state.keep(1, Kept(managing_group=2))
    state.set_controllers({1: "A"})
    assert state.kept(1) == Kept(managing_group=1)


def test_a_disk_takes_what_is_kept_of_it_along(state: State) -> None:
    state.keep(1, Kept(managing_group=2))
    state.remove_vdisk(1)
    assert state.kept(1) is None


def test_keeping_a_disk_that_is_gone_changes_nothing(state: State) -> None:
    state.remove_vdisk(1)
    state.keep(1, Kept(managing_group=2))
    assert state.kept(1) is None


def test_nonsense_in_the_database_is_a_refusal(state: State) -> None:
    state.keep(1, Kept(managing_group=2))
    for nonsense in ("{", "[]"):
        state._database.run("UPDATE kept SET content = ?", nonsense)
        with pytest.raises(Refusal, match="vdisk 1"):
            state.kept(1)
