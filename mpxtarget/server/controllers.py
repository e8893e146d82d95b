"""The controllers of a running array: its ownership of disks in time, and what a failure does to sessions.

`array.ownership` decides; this module has the clock. It writes down which disks have moved, and ends the
sessions of the targets that are host ports of a controller which fails.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mpxtarget.array.ownership import ControllerState
    from mpxtarget.array.records import ControllerName
    from mpxtarget.bridge.bridge import Bridge
    from mpxtarget.scsi.logical_unit import Disk

log = logging.getLogger("mpxtarget.server")


class Controllers:
    """Both controllers. `keep` writes down who manages a disk; `end_sessions` ends those of a target."""

    def __init__(
        self, bridge: Bridge, keep: Callable[[Disk], None], end_sessions: Callable[[str, str], None]
    ) -> None:
        self._bridge = bridge
        self._ownership = bridge.array.ownership
        self._keep = keep
        self._end_sessions = end_sessions
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.Handle | None = None

    def start(self) -> None:
        """Let time pass for the array from now on."""
        self._loop = asyncio.get_running_loop()
        self._ownership.wake = self._soon
        self._soon()

    def stop(self) -> None:
        """Time stands still again."""
        self._loop = None
        if self._timer is not None:
            self._timer.cancel()

    @property
    def out_of_service(self) -> ControllerName | None:
        """The controller that has failed or restarts."""
        return self._ownership.out_of_service

    def state(self, controller: ControllerName) -> ControllerState:
        """How a controller is."""
        return self._ownership.state(controller)

    @property
    def seconds_left(self) -> float | None:
        """How long the controller that restarts still takes; None: none does."""
        return None if self._loop is None else self._ownership.seconds_left(self._loop.time())

    def owner(self, vdisk_id: int) -> ControllerName | None:
        """Who manages a disk; None: there is no such disk."""
        vdisk = self._bridge.array.vdisks.get(vdisk_id)
        return None if vdisk is None else vdisk.record.controller

    def in_transition(self, vdisk_id: int) -> bool:
        """Whether a disk is on its way to the controller that manages it."""
        vdisk = self._bridge.array.vdisks.get(vdisk_id)
        return vdisk is not None and vdisk.disk.transitioning

    def owners(self) -> dict[int, ControllerName]:
        """Who manages which disk, by its number."""
        return {number: vdisk.record.controller for number, vdisk in self._bridge.array.vdisks.items()}

    def fail(self, controller: ControllerName, seconds: float | None = None) -> None:
        """A controller fails, and comes back after so many seconds if any are said."""
        self._ownership.fail(controller, seconds)
        for target in self._bridge.targets.values():
            if target.host_port.controller == controller:
                self._end_sessions(target.name, f"controller {controller} failed")

    def recover(self) -> None:
        """The controller that is out of service comes back."""
        self._ownership.recover()

    def trespass(self, owners: dict[int, ControllerName]) -> None:
        """Move disks."""
        for number, controller in owners.items():
            self._ownership.trespass(number, controller)

    def _soon(self) -> None:
        self._write_down(self._ownership.take_moved())
        if self._loop is not None:
            self._arm(self._loop.time())

    def _arm(self, when: float) -> None:
        assert self._loop is not None
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self._due)

    def _due(self) -> None:
        if self._loop is None:
            return
        self._write_down(self._ownership.tick(self._loop.time()))
        when = self._ownership.next_event()
        if when is not None:
            self._arm(when)

    def _write_down(self, moved: dict[int, ControllerName]) -> None:
        """At once: a host that moved a disk is answered after what is kept now, its family's moves too."""
        vdisks = self._bridge.array.vdisks
        for number, controller in moved.items():
            log.info("controller %s manages %s now", controller, vdisks[number].record.name)
            self._keep(vdisks[number].disk)
