"""MODE SENSE and MODE SELECT (SPC-4 6.11, 6.9; SBC-3 6.5).

There are no saved values.  The geometry of pages 03h and 04h is the one an EVA tells: 128 heads, 128 sectors.
A MODE SELECT is checked as a whole before anything of it takes effect.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from construct import (
    BitStruct,
    Flag,
    Int8ub,
    Int16ub,
    Int24ub,
    Int32ub,
    Int64ub,
    Padding,
    Struct,
)

from mpxtarget.scsi import mode_pages
from mpxtarget.scsi.codes import Asc
from mpxtarget.scsi.logical_unit import ModeParameters
from mpxtarget.scsi.plan import GOOD, Flush, Plan, data_in
from mpxtarget.scsi.sense import illegal_request, invalid_field_in_cdb, invalid_field_in_parameter_list

if TYPE_CHECKING:
    from mpxtarget.scsi.command import Call
    from mpxtarget.scsi.logical_unit import Disk
    from mpxtarget.scsi.mode_pages import ModePage

_DBD = 0x08
_LLBAA = 0x10
_PF = 0x10
_SP = 0x01
_SPF = 0x40
_PAGE_CODE = 0x3F

_CURRENT, _CHANGEABLE, _DEFAULT, _SAVED = range(4)

_ALL_PAGES = 0x3F
_ALL_SUBPAGES = 0xFF

_SHORT_MAXIMUM = 0xFFFF_FFFF

_DEVICE_SPECIFIC = BitStruct("wp" / Flag, Padding(2), "dpofua" / Flag, Padding(4))

HEADER_6 = Struct(
    "mode_data_length" / Int8ub,
    "medium_type" / Int8ub,
    "device_specific" / _DEVICE_SPECIFIC,
    "block_descriptor_length" / Int8ub,
)

HEADER_10 = Struct(
    "mode_data_length" / Int16ub,
    "medium_type" / Int8ub,
    "device_specific" / _DEVICE_SPECIFIC,
    "flags" / BitStruct(Padding(7), "longlba" / Flag),
    Padding(1),
    "block_descriptor_length" / Int16ub,
)

SHORT_DESCRIPTOR = Struct("blocks" / Int32ub, Padding(1), "block_length" / Int24ub)

LONG_DESCRIPTOR = Struct("blocks" / Int64ub, Padding(4), "block_length" / Int32ub)


def mode_sense_6(call: Call) -> Plan:
    """MODE SENSE(6)."""
    return _mode_sense(call, HEADER_6, long_lba=False, allocation_length=call.cdb[4])


def mode_sense_10(call: Call) -> Plan:
    """MODE SENSE(10)."""
    long_lba = bool(call.cdb[1] & _LLBAA)
    return _mode_sense(call, HEADER_10, long_lba, int.from_bytes(call.cdb[7:9], "big"))


def _mode_sense(call: Call, header: Struct, long_lba: bool, allocation_length: int) -> Plan:
    cdb, disk = call.cdb, call.disk
    control = cdb[2] >> 6
    if control == _SAVED:
        raise illegal_request(Asc.SAVING_PARAMETERS_NOT_SUPPORTED)
    pages = b"".join(_page(page, control, disk) for page in _asked_for(cdb[2] & _PAGE_CODE, cdb[3]))
    descriptor = b"" if cdb[1] & _DBD else _block_descriptor(disk, long_lba)
    # the length does not count itself
    field_length = 1 if header is HEADER_6 else 2
    head = header.build(
        {
            "mode_data_length": header.sizeof() + len(descriptor) + len(pages) - field_length,
            "medium_type": 0,
            "device_specific": {"wp": disk.write_protected, "dpofua": disk.durable},
            "flags": {"longlba": long_lba and bool(descriptor)},
            "block_descriptor_length": len(descriptor),
        }
    )
    return data_in(head + descriptor + pages, allocation_length)


def _asked_for(code: int, subpage: int) -> list[ModePage]:
    of_code = [page for page in mode_pages.PAGES.values() if code in (page.code, _ALL_PAGES)]
    if not of_code:
        raise invalid_field_in_cdb(2, 5)
    found = [page for page in of_code if subpage in (page.subpage, _ALL_SUBPAGES)]
    if not found or (code == _ALL_PAGES and subpage not in (0, _ALL_SUBPAGES)):
        raise invalid_field_in_cdb(3)
    return found


def _page(page: ModePage, control: int, disk: Disk) -> bytes:
    if control == _CHANGEABLE:
        return page.changeable(disk)
    return page.build(disk, ModeParameters() if control == _DEFAULT else disk.mode)


def _block_descriptor(disk: Disk, long_lba: bool) -> bytes:
    if long_lba:
        return bytes(LONG_DESCRIPTOR.build({"blocks": disk.blocks, "block_length": disk.block_size}))
    blocks = min(disk.blocks, _SHORT_MAXIMUM)
    return bytes(SHORT_DESCRIPTOR.build({"blocks": blocks, "block_length": disk.block_size}))


def mode_select_6(call: Call) -> Plan:
    """MODE SELECT(6)."""
    return _mode_select(call, HEADER_6, call.cdb[4])


def mode_select_10(call: Call) -> Plan:
    """MODE SELECT(10)."""
    return _mode_select(call, HEADER_10, int.from_bytes(call.cdb[7:9], "big"))


def _mode_select(call: Call, header: Struct, list_length: int) -> Plan:
    if call.cdb[1] & _SP:
        # nothing can be saved
        raise invalid_field_in_cdb(1, 0)
    if list_length == 0:
        return GOOD
    if not call.cdb[1] & _PF:
        raise invalid_field_in_cdb(1, 4)
    if list_length < header.sizeof():
        raise illegal_request(Asc.PARAMETER_LIST_LENGTH_ERROR)
    return call.take(list_length, partial(_select, header))


def _select(header: Struct, call: Call, data: bytes) -> Plan:
    disk = call.disk
    mode = disk.mode
    at = _check_header(header, disk, data)
    seen: set[ModePage] = set()
    while at < len(data):
        page, end = _check_page(disk, data, at)
        if page in seen:  # a list has each page once, which also bounds the work it can make
            raise invalid_field_in_parameter_list(at, 5)
        seen.add(page)
        mode = page.adopt(mode, page.body.parse(data[at + page.header_length : end]))
        at = end
    was_cached = disk.mode.write_cache_enable
    disk.select_mode(mode, call.nexus)
    if was_cached and not mode.write_cache_enable:  # what was cached is so no longer (SBC-3 6.5.5)
        return Flush(disk, 0, disk.blocks << disk.shift, immediate=False)
    return GOOD


def _check_header(header: Struct, disk: Disk, data: bytes) -> int:
    """Check header and block descriptor; where the first page starts.

    MODE DATA LENGTH is reserved here, but hosts send back what MODE SENSE gave them: it is not looked at.
    """
    head = header.parse(data)
    size: int = header.sizeof()
    if head.medium_type:
        raise invalid_field_in_parameter_list(1 if header is HEADER_6 else 2)
    descriptor = LONG_DESCRIPTOR if header is HEADER_10 and head.flags.longlba else SHORT_DESCRIPTOR
    length: int = head.block_descriptor_length
    if length == 0:
        return size
    if length != descriptor.sizeof():
        raise invalid_field_in_parameter_list(3 if header is HEADER_6 else 6)
    if len(data) < size + length:
        raise illegal_request(Asc.PARAMETER_LIST_LENGTH_ERROR)
    block = descriptor.parse(data[size:])
    if block.blocks not in (0, disk.blocks, _SHORT_MAXIMUM):
        raise invalid_field_in_parameter_list(size)
    if block.block_length != disk.block_size:
        raise invalid_field_in_parameter_list(size + length - 4 + (descriptor is SHORT_DESCRIPTOR))
    return size + length


def _check_page(disk: Disk, data: bytes, at: int) -> tuple[ModePage, int]:
    """Check the page that starts at `at`; the page, and where it ends."""
    page = _announced(data, at)
    header = page.header_length
    if len(data) < at + header:
        raise illegal_request(Asc.PARAMETER_LIST_LENGTH_ERROR)
    current, mask = page.build(disk, disk.mode), page.changeable(disk)
    end = at + len(current)
    length_at = 2 if page.subpage else 1
    if data[at + length_at : at + header] != current[length_at:header]:
        raise invalid_field_in_parameter_list(at + length_at)
    if len(data) < end:
        raise illegal_request(Asc.PARAMETER_LIST_LENGTH_ERROR)
    for offset in range(header, len(current)):
        wrong = (data[at + offset] ^ current[offset]) & ~mask[offset]
        if wrong:
            raise invalid_field_in_parameter_list(at + offset, wrong.bit_length() - 1)
    return page, end


def _announced(data: bytes, at: int) -> ModePage:
    """The page whose code, and subpage code, stand at `at`."""
    code = data[at] & _PAGE_CODE
    if not any(code == page.code for page in mode_pages.PAGES.values()):
        raise invalid_field_in_parameter_list(at, 5)
    if len(data) < at + 2:
        raise illegal_request(Asc.PARAMETER_LIST_LENGTH_ERROR)
    subpage = data[at + 1] if data[at] & _SPF else 0
    page = mode_pages.PAGES.get((code, subpage))
    if page is None or (data[at] & _SPF and not subpage):
        # subpage 00h has the short header, and no other can be meant (SPC-4 7.5.7)
        raise invalid_field_in_parameter_list(at + 1) if subpage else invalid_field_in_parameter_list(at, 6)
    return page
