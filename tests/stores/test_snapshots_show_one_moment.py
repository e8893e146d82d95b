"""Whatever is written to a disk or to its snapshots, each of them shows exactly what it should."""

import threading
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backing_stores import BackingStore, StoreError, open_store
from backing_stores.file import FileStore
from backing_stores.preserving import PreservingStore
from backing_stores.snapshot import SnapshotStore
from stores.helpers import get, put
from stores.snapshots import CHUNK, SIZE, Family

SECTORS = SIZE // 512


@st.composite
def places(draw: st.DrawFn) -> tuple[int, int]:
    """Offset and length of a range of sectors, often at the borders of chunks."""
    per_chunk = CHUNK // 512
    borders = st.integers(0, SECTORS // per_chunk).map(lambda chunk: chunk * per_chunk)
    first = draw(st.one_of(borders, st.integers(0, SECTORS - 1)))
    last = draw(st.one_of(borders, st.integers(1, SECTORS), st.just(first + 1)))
    first, last = sorted((first, min(last, SECTORS)))
    return first * 512, max(last - first, 1) * 512 if first < SECTORS else 512


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("take"), st.just(0), st.just((0, 512))),
        st.tuples(st.just("reopen"), st.just(0), st.just((0, 512))),
        st.tuples(st.sampled_from(["write", "discard"]), st.integers(0, 3), places()),
    ),
    max_size=24,
)


@settings(max_examples=60)
@given(ACTIONS)
def test_a_disk_and_its_snapshots_are_what_a_model_says(
    actions: list[tuple[str, int, tuple[int, int]]],
) -> None:
    with TemporaryDirectory() as folder:
        start = bytes(i >> 9 & 0xFF for i in range(SIZE - CHUNK)) + bytes(CHUNK)
        family = Family.make(Path(folder), start)
        model: dict[str, bytearray] = {"": bytearray(start)}
        for number, (what, whose, (offset, length)) in enumerate(actions):
            if offset + length > SIZE:
                continue
            if what == "take":
                if len(model) < 5:
                    model[f"snap{number}"] = bytearray(model[""])
                    family.take(f"snap{number}")
                continue
            if what == "reopen":
                family.reopen()
                continue
            name = list(model)[whose % len(model)]
            store: BackingStore = family.snapshots[name] if name else family.parent
            if what == "write":
                data = bytes([number + 1]) * length
                put(store, offset, data)
            else:
                data = bytes(length)
                store.discard(offset, length)
            model[name][offset : offset + length] = data
            for each, content in model.items():
                seen: BackingStore = family.snapshots[each] if each else family.parent
                assert get(seen, 0, SIZE) == content, each
                assert get(seen, offset, length) == content[offset : offset + length], each
                assert sum(size for _, size, _ in seen.runs(0, SIZE)) == SIZE
        family.close()


@pytest.fixture
def family(tmp_path: Path) -> Family:
    return Family.make(tmp_path, bytes(range(256)) * (SIZE // 256))


def test_a_snapshot_of_an_idle_disk_takes_no_space(family: Family) -> None:
    family.take("snap")
    assert (family.folder / "snap").stat().st_blocks == 0
    assert get(family.snapshots["snap"], 0, SIZE) == bytes(range(256)) * (SIZE // 256)
    assert (family.folder / "snap").stat().st_blocks == 0
    family.close()


def test_a_hole_of_the_parent_is_a_hole_of_the_snapshot(tmp_path: Path) -> None:
    family = Family.make(tmp_path, bytes(SIZE))
    family.parent.inner.discard(0, 4 * CHUNK)
    family.take("snap")
    put(family.parent, 0, b"x" * 4 * CHUNK)
    assert (tmp_path / "snap").stat().st_blocks == 0
    assert get(family.snapshots["snap"], 0, SIZE) == bytes(SIZE)
    assert [run for run in family.snapshots["snap"].runs(0, 4 * CHUNK) if run[2]] == []
    family.close()


def test_once_preserved_a_chunk_is_written_at_once(family: Family) -> None:
    family.take("one")
    family.take("two")
    data = memoryview(b"x" * 512)
    assert not family.parent.write_now((data,), CHUNK, 512)
    family.parent.write(data, CHUNK)
    assert family.parent.write_now((data,), 2 * CHUNK - 512, 512)
    assert not family.parent.write_now((data,), 2 * CHUNK, 512)
    assert not family.snapshots["one"].write_now((data,), 0, 512)
    assert family.snapshots["one"].write_now((data,), CHUNK, 512)
    family.close()


def test_a_disk_with_snapshots_is_read_by_its_own_store(family: Family) -> None:
    family.take("snap")
    assert family.parent.read_now == family.parent.inner.read_now
    assert family.parent.fd == family.parent.inner.fd >= 0
    assert family.snapshots["snap"].fd == -1
    family.close()


def test_a_snapshot_of_a_snapshot_stays_when_either_changes(family: Family) -> None:
    first = family.take("first")
    middle = PreservingStore(first)
    middle.flush()
    SnapshotStore.create("file:second", SIZE, base=family.folder)
    second = SnapshotStore.open("file:second", middle, base=family.folder)
    original = get(family.parent, 0, SIZE)
    put(family.parent, 0, b"p" * CHUNK)
    put(middle, CHUNK - 512, b"m" * 1024)
    put(family.parent, CHUNK, b"p" * CHUNK)
    assert get(second, 0, SIZE) == original
    assert get(middle, CHUNK - 512, 1024) == b"m" * 1024
    second.close()
    family.close()


def test_a_grown_parent_leaves_its_snapshot_as_it_was(family: Family) -> None:
    snapshot = family.take("snap")
    family.parent.resize(8 * CHUNK)
    put(family.parent, SIZE - 512, b"x" * (8 * CHUNK - SIZE + 512))
    assert snapshot.size == SIZE
    assert get(snapshot, 0, SIZE) == bytes(range(256)) * (SIZE // 256)
    later = family.take("later")
    assert later.size == 8 * CHUNK
    family.reopen()
    assert get(family.snapshots["snap"], 0, SIZE) == bytes(range(256)) * (SIZE // 256)
    family.close()


def test_no_size_changes_under_a_snapshot(family: Family) -> None:
    snapshot = family.take("snap")
    with pytest.raises(StoreError, match="remove the snapshots first"):
        family.parent.resize(CHUNK)
    with pytest.raises(StoreError, match="keeps the size"):
        snapshot.resize(2 * SIZE)
    family.close()


def test_a_complete_clone_is_a_plain_file(family: Family) -> None:
    clone = family.take("clone")
    put(family.parent, CHUNK, b"p" * 512)
    put(clone, 2 * CHUNK, b"c" * 512)
    expected = get(clone, 0, SIZE)
    while clone.copy():
        assert get(clone, 0, SIZE) == expected
    assert clone.map.owned_bytes == SIZE
    clone.complete()
    disk = clone.split()
    assert get(disk, 0, SIZE) == expected
    assert family.parent.snapshots == ()
    SnapshotStore.delete_map("file:clone", base=family.folder)
    disk.close()
    alone = open_store("file:clone", base=family.folder)
    assert get(alone, 0, SIZE) == expected
    alone.close()


def test_a_clone_copies_a_hole_of_any_size_at_once(tmp_path: Path) -> None:
    family = Family.make(tmp_path, b"")
    family.parent.resize(1 << 34)
    family.parent.inner.write(memoryview(b"x" * CHUNK), 1 << 33)
    clone = family.take("clone")
    pieces = 0
    while clone.copy():
        pieces += 1
    assert pieces == 3
    assert (tmp_path / "clone").stat().st_blocks * 512 == CHUNK
    assert get(clone, 1 << 33, CHUNK) == b"x" * CHUNK
    family.close()


def test_many_threads_change_one_chunk_at_once(family: Family) -> None:
    original = get(family.parent, 0, SIZE)
    snapshots = [family.take(f"snap{i}") for i in range(8)]
    seen: set[bytes] = set()

    def write(part: int) -> None:
        for chunk in range(4):
            family.parent.write(memoryview(bytes([part]) * 512), chunk * CHUNK + part * 512)
            snapshots[part % 8].write(memoryview(bytes([part]) * 512), chunk * CHUNK + (64 + part) * 512)

    def read(number: int) -> None:
        for _ in range(20):
            seen.add(get(snapshots[number], 0, 64 * 512))

    threads = [threading.Thread(target=write, args=(i,)) for i in range(8)]
    threads += [threading.Thread(target=read, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {original[: 64 * 512]}
    for number, snapshot in enumerate(snapshots):
        expected = bytearray(original)
        for chunk in range(4):
            at = chunk * CHUNK + (64 + number) * 512
            expected[at : at + 512] = bytes([number]) * 512
        assert get(snapshot, 0, SIZE) == expected
    family.close()


def test_a_reader_never_gets_what_the_parent_wrote_meanwhile(
    family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = family.take("snap")
    original = get(snapshot, 0, 512)
    inner_read = family.parent.inner.read

    def overtaken(buffer: memoryview, offset: int) -> None:
        monkeypatch.undo()
        family.parent.write(memoryview(b"n" * 512), 0)
        inner_read(buffer, offset)

    buffer = bytearray(512)
    monkeypatch.setattr(type(family.parent.inner), "read", lambda self, b, o: overtaken(b, o))
    snapshot.read(memoryview(buffer), 0)
    assert bytes(buffer) == original
    family.close()


def test_data_of_others_is_never_taken_for_a_snapshot(tmp_path: Path) -> None:
    (tmp_path / "snap").write_bytes(b"x" * 1024)
    with pytest.raises(StoreError, match="already exists"):
        SnapshotStore.create("file:snap", 1024, base=tmp_path)
    (tmp_path / "other.map").write_bytes(b"x" * 8192)
    with pytest.raises(StoreError, match=r"other\.map already exists"):
        SnapshotStore.create("file:other", 1024, base=tmp_path)
    assert (tmp_path / "other.map").read_bytes() == b"x" * 8192
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("damage", ["no map", "short map", "another header"])
def test_a_damaged_map_is_refused_by_name(family: Family, damage: str) -> None:
    family.take("snap")
    family.close()
    path = family.folder / "snap.map"
    if damage == "no map":
        path.unlink()
    elif damage == "short map":
        path.write_bytes(path.read_bytes()[:-1])
    else:
        path.write_bytes(b"\0" * 8192)
    parent = PreservingStore(family.parent.inner)
    with pytest.raises(StoreError, match=r"snap\.map"):
        SnapshotStore.open("file:snap", parent, base=family.folder)


def test_a_large_hole_is_preserved_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    family = Family.make(tmp_path, b"")
    family.parent.resize(1 << 34)
    family.parent.inner.write(memoryview(b"x" * CHUNK), 1 << 33)
    snapshot = family.take("snap")
    flushes = []
    with monkeypatch.context() as patch:
        flush = FileStore.flush
        patch.setattr(FileStore, "flush", lambda self: (flushes.append(self), flush(self)))
        family.parent.discard(0, 1 << 34)
    assert len(flushes) == 3
    assert get(snapshot, 1 << 33, CHUNK) == b"x" * CHUNK
    assert get(family.parent, 1 << 33, CHUNK) == bytes(CHUNK)
    assert snapshot.map.owned_bytes == 1 << 34
    assert (tmp_path / "snap").stat().st_blocks * 512 == CHUNK
    family.close()


def test_snapshots_with_chunks_of_different_sizes_are_preserved_alike(
    family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those of a disk that has grown beyond a tebibyte have."""
    original = get(family.parent, 0, SIZE)
    family.take("small")
    with monkeypatch.context() as patch:
        patch.setattr("backing_stores.chunk_map._MAX_CHUNKS", 2)
        large = family.take("large")
    assert (family.snapshots["small"].map.shift, large.map.shift) == (16, 18)
    put(family.parent, CHUNK, b"x" * 512)
    assert family.snapshots["small"].map.owned_bytes == large.map.owned_bytes == 4 * CHUNK
    put(family.parent, SIZE - 512, b"x" * 512)
    put(large, 0, b"y" * 512)
    put(family.snapshots["small"], 3 * CHUNK, b"z" * 512)
    family.reopen()
    for name, at, own in (("small", 3 * CHUNK, b"z"), ("large", 0, b"y")):
        expected = bytearray(original)
        expected[at : at + 512] = own * 512
        assert get(family.snapshots[name], 0, SIZE) == expected
    assert get(family.parent, CHUNK, 512) == b"x" * 512
    family.close()
