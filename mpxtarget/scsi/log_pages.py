"""The log pages, one row each (SPC-4 7.3, SBC-3 6.4).

A row says which parameters its page has now, and whether they are counters. Counters have thresholds that
are never met, and begin at zero again when LOG SELECT says so. Nothing is saved: what a page tells begins
with power on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from construct import (
    BitsInteger,
    BitStruct,
    Const,
    Default,
    Flag,
    GreedyBytes,
    GreedyRange,
    Int8ub,
    Int16ub,
    Int32ub,
    Int64ub,
    Nibble,
    Padding,
    Prefixed,
    Struct,
)

if TYPE_CHECKING:
    from mpxtarget.scsi.diagnostics import SelfTestResult
    from mpxtarget.scsi.logical_unit import Disk

CODE: Final = 0x3F
SUBPAGE_FORMAT: Final = 0x40
ALL_SUBPAGES: Final = 0xFF

APPLICATION_CLIENT: Final = 0x0F
APPLICATION_PARAMETERS: Final = 64
APPLICATION_BYTES: Final = 0xFC

STATISTICS_PAGE: Final = 0x19

_BOUNDED_COUNTER, _BINARY_LIST = 0b00, 0b11

PARAMETER = Struct(
    "code" / Int16ub,
    "control"
    / BitStruct(
        "du" / Default(Flag, False),
        Padding(1),
        "tsd" / Default(Flag, True),
        "etc" / Default(Flag, False),
        Padding(2),
        "format" / BitsInteger(2),
    ),
    "value" / Prefixed(Int8ub, GreedyBytes),
)

PAGE = Struct(
    "first" / BitStruct("ds" / Flag, "spf" / Flag, "code" / BitsInteger(6)),
    "subpage" / Int8ub,
    "payload" / Prefixed(Int16ub, GreedyBytes),
)

COUNTER = Struct("count" / Int64ub)

TEMPERATURE = Struct(Padding(1), "celsius" / Default(Int8ub, 0xFF))  # FFh: there is no sensor

INFORMATIONAL_EXCEPTION = Struct(
    "asc" / Default(Int16ub, 0),
    "temperature" / Default(Int8ub, 0xFF),
    Padding(1),
)

SELF_TEST = Struct(
    "outcome" / BitStruct("code" / BitsInteger(3), Padding(1), "result" / Nibble),
    "number" / Default(Int8ub, 0),
    "hours" / Int16ub,
    "failed_at" / Int64ub,
    "key" / BitStruct(Padding(4), "key" / Nibble),
    "asc" / Int16ub,
    Padding(1),
)

# No intervals are measured, for nothing on the data path looks at a clock: their length is told as 0
STATISTICS = Struct(
    "read_commands" / Int64ub,
    "write_commands" / Int64ub,
    "blocks_received" / Int64ub,
    "blocks_transmitted" / Int64ub,
    Padding(32),
)

IDLE_TIME = Struct("intervals" / Const(0, Int64ub))

TIME_INTERVAL = Struct("exponent" / Const(0, Int32ub), "integer" / Const(0, Int32ub))

SUBPAGES = GreedyRange(Struct("code" / BitStruct(Padding(2), "code" / BitsInteger(6)), "subpage" / Int8ub))

Parameters = dict[int, bytes]


@dataclass(frozen=True, slots=True)
class LogPage:
    """A row: `parameters` are the values by parameter code; `counters`: they are data counters, with
    thresholds; `restarts`: they can begin at zero again.
    """

    code: int
    parameters: Callable[[Disk], Parameters]
    counters: bool = False
    restarts: bool = False

    def build(self, disk: Disk, first: int, value: bytes | None) -> bytes:
        """The page with its parameters from `first` on; `value`, if there is one, stands for each counter."""
        form = _BOUNDED_COUNTER if self.counters else _BINARY_LIST
        parameters = [
            PARAMETER.build(
                {
                    "code": code,
                    "control": {"format": form},
                    "value": present if value is None or not self.counters else value,
                }
            )
            for code, present in self.parameters(disk).items()
            if code >= first
        ]
        return page(self.code, 0, b"".join(parameters))


def page(code: int, subpage: int, payload: bytes) -> bytes:
    """A whole log page; DS, for nothing is saved."""
    first = {"ds": code != 0, "spf": subpage != 0, "code": code}
    return bytes(PAGE.build({"first": first, "subpage": subpage, "payload": payload}))


NEVER: Final = COUNTER.build({"count": 0xFFFF_FFFF_FFFF_FFFF})
"""The threshold of a counter that has none."""
ZERO: Final = COUNTER.build({"count": 0})

_TOTAL_CORRECTED, _BYTES_PROCESSED, _TOTAL_UNCORRECTED = 0x0003, 0x0005, 0x0006


def _errors(code: int, processed: str, failed: str | None) -> LogPage:
    """An error counter page. What the store corrects by itself nobody hears of; what a verification meets is
    an error of reading.
    """

    def parameters(disk: Disk) -> Parameters:
        counts = disk.statistics.since_restart(code, disk.attached)
        found = {
            _TOTAL_CORRECTED: ZERO,
            _BYTES_PROCESSED: COUNTER.build({"count": getattr(counts, processed)}),
        }
        if failed is not None:
            found[_TOTAL_UNCORRECTED] = COUNTER.build({"count": getattr(counts, failed)})
        return found

    return LogPage(code, parameters, counters=True, restarts=True)


def _temperature(disk: Disk) -> Parameters:
    return {0x0000: TEMPERATURE.build({})}


def _application_client(disk: Disk) -> Parameters:
    return {
        code: disk.application_log.get(code, bytes(APPLICATION_BYTES))
        for code in range(APPLICATION_PARAMETERS)
    }


def _self_tests(disk: Disk) -> Parameters:
    results = [_self_test(result) for result in disk.self_tests]
    results += [bytes(SELF_TEST.sizeof())] * (20 - len(results))
    return dict(enumerate(results, start=1))


def _self_test(result: SelfTestResult) -> bytes:
    sense = result.sense
    return bytes(
        SELF_TEST.build(
            {
                "outcome": {"code": result.code, "result": result.result},
                "hours": min(result.hours, 0xFFFF),
                "failed_at": (1 << 64) - 1 if sense is None else sense.information,
                "key": {"key": 0 if sense is None else sense.key},
                "asc": 0 if sense is None else sense.asc,
            }
        )
    )


def _statistics(disk: Disk) -> Parameters:
    counts = disk.statistics.since_restart(STATISTICS_PAGE, disk.attached)
    return {
        0x0001: STATISTICS.build(
            {
                "read_commands": counts.reads,
                "write_commands": counts.writes,
                "blocks_received": counts.written_bytes >> disk.shift,
                "blocks_transmitted": counts.read_bytes >> disk.shift,
            }
        ),
        0x0002: IDLE_TIME.build({}),
        0x0003: TIME_INTERVAL.build({}),
    }


def _informational_exceptions(disk: Disk) -> Parameters:
    return {0x0000: INFORMATIONAL_EXCEPTION.build({})}


# fmt: off
_ROWS = (
    _errors(0x02, "written_bytes", "failed_writes"),
    _errors(0x03, "read_bytes", "failed_reads"),
    _errors(0x05, "verified_bytes", None),
    LogPage(0x0D, _temperature),
    LogPage(APPLICATION_CLIENT, _application_client),
    LogPage(0x10, _self_tests),
    LogPage(STATISTICS_PAGE, _statistics, restarts=True),
    LogPage(0x2F, _informational_exceptions),
)
# fmt: on

PAGES: Final = {row.code: row for row in _ROWS}

SUPPORTED: Final = page(0x00, 0x00, bytes((0x00, *PAGES)))
"""Page 00h."""

SUPPORTED_SUBPAGES: Final = page(
    0x00,
    ALL_SUBPAGES,
    SUBPAGES.build(
        [
            {"code": {"code": code}, "subpage": subpage}
            for code, subpage in ((0x00, 0x00), (0x00, ALL_SUBPAGES), *((code, 0x00) for code in PAGES))
        ]
    ),
)
"""Page 00h, subpage FFh."""
