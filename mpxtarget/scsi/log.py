"""LOG SENSE and LOG SELECT (SPC-4 6.7, 6.8).

A LOG SELECT is checked as a whole before anything of it takes effect. All it can do is to let counters begin
at zero again, and to fill the application client page; either is LOG PARAMETERS CHANGED on the other nexuses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpxtarget.scsi import log_pages
from mpxtarget.scsi.codes import Asc
from mpxtarget.scsi.log_pages import ALL_SUBPAGES, APPLICATION_BYTES, APPLICATION_CLIENT, PAGES
from mpxtarget.scsi.plan import GOOD, Plan, data_in
from mpxtarget.scsi.sense import illegal_request, invalid_field_in_cdb, invalid_field_in_parameter_list

if TYPE_CHECKING:
    from mpxtarget.scsi.command import Call

_SP = 0x01
_PCR = 0x02

_THRESHOLD, _CUMULATIVE, _DEFAULT_THRESHOLD, _DEFAULT_CUMULATIVE = range(4)

# what stands for each counter, by PC; None: the counter
_VALUES = {
    _THRESHOLD: log_pages.NEVER,
    _CUMULATIVE: None,
    _DEFAULT_THRESHOLD: log_pages.NEVER,
    _DEFAULT_CUMULATIVE: log_pages.ZERO,
}

_HEADER = 4
_PARAMETER_HEADER = 4


def log_sense(call: Call) -> Plan:
    """LOG SENSE: one page, from the parameter pointer on."""
    cdb, disk = call.cdb, call.disk
    if cdb[1] & _SP:
        raise invalid_field_in_cdb(1, 0)
    code, subpage = cdb[2] & log_pages.CODE, cdb[3]
    first = int.from_bytes(cdb[5:7], "big")
    if code == 0x00:
        data, last = _list_of_pages(subpage), 0
    else:
        row = _page(code, subpage)
        data, last = row.build(disk, first, _VALUES[cdb[2] >> 6]), max(row.parameters(disk))
    if first > last:
        raise invalid_field_in_cdb(5)
    return data_in(data, int.from_bytes(cdb[7:9], "big"))


def _list_of_pages(subpage: int) -> bytes:
    if subpage not in (0x00, ALL_SUBPAGES):
        raise invalid_field_in_cdb(3)
    return log_pages.SUPPORTED_SUBPAGES if subpage else log_pages.SUPPORTED


def _page(code: int, subpage: int) -> log_pages.LogPage:
    row = PAGES.get(code)
    if row is None:
        raise invalid_field_in_cdb(2, 5)
    if subpage:
        raise invalid_field_in_cdb(3)
    return row


def log_select(call: Call) -> Plan:
    """LOG SELECT: reset what a page counts, or all pages; or put something into the application client page.

    Without a list, PCR resets, and so does PC 11b, which asks for the default cumulative values.
    """
    cdb = call.cdb
    if cdb[1] & _SP:
        raise invalid_field_in_cdb(1, 0)
    control, code, subpage = cdb[2] >> 6, cdb[2] & log_pages.CODE, cdb[3]
    length = int.from_bytes(cdb[7:9], "big")
    if length:
        if cdb[1] & _PCR:
            raise invalid_field_in_cdb(7)
        if code:  # the list names its pages itself (SPC-4 6.7.1)
            raise invalid_field_in_cdb(2, 5)
        if subpage:
            raise invalid_field_in_cdb(3)
        return call.take(length, _select)
    if code:
        pages = [_page(code, subpage)]
    elif subpage not in (0x00, ALL_SUBPAGES):
        raise invalid_field_in_cdb(3)
    else:
        pages = list(PAGES.values())
    if cdb[1] & _PCR or control == _DEFAULT_CUMULATIVE:
        call.disk.restart_log([row.code for row in pages if row.restarts], call.nexus)
    return GOOD


def _select(call: Call, data: bytes) -> Plan:
    if len(data) < _HEADER:
        raise illegal_request(Asc.PARAMETER_LIST_LENGTH_ERROR)
    code = data[0] & log_pages.CODE
    if code != APPLICATION_CLIENT:  # nothing in the other pages can be set
        raise invalid_field_in_parameter_list(0, 5)
    if data[0] & log_pages.SUBPAGE_FORMAT or data[1]:
        raise invalid_field_in_parameter_list(1)
    length = int.from_bytes(data[2:4], "big")
    if length > len(data) - _HEADER:
        raise illegal_request(Asc.PARAMETER_LIST_LENGTH_ERROR)
    if length < len(data) - _HEADER:  # a page comes once, and is the only one
        raise invalid_field_in_parameter_list(_HEADER + length)
    call.disk.select_log(_parameters(data), call.nexus)
    return GOOD


def _parameters(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    at, latest = _HEADER, -1
    while at < len(data):
        if len(data) - at < _PARAMETER_HEADER:
            raise illegal_request(Asc.PARAMETER_LIST_LENGTH_ERROR)
        code, size = int.from_bytes(data[at : at + 2], "big"), data[at + 3]
        if not latest < code < log_pages.APPLICATION_PARAMETERS:  # ascending (SPC-4 6.7.1)
            raise invalid_field_in_parameter_list(at)
        if size > APPLICATION_BYTES:
            raise invalid_field_in_parameter_list(at + 3)
        start = at + _PARAMETER_HEADER
        at = start + size
        if at > len(data):
            raise illegal_request(Asc.PARAMETER_LIST_LENGTH_ERROR)
        found[code] = data[start:at].ljust(APPLICATION_BYTES, b"\0")
        latest = code
    return found
