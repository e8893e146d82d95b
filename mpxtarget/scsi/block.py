"""Block commands (SBC-3 clause 5): capacity, reading, writing, verifying, flushing, starting and
stopping.

Checks follow one order: fields of the CDB, transfer length, write protection, address range.  LBA arithmetic
is done in Python's integers, so nothing wraps.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from construct import BitsInteger, BitStruct, Default, Flag, Int32ub, Int64ub, Nibble, Padding, Struct

from mpxtarget.scsi.block_limits import block_limits
from mpxtarget.scsi.codes import Asc, SenseKey, Status
from mpxtarget.scsi.pieces import pieces
from mpxtarget.scsi.plan import (
    GOOD,
    CompareBlocks,
    Extent,
    Flush,
    Medium,
    Plan,
    ReadBlocks,
    Reply,
    WorkOnBlocks,
    WriteBlocks,
    data_in,
)
from mpxtarget.scsi.sense import (
    SenseData,
    block_address_out_of_range,
    invalid_field_in_cdb,
    write_protected,
)

if TYPE_CHECKING:
    from mpxtarget.scsi.command import Call
    from mpxtarget.scsi.logical_unit import Disk

_CDB_6 = struct.Struct(">I")
_CDB_10 = struct.Struct(">xBIxH")
_CDB_12 = struct.Struct(">xBII")
_CDB_16 = struct.Struct(">xBQI")

_LONG = 0xFFFF_FFFF

_PROTECT = 0xE0
_FUA = 0x08
_IMMED = 0x02

_BYTCHK_SHIFT = 1
_BYTCHK_MEDIUM_ONLY = 0b00
_BYTCHK_ALL = 0b01
_BYTCHK_RESERVED = 0b10


def _unpack_6(cdb: bytes) -> tuple[int, int, int]:
    word = _CDB_6.unpack_from(cdb)[0]
    # READ(6) and WRITE(6): 21 bits of LBA, and a length of 0 means 256 (SBC-3 5.7)
    return 0, word & 0x1F_FFFF, cdb[4] or 256


def _unpack_10(cdb: bytes) -> tuple[int, int, int]:
    flags, lba, count = _CDB_10.unpack_from(cdb)
    return flags, lba, count


def _unpack_12(cdb: bytes) -> tuple[int, int, int]:
    flags, lba, count = _CDB_12.unpack_from(cdb)
    return flags, lba, count


def _unpack_16(cdb: bytes) -> tuple[int, int, int]:
    flags, lba, count = _CDB_16.unpack_from(cdb)
    return flags, lba, count


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a CDB of one length keeps what block commands share: byte 1, LBA, number of blocks."""

    unpack: Callable[[bytes], tuple[int, int, int]]
    count_byte: int


CDB_6 = Layout(_unpack_6, 4)
CDB_10 = Layout(_unpack_10, 7)
CDB_12 = Layout(_unpack_12, 6)
CDB_16 = Layout(_unpack_16, 10)


def check_range(disk: Disk, lba: int, count: int) -> None:
    """Raise LOGICAL BLOCK ADDRESS OUT OF RANGE, with the first address that does not exist."""
    if lba >= disk.blocks:
        raise block_address_out_of_range(lba)
    if lba + count > disk.blocks:
        raise block_address_out_of_range(disk.blocks)


def check_protection(flags: int) -> None:
    """There is no protection information (SBC-3 4.22): RDPROTECT, WRPROTECT, VRPROTECT and ORPROTECT are
    0.
    """
    if flags & _PROTECT:
        raise invalid_field_in_cdb(1, 7)


def check_transfer(disk: Disk, layout: Layout, flags: int, count: int) -> None:
    """Raise INVALID FIELD IN CDB for protection information, and for more than MAXIMUM TRANSFER LENGTH."""
    check_protection(flags)
    if count > disk.maximum_transfer_blocks:
        raise invalid_field_in_cdb(layout.count_byte)


def read(layout: Layout, call: Call) -> Plan:
    """READ(6), (10), (12), (16)."""
    disk = call.disk
    flags, lba, count = layout.unpack(call.cdb)
    check_transfer(disk, layout, flags, count)
    check_range(disk, lba, count)
    if count == 0:
        return GOOD
    return ReadBlocks(disk, lba << disk.shift, count << disk.shift, bool(flags & _FUA))


def write(layout: Layout, call: Call) -> Plan:
    """WRITE(6), (10), (12), (16)."""
    disk = call.disk
    flags, lba, count = layout.unpack(call.cdb)
    check_transfer(disk, layout, flags, count)
    if disk.write_protected:
        raise write_protected()
    check_range(disk, lba, count)
    if count == 0:
        return GOOD
    return WriteBlocks(disk, lba << disk.shift, count << disk.shift, is_durable(disk, flags))


def write_atomic(call: Call) -> Plan:
    """WRITE ATOMIC(16): all or nothing, within the limits of VPD page B0h, and in stable storage (SBC-4
    5.48). There are no atomic boundaries inside of it.
    """
    disk = call.disk
    flags, lba, count = CDB_16.unpack(call.cdb)
    boundary, count = count >> 16, count & 0xFFFF
    limits = block_limits(disk)
    check_protection(flags)
    if boundary:
        raise invalid_field_in_cdb(10)
    if disk.write_protected:
        raise write_protected()
    check_range(disk, lba, count)
    if lba % limits.atomic_alignment:
        raise invalid_field_in_cdb(2)
    if count % limits.atomic_transfer_length_granularity or count > limits.maximum_atomic_transfer_length:
        raise invalid_field_in_cdb(12)
    if count == 0:
        return GOOD
    offset, length = lba << disk.shift, count << disk.shift

    def go_on(_: Call, data: bytes) -> Plan:
        check_range(disk, lba, count)  # it may have become smaller meanwhile

        def work(media: Mapping[Disk, Medium]) -> Reply:
            media[disk].write_whole(offset, data)
            return GOOD

        return WorkOnBlocks((Extent(disk, offset, length, writing=True),), work)

    return call.take(length, go_on)


def is_durable(disk: Disk, flags: int = 0) -> bool:
    """Whether what a command writes is in stable storage before GOOD: FUA, or the write cache is off."""
    return bool(flags & _FUA) or not disk.mode.write_cache_enable


def verify(layout: Layout, call: Call) -> Plan:
    """VERIFY(10), (12), (16): that blocks can be read, and with BYTCHK that they equal the Data-Out."""
    disk = call.disk
    flags, lba, count = layout.unpack(call.cdb)
    check = flags >> _BYTCHK_SHIFT & 0b11
    if check == _BYTCHK_RESERVED:
        raise invalid_field_in_cdb(1, 2)
    check_transfer(disk, layout, flags, count)
    check_range(disk, lba, count)
    if count == 0:
        return GOOD
    offset, length = lba << disk.shift, count << disk.shift
    disk.statistics.verified_bytes += length
    if check == _BYTCHK_MEDIUM_ONLY:
        return CompareBlocks(disk, offset, None, length, partial(miscompare, disk))
    return call.take(
        length if check == _BYTCHK_ALL else disk.block_size,
        lambda _, data: CompareBlocks(disk, offset, data, length, partial(miscompare, disk)),
    )


def miscompare(disk: Disk, at: int) -> Reply:
    """E/1D/00; `at` is the offset of the first byte that is not equal (SBC-3 5.2)."""
    sense = SenseData(SenseKey.MISCOMPARE, Asc.MISCOMPARE_DURING_VERIFY_OPERATION, information=at)
    return sense.reply(disk.descriptor_sense)


def synchronize_cache(layout: Layout, call: Call) -> Plan:
    """SYNCHRONIZE CACHE(10), (16).  A NUMBER OF BLOCKS of 0 means up to the last one (SBC-3 5.22)."""
    disk = call.disk
    flags, lba, count = layout.unpack(call.cdb)
    check_range(disk, lba, count)
    count = count or disk.blocks - lba
    return Flush(disk, lba << disk.shift, count << disk.shift, bool(flags & _IMMED))


def prefetch(layout: Layout, call: Call) -> Plan:
    """PRE-FETCH(10), (16): the blocks are read into the cache (SBC-3 5.8).

    CONDITION MET says that all of them were. With a length of 0, up to the last block, there may be more of
    them than MAXIMUM PREFETCH LENGTH: as many are read, and the status is GOOD.
    """
    disk = call.disk
    flags, lba, count = layout.unpack(call.cdb)
    limit = block_limits(disk).maximum_prefetch_length
    if count > limit:
        raise invalid_field_in_cdb(layout.count_byte)
    check_range(disk, lba, count)
    wanted = count or disk.blocks - lba
    offset, length = lba << disk.shift, min(wanted, limit) << disk.shift
    status = Status.CONDITION_MET if wanted <= limit else Status.GOOD

    def work(media: Mapping[Disk, Medium]) -> Reply:
        for at, size in pieces(offset, length):
            media[disk].read(at, size)
        return Reply(status)

    extent = Extent(disk, offset, length, writing=False)
    return WorkOnBlocks((extent,), work, immediate=bool(flags & _IMMED))


def read_capacity_10(call: Call) -> Plan:
    """READ CAPACITY(10): the last LBA, or FFFFFFFFh if (16) is needed to tell it."""
    _, lba, _ = _unpack_10(call.cdb)
    if lba and not call.cdb[8] & 0x01:
        # PMI 0 (SBC-2 5.10)
        raise invalid_field_in_cdb(2)
    disk = call.disk
    return Reply(0, struct.pack(">II", min(disk.blocks - 1, _LONG), disk.block_size))


READ_CAPACITY_16 = Struct(
    "last_lba" / Int64ub,
    "block_length" / Int32ub,
    "protection"
    / BitStruct(Padding(4), "p_type" / Default(BitsInteger(3), 0), "prot_en" / Default(Flag, False)),
    "exponents" / BitStruct("p_i_exponent" / Default(Nibble, 0), "lbppbe" / Default(Nibble, 0)),
    "provisioning"
    / BitStruct(
        "lbpme" / Default(Flag, False),
        "lbprz" / Default(Flag, False),
        "lowest_aligned_lba" / Default(BitsInteger(14), 0),
    ),
    Padding(16),
)


def read_capacity_16(call: Call) -> Plan:
    """READ CAPACITY(16) (SBC-3 5.16)."""
    _, lba, allocation_length = _unpack_16(call.cdb)
    if lba and not call.cdb[14] & 0x01:
        raise invalid_field_in_cdb(2)
    disk = call.disk
    return data_in(_capacity_16(disk.blocks, disk.block_size, disk.is_thin), allocation_length)


@lru_cache(maxsize=256)
def _capacity_16(blocks: int, block_size: int, thin: bool) -> bytes:
    return bytes(
        READ_CAPACITY_16.build(
            {
                "last_lba": blocks - 1,
                "block_length": block_size,
                "protection": {},
                "exponents": {},
                "provisioning": {"lbpme": thin, "lbprz": thin},
            }
        )
    )


_START = 0x01
_LOEJ = 0x02
_NO_FLUSH = 0x04

_START_VALID = 0x0
_POWER_CONDITIONS = frozenset({0x1, 0x2, 0x3, 0x7, 0xA, 0xB})


def start_stop_unit(call: Call) -> Plan:
    """START STOP UNIT (SBC-3 5.25).

    Idle and standby are not told apart from active: commands are processed in them all the same.
    """
    disk = call.disk
    flags = call.cdb[4]
    condition = flags >> 4
    if condition != _START_VALID:
        if condition not in _POWER_CONDITIONS:
            raise invalid_field_in_cdb(4, 7)
        disk.start()
        return GOOD
    if flags & _LOEJ:
        # the medium cannot be removed
        raise invalid_field_in_cdb(4, 1)
    if flags & _START:
        disk.start()
        return GOOD
    disk.stop()
    if flags & _NO_FLUSH:
        return GOOD
    return Flush(disk, 0, disk.blocks << disk.shift, bool(call.cdb[1] & 0x01))
