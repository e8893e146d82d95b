"""REPORT TARGET PORT GROUPS and SET TARGET PORT GROUPS (SPC-4 5.15.2, 6.34 and 6.45).

Rules kept here:
- Exactly one group is active/optimized: that of the controller which manages the disk. To make another one
  so, or to make that one active/non-optimized, is to move the disk; no other state can be asked for.
- The command is finished when the new state is written down. If the move takes time, the disk is in
  transition by then, which REPORT TARGET PORT GROUPS and the sense data of other commands tell.
- The nexus that asked for the move hears of it by GOOD, all others by a unit attention.
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
    Flag,
    GreedyRange,
    If,
    Int8ub,
    Int16ub,
    Int32ub,
    Nibble,
    Padding,
    Prefixed,
    Rebuild,
    Struct,
    len_,
    this,
)

from mpxtarget.scsi.codes import AccessState, Asc, SenseKey
from mpxtarget.scsi.command import ACTIVE
from mpxtarget.scsi.plan import GOOD, Keep, Plan, data_in
from mpxtarget.scsi.sense import (
    CheckCondition,
    SenseData,
    illegal_request,
    invalid_field_in_cdb,
    invalid_field_in_parameter_list,
)

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping

    from mpxtarget.scsi.command import Call

_LENGTH = struct.Struct(">6xI")

_EXTENDED_HEADER = 0b001

TARGET_PORT_GROUP = Struct(
    "first" / BitStruct("pref" / Flag, Padding(3), "state" / Nibble),
    "supported"
    / BitStruct(
        "transitioning" / Flag,
        "offline" / Flag,
        Padding(1),
        "lba_dependent" / Flag,
        "unavailable" / Flag,
        "standby" / Flag,
        "active_non_optimized" / Flag,
        "active_optimized" / Flag,
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
    "implicit_transition_time" / Int8ub,
    Padding(2),
)

TARGET_PORT_GROUPS = Prefixed(
    Int32ub,
    Struct("extension" / If(this._.extended, _EXTENSION), "groups" / GreedyRange(TARGET_PORT_GROUP)),
)


def report(call: Call) -> Plan:
    """REPORT TARGET PORT GROUPS, with either header (SPC-4 6.34).

    PREF marks the group of the controller that the disk is meant to be managed by.
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
    transition_time = disk.custody.transition_time if header == _EXTENDED_HEADER else None
    return data_in(_report(groups, disk.states, transition_time), *_LENGTH.unpack_from(call.cdb))


class _Group(NamedTuple):
    group_id: int
    preferred: bool
    state: int
    status_code: int
    ports: tuple[int, ...]


@lru_cache(maxsize=64)
def _report(groups: tuple[_Group, ...], states: frozenset[int], transition_time: int | None) -> bytes:
    supported = {
        "transitioning": AccessState.TRANSITIONING in states,
        "offline": False,
        "lba_dependent": False,
        "unavailable": AccessState.UNAVAILABLE in states,
        "standby": AccessState.STANDBY in states,
        "active_non_optimized": AccessState.ACTIVE_NON_OPTIMIZED in states,
        "active_optimized": AccessState.ACTIVE_OPTIMIZED in states,
    }
    descriptors = [
        {
            "first": {"pref": group.preferred, "state": group.state},
            "supported": supported,
            "group": group.group_id,
            "status_code": group.status_code,
            "ports": [{"relative_id": relative_id} for relative_id in group.ports],
        }
        for group in groups
    ]
    data = {
        "extension": {"format": {}, "implicit_transition_time": transition_time},
        "groups": descriptors,
    }
    return bytes(TARGET_PORT_GROUPS.build(data, extended=transition_time is not None))


_HEADER = 4
_DESCRIPTOR = 4
_MAX_LIST = _HEADER + 256 * _DESCRIPTOR  # far more than there are groups

SET_TARGET_PORT_GROUPS = Struct(
    Padding(_HEADER),
    "groups"
    / GreedyRange(
        Struct("first" / BitStruct(Padding(4), "state" / Nibble), Padding(1), "group" / Int16ub),
    ),
)


def set_states(call: Call) -> Plan:
    """SET TARGET PORT GROUPS (SPC-4 6.45)."""
    (length,) = _LENGTH.unpack_from(call.cdb)
    if length == 0:
        return GOOD  # no parameter data, which is no error
    if length > _MAX_LIST:
        raise invalid_field_in_cdb(6)
    if length < _HEADER or (length - _HEADER) % _DESCRIPTOR:
        raise illegal_request(Asc.PARAMETER_LIST_LENGTH_ERROR)
    return call.take(length, _set_states)


def _set_states(call: Call, data: bytes) -> Plan:
    disk = call.disk
    if disk.transitioning:  # since the command came in
        raise _failed(SenseKey.NOT_READY, Asc.LOGICAL_UNIT_NOT_ACCESSIBLE_ASYMMETRIC_ACCESS_STATE_TRANSITION)
    groups = call.nexus.device.groups
    wanted = _wanted(data, groups)
    target = _target(wanted, groups, disk.managing_group)
    # asking for it does not bring a controller back that has failed
    if any(disk.access_state(group_id) not in ACTIVE for group_id in (target, *wanted)):
        raise _failed(SenseKey.HARDWARE_ERROR, Asc.SET_TARGET_PORT_GROUPS_COMMAND_FAILED)
    if target == disk.managing_group:
        return GOOD
    disk.manage(target, call.nexus)
    return Keep(disk, GOOD)


def _failed(key: int, asc: int) -> CheckCondition:
    return CheckCondition(SenseData(key, asc))


class _Wanted(NamedTuple):
    state: int
    at: int
    """Where in the parameter list the descriptor begins."""


def _wanted(data: bytes, groups: Container[int]) -> dict[int, _Wanted]:
    """What a parameter list asks for, by target port group."""
    wanted: dict[int, _Wanted] = {}
    for number, descriptor in enumerate(SET_TARGET_PORT_GROUPS.parse(data).groups):
        at = _HEADER + number * _DESCRIPTOR
        if descriptor.group not in groups or descriptor.group in wanted:
            raise invalid_field_in_parameter_list(at + 2)
        if descriptor.first.state not in ACTIVE:
            raise invalid_field_in_parameter_list(at, 3)
        wanted[descriptor.group] = _Wanted(descriptor.first.state, at)
    return wanted


def _target(wanted: Mapping[int, _Wanted], groups: Iterable[int], managing_group: int) -> int:
    """The group that is to be active/optimized; there is always one and no more."""
    optimized = [group_id for group_id in wanted if wanted[group_id].state == AccessState.ACTIVE_OPTIMIZED]
    if len(optimized) > 1:
        raise invalid_field_in_parameter_list(wanted[optimized[1]].at, 3)
    if optimized:
        return optimized[0]
    if managing_group not in wanted:
        return managing_group
    others = [group_id for group_id in groups if group_id not in wanted]
    if not others:
        raise invalid_field_in_parameter_list(wanted[managing_group].at, 3)
    return others[0]
