"""A disk's blocks in memory, for work that a command plans, and a host that has such work done."""

from __future__ import annotations

from collections.abc import Iterator

from scsi_initiator import Path, Sense, parse_sense

from mpxtarget.scsi.plan import Abandoned, Keep, Reply, TakeData, WorkOnBlocks
from mpxtarget.scsi.sense import CheckCondition


class Ram:
    """A `Medium`. What is not `mapped` takes no space, and costs none here: what is written is all it keeps.

    `log` tells what was done; `patience` is after how many calls nobody waits any more.
    """

    def __init__(self, size: int = 1 << 30, *, mapped: list[tuple[int, int]] | None = None) -> None:
        self.size = size
        self.mapped = [] if mapped is None else mapped
        self.written: list[tuple[int, bytes]] = []
        self.log: list[tuple[str, int, int]] = []
        self.patience = 1 << 30

    def _note(self, what: str, offset: int, length: int) -> None:
        assert 0 <= offset <= offset + length <= self.size
        self.patience -= 1
        if self.patience < 0:
            raise Abandoned
        self.log.append((what, offset, length))

    def _bytes(self, offset: int, length: int) -> bytearray:
        found = bytearray(length)
        for at, data in self.written:
            start, end = max(at, offset), min(at + len(data), offset + length)
            if start < end:
                found[start - offset : end - offset] = data[start - at : end - at]
        return found

    def read(self, offset: int, length: int) -> bytes:
        self._note("read", offset, length)
        return bytes(self._bytes(offset, length))

    def write(self, offset: int, data: bytes | memoryview) -> None:
        self._note("write", offset, len(data))
        self.written.append((offset, bytes(data)))

    def write_whole(self, offset: int, data: bytes | memoryview) -> None:
        self._note("write whole", offset, len(data))
        self.written.append((offset, bytes(data)))

    def zero(self, offset: int, length: int) -> None:
        self._note("zero", offset, length)
        self.written = [
            (at, data) for at, data in self.written if not offset <= at < at + len(data) <= offset + length
        ]

    def flush(self) -> None:
        self._note("flush", 0, 0)

    def runs(self, offset: int, length: int) -> Iterator[tuple[int, int, bool]]:
        self._note("runs", offset, length)
        at, end = offset, offset + length
        for start, size in self.mapped:
            first, last = max(start, at), min(start + size, end)
            if first >= last:
                continue
            if at < first:
                yield at, first - at, False
            yield first, last - first, True
            at = last
        if at < end:
            yield at, end - at, False

    def done(self, what: str) -> list[tuple[int, int]]:
        """The ranges that something was done to, in order."""
        return [(offset, length) for each, offset, length in self.log if each == what]


def carry_out(path: Path, cdb: str, medium: Ram, data: bytes = b"") -> Reply:
    """A command from its CDB to its reply, on this medium."""
    plan = path.plan(cdb)
    if isinstance(plan, TakeData):
        assert plan.length == len(data) or (plan.unit and len(data) % plan.unit == 0)
        plan = plan.then(data)
    if isinstance(plan, WorkOnBlocks):
        (disk,) = {extent.disk for extent in plan.extents}
        reply: Reply | None
        try:
            reply = plan.work({disk: medium})
        except CheckCondition as fault:
            reply = fault.sense.reply(disk.descriptor_sense)
        except Abandoned:
            reply = None
        outcome = plan.finished(reply)
        assert outcome is not None, "abandoned"
        return outcome.reply if isinstance(outcome, Keep) else outcome
    if isinstance(plan, Keep):
        plan = plan.reply
    assert isinstance(plan, Reply), plan
    return plan


def sense_of(path: Path, cdb: str, medium: Ram, data: bytes = b"") -> Sense:
    """The same for a command that has to end with CHECK CONDITION."""
    reply = carry_out(path, cdb, medium, data)
    assert reply.status == 2, reply
    return parse_sense(reply.sense)


def changed(path: Path, cdb: str, data: bytes = b"") -> list[tuple[int, int]]:
    """The ranges that the work of a command may change: (offset, length)."""
    plan = path.plan(cdb)
    if isinstance(plan, TakeData):
        plan = plan.then(data)
    assert isinstance(plan, WorkOnBlocks), plan
    return [(extent.offset, extent.length) for extent in plan.extents if extent.writing]
