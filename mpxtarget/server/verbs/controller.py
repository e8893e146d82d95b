"""Controllers that fail and come back, and which of them manages a virtual disk.

The table of preferred paths is `array.ownership`'s; here it is carried out on the database and on the running
target together.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import msgspec

from mpxtarget.array.identity import plain
from mpxtarget.array.ownership import ControllerState, family, moves_at_recovery, other_controller
from mpxtarget.array.records import ControllerName, Preferred
from mpxtarget.server.errors import Conflict
from mpxtarget.server.verbs import lun
from mpxtarget.server.verbs.base import Arguments, Context, NoArguments, Row, Verb, together

if TYPE_CHECKING:
    from mpxtarget.array.array import Array

RESTART_SECONDS = 30.0
MAX_RESTART_SECONDS = 86400.0


class HostPortRow(Row, frozen=True):
    """A host port of a controller."""

    name: str
    wwn: str


class ControllerRow(Row, frozen=True):
    """A controller and what it manages now.  `seconds_left`: until it has restarted, else null."""

    name: str
    state: ControllerState
    seconds_left: float | None
    serial: str
    target_port_group: int
    host_ports: list[HostPortRow]
    luns: list[str]


class NameController(Arguments, frozen=True):
    """`controller` is A or B."""

    controller: ControllerName


class RestartController(NameController, frozen=True):
    """`seconds`: how long it is away."""

    seconds: Annotated[float, msgspec.Meta(ge=0, le=MAX_RESTART_SECONDS)] = RESTART_SECONDS


class TrespassLun(lun.NameLun, frozen=True):
    """`to` null: to the controller that does not manage it."""

    to: ControllerName | None = None


class PreferLun(lun.NameLun, frozen=True):
    """The preferred path, as on an EVA."""

    preferred: Preferred


def rows(context: Context) -> list[ControllerRow]:
    """Both controllers."""
    vdisks = context.state.list_vdisks()
    array = array_of(context)
    return [
        ControllerRow(
            name=controller.name,
            state=_state(context, controller.name),
            seconds_left=_seconds_left(context, controller.name),
            serial=array.record.controller_serial,
            target_port_group=controller.group_id,
            host_ports=[
                HostPortRow(name=f"FP{port.number}", wwn=plain(port.wwn)) for port in controller.ports
            ],
            luns=[vdisk.name for vdisk in vdisks if lun.manager(context, vdisk) == controller.name],
        )
        for controller in array.controllers.values()
    ]


def _row(context: Context, name: ControllerName) -> ControllerRow:
    return next(row for row in rows(context) if row.name == name)


def list_controllers(context: Context, _: NoArguments) -> list[ControllerRow]:
    """List the controllers, how they are, their host ports and the disks they manage."""
    return rows(context)


def fail_controller(context: Context, arguments: NameController) -> ControllerRow:
    """Make a controller fail: its sessions end, the other one manages its disks."""
    name = arguments.controller
    if _state(context, name) == "failed":
        raise Conflict(f"controller {name} has failed already", _recover_hint(name))
    _leave(context, name, for_good=True)
    return _row(context, name)


def recover_controller(context: Context, arguments: NameController) -> ControllerRow:
    """Bring a controller back that failed; disks that prefer it with failback return to it."""
    name = arguments.controller
    if _state(context, name) == "ok":
        raise Conflict(f"controller {name} works", "`mpxtarget controller list` shows how both are")
    live = context.live
    back = moves_at_recovery(context.state.list_vdisks(), name)
    with together(context.state) as undo:
        context.state.set_failed_controller(None)
        context.state.set_controllers(back)
        if live is not None:
            undo.callback(live.controllers.fail, name)
            live.controllers.recover()
    return _row(context, name)


def restart_controller(context: Context, arguments: RestartController) -> ControllerRow:
    """Restart a controller: it fails, and comes back after some seconds by itself."""
    name = arguments.controller
    _leave(context, name, for_good=False, seconds=arguments.seconds)
    if context.live is None:  # time means nothing to an array that nobody serves
        context.state.set_controllers(moves_at_recovery(context.state.list_vdisks(), name))
    return _row(context, name)


def _leave(context: Context, name: ControllerName, *, for_good: bool, seconds: float | None = None) -> None:
    """A controller goes out of service, if it is in it: its disks go to the survivor."""
    survivor = other_controller(name)
    if _out_of_service(context) == survivor:
        raise Conflict(
            f"controller {name} is the only one that works, the other one is {_state(context, survivor)}",
            _recover_hint(survivor),
        )
    live = context.live
    moved = {v.id: survivor for v in context.state.list_vdisks() if v.controller == name}
    with together(context.state) as undo:
        context.state.set_failed_controller(name if for_good else None)
        context.state.set_controllers(moved)
        if live is not None:
            undo.callback(live.controllers.trespass, live.controllers.owners())
            undo.callback(live.controllers.recover)
            live.controllers.fail(name, seconds)


def trespass_lun(context: Context, arguments: TrespassLun) -> lun.LunRow:
    """Let the other controller manage a virtual disk; hosts that are logged in learn of it."""
    record = lun.find(context.state, arguments.lun)
    live = context.live
    now = lun.manager(context, record)
    to = arguments.to or other_controller(now)
    if to == _out_of_service(context):
        raise Conflict(f"controller {to} is out of service: {_state(context, to)}", _recover_hint(to))
    with together(context.state) as undo:
        parents = {vdisk.id: vdisk.parent for vdisk in context.state.list_vdisks()}
        context.state.set_controllers(dict.fromkeys(family(record.id, parents), to))
        if live is not None:
            undo.callback(live.controllers.trespass, {record.id: now})
            live.controllers.trespass({record.id: to})
    return lun.row_of(context, replace(record, controller=to))


async def prefer_lun(context: Context, arguments: PreferLun) -> lun.LunRow:
    """Change the preferred path of a virtual disk, which moves nothing by itself."""
    record = lun.find(context.state, arguments.lun)
    if record.kind == "snapshot" and record.parent is not None:
        parent = context.state.get_vdisk(record.parent).name
        raise Conflict(
            f"{record.name} is managed where {parent} is, and prefers nothing",
            f"`mpxtarget lun prefer {parent} {arguments.preferred}` is for both",
        )
    return lun.row_of(
        context, await lun.change(context, record, replace(record, preferred=arguments.preferred))
    )


def _recover_hint(name: ControllerName) -> str:
    return f"`mpxtarget controller recover {name}` brings it back"


def _out_of_service(context: Context) -> ControllerName | None:
    if context.live is not None:
        return context.live.controllers.out_of_service
    return context.state.failed_controller()


def _state(context: Context, name: ControllerName) -> ControllerState:
    if context.live is not None:
        return context.live.controllers.state(name)
    return "failed" if name == context.state.failed_controller() else "ok"


def _seconds_left(context: Context, name: ControllerName) -> float | None:
    if context.live is None or name != context.live.controllers.out_of_service:
        return None
    return context.live.controllers.seconds_left


def array_of(context: Context) -> Array:
    """The array itself; at rest without its virtual disks."""
    if context.live is not None:
        return context.live.bridge.array
    from mpxtarget.array.array import Array

    return Array(context.state.array())


VERBS = (
    Verb("controller/list", NoArguments, list_controllers, writes=False),
    Verb("controller/fail", NameController, fail_controller, writes=True),
    Verb("controller/recover", NameController, recover_controller, writes=True),
    Verb("controller/restart", RestartController, restart_controller, writes=True),
    Verb("lun/trespass", TrespassLun, trespass_lun, writes=True),
    Verb("lun/prefer", PreferLun, prefer_lun, writes=True),
)
