"""What a disk has done: the counters behind its log pages (SPC-4 7.3).

The data path counts in the I_T_L nexuses, each for itself, and knows nothing of this module. A total is the
sum over those that are attached and over what those that left had counted. A log page that begins anew counts
from the totals of that moment; no counter ever goes back.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mpxtarget.scsi.nexus import ITLNexus


@dataclass(frozen=True, slots=True)
class Counts:
    """Commands, bytes, and commands that the backing store failed."""

    reads: int = 0
    read_bytes: int = 0
    writes: int = 0
    written_bytes: int = 0
    verified_bytes: int = 0
    failed_reads: int = 0
    failed_writes: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def __sub__(self, other: Counts) -> Counts:
        return Counts(*(a - b for a, b in zip(astuple(self), astuple(other), strict=True)))


class Statistics:
    """The counters of one disk."""

    __slots__ = ("_departed", "_failed_reads", "_failed_writes", "_since", "verified_bytes")

    def __init__(self) -> None:
        self.verified_bytes = 0
        self._failed_reads = 0
        self._failed_writes = 0
        self._departed = Counts()
        self._since: dict[int, Counts] = {}

    def count_failure(self, writing: bool) -> None:
        """The backing store has failed a command."""
        if writing:
            self._failed_writes += 1
        else:
            self._failed_reads += 1

    def leave(self, itl: ITLNexus) -> None:
        """A nexus is gone; what it counted stays."""
        self._departed += _of(itl)

    def total(self, attached: Collection[ITLNexus]) -> Counts:
        """All that was counted, ever."""
        gone = self._departed
        return Counts(  # one sum for each counter: there may be thousands of nexuses
            reads=gone.reads + sum(itl.reads for itl in attached),
            read_bytes=gone.read_bytes + sum(itl.read_bytes for itl in attached),
            writes=gone.writes + sum(itl.writes for itl in attached),
            written_bytes=gone.written_bytes + sum(itl.written_bytes for itl in attached),
            verified_bytes=self.verified_bytes,
            failed_reads=self._failed_reads,
            failed_writes=self._failed_writes,
        )

    def since_restart(self, page: int, attached: Collection[ITLNexus]) -> Counts:
        """What was counted since this log page began."""
        return self.total(attached) - self._since.get(page, Counts())

    def restart(self, page: int, attached: Collection[ITLNexus]) -> bool:
        """Let this log page begin at zero again; whether it was not there already."""
        before, self._since[page] = self._since.get(page, Counts()), self.total(attached)
        return self._since[page] != before


def _of(itl: ITLNexus) -> Counts:
    return Counts(itl.reads, itl.read_bytes, itl.writes, itl.written_bytes)
