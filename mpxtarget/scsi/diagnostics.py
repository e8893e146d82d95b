"""SEND DIAGNOSTIC and RECEIVE DIAGNOSTIC RESULTS (SPC-4 6.42, 6.19; 5.14 for self-tests).

There is one diagnostic page, the list of all. Self-tests: the default one, which passes as long as commands
are processed at all; and for disks the short one in the foreground, which reads the first, the middle and
the last block. Its results are those of log page 10h.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from construct import Const, GreedyRange, Int8ub, Int16ub, Padding, Prefixed, Struct

from mpxtarget.scsi.codes import Asc, PeripheralType, SenseKey
from mpxtarget.scsi.plan import GOOD, Extent, Medium, Plan, Reply, WorkOnBlocks, data_in
from mpxtarget.scsi.sense import (
    SenseData,
    illegal_request,
    invalid_field_in_cdb,
    invalid_field_in_parameter_list,
)

if TYPE_CHECKING:
    from mpxtarget.scsi.command import Call
    from mpxtarget.scsi.logical_unit import Disk

_PCV = 0x01

_PF, _SELF_TEST = 0x10, 0x04
_FOREGROUND_SHORT: Final = 0b101

SUPPORTED_PAGES = Struct(
    "page_code" / Const(0x00, Int8ub), Padding(1), "pages" / Prefixed(Int16ub, GreedyRange(Int8ub))
)

FAILED: Final = SenseData(SenseKey.HARDWARE_ERROR, Asc.LOGICAL_UNIT_FAILED_SELF_TEST)
_PASSED, _ABORTED, _FAILED = 0, 2, 7

_NO_PAGE = bytes(4)
"""Page 00h as SEND DIAGNOSTIC carries it: without content, to ask for the list (SPC-4 7.2.3)."""


@dataclass(frozen=True, slots=True)
class SelfTestResult:
    """How a self-test ended: SELF-TEST CODE and SELF-TEST RESULTS of log page 10h.

    `hours`: how long the unit had been on; `sense`: of the failure, with the LBA that it met.
    """

    code: int
    result: int
    hours: int
    sense: SenseData | None


def receive_diagnostic_results(call: Call) -> Plan:
    """RECEIVE DIAGNOSTIC RESULTS: page 00h, the only one."""
    if call.cdb[2]:
        raise invalid_field_in_cdb(2)
    return data_in(SUPPORTED_PAGES.build({"pages": [0x00]}), int.from_bytes(call.cdb[3:5], "big"))


def send_diagnostic(call: Call) -> Plan:
    """SEND DIAGNOSTIC: a self-test, or the question for the list of pages."""
    flags, length = call.cdb[1], int.from_bytes(call.cdb[3:5], "big")
    code = flags >> 5
    if length:
        if code or flags & _SELF_TEST or not flags & _PF:
            raise invalid_field_in_cdb(3)
        if length != len(_NO_PAGE):
            raise illegal_request(Asc.PARAMETER_LIST_LENGTH_ERROR)
        return call.take(length, _take_page)
    if not code:
        return GOOD
    if code != _FOREGROUND_SHORT or flags & _SELF_TEST or call.lu.peripheral_type != PeripheralType.DISK:
        raise invalid_field_in_cdb(1, 7)
    return _short_self_test(call)


def _take_page(call: Call, data: bytes) -> Plan:
    if data != _NO_PAGE:
        raise invalid_field_in_parameter_list(next(at for at, byte in enumerate(data) if byte))
    return GOOD


def _short_self_test(call: Call) -> Plan:
    disk = call.disk
    hours = call.nexus.device.hours_on
    places = sorted({0, disk.blocks // 2, disk.blocks - 1})
    failures: list[SenseData] = []

    def work(media: Mapping[Disk, Medium]) -> Reply:
        for lba in places:
            try:
                media[disk].read(lba << disk.shift, disk.block_size)
            except OSError:
                failures.append(replace(FAILED, information=lba))
                return failures[0].reply(disk.descriptor_sense)
        return GOOD

    def finished(reply: Reply | None) -> Reply | None:
        result = _ABORTED if reply is None else _FAILED if failures else _PASSED
        sense = failures[0] if failures else None
        disk.self_tests.appendleft(SelfTestResult(_FOREGROUND_SHORT, result, hours, sense))
        return reply

    extents = (Extent(disk, lba << disk.shift, disk.block_size, writing=False) for lba in places)
    return WorkOnBlocks(tuple(extents), work, finished)
