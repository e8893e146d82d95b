"""POPULATE TOKEN, WRITE USING TOKEN and REPORT ALL ROD TOKENS (SBC-3 5.7, 5.46, SPC-4 6.31).

POPULATE TOKEN copies nothing. It waits for writes to its ranges that are under way, so that the token stands
for what they leave behind; the token watches its disk from before that, so nothing slips through.

Whoever has a token may write what it stands for to any disk he may write to, as long as he reaches the disk
the token was made of: the command reads it in his name. The block device zero ROD token needs no making.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import combinations, pairwise
from typing import TYPE_CHECKING, Any, Final

from mpxtarget.scsi.codes import Asc
from mpxtarget.scsi.copy import layouts, limits
from mpxtarget.scsi.copy.access import reaches, refusal
from mpxtarget.scsi.copy.manager import COPY_ABORTED, Copy
from mpxtarget.scsi.copy.tokens import (
    BLOCK_DEVICE_ZERO,
    LENGTH_FIELD,
    POINT_IN_TIME_CHANGE_VULNERABLE,
    BlockRange,
    RodToken,
)
from mpxtarget.scsi.copy.transfer import Move, extents, work
from mpxtarget.scsi.plan import GOOD, Extent, Medium, Plan, Reply, WorkOnBlocks, data_in
from mpxtarget.scsi.sense import (
    CheckCondition,
    block_address_out_of_range,
    illegal_request,
    invalid_field_in_parameter_list,
    write_protected,
)

if TYPE_CHECKING:
    from mpxtarget.scsi.command import Call
    from mpxtarget.scsi.logical_unit import Disk

_RANGE_LENGTH: Final = layouts.RANGE.sizeof()
_ZERO_TOKEN_HEAD: Final = struct.pack(">I2xH", BLOCK_DEVICE_ZERO, LENGTH_FIELD)


def populate_token(call: Call) -> Plan:
    """POPULATE TOKEN."""
    return _take(call, layouts.POPULATE_TOKEN, _populate)


def write_using_token(call: Call) -> Plan:
    """WRITE USING TOKEN."""
    if call.disk.write_protected:
        raise write_protected()
    return _take(call, layouts.WRITE_USING_TOKEN, _write)


def report_all_rod_tokens(call: Call) -> Plan:
    """REPORT ALL ROD TOKENS: their ROD management tokens, which hold nothing secret."""
    tokens = b"".join(token.data[: layouts.ROD_MANAGEMENT_TOKEN_LENGTH] for token in call.nexus.device.tokens)
    allocation_length = int.from_bytes(call.cdb[10:14], "big")
    return data_in(layouts.ALL_ROD_TOKENS.build({"tokens": tokens}), allocation_length)


def _take(call: Call, header: Any, go_on: Any) -> Plan:
    length = int.from_bytes(call.cdb[10:14], "big")
    if length == 0:
        return GOOD
    if not header.sizeof() <= length <= header.sizeof() + 0xFFFF:
        raise illegal_request(Asc.PARAMETER_LIST_LENGTH_ERROR)
    return call.take(length, go_on)


def _populate(call: Call, data: bytes) -> Plan:
    disk = call.disk
    header = layouts.POPULATE_TOKEN.parse(data)
    ranges = _ranges(disk, data, layouts.POPULATE_TOKEN, header)
    if header.inactivity_timeout > limits.MAXIMUM_INACTIVITY_TIMEOUT:
        raise invalid_field_in_parameter_list(4)
    if header.flags.rtv and header.rod_type != POINT_IN_TIME_CHANGE_VULNERABLE:
        raise invalid_field_in_parameter_list(8)
    copy = _start(call, header.flags.immed)
    tokens = call.nexus.device.tokens
    try:
        timeout = header.inactivity_timeout or limits.DEFAULT_INACTIVITY_TIMEOUT
        token = tokens.create(disk, ranges, timeout, call.nexus.initiator)
    except CheckCondition as fault:
        disk.copies.end(copy, fault.sense.reply(disk.descriptor_sense))
        raise
    tokens.use(token)

    def finished(reply: Reply | None) -> Reply | None:
        tokens.leave(token)
        if reply == GOOD:
            copy.token = token.data
            copy.transferred = token.length
        else:
            tokens.end(token, Asc.INVALID_TOKEN_OPERATION_TOKEN_DELETED)
        return disk.copies.end(copy, reply)

    read = tuple(Extent(disk, each.offset, each.length, writing=False) for each in token.ranges)
    if not read:
        finished(GOOD)
        return GOOD
    aborted = COPY_ABORTED.reply(disk.descriptor_sense)
    return WorkOnBlocks(read, lambda _: GOOD if copy.wanted else aborted, finished, header.flags.immed)


def _write(call: Call, data: bytes) -> Plan:
    disk = call.disk
    header = layouts.WRITE_USING_TOKEN.parse(data)
    ranges = _ranges(disk, data, layouts.WRITE_USING_TOKEN, header)
    if header.token[:8] == _ZERO_TOKEN_HEAD:
        moves = [Move(None, 0, disk, each.offset, each.length) for each in ranges if each.length]
        return _copy(call, header, moves, None)
    token = call.nexus.device.tokens.find(header.token)
    source = token.disk
    if not reaches(call.nexus, source) or refusal(call.nexus, source, writing=False) is not None:
        raise illegal_request(Asc.INVALID_TOKEN_OPERATION_CAUSE_NOT_REPORTABLE)
    offset = header.offset_into_rod << disk.shift
    if offset >= token.length:
        raise invalid_field_in_parameter_list(8)
    available = (token.length - offset) >> disk.shift << disk.shift
    moves = list(_moves(token, offset, available, disk, ranges))
    if any((move.source_offset | move.length) & (source.block_size - 1) for move in moves):
        # a block of the source is larger than what is asked for
        raise illegal_request(Asc.INVALID_TOKEN_OPERATION_CAUSE_NOT_REPORTABLE)
    if any(
        later.reads_from(disk, earlier.destination_offset, earlier.length)
        for earlier, later in combinations(moves, 2)
    ):
        # what a later range is to be made of would be overwritten by then
        raise invalid_field_in_parameter_list(layouts.WRITE_USING_TOKEN.sizeof())
    in_part = sum(each.length for each in ranges) > available
    return _copy(call, header, moves, token, in_part=in_part)


def _copy(
    call: Call, header: Any, moves: Sequence[Move], token: RodToken | None, *, in_part: bool = False
) -> Plan:
    disk = call.disk
    tokens = call.nexus.device.tokens
    copy = _start(call, header.flags.immed)
    copy.in_part = in_part
    if token is not None:
        tokens.use(token)

    def finished(reply: Reply | None) -> Reply | None:
        if token is not None:
            tokens.leave(token)
            if header.flags.del_tkn:
                tokens.end(token, Asc.INVALID_TOKEN_OPERATION_TOKEN_DELETED)
        return disk.copies.end(copy, reply)

    if not moves:
        finished(GOOD)
        return GOOD
    claimed, descriptor = extents(moves), disk.descriptor_sense
    copy.destinations = tuple(extent for extent in claimed if extent.writing)
    go = work(copy, moves, partial(_failed, descriptor), descriptor)

    def carry_out(media: Mapping[Disk, Medium]) -> Reply:
        # while it waited for its own disk, somebody may have changed the other, which it did not have yet
        if token is not None and token.cancelled and token.disk is not disk:
            raise illegal_request(Asc.INVALID_TOKEN_OPERATION_TOKEN_CANCELLED)
        return go(media)

    return WorkOnBlocks(claimed, carry_out, finished, header.flags.immed)


def _failed(descriptor: bool, move: Move, error: OSError, writing: bool, start: int) -> Reply:
    """A command with a token ends as a WRITE, or a READ, would (SBC-3 5.46)."""
    return move.io_failed(error, writing, start, descriptor)


def _start(call: Call, immediate: bool) -> Copy:
    copy = Copy(call.cdb[1] & 0x1F, immediate, counts_blocks=True)
    call.disk.copies.start(call.nexus, int.from_bytes(call.cdb[6:10], "big"), copy)
    return copy


def _ranges(disk: Disk, data: bytes, layout: Any, header: Any) -> list[BlockRange]:
    """The block device range descriptors of a parameter list, checked (SBC-3 5.7.3)."""
    start = layout.sizeof()
    if header.data_length + 2 < start + _RANGE_LENGTH:
        raise invalid_field_in_parameter_list(0)
    if header.ranges_length < _RANGE_LENGTH:
        raise invalid_field_in_parameter_list(start - 2)
    # descriptors that are not there as a whole are ignored
    length = min(header.ranges_length, header.data_length + 2 - start, len(data) - start)
    length -= length % _RANGE_LENGTH
    if not length:
        raise illegal_request(Asc.PARAMETER_LIST_LENGTH_ERROR)
    if length > limits.MAXIMUM_RANGES * _RANGE_LENGTH:
        raise illegal_request(Asc.TOO_MANY_SEGMENT_DESCRIPTORS)
    found = []
    for at in range(start, start + length, _RANGE_LENGTH):
        each = layouts.RANGE.parse(data[at : at + _RANGE_LENGTH])
        if each.lba >= disk.blocks or each.lba + each.blocks > disk.blocks:
            raise block_address_out_of_range(max(each.lba, disk.blocks))
        found.append(BlockRange(each.lba << disk.shift, each.blocks << disk.shift))
    ordered = sorted((each for each in found if each.length), key=lambda each: each.offset)
    if any(a.offset + a.length > b.offset for a, b in pairwise(ordered)):
        raise invalid_field_in_parameter_list(start)
    if sum(each.length for each in found) > limits.MAXIMUM_TOKEN_BYTES:
        raise invalid_field_in_parameter_list(start)
    return found


def _moves(
    token: RodToken, skip: int, available: int, disk: Disk, ranges: Sequence[BlockRange]
) -> Iterator[Move]:
    """What a token stands for, `available` bytes from its byte `skip` on, to these ranges."""
    sources = iter(token.ranges)
    at = length = 0
    for each in ranges:
        target, left = each.offset, min(each.length, available)
        available -= left
        while left:
            while not length:
                source = next(sources)
                at, length = source.offset, source.length
                passed = min(skip, length)
                at, length, skip = at + passed, length - passed, skip - passed
            step = min(left, length)
            yield Move(token.disk, at, disk, target, step)
            at, length = at + step, length - step
            target, left = target + step, left - step
