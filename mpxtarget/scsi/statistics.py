"""What a disk has done: the counters behind its log pages (SPC-4 7.3).

The data path counts in the I_T_L nexuses, each for itself, and knows nothing of this module. A total is the
sum over those that are attached and over what those that left had counted. A log page that is reset starts
from the totals of that moment; no counter ever goes back.
"""

from __future__ import annotations

from collections.abc import Iterable
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
    failed_verifies: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def __sub__(self, other: Counts) -> Counts:
        return Counts(*(a - b for a, b in zip(astuple(self), astuple(other), strict=True)))


class Statistics:
    """The counters of one disk."""

    __slots__ = ("_departed", "_since", "failed_reads", "failed_verifies", "failed_writes", "verified_bytes")

    def __init__(self) -> None:
        self.verified_bytes = 0
        self.failed_reads = 0
        self.failed_writes = 0
        self.failed_verifies = 0
        self._departed = Counts()
        self._since: dict[int, Counts] = {}

    def leave(self, itl: ITLNexus) -> None:
        """A nexus is gone; what it counted stays."""
        self._departed += _of(itl)

    def total(self, attached: Iterable[ITLNexus]) -> Counts:
        """All that was counted, ever."""
        own = Counts(
            verified_bytes=self.verified_bytes,
            failed_reads=self.failed_reads,
            failed_writes=self.failed_writes,
            failed_verifies=self.failed_verifies,
        )
        return sum(map(_of, attached), self._departed + own)

    def since_reset(self, page: int, attached: Iterable[ITLNexus]) -> Counts:
        """What was counted since this log page was reset."""
        return self.total(attached) - self._since.get(page, Counts())

    def reset(self, page: int, attached: Iterable[ITLNexus]) -> None:
        """Let this log page begin at zero again."""
        self._since[page] = self.total(attached)


def _of(itl: ITLNexus) -> Counts:
    return Counts(itl.reads, itl.read_bytes, itl.writes, itl.written_bytes)
