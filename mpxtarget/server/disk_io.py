"""The I/O of one disk: what of it threads are working on, in which order, and what a flush has come to.

Rules kept here:

- I/O that overlaps a write in the lane, or one that waits for it, waits as well: overlapping blocks change in
  the order in which the commands came. While a lane writes, the short cut of fast_path.py is closed for the
  disk.
- A store loses data once and says so once. A flush that failed is therefore told to every nexus of the disk
  that flushes next, also when the one that met it had its GOOD already.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from mpxtarget.iscsi import transfer
from mpxtarget.scsi.plan import CompareBlocks
from mpxtarget.server.lanes import Completions, Lane

if TYPE_CHECKING:
    from backing_stores import BackingStore
    from mpxtarget.scsi.logical_unit import Disk
    from mpxtarget.scsi.nexus import ITLNexus

log = logging.getLogger("mpxtarget.io")


class DiskIo:
    """The I/O of one disk: its lane, and the byte ranges that threads are working on."""

    __slots__ = ("_busy", "_disk", "_flush_due", "_untold", "_waiting", "lane", "store")

    def __init__(self, disk: Disk, completions: Completions) -> None:
        self._disk = disk
        self.store = cast("BackingStore", disk.store)
        self.lane = Lane(completions, f"io {self.store.url}")
        self._busy: list[tuple[int, int, bool]] = []  # (start, end, writing)
        self._waiting: deque[tuple[int, int, bool, Callable[[], None], Callable[[OSError | None], None]]] = (
            deque()
        )
        self._flush_due = False  # a flush that nobody waits for stands in the lane, and has not begun
        self._untold: dict[ITLNexus, OSError] = {}  # who has not heard yet of a flush that failed

    def free(self, start: int, end: int, *, writing: bool) -> bool:
        """Whether nothing in the lane, or waiting for it, is in the way of I/O to this range."""
        if not self._busy:
            return True
        busy = [*self._busy, *((start, end, writing) for start, end, writing, _, _ in self._waiting)]
        return not any(s < end and start < e and (writing or w) for s, e, w in busy)

    def read_now(self, places: list[memoryview], start: int, length: int) -> bool:
        """Read at once if that is possible. What is no OSError is an internal error of the store."""
        try:
            return self.store.read_now(places, start, length)
        except OSError:
            raise
        except Exception as error:
            raise _unexpected(self.store, error) from error

    def write_now(self, data: memoryview, start: int) -> bool:
        """Write at once if that is possible. What is no OSError is an internal error of the store."""
        try:
            return self.store.write_now((data,), start, len(data))
        except OSError:
            raise
        except Exception as error:
            raise _unexpected(self.store, error) from error

    def submit(
        self,
        start: int,
        end: int,
        work: Callable[[], None],
        done: Callable[[OSError | None], None],
        *,
        writing: bool,
    ) -> None:
        """Run I/O to a range in the lane, after what it overlaps."""
        free = self.free(start, end, writing=writing)
        if writing:
            self._disk.hold()  # also while it waits: the short cut would overtake it
        if free:
            self._start(start, end, work, done, writing=writing)
        else:
            self._waiting.append((start, end, writing, work, done))

    def _start(
        self,
        start: int,
        end: int,
        work: Callable[[], None],
        done: Callable[[OSError | None], None],
        *,
        writing: bool,
    ) -> None:
        extent = (start, end, writing)
        self._busy.append(extent)

        def finished(error: OSError | None) -> None:
            self._busy.remove(extent)
            if writing:
                self._disk.release()
            try:
                done(error)
            finally:
                self._start_waiting()

        self.lane.submit(work, finished)

    def flush(self, itl: ITLNexus | None, done: Callable[[OSError | None], None]) -> None:
        """Flush for a nexus: `done` gets the error of this flush, or of one it has not heard of."""

        def flushed(error: OSError | None) -> None:
            if error is not None:
                self._lost(error)
            done(self.untold(itl) or error)

        self.lane.submit(self.store.flush, flushed)

    def flush_for_nobody(self) -> None:
        """Flush some time soon. One flush that has not begun yet does for all who ask for it."""
        if self._flush_due:
            return
        self._flush_due = True

        def flush() -> None:
            self._flush_due = False
            self.store.flush()

        def flushed(error: OSError | None) -> None:
            if error is not None:
                self._flush_due = False  # it may never have begun
                self._lost(error)

        self.lane.submit(flush, flushed)

    def untold(self, itl: ITLNexus | None) -> OSError | None:
        """How a flush failed that this nexus has not heard of; it has now."""
        return None if itl is None else self._untold.pop(itl, None)

    def _lost(self, error: OSError) -> None:
        self._untold = dict.fromkeys(self._disk.attached, error)

    def _start_waiting(self) -> None:
        """Start what no longer overlaps anything before it."""
        still: list[tuple[int, int, bool]] = []
        for _ in range(len(self._waiting)):
            item = self._waiting.popleft()
            start, end, writing, work, done = item
            if any(s < end and start < e and (writing or w) for s, e, w in [*self._busy, *still]):
                still.append((start, end, writing))
                self._waiting.append(item)
            else:
                self._start(start, end, work, done, writing=writing)


def _unexpected(store: BackingStore, error: Exception) -> OSError:
    """What the initiator hears of is an internal target failure; the rest is for the log."""
    log.exception("%s: a backing store failed unexpectedly", store.url)
    return OSError(str(error))


def first_difference(store: BackingStore, plan: CompareBlocks) -> int | None:
    """The offset in the range of the first byte that is not as planned; None if all are. Blocks."""
    piece = bytearray(min(plan.length, transfer.CHUNK))
    at = 0
    while at < plan.length:
        view = memoryview(piece)[: min(len(piece), plan.length - at)]
        store.read(view, plan.offset + at)
        if plan.data is not None:
            wanted = plan.data
            if len(wanted) < plan.length:
                expected = memoryview(wanted * (len(view) // len(wanted)))
            else:
                expected = memoryview(wanted)[at : at + len(view)]
            if view != expected:
                return at + next(i for i, (a, b) in enumerate(zip(view, expected, strict=True)) if a != b)
        at += len(view)
    return None
