"""Snapshots and clones by command, in a running target and at rest."""

import asyncio
import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backing_stores import StoreError
from backing_stores.file import FileStore
from backing_stores.snapshot import SnapshotStore
from mpxtarget.cli import client
from mpxtarget.server import disk_stores
from mpxtarget.server.state import State, VdiskRecord, VdiskSpec
from mpxtarget.server.verbs import VERBS, Context, perform

from .arrays import HOST, Array, make, served
from .test_changes_are_whole import Broken

CHUNK = 1 << 16
SIZE = 8 * CHUNK


@pytest.fixture
def array(array: Array) -> Array:
    """With a disk `data` that holds a byte of its own number in every chunk."""
    array.ok("lun", "create", "data", "--size", str(SIZE))
    write(array, "data", 0, b"".join(bytes([i + 1]) * CHUNK for i in range(8)))
    return array


ORIGINAL = b"".join(bytes([i + 1]) * CHUNK for i in range(8))


def stores(array: Array) -> dict[str, Any]:
    """The open stores of an array, by name; it has to be served."""
    assert array.target is not None
    return {
        v.record.name: array.target.stores[v.record.id] for v in array.target.bridge.array.vdisks.values()
    }


def write(array: Array, name: str, offset: int, data: bytes) -> None:
    """Write as a host does; at rest, in a target that runs for a moment."""
    if not array.live:
        with served(array.folder) as running:
            write(running, name, offset, data)
        return
    stores(array)[name].write(memoryview(data), offset)


def read(array: Array, name: str) -> bytes:
    """All that a disk holds."""
    if not array.live:
        with served(array.folder) as running:
            return read(running, name)
    buffer = bytearray(SIZE)
    stores(array)[name].read(memoryview(buffer), 0)
    return bytes(buffer)


def row(array: Array, name: str) -> dict[str, Any]:
    """A disk as it is listed."""
    rows: list[dict[str, Any]] = json.loads(array.ok("lun", "list", "--json"))
    return next(each for each in rows if each["name"] == name)


def test_a_snapshot_shows_its_moment_and_is_a_disk_of_its_own(array: Array) -> None:
    assert array.ok("lun", "snapshot", "data", "snap") == "snapshot snap of data: LUN 2, 512K\n"
    write(array, "data", CHUNK, b"new" * 512)
    write(array, "snap", 0, b"own" * 512)
    assert read(array, "snap") == b"own" * 512 + ORIGINAL[1536:]
    assert read(array, "data") == ORIGINAL[:CHUNK] + b"new" * 512 + ORIGINAL[CHUNK + 1536 :]
    snap, data = row(array, "snap"), row(array, "data")
    assert snap["wwlun"] != data["wwlun"]
    assert (snap["kind"], snap["parent"], snap["condition"]) == ("snapshot", "data", "good")
    assert snap["own"] == 2 * CHUNK
    assert (data["kind"], data["parent"], data["own"]) == ("disk", None, None)
    assert snap["controller"] == data["controller"]
    assert "snapshot of data" in array.ok("lun", "list")


def test_snapshots_outlast_a_restart(tmp_path: Path) -> None:
    make(tmp_path / "state")
    with served(tmp_path / "state") as running:
        running.ok("lun", "create", "data", "--size", str(SIZE), "--lun", "9")
        write(running, "data", 0, ORIGINAL)
        running.ok("lun", "snapshot", "data", "snap", "--lun", "1")  # listed, and opened, before its parent
        write(running, "data", 0, b"x" * 512)
    with served(tmp_path / "state") as running:
        assert read(running, "snap") == ORIGINAL
        write(running, "data", CHUNK, b"x" * 512)
        assert read(running, "snap") == ORIGINAL


def test_eight_snapshots_of_one_disk_each_show_their_own_moment(array: Array) -> None:
    expected = {}
    for number in range(8):
        write(array, "data", number * CHUNK, bytes([0x80 + number]) * 512)
        expected[f"snap{number}"] = read(array, "data")
        array.ok("lun", "snapshot", "data", f"snap{number}", "--lun", "none")
    write(array, "data", 0, b"z" * SIZE)
    assert {name: read(array, name) for name in expected} == expected


def test_a_disk_has_at_most_sixteen(array: Array) -> None:
    for number in range(16):
        array.ok("lun", "snapshot", "data", f"snap{number}")
    assert "has 16 snapshots" in array.refused("lun", "snapshot", "data", "more")


def test_the_last_snapshot_gone_a_disk_is_the_plain_store_again(live: Array) -> None:
    live.ok("lun", "create", "data", "--size", str(SIZE))
    plain = stores(live)["data"]
    assert live.target is not None
    disk = live.target.bridge.array.vdisks[1].disk
    live.ok("lun", "snapshot", "data", "one")
    live.ok("lun", "snapshot", "data", "two")
    assert stores(live)["data"].inner is plain
    assert disk.store is stores(live)["data"]
    live.ok("lun", "remove", "one", "--delete-data")
    assert len(stores(live)["data"].snapshots) == 1
    live.ok("lun", "remove", "two", "--delete-data")
    assert stores(live)["data"] is disk.store is live.target.executor.io_of(disk).store is plain
    assert live.files() == {"data.img"}


def test_a_snapshot_goes_only_with_its_data(array: Array) -> None:
    array.ok("lun", "snapshot", "data", "snap")
    assert "of no use without its parent" in array.refused("lun", "remove", "snap")
    array.ok("lun", "remove", "snap", "--delete-data")
    assert array.files() == {"data.img"}
    assert read(array, "data") == ORIGINAL


def test_a_disk_that_others_depend_on_stays_and_keeps_its_size(array: Array) -> None:
    array.ok("lun", "snapshot", "data", "snap")
    array.ok("lun", "snapshot", "data", "other")
    assert array.refused("lun", "remove", "data") == "data cannot be removed: snap, other depend on it"
    assert "data cannot be made smaller" in array.refused("lun", "resize", "data", "64K", "--force")
    assert "keeps the size" in array.refused("lun", "resize", "snap", "1M")
    array.ok("lun", "resize", "data", "1M")
    assert row(array, "snap")["size"] == SIZE
    assert read(array, "snap") == ORIGINAL
    assert row(array, "data")["size"] == 1 << 20
    array.ok("lun", "snapshot", "data", "large")
    assert row(array, "large")["size"] == 1 << 20


def test_what_cannot_have_snapshots_says_so(array: Array) -> None:
    array.ok("lun", "create", "scratch", "--size", "1M", "--store", "memory:")
    assert "in memory only" in array.refused("lun", "snapshot", "scratch", "snap")
    assert "in memory only" in array.refused("lun", "clone", "scratch", "snap")
    array.ok("lun", "snapshot", "data", "snap")
    assert "is a snapshot" in array.refused("lun", "snapshot", "snap", "more")
    assert "there is no vdisk" in array.refused("lun", "snapshot", "nothing", "more")
    assert "already a vdisk snap" in array.refused("lun", "snapshot", "data", "snap")
    assert "cannot be the name" in array.refused("lun", "snapshot", "data", "../snap")
    assert "LUN 1 belongs to vdisk data" in array.refused("lun", "snapshot", "data", "more", "--lun", "1")
    assert "not a LUN" in array.refused("lun", "snapshot", "data", "more", "--lun", "x", code=2)
    assert array.files() == {"data.img", "snap.img", "snap.img.map"}


def test_no_disk_lives_in_the_map_of_a_snapshot(array: Array) -> None:
    array.ok("lun", "snapshot", "data", "snap")
    words = ("lun", "create", "bad", "--existing", "--store", "file:vdisks/snap.img.map")
    assert "the map of a snapshot" in array.refused(*words, "--size", "512")


def test_a_file_in_the_way_is_not_overwritten(array: Array) -> None:
    (array.folder / "vdisks" / "snap.img").write_bytes(b"precious")
    before = array.records()
    assert "already exists" in array.refused("lun", "snapshot", "data", "snap")
    assert (array.folder / "vdisks" / "snap.img").read_bytes() == b"precious"
    assert array.records() == before
    assert read(array, "data") == ORIGINAL


def test_a_commit_that_fails_leaves_no_snapshot(array: Array, monkeypatch: pytest.MonkeyPatch) -> None:
    from mpxtarget.server.database import Database

    run = Database.run
    commits = []

    def full(self: Database, sql: str, *values: Any) -> list[Any]:
        if sql == "COMMIT":
            commits.append(sql)
            raise Broken("no space left")
        return run(self, sql, *values)

    before = array.records()
    with monkeypatch.context() as patch:
        patch.setattr(Database, "run", full)
        assert array.refused("lun", "snapshot", "data", "snap") == "no space left"
    assert commits
    assert array.records() == before
    assert array.files() == {"data.img"}
    if array.live:
        assert set(stores(array)) == {"data"}
        assert not hasattr(stores(array)["data"], "snapshots")
    array.ok("lun", "snapshot", "data", "snap")
    write(array, "data", 0, b"x" * 512)
    assert read(array, "snap") == ORIGINAL


@pytest.mark.parametrize("left", ["map", "both", "with data", "empty map"])
def test_what_a_killed_target_left_of_a_snapshot_is_not_in_the_way(array: Array, left: str) -> None:
    SnapshotStore.create("file:vdisks/snap.img", SIZE, base=array.folder)
    folder = array.folder / "vdisks"
    if left == "map":
        (folder / "snap.img").unlink()
    elif left == "with data":
        os.truncate(folder / "snap.img", 0)
        (folder / "snap.img").write_bytes(b"x" * SIZE)
    elif left == "empty map":
        (folder / "snap.img.map").write_bytes(b"")
    array.ok("lun", "snapshot", "data", "snap")
    assert read(array, "snap") == ORIGINAL


def test_leftovers_go_at_the_next_start_and_nothing_else_does(resting: Array) -> None:
    resting.ok("lun", "create", "data", "--size", str(SIZE))
    resting.ok("lun", "snapshot", "data", "snap")
    SnapshotStore.create("file:vdisks/gone.img", SIZE, base=resting.folder)
    (resting.folder / "vdisks" / "mine.map").write_bytes(b"a map of the city")
    (resting.folder / "vdisks" / "mine").write_bytes(b"mine")
    with served(resting.folder):
        pass
    assert resting.files() == {"data.img", "snap.img", "snap.img.map", "mine", "mine.map"}


def test_a_snapshot_whose_files_are_damaged_is_named_at_start_and_listed(resting: Array) -> None:
    from mpxtarget.server.assemble import assemble
    from mpxtarget.server.errors import Refusal

    resting.ok("lun", "create", "data", "--size", str(SIZE))
    resting.ok("lun", "snapshot", "data", "snap")
    (resting.folder / "vdisks" / "snap.img.map").unlink()
    assert row(resting, "snap")["condition"] == "damaged"
    with State.open(resting.folder) as state, pytest.raises(Refusal, match=r"vdisk snap: .*snap\.img\.map"):
        assemble(state)
    resting.ok("lun", "remove", "snap", "--delete-data")
    with served(resting.folder) as running:
        assert row(running, "data")["condition"] == "good"


def test_a_snapshot_that_could_not_preserve_a_block_says_so(
    live: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    live.ok("lun", "create", "data", "--size", str(SIZE))
    write(live, "data", 0, ORIGINAL)
    live.ok("lun", "snapshot", "data", "snap")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(SnapshotStore, "_fetch", full)
        write(live, "data", 0, b"x" * 512)
    assert row(live, "snap")["condition"] == "invalid"
    assert "snapshot of data, INVALID" in live.ok("lun", "list")
    assert "no good any more" in live.refused("lun", "clone", "snap", "more")
    live.ok("lun", "snapshot", "data", "next")
    live.ok("lun", "remove", "snap", "--delete-data")


def test_a_torn_write_is_undone_before_a_snapshot_is_taken(resting: Array) -> None:
    resting.ok("lun", "create", "data", "--size", str(SIZE))
    folder = resting.folder / "unfinished-writes"
    folder.mkdir()
    (folder / f"{row(resting, 'data')['wwlun']}-0").write_bytes(b"")
    assert "was not finished" in resting.refused("lun", "snapshot", "data", "snap")
    with served(resting.folder) as running:
        running.ok("lun", "snapshot", "data", "snap")
    resting.ok("lun", "snapshot", "data", "other")


# Clones


def test_a_clone_becomes_a_disk_that_depends_on_nothing(array: Array) -> None:
    array.ok("lun", "clone", "data", "copy")
    said = array.ok("lun", "wait", "copy").splitlines()
    assert said[-1] == "copy depends on no other disk"
    copy = row(array, "copy")
    assert (copy["kind"], copy["parent"], copy["condition"], copy["own"]) == ("disk", None, "good", None)
    assert array.files() == {"data.img", "copy.img"}
    array.ok("lun", "remove", "data", "--delete-data")
    assert read(array, "copy") == ORIGINAL
    array.ok("lun", "resize", "copy", "1M")
    array.ok("lun", "snapshot", "copy", "snap")
    assert array.ok("lun", "wait", "copy") == "copy depends on no other disk\n"


def test_nobody_waits_for_a_snapshot(array: Array) -> None:
    array.ok("lun", "snapshot", "data", "snap")
    assert array.refused("lun", "wait", "snap") == "snap is a snapshot of data, and is not copied"


def test_a_clone_tells_how_far_it_is(resting: Array) -> None:
    resting.ok("lun", "create", "data", "--size", str(SIZE))
    write(resting, "data", 0, ORIGINAL)
    assert resting.ok("lun", "clone", "data", "copy") == "clone copy of data: LUN 2, 512K\n"
    assert (row(resting, "copy")["condition"], row(resting, "copy")["own"]) == ("copying", 0)
    assert "clone of data, 0 %" in resting.ok("lun", "list")
    assert "data cannot be removed: copy depends on it" in resting.refused("lun", "remove", "data")
    assert "not complete yet" in resting.refused("lun", "snapshot", "copy", "snap")
    assert "of no use without its parent" in resting.refused("lun", "remove", "copy")
    assert resting.ok("lun", "wait", "copy") == "copy: 100 % of 512K\ncopy depends on no other disk\n"


def test_a_clone_that_is_waited_for_is_complete(array: Array) -> None:
    assert array.ok("lun", "clone", "data", "copy", "--wait").endswith("copy depends on no other disk\n")
    assert row(array, "copy")["kind"] == "disk"


def test_a_clone_goes_on_at_the_next_start(resting: Array, monkeypatch: pytest.MonkeyPatch) -> None:
    resting.ok("lun", "create", "data", "--size", str(SIZE))
    write(resting, "data", 0, ORIGINAL)
    with monkeypatch.context() as patch:
        patch.setattr(SnapshotStore, "copy", _failing)
        with served(resting.folder) as running:
            running.ok("lun", "clone", "data", "copy")
            write(running, "data", 0, b"x" * 512)
            assert read(running, "copy") == ORIGINAL
    assert row(resting, "copy")["own"] == CHUNK
    with served(resting.folder) as running:
        running.ok("lun", "wait", "copy")
        assert read(running, "copy") == ORIGINAL
    assert read(resting, "copy") == ORIGINAL


def _failing(_store: SnapshotStore) -> bool:
    raise OSError(5, "Input/output error")


def test_a_clone_that_was_killed_at_its_end_becomes_a_disk(
    resting: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    resting.ok("lun", "create", "data", "--size", str(SIZE))
    write(resting, "data", 0, ORIGINAL)
    resting.ok("lun", "clone", "data", "copy")

    def killed(*_: object) -> None:
        raise StoreError("killed: try again")

    with monkeypatch.context() as patch:
        patch.setattr(disk_stores, "delete_map", killed)
        resting.refused("lun", "wait", "copy")
    assert "copy.img.map" in resting.files()
    with served(resting.folder) as running:
        assert read(running, "copy") == ORIGINAL
        assert running.files() == {"data.img", "copy.img"}


def test_a_clone_of_a_snapshot_shows_what_the_snapshot_did(array: Array) -> None:
    array.ok("lun", "snapshot", "data", "snap")
    write(array, "data", 0, b"x" * 512)
    write(array, "snap", CHUNK, b"s" * 512)
    expected = read(array, "snap")
    array.ok("lun", "clone", "snap", "copy")
    write(array, "snap", 2 * CHUNK, b"t" * 512)
    write(array, "data", 3 * CHUNK, b"y" * 512)
    assert read(array, "copy") == expected
    array.ok("lun", "wait", "copy")
    assert read(array, "copy") == expected
    array.ok("lun", "remove", "snap", "--delete-data")
    assert read(array, "copy") == expected
    assert array.files() == {"data.img", "copy.img"}


def test_who_waits_for_a_clone_does_not_keep_the_target_from_stopping(
    resting: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    resting.ok("lun", "create", "data", "--size", str(SIZE))
    monkeypatch.setattr(SnapshotStore, "copy", _failing)
    waits, said = threading.Event(), []

    def wait() -> None:
        try:
            client.request(resting.folder, "lun/wait", {"lun": "copy"}, progress=lambda _: waits.set())
        except client.NoAnswer as ended:
            said.append(str(ended))

    with served(resting.folder) as running:
        running.ok("lun", "clone", "data", "copy")
        thread = threading.Thread(target=wait)
        thread.start()
        assert waits.wait(10)
        running.ok("lun", "create", "other", "--size", "1M")  # nor others from changing something
    thread.join()
    assert len(said) == 1
    assert row(resting, "copy")["kind"] == "clone"


def test_a_clone_can_be_given_up(live: Array, monkeypatch: pytest.MonkeyPatch) -> None:
    live.ok("lun", "create", "data", "--size", str(SIZE))
    plain = stores(live)["data"]
    monkeypatch.setattr(SnapshotStore, "copy", _failing)
    live.ok("lun", "clone", "data", "copy")
    live.ok("lun", "remove", "copy", "--delete-data")
    assert stores(live) == {"data": plain}
    assert live.files() == {"data.img"}


# Files that describe the array


def test_a_file_says_nothing_of_snapshots_and_leaves_them_alone(array: Array, tmp_path: Path) -> None:
    array.ok("lun", "snapshot", "data", "snap")
    array.ok("initiator", "add", HOST)
    array.ok("lun", "present", "snap", HOST)
    text = array.ok("export")
    assert "# Not in here: snap, a snapshot of data.\n" in text
    assert 'name = "snap"' not in text
    (tmp_path / "array.toml").write_text(text)
    before = array.records()
    array.ok("apply", str(tmp_path / "array.toml"), "--prune")
    assert array.records() == before
    (tmp_path / "array.toml").write_text(text + '\n[[lun]]\nname = "snap"\nsize = "1M"\n')
    assert "snap is a snapshot" in array.refused("apply", str(tmp_path / "array.toml"))
    (tmp_path / "array.toml").write_text("")
    assert "snapshot snap" in array.ok("apply", str(tmp_path / "array.toml"), "--dry-run")
    assert "snap depends on it" in array.refused("apply", str(tmp_path / "array.toml"), "--prune")
    assert array.records() == before


# The moment


def test_a_write_under_way_is_wholly_in_and_in_stable_storage(
    live: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    live.ok("lun", "create", "data", "--size", str(SIZE))
    assert live.target is not None
    target = live.target
    store, disk = target.stores[1], target.bridge.array.vdisks[1].disk
    order: list[str] = []
    second_half = threading.Event()
    flush, add_vdisk = FileStore.flush, State.add_vdisk

    def write_in_halves() -> None:
        store.write(memoryview(b"h" * CHUNK), 0)
        assert second_half.wait(10)
        store.write(memoryview(b"h" * CHUNK), CHUNK)
        order.append("written")

    def noted_flush(self: FileStore) -> None:
        flush(self)
        if self is store:
            order.append("flushed")

    def noted_add(self: State, spec: VdiskSpec) -> VdiskRecord:
        order.append("record")
        return add_vdisk(self, spec)

    monkeypatch.setattr(FileStore, "flush", noted_flush)
    monkeypatch.setattr(State, "add_vdisk", noted_add)
    io = live.in_loop(lambda: target.executor.io_of(disk))
    live.in_loop(lambda: io.submit(0, 2 * CHUNK, write_in_halves, lambda _: None, writing=True))
    values = {"parent": "data", "name": "snap"}
    context = Context(live.in_loop(lambda: target.clones.state), target)
    task = live.in_loop(lambda: asyncio.ensure_future(perform(VERBS["lun/snapshot"], context, values)))
    _eventually(lambda: io.claims == 1)
    assert not task.done()
    second_half.set()
    _eventually(task.done)
    assert read(live, "snap")[: 2 * CHUNK] == b"h" * 2 * CHUNK
    assert order == ["record", "flushed", "written", "flushed", "record"]  # the first is the rehearsal


def _eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)  # between two looks; the wait has an end
