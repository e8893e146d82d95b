"""The array as a whole: what it is, how it is, and the targets it is presented as."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from mpxtarget.array.identity import plain
from mpxtarget.array.models import MODELS
from mpxtarget.array.records import ArrayRecord, SerialNumbers
from mpxtarget.server.verbs import controller, lun, portal, session
from mpxtarget.server.verbs.base import (
    Arguments,
    Context,
    NoArguments,
    Row,
    UsageError,
    Verb,
    together,
)

if TYPE_CHECKING:
    from mpxtarget.array.array import Array
    from mpxtarget.bridge.bridge import Target


class Status(Row, frozen=True):
    """How things are.  `uptime` in seconds and `memory` in bytes are null while nobody serves."""

    running: bool
    pid: int | None
    uptime: float | None
    memory: int | None
    folder: str
    name: str
    model: str
    marketing: str
    strict: bool
    node_wwn: str
    policy: str
    targets: int
    controllers: list[controller.ControllerRow]
    portals: list[portal.PortalRow]
    luns: list[lun.LunRow]
    initiators: int
    sessions: list[session.SessionRow]


class ArrayRow(Row, frozen=True):
    """What the array is.  `firmware` names the command set of its disks; `largest_disk` in bytes, or null."""

    name: str
    model: str
    marketing: str
    revision: str
    strict: bool
    firmware: str
    largest_disk: int | None
    serial_numbers: SerialNumbers
    controller_serial: str
    bridge_serial: str
    node_wwn: str
    policy: str
    transition_time: int
    implicit_transition: str


class SetArray(Arguments, frozen=True):
    """What is left out stays as it is.  `transition_time` in seconds; `implicit_transition` is
    SECONDS:PERCENT, SECONDS:PERCENT:READS or off.
    """

    strict: bool | None = None
    serial_numbers: SerialNumbers | None = None
    transition_time: int | None = None
    implicit_transition: str | None = None


class TargetRow(Row, frozen=True):
    """A host port as the bridge presents it."""

    name: str
    alias: str
    controller: str
    host_port: str
    wwn: str
    portal_group: int
    relative_id: int
    sessions: int


def status(context: Context, _: NoArguments) -> Status:
    """Show how the array is: portals, LUNs, sessions."""
    import time

    record = context.state.array()
    live = context.live
    return Status(
        running=live is not None,
        pid=None if live is None else os.getpid(),
        uptime=None if live is None else max(0.0, time.time() - live.started_at),
        memory=None if live is None else resident_bytes(),
        folder=str(context.folder),
        name=record.name,
        model=record.model,
        marketing=MODELS[record.model].marketing,
        strict=record.strict,
        node_wwn=plain(record.node_wwn),
        policy=record.policy,
        targets=2 * MODELS[record.model].host_ports,
        controllers=controller.rows(context),
        portals=portal.rows(context),
        luns=lun.rows(context),
        initiators=len(context.state.list_initiators()),
        sessions=session.rows(context),
    )


def show(context: Context, _: NoArguments) -> ArrayRow:
    """Show what the array is: model, firmware, serial numbers."""
    record = context.state.array()
    model = MODELS[record.model]
    return ArrayRow(
        name=record.name,
        model=record.model,
        marketing=model.marketing,
        revision=model.revision,
        strict=record.strict,
        firmware=model.personality(record.strict).name,
        largest_disk=model.largest_disk(record.strict),
        serial_numbers=record.serial_numbers,
        controller_serial=record.controller_serial,
        bridge_serial=record.bridge_serial,
        node_wwn=plain(record.node_wwn),
        policy=record.policy,
        transition_time=record.transition_time,
        implicit_transition=record.implicit_transition,
    )


def set_array(context: Context, arguments: SetArray) -> ArrayRow:
    """Change what the disks offer and tell, and how they move; it takes effect at once."""
    old = context.state.array()
    given = {key: value for key, value in msgspec.structs.asdict(arguments).items() if value is not None}
    if not given:
        raise UsageError("nothing to set", "for example `mpxtarget array set --strict`")
    change(context, replace(old, **given))
    return show(context, NoArguments())


def list_targets(context: Context, _: NoArguments) -> list[TargetRow]:
    """List the iSCSI targets: one for each host port of the array."""
    counts: dict[str | None, int] = {}
    if context.live is not None:
        for info in context.live.sessions():
            counts[info.target] = counts.get(info.target, 0) + 1
    return [
        TargetRow(
            name=target.name,
            alias=target.alias,
            controller=target.host_port.controller,
            host_port=f"FP{target.host_port.number}",
            wwn=plain(target.host_port.wwn),
            portal_group=target.scsi_port.portal_group_tag,
            relative_id=target.scsi_port.relative_id,
            sessions=counts.get(target.name, 0),
        )
        for target in _targets(context)
    ]


def change(context: Context, record: ArrayRecord) -> ArrayRecord:
    """Change the record of the array.  Policy, CHAP, what disks offer and whose serial numbers they tell take
    effect at once, names and numbers with the next start.
    """
    with together(context.state) as undo:
        old = context.state.array()
        record = context.state.update_array(record)
        if context.live is not None:
            undo.callback(context.live.bridge.set_array, old)
            context.live.bridge.set_array(record)
    return record


def resident_bytes() -> int:
    """The memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _array(context: Context) -> Array:
    if context.live is not None:
        return context.live.bridge.array
    from mpxtarget.array.array import Array

    return Array(context.state.array())


def _targets(context: Context) -> list[Target]:
    if context.live is not None:
        return list(context.live.bridge.targets.values())
    from mpxtarget.bridge.bridge import Bridge

    return list(Bridge(_array(context)).targets.values())


VERBS = (
    Verb("status", NoArguments, status, writes=False),
    Verb("array/show", NoArguments, show, writes=False),
    Verb("array/set", SetArray, set_array, writes=True),
    Verb("target/list", NoArguments, list_targets, writes=False),
)
