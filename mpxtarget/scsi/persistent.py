"""PERSISTENT RESERVE IN and OUT: CDBs, parameter lists and parameter data (SPC-4 6.15 and 6.16).

What the service actions do to registrations and the reservation is `reservations`' business. Here is what
they say and are told, and what has to happen before they are answered:

- After a reservation was strengthened the answer waits for a fence: what is still being written by those who
  may no longer write has ended by then.
- While APTPL is on, and when it goes off, the answer waits until that is written down.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from construct import (
    BitsInteger,
    BitStruct,
    Bytes,
    Const,
    Default,
    Flag,
    GreedyRange,
    Int16ub,
    Int32ub,
    Int64ub,
    Nibble,
    Padding,
    Rebuild,
    Struct,
)

from mpxtarget.scsi import transport_id
from mpxtarget.scsi.codes import Asc, Status
from mpxtarget.scsi.plan import GOOD, Fence, Keep, Plan, Reply, data_in
from mpxtarget.scsi.reservations import (
    Change,
    NexusName,
    Registration,
    ReservationConflict,
    Reservations,
    Type,
    type_of,
)
from mpxtarget.scsi.sense import illegal_request, invalid_field_in_parameter_list
from mpxtarget.scsi.transport_id import TransportId

if TYPE_CHECKING:
    from mpxtarget.scsi.command import Call
    from mpxtarget.scsi.nexus import ITLNexus

_ALLOCATION_LENGTH = struct.Struct(">7xH")
_PARAMETER_LIST_LENGTH = struct.Struct(">5xI")
_RESERVATION_CONFLICT = Reply(Status.RESERVATION_CONFLICT)

BASIC_LENGTH: Final = 24
LONGEST_LIST: Final = 65536
"""Bytes of a parameter list; more TransportIDs than fit here could not be registered anyway."""

# -- PERSISTENT RESERVE IN ----

READ_KEYS = Struct(
    "generation" / Int32ub,
    "additional_length" / Rebuild(Int32ub, lambda ctx: 8 * len(ctx.registered)),
    "registered" / GreedyRange(Int64ub),
)

_SCOPE_AND_TYPE = BitStruct("scope" / Default(Nibble, 0), "type" / Nibble)

RESERVATION = Struct("key" / Int64ub, Padding(5), "kind" / _SCOPE_AND_TYPE, Padding(2))

READ_RESERVATION = Struct(
    "generation" / Int32ub,
    "additional_length" / Rebuild(Int32ub, lambda ctx: 16 * len(ctx.reservations)),
    "reservations" / GreedyRange(RESERVATION),  # one at most
)

FULL_STATUS_DESCRIPTOR = Struct(
    "key" / Int64ub,
    Padding(4),
    "flags" / BitStruct(Padding(6), "all_tg_pt" / Flag, "r_holder" / Flag),
    "kind" / _SCOPE_AND_TYPE,
    Padding(4),
    "relative_port" / Int16ub,
    "transport_id_length" / Rebuild(Int32ub, lambda ctx: len(ctx.transport_id)),
    "transport_id" / Bytes(lambda ctx: ctx.transport_id_length),
)

READ_FULL_STATUS = Struct(
    "generation" / Int32ub,
    "additional_length"
    / Rebuild(Int32ub, lambda ctx: sum(24 + len(each["transport_id"]) for each in ctx.descriptors)),
    "descriptors" / GreedyRange(FULL_STATUS_DESCRIPTOR),
)

CAPABILITIES = Struct(
    "length" / Const(8, Int16ub),
    "offered"
    / BitStruct(
        "rlr_c" / Default(Flag, False),
        Padding(2),
        "crh" / Flag,
        "sip_c" / Default(Flag, True),
        "atp_c" / Default(Flag, True),
        Padding(1),
        "ptpl_c" / Default(Flag, True),
    ),
    "state"
    / BitStruct(
        "type_mask_valid" / Default(Flag, True),
        # TEST UNIT READY passes any reservation, MODE SENSE and its like pass Write Exclusive ones
        "allow_commands" / Default(BitsInteger(3), 0b100),
        Padding(3),
        "ptpl_a" / Flag,
    ),
    "type_mask" / Int16ub,
    Padding(2),
)

_TYPE_MASK: Final = sum(1 << (type_ + 8 if type_ < 8 else type_ - 8) for type_ in Type)


def read_keys(call: Call) -> Plan:
    """READ KEYS: one for each registered I_T nexus (SPC-4 6.15.2)."""
    reservations = call.disk.reservations
    keys = [each.key for each in reservations.registrations]
    return _report(call, READ_KEYS.build({"generation": reservations.generation, "registered": keys}))


def read_reservation(call: Call) -> Plan:
    """READ RESERVATION (SPC-4 6.15.3)."""
    reservations = call.disk.reservations
    found = []
    if reservations.reservation is not None:
        found.append({"key": reservations.holder_key, "kind": {"type": reservations.reservation.type}})
    return _report(
        call, READ_RESERVATION.build({"generation": reservations.generation, "reservations": found})
    )


def report_capabilities(call: Call) -> Plan:
    """REPORT CAPABILITIES (SPC-4 6.15.4)."""
    disk = call.disk
    return _report(
        call,
        CAPABILITIES.build(
            {
                "offered": {"crh": disk.personality.offers("RESERVE(6)")},
                "state": {"ptpl_a": disk.reservations.aptpl},
                "type_mask": _TYPE_MASK,
            }
        ),
    )


def read_full_status(call: Call) -> Plan:
    """READ FULL STATUS (SPC-4 6.15.5)."""
    reservations = call.disk.reservations
    ports = [port.relative_id for port in call.nexus.device.ports]
    return _report(
        call,
        READ_FULL_STATUS.build(
            {"generation": reservations.generation, "descriptors": list(_full_status(reservations, ports))}
        ),
    )


def _full_status(reservations: Reservations, ports: list[int]) -> Iterator[dict[str, Any]]:
    """A descriptor for each registered nexus, or one for all of an initiator port that is registered alike on
    every target port: with the same key, and holding the reservation everywhere or nowhere.
    """
    by_initiator: dict[str, list[Registration]] = {}
    for each in reservations.registrations:
        by_initiator.setdefault(each.nexus.initiator_port, []).append(each)
    for initiator_port, registrations in by_initiator.items():
        alike = {(each.key, reservations.holds(each.nexus)) for each in registrations}
        everywhere = {each.nexus.relative_port for each in registrations} == set(ports)
        together = everywhere and len(alike) == 1 and len(ports) > 1
        for each in registrations[:1] if together else registrations:
            holds = reservations.holds(each.nexus)
            held = reservations.reservation if holds else None
            yield {
                "key": each.key,
                "flags": {"all_tg_pt": together, "r_holder": holds},
                "kind": {"type": 0 if held is None else held.type},
                "relative_port": 0 if together else each.nexus.relative_port,
                "transport_id": transport_id.pack(initiator_port),
            }


def _report(call: Call, data: bytes) -> Plan:
    return data_in(data, *_ALLOCATION_LENGTH.unpack_from(call.cdb))


# -- PERSISTENT RESERVE OUT ----

PARAMETER_LIST = Struct(
    "key" / Int64ub,
    "service_action_key" / Int64ub,
    Padding(4),
    "flags" / BitStruct(Padding(4), "spec_i_pt" / Flag, "all_tg_pt" / Flag, Padding(1), "aptpl" / Flag),
    Padding(3),
)

MOVE_PARAMETER_LIST = Struct(
    "key" / Int64ub,
    "service_action_key" / Int64ub,
    Padding(1),
    "flags" / BitStruct(Padding(6), "unreg" / Flag, "aptpl" / Flag),
    "relative_port" / Int16ub,
    "transport_id_length" / Int32ub,
)

_SPEC_I_PT_LIST: Final = 28
"""Where the TransportIDs of a basic parameter list begin, after their length."""


def register(call: Call) -> Plan:
    """REGISTER."""
    return _take_list(call, partial(_register, ignore_existing_key=False), LONGEST_LIST)


def register_and_ignore_existing_key(call: Call) -> Plan:
    """REGISTER AND IGNORE EXISTING KEY."""
    return _take_list(call, partial(_register, ignore_existing_key=True), LONGEST_LIST)


def reserve(call: Call) -> Plan:
    """RESERVE."""
    return _take_list(call, _reserve)


def release(call: Call) -> Plan:
    """RELEASE."""
    return _take_list(call, _release)


def clear(call: Call) -> Plan:
    """CLEAR."""
    return _take_list(call, _clear)


def preempt(call: Call) -> Plan:
    """PREEMPT."""
    return _take_list(call, partial(_preempt, abort=False))


def preempt_and_abort(call: Call) -> Plan:
    """PREEMPT AND ABORT."""
    return _take_list(call, partial(_preempt, abort=True))


def register_and_move(call: Call) -> Plan:
    """REGISTER AND MOVE."""
    return _take_list(call, _register_and_move, LONGEST_LIST)


def _take_list(call: Call, then: Callable[[Call, bytes], Plan], longest: int = BASIC_LENGTH) -> Plan:
    """Take the parameter list and go on."""
    if call.disk.reserved_by is not None:  # RESERVE and registrations exclude each other (SPC-2 5.5.1)
        return _RESERVATION_CONFLICT
    (length,) = _PARAMETER_LIST_LENGTH.unpack_from(call.cdb)
    if not BASIC_LENGTH <= length <= longest:
        raise illegal_request(Asc.PARAMETER_LIST_LENGTH_ERROR)
    return call.take(length, partial(_unless_it_conflicts, then))


def _unless_it_conflicts(then: Callable[[Call, bytes], Plan], call: Call, data: bytes) -> Plan:
    if call.disk.reserved_by is not None:  # since the parameter list was asked for
        return _RESERVATION_CONFLICT
    try:
        return then(call, data)
    except ReservationConflict:
        return _RESERVATION_CONFLICT


def _basic(data: bytes, *, takes_initiators: bool = False) -> Any:
    """The basic parameter list (SPC-4 6.16.3)."""
    parameters = PARAMETER_LIST.parse(data)
    if parameters.flags.spec_i_pt and not takes_initiators:
        raise invalid_field_in_parameter_list(20, 3)
    if parameters.flags.spec_i_pt != (len(data) > BASIC_LENGTH):
        raise illegal_request(Asc.PARAMETER_LIST_LENGTH_ERROR)
    return parameters


def _register(call: Call, data: bytes, *, ignore_existing_key: bool) -> Plan:
    parameters = _basic(data, takes_initiators=not ignore_existing_key)
    flags = parameters.flags
    ports = [port.relative_id for port in call.nexus.device.ports] if flags.all_tg_pt else []
    listed = partial(_listed, call, data, ports or [call.nexus.name.relative_port])
    kept = call.disk.reservations.aptpl
    change = call.disk.reservations.register(
        call.nexus.name,
        None if ignore_existing_key else parameters.key,
        parameters.service_action_key,
        aptpl=flags.aptpl,
        ports=ports,
        others=listed if flags.spec_i_pt else None,
    )
    return _done(call, change, kept)


def _reserve(call: Call, data: bytes) -> Plan:
    change = call.disk.reservations.reserve(call.nexus.name, _basic(data).key, type_of(call.cdb[2]))
    return _done(call, change, fence=True)


def _release(call: Call, data: bytes) -> Plan:
    change = call.disk.reservations.release(call.nexus.name, _basic(data).key, type_of(call.cdb[2]))
    return _done(call, change)


def _clear(call: Call, data: bytes) -> Plan:
    return _done(call, call.disk.reservations.clear(call.nexus.name, _basic(data).key))


def _preempt(call: Call, data: bytes, *, abort: bool) -> Plan:
    parameters = _basic(data)
    change = call.disk.reservations.preempt(
        call.nexus.name, parameters.key, parameters.service_action_key, call.cdb[2]
    )
    lost = set(change.lost) if abort else set()
    victims = tuple(itl for itl in call.disk.attached if itl.nexus.name in lost)
    # what copies in the background has no task to abort (SPC-4 5.13.11.2.6)
    call.disk.copies.give_up(lambda nexus: any(itl.nexus is nexus for itl in victims))
    return _done(call, change, fence=True, abort=victims)


def _register_and_move(call: Call, data: bytes) -> Plan:
    parameters = MOVE_PARAMETER_LIST.parse(data)
    kept = call.disk.reservations.aptpl
    change = call.disk.reservations.register_and_move(
        call.nexus.name,
        parameters.key,
        parameters.service_action_key,
        partial(_destination, call, data, parameters),
        unregister=parameters.flags.unreg,
        aptpl=parameters.flags.aptpl,
    )
    return _done(call, change, kept, fence=True)


def _listed(call: Call, data: bytes, ports: Sequence[int]) -> list[NexusName]:
    """The I_T nexuses that SPEC_I_PT adds: every initiator port that is named, on these target ports."""
    end = _SPEC_I_PT_LIST + int.from_bytes(data[_SPEC_I_PT_LIST - 4 : _SPEC_I_PT_LIST], "big")
    if len(data) < _SPEC_I_PT_LIST or end > len(data):
        raise illegal_request(Asc.PARAMETER_LIST_LENGTH_ERROR)
    found: list[NexusName] = []
    seen: set[TransportId] = set()
    logged_in = _logged_in(call)
    for at, each in transport_id.parse(data, _SPEC_I_PT_LIST, end):
        if each in seen:
            continue
        seen.add(each)
        named = [name for port in ports for name in _named(each, port, logged_in)]
        if not named:
            raise invalid_field_in_parameter_list(at)
        found += named
    return found


def _destination(call: Call, data: bytes, parameters: Any) -> NexusName:
    """The one I_T nexus that REGISTER AND MOVE names."""
    end = MOVE_PARAMETER_LIST.sizeof() + parameters.transport_id_length
    if end > len(data):
        raise illegal_request(Asc.PARAMETER_LIST_LENGTH_ERROR)
    ids = list(transport_id.parse(data, MOVE_PARAMETER_LIST.sizeof(), end))
    if len(ids) != 1:
        raise invalid_field_in_parameter_list(20)
    if parameters.relative_port not in (port.relative_id for port in call.nexus.device.ports):
        raise invalid_field_in_parameter_list(18)
    named = _named(ids[0][1], parameters.relative_port, _logged_in(call))
    if len(named) != 1:
        raise invalid_field_in_parameter_list(24)
    return named[0]


def _logged_in(call: Call) -> dict[tuple[str, int], list[NexusName]]:
    """The I_T nexuses that reach the disk now, by initiator and relative target port."""
    found: dict[tuple[str, int], dict[NexusName, None]] = {}
    for itl in call.disk.attached:
        name = itl.nexus.name
        found.setdefault((itl.nexus.initiator, name.relative_port), {})[name] = None
    return {key: list(names) for key, names in found.items()}


def _named(
    who: TransportId, port: int, logged_in: Mapping[tuple[str, int], Sequence[NexusName]]
) -> Sequence[NexusName]:
    """The I_T nexuses of an initiator port, or of all ports of an initiator device that are logged in
    (SPC-4 7.6.4.6), on a target port.
    """
    if who.port is not None:
        return [NexusName(who.port, port)]
    return logged_in.get((who.initiator, port), ())


def _done(
    call: Call,
    change: Change,
    was_kept: bool = False,
    *,
    fence: bool = False,
    abort: tuple[ITLNexus, ...] = (),
) -> Plan:
    """The reservations have changed: what has to happen before GOOD. `was_kept`: APTPL was on before."""
    call.disk.reservations_changed(change)
    answer: Plan = Keep(call.disk, GOOD) if was_kept or call.disk.reservations.aptpl else GOOD
    return Fence(call.disk, answer, abort) if fence else answer
