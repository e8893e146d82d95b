"""The answers of the device server: what has to happen for a command to be finished.

A plan is data.  It names disks, byte ranges and continuations, never files or sockets, and it is carried out
once. Whoever carries it out turns an `OSError` of the backing store into the reply that `sense.io_failed`
builds. All offsets and lengths are bytes, always whole logical blocks inside the disk, and never 0 long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

from mpxtarget.scsi.codes import Status

if TYPE_CHECKING:
    from mpxtarget.scsi.logical_unit import Disk
    from mpxtarget.scsi.nexus import ITLNexus


@dataclass(frozen=True, slots=True)
class Reply:
    """A finished command: status, Data-In already cut to the ALLOCATION LENGTH, and sense data with CHECK
    CONDITION.
    """

    status: int
    data: bytes = b""
    sense: bytes = b""


@dataclass(frozen=True, slots=True)
class ReadBlocks:
    """Send this range as Data-In, then GOOD.

    `durable`: FUA; what is sent is in stable storage before (SBC-3 5.10).
    """

    disk: Disk
    offset: int
    length: int
    durable: bool = False


@dataclass(frozen=True, slots=True)
class WriteBlocks:
    """Take `length` bytes of Data-Out to this range, then GOOD.

    `durable`: FUA, or the write cache is off; the data is in stable storage before GOOD (SBC-3 5.39).
    """

    disk: Disk
    offset: int
    length: int
    durable: bool


@dataclass(frozen=True, slots=True)
class TakeData:
    """Take exactly `length` bytes of Data-Out, then go on with the plan `then` answers.  `then` never
    raises.

    An initiator that expects to send less is refused, but for one that sends whole multiples of `unit` bytes:
    `then` gets what there is, as a WRITE would. One that expects to send more has its rest left alone, but
    where that is more than `most`: it gets the reply `too_much`.
    """

    length: int
    then: Callable[[bytes], Plan]
    unit: int = 0
    most: int | None = None
    too_much: Reply | None = None


@dataclass(frozen=True, slots=True)
class CompareBlocks:
    """Read this range and compare it with `data`; GOOD if equal, else `mismatch(offset of the first unequal
    byte)`.

    With `data` None nothing is compared: that the range can be read is all that is asked.  `data` shorter
    than `length` is one logical block that every block of the range has to equal (BYTCHK 11b, SBC-3 5.33).
    The offset given to `mismatch` counts from the start of the range.
    """

    disk: Disk
    offset: int
    data: bytes | None
    length: int
    mismatch: Callable[[int], Reply]


@dataclass(frozen=True, slots=True)
class Flush:
    """Bring this range to stable storage, then GOOD; with `immediate`, GOOD first (SBC-3 5.22)."""

    disk: Disk
    offset: int
    length: int
    immediate: bool


class Medium(Protocol):
    """The blocks of one disk, for work in a thread. Offsets and lengths are bytes of the disk.

    Every method may block, raises OSError when the backing store does, and raises `Abandoned` when nobody
    waits for the work any more.
    """

    def read(self, offset: int, length: int) -> bytes:
        """The bytes of a range."""

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """Change a range; to stable storage only with `flush`."""

    def write_whole(self, offset: int, data: bytes | memoryview) -> None:
        """Change a range in stable storage, all of it or, whatever happens, nothing; up to 1 MiB."""

    def zero(self, offset: int, length: int) -> None:
        """Make a range read as zeros, and give its space back where that is possible."""

    def flush(self) -> None:
        """Bring everything written to stable storage."""

    def runs(self, offset: int, length: int) -> Iterator[tuple[int, int, bool]]:
        """The range in pieces: (offset, length, whether space is allocated), in order, without gaps."""


class Abandoned(Exception):  # noqa: N818 - nothing went wrong
    """Nobody waits for this work any more: its command was aborted, or the disk is gone."""


@dataclass(frozen=True, slots=True)
class Extent:
    """A range of a disk that work reads, or changes."""

    disk: Disk
    offset: int
    length: int
    writing: bool


def _as_it_is(reply: Reply | None) -> Reply | None:
    return reply


@dataclass(frozen=True, slots=True)
class WorkOnBlocks:
    """Work on ranges of disks in a thread, atomically: nobody else's I/O comes between. Then answer.

    `work` gets the media of the disks named in `extents`, keeps inside those extents, and returns the reply.
    It touches nothing but the media, may raise OSError (the reply is then what `io_failed` makes of the first
    extent) and CheckCondition, and never runs on the event loop. `finished` is called on the event loop, once
    and in any case, with the reply, or with None when the work was abandoned; what it returns is answered.
    With `immediate`, GOOD is answered first, the work goes on without its command, and the reply reaches
    `finished` only. `enduring` work goes on too when its command is aborted, and ends with its disk alone; it
    begins, and GOOD is answered, only when what is kept about that disk has been written down.
    """

    extents: tuple[Extent, ...]
    work: Callable[[Mapping[Disk, Medium]], Reply]
    finished: Callable[[Reply | None], Reply | Keep | None] = _as_it_is
    immediate: bool = False
    enduring: bool = False


@dataclass(frozen=True, slots=True)
class Fence:
    """Make a change of reservations that has just been made hold for commands under way, then go on.

    The tasks of `abort` on the disk are aborted; writes of nexuses which may no longer write end with
    RESERVATION CONFLICT and change nothing more; and what threads are writing comes to its end first (SPC-4
    5.13.11, RFC 7143 4.2.2.3.4).
    """

    disk: Disk
    then: Plan
    abort: tuple[ITLNexus, ...] = ()


@dataclass(frozen=True, slots=True)
class Keep:
    """Write down what has to outlast a loss of power about this disk (`Disk.kept`), then answer."""

    disk: Disk
    reply: Reply


Plan: TypeAlias = (
    "Reply | ReadBlocks | WriteBlocks | TakeData | CompareBlocks | Flush | WorkOnBlocks | Fence | Keep"
)

GOOD = Reply(Status.GOOD)


def data_in(data: bytes, allocation_length: int) -> Reply:
    """GOOD with `data` cut to the ALLOCATION LENGTH, which may be 0 (SPC-4 4.3.5.6)."""
    return Reply(Status.GOOD, data[:allocation_length])
