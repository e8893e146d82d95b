"""Snapshots and clones of virtual disks.

A snapshot depends on its parent; a clone does so until all is copied, which goes on while the target runs.
Order of making: the parent's writes are brought to stable storage, the files are made, and the record, which
is the one thing that makes them a disk, is last.
"""

from __future__ import annotations

import contextlib
from typing import Literal

from backing_stores import StoreError
from mpxtarget.array.records import VdiskKind
from mpxtarget.server import disk_stores
from mpxtarget.server.errors import Conflict, Refusal
from mpxtarget.server.state import VDISK_FOLDER, VdiskRecord, VdiskSpec
from mpxtarget.server.verbs import lun
from mpxtarget.server.verbs.base import Arguments, Context, Live, Number, Verb, together
from mpxtarget.server.verbs.lun import LunRow, NameLun
from mpxtarget.server.verbs.sizes import format_size
from mpxtarget.server.whole_writes import WholeWrites

MAX_DEPENDENTS = 16
"""What one disk may have: each preserves the old block before the first write to it."""
LOOK_SECONDS = 1.0


class TakeSnapshot(Arguments, frozen=True):
    """`parent` is the name of a virtual disk, or its LUN; `lun` null: no LUN of its own."""

    parent: Number | str
    name: str
    lun: Number | Literal["next"] | None = "next"
    read_only: bool = False


async def take_snapshot(context: Context, arguments: TakeSnapshot) -> LunRow:
    """Take a snapshot of a virtual disk, at once; hosts see it as a disk of its own."""
    return lun.row_of(context, await _make(context, arguments, "snapshot"))


async def make_clone(context: Context, arguments: TakeSnapshot) -> LunRow:
    """Make a clone of a virtual disk, of use at once and copied in the background."""
    return lun.row_of(context, await _make(context, arguments, "clone"))


async def wait_for_clone(context: Context, arguments: NameLun) -> LunRow:
    """Wait until a clone is complete; where nobody serves, copy it."""
    record = lun.find(context.state, arguments.lun)
    if record.kind == "snapshot" and record.parent is not None:
        parent = context.state.get_vdisk(record.parent).name
        raise Conflict(
            f"{record.name} is a snapshot of {parent}, and is not copied",
            f"`mpxtarget lun clone {record.name} NAME --wait` makes a disk that depends on nothing",
        )
    if context.live is None:
        if record.kind == "clone":
            _copy(context, record)
        return lun.row_of(context, context.state.get_vdisk(record.id))
    while record.kind == "clone":
        _tell(context, record)
        if await context.live.clones.over(record.id, LOOK_SECONDS):
            break
    now = context.state.get_vdisk(record.id)
    if now.kind == "clone":
        raise Refusal(f"{now.name} is copied no more", "`mpxtarget lun list` shows what is wrong with it")
    return lun.row_of(context, now)


def _tell(context: Context, record: VdiskRecord) -> None:
    store = context.live.stores.get(record.id) if context.live is not None else None
    own = disk_stores.progress(context.folder, record, store).own
    trouble = context.live.clones.trouble(record.id) if context.live is not None else ""
    waits = f", waits: {trouble}" if trouble else ""
    context.progress(f"{record.name}: {100 * own // record.size} % of {format_size(record.size)}{waits}")


async def _make(context: Context, arguments: TakeSnapshot, kind: VdiskKind) -> VdiskRecord:
    parent = lun.find(context.state, arguments.parent)
    spec = VdiskSpec(
        name=arguments.name,
        size=parent.size,
        lun=arguments.lun,
        block_size=parent.block_size,
        store_url=f"file:{VDISK_FOLDER}/{arguments.name}.img",
        read_only=arguments.read_only,
        kind=kind,
        parent=parent.id,
    )
    _check(context, parent, kind)
    record = context.state.rehearse_vdisk(spec)
    await context.blocking(disk_stores.sweep, context.folder, context.state.list_vdisks())
    try:
        if context.live is None:
            disk_stores.flush(context.folder, parent)
        await context.blocking(disk_stores.create, context.folder, record)
        try:
            if context.live is None:
                return context.state.add_vdisk(spec)
            return await _go_live(context, context.live, parent, record, spec)
        except BaseException:
            await context.blocking(disk_stores.delete_quietly, context.folder, record)
            raise
    except StoreError as error:
        raise disk_stores.as_refusal(error) from None


def _check(context: Context, parent: VdiskRecord, kind: VdiskKind) -> None:
    if parent.kind == "clone":
        raise Conflict(
            f"{parent.name} is a clone that is not complete yet",
            f"`mpxtarget lun wait {parent.name}` waits for it",
        )
    if parent.kind == "snapshot" and kind == "snapshot":
        raise Conflict(
            f"{parent.name} is a snapshot, and has none of its own",
            f"take another one of its parent, or clone it: `mpxtarget lun clone {parent.name} NAME`",
        )
    if parent.store_url.startswith("memory:"):
        raise Conflict(
            f"{parent.name} is in memory only, a {kind} would outlast what it depends on",
            "`mpxtarget lun create` without --store makes a disk that can have one",
        )
    if context.live is None and WholeWrites(context.folder).unfinished(parent.wwlun):
        raise Conflict(
            f"{parent.name} has a write that was not finished when the target was killed",
            "start the target, which undoes it",
        )
    store = None if context.live is None else context.live.stores[parent.id]
    if parent.parent is not None and disk_stores.progress(context.folder, parent, store).condition != "good":
        raise Conflict(f"{parent.name} is no good any more: a block of its parent could not be preserved")
    if len(context.state.dependents(parent.id)) >= MAX_DEPENDENTS:
        raise Conflict(
            f"{parent.name} has {MAX_DEPENDENTS} snapshots and clones already", "remove one of them first"
        )


async def _go_live(
    context: Context, live: Live, parent: VdiskRecord, made: VdiskRecord, spec: VdiskSpec
) -> VdiskRecord:
    """The moment: nobody writes, all that was written is in stable storage, and the record is made."""
    from mpxtarget.server import clones

    await clones.flush(live, parent.id)  # most of it while hosts still write
    async with clones.at_rest(live, parent.id) as io:
        await clones.flush(live, parent.id)
        before = live.stores[parent.id]
        origin = disk_stores.preserving(before)
        store = await context.blocking(disk_stores.open_snapshot, context.folder, made, origin)
        try:
            with together(context.state) as undo:
                record = context.state.add_vdisk(spec)
                clones.use(live, parent.id, io, origin)
                undo.callback(clones.use, live, parent.id, io, before)
                live.stores[record.id] = store
                undo.callback(live.stores.pop, record.id, None)
                live.bridge.add_vdisk(record, store)
                undo.callback(live.bridge.remove_vdisk, record.id)
        except BaseException:
            await context.blocking(store.close)
            raise
    if record.kind == "clone":
        live.clones.begin(record.id)
    return record


def _copy(context: Context, record: VdiskRecord) -> None:
    """Complete a clone of an array that nobody serves."""
    try:
        with contextlib.ExitStack() as opened:
            store = disk_stores.open_with_parents(context.folder, context.state.list_vdisks(), record, opened)
            shown = -1
            while store.copy():
                percent = 100 * store.map.owned_bytes // store.size
                if percent // 10 > shown // 10:
                    shown = percent
                    context.progress(f"{record.name}: {percent} % of {format_size(record.size)}")
            store.complete()
        context.state.make_independent(record.id)
        disk_stores.delete_map(context.folder, record)
    except StoreError as error:
        raise disk_stores.as_refusal(error) from None
    except OSError as error:
        raise Refusal(
            f"{record.name} cannot be copied: {error.strerror or error}", "copying goes on where it stopped"
        ) from None


VERBS = (
    Verb("lun/snapshot", TakeSnapshot, take_snapshot, writes=True),
    Verb("lun/clone", TakeSnapshot, make_clone, writes=True),
    Verb("lun/wait", NameLun, wait_for_clone, writes=True, streams=True, waits=True),
)
