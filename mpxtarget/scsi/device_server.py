"""The device server: from a CDB to a plan, by the checks of SAM-5 in their order.

    LUN exists -> unit attention -> asymmetric access state -> reservation -> CDB fields -> sanitized, started

INQUIRY, REPORT LUNS and REQUEST SENSE pass the unit attention check; a LUN that is not mapped is answered by
a stand-in that knows those three (SAM-5 5.11).  Nothing an initiator can send makes `plan` raise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpxtarget.scsi import sanitize
from mpxtarget.scsi.codes import Status
from mpxtarget.scsi.command import Call, Command
from mpxtarget.scsi.commands import command_set
from mpxtarget.scsi.logical_unit import Absent, Disk
from mpxtarget.scsi.plan import Plan, Reply
from mpxtarget.scsi.sense import (
    LOGICAL_UNIT_NOT_SUPPORTED,
    NOT_STARTED,
    CheckCondition,
    not_accessible,
    unit_attention,
)

if TYPE_CHECKING:
    from mpxtarget.scsi.logical_unit import LogicalUnit
    from mpxtarget.scsi.nexus import ITLNexus, ITNexus

_CDB_LENGTH = 16

_RESERVATION_CONFLICT = Reply(Status.RESERVATION_CONFLICT)


def plan(nexus: ITNexus, lun: int, cdb: bytes) -> Plan:
    """What to do about one command.

    `lun` is the LUN field of the command as one 64-bit number, `cdb` the 16 bytes of its CDB field.
    Reporting a unit attention removes it, and commands such as MODE SELECT or START STOP UNIT take effect
    here, so each command is to be planned once.
    """
    nexus.live = True
    itl = nexus.luns.get(lun)
    lu = nexus.device.absent(lun) if itl is None else itl.lu
    try:
        return _plan(
            nexus, itl, lu, cdb if len(cdb) == _CDB_LENGTH else cdb[:_CDB_LENGTH].ljust(_CDB_LENGTH, b"\0")
        )
    except CheckCondition as fault:
        return fault.sense.reply(lu.descriptor_sense)


def conflicts(nexus: ITNexus, disk: Disk, cdb: bytes) -> bool:
    """Whether a reservation of another nexus forbids this command (SPC-4 5.13.1)."""
    if not disk.is_reserved:
        return False
    command = command_set(disk.personality, disk.peripheral_type, disk.durable).find(cdb)
    return isinstance(command, Command) and disk.forbids(nexus, command.reserved_class(cdb))


def _plan(nexus: ITNexus, itl: ITLNexus | None, lu: LogicalUnit, cdb: bytes) -> Plan:
    commands = command_set(lu.personality, lu.peripheral_type, lu.durable)
    command = commands.find(cdb)
    if isinstance(lu, Absent) and not isinstance(command, Command):
        raise CheckCondition(LOGICAL_UNIT_NOT_SUPPORTED)
    if (
        itl is not None
        and itl.attentions
        and not (isinstance(command, Command) and command.preempts_attention)
    ):
        raise CheckCondition(unit_attention(itl.take_unit_attention()))
    if not isinstance(command, Command):
        raise command
    disk = lu if isinstance(lu, Disk) else None
    if disk is not None:
        state = disk.access_state(nexus.target_port.group_id)
        if state not in command.access_states(cdb):
            raise CheckCondition(not_accessible(state))
        if disk.is_reserved and disk.forbids(nexus, command.reserved_class(cdb)):
            return _RESERVATION_CONFLICT
    command.check(cdb)
    if disk is not None:
        if disk.unsanitized is not None:
            sanitize.check(disk, command.name)
        if disk.stopped and command.needs_medium:
            raise CheckCondition(NOT_STARTED)
    return command.handler(Call(nexus, itl, lu, cdb, command, commands))
