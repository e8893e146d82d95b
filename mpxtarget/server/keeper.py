"""Writes down what has to outlast a loss of power about a disk: registrations, who manages it, its names.

Rules kept here:

- What is acknowledged is on stable storage: whoever asked is called back only after a transaction that began
  after the change.
- One transaction at a time, in a thread; all changes that came in meanwhile go into the next one.
- The records are those of `Disk.kept`; the controller stands with the disk's configuration, everything else
  beside it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from mpxtarget.server.errors import Refusal
from mpxtarget.server.lanes import Completions, Lane

if TYPE_CHECKING:
    from mpxtarget.scsi.logical_unit import Disk, Kept
    from mpxtarget.server.state import State

log = logging.getLogger("mpxtarget.state")


def _nobody_waits(_error: Exception | None) -> None:
    """It is written down when there is time."""


class Keeper:
    """Keeps the disks of one array. `vdisk_of` gives a disk's number, None for one that is gone."""

    def __init__(
        self, state: State, completions: Completions, vdisk_of: Callable[[Disk], int | None]
    ) -> None:
        self._state = state
        self._vdisk_of = vdisk_of
        self._lane = Lane(completions, "state")
        self._wanted: dict[Disk, list[Callable[[Exception | None], None]]] = {}
        self._writing = False

    @property
    def busy(self) -> bool:
        """Whether something is still to be written."""
        return self._writing or bool(self._wanted)

    def keep(self, disk: Disk, done: Callable[[Exception | None], None] = _nobody_waits) -> None:
        """Write down what is kept about the disk as it is now; `done` is told, on the event loop, how it
        went.
        """
        self._wanted.setdefault(disk, []).append(done)
        self._write_next()

    def _write_next(self) -> None:
        if self._writing or not self._wanted:
            return
        wanted, self._wanted = self._wanted, {}
        kept = {number: disk.kept for disk in wanted if (number := self._vdisk_of(disk)) is not None}
        told = [done for waiting in wanted.values() for done in waiting]
        refusals: list[Refusal] = []
        self._writing = True
        self._lane.submit(
            lambda: self._write(kept, refusals),
            lambda error: self._written(error or next(iter(refusals), None), told),
        )

    def _write(self, kept: dict[int, Kept], refusals: list[Refusal]) -> None:
        try:
            with self._state.transaction():
                for number, record in kept.items():
                    self._state.keep(number, record)
        except Refusal as refusal:
            refusals.append(refusal)

    def _written(self, error: Exception | None, told: list[Callable[[Exception | None], None]]) -> None:
        self._writing = False
        if error is not None:
            log.error("registrations and ownership of disks are not written down: %s", error)
        try:
            for done in told:
                done(error)
        finally:
            self._write_next()
