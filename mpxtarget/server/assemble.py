"""From records to a running array: open the backing stores, build the array and the bridge.

Rules kept here:
- All or nothing. A store that is missing, too small, locked by somebody else or not to be written is a
  refusal that names the disk and the file, and then no store is left open; there is no array with a broken
  disk.
- A new array is there only when all its stores are.
"""

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from backing_stores import BackingStore, StoreError
from mpxtarget.array.array import Array, Vdisk
from mpxtarget.array.ownership import moves_at_start
from mpxtarget.bridge.bridge import Bridge
from mpxtarget.scsi.logical_unit import Kept
from mpxtarget.server import disk_stores
from mpxtarget.server.errors import Refusal
from mpxtarget.server.state import State, VdiskRecord
from mpxtarget.server.whole_writes import WholeWrites

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Assembly:
    """A bridge, the array behind it, and the open stores of its disks by vdisk number."""

    state: State
    bridge: Bridge
    stores: dict[int, BackingStore]
    notes: "_LoginNotes"

    def close(self) -> None:
        """Bring what was written to stable storage, and close the stores. May block.

        Raises the OSError of the first store that could not be flushed, when all are closed.
        """
        self.notes.close()
        with contextlib.ExitStack() as stack:
            for store in self.stores.values():
                stack.callback(store.close)
                if not store.read_only and not disk_stores.is_invalid(store):
                    stack.callback(store.flush)
            self.stores.clear()
        try:
            self.state.note_stop()
        except Refusal as refusal:
            log.warning("the next start will take this stop for a crash: %s", refusal)


def assemble(state: State, now: Callable[[], float] = time.time) -> Assembly:
    """Open the stores and build array and bridge as the records say. Raises Refusal.

    The bridge has no portals yet: whoever opens one tells it. Every login is noted in the state, `now`
    being the clock (seconds since the epoch).
    """
    records = state.list_vdisks()
    stores: dict[int, BackingStore] = {}
    with contextlib.ExitStack() as opened:
        disk_stores.sweep(state.folder, records)
        for record in disk_stores.parents_first(records):
            opened.callback(open_store(state, record, stores).close)
        _undo_unfinished_writes(state, stores)
        _decide_who_manages(state)
        notes = _LoginNotes(state, now)
        bridge = build(state, stores, notes.note)
        bridge.device.set_clock(now)
        bridge.device.entropy = os.urandom
        opened.pop_all()
    return Assembly(state, bridge, stores, notes)


def _undo_unfinished_writes(state: State, stores: dict[int, BackingStore]) -> None:
    """Nobody may read what a WRITE ATOMIC that was killed has left."""
    unfinished = WholeWrites(state.folder)
    for record in state.list_vdisks():
        try:
            unfinished.recover(record.wwlun, stores[record.id])
        except OSError as error:
            raise Refusal(
                f"vdisk {record.name}: an unfinished write cannot be undone ({error.strerror})",
                "make its store, and the state folder, writable",
            ) from None


def _decide_who_manages(state: State) -> None:
    """The array starts: put each disk where it is to be by its preferred path."""
    moves = moves_at_start(
        state.list_vdisks(), clean=state.stopped_cleanly(), failed=state.failed_controller()
    )
    with state.transaction():
        state.set_controllers(moves)
        state.note_start()


def build(
    state: State, stores: dict[int, BackingStore], initiator_seen: Callable[[str, bool], None]
) -> Bridge:
    """The array and bridge of the records, with stores that are open."""
    array = Array(state.array(), state.failed_controller())
    for record in state.list_vdisks():
        vdisk = array.add_vdisk(record, stores[record.id])
        kept = state.kept(record.id)
        if kept is not None:
            _restore(state, vdisk, kept)
    bridge = Bridge(array, initiator_seen)
    for initiator in state.list_initiators():
        bridge.set_initiator(initiator)
    for presentation in state.list_presentations():
        bridge.present(presentation)
    return bridge


def _restore(state: State, vdisk: Vdisk, kept: Kept) -> None:
    try:
        vdisk.disk.restore(kept)
    except ValueError as error:
        raise state.damaged(f"what it keeps about {vdisk.record.name}: {error}") from None


def open_store(state: State, record: VdiskRecord, stores: dict[int, BackingStore]) -> BackingStore:
    """Open the store of a disk beside those that are open, its parent's among them. Raises Refusal."""
    try:
        return disk_stores.open_into(state.folder, record, stores)
    except StoreError as error:
        raise Refusal(f"vdisk {record.name}: {error}") from None


def create_array(folder: str | os.PathLike[str], **defaults: Any) -> State:
    """`State.create` (which has the arguments), and the stores of the new array's disks. Raises Refusal."""
    with contextlib.ExitStack() as made:
        state = State.create(folder, **defaults, prepare=lambda new: _make_stores(new, made))
        made.pop_all()
    return state


def _make_stores(state: State, made: contextlib.ExitStack) -> None:
    for record in state.list_vdisks():
        try:
            disk_stores.create(state.folder, record)
        except StoreError as error:
            raise Refusal(f"vdisk {record.name}: {error}") from None
        made.callback(disk_stores.delete_quietly, state.folder, record)


class _LoginNotes:
    """Writes down who logged in, without making a login wait for the disk, but for the very first."""

    def __init__(self, state: State, now: Callable[[], float]) -> None:
        self._state = state
        self._now = now
        self._lock = threading.Lock()
        self._pending: dict[str, float] = {}
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="login-notes")

    def note(self, name: str, new: bool) -> None:
        """An initiator logged in."""
        if new:
            self._write({name: self._now()})
            return
        with self._lock:
            idle = not self._pending
            self._pending[name] = self._now()
        if idle:
            self._writer.submit(self._write_pending)

    def close(self) -> None:
        """Return when everything is written."""
        self._writer.shutdown()

    def _write_pending(self) -> None:
        with self._lock:
            seen, self._pending = self._pending, {}
        self._write(seen)

    def _write(self, seen: dict[str, float]) -> None:
        try:
            with self._state.transaction():
                for name, when in seen.items():
                    self._state.see_initiator(name, when)
        except Refusal as refusal:
            log.warning("logins of %s are not written down: %s", ", ".join(seen), refusal)
