"""The commands that report: REPORT LUNS and REPORT SUPPORTED OPERATION CODES (SPC-4 6.33 and 6.35)."""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import TYPE_CHECKING

from construct import (
    Array,
    BitsInteger,
    BitStruct,
    Const,
    Default,
    Flag,
    GreedyRange,
    If,
    Int8ub,
    Int16ub,
    Int32ub,
    Int64ub,
    Padding,
    Prefixed,
    Rebuild,
    Struct,
    len_,
    this,
)

from mpxtarget.scsi import lun as lun_format
from mpxtarget.scsi.command import Command, CommandSet
from mpxtarget.scsi.plan import Plan, data_in
from mpxtarget.scsi.sense import invalid_field_in_cdb

if TYPE_CHECKING:
    from mpxtarget.scsi.command import Call

_ALLOCATION_LENGTH = struct.Struct(">6xI")

_WELL_KNOWN_ONLY = 0x01
_SELECT_REPORT = frozenset({0x00, _WELL_KNOWN_ONLY, 0x02})

LUNS = Struct(
    "length" / Rebuild(Int32ub, lambda ctx: 8 * len(ctx.luns)),
    Padding(4),
    "luns" / Array(lambda ctx: ctx.length // 8, Int64ub),
)


def report_luns(call: Call) -> Plan:
    """REPORT LUNS: what this I_T nexus can reach, ascending.  There are no well-known logical units."""
    if call.cdb[2] not in _SELECT_REPORT:
        raise invalid_field_in_cdb(2)
    (allocation_length,) = _ALLOCATION_LENGTH.unpack_from(call.cdb)
    if allocation_length < 16:
        raise invalid_field_in_cdb(6)
    numbers = () if call.cdb[2] == _WELL_KNOWN_ONLY else sorted(call.nexus.by_number)
    data = LUNS.build({"luns": [lun_format.to_field(number) for number in numbers]})
    call.nexus.luns_reported()
    return data_in(data, allocation_length)


_RCTD = 0x80
_ALL, _ONE, _ONE_WITH_SERVICE_ACTION, _ONE_WITH_ANY = range(4)
_NOT_SUPPORTED, _SUPPORTED = 0b001, 0b011
_SERVICE_ACTION = 0x1F

# no nominal and no recommended timeout is given (SPC-4 6.35.4)
TIMEOUTS = Struct("length" / Const(0x0A, Int16ub), Padding(10))

ALL_COMMANDS = Prefixed(
    Int32ub,
    GreedyRange(
        Struct(
            "opcode" / Int8ub,
            Padding(1),
            "service_action" / Int16ub,
            Padding(1),
            "flags" / BitStruct(Padding(6), "ctdp" / Flag, "servactv" / Flag),
            "cdb_length" / Int16ub,
            "timeouts" / If(this.flags.ctdp, TIMEOUTS),
        )
    ),
)

ONE_COMMAND = Struct(
    Padding(1),
    "flags" / BitStruct("ctdp" / Flag, Padding(4), "support" / BitsInteger(3)),
    "cdb_length" / Rebuild(Int16ub, len_(this.usage)),
    "usage" / Array(this.cdb_length, Int8ub),
    "timeouts" / If(this.flags.ctdp, TIMEOUTS),
)


def report_supported_operation_codes(call: Call) -> Plan:
    """REPORT SUPPORTED OPERATION CODES: the command table, as far as this kind of logical unit goes."""
    cdb = call.cdb
    timeouts = bool(cdb[2] & _RCTD)
    option = cdb[2] & 0x07
    if option == _ALL:
        data = _all_commands(call.commands, timeouts)
    elif option <= _ONE_WITH_ANY:
        data = _one_command(_look_up(call, option), timeouts)
    else:
        raise invalid_field_in_cdb(2, 2)
    return data_in(data, *_ALLOCATION_LENGTH.unpack_from(cdb))


@lru_cache(maxsize=4)
def _all_commands(commands: CommandSet, timeouts: bool) -> bytes:
    return bytes(
        ALL_COMMANDS.build(
            [
                {
                    "opcode": command.opcode,
                    "service_action": command.service_action or 0,
                    "flags": {"ctdp": timeouts, "servactv": command.service_action is not None},
                    "cdb_length": command.length,
                    "timeouts": {},
                }
                for command in commands
            ]
        )
    )


def _look_up(call: Call, option: int) -> Command | None:
    entry = call.commands.entry(call.cdb[3])
    service_action = int.from_bytes(call.cdb[4:6], "big")
    if entry is None:
        return None
    if isinstance(entry, Command):
        if option == _ONE_WITH_SERVICE_ACTION:
            raise invalid_field_in_cdb(2, 2)
        return entry if option == _ONE or service_action == 0 else None
    if option == _ONE:
        raise invalid_field_in_cdb(2, 2)
    return entry.get(service_action)


@lru_cache(maxsize=128)
def _one_command(command: Command | None, timeouts: bool) -> bytes:
    usage = b""
    if command is not None:
        usage = command.usage
        if command.service_action is not None:
            # the service action itself stands where its bits are (SPC-4 6.35.3)
            usage = bytes((usage[0], usage[1] & ~_SERVICE_ACTION | command.service_action)) + usage[2:]
    known = command is not None
    return bytes(
        ONE_COMMAND.build(
            {
                "flags": {"ctdp": timeouts and known, "support": _SUPPORTED if known else _NOT_SUPPORTED},
                "usage": list(usage),
                "timeouts": {},
            }
        )
    )


_REPD = 0x80

# what the transport carries out (RFC 7143 11.5.1); there is no ACA, and no query
TASK_MANAGEMENT_FUNCTIONS = Struct(
    "functions"
    / BitStruct(
        "abort_task" / Default(Flag, True),
        "abort_task_set" / Default(Flag, True),
        "clear_aca" / Default(Flag, False),
        "clear_task_set" / Default(Flag, True),
        "logical_unit_reset" / Default(Flag, True),
        "query_task" / Default(Flag, False),
        "target_reset" / Default(Flag, True),
        "wakeup" / Default(Flag, False),
    ),
    Padding(2),
    "additional_length" / Rebuild(Int8ub, lambda ctx: 0x0C if ctx._.extended else 0),
    # no timeout is told
    "timeouts" / If(this._.extended, Padding(12)),
)


def report_supported_task_management_functions(call: Call) -> Plan:
    """REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS (SPC-4 6.36)."""
    (allocation_length,) = _ALLOCATION_LENGTH.unpack_from(call.cdb)
    if allocation_length < 4:
        raise invalid_field_in_cdb(6)
    data = TASK_MANAGEMENT_FUNCTIONS.build({"functions": {}}, extended=bool(call.cdb[2] & _REPD))
    return data_in(data, allocation_length)


_ONE_NEXUS, _EVERY_NEXUS = 0b00, 0b01

PRIORITIES = Struct("length" / Const(0, Int32ub))


def report_priority(call: Call) -> Plan:
    """REPORT PRIORITY: no nexus has one, as none can be set (SPC-4 6.31)."""
    if call.cdb[2] >> 6 not in (_ONE_NEXUS, _EVERY_NEXUS):
        raise invalid_field_in_cdb(2, 7)
    return data_in(PRIORITIES.build({}), *_ALLOCATION_LENGTH.unpack_from(call.cdb))
