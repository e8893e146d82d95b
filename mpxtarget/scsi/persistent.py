"""PERSISTENT RESERVE IN for a device without PERSISTENT RESERVE OUT: nobody can register, and it says so.

Hosts and test suites ask for keys and reservations before they do anything else; an empty list is the truth,
and tells them more than an unknown operation code (SPC-4 6.15).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from construct import BitStruct, Const, Default, Flag, Int16ub, Int32ub, Padding, Struct

from mpxtarget.scsi.plan import Plan, data_in

if TYPE_CHECKING:
    from mpxtarget.scsi.command import Call

_ALLOCATION_LENGTH = struct.Struct(">7xH")

#: READ KEYS, READ RESERVATION and READ FULL STATUS begin alike; here nothing follows (SPC-4 6.15).
NOTHING = Struct("generation" / Default(Int32ub, 0), "additional_length" / Const(0, Int32ub))

CAPABILITIES = Struct(
    "length" / Const(8, Int16ub),
    Padding(1),
    "flags" / BitStruct("type_mask_valid" / Default(Flag, True), Padding(7)),
    "type_mask" / Default(Int16ub, 0),  # no type of reservation can be made
    Padding(2),
)


def read_nothing(call: Call) -> Plan:
    """READ KEYS, READ RESERVATION and READ FULL STATUS: there are none."""
    return data_in(NOTHING.build({}), *_ALLOCATION_LENGTH.unpack_from(call.cdb))


def report_capabilities(call: Call) -> Plan:
    """REPORT CAPABILITIES: no optional feature, and no type (SPC-4 6.15.4)."""
    return data_in(CAPABILITIES.build({"flags": {}}), *_ALLOCATION_LENGTH.unpack_from(call.cdb))
