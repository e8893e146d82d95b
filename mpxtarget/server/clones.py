"""Snapshots and clones of disks that hosts use: how a disk comes to rest for them, and the copying of clones.

Rules kept here:

- At rest means: no write to the disk is under way, and none is half done. Those that come wait until whoever
  asked is done; reads go on. A disk's store is replaced, by another with the same blocks, only then.
- A clone is copied by one thread, piece by piece, which rests after each piece as long as that took: half of
  the time belongs to the hosts.
- Copying goes on after a restart where it stopped, and after an error in a while.
- Verbs and the ends of clones change one thing at a time: `changing`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Final, TypeVar

from backing_stores import StoreError
from backing_stores.chunk_map import Condition
from backing_stores.snapshot import SnapshotStore
from mpxtarget.server import disk_stores
from mpxtarget.server.errors import Refusal

if TYPE_CHECKING:
    from backing_stores import BackingStore
    from mpxtarget.server.disk_io import DiskIo
    from mpxtarget.server.state import State
    from mpxtarget.server.verbs.base import Live

log = logging.getLogger("mpxtarget.clones")
_T = TypeVar("_T")

REST_SECONDS: Final = 5.0
FLUSH_SECONDS: Final = 60.0
AGAIN_SECONDS: Final = 10.0


@contextlib.asynccontextmanager
async def at_rest(live: Live, vdisk_id: int) -> AsyncIterator[DiskIo]:
    """Inside, nobody writes to a disk. Raises Refusal."""
    vdisk = live.bridge.array.vdisks[vdisk_id]
    io = live.executor.io_of(vdisk.disk)
    everything = ((0, vdisk.disk.blocks << vdisk.disk.shift, False),)  # as a reader: only writes wait for it
    granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def given() -> None:
        if granted.done():  # nobody waits for it any more
            io.give_back(everything)
        else:
            granted.set_result(None)

    def claim() -> None:
        if not granted.done():
            io.claim(everything, given)

    # Commands first: one that has begun to write gets all of its data before others wait for us.
    pause = live.executor.pause(vdisk.disk, claim)
    try:
        await _in_time(granted, REST_SECONDS, f"{vdisk.record.name} does not come to rest")
    finally:
        pause.end()
    try:
        yield io
    finally:
        io.give_back(everything)


async def flush(live: Live, vdisk_id: int) -> None:
    """Bring all that was written to a disk to stable storage. Raises Refusal."""
    vdisk = live.bridge.array.vdisks[vdisk_id]
    flushed: asyncio.Future[OSError | None] = asyncio.get_running_loop().create_future()
    live.executor.io_of(vdisk.disk).flush(
        None, lambda error: None if flushed.done() else flushed.set_result(error)
    )
    error = await _in_time(flushed, FLUSH_SECONDS, f"{vdisk.record.name} cannot be flushed")
    if error is not None:
        raise Refusal(
            f"{vdisk.record.name} cannot be flushed: {error.strerror or error}", "look at its store"
        )


def use(live: Live, vdisk_id: int, io: DiskIo, store: BackingStore) -> None:
    """Go on with another store that has the same blocks; inside `at_rest`."""
    live.stores[vdisk_id] = live.bridge.array.vdisks[vdisk_id].store = store
    io.use(store)


async def leave(live: Live, parent_id: int, snapshot: SnapshotStore) -> None:
    """A snapshot goes: its parent preserves nothing for it any more. Raises Refusal."""
    async with at_rest(live, parent_id) as io:
        origin = snapshot.origin
        origin.leave(snapshot)
        if not origin.snapshots and live.stores[parent_id] is origin:
            use(live, parent_id, io, origin.inner)


async def _in_time(future: asyncio.Future[_T], seconds: float, complaint: str) -> _T:
    try:
        async with asyncio.timeout(seconds):
            return await future
    except TimeoutError:
        raise Refusal(f"{complaint}: its I/O does not come to an end", "try again later") from None


class _Copying:
    """The copying of one clone."""

    def __init__(self, store: SnapshotStore, copy: Callable[[_Copying], None]) -> None:
        self.store = store
        self.stop = threading.Event()
        self.over = asyncio.Event()
        self.trouble = ""
        self.thread = threading.Thread(target=copy, args=(self,), name=f"clone {store.url}", daemon=True)


class Clones:
    """The clones of a running array that are not complete."""

    def __init__(self, state: State, live: Live) -> None:
        self.state = state
        self._live = live
        self._copying: dict[int, _Copying] = {}
        self._ends: set[asyncio.Task[None]] = set()
        self.changing = asyncio.Lock()

    def start(self) -> None:
        """Go on with all that are not complete."""
        for record in self.state.list_vdisks():
            if record.kind == "clone":
                self.begin(record.id)

    def begin(self, vdisk_id: int) -> None:
        """Copy a clone, whose store is open."""
        store = disk_stores.snapshot_of(self._live.stores[vdisk_id])
        assert store is not None
        loop = asyncio.get_running_loop()
        copying = _Copying(store, lambda copying: self._copy(vdisk_id, copying, loop))
        self._copying[vdisk_id] = copying
        copying.thread.start()

    async def end(self, vdisk_id: int) -> bool:
        """Stop copying a clone, which stays as it is; False if its thread does not come to an end."""
        copying = self._copying.pop(vdisk_id, None)
        if copying is None:
            return True
        copying.stop.set()
        copying.over.set()
        await asyncio.to_thread(copying.thread.join, REST_SECONDS)
        return not copying.thread.is_alive()

    async def close(self) -> bool:
        """Stop copying; it goes on at the next start. False if a thread does not come to an end."""
        ended = [await self.end(vdisk_id) for vdisk_id in list(self._copying)]
        if self._ends:
            await asyncio.wait(self._ends)
        return all(ended)

    async def over(self, vdisk_id: int, seconds: float) -> bool:
        """Wait until a clone is complete, or is copied no more; False after so many seconds."""
        copying = self._copying.get(vdisk_id)
        if copying is None:
            return True
        try:
            async with asyncio.timeout(seconds):
                await copying.over.wait()
        except TimeoutError:
            return False
        return True

    def trouble(self, vdisk_id: int) -> str:
        """Why copying does not go on at the moment; empty if it does."""
        copying = self._copying.get(vdisk_id)
        return "" if copying is None else copying.trouble

    def _copy(self, vdisk_id: int, copying: _Copying, loop: asyncio.AbstractEventLoop) -> None:
        """In the thread: all pieces, then the end."""
        store = copying.store
        while not copying.stop.is_set():
            began = time.monotonic()
            try:
                more = store.copy()
                if not more:
                    store.complete()
                copying.trouble = ""
            except OSError as error:
                copying.trouble = error.strerror or str(error)
                log.warning("%s: copying does not go on: %s", store.url, copying.trouble)
                if store.map.condition is Condition.INVALID:
                    with contextlib.suppress(RuntimeError):  # the loop is closed
                        loop.call_soon_threadsafe(copying.over.set)
                    return
                copying.stop.wait(AGAIN_SECONDS)
                continue
            if not more:
                with contextlib.suppress(RuntimeError):
                    loop.call_soon_threadsafe(self._copied, vdisk_id, copying)
                return
            copying.stop.wait(time.monotonic() - began)

    def _copied(self, vdisk_id: int, copying: _Copying) -> None:
        """All of a clone is there: end it, as soon as nobody else changes anything."""
        if copying.stop.is_set():
            return
        task = asyncio.get_running_loop().create_task(self._become_a_disk(vdisk_id, copying))
        self._ends.add(task)
        task.add_done_callback(self._ends.discard)

    async def _become_a_disk(self, vdisk_id: int, copying: _Copying) -> None:
        async with self.changing:
            if copying.stop.is_set():  # removed, or the target stops
                return
            try:
                await self._split(vdisk_id, copying.store)
            except Refusal as refusal:
                copying.trouble = refusal.message
                log.error("clone %s is complete, and cannot become a disk: %s", copying.store.url, refusal)
                loop = asyncio.get_running_loop()
                loop.call_later(AGAIN_SECONDS, self._copied, vdisk_id, copying)
                return
            self._copying.pop(vdisk_id, None)
            copying.over.set()

    async def _split(self, vdisk_id: int, store: SnapshotStore) -> None:
        """Record first, then the running target, then the file that is not needed any more."""
        live = self._live
        vdisk = live.bridge.array.vdisks[vdisk_id]
        if vdisk.record.parent is not None:
            async with at_rest(live, vdisk_id) as io:
                self.state.make_independent(vdisk_id)
                vdisk.record = replace(vdisk.record, kind="disk", parent=None)
                use(live, vdisk_id, io, store.data)
            log.info("clone %s is complete", vdisk.record.name)
        parent_id = next((number for number, each in live.stores.items() if each is store.origin), None)
        if parent_id is not None:
            await leave(live, parent_id, store)
        await asyncio.to_thread(store.split)
        with contextlib.suppress(StoreError):  # it is swept up at the next start
            await asyncio.to_thread(SnapshotStore.delete_map, store.url, base=self.state.folder)
