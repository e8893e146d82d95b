"""Sense data (SPC-4 4.5) and the exception that carries it.

A handler that finds fault raises `CheckCondition`; the device server turns it into a reply, in fixed or
descriptor format as the D_SENSE bit of the LU says.  ILLEGAL REQUEST for a field always carries a field
pointer. INFORMATION is reported in fixed format only if it fits 32 bits (SPC-4 4.5.3).
"""

from __future__ import annotations

import errno
import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from construct import (
    BitsInteger,
    BitStruct,
    Bytes,
    Const,
    Default,
    Flag,
    GreedyBytes,
    If,
    Int8ub,
    Int16ub,
    Int32ub,
    Int64ub,
    Nibble,
    Padding,
    Rebuild,
    Struct,
    this,
)

from mpxtarget.scsi.codes import AccessState, Asc, SenseKey, Status
from mpxtarget.scsi.plan import Reply

if TYPE_CHECKING:
    from mpxtarget.scsi.logical_unit import Disk


@dataclass(frozen=True, slots=True)
class FieldPointer:
    """Where the invalid field starts: byte, and the leftmost bit of the field in it (SPC-4 4.5.2.4.2).

    `in_segment`: counted from the start of the segment descriptor that a copy failed at (4.5.2.4.5).
    """

    in_cdb: bool
    byte: int
    bit: int | None = None
    in_segment: bool = False


@dataclass(frozen=True, slots=True)
class Forwarded:
    """How a copy source or copy destination ended a command of the copy manager (SPC-4 4.5.2.7)."""

    by_destination: bool
    status: int
    sense: bytes


@dataclass(frozen=True, slots=True)
class FailedSegment:
    """What the sense data of a copy tells besides its code: the segment it failed at, counted from 0, and
    what the copy target said (SPC-4 5.16.7).
    """

    number: int
    forwarded: Forwarded | None = None


@dataclass(frozen=True, slots=True)
class SenseData:
    """What is to be told, before a format is chosen.  `asc` is `ASC << 8 | ASCQ`."""

    key: int
    asc: int
    information: int | None = None
    field: FieldPointer | None = None
    segment: FailedSegment | None = None
    progress: int | None = None
    """How far an operation is that the unit is not ready for: of 65536 parts (SPC-4 4.5.2.4.4)."""

    def pack(self, descriptor: bool) -> bytes:
        """Sense data bytes: 18 and more in fixed format, 8 and more in descriptor format."""
        return _pack(self, descriptor)

    def reply(self, descriptor: bool) -> Reply:
        """CHECK CONDITION with this sense data."""
        return Reply(Status.CHECK_CONDITION, b"", self.pack(descriptor))


class CheckCondition(Exception):  # noqa: N818 - the word of SAM-5, and not an error of ours
    """The command ends with CHECK CONDITION status and this sense data."""

    def __init__(self, sense: SenseData) -> None:
        super().__init__(f"{sense.key:X}/{sense.asc >> 8:02X}/{sense.asc & 0xFF:02X}")
        self.sense = sense


_FIELD_POINTER = Struct(
    "flags"
    / BitStruct(
        "sksv" / Flag,
        "in_cdb" / Flag,
        "in_segment" / Default(Flag, False),
        Padding(1),
        "bpv" / Flag,
        "bit" / BitsInteger(3),
    ),
    "byte" / Int16ub,
)

_FIXED_LENGTH = 18

_NO_FLAGS = {"sksv": False, "in_cdb": False, "bpv": False, "bit": 0}
_NO_FIELD_POINTER: dict[str, object] = {"flags": _NO_FLAGS, "byte": 0}

FIXED = Struct(
    "first" / BitStruct("valid" / Flag, "response_code" / Default(BitsInteger(7), 0x70)),
    Padding(1),
    "key" / Int8ub,
    "information" / Int32ub,
    "additional_length" / Rebuild(Int8ub, lambda ctx: 10 + len(ctx.additional or b"")),
    "command_specific_information" / Default(Bytes(4), bytes(4)),
    "asc" / Int16ub,
    "fru" / Default(Int8ub, 0),
    "sense_key_specific" / _FIELD_POINTER,
    "additional" / Default(GreedyBytes, b""),
)

_INFORMATION_DESCRIPTOR = Struct(
    "type" / Const(0x00, Int8ub),
    "additional_length" / Const(0x0A, Int8ub),
    "flags" / BitStruct("valid" / Default(Flag, True), Padding(7)),
    Padding(1),
    "information" / Int64ub,
)

_COMMAND_SPECIFIC_INFORMATION_DESCRIPTOR = Struct(
    "type" / Const(0x01, Int8ub),
    "additional_length" / Const(0x0A, Int8ub),
    Padding(2),
    "information" / Int64ub,
)

_SENSE_KEY_SPECIFIC_DESCRIPTOR = Struct(
    "type" / Const(0x02, Int8ub),
    "additional_length" / Const(0x06, Int8ub),
    Padding(2),
    "sense_key_specific" / _FIELD_POINTER,
    Padding(1),
)

_COPY_SOURCE, _COPY_DESTINATION = 1, 2

_FORWARDED_SENSE_DATA_DESCRIPTOR = Struct(
    "type" / Const(0x0C, Int8ub),
    "additional_length" / Rebuild(Int8ub, lambda ctx: 2 + len(ctx.sense)),
    "flags" / BitStruct("truncated" / Default(Flag, False), Padding(3), "source" / Nibble),
    "status" / Int8ub,
    "sense" / Bytes(lambda ctx: ctx.additional_length - 2),
)

DESCRIPTOR = Struct(
    "response_code" / Const(0x72, Int8ub),
    "key" / BitStruct(Padding(4), "key" / Nibble),
    "asc" / Int16ub,
    Padding(3),
    "additional_length"
    / Rebuild(
        Int8ub,
        lambda ctx: (
            12 * (ctx.information is not None)
            + 12 * (ctx.command_specific_information is not None)
            + 8 * (ctx.sense_key_specific is not None)
            + (0 if ctx.forwarded is None else 4 + len(ctx.forwarded["sense"]))
        ),
    ),
    "information" / If(this.information, _INFORMATION_DESCRIPTOR),
    "command_specific_information"
    / If(this.command_specific_information, _COMMAND_SPECIFIC_INFORMATION_DESCRIPTOR),
    "sense_key_specific" / If(this.sense_key_specific, _SENSE_KEY_SPECIFIC_DESCRIPTOR),
    "forwarded" / If(this.forwarded, _FORWARDED_SENSE_DATA_DESCRIPTOR),
)


@lru_cache(maxsize=512)
def _pack(sense: SenseData, descriptor: bool) -> bytes:
    pointer = None
    if sense.field is not None:
        at = sense.field
        pointer = {
            "flags": {
                "sksv": True,
                "in_cdb": at.in_cdb,
                "in_segment": at.in_segment,
                "bpv": at.bit is not None,
                "bit": at.bit or 0,
            },
            "byte": at.byte,
        }
    elif sense.progress is not None:
        pointer = _NO_FIELD_POINTER | {"flags": {**_NO_FLAGS, "sksv": True}, "byte": sense.progress}
    information = sense.information
    segment = sense.segment
    forwarded = None if segment is None else segment.forwarded
    if descriptor:
        return bytes(
            DESCRIPTOR.build(
                {
                    "key": {"key": sense.key},
                    "asc": sense.asc,
                    "information": None if information is None else {"flags": {}, "information": information},
                    "command_specific_information": (
                        None if segment is None else {"information": segment.number}
                    ),
                    "sense_key_specific": None if pointer is None else {"sense_key_specific": pointer},
                    "forwarded": (
                        None
                        if forwarded is None
                        else {
                            "flags": {
                                "source": _COPY_DESTINATION if forwarded.by_destination else _COPY_SOURCE
                            },
                            "status": forwarded.status,
                            "sense": forwarded.sense,
                        }
                    ),
                }
            )
        )
    fits = information is not None and information <= 0xFFFF_FFFF
    return bytes(
        FIXED.build(
            {
                "first": {"valid": fits},
                "key": sense.key,
                "information": information if fits else 0,
                "command_specific_information": None if segment is None else _segment_information(segment),
                "asc": sense.asc,
                "sense_key_specific": pointer or _NO_FIELD_POINTER,
                "additional": b"" if forwarded is None else bytes([forwarded.status]) + forwarded.sense,
            }
        )
    )


def _segment_information(segment: FailedSegment) -> bytes:
    """COMMAND-SPECIFIC INFORMATION in fixed format: where in the sense data status and sense data of the
    copy source and the copy destination begin, and the number of the segment (SPC-4 5.16.7.4).
    """
    source = destination = 0
    if segment.forwarded is not None:
        if segment.forwarded.by_destination:
            destination = _FIXED_LENGTH
        else:
            source = _FIXED_LENGTH
    return struct.pack(">BBH", source, destination, segment.number)


NO_SENSE = SenseData(SenseKey.NO_SENSE, Asc.NO_ADDITIONAL_SENSE_INFORMATION)
NOT_STARTED = SenseData(SenseKey.NOT_READY, Asc.LOGICAL_UNIT_NOT_READY_INITIALIZING_COMMAND_REQUIRED)
SANITIZE_FAILED = SenseData(SenseKey.MEDIUM_ERROR, Asc.SANITIZE_COMMAND_FAILED)
LOGICAL_UNIT_NOT_SUPPORTED = SenseData(SenseKey.ILLEGAL_REQUEST, Asc.LOGICAL_UNIT_NOT_SUPPORTED)


_NOT_ACCESSIBLE = {
    AccessState.STANDBY: Asc.LOGICAL_UNIT_NOT_ACCESSIBLE_TARGET_PORT_IN_STANDBY_STATE,
    AccessState.UNAVAILABLE: Asc.LOGICAL_UNIT_NOT_ACCESSIBLE_TARGET_PORT_IN_UNAVAILABLE_STATE,
    AccessState.TRANSITIONING: Asc.LOGICAL_UNIT_NOT_ACCESSIBLE_ASYMMETRIC_ACCESS_STATE_TRANSITION,
}


def not_accessible(state: int) -> SenseData:
    """2/04/xx for an asymmetric access state that is not active."""
    return SenseData(SenseKey.NOT_READY, _NOT_ACCESSIBLE[state])


def unit_attention(asc: int) -> SenseData:
    """UNIT ATTENTION with this additional sense code."""
    return SenseData(SenseKey.UNIT_ATTENTION, asc)


def illegal_request(asc: int) -> CheckCondition:
    """ILLEGAL REQUEST that no single field is to blame for."""
    return CheckCondition(SenseData(SenseKey.ILLEGAL_REQUEST, asc))


def invalid_field_in_cdb(byte: int, bit: int | None = None) -> CheckCondition:
    """5/24/00, pointing at a byte of the CDB, or at the leftmost bit of a field smaller than a byte."""
    return CheckCondition(
        SenseData(SenseKey.ILLEGAL_REQUEST, Asc.INVALID_FIELD_IN_CDB, field=FieldPointer(True, byte, bit))
    )


def invalid_field_in_parameter_list(byte: int, bit: int | None = None) -> CheckCondition:
    """5/26/00, pointing into the parameter list."""
    return CheckCondition(
        SenseData(
            SenseKey.ILLEGAL_REQUEST,
            Asc.INVALID_FIELD_IN_PARAMETER_LIST,
            field=FieldPointer(False, byte, bit),
        )
    )


def invalid_operation_code() -> CheckCondition:
    """5/20/00, pointing at the operation code."""
    return CheckCondition(
        SenseData(SenseKey.ILLEGAL_REQUEST, Asc.INVALID_COMMAND_OPERATION_CODE, field=FieldPointer(True, 0))
    )


def block_address_out_of_range(lba: int) -> CheckCondition:
    """5/21/00; `lba` is the first address that does not exist."""
    return CheckCondition(
        SenseData(SenseKey.ILLEGAL_REQUEST, Asc.LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE, information=lba)
    )


def write_protected() -> CheckCondition:
    """7/27/00."""
    return CheckCondition(SenseData(SenseKey.DATA_PROTECT, Asc.WRITE_PROTECTED))


def io_failed(error: OSError, disk: Disk, offset: int, writing: bool, descriptor: bool) -> Reply:
    """The reply to a command whose I/O at byte `offset` of `disk` failed with `error`.

    `writing` is true for writes and flushes; `descriptor` is the D_SENSE setting (`disk.descriptor_sense`).
    INFORMATION is the LBA at `offset`. Log pages 02h and 03h count the errors of the medium.
    """
    key, asc = SenseKey.HARDWARE_ERROR, Asc.INTERNAL_TARGET_FAILURE
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        key, asc = SenseKey.DATA_PROTECT, Asc.SPACE_ALLOCATION_FAILED_WRITE_PROTECT
    elif error.errno == errno.EROFS:
        key, asc = SenseKey.DATA_PROTECT, Asc.WRITE_PROTECTED
    elif error.errno == errno.EIO:
        key = SenseKey.MEDIUM_ERROR
        asc = Asc.WRITE_ERROR if writing else Asc.UNRECOVERED_READ_ERROR
    if key in (SenseKey.HARDWARE_ERROR, SenseKey.MEDIUM_ERROR):
        disk.statistics.count_failure(writing)
    return SenseData(key, asc, information=offset // disk.block_size).reply(descriptor)
