"""What a nexus may copy from, and copy to: the checks of READ and WRITE, for any disk that it reaches.

A copy is done in the name of the nexus that asked for it. The disk that the command was sent to has been
checked by the command table already, all others have not (SPC-4 5.16.3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from mpxtarget.scsi import sanitize
from mpxtarget.scsi.codes import PeripheralType, Status
from mpxtarget.scsi.command import ACTIVE
from mpxtarget.scsi.plan import Reply
from mpxtarget.scsi.reservations import Reserved
from mpxtarget.scsi.sense import NOT_STARTED, not_accessible, write_protected

if TYPE_CHECKING:
    from mpxtarget.scsi.logical_unit import Disk
    from mpxtarget.scsi.nexus import ITNexus


def disk_by_naa(nexus: ITNexus, designator: bytes) -> Disk | None:
    """The disk with this NAA designator, if the nexus reaches one."""
    for itl in nexus.by_number.values():
        lu = itl.lu
        if lu.peripheral_type == PeripheralType.DISK and lu.identity.naa == designator:
            return cast("Disk", lu)
    return None


def reaches(nexus: ITNexus, disk: Disk) -> bool:
    """Whether the disk is mapped for the nexus."""
    return any(itl.lu is disk for itl in nexus.by_number.values())


def refusal(nexus: ITNexus, disk: Disk, *, writing: bool) -> Reply | None:
    """How the disk would end a READ, or a WRITE, of this nexus before it looks at the blocks; None if it
    would not.
    """
    state = disk.access_state(nexus.target_port.group_id)
    if state not in ACTIVE:
        return not_accessible(state).reply(disk.descriptor_sense)
    if disk.forbids(nexus, Reserved.WRITES if writing else Reserved.READS):
        return Reply(Status.RESERVATION_CONFLICT)
    unsanitized = sanitize.state(disk)
    if unsanitized is not None:
        return unsanitized.reply(disk.descriptor_sense)
    if disk.stopped:
        return NOT_STARTED.reply(disk.descriptor_sense)
    if writing and disk.write_protected:
        return write_protected().sense.reply(disk.descriptor_sense)
    return None
