"""RESERVE and RELEASE of SPC-2, for hosts that know no persistent reservations.

The whole logical unit only: the CDB bits for extents and third parties are outside the usage maps.  What
another nexus may still do is a column of the command table.  The reservation ends with RELEASE by its
holder, with a reset, and with the holder's nexus.

Where anybody is registered for persistent reservations, these two reserve and release nothing (CRH, SPC-4
5.13.3): GOOD for those whom a persistent reservation already gives what they ask for, a conflict for others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpxtarget.scsi.codes import Status
from mpxtarget.scsi.plan import GOOD, Fence, Plan, Reply

if TYPE_CHECKING:
    from mpxtarget.scsi.command import Call

_RESERVATION_CONFLICT = Reply(Status.RESERVATION_CONFLICT)


def reserve(call: Call) -> Plan:
    """RESERVE(6) and (10): that nobody else holds a reservation by RESERVE has been checked."""
    if call.disk.reservations:
        return _compatible(call)
    call.disk.reserve_for(call.nexus)
    return Fence(call.disk, GOOD)


def release(call: Call) -> Plan:
    """RELEASE(6) and (10); of no effect, but GOOD, for a nexus that holds no reservation."""
    if call.disk.reservations:
        return _compatible(call)
    call.disk.end_reservation(call.nexus)
    return GOOD


def _compatible(call: Call) -> Plan:
    """Compatible reservation handling: nothing is done."""
    reservations, name = call.disk.reservations, call.nexus.name
    held = reservations.reservation
    shares = held is not None and held.type.is_for_registrants and reservations.key_of(name) is not None
    return GOOD if shares or reservations.holds(name) else _RESERVATION_CONFLICT
