"""REPORT and SET TIMESTAMP (SPC-4 5.2, 6.38, 6.46): the clock of a logical unit, in milliseconds.

It begins as the clock of the server, counted from 1970 (TCMOS), and goes on from what SET TIMESTAMP makes of
it, which has precedence (SCSIP): both bits are in the Control Extension mode page. Resets do not touch it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from construct import BitsInteger, BitStruct, BytesInteger, Const, Int16ub, Padding, Struct

from mpxtarget.scsi.codes import Asc
from mpxtarget.scsi.plan import GOOD, Plan, data_in
from mpxtarget.scsi.sense import illegal_request

if TYPE_CHECKING:
    from mpxtarget.scsi.command import Call

_SET_BY_COMMAND, _SET_OTHERWISE = 0b010, 0b011
_48_BITS = (1 << 48) - 1

REPORTED = Struct(
    "length" / Const(0x0A, Int16ub),
    "origin" / BitStruct(Padding(5), "origin" / BitsInteger(3)),
    Padding(1),
    "timestamp" / BytesInteger(6),
    Padding(2),
)

SELECTED = Struct(Padding(4), "timestamp" / BytesInteger(6), Padding(2))


def _milliseconds(call: Call) -> int:
    return int(call.nexus.device.clock() * 1000)


def report_timestamp(call: Call) -> Plan:
    """REPORT TIMESTAMP."""
    ahead = call.disk.clock_ahead
    data = REPORTED.build(
        {
            "origin": {"origin": _SET_OTHERWISE if ahead is None else _SET_BY_COMMAND},
            "timestamp": _milliseconds(call) + (ahead or 0) & _48_BITS,
        }
    )
    return data_in(data, int.from_bytes(call.cdb[6:10], "big"))


def set_timestamp(call: Call) -> Plan:
    """SET TIMESTAMP."""
    length = int.from_bytes(call.cdb[6:10], "big")
    if length == 0:
        return GOOD
    if length != SELECTED.sizeof():
        raise illegal_request(Asc.PARAMETER_LIST_LENGTH_ERROR)
    return call.take(length, _set)


def _set(call: Call, data: bytes) -> Plan:
    call.disk.set_clock(SELECTED.parse(data).timestamp - _milliseconds(call), call.nexus)
    return GOOD
