"""INQUIRY (SPC-4 6.4): standard data here, vital product data in `vpd`.

Both depend only on what never changes in the life of a logical unit, and on the target port for VPD page
83h, so they are built once and kept in the unit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from construct import (
    Array,
    BitsInteger,
    BitStruct,
    Bytes,
    Const,
    Default,
    Flag,
    Int8ub,
    Int16ub,
    Nibble,
    Padding,
    Struct,
)

from mpxtarget.scsi import vpd
from mpxtarget.scsi.copy import vpd_page as third_party_copy
from mpxtarget.scsi.logical_unit import VERSION_SPC_3, VERSION_SPC_4, Disk
from mpxtarget.scsi.plan import Plan, data_in
from mpxtarget.scsi.sense import invalid_field_in_cdb

if TYPE_CHECKING:
    from mpxtarget.scsi.command import Call
    from mpxtarget.scsi.logical_unit import LogicalUnit

_EVPD = 0x01

_STANDARD_DATA = -1
_ANY_PORT = -1

TPGS_NONE: Final = 0b00
TPGS_IMPLICIT: Final = 0b01
TPGS_IMPLICIT_AND_EXPLICIT: Final = 0b11

# SPC-4 table 150.  iSCSI without a version: some Windows releases refuse the newer values.
_VERSIONS = {VERSION_SPC_3: (0x0060, 0x0960, 0x0300), VERSION_SPC_4: (0x00A0, 0x0960, 0x0460)}
_SBC_2, _SBC_3 = 0x0320, 0x04C0

STANDARD = Struct(
    "peripheral" / BitStruct("qualifier" / BitsInteger(3), "type" / BitsInteger(5)),
    Padding(1),
    "version" / Int8ub,
    "format"
    / BitStruct(
        Padding(2),
        "normaca" / Default(Flag, False),
        "hisup" / Default(Flag, True),
        "format" / Const(2, Nibble),
    ),
    "additional_length" / Const(96 - 5, Int8ub),
    "byte_5"
    / BitStruct(
        "sccs" / Default(Flag, False),
        Padding(1),
        "tpgs" / BitsInteger(2),
        "third_party_copy" / Default(Flag, False),
        Padding(2),
        "protect" / Default(Flag, False),
    ),
    "byte_6" / BitStruct(Padding(3), "multip" / Default(Flag, True), Padding(4)),
    "byte_7" / BitStruct(Padding(6), "cmdque" / Default(Flag, True), Padding(1)),
    "vendor" / Bytes(8),
    "product" / Bytes(16),
    "revision" / Bytes(4),
    Padding(22),
    "version_descriptors" / Array(8, Int16ub),
    Padding(22),
)


def inquiry(call: Call) -> Plan:
    """INQUIRY.  A LUN that is not mapped has standard data only."""
    cdb = call.cdb
    page_code = cdb[2]
    if cdb[1] & _EVPD:
        data = _vital_product_data(call, page_code)
    elif page_code:
        raise invalid_field_in_cdb(2)
    else:
        data = _standard_data(call.lu)
    return data_in(data, int.from_bytes(cdb[3:5], "big"))


def _standard_data(lu: LogicalUnit) -> bytes:
    key = (_ANY_PORT, _STANDARD_DATA)
    data = lu.cached_pages.get(key)
    if data is None:
        identity = lu.identity
        is_disk = isinstance(lu, Disk)
        descriptors: tuple[int, ...] = _VERSIONS[identity.version]
        if isinstance(lu, Disk):
            descriptors += (_SBC_3 if lu.follows_sbc_3 else _SBC_2,)
        data = lu.cached_pages[key] = bytes(
            STANDARD.build(
                {
                    "peripheral": {"qualifier": lu.qualifier, "type": lu.peripheral_type},
                    "version": identity.version,
                    "format": {},
                    "byte_5": {
                        "tpgs": _tpgs(lu),
                        "third_party_copy": is_disk and third_party_copy.offered(lu),
                    },
                    "byte_6": {},
                    "byte_7": {},
                    "vendor": identity.vendor.ljust(8).encode(),
                    "product": identity.product.ljust(16).encode(),
                    "revision": identity.revision.ljust(4).encode(),
                    "version_descriptors": descriptors + (0,) * (8 - len(descriptors)),
                }
            )
        )
    return data


def _tpgs(lu: LogicalUnit) -> int:
    if not isinstance(lu, Disk):
        return TPGS_NONE
    return TPGS_IMPLICIT_AND_EXPLICIT if lu.personality.offers("SET TARGET PORT GROUPS") else TPGS_IMPLICIT


def _vital_product_data(call: Call, page_code: int) -> bytes:
    lu, port = call.lu, call.nexus.target_port
    key = (port.relative_id, page_code)
    data = lu.cached_pages.get(key)
    if data is None:
        data = vpd.page(lu, call.nexus.device, port, page_code)
        if data is None:
            raise invalid_field_in_cdb(2)
        lu.cached_pages[key] = data
    return data
