"""The answers of the device server: what has to happen for a command to be finished.

A plan is data.  It names disks, byte ranges and continuations, never files or sockets, and it is carried out
once. Whoever carries it out turns an `OSError` of the backing store into the reply that `sense.io_failed`
builds. All offsets and lengths are bytes, always whole logical blocks inside the disk, and never 0 long.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from mpxtarget.scsi.codes import Status

if TYPE_CHECKING:
    from mpxtarget.scsi.logical_unit import Disk


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
    """

    length: int
    then: Callable[[bytes], Plan]


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


Plan: TypeAlias = Reply | ReadBlocks | WriteBlocks | TakeData | CompareBlocks | Flush

GOOD = Reply(Status.GOOD)


def data_in(data: bytes, allocation_length: int) -> Reply:
    """GOOD with `data` cut to the ALLOCATION LENGTH, which may be 0 (SPC-4 4.3.5.6)."""
    return Reply(Status.GOOD, data[:allocation_length])
