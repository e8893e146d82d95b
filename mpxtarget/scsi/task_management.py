"""What task management functions do to logical units (SAM-5 clause 7, RFC 7143 11.5.1).

Finding and ending the tasks themselves is the business of whoever runs them; this is the state they leave
behind.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from mpxtarget.scsi.codes import Asc

if TYPE_CHECKING:
    from mpxtarget.scsi.logical_unit import LogicalUnit
    from mpxtarget.scsi.nexus import ITLNexus, ITNexus


def lun_reset(nexus: ITNexus, lun: int) -> bool:
    """LOGICAL UNIT RESET; every nexus of the LU learns of it, this one too.  False if there is no such
    LUN.
    """
    itl = nexus.luns.get(lun)
    if itl is None:
        return False
    itl.lu.reset(Asc.BUS_DEVICE_RESET_FUNCTION_OCCURRED)
    return True


def target_reset(nexus: ITNexus, asc: int = Asc.SCSI_BUS_RESET_OCCURRED) -> None:
    """TARGET WARM RESET: every LU this nexus can reach is reset, and says `asc`."""
    units: dict[LogicalUnit, None] = {itl.lu: None for itl in nexus.by_number.values()}
    for lu in units:
        lu.reset(asc)


def target_power_on(nexus: ITNexus, ended: Iterable[ITNexus]) -> None:
    """TARGET COLD RESET: as after a power on. The sessions of the nexuses `ended` are about to end; they come
    back as new ones, and learn of the power on, not of a loss (SAM-5 6.3.1).
    """
    target_reset(nexus, Asc.POWER_ON_OCCURRED)
    for each in ended:
        each.power_on_follows = True


def commands_cleared(victims: Iterable[ITLNexus]) -> None:
    """CLEAR TASK SET has ended commands of these nexuses, which did not ask for it (SAM-5 7.5, TAS 0)."""
    for itl in victims:
        itl.raise_unit_attention(Asc.COMMANDS_CLEARED_BY_ANOTHER_INITIATOR)
