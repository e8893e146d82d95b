"""The backing store of a virtual disk: how it is made, opened and deleted from the disk's record.

Relative locations count from the state folder. All of it raises StoreError, and may block; `as_refusal` puts
such an error in the words of a refusal.

A snapshot, and a clone that is not complete, has its data in the file of its record and a map beside it. Both
are there before the record is, and go after it: what a map without such a record belongs to is a leftover of
somebody who was killed, and `sweep` removes it.
"""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import backing_stores
from backing_stores import BackingStore, StoreError
from backing_stores.chunk_map import SUFFIX, ChunkMap, Condition, is_map
from backing_stores.preserving import PreservingStore
from backing_stores.snapshot import SnapshotStore, map_path
from mpxtarget.array.records import VdiskRecord
from mpxtarget.server.errors import Refusal
from mpxtarget.server.state import VDISK_FOLDER

ConditionName = Literal["good", "copying", "invalid", "damaged"]


@dataclass(frozen=True, slots=True)
class Progress:
    """What has become of a snapshot or clone; `own` is how many of its bytes are not read from its parent."""

    condition: ConditionName
    own: int


def create(folder: Path, record: VdiskRecord) -> None:
    """Make a new store for the disk, and the folder for files of our own if it is the first."""
    if record.store_url.startswith(f"file:{VDISK_FOLDER}/"):
        (folder / VDISK_FOLDER).mkdir(mode=0o700, exist_ok=True)
    if record.parent is None:
        backing_stores.create(record.store_url, record.size, base=folder)
    else:
        SnapshotStore.create(record.store_url, record.size, base=folder)


def open_store(folder: Path, record: VdiskRecord) -> BackingStore:
    """Open the store of a disk that depends on no other, for this process alone."""
    return backing_stores.open_store(
        record.store_url, read_only=record.read_only, size=record.size, base=folder
    )


def open_snapshot(folder: Path, record: VdiskRecord, origin: PreservingStore) -> SnapshotStore:
    """Open a snapshot or clone, which `origin` preserves from now on."""
    store = SnapshotStore.open(record.store_url, origin, read_only=record.read_only, base=folder)
    if store.size < record.size:
        store.close()
        raise StoreError(f"{store.url} has {store.size} bytes, its disk {record.size}: restore its files")
    return store


def open_into(folder: Path, record: VdiskRecord, stores: dict[int, BackingStore]) -> BackingStore:
    """Open the store of a disk beside those that are open; its parent is one of them."""
    if record.parent is None:
        store = open_store(folder, record)
    else:
        origin = preserving(stores[record.parent])
        store = open_snapshot(folder, record, origin)
        stores[record.parent] = origin
    stores[record.id] = store
    return store


def open_with_parents(
    folder: Path, records: Sequence[VdiskRecord], record: VdiskRecord, opened: contextlib.ExitStack
) -> SnapshotStore:
    """Open a snapshot or clone and all that it is read from; they are closed with `opened`."""
    parent = next(each for each in records if each.id == record.parent)
    if parent.parent is None:
        store: BackingStore = open_store(folder, parent)
        opened.callback(store.close)
    else:
        store = open_with_parents(folder, records, parent, opened)
    snapshot = open_snapshot(folder, record, preserving(store))
    opened.callback(snapshot.close)
    return snapshot


def flush(folder: Path, record: VdiskRecord) -> None:
    """Bring to stable storage what a target that was killed may have left in the page cache."""
    store = backing_stores.open_store(record.store_url, read_only=True, size=record.size, base=folder)
    try:
        store.flush()
    except OSError as error:
        raise StoreError(
            f"{store.url} cannot be flushed ({error.strerror}): look at its file system"
        ) from error
    finally:
        store.close()


def parents_first(records: Iterable[VdiskRecord]) -> Iterator[VdiskRecord]:
    """The records in an order in which they can be opened."""
    waiting = list(records)
    known = {record.id for record in waiting}
    done: set[int] = set()
    while waiting:
        ready = [each for each in waiting if each.parent in done or each.parent not in known]
        yield from ready
        done |= {each.id for each in ready}
        waiting = [each for each in waiting if each.id not in done]


def preserving(store: BackingStore) -> PreservingStore:
    """The store, in a form that can have snapshots."""
    return store if isinstance(store, PreservingStore) else PreservingStore(store)


def snapshot_of(store: BackingStore | None) -> SnapshotStore | None:
    """The snapshot that an open store is, whether or not it has snapshots itself."""
    inner = store.inner if isinstance(store, PreservingStore) else store
    return inner if isinstance(inner, SnapshotStore) else None


def is_invalid(store: BackingStore) -> bool:
    """Whether it is a snapshot that shows nothing any more."""
    snapshot = snapshot_of(store)
    return snapshot is not None and snapshot.map.condition is Condition.INVALID


def progress(folder: Path, record: VdiskRecord, store: BackingStore | None) -> Progress:
    """What has become of a disk that depends on another; `store` is its open store, if somebody serves it."""
    snapshot = snapshot_of(store)
    try:
        if snapshot is not None:
            return _progress(record, snapshot.map)
        found = ChunkMap.open(map_path(record.store_url, folder), read_only=True)
        with contextlib.closing(found):
            return _progress(record, found)
    except StoreError:
        return Progress("damaged", 0)


def _progress(record: VdiskRecord, chunks: ChunkMap) -> Progress:
    if chunks.condition is Condition.INVALID:
        return Progress("invalid", 0)
    return Progress("copying" if record.kind == "clone" else "good", chunks.owned_bytes)


def delete(folder: Path, record: VdiskRecord) -> None:
    """Delete the store of the disk, with all that is in it."""
    if record.parent is None:
        backing_stores.delete(record.store_url, base=folder)
    else:
        SnapshotStore.delete(record.store_url, base=folder)


def delete_map(folder: Path, record: VdiskRecord) -> None:
    """Delete what a complete clone needs no more."""
    SnapshotStore.delete_map(record.store_url, base=folder)


def delete_quietly(folder: Path, record: VdiskRecord) -> None:
    """Take back a store that was made a moment ago."""
    with contextlib.suppress(StoreError):
        delete(folder, record)


def sweep(folder: Path, records: Sequence[VdiskRecord]) -> None:
    """Remove what was left of snapshots by somebody who was killed while making or removing them.

    What cannot be removed stays until the next time.
    """
    data = {map_path(each.store_url, folder): each for each in records if each.store_url.startswith("file:")}
    for path in (folder / VDISK_FOLDER).glob(f"*{SUFFIX}"):
        record = data.get(path)
        if (record is not None and record.parent is not None) or not is_map(path):
            continue
        with contextlib.suppress(StoreError, OSError):
            url = f"file:{path.with_name(path.name.removesuffix(SUFFIX))}"
            if record is None and not _is_complete(path):
                SnapshotStore.delete(url)
            else:
                SnapshotStore.delete_map(url)


def _is_complete(path: Path) -> bool:
    """Whether this is the map of a clone whose data needs it no more."""
    try:
        found = ChunkMap.open(path, read_only=True)
    except StoreError:
        return False  # one that was just being made
    found.close()
    return found.condition is Condition.COMPLETE


def as_refusal(error: StoreError, before: str = "") -> Refusal:
    """A store's message is one sentence, `what is wrong: what to do`."""
    message, _, hint = str(error).rpartition(": ")
    return Refusal(before + (message or hint), hint if message else "")
