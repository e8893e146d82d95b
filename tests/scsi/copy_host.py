"""A host that has disks copy: sends third-party copy commands to an array whose disks are bytes in memory."""

from __future__ import annotations

import errno
import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from scsi_initiator import NAA, Array, Path, Sense, identity, make_disk, parse_sense

from mpxtarget.scsi.logical_unit import Disk
from mpxtarget.scsi.plan import Plan, Reply, TakeData, WorkOnBlocks
from support.copies import Status, copy_in_lid4, parse_status

BLOCKS = 4096
SECOND_NAA = bytes.fromhex("600508b40006d7da0001a00004750000")
THIRD_NAA = bytes.fromhex("600508b40006d7da0001a00004760000")


class Bytes:
    """The blocks of a disk, as a `Medium`. `bad`: reading or writing this byte fails with EIO."""

    def __init__(self, disk: Disk) -> None:
        self.content = bytearray(disk.blocks * disk.block_size)
        self.bad: int | None = None
        self.longest = 0
        self.flushes = 0

    def _touch(self, offset: int, length: int) -> None:
        self.longest = max(self.longest, length)
        if self.bad is not None and offset <= self.bad < offset + length:
            raise OSError(errno.EIO, "bad block")

    def read(self, offset: int, length: int) -> bytes:
        self._touch(offset, length)
        return bytes(self.content[offset : offset + length])

    def write(self, offset: int, data: bytes | memoryview) -> None:
        self._touch(offset, len(data))
        self.content[offset : offset + len(data)] = data

    def zero(self, offset: int, length: int) -> None:
        self._touch(offset, length)
        self.content[offset : offset + length] = bytes(length)

    def flush(self) -> None:
        self.flushes += 1

    def runs(self, offset: int, length: int) -> Iterator[tuple[int, int, bool]]:
        yield offset, length, True


@dataclass
class CopyHost:
    """A path to an array with three disks: LUN 1 and 2 have blocks of 512 bytes, LUN 3 of 4096."""

    array: Array = field(default_factory=lambda: Array(_disks()))
    time: float = 1000.0

    def __post_init__(self) -> None:
        self.array.device.set_clock(lambda: self.time)
        self.array.device.entropy = random.Random(1).randbytes
        self.path = self.array.path()
        self.media = {disk: Bytes(disk) for disk in self.array.disks.values()}
        for seed, medium in enumerate(self.media.values()):
            medium.content[:] = random.Random(seed).randbytes(len(medium.content))

    def disk(self, lun: int) -> Disk:
        """The disk behind a LUN."""
        return self.array.disks[lun]

    def medium(self, lun: int) -> Bytes:
        """The blocks of the disk behind a LUN."""
        return self.media[self.disk(lun)]

    def blocks(self, lun: int, lba: int, count: int) -> bytes:
        """What is in some blocks."""
        size = self.disk(lun).block_size
        return bytes(self.medium(lun).content[lba * size : (lba + count) * size])

    def plan(self, cdb: bytes, data: bytes = b"", lun: int = 1, path: Path | None = None) -> Plan:
        """Send a command; what it comes to once it has its data."""
        plan = (path or self.path).plan(cdb.hex(), lun)
        if isinstance(plan, TakeData):
            plan = plan.then(data[: plan.length])
        return plan

    def carry_out(self, plan: Plan) -> Reply:
        """Do the work, as the executor would, and tell the disks what changes."""
        if isinstance(plan, WorkOnBlocks):
            for extent in plan.extents:
                assert extent.offset >= 0 and extent.length > 0
                assert extent.offset + extent.length <= extent.disk.blocks << extent.disk.shift
                if extent.writing:
                    extent.disk.changing(extent.offset, extent.offset + extent.length)
            reply = plan.finished(plan.work(self.media))
            return Reply(0) if plan.immediate else _not_none(reply)
        assert isinstance(plan, Reply), plan
        return plan

    def send(self, cdb: bytes, data: bytes = b"", lun: int = 1, path: Path | None = None) -> Reply:
        """Send a command, from its CDB to its status."""
        return self.carry_out(self.plan(cdb, data, lun, path))

    def good(self, cdb: bytes, data: bytes = b"", lun: int = 1, path: Path | None = None) -> bytes:
        """Send a command that has to end with GOOD; its Data-In."""
        reply = self.send(cdb, data, lun, path)
        assert reply.status == 0, parse_sense(reply.sense)
        return reply.data

    def refused(self, cdb: bytes, data: bytes = b"", lun: int = 1, path: Path | None = None) -> Sense:
        """Send a command that has to end with CHECK CONDITION; its sense data."""
        reply = self.send(cdb, data, lun, path)
        assert reply.status == 2, reply
        return parse_sense(reply.sense)

    def status(self, list_identifier: int, action: int = 0x05, lun: int = 1) -> Status:
        """RECEIVE COPY STATUS(LID4), or RECEIVE ROD TOKEN INFORMATION."""
        return parse_status(self.good(copy_in_lid4(action, list_identifier), lun=lun))


def _not_none(reply: Reply | None) -> Reply:
    assert reply is not None
    return reply


def _disks() -> dict[int, Disk]:
    return {
        1: make_disk(blocks=BLOCKS, identity=replace(identity(), naa=NAA)),
        2: make_disk(blocks=BLOCKS, identity=replace(identity(), naa=SECOND_NAA)),
        3: make_disk(blocks=BLOCKS // 8, block_size=4096, identity=replace(identity(), naa=THIRD_NAA)),
    }
