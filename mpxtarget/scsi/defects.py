"""READ DEFECT DATA(10), (12) (SBC-3 5.17, 5.18): a virtual disk has no defects, so both lists are empty."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from construct import BitsInteger, BitStruct, Const, Default, Flag, Int16ub, Int32ub, Padding, Struct

from mpxtarget.scsi.plan import Plan, data_in
from mpxtarget.scsi.sense import invalid_field_in_cdb

if TYPE_CHECKING:
    from mpxtarget.scsi.command import Call

# short and long blocks, bytes from index, physical sectors, vendor specific; an empty list looks alike in all
_FORMATS: Final = frozenset({0b000, 0b011, 0b100, 0b101, 0b110})

_LISTS = BitStruct(Padding(3), "primary" / Flag, "grown" / Flag, "format" / BitsInteger(3))

DEFECT_LIST_10 = Struct(Padding(1), "lists" / _LISTS, "length" / Const(0, Int16ub))
DEFECT_LIST_12 = Struct(
    Padding(1), "lists" / _LISTS, "generation" / Default(Int16ub, 0), "length" / Const(0, Int32ub)
)


def read_defect_data_10(call: Call) -> Plan:
    """READ DEFECT DATA(10)."""
    data = DEFECT_LIST_10.build({"lists": _asked_for(call.cdb[2], 2)})
    return data_in(data, int.from_bytes(call.cdb[7:9], "big"))


def read_defect_data_12(call: Call) -> Plan:
    """READ DEFECT DATA(12): there is nothing behind any ADDRESS DESCRIPTOR INDEX."""
    data = DEFECT_LIST_12.build({"lists": _asked_for(call.cdb[1], 1)})
    return data_in(data, int.from_bytes(call.cdb[6:10], "big"))


def _asked_for(field: int, byte: int) -> dict[str, bool | int]:
    if field & 0x07 not in _FORMATS:
        raise invalid_field_in_cdb(byte, 2)
    return {"primary": bool(field & 0x10), "grown": bool(field & 0x08), "format": field & 0x07}
