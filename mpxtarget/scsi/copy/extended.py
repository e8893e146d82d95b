"""EXTENDED COPY, with one-byte and with four-byte list identifiers (SPC-4 6.4, 6.5).

A parameter list names the disks (CSCD descriptors: identification descriptors with the NAA designator of VPD
page 83h) and what to copy (segment descriptors: block to block). Checked in this order, and nothing is copied
unless all is well: the parameter list, with ILLEGAL REQUEST; then, segment by segment, whether its disks are
there, let this nexus read and write, and have the blocks, with COPY ABORTED and the number of the segment.

The bytes of a segment have to be whole blocks on both sides: CAT and PAD, which say what to do with the rest
otherwise, find nothing to do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from mpxtarget.scsi.codes import Asc, PeripheralType, SenseKey, Status
from mpxtarget.scsi.copy import layouts, limits
from mpxtarget.scsi.copy.access import disk_by_naa, refusal
from mpxtarget.scsi.copy.manager import Copy
from mpxtarget.scsi.copy.transfer import Move, extents, work
from mpxtarget.scsi.plan import GOOD, Plan, Reply, WorkOnBlocks
from mpxtarget.scsi.sense import (
    CheckCondition,
    FailedSegment,
    FieldPointer,
    Forwarded,
    SenseData,
    illegal_request,
    invalid_field_in_parameter_list,
)

if TYPE_CHECKING:
    from mpxtarget.scsi.command import Call
    from mpxtarget.scsi.logical_unit import Disk

_LONGEST_LIST: Final = 64 << 10

_LIST_FORMAT: Final = 0x01
_NO_HEADER_CSCD: Final = 0xFF

# LIST ID USAGE
_RESERVED: Final = 0b01
_NO_LIST_IDENTIFIER: Final = 0b11

# fields of segment descriptors, as a segment pointer names them
_SOURCE_ID, _DESTINATION_ID, _BLOCKS, _SOURCE_LBA, _DESTINATION_LBA = 4, 6, 10, 12, 20


@dataclass(frozen=True, slots=True)
class Request:
    """What a parameter list asks for. `cscds` and `segments` are where their descriptors begin."""

    list_identifier: int | None
    immediate: bool
    data: bytes
    cscds: tuple[int, ...]
    segments: tuple[int, ...]


def extended_copy_lid1(call: Call) -> Plan:
    """EXTENDED COPY(LID1)."""
    return _take(call, layouts.LID1_HEADER.sizeof(), _lid1)


def extended_copy_lid4(call: Call) -> Plan:
    """EXTENDED COPY(LID4)."""
    return _take(call, layouts.LID4_HEADER.sizeof(), _lid4)


def _take(call: Call, header_length: int, go_on: Any) -> Plan:
    length = int.from_bytes(call.cdb[10:14], "big")
    if length == 0:
        return GOOD
    if not header_length <= length <= _LONGEST_LIST:
        raise illegal_request(Asc.PARAMETER_LIST_LENGTH_ERROR)
    return call.take(length, go_on)


def _lid1(call: Call, data: bytes) -> Plan:
    header = layouts.LID1_HEADER.parse(data)
    if header.flags.list_id_usage == _RESERVED:
        raise invalid_field_in_parameter_list(1, 4)
    named = header.flags.list_id_usage != _NO_LIST_IDENTIFIER
    if not named and header.list_identifier:
        raise invalid_field_in_parameter_list(0)
    request = _parse(data, layouts.LID1_HEADER.sizeof(), header, cscd_list_byte=2)
    return _copy(call, replace(request, list_identifier=header.list_identifier if named else None))


def _lid4(call: Call, data: bytes) -> Plan:
    header = layouts.LID4_HEADER.parse(data)
    if header.format != _LIST_FORMAT:
        raise invalid_field_in_parameter_list(0)
    if header.flags.list_id_usage == _RESERVED:
        raise invalid_field_in_parameter_list(1, 4)
    if header.header_cscd_list_length != layouts.CSCD_LENGTH:
        raise invalid_field_in_parameter_list(2)
    if header.byte_15.g_sense:
        raise invalid_field_in_parameter_list(15, 1)
    if header.header_cscd_type_code != _NO_HEADER_CSCD:
        raise invalid_field_in_parameter_list(16)
    named = header.flags.list_id_usage != _NO_LIST_IDENTIFIER
    if not named and (header.list_identifier or header.byte_15.immed):
        raise invalid_field_in_parameter_list(20)
    request = _parse(data, layouts.LID4_HEADER.sizeof(), header, cscd_list_byte=42)
    return _copy(
        call,
        replace(
            request,
            list_identifier=header.list_identifier if named else None,
            immediate=header.byte_15.immed,
        ),
    )


def _parse(data: bytes, start: int, header: Any, cscd_list_byte: int) -> Request:
    """Check the lists of descriptors, and find where each of them begins."""
    cscd_length, segment_length = header.cscd_list_length, header.segment_list_length
    if (
        len(data) < start + cscd_length + segment_length + header.inline_data_length
        or cscd_length + segment_length > limits.MAXIMUM_DESCRIPTOR_LIST_LENGTH
    ):
        raise illegal_request(Asc.PARAMETER_LIST_LENGTH_ERROR)
    if header.inline_data_length:
        raise illegal_request(Asc.INLINE_DATA_LENGTH_EXCEEDED)
    if cscd_length % layouts.CSCD_LENGTH:
        raise invalid_field_in_parameter_list(cscd_list_byte)
    cscds = tuple(range(start, start + cscd_length, layouts.CSCD_LENGTH))
    if len(cscds) > limits.MAXIMUM_CSCD_DESCRIPTORS:
        raise illegal_request(Asc.TOO_MANY_TARGET_DESCRIPTORS)
    for at in cscds:
        if data[at] != layouts.IDENTIFICATION_DESCRIPTOR:
            raise illegal_request(Asc.UNSUPPORTED_TARGET_DESCRIPTOR_TYPE_CODE)
        if layouts.CSCD.parse(data[at : at + layouts.CSCD_LENGTH]).byte_1.lu_id_type:
            raise invalid_field_in_parameter_list(at + 1, 7)
    segments = tuple(_segments(data, start + cscd_length, start + cscd_length + segment_length))
    return Request(None, False, data, cscds, segments)


def _segments(data: bytes, at: int, end: int) -> Iterator[int]:
    for number in range(limits.MAXIMUM_SEGMENT_DESCRIPTORS + 1):
        if at == end:
            return
        if number == limits.MAXIMUM_SEGMENT_DESCRIPTORS:
            raise illegal_request(Asc.TOO_MANY_SEGMENT_DESCRIPTORS)
        if data[at] != layouts.BLOCK_TO_BLOCK:
            raise illegal_request(Asc.UNSUPPORTED_SEGMENT_DESCRIPTOR_TYPE_CODE)
        after = at + layouts.SEGMENT_HEADER_LENGTH + layouts.BLOCK_TO_BLOCK_LENGTH
        if after > end or int.from_bytes(data[at + 2 : at + 4], "big") != layouts.BLOCK_TO_BLOCK_LENGTH:
            raise invalid_field_in_parameter_list(at + 2)
        yield at
        at = after


def _copy(call: Call, request: Request) -> Plan:
    disk = call.disk
    copy = Copy(call.cdb[1] & 0x1F, request.immediate)
    disk.copies.start(call.nexus, request.list_identifier, copy)
    found: dict[tuple[int, bool], Disk] = {}
    try:
        moves = [
            move
            for number, at in enumerate(request.segments)
            if (move := _move(call, request, found, number, at)) is not None
        ]
    except CheckCondition as fault:
        disk.copies.end(copy, fault.sense.reply(disk.descriptor_sense))
        raise

    def finished(reply: Reply | None) -> Reply | None:
        if reply == GOOD:
            copy.segments = len(request.segments)
        return disk.copies.end(copy, reply)

    if not moves:
        finished(GOOD)
        return GOOD
    claimed, descriptor = extents(moves), disk.descriptor_sense
    copy.destinations = tuple(extent for extent in claimed if extent.writing)
    go = work(copy, moves, partial(_failed, descriptor), descriptor)
    return WorkOnBlocks(claimed, go, finished, request.immediate)


def _move(
    call: Call, request: Request, found: dict[tuple[int, bool], Disk], number: int, at: int
) -> Move | None:
    """What one segment asks for; None if that is nothing. Raises CheckCondition.

    `found` are the disks of the segments before, by their CSCD descriptor IDs, and whether they are written.
    """
    segment = layouts.SEGMENT.parse(request.data[at:])
    disks = []
    for cscd_id, field, writing in (
        (segment.source, _SOURCE_ID, False),
        (segment.destination, _DESTINATION_ID, True),
    ):
        disk = found.get((cscd_id, writing))
        if disk is None:
            disk = _disk(call, request, number, cscd_id, field, writing=writing)
            found[cscd_id, writing] = disk
        disks.append(disk)
    source, destination = disks
    length = segment.blocks * (destination if segment.byte_1.dc else source).block_size
    if not length:
        return None
    if length > limits.MAXIMUM_SEGMENT_LENGTH:
        raise invalid_field_in_parameter_list(at + _BLOCKS)
    if length % source.block_size or length % destination.block_size:
        raise _aborted(number, Asc.UNEXPECTED_INEXACT_SEGMENT)
    offsets = []
    for disk, lba, field in (
        (source, segment.source_lba, _SOURCE_LBA),
        (destination, segment.destination_lba, _DESTINATION_LBA),
    ):
        if lba + (length >> disk.shift) > disk.blocks:
            raise _aborted(number, Asc.NO_ADDITIONAL_SENSE_INFORMATION, field)
        offsets.append(lba << disk.shift)
    return Move(source, offsets[0], destination, offsets[1], length, number)


def _disk(call: Call, request: Request, number: int, cscd_id: int, field: int, *, writing: bool) -> Disk:
    """The disk of a CSCD descriptor ID. Raises CheckCondition if it is not there, or refuses this nexus."""
    if cscd_id == layouts.THIS_LOGICAL_UNIT:
        disk = call.disk
    else:
        if cscd_id >= len(request.cscds):
            raise _aborted(number, Asc.UNREACHABLE_COPY_TARGET, field)
        at = request.cscds[cscd_id]
        cscd = layouts.CSCD.parse(request.data[at : at + layouts.CSCD_LENGTH])
        if cscd.byte_1.nul:
            raise _aborted(number, Asc.UNREACHABLE_COPY_TARGET, field)
        if cscd.byte_1.peripheral_type != PeripheralType.DISK:
            raise _aborted(number, Asc.INCORRECT_COPY_TARGET_DEVICE_TYPE, field)
        found = (
            None if not _is_naa(cscd) else disk_by_naa(call.nexus, cscd.designator[: cscd.designator_length])
        )
        if found is None:
            raise _aborted(number, Asc.COPY_TARGET_DEVICE_NOT_REACHABLE, field)
        if cscd.block_length not in (0, found.block_size):
            raise invalid_field_in_parameter_list(at + 29)
        disk = found
    refused = refusal(call.nexus, disk, writing=writing)
    if refused is not None:
        forwarded = Forwarded(writing, refused.status, refused.sense)
        raise _aborted(number, Asc.THIRD_PARTY_DEVICE_FAILURE, field, forwarded)
    return disk


def _is_naa(cscd: Any) -> bool:
    """Whether a CSCD descriptor names a logical unit by a binary NAA designator."""
    kind = (cscd.byte_4.code_set, cscd.byte_5.association, cscd.byte_5.designator_type)
    return kind == (1, 0, 3) and cscd.designator_length <= len(cscd.designator)


def _aborted(
    number: int, asc: int, field: int | None = None, forwarded: Forwarded | None = None
) -> CheckCondition:
    """COPY ABORTED at a segment; `field` is the byte of its descriptor that is to blame."""
    return CheckCondition(
        SenseData(
            SenseKey.COPY_ABORTED,
            asc,
            field=None if field is None else FieldPointer(False, field, in_segment=True),
            segment=FailedSegment(number, forwarded),
        )
    )


def _failed(descriptor: bool, move: Move, error: OSError, writing: bool, start: int) -> Reply:
    """A disk could not be read or written: COPY ABORTED, with what it would have said to a host itself."""
    said = move.io_failed(error, writing, start, descriptor)
    forwarded = Forwarded(writing, Status.CHECK_CONDITION, said.sense)
    assert move.segment is not None
    return _aborted(move.segment, Asc.THIRD_PARTY_DEVICE_FAILURE, None, forwarded).sense.reply(descriptor)
