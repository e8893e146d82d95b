"""The commands that report: REPORT LUNS, TARGET PORT GROUPS and SUPPORTED OPERATION CODES (SPC-4 6.33 to
6.37).
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

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
    Nibble,
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


_EXTENDED_HEADER = 0b001

TARGET_PORT_GROUP = Struct(
    "first" / BitStruct("pref" / Flag, Padding(3), "state" / Nibble),
    "supported"
    / BitStruct(
        "transitioning" / Default(Flag, True),
        "offline" / Default(Flag, False),
        Padding(1),
        "lba_dependent" / Default(Flag, False),
        "unavailable" / Default(Flag, True),
        "standby" / Default(Flag, True),
        "active_non_optimized" / Default(Flag, True),
        "active_optimized" / Default(Flag, True),
    ),
    "group" / Int16ub,
    Padding(1),
    "status_code" / Int8ub,
    Padding(1),
    "port_count" / Rebuild(Int8ub, len_(this.ports)),
    "ports" / Array(this.port_count, Struct(Padding(2), "relative_id" / Int16ub)),
)

_EXTENSION = Struct(
    "format" / BitStruct(Padding(1), "type" / Const(_EXTENDED_HEADER, BitsInteger(3)), Padding(4)),
    "implicit_transition_time" / Default(Int8ub, 0),
    Padding(2),
)

TARGET_PORT_GROUPS = Prefixed(
    Int32ub,
    Struct("extension" / If(this._.extended, _EXTENSION), "groups" / GreedyRange(TARGET_PORT_GROUP)),
)


def report_target_port_groups(call: Call) -> Plan:
    """REPORT TARGET PORT GROUPS, with either header (SPC-4 6.34).

    The managing controller's group is active/optimized; PREF marks the group of the controller that the disk
    is meant to be managed by.
    """
    header = call.cdb[1] >> 5
    if header > _EXTENDED_HEADER:
        raise invalid_field_in_cdb(1, 7)
    disk = call.disk
    groups = tuple(
        _Group(
            group_id,
            group_id == disk.preferred_group,
            disk.access_state(group_id),
            disk.access_status,
            tuple(port.relative_id for port in ports),
        )
        for group_id, ports in call.nexus.device.groups.items()
    )
    data = _target_port_groups(groups, header == _EXTENDED_HEADER)
    return data_in(data, *_ALLOCATION_LENGTH.unpack_from(call.cdb))


class _Group(NamedTuple):
    group_id: int
    preferred: bool
    state: int
    status_code: int
    ports: tuple[int, ...]


@lru_cache(maxsize=64)
def _target_port_groups(groups: tuple[_Group, ...], extended: bool) -> bytes:
    descriptors = [
        {
            "first": {"pref": group.preferred, "state": group.state},
            "supported": {},
            "group": group.group_id,
            "status_code": group.status_code,
            "ports": [{"relative_id": relative_id} for relative_id in group.ports],
        }
        for group in groups
    ]
    data = {"extension": {"format": {}}, "groups": descriptors}
    return bytes(TARGET_PORT_GROUPS.build(data, extended=extended))


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
