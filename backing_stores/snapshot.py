"""A snapshot of a disk: what the disk was at one moment, thin and writable, in a file of its own.

The data file has the disk's size and a chunk's bytes at their own offsets; a map beside it says which chunks
it has (`chunk_map`). What it does not have is read from the parent, whose `PreservingStore` sees to it that
such a chunk never changes. Rules kept here:

- A chunk becomes owned in four steps: its data, fdatasync, its mark in the map, fdatasync. A loss of power
  between any two of them leaves either a chunk that is wholly owned, or one that still is the parent's, which
  the parent has not changed yet: it writes after the fourth step. Old and new never mix.
- Whoever takes a snapshot flushes the parent first, while nothing writes: what has to be found later is then
  in stable storage, whether it stays with the parent or is copied from it.
- A reader that went to the parent looks at the map again afterwards. If the chunk is still the parent's, the
  parent had not begun to change it; otherwise the snapshot has it now.
- Two threads never take one chunk at the same time: `RangeLocks` of the parent.
- A snapshot that could not take a chunk is INVALID for good, and every access to it is EIO. So is one whose
  flush failed while it took one, for nobody knows what it lost. Its space is given back at once: who reads
  its data looks afterwards whether it still is good.
- A chunk that is a hole in the parent is a hole here.
"""

import contextlib
import errno
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, Self

from backing_stores.chunk_map import SUFFIX, ChunkMap, Condition
from backing_stores.file import FileStore, path_of, sync_folder
from backing_stores.interface import BackingStore, StoreError
from backing_stores.linux import punch_hole
from backing_stores.preserving import PreservingStore

log = logging.getLogger("backing_stores")

_COPY: Final = 1 << 20  # bytes in memory at a time
_PIECE: Final = 4 << 20  # bytes copied at a time


def map_path(url: str, base: Path | None) -> Path:
    """Where the map of the snapshot with this data file is."""
    path = path_of(url, base)
    return path.with_name(path.name + SUFFIX)


class SnapshotStore:
    """An open snapshot, or a clone that is not complete yet. `fd` is -1: no file has all of its bytes."""

    __slots__ = (
        "_origin",
        "_parent",
        "can_discard",
        "data",
        "durable",
        "fd",
        "map",
        "read_only",
        "size",
        "url",
    )

    def __init__(self, origin: PreservingStore, data: FileStore, chunks: ChunkMap) -> None:
        self._origin = origin
        self._parent: BackingStore = origin.inner
        self.data = data
        self.map = chunks
        self.fd = -1
        self.url = data.url
        self.size = chunks.size
        self.read_only = data.read_only
        self.durable = data.durable
        self.can_discard = data.can_discard

    def __repr__(self) -> str:
        return f"<SnapshotStore {self.url} of {self._parent.url} {self.map.condition.name}>"

    @classmethod
    def create(cls, url: str, size: int, *, base: Path | None = None) -> None:
        """Make the two files of a snapshot that owns nothing. Raises StoreError.

        The map comes first and goes last, so that data without the rest of it is never taken for a disk.
        """
        data, path = path_of(url, base), map_path(url, base)
        if os.path.lexists(data):
            FileStore.create(url, size, base=base)  # takes an empty one over, and refuses any other
        ChunkMap.create(path, size)
        try:
            FileStore.create(url, size, base=base)
        except StoreError:
            path.unlink()
            raise

    @classmethod
    def open(
        cls, url: str, origin: PreservingStore, *, read_only: bool = False, base: Path | None = None
    ) -> Self:
        """Open a snapshot of `origin`, which preserves it from now on. Raises StoreError.

        `read_only` is for hosts; the parent's blocks are preserved in any case.
        """
        chunks = ChunkMap.open(map_path(url, base))
        try:
            if chunks.size > origin.size:
                raise StoreError(
                    f"{origin.url} has {origin.size} bytes, and its snapshot {url} {chunks.size}:"
                    " restore the whole parent"
                )
            store = cls(origin, FileStore.open(url, size=chunks.size, base=base), chunks)
        except BaseException:
            chunks.close()
            raise
        store.read_only = read_only
        origin.join(store)
        return store

    @classmethod
    def delete(cls, url: str, *, base: Path | None = None) -> None:
        """Remove both files of a snapshot that nobody has open."""
        FileStore.delete(url, base=base)
        cls.delete_map(url, base=base)

    @classmethod
    def delete_map(cls, url: str, *, base: Path | None = None) -> None:
        """Remove the map of a clone that is complete; it is a plain file from now on."""
        path = map_path(url, base)
        try:
            path.unlink(missing_ok=True)
            sync_folder(path.parent)
        except OSError as error:
            raise StoreError(f"{path} cannot be deleted: {error.strerror}") from error

    # what hosts do

    def read_now(self, buffers: Sequence[memoryview], offset: int, length: int) -> bool:
        """Of a range that is wholly here, or wholly with the parent."""
        owned = self.map.owned
        first, last = self.map.chunks(offset, length)
        if owned.find(0, first, last) < 0:
            return self.data.read_now(buffers, offset, length) and self.map.condition is not Condition.INVALID
        return (
            owned.find(1, first, last) < 0
            and self._parent.read_now(buffers, offset, length)
            and self._is_parents(first, last)
        )

    def write_now(self, buffers: Sequence[memoryview], offset: int, length: int) -> bool:
        """Of a range that is wholly here."""
        first, last = self.map.chunks(offset, length)
        return (
            self.map.owned.find(0, first, last) < 0
            and self.map.condition is not Condition.INVALID
            and not self.read_only
            and self.data.write_now(buffers, offset, length)
        )

    def read(self, buffer: memoryview, offset: int) -> None:
        """Fill the buffer, from here and from the parent."""
        end = offset + len(buffer)
        at = offset
        while at < end:
            self._check()
            until, owned = self._run(at, end)
            piece = buffer[at - offset : until - offset]
            if owned:
                self.data.read(piece, at)
                self._check()
            else:
                self._parent.read(piece, at)
                if not self._is_parents(*self.map.chunks(at, until - at)):
                    continue
            at = until

    def write(self, buffer: memoryview, offset: int) -> None:
        """Write here, after taking the chunks that are touched."""
        self._check_writable()
        self._change(offset, len(buffer), lambda: self.data.write(buffer, offset))

    def discard(self, offset: int, length: int) -> None:
        """Zeros of our own in place of what the parent has."""
        self._check_writable()
        self._change(offset, length, lambda: self.data.discard(offset, length))

    def flush(self) -> None:
        """The data file; the map, and what is the parent's, are in stable storage at any time."""
        self._check()
        self.data.flush()

    def runs(self, offset: int, length: int) -> Iterator[tuple[int, int, bool]]:
        """What the data file says of what is here, and the parent of the rest."""
        end = offset + length
        while offset < end:
            self._check()
            until, owned = self._run(offset, end)
            for run in (self.data if owned else self._parent).runs(offset, until - offset):
                self._check()
                yield run
            offset = until

    def resize(self, size: int) -> None:
        """Never: beyond the end it was taken with there is nothing to show."""
        if size != self.size:
            raise StoreError(
                f"{self.url} keeps the size of its parent at its moment: clone it, and resize the clone"
            )

    def close(self) -> None:
        """Close both files."""
        self._origin.leave(self)
        self.data.close()
        self.map.close()

    def split(self) -> FileStore:
        """End a clone that is complete: what is left is the store of a plain disk."""
        self._origin.leave(self)
        self.map.close()
        return self.data

    # what the parent and the copying of a clone do

    def preserve(self, start: int, end: int) -> None:
        """Take what is not here yet of a range; who calls holds its lock. Bounded by whole chunks.

        If that fails, the snapshot is invalid. Raises OSError if not even that can be written down.
        """
        if self.map.condition is Condition.INVALID:
            if not self.map.settled:
                self.map.set_condition(Condition.INVALID)
            return
        first, last = self.map.chunks(start, max(0, min(end, self.size) - start))
        try:
            self._take(list(self.map.missing(first, last)))
        except OSError as error:
            self._invalidate(error)

    def copy(self) -> bool:
        """Take the next piece that is not here yet; False if there is none. Raises OSError.

        A piece is small, as writes of the parent to it wait meanwhile; but a hole of any size is one.
        """
        shift, count = self.map.shift, len(self.map.owned)
        first, last = next(self.map.missing(0, count), (count, count))
        if first == last:
            return False
        start = first << shift
        _, length, allocated = next(self._parent.runs(start, min(last << shift, self.size) - start))
        enough = max(1, min(length, _PIECE) >> shift) if allocated else max(1, length >> shift)
        last = min(last, first + enough)
        with self._origin.locks.hold(start, last << shift):
            self._check()
            self._take(list(self.map.missing(first, last)))
        return True

    @property
    def origin(self) -> PreservingStore:
        """The parent, as the store that preserves it."""
        return self._origin

    def complete(self) -> None:
        """Note that everything is here: `data` alone is the disk. Raises OSError."""
        self.data.flush()
        self.map.set_condition(Condition.COMPLETE)

    def _take(self, runs: list[tuple[int, int]]) -> None:
        for first, last in runs:
            self._fetch(first << self.map.shift, min(last << self.map.shift, self.size))
        if runs:
            self._own(runs)

    def _change(self, offset: int, length: int, change: Callable[[], None]) -> None:
        """Change a range of the data file; chunks that were the parent's are owned afterwards."""
        first, last = self.map.chunks(offset, length)
        if self.map.owned.find(0, first, last) < 0:
            change()
            return
        shift = self.map.shift
        with self._origin.locks.hold(first << shift, last << shift):
            self._check()
            end = offset + length
            runs = list(self.map.missing(first, last))
            for start, until in runs:
                for chunk in {start, until - 1}:
                    at, stop = chunk << shift, min(chunk + 1 << shift, self.size)
                    if at < offset or end < stop:  # a part of it stays as it was
                        self._fetch(at, stop)
            change()
            if runs:
                try:
                    self._own(runs)
                except OSError as error:
                    self._invalidate(error)
                    raise

    def _fetch(self, start: int, end: int) -> None:
        """Copy a range of the parent into the data file."""
        buffer = bytearray(min(_COPY, end - start))
        for offset, length, allocated in self._parent.runs(start, end - start):
            if not allocated:
                for at, size, dirty in self.data.runs(offset, length):
                    if dirty:  # left here by a power cut
                        self.data.discard(at, size)
                continue
            for at in range(offset, offset + length, len(buffer)):
                piece = memoryview(buffer)[: min(len(buffer), offset + length - at)]
                self._parent.read(piece, at)
                self.data.write(piece, at)

    def _own(self, runs: list[tuple[int, int]]) -> None:
        self.data.flush()
        self.map.own(runs)

    def _run(self, offset: int, end: int) -> tuple[int, bool]:
        """How far from `offset` all chunks are here, or all are not; and which of the two."""
        first, last = self.map.chunks(offset, end - offset)
        owned = self.map.owned[first] == 1
        other = self.map.owned.find(0 if owned else 1, first, last)
        return (end if other < 0 else other << self.map.shift), owned

    def _is_parents(self, first: int, last: int) -> bool:
        """Whether all these chunks still are the parent's, and unchanged there."""
        return self.map.owned.find(1, first, last) < 0 and self.map.condition is not Condition.INVALID

    def _invalidate(self, error: OSError) -> None:
        if self.map.condition is not Condition.INVALID:
            log.error("%s is invalid from now on, it could not take a block: %s", self.url, error)
        self.map.set_condition(Condition.INVALID)
        with contextlib.suppress(OSError):
            punch_hole(self.data.fd, 0, self.size)

    def _check(self) -> None:
        if self.map.condition is Condition.INVALID:
            raise OSError(errno.EIO, f"{self.url} is invalid: a block of its parent could not be preserved")

    def _check_writable(self) -> None:
        self._check()
        if self.read_only:
            raise OSError(errno.EROFS, f"{self.url} is read-only")
