"""The records of snapshots and clones: what they depend on stays, and keeps its size."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mpxtarget.server import disk_stores
from mpxtarget.server.errors import Conflict
from mpxtarget.server.state import State, VdiskRecord, VdiskSpec

MIB = 1 << 20


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    """An array with a disk, number 1, on controller B."""
    with State.create(tmp_path, portals=(), vdisks=(VdiskSpec("data", MIB, preferred="B"),)) as state:
        yield state


def snapshot(state: State, name: str, parent: int = 1, kind: str = "snapshot") -> VdiskRecord:
    assert kind in ("snapshot", "clone")
    return state.add_vdisk(
        VdiskSpec(name, MIB, kind="clone" if kind == "clone" else "snapshot", parent=parent)
    )


def test_the_controller_of_the_parent_manages_a_snapshot(state: State) -> None:
    found = snapshot(state, "snap")
    assert (found.kind, found.parent, found.controller) == ("snapshot", 1, "B")
    assert found.wwlun != state.get_vdisk(1).wwlun
    assert state.get_vdisk(found.id) == found
    assert state.dependents(1) == [found]


def test_a_parent_neither_goes_nor_shrinks(state: State) -> None:
    one = snapshot(state, "one")
    snapshot(state, "two", kind="clone")
    data = state.get_vdisk(1)
    with pytest.raises(Conflict, match="data cannot be removed: one, two depend on it"):
        state.remove_vdisk(1)
    with pytest.raises(Conflict, match="data cannot be made smaller: one, two depend on it"):
        state.update_vdisk(replace(data, size=MIB // 2))
    with pytest.raises(Conflict, match="one keeps the size that data had"):
        state.update_vdisk(replace(one, size=2 * MIB))
    state.update_vdisk(replace(data, size=2 * MIB))
    state.remove_vdisk(one.id)
    with pytest.raises(Conflict, match="two depends on it"):
        state.remove_vdisk(1)


def test_a_complete_clone_is_a_disk_like_any_other(state: State) -> None:
    clone = snapshot(state, "copy", kind="clone")
    done = state.make_independent(clone.id)
    assert (done.kind, done.parent) == ("disk", None)
    state.remove_vdisk(1)
    state.update_vdisk(replace(done, size=MIB // 2))


def test_a_rehearsal_changes_nothing_and_refuses_what_the_change_would(state: State) -> None:
    before = state.list_vdisks()
    rehearsed = state.rehearse_vdisk(VdiskSpec("snap", MIB, kind="snapshot", parent=1))
    assert state.list_vdisks() == before
    assert snapshot(state, "snap") == rehearsed
    with pytest.raises(Conflict, match="already a vdisk snap"):
        state.rehearse_vdisk(VdiskSpec("snap", MIB))


def test_parents_are_opened_before_what_depends_on_them(state: State) -> None:
    copy = state.add_vdisk(VdiskSpec("copy", MIB, lun=200, kind="snapshot", parent=1))
    state.add_vdisk(VdiskSpec("deep", MIB, lun=2, kind="clone", parent=copy.id))
    state.update_vdisk(replace(state.get_vdisk(1), lun=255))
    assert [each.name for each in state.list_vdisks()] == ["deep", "copy", "data"]
    assert [each.name for each in disk_stores.parents_first(state.list_vdisks())] == ["data", "copy", "deep"]


def test_an_array_of_the_first_schema_has_plain_disks(tmp_path: Path) -> None:
    import sqlite3

    from mpxtarget.server import database

    with State.create(tmp_path) as state:
        array, vdisks = state.array(), state.list_vdisks()
    path = tmp_path / "array.db"
    with sqlite3.connect(path) as new:
        columns = [row[1] for row in new.execute("PRAGMA table_info(vdisk)")][:10]
        rows = new.execute(f"SELECT {', '.join(columns)} FROM vdisk").fetchall()
        arrays = new.execute("SELECT * FROM array").fetchall()
    new.close()
    path.unlink()
    with sqlite3.connect(path) as old:
        old.executescript(database._UPGRADES[0])
        width = len(old.execute("PRAGMA table_info(array)").fetchall())
        old.execute(f"INSERT INTO array VALUES ({', '.join('?' * width)})", arrays[0][:width])
        old.executemany(f"INSERT INTO vdisk VALUES ({', '.join('?' * len(columns))})", rows)
        old.execute(f"PRAGMA application_id = {0x6D707874}")
        old.execute("PRAGMA user_version = 1")
    old.close()
    with State.open(tmp_path) as state:
        assert state.array() == array
        assert state.list_vdisks() == vdisks
        assert snapshot(state, "snap").parent == 1
