"""REPORT and SET IDENTIFYING INFORMATION (SPC-4 6.32, 6.43): what a host writes on the label of a disk.

Two labels, one of bytes and one of text. They belong to the logical unit, are the same on every path, and
outlast a loss of power.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from construct import (
    BitsInteger,
    BitStruct,
    Const,
    GreedyBytes,
    GreedyRange,
    Int8ub,
    Int16ub,
    Padding,
    Prefixed,
    Struct,
)

from mpxtarget.scsi.codes import Asc
from mpxtarget.scsi.plan import Keep, Plan, Reply, data_in
from mpxtarget.scsi.sense import illegal_request, invalid_field_in_cdb, invalid_field_in_parameter_list

if TYPE_CHECKING:
    from mpxtarget.scsi.command import Call

_BYTES, _TEXT, _SUPPORTED = 0x00, 0x02, 0x7F

MAXIMUM: Final = {_BYTES: 512, _TEXT: 256}
"""The longest information of each type, in bytes (SPC-4 table 28)."""

INFORMATION = Struct(Padding(2), "information" / Prefixed(Int16ub, GreedyBytes))

SUPPORTED_TYPES = Struct(
    Padding(2),
    "types"
    / Prefixed(
        Int16ub,
        GreedyRange(
            Struct(
                "type" / BitStruct("code" / BitsInteger(7), Padding(1)),
                Const(0, Int8ub),
                "maximum_length" / Int16ub,
            )
        ),
    ),
)

_EVERY_TYPE = SUPPORTED_TYPES.build(
    {"types": [{"type": {"code": code}, "maximum_length": length} for code, length in MAXIMUM.items()]}
)


def report_identifying_information(call: Call) -> Plan:
    """REPORT IDENTIFYING INFORMATION: the bytes, the text, or what there could be."""
    kind, length = call.cdb[10] >> 1, int.from_bytes(call.cdb[6:10], "big")
    if kind == _SUPPORTED:
        return data_in(_EVERY_TYPE, length)
    if kind not in MAXIMUM:
        raise invalid_field_in_cdb(10, 7)
    disk = call.disk
    information = disk.identifying_text if kind == _TEXT else disk.identifying_information
    return data_in(INFORMATION.build({"information": information}), length)


def set_identifying_information(call: Call) -> Plan:
    """SET IDENTIFYING INFORMATION; a list of length 0 takes the information away."""
    kind, length = call.cdb[10] >> 1, int.from_bytes(call.cdb[6:10], "big")
    if kind not in MAXIMUM:
        raise invalid_field_in_cdb(10, 7)
    if length > MAXIMUM[kind]:
        raise invalid_field_in_cdb(6)
    return call.take(length, _label) if length else _label(call, b"")


def _label(call: Call, data: bytes) -> Plan:
    disk = call.disk
    if call.cdb[10] >> 1 == _TEXT:
        _check_text(data)
        disk.identify(disk.identifying_information, data, call.nexus)
    else:
        disk.identify(data, disk.identifying_text, call.nexus)
    return Keep(disk, Reply(0))


def _check_text(data: bytes) -> None:
    """UTF-8 that ends with its only NUL (SPC-4 4.3.2)."""
    if not data:
        return
    if data[-1]:
        raise illegal_request(Asc.PARAMETER_LIST_LENGTH_ERROR)
    try:
        text = data[:-1].decode()
    except UnicodeDecodeError as error:
        raise invalid_field_in_parameter_list(error.start) from None
    if "\0" in text:
        raise invalid_field_in_parameter_list(data.index(0))
