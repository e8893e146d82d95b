"""What the executor keeps of a command under way, and two questions about one that several modules ask."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from mpxtarget.iscsi import transfer
from mpxtarget.scsi.plan import GOOD, Plan, Reply

if TYPE_CHECKING:
    from mpxtarget.iscsi.session import Session
    from mpxtarget.iscsi.task import Delivery, Task
    from mpxtarget.scsi.logical_unit import LogicalUnit
    from mpxtarget.scsi.nexus import ITNexus
    from mpxtarget.server.block_work import BlockWork


class Work:
    """The state of a command, from its first plan to its answer."""

    __slots__ = (
        "buffer",
        "copies",
        "error",
        "in_lane",
        "plan",
        "position",
        "refusal",
        "run",
        "tail",
        "tail_start",
        "taken",
        "undelivered",
    )

    def __init__(self, plan: Plan, taken: int = 0) -> None:
        self.plan = plan
        self.taken = taken  # bytes of Data-Out that the plans before this one asked for
        self.position = 0  # bytes of a read that are sent or on their way
        self.in_lane = 0  # jobs of the task in a lane
        self.buffer: bytearray | None = None  # gathered parameter data
        self.copies: dict[int, bytes] = {}  # what waits for a lane to write it, by its place in the store
        self.tail = bytearray()  # small segments that go to the lane together, when it is done with others
        self.tail_start = 0  # their place in the store
        self.error: OSError | None = None  # the first that a write met
        self.undelivered: Delivery | None = None  # to be reported when the lane is done with it
        self.run: BlockWork | None = None
        self.refusal: Reply | None = None  # what it ends with: it may no longer go on

    @property
    def parameter_bytes(self) -> int:
        """Bytes of parameter data in memory."""
        return self.taken + len(self.buffer or b"")

    def forget(self) -> None:
        """Let go of all data: the task was aborted."""
        self.copies.clear()
        self.tail = bytearray()
        self.plan = GOOD
        self.buffer = None
        self.taken = 0
        if self.run is not None:
            self.run.abandon()

    def refuse(self, reply: Reply) -> None:
        """What has not reached the disk yet must not; the command ends with `reply`."""
        self.refusal = reply
        self.copies.clear()
        if self.run is not None:
            self.run.abandon()


def unit_of(session: Session, task: Task) -> LogicalUnit | None:
    """The logical unit that a task is for; None if its LUN is not mapped."""
    itl = cast("ITNexus", session.nexus).luns.get(task.lun) if session.nexus is not None else None
    return None if itl is None else itl.lu


def refuse(task: Task, status: int) -> None:
    """A command under way may no longer write: it ends with this status, when it can."""
    work = cast(Work, task.work)
    task.connection.account(task.lun, -len(work.tail))
    work.tail = bytearray()
    work.refuse(Reply(status))
    transfer.expect_no_more(task)
