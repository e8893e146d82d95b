"""The commands that look at what they change: COMPARE AND WRITE, ORWRITE, WRITE AND VERIFY.

Reading and writing are one piece of work, which nobody else's I/O to these blocks comes between, on whichever
path it is (SBC-3 5.2, 5.13).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from mpxtarget.scsi.block import (
    CDB_16,
    Layout,
    check_protection,
    check_range,
    check_transfer,
    is_durable,
    miscompare,
)
from mpxtarget.scsi.block_limits import block_limits
from mpxtarget.scsi.pieces import first_difference, pieces
from mpxtarget.scsi.plan import GOOD, Extent, Medium, Plan, Reply, WorkOnBlocks
from mpxtarget.scsi.sense import invalid_field_in_cdb, write_protected

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mpxtarget.scsi.command import Call
    from mpxtarget.scsi.logical_unit import Disk

_CAW_COUNT_BYTE = 13

_BYTCHK_SHIFT = 1
_BYTCHK_MEDIUM_ONLY = 0b00
_BYTCHK_ALL = 0b01


def compare_and_write(call: Call) -> Plan:
    """COMPARE AND WRITE: the first half of the Data-Out is what has to be there, the second what comes
    there (SBC-3 5.2).
    """
    disk = call.disk
    flags, lba, count = CDB_16.unpack(call.cdb)
    check_protection(flags)
    if count > block_limits(disk).maximum_compare_and_write_length:
        raise invalid_field_in_cdb(_CAW_COUNT_BYTE)
    if disk.write_protected:
        raise write_protected()
    check_range(disk, lba, count)
    offset, length = lba << disk.shift, count << disk.shift
    durable = is_durable(disk, flags)

    def work(data: bytes, medium: Medium) -> Reply:
        view = memoryview(data)
        at = first_difference(medium, offset, view[:length])
        if at is not None:
            return miscompare(disk, at)
        medium.write(offset, view[length:])
        if durable:
            medium.flush()
        return GOOD

    # with a length of 0, a single block is not the data of a command with another length
    most = 2 * length or disk.block_size
    return call.take_at_most(2 * length, partial(_on, disk, offset, length, work), most, _CAW_COUNT_BYTE)


def orwrite(call: Call) -> Plan:
    """ORWRITE(16): every bit that is set in the Data-Out is set (SBC-3 5.13)."""
    disk = call.disk
    flags, lba, count = CDB_16.unpack(call.cdb)
    check_transfer(disk, CDB_16, flags, count)
    if disk.write_protected:
        raise write_protected()
    check_range(disk, lba, count)
    if count == 0:
        return GOOD
    start, length = lba << disk.shift, count << disk.shift
    durable = is_durable(disk, flags)

    def work(data: bytes, medium: Medium) -> Reply:
        for at, size in pieces(0, len(data)):
            there = int.from_bytes(medium.read(start + at, size), "big")
            both = there | int.from_bytes(data[at : at + size], "big")
            medium.write(start + at, both.to_bytes(size, "big"))
        if durable:
            medium.flush()
        return GOOD

    return call.take(length, partial(_on, disk, start, length, work), unit=disk.block_size)


def write_and_verify(layout: Layout, call: Call) -> Plan:
    """WRITE AND VERIFY(10), (12), (16): written to stable storage, then read; with BYTCHK compared, too
    (SBC-3 5.36).
    """
    disk = call.disk
    flags, lba, count = layout.unpack(call.cdb)
    check = flags >> _BYTCHK_SHIFT & 0b11
    if check not in (_BYTCHK_MEDIUM_ONLY, _BYTCHK_ALL):
        raise invalid_field_in_cdb(1, 2)
    check_transfer(disk, layout, flags, count)
    if disk.write_protected:
        raise write_protected()
    check_range(disk, lba, count)
    if count == 0:
        return GOOD
    start, length = lba << disk.shift, count << disk.shift

    def work(data: bytes, medium: Medium) -> Reply:
        view = memoryview(data)
        for at, size in pieces(0, len(data)):
            medium.write(start + at, view[at : at + size])
        medium.flush()
        if check == _BYTCHK_ALL:
            unequal = first_difference(medium, start, view)
            return GOOD if unequal is None else miscompare(disk, unequal)
        for at, size in pieces(start, len(data)):
            medium.read(at, size)
        return GOOD

    return call.take(length, partial(_on, disk, start, length, work), unit=disk.block_size)


def _on(
    disk: Disk, offset: int, length: int, work: Callable[[bytes, Medium], Reply], _: Call, data: bytes
) -> Plan:
    """`work` with the Data-Out, on the blocks that it changes."""
    if not data:
        return GOOD
    check_range(disk, offset >> disk.shift, length >> disk.shift)  # it may have become smaller meanwhile

    def run(media: Mapping[Disk, Medium]) -> Reply:
        return work(data, media[disk])

    return WorkOnBlocks((Extent(disk, offset, length, writing=True),), run)
