"""Runs `WorkOnBlocks` plans: claims their ranges on every disk, then has a thread do the work.

Rules kept here:

- A run has all its ranges before its work begins, and nobody else's I/O to them begins before it is over;
  the short cut of fast_path.py is closed for its disks meanwhile. Disks are claimed one after the other, in
  one order for all runs, so that no two can wait for each other.
- Long work has threads of its own: WRITE SAME of some large ranges would leave none for others.
- A run that nobody waits for any more is abandoned: between two calls of its media, never inside one.
- `finished` of the plan is called once, whatever happens.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from mpxtarget.scsi.plan import Abandoned, Keep, Medium, Reply, WorkOnBlocks
from mpxtarget.scsi.sense import CheckCondition, io_failed

if TYPE_CHECKING:
    from backing_stores import BackingStore
    from mpxtarget.scsi.logical_unit import Disk
    from mpxtarget.server.disk_io import DiskIo, Range
    from mpxtarget.server.whole_writes import WholeWrites

LONG_WORK = 4 << 20  # bytes of extents from which on work is left to the long lane
ZERO_AT_ONCE = 64 << 20  # bytes between two looks at whether the work is still wanted


class BlockWork:
    """One run. `answer` gets what `finished` of the plan returned; None if there is nothing to answer."""

    __slots__ = (
        "_abandoned",
        "_answer",
        "_claims",
        "_finished",
        "_first",
        "_long",
        "_lost",
        "_replies",
        "_todo",
        "_whole_writes",
        "reading",
    )

    def __init__(
        self,
        plan: WorkOnBlocks,
        io_of: Callable[[Disk], DiskIo],
        answer: Callable[[Reply | Keep | None], None],
        whole_writes: WholeWrites,
    ) -> None:
        ranges: dict[Disk, list[Range]] = {}
        for extent in plan.extents:
            if extent.length:
                end = extent.offset + extent.length
                ranges.setdefault(extent.disk, []).append((extent.offset, end, extent.writing))
        self._long = sum(extent.length for extent in plan.extents) >= LONG_WORK
        self._finished = plan.finished
        self._first = plan.extents[0]
        self._answer = answer
        self._whole_writes = whole_writes
        self._claims = [(disk, io_of(disk), ranges[disk]) for disk in sorted(ranges, key=id)]
        self._abandoned = False
        self.reading = False  # what the media were last asked for
        self._todo: Callable[[Mapping[Disk, Medium]], Reply] | None = plan.work
        self._replies: list[Reply] = []
        self._lost: list[tuple[DiskIo, OSError]] = []

    def start(self) -> None:
        """Claim the ranges, then work."""
        self._claim(0)

    def abandon(self) -> None:
        """Nobody waits for it any more: it ends soon, without an answer, and lets go of its data."""
        self._abandoned = True
        self._todo = None

    def involves(self, disk: Disk) -> bool:
        """Whether it reads or changes the disk."""
        return any(each is disk for each, _, _ in self._claims)

    def writes(self, disk: Disk) -> bool:
        """Whether it changes the disk."""
        return any(each is disk and any(w for _, _, w in ranges) for each, _, ranges in self._claims)

    def go_on(self) -> None:
        """Called by the media: raises Abandoned if that is so."""
        if self._abandoned:
            raise Abandoned

    def lost(self, io: DiskIo, error: OSError) -> None:
        """Called by the media: a flush failed, which others have to hear of too."""
        self._lost.append((io, error))

    def _claim(self, index: int) -> None:
        if index < len(self._claims):
            _, io, ranges = self._claims[index]
            io.claim(ranges, lambda: self._claim(index + 1))
        elif self._abandoned or not self._claims:
            self._done(None)
        else:
            io = self._claims[0][1]
            (io.long_lane if self._long else io.lane).submit(self._work, self._done)

    def _work(self) -> None:
        work, self._todo = self._todo, None
        if work is None:
            return
        media: dict[Disk, Medium] = {
            disk: StoreMedium(self, disk, io, self._whole_writes) for disk, io, _ in self._claims
        }
        try:
            self._replies.append(work(media))
        except Abandoned:
            pass
        except CheckCondition as fault:
            self._replies.append(fault.sense.reply(self._first.disk.descriptor_sense))

    def _done(self, error: OSError | None) -> None:
        reply = None
        if not self._abandoned:
            first = self._first
            if error is not None:
                disk, writing = first.disk, first.writing and not self.reading
                reply = io_failed(error, disk, first.offset, writing, disk.descriptor_sense)
            elif self._replies:
                reply = self._replies[0]
        for io, flush_error in self._lost:
            io.lost(flush_error)
        try:
            self._answer(self._finished(reply))
        finally:
            for _, io, ranges in self._claims:
                io.give_back(ranges)


class StoreMedium:
    """A backing store as a `Medium`."""

    __slots__ = ("_disk", "_io", "_run", "_store", "_whole_writes")

    def __init__(self, run: BlockWork, disk: Disk, io: DiskIo, whole_writes: WholeWrites) -> None:
        self._run = run
        self._disk = disk
        self._io = io
        self._whole_writes = whole_writes
        self._store: BackingStore = io.store

    def read(self, offset: int, length: int) -> bytes:
        self._run.go_on()
        self._run.reading = True
        buffer = bytearray(length)
        self._store.read(memoryview(buffer), offset)
        return bytes(buffer)

    def write(self, offset: int, data: bytes | memoryview) -> None:
        self._go_on(offset, len(data))
        self._store.write(memoryview(data), offset)

    def write_whole(self, offset: int, data: bytes | memoryview) -> None:
        self._go_on(offset, len(data))
        name = self._disk.identity.naa or b""
        self._whole_writes.write(name, self._store, offset, memoryview(data), self._flush)

    def zero(self, offset: int, length: int) -> None:
        end = offset + length
        while offset < end:
            piece = min(ZERO_AT_ONCE, end - offset)
            self._go_on(offset, piece)
            self._store.discard(offset, piece)
            offset += piece

    def flush(self) -> None:
        self._run.go_on()
        self._flush()

    def _go_on(self, offset: int, length: int) -> None:
        self._run.go_on()
        self._run.reading = False
        if offset + length > self._disk.blocks << self._disk.shift:
            raise OSError(errno.EIO, "the disk has become smaller")

    def _flush(self) -> None:
        self._run.reading = False
        try:
            self._store.flush()
        except OSError as error:
            self._run.lost(self._io, error)
            raise

    def runs(self, offset: int, length: int) -> Iterator[tuple[int, int, bool]]:
        for piece in self._store.runs(offset, length):
            self._run.go_on()
            yield piece
