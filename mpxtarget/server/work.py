"""What the executor keeps of a command under way, and what can be asked of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from mpxtarget.iscsi import transfer
from mpxtarget.scsi.plan import GOOD, Plan, Reply, TakeData, WorkOnBlocks, WriteBlocks

if TYPE_CHECKING:
    from mpxtarget.iscsi.session import Session
    from mpxtarget.iscsi.task import Delivery, Task
    from mpxtarget.scsi.logical_unit import Disk, LogicalUnit
    from mpxtarget.scsi.nexus import ITLNexus, ITNexus
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


def itl_of(task: Task) -> ITLNexus | None:
    """The I_T_L nexus that a task came by; None if its LUN is not mapped any more."""
    session = task.connection.session
    assert session is not None
    return cast("ITNexus", session.nexus).luns.get(task.lun)


def descriptor_sense(task: Task) -> bool:
    """Whether sense data for a task has descriptor format."""
    itl = itl_of(task)
    return itl is not None and itl.lu.descriptor_sense


def is_gone(task: Task, disk: Disk) -> bool:
    """Whether the disk was taken away from the initiator meanwhile. Its store may be closed by now, and its
    descriptor another file's: nobody may touch it any more.
    """
    session = task.connection.session
    return session is None or unit_of(session, task) is not disk


def reaches(task: Task, disks: set[Disk]) -> bool:
    """Whether all these disks are there for the nexus of the task; see `is_gone`."""
    session = task.connection.session
    assert session is not None
    return disks <= {itl.lu for itl in cast("ITNexus", session.nexus).by_number.values()}


def may_write(session: Session, task: Task, disk: Disk) -> bool:
    """Whether a task under way may still change the disk, or what is kept about it."""
    work = cast("Work | None", task.work)
    if work is None:
        return False
    if isinstance(work.plan, WorkOnBlocks):  # a copy may be a command to another unit
        return work.run is not None and work.run.writes(disk)
    return unit_of(session, task) is disk and isinstance(work.plan, WriteBlocks | TakeData)


def count(task: Task, *, reading: bool, length: int) -> None:
    """Add a READ or WRITE of so many bytes to the statistics of its nexus."""
    itl = itl_of(task)
    if itl is None:
        return
    if reading:
        itl.reads += 1
        itl.read_bytes += length
    else:
        itl.writes += 1
        itl.written_bytes += length
