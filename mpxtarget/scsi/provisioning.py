"""Logical block provisioning (SBC-3 4.7): UNMAP, WRITE SAME, GET LBA STATUS.

Disks are thin: a block that reads as zeros needs no space. UNMAP, and WRITE SAME with nothing but zeros, give
the space of what they span back where the store can, which takes no time for what has none. Blocks without
space read as zeros (LBPRZ 1), always: a store that cannot give space back writes zeros.

A disk whose personality has no UNMAP is fully provisioned: no bit says otherwise, UNMAP in WRITE SAME is
refused, and every block is mapped.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

from construct import (
    BitStruct,
    Const,
    GreedyRange,
    Int32ub,
    Int64ub,
    Nibble,
    Padding,
    Prefixed,
    Struct,
)

from mpxtarget.scsi.block import CDB_16, Layout, check_protection, check_range, is_durable
from mpxtarget.scsi.block_limits import block_limits
from mpxtarget.scsi.codes import Asc
from mpxtarget.scsi.pieces import fill
from mpxtarget.scsi.plan import GOOD, Extent, Medium, Plan, Reply, WorkOnBlocks, data_in
from mpxtarget.scsi.sense import (
    block_address_out_of_range,
    illegal_request,
    invalid_field_in_cdb,
    invalid_field_in_parameter_list,
    write_protected,
)

if TYPE_CHECKING:
    from mpxtarget.scsi.command import Call
    from mpxtarget.scsi.logical_unit import Disk

# -- UNMAP -------------------------------------------------------------------------------------------------

UNMAP_HEADER: Final = struct.Struct(">HH4x")
UNMAP_DESCRIPTOR: Final = struct.Struct(">QI4x")


def unmap(call: Call) -> Plan:
    """UNMAP (SBC-3 5.28). All descriptors are checked before anything is unmapped."""
    if call.cdb[1] & 0x01:
        raise invalid_field_in_cdb(1, 0)  # ANCHOR: no block is ever anchored
    if call.disk.write_protected:
        raise write_protected()
    length = int.from_bytes(call.cdb[7:9], "big")
    if length == 0:
        return GOOD
    if length < UNMAP_HEADER.size:
        raise illegal_request(Asc.PARAMETER_LIST_LENGTH_ERROR)
    return call.take(length, _unmap)


def _unmap(call: Call, data: bytes) -> Plan:
    disk = call.disk
    _, described = UNMAP_HEADER.unpack_from(data)
    if UNMAP_HEADER.size + described > len(data):
        raise illegal_request(Asc.PARAMETER_LIST_LENGTH_ERROR)
    limits = block_limits(disk)
    count = described // UNMAP_DESCRIPTOR.size  # what is left over is no descriptor
    if count > limits.maximum_unmap_block_descriptor_count:
        raise invalid_field_in_parameter_list(2)
    ranges: list[tuple[int, int]] = []
    for index in range(count):
        lba, blocks = UNMAP_DESCRIPTOR.unpack_from(data, UNMAP_HEADER.size + index * UNMAP_DESCRIPTOR.size)
        if blocks:
            check_range(disk, lba, blocks)
            ranges.append((lba << disk.shift, blocks << disk.shift))
    if sum(length for _, length in ranges) >> disk.shift > limits.maximum_unmap_lba_count:
        raise invalid_field_in_parameter_list(UNMAP_HEADER.size + 8)
    if not ranges:
        return GOOD
    return _zero(disk, tuple(_united(ranges)), durable=is_durable(disk))


def _united(ranges: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """The same bytes as ranges that are in order and do not touch."""
    ranges.sort()
    start, end = ranges[0][0], 0
    for offset, length in ranges:
        if offset > end > 0:
            yield start, end - start
            start = offset
        end = max(end, offset + length)
    yield start, end - start


def _zero(disk: Disk, ranges: tuple[tuple[int, int], ...], *, durable: bool) -> WorkOnBlocks:
    def work(media: Mapping[Disk, Medium]) -> Reply:
        for offset, length in ranges:
            media[disk].zero(offset, length)
        if durable:
            media[disk].flush()
        return GOOD

    return WorkOnBlocks(tuple(Extent(disk, *each, writing=True) for each in ranges), work)


# -- WRITE SAME --------------------------------------------------------------------------------------------

_ANCHOR = 0x10
_UNMAP = 0x08
_NDOB = 0x01


def write_same(layout: Layout, call: Call) -> Plan:
    """WRITE SAME(10), (16): one logical block of Data-Out, none with NDOB, to many (SBC-3 5.43).

    A NUMBER OF LOGICAL BLOCKS of 0 means up to the last one (WSNZ 0). With UNMAP the blocks are unmapped, so
    they read as zeros, whatever the Data-Out is: hosts send zeros with it, and look for zeros. Without it
    zeros are not written but unmapped all the same, as a thin disk may do at any time (SBC-3 4.7.4.6).
    """
    disk = call.disk
    flags, lba, count = layout.unpack(call.cdb)
    check_protection(flags)
    if flags & _ANCHOR:
        raise invalid_field_in_cdb(1, 4)
    if flags & _UNMAP and not disk.is_thin:
        raise invalid_field_in_cdb(1, 3)
    if disk.write_protected:
        raise write_protected()
    check_range(disk, lba, count)
    count = count or disk.blocks - lba
    if count > block_limits(disk).maximum_write_same_length:
        raise invalid_field_in_cdb(layout.count_byte)
    offset, length = lba << disk.shift, count << disk.shift
    if flags & _NDOB:
        return _zero(disk, ((offset, length),), durable=is_durable(disk))
    block = disk.block_size
    return call.take_at_most(
        block, partial(_write_same, offset, length, bool(flags & _UNMAP)), block, layout.count_byte
    )


def _write_same(offset: int, length: int, unmaps: bool, call: Call, block: bytes) -> Plan:
    disk = call.disk
    if offset + length > disk.blocks << disk.shift:
        raise block_address_out_of_range(disk.blocks)  # it has become smaller meanwhile
    durable = is_durable(disk)
    if unmaps or not any(block):
        return _zero(disk, ((offset, length),), durable=durable)

    def work(media: Mapping[Disk, Medium]) -> Reply:
        fill(media[disk], offset, length, block)
        if durable:
            media[disk].flush()
        return GOOD

    return WorkOnBlocks((Extent(disk, offset, length, writing=True),), work)


# -- GET LBA STATUS ----------------------------------------------------------------------------------------

_MAPPED, _DEALLOCATED = 0x0, 0x1

# REPORT TYPE (SBC-4 5.7): which provisioning states are asked for. Nothing is ever anchored (04h), and no
# block is known to be unreadable before it was read (10h).
_REPORT_TYPES: Final[dict[int, frozenset[int]]] = {
    0x00: frozenset({_MAPPED, _DEALLOCATED}),
    0x01: frozenset({_DEALLOCATED}),
    0x02: frozenset({_MAPPED}),
    0x03: frozenset({_DEALLOCATED}),
    0x04: frozenset(),
    0x10: frozenset(),
}

_MOST_DESCRIPTORS = 1024
_MOST_PIECES = 65536
_MOST_BLOCKS = 0xFFFF_FFFF

LBA_STATUS = Prefixed(
    Int32ub,
    Struct(
        "reserved" / Const(bytes(4)),
        "descriptors"
        / GreedyRange(
            Struct(
                "lba" / Int64ub,
                "blocks" / Int32ub,
                "status" / BitStruct(Padding(4), "provisioning" / Nibble),
                Padding(3),
            )
        ),
    ),
)
_DESCRIPTOR_LENGTH = 16
_HEADER_LENGTH = 8


class _Run(NamedTuple):
    """Neighbouring blocks, in bytes, and their PROVISIONING STATUS."""

    offset: int
    length: int
    status: int


def get_lba_status(call: Call) -> Plan:
    """GET LBA STATUS (SBC-3 5.4): which blocks from an address on take space, as far as the initiator has
    room for the answer.
    """
    disk = call.disk
    _, lba, allocation_length = CDB_16.unpack(call.cdb)
    wanted = _REPORT_TYPES.get(call.cdb[14])
    if wanted is None:
        raise invalid_field_in_cdb(14)
    check_range(disk, lba, 1)
    room = max(1, min((allocation_length - _HEADER_LENGTH) // _DESCRIPTOR_LENGTH, _MOST_DESCRIPTORS))
    start, length = lba << disk.shift, disk.blocks - lba << disk.shift

    def reply(runs: Iterator[_Run]) -> Reply:
        told = islice((run for run in runs if run.status in wanted), room)
        return data_in(_lba_status(disk, told), allocation_length)

    if not disk.is_thin:
        return reply(_in_descriptors(disk, iter((_Run(start, length, _MAPPED),))))

    def work(media: Mapping[Disk, Medium]) -> Reply:
        return reply(_in_descriptors(disk, _runs(disk, media[disk], start, length)))

    return WorkOnBlocks((Extent(disk, start, length, writing=False),), work)


def _runs(disk: Disk, medium: Medium, start: int, length: int) -> Iterator[_Run]:
    """What the medium says, in whole blocks, neighbours of one kind united.

    A block of which a part takes space is mapped.
    """
    below = disk.block_size - 1
    current = _Run(start, 0, _MAPPED)
    for offset, size, allocated in islice(medium.runs(start, length), _MOST_PIECES):
        end = offset + size
        end = end + below & ~below if allocated else end & ~below
        at = current.offset + current.length
        if end <= at:
            continue
        status = _MAPPED if allocated else _DEALLOCATED
        if status == current.status:
            current = current._replace(length=end - current.offset)
        else:
            if current.length:
                yield current
            current = _Run(at, end - at, status)
    if current.length:
        yield current


def _in_descriptors(disk: Disk, runs: Iterator[_Run]) -> Iterator[_Run]:
    """The same runs, none of them longer than a descriptor can say."""
    most = _MOST_BLOCKS << disk.shift
    for offset, length, status in runs:
        for at in range(offset, offset + length, most):
            yield _Run(at, min(most, offset + length - at), status)


def _lba_status(disk: Disk, runs: Iterator[_Run]) -> bytes:
    descriptors = [
        {
            "lba": run.offset >> disk.shift,
            "blocks": run.length >> disk.shift,
            "status": {"provisioning": run.status},
        }
        for run in runs
    ]
    return bytes(LBA_STATUS.build({"reserved": bytes(4), "descriptors": descriptors}))
