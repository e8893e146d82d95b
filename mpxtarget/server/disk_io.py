"""The I/O of one disk: what of it threads are working on, in which order, and what a flush has come to.

Rules kept here:

- I/O that overlaps a write in the lane, or one that waits for it, waits as well: overlapping blocks change in
  the order in which the commands came. While a lane writes, the short cut of fast_path.py is closed for the
  disk.
- What comes to its end costs no more than a look at what waited for its ranges, however much waits.
- A store loses data once and says so once. A flush that failed is therefore told to every nexus of the disk
  that flushes next, also when the one that met it had its GOOD already.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from heapq import nlargest
from itertools import islice, pairwise
from typing import TYPE_CHECKING, Final, TypeAlias, cast

from mpxtarget.iscsi import transfer
from mpxtarget.scsi.pieces import first_unequal
from mpxtarget.scsi.plan import CompareBlocks
from mpxtarget.server.lanes import Completions, Lane

if TYPE_CHECKING:
    from backing_stores import BackingStore
    from mpxtarget.scsi.logical_unit import Disk
    from mpxtarget.scsi.nexus import ITLNexus

log = logging.getLogger("mpxtarget.io")

Range: TypeAlias = tuple[int, int, bool]
"""First byte, the byte after the last, and whether it is written."""

MOST_RANGES: Final = 4
"""That one claim keeps. Each is looked at for everybody who comes: 256 of an UNMAP would be too many."""

_Waiting: TypeAlias = tuple[Sequence[Range], Callable[[], None]]


class DiskIo:
    """The I/O of one disk: its lanes, and the byte ranges that threads are working on.

    `long_lane` is for work that may take minutes, so that short I/O never waits for a thread that has it.
    """

    __slots__ = (
        "_busy",
        "_disk",
        "_flush_due",
        "_freed",
        "_starting",
        "_untold",
        "_waiting",
        "claims",
        "lane",
        "long_lane",
        "store",
    )

    def __init__(self, disk: Disk, completions: Completions) -> None:
        self._disk = disk
        self.store = cast("BackingStore", disk.store)
        self.lane = Lane(completions, f"io {self.store.url}")
        self.long_lane = Lane(completions, f"work {self.store.url}")
        self._busy: list[Range] = []
        self._waiting: list[_Waiting] = []
        self._freed: list[Range] = []  # what was busy, and nobody has looked yet who waited for it
        self._starting = False
        self._flush_due = False  # a flush that nobody waits for stands in the lane, and has not begun
        self._untold: dict[ITLNexus, OSError] = {}  # who has not heard yet of a flush that failed
        self.claims = 0  # asked for and not yet given back

    def use(self, store: BackingStore) -> None:
        """Go on with another store that has the same blocks, while nothing is being written."""
        self.store = self._disk.store = store
        self._disk.changed()

    def free(self, start: int, end: int, *, writing: bool) -> bool:
        """Whether nothing in the lane, or waiting for it, is in the way of I/O to this range."""
        return not self._busy or self._clear(((start, end, writing),), self._waiting)

    def _clear(self, wanted: Sequence[Range], before: Iterable[_Waiting]) -> bool:
        """Whether neither what threads work on, nor one of those that wait, is in the way."""
        return not (_conflict(wanted, self._busy) or any(_conflict(wanted, each) for each, _ in before))

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
        self._disk.changing(start, start + len(data))
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
        extent = (start, end, writing)
        if writing:
            self._disk.changing(start, end)
            self._disk.hold()  # also while it waits: the short cut would overtake it

        def finished(error: OSError | None) -> None:
            self._busy.remove(extent)
            if writing:
                self._disk.release()
            try:
                done(error)
            finally:
                self._start_waiting_for((extent,))

        self._enter((extent,), lambda: self.lane.submit(work, finished))

    def claim(self, ranges: Sequence[Range], granted: Callable[[], None]) -> None:
        """Keep ranges for work that takes more than one step, after what they overlap.

        From now on the short cut is closed for the disk; from `granted` until `give_back` other I/O to the
        ranges waits. Of very many ranges some of what lies between them is kept, too.
        """
        self.claims += 1
        for start, end, writing in ranges:
            if writing:
                self._disk.changing(start, end)
        self._disk.hold()
        self._enter(few(ranges), granted)

    def give_back(self, ranges: Sequence[Range]) -> None:
        """End a claim that was granted."""
        kept = few(ranges)
        for each in kept:
            self._busy.remove(each)
        self.claims -= 1
        self._disk.release()
        self._start_waiting_for(kept)

    def _enter(self, ranges: Sequence[Range], start: Callable[[], None]) -> None:
        if self._clear(ranges, self._waiting):
            self._busy.extend(ranges)
            start()
        else:
            self._waiting.append((ranges, start))

    def flush(self, itl: ITLNexus | None, done: Callable[[OSError | None], None]) -> None:
        """Flush for a nexus: `done` gets the error of this flush, or of one it has not heard of."""

        def flushed(error: OSError | None) -> None:
            if error is not None:
                self.lost(error)
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
                self.lost(error)

        self.lane.submit(flush, flushed)

    def untold(self, itl: ITLNexus | None) -> OSError | None:
        """How a flush failed that this nexus has not heard of; it has now."""
        return None if itl is None else self._untold.pop(itl, None)

    def lost(self, error: OSError) -> None:
        """A flush failed: every nexus of the disk has to hear of it."""
        self._untold = dict.fromkeys(self._disk.attached, error)

    def _start_waiting_for(self, freed: Sequence[Range]) -> None:
        """Ranges are free: start what waited for them, and for nothing else."""
        self._freed += [(start, end, True) for start, end, _ in freed]
        if self._starting:  # what was just started is over already; whoever started it looks again
            return
        self._starting = True
        try:
            while self._freed:
                self._start_what_is_free()
        finally:
            self._starting = False

    def _start_what_is_free(self) -> None:
        """Start what waited for the ranges that were freed up to now.

        Behind a write to a freed range, begun or waiting, nothing else can begin there.
        """
        looked_at = len(self._freed)
        gaps = self._freed[:]
        index = 0
        while gaps and index < len(self._waiting):  # it may grow meanwhile, at its end
            ranges, start = self._waiting[index]
            if not _conflict(ranges, gaps):
                index += 1
                continue
            for begin, end, writing in ranges:
                if writing:
                    gaps = _without(gaps, begin, end)
            if self._clear(ranges, islice(self._waiting, index)):
                del self._waiting[index]
                self._busy.extend(ranges)
                start()
            else:
                index += 1
        del self._freed[:looked_at]


def _conflict(wanted: Sequence[Range], others: Sequence[Range]) -> bool:
    """Whether I/O to some ranges has to wait for other I/O."""
    for start, end, writing in wanted:
        for s, e, w in others:
            if s < end and start < e and (writing or w):
                return True
    return False


def _without(ranges: Sequence[Range], start: int, end: int) -> list[Range]:
    """What is left of ranges when one is taken out."""
    left: list[Range] = []
    for s, e, w in ranges:
        if s < end and start < e:
            left += [(a, b, w) for a, b in ((s, start), (end, e)) if a < b]
        else:
            left.append((s, e, w))
    return left


def few(ranges: Sequence[Range]) -> Sequence[Range]:
    """At most MOST_RANGES that hold all of these, apart where the gaps are largest."""
    if len(ranges) <= MOST_RANGES:
        return ranges
    ordered = sorted(ranges)
    gaps: list[tuple[int, int]] = []
    end = ordered[0][1]
    for index, (start, after, _) in enumerate(ordered):
        gaps.append((start - end, index))
        end = max(end, after)
    cuts = sorted(index for _, index in nlargest(MOST_RANGES - 1, gaps[1:]))
    united = [ordered[a:b] for a, b in pairwise((0, *cuts, len(ordered)))]
    return [
        (each[0][0], max(after for _, after, _ in each), any(writing for _, _, writing in each))
        for each in united
    ]


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
                return at + first_unequal(view, expected)
        at += len(view)
    return None
