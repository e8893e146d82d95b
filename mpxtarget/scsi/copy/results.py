"""RECEIVE COPY STATUS and its like, and COPY OPERATION ABORT: how a copy goes, or went (SPC-4 6.3, 6.20).

A list identifier that is not known for this nexus is an invalid field in the CDB. How a copy ended is told
once by RECEIVE COPY STATUS(LID1), as are sense data by RECEIVE COPY FAILURE DETAILS and tokens by RECEIVE ROD
TOKEN INFORMATION; RECEIVE COPY STATUS(LID4) tells it as long as it is remembered.
"""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from mpxtarget.scsi.codes import Status
from mpxtarget.scsi.copy import layouts, limits
from mpxtarget.scsi.copy.manager import Copy, CopyStatus
from mpxtarget.scsi.plan import GOOD, Plan, WorkOnBlocks, data_in
from mpxtarget.scsi.sense import invalid_field_in_cdb

if TYPE_CHECKING:
    from mpxtarget.scsi.command import Call

_LID1 = struct.Struct(">2xB7xI")
_LID4 = struct.Struct(">2xI4xI")

_EXTENDED_COPY_LID1: Final = 0x00

_LID1_STATUS = {CopyStatus.COMPLETED: 0x01, CopyStatus.FAILED: 0x02, CopyStatus.TERMINATED: 0x02}
_IN_PROGRESS: Final = 0x00

_BYTES: Final = 0x00
_LOGICAL_BLOCKS: Final = 0xF1
_MOST_BYTES: Final = 0xFFFF_FFFF

_POLL_MILLISECONDS: Final = 100
_OVER: Final = 0xFFFF_FFFE


def _find(call: Call, list_identifier: int) -> Copy:
    copy = call.disk.copies.find(call.nexus, list_identifier)
    if copy is None:
        raise invalid_field_in_cdb(2)
    return copy


def receive_copy_status_lid1(call: Call) -> Plan:
    """RECEIVE COPY STATUS(LID1)."""
    list_identifier, allocation_length = _LID1.unpack_from(call.cdb)
    copy = _find(call, list_identifier)
    if copy.status_taken:
        raise invalid_field_in_cdb(2)
    copy.status_taken = not copy.under_way
    count, units = copy.transferred, _BYTES
    while count > _MOST_BYTES:  # in KiB, MiB, and so on (SPC-4 table 162)
        count, units = count >> 10, units + 1
    status = {
        "status": {"status": _LID1_STATUS.get(copy.status, _IN_PROGRESS)},
        "segments_processed": copy.segments,
        "transfer_count_units": units,
        "transfer_count": count,
    }
    return data_in(layouts.STATUS_LID1.build(status), allocation_length)


def receive_copy_data(call: Call) -> Plan:
    """RECEIVE COPY DATA(LID1): no segment that is supported holds data."""
    list_identifier, allocation_length = _LID1.unpack_from(call.cdb)
    if _find(call, list_identifier).under_way:
        raise invalid_field_in_cdb(2)
    return data_in(layouts.HELD_DATA.build({}), allocation_length)


def receive_copy_operating_parameters(call: Call) -> Plan:
    """RECEIVE COPY OPERATING PARAMETERS: the limits."""
    _, allocation_length = _LID1.unpack_from(call.cdb)
    parameters = {
        "flags": {},
        "maximum_cscd_descriptors": limits.MAXIMUM_CSCD_DESCRIPTORS,
        "maximum_segment_descriptors": limits.MAXIMUM_SEGMENT_DESCRIPTORS,
        "maximum_descriptor_list_length": limits.MAXIMUM_DESCRIPTOR_LIST_LENGTH,
        "maximum_segment_length": limits.MAXIMUM_SEGMENT_LENGTH,
        "total_concurrent_copies": limits.CONCURRENT_COPIES,
        "maximum_concurrent_copies": limits.CONCURRENT_COPIES,
        "descriptor_type_codes": bytes([layouts.BLOCK_TO_BLOCK, layouts.IDENTIFICATION_DESCRIPTOR]),
    }
    return data_in(layouts.OPERATING_PARAMETERS.build(parameters), allocation_length)


def receive_copy_failure_details(call: Call) -> Plan:
    """RECEIVE COPY FAILURE DETAILS(LID1): the sense data of a copy that failed; nothing for others."""
    list_identifier, allocation_length = _LID1.unpack_from(call.cdb)
    copy = _find(call, list_identifier)
    if copy.under_way or copy.service_action != _EXTENDED_COPY_LID1:
        raise invalid_field_in_cdb(2)
    if copy.completion is None or copy.status == CopyStatus.COMPLETED or copy.details_taken:
        return data_in(layouts.NO_FAILURE.build({}), allocation_length)
    copy.details_taken = True
    details = {"status": copy.completion.status, "sense": copy.completion.sense}
    return data_in(layouts.FAILURE_DETAILS.build(details), allocation_length)


def receive_copy_status_lid4(call: Call) -> Plan:
    """RECEIVE COPY STATUS(LID4)."""
    list_identifier, allocation_length = _LID4.unpack_from(call.cdb)
    return data_in(status_lid4(call, _find(call, list_identifier)), allocation_length)


def receive_rod_token_information(call: Call) -> Plan:
    """RECEIVE ROD TOKEN INFORMATION: the status, and the token if POPULATE TOKEN made one."""
    list_identifier, allocation_length = _LID4.unpack_from(call.cdb)
    copy = _find(call, list_identifier)
    token = layouts.ROD_TOKEN_DESCRIPTOR.build({"token": copy.token}) if copy.token else b""
    data = status_lid4(call, copy, layouts.ROD_TOKEN_DESCRIPTORS.build(token))
    if allocation_length == 0 or allocation_length >= len(data):
        copy.token = b""
    return data_in(data, allocation_length)


def status_lid4(call: Call, copy: Copy, tail: bytes = b"") -> bytes:
    """The parameter data that LID4 commands begin with, and `tail`. Copies with tokens count blocks, others
    bytes.
    """
    completion, sense = 0, b""
    if copy.status == CopyStatus.TERMINATED:
        completion = Status.TASK_ABORTED
    elif copy.completion is not None:
        completion, sense = copy.completion.status, copy.completion.sense
    field_length = -(-len(sense) // 4) * 4
    counts_blocks = copy.counts_blocks
    head = layouts.STATUS_LID4.build(
        {
            "available_data": 28 + field_length + len(tail),
            "byte_4": {"service_action": copy.service_action},
            "byte_5": {"status": copy.status},
            "operation_counter": min(copy.operations, 0xFFFF),
            "estimated_status_update_delay": _POLL_MILLISECONDS if copy.under_way else _OVER,
            "completion_status": completion,
            "sense_field_length": field_length,
            "sense_length": len(sense),
            "transfer_count_units": _LOGICAL_BLOCKS if counts_blocks else _BYTES,
            "transfer_count": copy.transferred >> call.disk.shift if counts_blocks else copy.transferred,
            "segments_processed": copy.segments,
            "sense": sense.ljust(field_length, b"\0"),
        }
    )
    return bytes(head) + tail


def copy_operation_abort(call: Call) -> Plan:
    """COPY OPERATION ABORT: GOOD when nothing is being moved any more (SPC-4 5.16.4.7)."""
    copy = _find(call, int.from_bytes(call.cdb[2:6], "big"))
    if not copy.under_way:
        raise invalid_field_in_cdb(2)
    copy.wanted = False
    if not copy.destinations:
        return GOOD
    # reading what the copy writes has to wait for its end
    return WorkOnBlocks(tuple(replace(each, writing=False) for each in copy.destinations), lambda _: GOOD)
