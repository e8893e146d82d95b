"""Task sets: the order in which ORDERED and HEAD OF QUEUE commands are carried out (SAM-5 8.6, 8.7).

A logical unit has one task set, for all nexuses (TST 000b). As long as all its tasks are SIMPLE they need no
order, and there is nothing here to know of them. With the first one that is not SIMPLE its task set comes
into being; with the last it goes. Meanwhile the short cut of fast_path.py is closed for the disk, and:

- HEAD OF QUEUE begins at once;
- SIMPLE begins when there is no HEAD OF QUEUE, and no older ORDERED;
- ORDERED begins when there is no HEAD OF QUEUE, and nothing older at all.

A `Pause` stands among the tasks as an ORDERED one that waits for writes only: when it begins, no write is
half done.

A task that may not begin yet is dormant: none of its checks has been made. Unsolicited data that it brings
is kept, within the bounds for parameter lists of its session; no other data is asked for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, Protocol

from mpxtarget.iscsi import transfer
from mpxtarget.scsi.logical_unit import Disk
from mpxtarget.server.work import unit_of

if TYPE_CHECKING:
    from mpxtarget.iscsi.session import Session
    from mpxtarget.iscsi.task import Task
    from mpxtarget.scsi.logical_unit import LogicalUnit

SIMPLE: Final = 1
"""The task attributes up to here, untagged and SIMPLE, need no order (RFC 7143 11.3.1)."""
ORDERED: Final = 2
HEAD_OF_QUEUE: Final = 3


class Beginner(Protocol):
    """What can begin a task: the executor."""

    def begin(self, task: Task) -> None:
        """Plan a command and begin to carry it out."""

    def keep_early_data(self, task: Task, length: int) -> bool:
        """Make room for unsolicited data of a task that has not begun; False: it cannot be taken in."""

    def take_early_data(self, task: Task, length: int) -> bytes:
        """The first bytes of that data; the room is given back."""

    def take(self, task: Task, offset: int, data: memoryview) -> None:
        """Data-Out of a task that has begun."""


class Pause:
    """A place in a task set that no command has; `begun` is called when its turn has come, until `end`."""

    __slots__ = ("begun", "on_end")

    attr: Final = ORDERED

    def __init__(self, begun: Callable[[], None]) -> None:
        self.begun = begun
        self.on_end: Callable[[Pause], None] | None = None

    def end(self) -> None:
        """Younger tasks may begin. Also of a pause that has not begun; it never does then."""
        if self.on_end is not None:
            self.on_end(self)


class TaskSet:
    """The tasks of one logical unit while some of them are not SIMPLE."""

    __slots__ = ("_dormant", "_heads", "_on_end", "_ordered", "_running", "_unit")

    def __init__(self, unit: LogicalUnit, running: Iterable[Task], on_end: Callable[[], None]) -> None:
        """`running` has begun before; `on_end` is called when a task has ended."""
        self._unit = unit
        self._on_end = on_end
        self._running: set[Task | Pause] = set()
        self._heads: set[Task | Pause] = set()
        self._ordered: Task | Pause | None = None
        self._dormant: deque[Task | Pause] = deque()
        for task in running:
            self._run(task)
        if isinstance(unit, Disk):
            unit.hold()

    def enter(self, task: Task | Pause) -> bool:
        """Take a task in; whether it begins now."""
        if task.attr == HEAD_OF_QUEUE:
            self._heads.add(task)
        elif self._dormant or not self._may_begin(task):
            self._dormant.append(task)
            task.on_end = self._ended
            return False
        self._run(task)
        return True

    def next(self) -> Task | Pause | None:
        """A dormant task whose turn has come: it begins now."""
        if not self._dormant or not self._may_begin(self._dormant[0]):
            return None
        task = self._dormant.popleft()
        self._run(task)
        return task

    def dissolve(self) -> bool:
        """End the task set if nothing in it needs an order; whether it did."""
        if self._heads or self._dormant or self._ordered is not None:
            return False
        for task in self._running:
            task.on_end = None
        if isinstance(self._unit, Disk):
            self._unit.release()
        return True

    def _may_begin(self, task: Task | Pause) -> bool:
        if isinstance(task, Pause):
            return not any(isinstance(each, Pause) or each.write for each in self._running)
        if task.attr == ORDERED:
            return not self._running  # what is not running is younger
        return not self._heads and self._ordered is None

    def _run(self, task: Task | Pause) -> None:
        self._running.add(task)
        if task.attr == ORDERED:
            self._ordered = task
        task.on_end = self._ended

    def _ended(self, task: Task | Pause) -> None:
        self._running.discard(task)
        self._heads.discard(task)
        if task is self._ordered:
            self._ordered = None
        if task in self._dormant:  # aborted
            self._dormant.remove(task)
        self._on_end()


class TaskSets:
    """The task sets there are at the moment: hardly ever one."""

    __slots__ = ("_beginner", "_later", "_sessions", "_sets")

    def __init__(
        self,
        beginner: Beginner,
        sessions: Callable[[], Iterable[Session]],
        later: Callable[[Callable[[], None]], None],
    ) -> None:
        """`later` calls a function when what goes on now is over."""
        self._beginner = beginner
        self._sessions = sessions
        self._later = later
        self._sets: dict[LogicalUnit, TaskSet] = {}

    def __bool__(self) -> bool:
        return bool(self._sets)

    def enter(self, task: Task) -> bool:
        """Whether a task that has just come begins now; else it does when its turn has come."""
        session = task.connection.session
        assert session is not None
        unit = unit_of(session, task)
        if unit is None:
            return True
        found = self._sets.get(unit)
        if found is None:
            if task.attr not in (ORDERED, HEAD_OF_QUEUE):
                return True
            found = self._found(unit, task)
        if found.enter(task):
            return True
        early = min(session.parameters.first_burst_length, task.edtl) if task.write else 0
        if self._beginner.keep_early_data(task, early):
            task.wanted = early
        return False

    def pause(self, unit: LogicalUnit, begun: Callable[[], None]) -> Pause:
        """Have all tasks that come from now on wait, until the pause that this answers is ended."""
        pause = Pause(begun)
        found = self._sets.get(unit) or self._found(unit, None)
        if found.enter(pause):
            begun()
        return pause

    def _found(self, unit: LogicalUnit, youngest: Task | None) -> TaskSet:
        """Make the task set of a unit, of all its tasks but for the youngest."""
        older = [
            each
            for session in self._sessions()
            for each in session.tasks.values()
            if each is not youngest and unit_of(session, each) is unit
        ]
        found = self._sets[unit] = TaskSet(unit, older, lambda: self._later(lambda: self._go_on(unit)))
        return found

    def _go_on(self, unit: LogicalUnit) -> None:
        """A task has ended: others may begin."""
        found = self._sets.get(unit)
        if found is None:
            return
        while (task := found.next()) is not None:
            if isinstance(task, Pause):
                task.begun()
            elif task.answer is None:  # else it was ended before it began
                self._begin(task)
        if found.dissolve():
            del self._sets[unit]

    def _begin(self, task: Task) -> None:
        arrived = task.next_offset if task.unsolicited is None else task.unsolicited.next
        data = self._beginner.take_early_data(task, arrived)
        task.wanted = 0
        self._beginner.begin(task)
        if data and task.wanted and task.failure is None and task.answer is None and not task.aborted:
            self._beginner.take(task, 0, memoryview(data)[: task.wanted])
        transfer.go_on(task)
