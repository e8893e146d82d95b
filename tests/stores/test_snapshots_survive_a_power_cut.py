"""The power goes at any moment: what a snapshot shows is still one moment of its parent.

Every write, hole and fdatasync is noted. A cut after any of them leaves each file with all that was synced,
and with an arbitrary choice of what was not.
"""

import os
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import backing_stores.linux
from backing_stores import open_store
from backing_stores.chunk_map import Condition
from backing_stores.preserving import PreservingStore
from backing_stores.snapshot import SnapshotStore
from stores.helpers import get
from stores.snapshots import CHUNK, SIZE, Family

ORIGINAL = bytes(range(256)) * (SIZE // 256)


@dataclass
class Recorder:
    """What was done to which file, in order; a sync has data None."""

    steps: list[tuple[str, int, bytes | None]] = field(default_factory=list)

    def note(self, fd: int, offset: int, data: bytes | None) -> None:
        name = os.path.basename(os.readlink(f"/proc/self/fd/{fd}"))  # noqa: PTH119, PTH115
        self.steps.append((name, offset, data))

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Listen to every call by which stores change files."""
        pwritev, pwrite, fdatasync, punch = (
            os.pwritev,
            os.pwrite,
            os.fdatasync,
            backing_stores.linux.punch_hole,
        )

        def noted_pwritev(fd: int, buffers: Sequence[memoryview], offset: int) -> int:
            self.note(fd, offset, b"".join(bytes(buffer) for buffer in buffers))
            return pwritev(fd, buffers, offset)

        def noted_pwrite(fd: int, data: bytes, offset: int) -> int:
            self.note(fd, offset, bytes(data))
            return pwrite(fd, data, offset)

        def noted_punch(fd: int, offset: int, length: int) -> bool:
            self.note(fd, offset, bytes(length))
            return punch(fd, offset, length)

        def noted_sync(fd: int) -> None:
            fdatasync(fd)
            self.note(fd, 0, None)

        monkeypatch.setattr("backing_stores.descriptor.pwritev", noted_pwritev)
        monkeypatch.setattr("backing_stores.descriptor.punch_hole", noted_punch)
        monkeypatch.setattr("backing_stores.chunk_map.pwrite", noted_pwrite)
        monkeypatch.setattr("backing_stores.chunk_map.fdatasync", noted_sync)
        monkeypatch.setattr(os, "fdatasync", noted_sync)

    def after_a_cut(
        self, before: dict[str, bytes], count: int, rng: random.Random, kept: float
    ) -> dict[str, bytes]:
        """The files when the power goes after `count` steps; `kept` is how likely an unsynced write stays."""
        files = {name: bytearray(content) for name, content in before.items()}
        for number, (name, offset, data) in enumerate(self.steps[:count]):
            if data is None:
                continue
            synced = any(n == name and d is None for n, _, d in self.steps[number:count])
            for at in range(0, len(data), 512):  # sectors, each for itself
                if synced or rng.random() < kept:
                    files[name][offset + at : offset + at + len(data[at : at + 512])] = data[at : at + 512]
        return {name: bytes(content) for name, content in files.items()}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def reopened(folder: Path, files: dict[str, bytes]) -> Family:
    """The family as the next start finds it."""
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    family = Family(folder, PreservingStore(open_store("file:parent", base=folder)))
    for name in files:
        if name.endswith(".map"):
            family.open(name.removesuffix(".map"))
    return family


def parent_changes(family: Family) -> None:
    family.parent.write(memoryview(b"n" * 2048), CHUNK - 1024)
    family.parent.discard(2 * CHUNK, CHUNK + 512)
    family.parent.write(memoryview(b"m" * 1024), SIZE - 1024)
    family.parent.write(memoryview(b"o" * 512), 0)
    family.parent.flush()


@pytest.mark.parametrize("kept", [0.0, 0.5, 1.0])
def test_the_parent_changes_and_no_snapshot_shows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: float
) -> None:
    family = Family.make(tmp_path / _made(tmp_path, "disks"), ORIGINAL)
    for name in ("one", "two"):
        family.take(name)
    before = contents(family.folder)
    recorder = Recorder()
    with monkeypatch.context() as patch:
        recorder.install(patch)
        parent_changes(family)
    family.close()
    assert len(recorder.steps) > 20
    rng = random.Random(kept)
    for count in range(len(recorder.steps) + 1):
        cut = reopened(tmp_path / "cut", recorder.after_a_cut(before, count, rng, kept))
        for name, snapshot in cut.snapshots.items():
            assert get(snapshot, 0, SIZE) == ORIGINAL, (name, count, recorder.steps[count - 1][:2])
        parent_changes(cut)  # and it goes on from there
        for name, snapshot in cut.snapshots.items():
            assert get(snapshot, 0, SIZE) == ORIGINAL, (name, count)
        cut.close()


@pytest.mark.parametrize("kept", [0.0, 0.5, 1.0])
def test_what_was_flushed_to_a_snapshot_is_there_and_nothing_else_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: float
) -> None:
    family = Family.make(tmp_path / _made(tmp_path, "disks"), ORIGINAL)
    snapshot = family.take("snap")
    before = contents(family.folder)
    expected = bytearray(ORIGINAL)
    writes = [(CHUNK - 512, b"a" * 1024), (CHUNK, b"b" * 512), (2 * CHUNK, b""), (SIZE - 512, b"c" * 512)]
    milestones: list[tuple[int, bytes]] = [(0, ORIGINAL)]
    recorder = Recorder()
    with monkeypatch.context() as patch:
        recorder.install(patch)
        for offset, data in writes:
            if data:
                snapshot.write(memoryview(data), offset)
            else:
                data = bytes(CHUNK)
                snapshot.discard(offset, CHUNK)
            expected[offset : offset + len(data)] = data
            snapshot.flush()
            milestones.append((len(recorder.steps), bytes(expected)))
            family.parent.write(memoryview(b"n" * CHUNK), CHUNK)
    family.close()
    rng = random.Random(kept)
    for count in range(len(recorder.steps) + 1):
        cut = reopened(tmp_path / "cut", recorder.after_a_cut(before, count, rng, kept))
        seen = get(cut.snapshots["snap"], 0, SIZE)
        cut.close()
        flushed = max(i for i, (steps, _) in enumerate(milestones) if steps <= count)
        now = milestones[flushed][1]
        later = milestones[min(flushed + 1, len(milestones) - 1)][1]
        for at in range(0, SIZE, 512):
            assert seen[at : at + 512] in (now[at : at + 512], later[at : at + 512]), (count, at)


def test_breaking_the_order_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    family = Family.make(tmp_path / _made(tmp_path, "disks"), ORIGINAL)
    family.take("snap")
    before = contents(family.folder)
    recorder = Recorder()
    with monkeypatch.context() as patch:
        recorder.install(patch)
        patch.setattr(type(family.snapshots["snap"].data), "flush", lambda self: None)
        parent_changes(family)
    family.close()
    shown = set()
    for count in range(len(recorder.steps) + 1):
        cut = reopened(tmp_path / "cut", recorder.after_a_cut(before, count, random.Random(1), 0.0))
        shown.add(get(cut.snapshots["snap"], 0, SIZE) == ORIGINAL)
        cut.close()
    assert shown == {True, False}


def _made(folder: Path, name: str) -> str:
    (folder / name).mkdir()
    return name


def test_what_a_kill_left_of_a_snapshot_is_taken_over(tmp_path: Path) -> None:
    SnapshotStore.create("file:snap", SIZE, base=tmp_path)
    SnapshotStore.create("file:snap", SIZE, base=tmp_path)
    (tmp_path / "snap").unlink()
    SnapshotStore.create("file:snap", SIZE, base=tmp_path)
    (tmp_path / "snap.map").unlink()
    SnapshotStore.create("file:snap", SIZE, base=tmp_path)
    (tmp_path / "snap.map").write_bytes(b"")
    SnapshotStore.create("file:snap", SIZE, base=tmp_path)
    SnapshotStore.delete("file:snap", base=tmp_path)
    assert list(tmp_path.iterdir()) == []


def run_out_of_space(*_: Any) -> Any:
    raise OSError(28, "No space left on device")


def test_a_snapshot_without_space_becomes_invalid_and_its_parent_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    family = Family.make(tmp_path, ORIGINAL)
    full, other = family.take("full"), family.take("other")
    with monkeypatch.context() as patch:
        patch.setattr(full.data, "_writes_now", False)
        patch.setattr("backing_stores.snapshot._COPY", 4096)
        patch.setattr(type(full.data), "write", _failing_for(full.data, type(full.data).write))
        family.parent.write(memoryview(b"n" * 512), 0)
    assert get(family.parent, 0, 512) == b"n" * 512
    assert get(other, 0, SIZE) == ORIGINAL
    _is_invalid(full)
    family.reopen()
    _is_invalid(family.snapshots["full"])
    assert get(family.snapshots["other"], 0, SIZE) == ORIGINAL
    family.close()


def test_an_invalid_snapshot_gives_its_space_back_and_no_reader_takes_that_for_zeros(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    family = Family.make(tmp_path, ORIGINAL)
    full = family.take("full")
    family.parent.write(memoryview(b"n" * CHUNK), 0)
    assert (tmp_path / "full").stat().st_blocks > 0
    data = type(full.data)
    read_now, read, runs = data.read_now, data.read, data.runs
    chunks = iter((1, 2, 3))

    def becomes_invalid() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(data, "write", _failing_for(full.data, data.write))
            patch.setattr(data, name, {"read_now": read_now, "read": read, "runs": runs}[name])
            family.parent.write(memoryview(b"n" * 512), next(chunks) * CHUNK)

    def now(store: Any, *arguments: Any) -> bool:
        becomes_invalid()
        return read_now(store, *arguments)

    def waiting(store: Any, *arguments: Any) -> None:
        becomes_invalid()
        read(store, *arguments)

    def listing(store: Any, *arguments: Any) -> Any:
        becomes_invalid()
        return runs(store, *arguments)

    buffer = memoryview(bytearray(512))
    for name, late, attempt in (
        ("read_now", now, lambda: full.read_now((buffer,), 0, 512)),
        ("read", waiting, lambda: full.read(buffer, 0)),
        ("runs", listing, lambda: list(full.runs(0, 512))),
    ):
        full.map.condition = Condition.GOOD
        with monkeypatch.context() as patch:
            patch.setattr(data, name, late)
            if name == "read_now":
                assert not attempt()
            else:
                with pytest.raises(OSError, match="invalid"):
                    attempt()
    assert (tmp_path / "full").stat().st_blocks == 0
    _is_invalid(full)
    family.close()


def _failing_for(which: Any, write: Any) -> Any:
    def wrapped(self: Any, buffer: memoryview, offset: int) -> None:
        if self is which:
            run_out_of_space()
        write(self, buffer, offset)

    return wrapped


def _is_invalid(snapshot: SnapshotStore) -> None:
    assert not snapshot.read_now((memoryview(bytearray(512)),), 0, 512)
    assert not snapshot.write_now((memoryview(bytearray(512)),), 0, 512)
    for attempt in (
        lambda: snapshot.read(memoryview(bytearray(512)), SIZE - 512),
        lambda: snapshot.write(memoryview(bytes(512)), 0),
        lambda: snapshot.discard(0, 512),
        snapshot.flush,
        lambda: list(snapshot.runs(0, SIZE)),
    ):
        with pytest.raises(OSError, match="invalid"):
            attempt()


def test_a_write_fails_if_not_even_invalid_can_be_written_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    family = Family.make(tmp_path, ORIGINAL)
    family.take("snap")
    with monkeypatch.context() as patch:
        patch.setattr("backing_stores.chunk_map.pwrite", run_out_of_space)
        for _ in range(2):
            with pytest.raises(OSError, match="No space"):
                family.parent.write(memoryview(b"n" * 512), 0)
    assert get(family.parent, 0, SIZE) == ORIGINAL
    family.parent.write(memoryview(b"n" * 512), 0)
    family.reopen()
    _is_invalid(family.snapshots["snap"])
    family.close()


def test_a_write_to_a_snapshot_without_space_fails_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    family = Family.make(tmp_path, ORIGINAL)
    snapshot = family.take("snap")
    with monkeypatch.context() as patch:
        patch.setattr(type(snapshot.data), "write", run_out_of_space)
        with pytest.raises(OSError, match="No space"):
            snapshot.write(memoryview(b"n" * 512), 512)
    assert get(snapshot, 0, SIZE) == ORIGINAL
    put_after = b"x" * 512
    snapshot.write(memoryview(put_after), 512)
    assert get(snapshot, 0, 2048) == ORIGINAL[:512] + put_after + ORIGINAL[1024:2048]
    family.close()
