"""A disk that has snapshots: the store it is, and what its snapshots need before a byte of it changes.

Rules kept here:

- Reading is the store's own: its methods are this object's attributes.
- A write or discard first has every snapshot take the chunks it lacks, *in stable storage*, and only then
  changes the store. A changed block may reach the medium at any moment after it was written, with or
  without a flush: had the snapshot not got the old one by then, a loss of power would show it the new one.
- A chunk that all snapshots have is remembered, and from then on writing it is the store's own again, at the
  price of one look into an array. What is not remembered is asked for once more, so forgetting does no harm.
- A snapshot that cannot take a chunk (its file system is full, say) becomes invalid, as on an EVA: its parent
  goes on. That too is in stable storage before the store changes; if it cannot be brought there, the write
  fails.
- Who joins or leaves does so while nothing is being written.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Protocol

from backing_stores.interface import BackingStore, StoreError

if TYPE_CHECKING:
    from backing_stores.snapshot import SnapshotStore

_PIECE: Final = 16 << 20  # of a range, or a whole hole, is preserved at a time, with one flush
_LEAST_SHIFT: Final = 16


class RangeLocks:
    """Mutual exclusion on ranges of bytes."""

    __slots__ = ("_changed", "_held")

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._held: list[tuple[int, int]] = []

    @contextmanager
    def hold(self, start: int, end: int) -> Iterator[None]:
        """Inside, nobody else holds any byte of the range. Not to be nested."""
        with self._changed:
            self._changed.wait_for(lambda: not any(s < end and start < e for s, e in self._held))
            self._held.append((start, end))
        try:
            yield
        finally:
            with self._changed:
                self._held.remove((start, end))
                self._changed.notify_all()


class _Now(Protocol):
    def __call__(self, buffers: Sequence[memoryview], offset: int, length: int) -> bool: ...


class _Read(Protocol):
    def __call__(self, buffer: memoryview, offset: int) -> None: ...


class _Flush(Protocol):
    def __call__(self) -> None: ...


class _Runs(Protocol):
    def __call__(self, offset: int, length: int) -> Iterator[tuple[int, int, bool]]: ...


def _where_kept(kept: bytearray, shift: int, write_now: _Now) -> _Now:
    """The `write_now` of a store, for chunks that are kept; anything else takes waiting."""
    find = kept.find

    def write_where_kept(buffers: Sequence[memoryview], offset: int, length: int) -> bool:
        return find(0, offset >> shift, (offset + length - 1 >> shift) + 1) < 0 and write_now(
            buffers, offset, length
        )

    return write_where_kept


class PreservingStore:
    """A store that changes only after its snapshots have what they need. It owns the store, not them."""

    __slots__ = (
        "_kept",
        "_shift",
        "can_discard",
        "durable",
        "fd",
        "flush",
        "inner",
        "locks",
        "read",
        "read_now",
        "read_only",
        "runs",
        "size",
        "snapshots",
        "url",
        "write_now",
    )

    def __init__(self, inner: BackingStore) -> None:
        self.inner = inner
        self.url = inner.url
        self.size = inner.size
        self.fd = inner.fd
        self.read_only = inner.read_only
        self.durable = inner.durable
        self.can_discard = inner.can_discard
        self.read_now: _Now = inner.read_now
        self.read: _Read = inner.read
        self.flush: _Flush = inner.flush
        self.runs: _Runs = inner.runs
        self.write_now: _Now = inner.write_now
        self.locks = RangeLocks()
        self.snapshots: tuple[SnapshotStore, ...] = ()
        self._shift = _LEAST_SHIFT
        self._kept = bytearray()
        """One byte for each chunk that snapshots have, 1 if all are known to have what they need of it."""

    def __repr__(self) -> str:
        return f"<PreservingStore {self.inner!r} for {len(self.snapshots)}>"

    def join(self, snapshot: "SnapshotStore") -> None:
        """From now on this snapshot is preserved as well."""
        self._set((*self.snapshots, snapshot))

    def leave(self, snapshot: "SnapshotStore") -> None:
        """Nothing is preserved for this snapshot any more. No harm if it left already."""
        if snapshot in self.snapshots:
            self._set(tuple(other for other in self.snapshots if other is not snapshot))

    def _set(self, snapshots: "tuple[SnapshotStore, ...]") -> None:
        self.snapshots = snapshots
        self._shift = max((each.map.shift for each in snapshots), default=_LEAST_SHIFT)
        largest = max((each.size for each in snapshots), default=0)
        self._kept = bytearray(largest + (1 << self._shift) - 1 >> self._shift)
        self.write_now = _where_kept(self._kept, self._shift, self.inner.write_now)

    def write(self, buffer: memoryview, offset: int) -> None:
        """Preserve what is there, then write."""
        self._preserve(offset, len(buffer))
        self.inner.write(buffer, offset)

    def discard(self, offset: int, length: int) -> None:
        """Preserve what is there, then discard."""
        self._preserve(offset, length)
        self.inner.discard(offset, length)

    def resize(self, size: int) -> None:
        """Grow, or shrink to what every snapshot still finds all of itself in."""
        largest = max((each.size for each in self.snapshots), default=0)
        if size < largest:
            raise StoreError(
                f"{self.url} cannot be made smaller than the {largest} bytes its snapshots have:"
                " remove the snapshots first"
            )
        self.inner.resize(size)
        self.size = size

    def close(self) -> None:
        """Close the store; the snapshots are closed already."""
        self.inner.close()
        self.fd = -1

    def _preserve(self, offset: int, length: int) -> None:
        """Return when no snapshot needs this range of the store any more."""
        shift, kept = self._shift, self._kept
        first, last = offset >> shift, min((offset + length - 1 >> shift) + 1, len(kept))
        step = max(1, _PIECE >> shift)
        while (first := kept.find(0, first, last)) >= 0:
            start = first << shift
            _, length, allocated = next(self.inner.runs(start, min(last << shift, self.size) - start))
            until = min(first + (step if allocated else max(step, length >> shift)), last)
            end = until << shift
            with self.locks.hold(start, end):
                for snapshot in self.snapshots:
                    snapshot.preserve(start, end)
            kept[first:until] = b"\1" * (until - first)
            first = until
