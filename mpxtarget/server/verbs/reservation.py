"""Reservations of virtual disks: who is registered and who holds a disk, and an end to all of it.

At rest these are the registrations that a host wants kept over a loss of power (APTPL). There are no others
then: the rest of them, and what RESERVE reserved, ended with the target.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from mpxtarget.server.errors import Refusal
from mpxtarget.server.state import VdiskRecord
from mpxtarget.server.verbs import lun
from mpxtarget.server.verbs.base import Arguments, Context, Live, Number, Row, Verb
from mpxtarget.server.verbs.controller import array_of

if TYPE_CHECKING:
    from mpxtarget.scsi.logical_unit import Disk
    from mpxtarget.scsi.reservations import NexusName, Reservations

RESERVE = "RESERVE"


class ReservationRow(Row, frozen=True):
    """A registration of a virtual disk, or a reservation by RESERVE(6) or (10), which has no `key`.

    `lun` and `name` are the disk's, `type` is that of the reservation, null if this nexus holds none. `kept`:
    it outlasts a loss of power. `host_port` is null for a port that the array does not have.
    """

    lun: int | None
    name: str
    initiator: str
    isid: str
    target_port: int
    host_port: str | None
    key: str | None
    holds: bool
    type: str | None
    kept: bool
    logged_in: bool


class ClearedRow(Row, frozen=True):
    """What a virtual disk is rid of: so many registrations, and the reservation of this `type`, if any."""

    lun: int | None
    name: str
    registrations: int
    type: str | None


class ListReservations(Arguments, frozen=True):
    """`lun` null: of all virtual disks."""

    lun: Number | str | None = None


def list_reservations(context: Context, arguments: ListReservations) -> list[ReservationRow]:
    """List who is registered with the virtual disks, and who has reserved them."""
    if arguments.lun is None:
        records = context.state.list_vdisks()
    else:
        records = [lun.find(context.state, arguments.lun)]
    live = context.live
    logged_in = {nexus.name for nexus in live.bridge.nexuses()} if live is not None else set()
    host_ports = {port.relative_id: port.label for port in array_of(context).ports}
    return [row for record in records for row in _rows(context, record, host_ports, logged_in)]


def _rows(
    context: Context, record: VdiskRecord, host_ports: dict[int, str], logged_in: Collection[NexusName]
) -> Iterator[ReservationRow]:
    def row(nexus: NexusName, key: int | None, held: str | None, *, kept: bool) -> ReservationRow:
        initiator, _, isid = nexus.initiator_port.partition(",i,0x")
        return ReservationRow(
            lun=record.lun,
            name=record.name,
            initiator=initiator,
            isid=isid,
            target_port=nexus.relative_port,
            host_port=host_ports.get(nexus.relative_port),
            key=None if key is None else f"0x{key:016x}",
            holds=held is not None,
            type=held,
            kept=kept,
            logged_in=nexus in logged_in,
        )

    reservations = _reservations(context, record)
    held = _type(reservations)
    for each in reservations.registrations:
        holds = reservations.holds(each.nexus)
        yield row(each.nexus, each.key, held if holds else None, kept=reservations.aptpl)
    reserved_by = None if context.live is None else _disk(context.live, record).reserved_by
    if reserved_by is not None:
        yield row(reserved_by.name, None, RESERVE, kept=False)


async def clear_reservations(context: Context, arguments: lun.NameLun) -> ClearedRow:
    """Remove all registrations and the reservation of a virtual disk; hosts that had them learn of it."""
    record = lun.find(context.state, arguments.lun)
    live = context.live
    disk = None if live is None else _disk(live, record)
    reservations = _reservations(context, record)
    cleared = ClearedRow(
        lun=record.lun,
        name=record.name,
        registrations=len(reservations.registrations),
        type=RESERVE if disk is not None and disk.reserved_by is not None else _type(reservations),
    )
    if live is not None and disk is not None:
        disk.revoke_reservations()
        await _write_down(live, disk, record.name)
        return cleared
    reservations.revoke()
    kept = context.state.kept(record.id)
    if kept is not None:
        context.state.keep(record.id, replace(kept, reservations=reservations.kept))
    return cleared


async def _write_down(live: Live, disk: Disk, name: str) -> None:
    """By the keeper, not beside it: what it is writing now may be older."""
    import asyncio

    written: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
    live.keeper.keep(disk, written.set_result)
    error = await written
    if error is not None:
        reason = error.message if isinstance(error, Refusal) else str(error)
        raise Refusal(
            f"nobody is registered with {name} now, but that is not written down: {reason}",
            f"`mpxtarget reservation clear {name}` tries again",
        )


def _reservations(context: Context, record: VdiskRecord) -> Reservations:
    """What the running disk has, or would have after a start."""
    if context.live is not None:
        return _disk(context.live, record).reservations
    from mpxtarget.scsi.reservations import Reservations

    reservations = Reservations()
    kept = context.state.kept(record.id)
    try:
        reservations.restore(None if kept is None else kept.reservations)
    except ValueError as error:
        raise context.state.damaged(f"what it keeps about {record.name}: {error}") from None
    return reservations


def _type(reservations: Reservations) -> str | None:
    return None if reservations.reservation is None else reservations.reservation.type.words


def _disk(live: Live, record: VdiskRecord) -> Disk:
    return live.bridge.array.vdisks[record.id].disk


VERBS = (
    Verb("reservation/list", ListReservations, list_reservations, writes=False),
    Verb("reservation/clear", lun.NameLun, clear_reservations, writes=True),
)
