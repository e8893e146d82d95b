"""RESERVE and RELEASE of SPC-2, for hosts that know no persistent reservations.

The whole logical unit only: the CDB bits for extents and third parties are outside the usage maps.  What
another nexus may still do is a column of the command table.  The reservation ends with RELEASE by its
holder, with a reset, and with the holder's nexus.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpxtarget.scsi.plan import GOOD, Plan

if TYPE_CHECKING:
    from mpxtarget.scsi.command import Call


def reserve(call: Call) -> Plan:
    """RESERVE(6) and (10): that nobody else holds a reservation has been checked."""
    call.disk.reserve_for(call.nexus)
    return GOOD


def release(call: Call) -> Plan:
    """RELEASE(6) and (10); of no effect, but GOOD, for a nexus that holds no reservation."""
    call.disk.end_reservation(call.nexus)
    return GOOD
