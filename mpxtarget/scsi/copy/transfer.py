"""Moving the bytes: a copy as work on blocks.

Rules kept here:

- A move reads and writes a piece at a time, so a copy is given up within one piece of being unwanted, and
  needs memory for one.
- A move within a disk whose ranges overlap goes from the end that is not overwritten: what arrives is what
  was there before.
- GOOD from a disk whose write cache is off means stable storage, here as for WRITE.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mpxtarget.scsi.copy.manager import COPY_ABORTED
from mpxtarget.scsi.pieces import pieces
from mpxtarget.scsi.plan import GOOD, Extent, Medium, Reply
from mpxtarget.scsi.sense import io_failed

if TYPE_CHECKING:
    from mpxtarget.scsi.copy.manager import Copy
    from mpxtarget.scsi.logical_unit import Disk

Failed = Callable[["Move", OSError, bool, int], Reply]
"""The reply to a copy that failed at a move, with this error, while it was writing or not, so many bytes from
its start.
"""


@dataclass(frozen=True, slots=True)
class Move:
    """Bytes from one place to another; without `source`, zeros. `segment`: which one asks for it, if any."""

    source: Disk | None
    source_offset: int
    destination: Disk
    destination_offset: int
    length: int
    segment: int | None = None

    @property
    def overlaps(self) -> bool:
        """Whether it overwrites what it reads."""
        return self.reads_from(self.destination, self.destination_offset, self.length)

    def reads_from(self, disk: Disk, offset: int, length: int) -> bool:
        """Whether it reads any of a range."""
        start, end = self.source_offset, self.source_offset + self.length
        return self.source is disk and start < offset + length and offset < end

    def io_failed(self, error: OSError, writing: bool, start: int, descriptor: bool) -> Reply:
        """What the disk that failed would have said to a host itself."""
        if writing or self.source is None:
            return io_failed(error, self.destination, self.destination_offset + start, True, descriptor)
        return io_failed(error, self.source, self.source_offset + start, False, descriptor)

    def pieces(self) -> Iterable[tuple[int, int]]:
        """Offset from its start, and length, of each piece, in the order in which they have to be moved."""
        forwards = list(pieces(0, self.length))
        return (
            reversed(forwards) if self.overlaps and self.source_offset < self.destination_offset else forwards
        )


def extents(moves: Sequence[Move]) -> tuple[Extent, ...]:
    """All that moves read and write."""
    read = [
        Extent(move.source, move.source_offset, move.length, writing=False)
        for move in moves
        if move.source is not None
    ]
    written = [Extent(move.destination, move.destination_offset, move.length, writing=True) for move in moves]
    return (*written, *read)


def work(
    copy: Copy, moves: Sequence[Move], failed: Failed, descriptor: bool
) -> Callable[[Mapping[Disk, Medium]], Reply]:
    """Carry out the moves, one after the other, as long as the copy is wanted."""
    durable = {move.destination for move in moves if not move.destination.mode.write_cache_enable}

    def carry_out(media: Mapping[Disk, Medium]) -> Reply:
        for number, move in enumerate(moves):
            copy.segments = 0 if move.segment is None else move.segment + 1
            writing, start = False, 0
            try:
                for start, length in move.pieces():
                    if not copy.wanted:
                        return COPY_ABORTED.reply(descriptor)
                    writing = False
                    data = b""
                    if move.source is not None:
                        data = media[move.source].read(move.source_offset + start, length)
                    writing = True
                    destination = media[move.destination]
                    if move.source is None:
                        destination.zero(move.destination_offset + start, length)
                    else:
                        destination.write(move.destination_offset + start, data)
                    copy.transferred += length
                    copy.operations += 1
                last = number == len(moves) - 1 or moves[number + 1].destination is not move.destination
                if last and move.destination in durable:
                    media[move.destination].flush()
            except OSError as error:
                return failed(move, error, writing, start)
        return GOOD

    return carry_out
