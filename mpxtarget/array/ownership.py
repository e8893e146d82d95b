"""Who manages which virtual disk, and when that changes.

Rules kept here, as an EVA keeps them:
- Each disk is managed by one of two controllers. Both serve it; the one that manages it serves it
  active/optimized, the other active/non-optimized.
- The preferred path of a disk decides:

      preferred path             after a clean stop   controller fails     it comes back
      No Preference              where it was         to the survivor      stays
      A (B) Failover Only        A (B)                to the survivor      stays
      A (B) Failover/Failback    A (B)                to the survivor      back to A (B), once

  After a crash a disk is where it was, for that controller has its cache.
- A disk, its snapshots, and its clones while they are copied, are a family: one controller manages them all.
- The target port group of a controller that is out of service is unavailable, and no disk is managed there.
  One controller always works.
- A host moves a disk with SET TARGET PORT GROUPS, an administrator with a command. It also moves by itself,
  when most of its reads have come in by the other controller for some time (`ImplicitTransition`).
- A move takes `transition_time`: so long the disk is in transition for everybody.

There is no clock here. What takes time begins with a call of `wake`, and is carried on by `tick(now)`, which
is due at `next_event`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from mpxtarget.scsi.codes import AccessState, AccessStatus, Asc

if TYPE_CHECKING:
    from mpxtarget.array.array import Vdisk
    from mpxtarget.array.records import ArrayRecord, ControllerName, Preferred, VdiskRecord

GROUP_IDS: Final[dict[ControllerName, int]] = {"A": 1, "B": 2}
"""Target port group of each controller."""

_BY_GROUP: Final[dict[int, ControllerName]] = {group_id: name for name, group_id in GROUP_IDS.items()}

ControllerState = Literal["ok", "failed", "restarting"]

MAX_TRANSITION_TIME: Final = 255
"""Seconds; IMPLICIT TRANSITION TIME of REPORT TARGET PORT GROUPS is one byte."""
MAX_WINDOW: Final = 7 * 86400
DEFAULT_READS: Final = 10000
"""Ten times what Linux by default sends down one path before it takes the next."""
MIN_PERCENT: Final = 55


class ControllerUnavailable(ValueError):  # noqa: N818 - it says no, nothing went wrong
    """A controller that is out of service cannot manage a disk, and the last one that works cannot leave."""


def other_controller(name: ControllerName) -> ControllerName:
    return "B" if name == "A" else "A"


def preferred_controller(preferred: Preferred) -> ControllerName | None:
    """The controller that a preferred path names."""
    if preferred == "none":
        return None
    return "A" if preferred[0] == "A" else "B"


def family(vdisk_id: int, parents: Mapping[int, int | None]) -> list[int]:
    """A disk with its parent, snapshots and clones, and theirs. `parents` has the parent of every disk."""
    root = _root(vdisk_id, parents)
    return [number for number in parents if _root(number, parents) == root]


def _root(vdisk_id: int, parents: Mapping[int, int | None]) -> int:
    while (parent := parents.get(vdisk_id)) is not None and parent in parents:
        vdisk_id = parent
    return vdisk_id


def moves_at_start(
    records: Iterable[VdiskRecord], *, clean: bool, failed: ControllerName | None
) -> dict[int, ControllerName]:
    """Which disks move when the array starts, and whereto; `clean`: it was stopped, and did not crash."""

    def owner(root: VdiskRecord) -> ControllerName:
        named = (preferred_controller(root.preferred) if clean else None) or root.controller
        return other_controller(named) if named == failed else named

    return _moves(records, owner)


def moves_at_recovery(records: Iterable[VdiskRecord], recovered: ControllerName) -> dict[int, ControllerName]:
    """Which disks go back to a controller that has come back."""

    def owner(root: VdiskRecord) -> ControllerName:
        return recovered if root.preferred == f"{recovered}-failback" else root.controller

    return _moves(records, owner)


def _moves(
    records: Iterable[VdiskRecord], owner: Callable[[VdiskRecord], ControllerName]
) -> dict[int, ControllerName]:
    """Who does not manage yet what it is to; what is said of a disk counts for all its family."""
    by_number = {record.id: record for record in records}
    parents = {record.id: record.parent for record in by_number.values()}
    wanted = {number: owner(by_number[_root(number, parents)]) for number in by_number}
    return {number: name for number, name in wanted.items() if by_number[number].controller != name}


@dataclass(frozen=True, slots=True)
class ImplicitTransition:
    """A disk moves when within `window` seconds more than `percent` of its reads, which are at least `reads`,
    came in by the controller that does not manage it.

    A share well above half, of enough reads, keeps a disk where it is whose hosts use all paths in turn. As
    text `3600:60:10000`; the last number may be left out.
    """

    window: int
    percent: int
    reads: int

    @classmethod
    def parse(cls, text: str) -> ImplicitTransition | None:
        """None for `off`. Raises ValueError, which says what is wrong."""
        if text == "off":
            return None
        match = re.fullmatch(r"([0-9]{1,9}):([0-9]{1,9})(?::([0-9]{1,9}))?", text, re.ASCII)
        if match is None:
            raise ValueError(f"{text[:40]!r} is neither SECONDS:PERCENT, SECONDS:PERCENT:READS nor off")
        window, percent = int(match[1]), int(match[2])
        reads = DEFAULT_READS if match[3] is None else int(match[3])
        if not 1 <= window <= MAX_WINDOW:
            raise ValueError(f"a window of {window} seconds is not between 1 and {MAX_WINDOW}")
        if not MIN_PERCENT <= percent <= 99:
            raise ValueError(f"a share of {percent} % is not between {MIN_PERCENT} and 99")
        if reads < 1:
            raise ValueError("at least one read has to be there to count")
        return cls(window, percent, reads)

    def __str__(self) -> str:
        return f"{self.window}:{self.percent}:{self.reads}"

    def says(self, managing_group: int, reads: Mapping[int, int]) -> bool:
        """Whether a disk with these reads by target port group is to move."""
        total = sum(reads.values())
        foreign = total - reads.get(managing_group, 0)
        return total >= self.reads and foreign * 100 > self.percent * total


class _Timer:
    """So many seconds, counted from the first tick on."""

    __slots__ = ("at", "seconds")

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.at: float | None = None

    def over(self, now: float) -> bool:
        if self.at is None:
            self.at = now + self.seconds
        return now >= self.at


class Custody:
    """One disk in the hands of two controllers: the transition it is in, and the reads that are counted."""

    __slots__ = ("_counted", "_ownership", "_transition", "_vdisk", "_window")

    def __init__(self, ownership: Ownership, vdisk: Vdisk) -> None:
        self._ownership = ownership
        self._vdisk = vdisk
        self._transition: _Timer | None = None
        self._window: _Timer | None = None
        self._counted: dict[int, int] = {}
        self.watch()

    @property
    def transition_time(self) -> int:
        """Seconds that a move takes."""
        return self._ownership.transition_time

    def moved(self) -> bool:
        """The disk has another managing group; whether it is in transition until `Disk.arrive` is called."""
        seconds = self._ownership.transition_time
        self._transition = _Timer(seconds) if seconds else None
        self._vdisk.take_over(_BY_GROUP[self._vdisk.disk.managing_group])
        self.watch()
        self._ownership.moved(self._vdisk)
        return self._transition is not None

    def watch(self) -> None:
        """Count reads anew."""
        implicit = self._ownership.implicit
        self._window = None
        if implicit is not None:
            self._window = _Timer(implicit.window)
            self._counted = self._ownership.reads_by_group(self._vdisk)
            self._ownership.wake()

    def timers(self) -> Iterable[_Timer]:
        """Those that run."""
        return (timer for timer in (self._transition, self._window) if timer is not None)

    def tick(self, now: float) -> None:
        """Let time pass."""
        if self._transition is not None and self._transition.over(now):
            self._transition = None
            self._vdisk.disk.arrive()
        if self._window is not None and self._window.over(now):
            self._judge()
        for timer in self.timers():
            timer.over(now)  # one that has just begun counts from now

    def _judge(self) -> None:
        """A window is over: move the disk if its reads say so, and count anew."""
        before = self._counted
        self.watch()
        ownership, disk = self._ownership, self._vdisk.disk
        reads = {
            group_id: max(0, count - before.get(group_id, 0)) for group_id, count in self._counted.items()
        }
        if (
            self._vdisk.record.parent is None
            and ownership.out_of_service is None
            and ownership.implicit is not None
            and ownership.implicit.says(disk.managing_group, reads)
        ):
            disk.manage(GROUP_IDS[other_controller(_BY_GROUP[disk.managing_group])])


def _nobody_waits() -> None:
    """Time is not looked at."""


class Ownership:
    """Moves the disks of an array between its controllers."""

    def __init__(self, record: ArrayRecord, failed: ControllerName | None = None) -> None:
        self._vdisks: dict[int, Vdisk] = {}
        self._custody: dict[int, Custody] = {}
        self._return: _Timer | None = None
        self._moved: set[int] = set()
        self._families = False  # whether there ever was more than single disks
        self._following = False
        self.out_of_service: ControllerName | None = failed
        """The controller that has failed or restarts."""
        self.wake: Callable[[], None] = _nobody_waits
        """Called when something begins that takes time, or a disk has moved: `tick` is due at once, and
        `take_moved` tells what is to be written down before anybody is told of it.
        """
        self.transition_time = record.transition_time
        self.implicit = ImplicitTransition.parse(record.implicit_transition)

    def configure(self, record: ArrayRecord) -> None:
        """Take changed settings. What is counted, is counted anew if that is what has changed."""
        self.transition_time = record.transition_time
        implicit = ImplicitTransition.parse(record.implicit_transition)
        if implicit != self.implicit:
            self.implicit = implicit
            for custody in self._custody.values():
                custody.watch()

    def admit(self, vdisk: Vdisk) -> None:
        """Take charge of a disk that is new in the array."""
        if self.out_of_service is not None:
            vdisk.disk.limit_access(GROUP_IDS[self.out_of_service], AccessState.UNAVAILABLE)
        owner = self._owner_of_new(vdisk.record)
        if vdisk.record.controller != owner:
            vdisk.disk.manage(GROUP_IDS[owner])
            vdisk.take_over(owner)
            self._moved.add(vdisk.record.id)
        self._vdisks[vdisk.record.id] = vdisk
        self._families = self._families or vdisk.record.parent is not None
        vdisk.disk.custody = self._custody[vdisk.record.id] = Custody(self, vdisk)
        self.wake()

    def _owner_of_new(self, record: VdiskRecord) -> ControllerName:
        """Its record's controller, unless its parent has moved meanwhile, or that controller is away."""
        parent = None if record.parent is None else self._vdisks.get(record.parent)
        named = record.controller if parent is None else parent.record.controller
        return other_controller(named) if named == self.out_of_service else named

    def dismiss(self, vdisk_id: int) -> None:
        """A disk is no more in the array. KeyError: it was not."""
        del self._vdisks[vdisk_id], self._custody[vdisk_id]

    # Controllers

    def state(self, controller: ControllerName) -> ControllerState:
        if controller != self.out_of_service:
            return "ok"
        return "failed" if self._return is None else "restarting"

    def works(self, controller: ControllerName) -> bool:
        return controller != self.out_of_service

    def seconds_left(self, now: float) -> float | None:
        """How long the controller that restarts still takes; None: none does."""
        if self._return is None:
            return None
        return self._return.seconds if self._return.at is None else max(0.0, self._return.at - now)

    def fail(self, controller: ControllerName, seconds: float | None = None) -> None:
        """A controller fails: its disks go to the survivor, its group is unavailable.

        `seconds`: it restarts, and is back by itself after so long. Raises ControllerUnavailable if it is the
        last one that works.
        """
        survivor = other_controller(controller)
        if self.out_of_service == survivor:
            raise ControllerUnavailable(f"controller {controller} is the only one that works")
        self._return = None if seconds is None else _Timer(seconds)
        if self.out_of_service is None:
            self.out_of_service = controller
            for vdisk in self._vdisks.values():
                disk = vdisk.disk
                implicit = disk.transitioning and disk.access_status == AccessStatus.IMPLICITLY
                on_its_way = implicit and disk.managing_group == GROUP_IDS[controller]
                disk.limit_access(GROUP_IDS[controller], AccessState.UNAVAILABLE)
                disk.manage(GROUP_IDS[survivor])
                if on_its_way:
                    disk.raise_unit_attention(Asc.IMPLICIT_ASYMMETRIC_ACCESS_STATE_TRANSITION_FAILED)
        self.wake()

    def recover(self) -> None:
        """The controller that is out of service comes back, and so do the disks that are to."""
        recovered = self.out_of_service
        if recovered is None:
            return
        self.out_of_service = self._return = None
        for vdisk in self._vdisks.values():
            vdisk.disk.limit_access(GROUP_IDS[recovered], None)
        for number, owner in moves_at_recovery(self._records(), recovered).items():
            self._vdisks[number].disk.manage(GROUP_IDS[owner])

    def trespass(self, vdisk_id: int, controller: ControllerName) -> None:
        """Move a disk. KeyError: no such disk. Raises ControllerUnavailable."""
        if controller == self.out_of_service:
            raise ControllerUnavailable(f"controller {controller} is out of service")
        self._vdisks[vdisk_id].disk.manage(GROUP_IDS[controller])

    # The disks

    def _records(self) -> list[VdiskRecord]:
        return [vdisk.record for vdisk in self._vdisks.values()]

    def _family(self, vdisk: Vdisk) -> list[Vdisk]:
        if not self._families:
            return [vdisk]
        parents = {number: each.record.parent for number, each in self._vdisks.items()}
        return [self._vdisks[number] for number in family(vdisk.record.id, parents)]

    def moved(self, vdisk: Vdisk) -> None:
        """A disk has moved: its family follows."""
        self._moved.add(vdisk.record.id)
        self.wake()
        if self._following:
            return
        self._following = True
        try:
            for each in self._family(vdisk):
                each.disk.manage(vdisk.disk.managing_group)
        finally:
            self._following = False

    def reads_by_group(self, vdisk: Vdisk) -> dict[int, int]:
        """How many READ commands a family got so far by each target port group."""
        reads = dict.fromkeys(_BY_GROUP, 0)
        for each in self._family(vdisk):
            for group_id, count in each.disk.reads_by_group().items():
                reads[group_id] += count
        return reads

    # Time

    def tick(self, now: float) -> dict[int, ControllerName]:
        """Do what is due; answers what `take_moved` does."""
        if self._return is not None and self._return.over(now):
            self.recover()
        for custody in self._custody.values():
            custody.tick(now)
        return self.take_moved()

    def take_moved(self) -> dict[int, ControllerName]:
        """Who manages the disks that have moved since this was last asked, by number."""
        moved, self._moved = self._moved, set()
        return {number: self._vdisks[number].record.controller for number in moved if number in self._vdisks}

    def next_event(self) -> float | None:
        """When `tick` is due next; None: when `wake` is called."""
        timers = [timer for custody in self._custody.values() for timer in custody.timers()]
        if self._return is not None:
            timers.append(self._return)
        return min((timer.at for timer in timers if timer.at is not None), default=None)
