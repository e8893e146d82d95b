"""Carries out what the SCSI layer plans: the one place where a command meets its backing store.

The SCSI layer answers a CDB with a plan (mpxtarget.scsi.plan); this module does the reading, writing,
flushing and comparing it asks for, on the event loop where the store can answer at once, in the store's lane
of threads where it cannot. Rules kept here:

- Bytes go between the wire and the store without a copy on the loop's side: reads fill the Data-In PDUs in
  the output, writes leave from the receive buffer. Only what waits for a thread is copied.
- A command is answered when all its I/O is done, never before. GOOD for a durable write means: flushed.
- A connection whose output waits for its peer gets no new data: its reads stall and go on when there is room.
  What one connection has in the lane of a disk at a time is bounded by LANE_BYTES.
- An aborted task is forgotten at once, with the data it left to a lane; what its I/O brings later is thrown
  away.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, cast

from mpxtarget.iscsi import transfer
from mpxtarget.iscsi.session import Session
from mpxtarget.iscsi.task import Delivery, Task
from mpxtarget.scsi import device_server
from mpxtarget.scsi.codes import Asc, SenseKey, Status
from mpxtarget.scsi.plan import (
    GOOD,
    CompareBlocks,
    Fence,
    Flush,
    Keep,
    Plan,
    ReadBlocks,
    Reply,
    TakeData,
    WorkOnBlocks,
    WriteBlocks,
)
from mpxtarget.scsi.sense import LOGICAL_UNIT_NOT_SUPPORTED, SenseData, io_failed
from mpxtarget.server.block_work import BlockWork
from mpxtarget.server.disk_io import DiskIo, first_difference
from mpxtarget.server.lanes import Completions
from mpxtarget.server.task_manager import TaskManager
from mpxtarget.server.task_set import SIMPLE, Pause, TaskSets
from mpxtarget.server.whole_writes import WholeWrites
from mpxtarget.server.work import (
    Work,
    count,
    descriptor_sense,
    is_gone,
    itl_of,
    may_write,
    reaches,
    refuse,
    unit_of,
)

if TYPE_CHECKING:
    from mpxtarget.iscsi.connection import Connection
    from mpxtarget.scsi.logical_unit import Disk
    from mpxtarget.scsi.nexus import ITNexus

log = logging.getLogger("mpxtarget.io")

LANE_BYTES = 4 << 20  # of reads one connection may have in the lane of one disk at a time
GATHER = 65536  # bytes of smaller segments that become one job of a lane
PARAMETER_BYTES = 32 << 20  # of data to compare and parameter lists a session may have in memory at a time
INVALID_FIELD_IN_COMMAND_INFORMATION_UNIT = 0x0E03
_NOT_KEPT = SenseData(SenseKey.HARDWARE_ERROR, Asc.INTERNAL_TARGET_FAILURE)


def _keep_nothing(_disk: Disk, done: Callable[[Exception | None], None]) -> None:
    """Nothing outlasts this process."""
    done(None)


class Executor:
    """Implements `mpxtarget.iscsi.connection.Commands`."""

    def __init__(
        self,
        completions: Completions,
        sessions: Callable[[], Iterable[Session]],
        keep: Callable[[Disk, Callable[[Exception | None], None]], None] = _keep_nothing,
        whole_writes: WholeWrites | None = None,
    ) -> None:
        """`keep` writes `disk.kept` to stable storage, then calls back on the event loop."""
        self._whole_writes = whole_writes or WholeWrites(None)
        self._completions = completions
        self._keep = keep
        self._runs: dict[BlockWork, tuple[ITNexus, bytes] | None] = {}  # for whom, unless it is for good
        self._sessions = sessions
        self._io: dict[int, DiskIo] = {}  # by id(disk)
        self._lane_bytes: dict[tuple[Connection, Disk], int] = {}
        self._touched: set[Connection] = set()
        self._manager = TaskManager(
            sessions, self._touched.add, lambda: completions.put(lambda _: None, None)
        )
        self._task_sets = TaskSets(self, sessions, lambda then: completions.put(lambda _: then(), None))

    # -- what the connection calls ----

    def start(self, task: Task) -> None:
        """A command has come: begin with it, if it need not wait for others."""
        if (task.attr <= SIMPLE and not self._task_sets) or self._task_sets.enter(task):
            self.begin(task)

    def begin(self, task: Task) -> None:
        """Plan a command and begin to carry it out."""
        session = task.connection.session
        assert session is not None
        nexus = cast("ITNexus", session.nexus)
        self._carry_out(task, device_server.plan(nexus, task.lun, task.cdb))

    def take(self, task: Task, offset: int, data: memoryview) -> None:
        """Data-Out: to the disk for a write, into the parameter list otherwise."""
        work = cast(Work, task.work)
        plan = work.plan
        if isinstance(plan, WriteBlocks):
            if work.error is None and work.refusal is None:
                self._write(task, work, plan, offset, data)
        elif work.buffer is not None:
            work.buffer[offset : offset + len(data)] = data

    def taken(self, task: Task) -> None:
        """All data is here: go on."""
        work = cast(Work, task.work)
        if isinstance(work.plan, TakeData):
            data = bytes(work.buffer or b"")
            work.buffer = None
            if work.refusal is not None:
                self._reply(task, work.refusal)
            else:
                self._carry_out(task, work.plan.then(data), work.plan.length)
        elif not work.in_lane:
            self._written(task, work)

    def keep_early_data(self, task: Task, length: int) -> bool:
        """Make room for the unsolicited data of a task that has to wait; False: its task set is full."""
        if self._too_much_data(task, length):
            transfer.respond(task, Status.TASK_SET_FULL)
            return False
        work = task.work = Work(GOOD)
        work.buffer = bytearray(length)
        return True

    def take_early_data(self, task: Task, length: int) -> bytes:
        """The unsolicited data of a task that begins now."""
        self._touch(task.connection)
        work, task.work = task.work, None
        return bytes(work.buffer[:length])

    def undelivered(self, task: Task, failure: Delivery) -> None:
        """ABORTED COMMAND, as the transport reports it (RFC 7143 11.4.7.2)."""
        work = cast(Work, task.work)
        if work.in_lane:
            work.undelivered = failure
            return
        sense = SenseData(SenseKey.ABORTED_COMMAND, failure.asc << 8 | failure.ascq)
        transfer.respond(task, Status.CHECK_CONDITION, sense.pack(descriptor_sense(task)))

    def aborted(self, task: Task) -> None:
        """The task is gone; its jobs find that out when they come back."""
        work, task.work = task.work, None
        if work is not None:
            task.connection.account(task.lun, -len(work.tail))
            work.forget()

    def resume(self, task: Task) -> None:
        """The output has room again."""
        self._read_on(task, cast(Work, task.work))

    def manage(self, session: Session, function: int, lun: int) -> int:
        """Task management but for ABORT TASK."""
        return self._manager.manage(session, function, lun)

    # -- the loop's side ----

    def _touch(self, connection: Connection) -> None:
        """Something was put into the output of a connection, and not because it was received from."""
        self._touched.add(connection)

    def take_touched(self) -> set[Connection]:
        """Connections into whose output something was put by I/O that finished since the last call."""
        touched, self._touched = self._touched, set()
        return touched

    def closed(self, connection: Connection) -> None:
        """Nothing can be sent to a connection any more."""
        self._touched.discard(connection)

    def io_of(self, disk: Disk) -> DiskIo:
        """The I/O of a disk."""
        io = self._io.get(id(disk))
        if io is None or io.store is not disk.store:
            io = self._io[id(disk)] = DiskIo(disk, self._completions)
        return io

    def pause(self, disk: Disk, begun: Callable[[], None]) -> Pause:
        """Let no command begin on a disk, from when its writes have all ended until the pause is ended."""
        return self._task_sets.pause(disk, begun)

    def forget(self, disk: Disk) -> None:
        """A disk is gone."""
        self._io.pop(id(disk), None)

    def busy(self, disk: Disk) -> bool:
        """Whether threads still work on the disk's store."""
        io = self._io.get(id(disk))
        return io is not None and (io.lane.pending > 0 or io.claims > 0)

    def abandon(self, disk: Disk | None = None) -> None:
        """A disk is about to go, or the whole target: long work on it ends soon."""
        for run in self._runs:
            if disk is None or run.involves(disk):
                run.abandon()

    def stuck(self) -> list[str]:
        """The stores that threads still work on, by URL."""
        return [io.store.url for io in self._io.values() if io.lane.pending or io.long_lane.pending]

    # -- plans ----

    def _carry_out(self, task: Task, plan: Plan, taken: int = 0) -> None:
        work = task.work = Work(plan, taken)
        if isinstance(plan, Reply):
            self._reply(task, plan)
        elif isinstance(plan, ReadBlocks):
            if task.write:  # the wrong direction: what comes is dropped, and nothing may be sent
                transfer.respond(task, Status.GOOD)
            else:
                count(task, reading=True, length=plan.length)
                if plan.durable:
                    self._flush_in_lane(task, plan.disk, plan.offset, lambda: self._read_on(task, work))
                else:
                    self._read_on(task, work)
        elif isinstance(plan, WriteBlocks):
            if task.read or (task.edtl < plan.length and task.edtl % plan.disk.block_size):
                self._wrong_length(task, plan.length)
            else:  # no more than the expected length is written; the rest is an overflow (RES-006)
                transfer.expect(task, plan.length)
        elif isinstance(plan, TakeData):
            length = min(plan.length, task.edtl)
            short = length < plan.length and (not plan.unit or length % plan.unit)
            if plan.too_much is not None and plan.most is not None and task.edtl > plan.most:
                self._reply(task, plan.too_much)
            elif short or (plan.length and not task.write):
                self._wrong_length(task, plan.length)
            elif self._too_much_data(task, length):
                transfer.respond(task, Status.TASK_SET_FULL)
            else:
                work.buffer = bytearray(length)
                transfer.expect(task, length)
        elif isinstance(plan, Flush):
            self._flush(task, work, plan)
        elif isinstance(plan, CompareBlocks):
            self._compare(task, work, plan)
        elif isinstance(plan, WorkOnBlocks):
            self._work_on_blocks(task, work, plan)
        elif isinstance(plan, Fence):
            self._fence(task, plan, taken)
        else:
            self._keep_then_reply(task, plan)

    def _too_much_data(self, task: Task, length: int) -> bool:
        """Whether the data of this command has to wait until its session's others are done with theirs."""
        session = task.connection.session
        assert session is not None
        kept: int = sum(each.work.parameter_bytes for each in session.tasks.values() if each.work is not None)
        return kept > 0 and kept + length > PARAMETER_BYTES

    def _reply(self, task: Task, reply: Reply) -> None:
        if reply.data and reply.status == Status.GOOD:
            transfer.respond_with_data(task, reply.data)
        else:
            work = task.work
            transfer.respond(task, reply.status, reply.sense, 0 if work is None else work.taken)

    def _wrong_length(self, task: Task, length: int) -> None:
        """The expected length, or direction, cannot carry what the command is about: nothing is transferred
        (RES-006).
        """
        sense = SenseData(SenseKey.ILLEGAL_REQUEST, INVALID_FIELD_IN_COMMAND_INFORMATION_UNIT)
        presented = 0 if task.read else length
        transfer.respond(task, Status.CHECK_CONDITION, sense.pack(descriptor_sense(task)), presented)

    def _failed(self, task: Task, error: OSError, disk: Disk, offset: int, *, writing: bool) -> None:
        if is_gone(task, disk):
            self._reply(task, LOGICAL_UNIT_NOT_SUPPORTED.reply(disk.descriptor_sense))
            return
        self._reply(task, io_failed(error, disk, offset, writing, disk.descriptor_sense))

    # -- reading ----

    def _read_on(self, task: Task, work: Work) -> None:
        """Send what can be had of a read at once; the rest comes from the lane, or when there is room."""
        plan = cast(ReadBlocks, work.plan)
        c = task.connection
        if is_gone(task, plan.disk):
            self._failed(task, OSError(), plan.disk, plan.offset, writing=False)
            return
        io = self.io_of(plan.disk)
        end = min(plan.length, task.edtl) if task.read else 0
        if end == 0:
            transfer.respond(task, Status.GOOD, b"", plan.length)
            return
        while work.position < end:
            if c.output.backlog or self._lane_bytes.get((c, plan.disk), 0) >= LANE_BYTES:
                c.stalled.append(task)
                return
            length = min(transfer.CHUNK, end - work.position)
            start = plan.offset + work.position
            last = work.position + length == end
            if io.free(start, start + length, writing=False):
                sizes = transfer.segments(c, task.sent, length)
                at, places = transfer.lay_data_in(c, sizes)
                try:
                    done = io.read_now(places, start, length)
                except OSError as error:
                    transfer.unlay_data_in(c, at)
                    self._failed(task, error, plan.disk, start, writing=False)
                    return
                if done:
                    work.position += length
                    transfer.seal_data_in(c, task, at, sizes, plan.length if last else None)
                    continue
                transfer.unlay_data_in(c, at)
            self._read_in_lane(task, work, plan, io, length)
            return

    def _read_in_lane(self, task: Task, work: Work, plan: ReadBlocks, io: DiskIo, length: int) -> None:
        c = task.connection
        start = plan.offset + work.position
        work.in_lane += 1
        place = c, plan.disk
        self._lane_bytes[place] = self._lane_bytes.get(place, 0) + length
        buffer: list[bytearray] = []

        def read() -> None:
            if task.aborted:
                return
            buffer.append(bytearray(length))  # allocated when a thread has time for it, not while it waits
            io.store.read(memoryview(buffer[0]), start)

        def done(error: OSError | None) -> None:
            work.in_lane -= 1
            self._lane_bytes[place] -= length
            if not self._lane_bytes[place]:
                del self._lane_bytes[place]
            self._touch(c)
            if task.aborted:
                return
            if error is not None:
                self._failed(task, error, plan.disk, start, writing=False)
                return
            work.position += length
            end = min(plan.length, task.edtl)
            last = work.position == end
            transfer.send_data_in(c, task, buffer[0], plan.length if last else None)
            if not last:
                self._read_on(task, work)

        io.submit(start, start + length, read, done, writing=False)

    # -- writing ----

    def _write(self, task: Task, work: Work, plan: WriteBlocks, offset: int, data: memoryview) -> None:
        """Write one segment, from the receive buffer if the store takes it now."""
        start = plan.offset + offset
        end = start + len(data)
        if end > plan.disk.blocks << plan.disk.shift or is_gone(task, plan.disk):
            work.error = OSError(errno.EIO, "the disk has become smaller")
            transfer.expect_no_more(task)
            return
        io = self.io_of(plan.disk)
        if io.free(start, end, writing=True):
            try:
                if io.write_now(data, start):
                    return
            except OSError as error:
                work.error = error
                transfer.expect_no_more(task)
                return
        task.connection.account(task.lun, len(data))
        if not work.in_lane or len(data) >= GATHER:
            self._write_in_lane(task, work, plan, start, bytes(data))
            return
        if work.tail_start + len(work.tail) != start or len(work.tail) >= GATHER:
            self._write_tail(task, work, plan)
            work.tail_start = start
        work.tail += data

    def _write_tail(self, task: Task, work: Work, plan: WriteBlocks) -> None:
        """Write the small segments that came while the lane was busy with this task."""
        if work.tail:
            tail, work.tail = bytes(work.tail), bytearray()
            self._write_in_lane(task, work, plan, work.tail_start, tail)

    def _write_in_lane(self, task: Task, work: Work, plan: WriteBlocks, start: int, data: bytes) -> None:
        c = task.connection
        io = self.io_of(plan.disk)
        size = len(data)
        work.copies[start] = data
        work.in_lane += 1

        def write() -> None:
            copy = work.copies.pop(start, None)
            if copy is not None:  # the task was not aborted
                io.store.write(memoryview(copy), start)

        def done(error: OSError | None) -> None:
            work.in_lane -= 1
            c.account(task.lun, -size)
            self._touch(c)
            if error is not None and work.error is None:
                work.error = error
                transfer.expect_no_more(task)
            if not task.aborted:
                self._write_tail(task, work, plan)
            if not work.in_lane and not task.aborted:
                if work.undelivered is not None:
                    self.undelivered(task, work.undelivered)
                elif not task.expecting:
                    self._written(task, work)
            transfer.ask_on(c)

        io.submit(start, start + size, write, done, writing=True)

    def _written(self, task: Task, work: Work) -> None:
        """All data of a write is in the store: answer, after a flush if it has to be durable."""
        plan = cast(WriteBlocks, work.plan)
        if work.refusal is not None:
            self._reply(task, work.refusal)
            return
        if work.error is not None:
            self._failed(task, work.error, plan.disk, plan.offset, writing=True)
            return
        count(task, reading=False, length=plan.length)
        if plan.durable:
            good = partial(transfer.respond, task, Status.GOOD, b"", plan.length)
            self._flush_in_lane(task, plan.disk, plan.offset, good)
        else:
            transfer.respond(task, Status.GOOD, b"", plan.length)

    # -- flushing and comparing ----

    def _flush(self, task: Task, work: Work, plan: Flush) -> None:
        if plan.immediate:
            io = self.io_of(plan.disk)
            error = io.untold(itl_of(task))
            io.flush_for_nobody()
            if error is not None:
                self._failed(task, error, plan.disk, plan.offset, writing=True)
            else:
                transfer.respond(task, Status.GOOD)
        else:
            self._flush_in_lane(task, plan.disk, plan.offset, partial(transfer.respond, task, Status.GOOD))

    def _flush_in_lane(self, task: Task, disk: Disk, offset: int, then: Callable[[], None]) -> None:
        """Go on with the command when all that was written to the disk is in stable storage."""

        def done(error: OSError | None) -> None:
            self._touch(task.connection)
            if task.aborted:
                return
            if error is not None:
                self._failed(task, error, disk, offset, writing=True)
            else:
                then()

        if is_gone(task, disk):
            self._failed(task, OSError(), disk, offset, writing=True)
        else:
            self.io_of(disk).flush(itl_of(task), done)

    def _compare(self, task: Task, work: Work, plan: CompareBlocks) -> None:
        """VERIFY: always in the lane, a piece at a time."""
        disk, offset, end, mismatch = plan.disk, plan.offset, plan.offset + plan.length, plan.mismatch
        presented = len(plan.data or b"")
        if is_gone(task, disk):
            self._failed(task, OSError(), disk, offset, writing=False)
            return
        io = self.io_of(disk)
        found: list[int] = []

        def compare() -> None:
            # from here, as what an aborted task had to compare is not to be kept
            if isinstance(work.plan, CompareBlocks):
                unequal = first_difference(io.store, work.plan)
                if unequal is not None:
                    found.append(unequal)

        def done(error: OSError | None) -> None:
            self._touch(task.connection)
            if task.aborted:
                return
            if error is not None:
                self._failed(task, error, disk, offset, writing=False)
            elif found:
                self._reply(task, mismatch(found[0]))
            else:
                transfer.respond(task, Status.GOOD, b"", presented)

        io.submit(offset, end, compare, done, writing=False)

    # -- work, fences, and what is kept ----

    def _work_on_blocks(self, task: Task, work: Work, plan: WorkOnBlocks) -> None:
        """In a thread, on all its ranges at once; with `immediate` the command is answered first."""

        if not reaches(task, {extent.disk for extent in plan.extents}):
            plan.finished(None)
            self._reply(task, LOGICAL_UNIT_NOT_SUPPORTED.reply(descriptor_sense(task)))
            return

        immediate = plan.immediate  # not the plan: the data it works with is to go as soon as it can
        answered = False
        disk = plan.extents[0].disk

        def answer(outcome: Reply | Keep | None) -> None:
            del self._runs[run]
            if isinstance(outcome, Keep):
                reply = outcome.reply
                self._keep(outcome.disk, lambda error: settle(reply if error is None else failure(error)))
            else:
                settle(outcome)

        def settle(reply: Reply | None) -> None:
            if answered or task.aborted:
                return
            self._touch(task.connection)
            if work.refusal is not None:
                self._reply(task, work.refusal)
            elif reply is not None:
                self._reply(task, reply)
            else:  # abandoned, but by whom? The disk is gone.
                self._reply(task, LOGICAL_UNIT_NOT_SUPPORTED.reply(descriptor_sense(task)))

        def failure(_error: Exception) -> Reply:
            return _NOT_KEPT.reply(disk.descriptor_sense)

        def begin(error: Exception | None) -> None:
            nonlocal answered
            if error is not None or immediate:
                self._touch(task.connection)
                self._reply(task, GOOD if error is None else failure(error))
                answered = True
            if error is not None:
                run.abandon()
            run.start()

        run = BlockWork(plan, self.io_of, answer, self._whole_writes)
        session = task.connection.session
        assert session is not None
        self._runs[run] = None if plan.enduring else (cast("ITNexus", session.nexus), task.cdb)
        if plan.enduring:
            self._keep(disk, begin)
        else:
            if not immediate:
                work.run = run
            begin(None)

    def _fence(self, task: Task, plan: Fence, taken: int) -> None:
        """End what the new reservation forbids, then wait for what threads are writing."""
        disk = plan.disk
        victims = {itl.nexus for itl in plan.abort}
        session = task.connection.session
        assert session is not None
        aborted = self._manager.abort(
            session, lambda s, t: t is not task and s.nexus in victims and unit_of(s, t) is disk
        )
        self._manager.announce_windows(aborted - {session})
        for other in self._sessions():
            for each in other.tasks.values():
                under_way = each is not task and may_write(other, each, disk)
                if under_way and device_server.conflicts(other.nexus, disk, each.cdb):
                    refuse(each, Status.RESERVATION_CONFLICT)
        for run, done_for in self._runs.items():  # in the background no task is left
            if done_for is not None and run.writes(disk):
                nexus, cdb = done_for
                if device_server.conflicts(nexus, disk, cdb):
                    run.abandon()
        # As a reader: it is what writes that has to end, and no block changes.
        everything = [(0, disk.blocks << disk.shift, False)]
        io = self.io_of(disk)

        def wait(then: Plan) -> None:
            def granted() -> None:
                io.give_back(everything)
                self._touch(task.connection)
                if not task.aborted:
                    self._carry_out(task, then, taken)

            io.claim(everything, granted)

        if isinstance(plan.then, Keep):  # first: others see the change, whatever becomes of this command
            self._keep_then(plan.then, wait)
        else:
            wait(plan.then)

    def _keep_then_reply(self, task: Task, plan: Keep) -> None:
        """Acknowledge what is in stable storage."""

        def done(reply: Reply) -> None:
            self._touch(task.connection)
            if not task.aborted:
                self._reply(task, reply)

        self._keep_then(plan, done)

    def _keep_then(self, plan: Keep, done: Callable[[Reply], None]) -> None:
        """Write down what is kept; the reply says whether that went well."""

        def kept(error: Exception | None) -> None:
            done(plan.reply if error is None else _NOT_KEPT.reply(plan.disk.descriptor_sense))

        self._keep(plan.disk, kept)
