"""Virtual disks: their records, their stores, and who sees them at which LUN."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import backing_stores
from backing_stores import StoreError
from mpxtarget.array.models import MAX_LUN, MIN_LUN
from mpxtarget.array.records import ControllerName, Preferred
from mpxtarget.server import disk_stores
from mpxtarget.server.errors import Conflict, NotFound, Refusal
from mpxtarget.server.state import VDISK_FOLDER, PresentationRecord, State, VdiskRecord, VdiskSpec
from mpxtarget.server.verbs.base import (
    Arguments,
    Context,
    Live,
    NoArguments,
    Number,
    Row,
    UsageError,
    Verb,
    together,
)
from mpxtarget.server.verbs.sizes import format_size, parse_lun_size

if TYPE_CHECKING:
    from mpxtarget.scsi.logical_unit import Disk

log = logging.getLogger(__name__)
LET_GO_SECONDS = 5.0


class Presented(Row, frozen=True):
    """Where an initiator finds a virtual disk."""

    initiator: str
    lun: int


class LunRow(Row, frozen=True):
    """A virtual disk as it is listed.

    `lun` is null when only presentations show it; `wwlun` is 32 hex digits. `durable`: its blocks are there
    after the next start. `parent` is what a snapshot, or a clone that is being copied, depends on, `own` how
    many of its bytes are not read from there. `condition` is good, copying, invalid (a block of the parent
    could not be preserved) or damaged (a file is missing). `in_transition`: the disk moves to `controller`,
    and is not ready meanwhile.
    """

    name: str
    lun: int | None
    size: int
    block_size: int
    store: str
    durable: bool
    read_only: bool
    preferred: str
    controller: str
    in_transition: bool
    wwlun: str
    kind: str
    parent: str | None
    condition: str
    own: int | None
    presented: list[Presented]


class CreateLun(Arguments, frozen=True):
    """`lun` null: no LUN of its own.  `existing`: use the store as it is; then the size may be left out."""

    name: str
    size: int | str | None = None
    lun: Number | Literal["next"] | None = "next"
    store: str | None = None
    existing: bool = False
    block_size: Number = 512
    read_only: bool = False
    preferred: Preferred = "none"


class NameLun(Arguments, frozen=True):
    """`lun` is the name of a virtual disk, or its LUN."""

    lun: Number | str


class RemoveLun(NameLun, frozen=True):
    """`delete_data`: the store goes too."""

    delete_data: bool = False


class ResizeLun(NameLun, frozen=True):
    """`force`: cut data off."""

    size: int | str
    force: bool = False


class PresentLun(NameLun, frozen=True):
    """`at` null: the disk's own LUN if it is free there, else the lowest free one."""

    initiator: str
    at: Number | None = None


class UnpresentLun(NameLun, frozen=True):
    """The presentation to end."""

    initiator: str


def rows(context: Context) -> list[LunRow]:
    """All virtual disks."""
    presented: dict[int, list[PresentationRecord]] = {}
    for presentation in context.state.list_presentations():
        presented.setdefault(presentation.vdisk_id, []).append(presentation)
    records = context.state.list_vdisks()
    names = {record.id: record.name for record in records}
    return [
        _row(context, record, names.get(record.parent or 0), presented.get(record.id, ()))
        for record in records
    ]


def _row(
    context: Context,
    record: VdiskRecord,
    parent: str | None,
    presented: Sequence[PresentationRecord],
) -> LunRow:
    """A virtual disk as it is listed."""
    progress = None
    if record.parent is not None:
        store = None if context.live is None else context.live.stores.get(record.id)
        progress = disk_stores.progress(context.folder, record, store)
    return LunRow(
        name=record.name,
        lun=record.lun,
        size=record.size,
        block_size=record.block_size,
        store=record.store_url,
        durable=backing_stores.is_durable(record.store_url),
        read_only=record.read_only,
        preferred=record.preferred,
        controller=manager(context, record),
        in_transition=context.live is not None and context.live.controllers.in_transition(record.id),
        wwlun=record.wwlun.hex(),
        kind=record.kind,
        parent=parent,
        condition="good" if progress is None else progress.condition,
        own=None if progress is None else progress.own,
        presented=[Presented(initiator=p.initiator, lun=p.lun) for p in presented],
    )


def manager(context: Context, record: VdiskRecord) -> ControllerName:
    """The controller that manages a virtual disk now; the database may hear of a move a moment later."""
    owner = None if context.live is None else context.live.controllers.owner(record.id)
    return owner or record.controller


def row_of(context: Context, record: VdiskRecord) -> LunRow:
    """One virtual disk as it is listed."""
    parent = None if record.parent is None else context.state.get_vdisk(record.parent).name
    presented = [p for p in context.state.list_presentations() if p.vdisk_id == record.id]
    return _row(context, record, parent, presented)


def find(state: State, lun: int | str) -> VdiskRecord:
    """The virtual disk that somebody means by its name or by its LUN."""
    if isinstance(lun, int):
        return state.find_vdisk_by_lun(lun)
    try:
        return state.find_vdisk(lun)
    except NotFound:
        if lun.isascii() and lun.isdigit() and len(lun) <= 5:
            return state.find_vdisk_by_lun(int(lun))
        raise


def list_luns(context: Context, _: NoArguments) -> list[LunRow]:
    """List the virtual disks."""
    return rows(context)


async def create_lun(context: Context, arguments: CreateLun) -> LunRow:
    """Create a virtual disk; hosts that are logged in learn of it at once."""
    size = 0
    if arguments.size is not None:
        try:
            size = parse_lun_size(arguments.size, arguments.block_size if arguments.block_size > 0 else 1)
        except ValueError as error:
            raise UsageError(str(error), "for example --size 10G") from None
    elif not arguments.existing:
        raise UsageError(f"how large is {arguments.name} to be?", "for example --size 10G")
    spec = VdiskSpec(
        name=arguments.name,
        size=size,
        lun=arguments.lun,
        block_size=arguments.block_size,
        store_url=arguments.store,
        read_only=arguments.read_only,
        preferred=arguments.preferred,
    )
    if arguments.existing and not size:
        spec = replace(spec, size=size_of_store(context, spec))
    return row_of(context, add(context, spec, create=not arguments.existing))


async def remove_lun(context: Context, arguments: RemoveLun) -> LunRow:
    """Remove a virtual disk; its store stays, unless its data is to be deleted."""
    record = find(context.state, arguments.lun)
    if record.parent is not None and not arguments.delete_data:
        raise Refusal(
            f"the data of {record.kind} {record.name} is of no use without its parent",
            f"say --delete-data to lose it, or `mpxtarget lun wait {record.name}` first to keep it"
            if record.kind == "clone"
            else f"say --delete-data to lose it, or keep a copy: `mpxtarget lun clone {record.name} NAME`",
        )
    before = row_of(context, record)
    await remove(context, record)
    if arguments.delete_data:
        try:
            await context.blocking(disk_stores.delete, context.folder, record)
        except StoreError as error:
            raise disk_stores.as_refusal(
                error, f"{record.name} was removed, but its data was not deleted: "
            ) from None
    return before


async def resize_lun(context: Context, arguments: ResizeLun) -> LunRow:
    """Change the size of a virtual disk; hosts learn of it at once."""
    record = find(context.state, arguments.lun)
    try:
        size = parse_lun_size(arguments.size, record.block_size)
    except ValueError as error:
        raise UsageError(str(error), "for example `mpxtarget lun resize NAME 20G`") from None
    if size < record.size and not arguments.force:
        raise Refusal(
            would_cut(record, size),
            "shrink the file system on the host first, then say --force",
        )
    return row_of(context, await resize(context, record, size))


async def present_lun(context: Context, arguments: PresentLun) -> LunRow:
    """Show a virtual disk to an initiator."""
    record = find(context.state, arguments.lun)
    try:
        initiator = context.state.get_initiator(arguments.initiator).name
    except NotFound as error:
        raise NotFound(
            error.message, f"`mpxtarget initiator add {arguments.initiator}` makes it known"
        ) from None
    at = arguments.at
    if at is None:
        at = _free_lun(context, record, initiator)
    await present(context, PresentationRecord(record.id, initiator, at))
    return row_of(context, record)


async def unpresent_lun(context: Context, arguments: UnpresentLun) -> LunRow:
    """End the presentation of a virtual disk to an initiator."""
    record = find(context.state, arguments.lun)
    await unpresent(context, record.id, arguments.initiator)
    return row_of(context, record)


def would_cut(record: VdiskRecord, size: int) -> str:
    """What is wrong with making a disk smaller."""
    return f"{record.name} has {format_size(record.size)}; {format_size(size)} would cut data off at its end"


def _free_lun(context: Context, record: VdiskRecord, initiator: str) -> int:
    taken = {p.lun for p in context.state.list_presentations(initiator)}
    if context.state.array().policy == "present-all":
        taken |= {v.lun for v in context.state.list_vdisks() if v.lun is not None and v.id != record.id}
    if record.lun is not None and record.lun not in taken:
        return record.lun
    free = next((lun for lun in range(MIN_LUN, MAX_LUN + 1) if lun not in taken), None)
    if free is None:
        raise Conflict(f"{initiator} has no free LUN", "unpresent another disk first")
    return free


# The changes themselves, database and running target together; `apply` makes them too.


def add(context: Context, spec: VdiskSpec, *, create: bool) -> VdiskRecord:
    """Add a virtual disk: record, store and, if somebody serves, the disk itself; all of it or nothing."""
    live = context.live
    with together(context.state) as undo:
        record = context.state.add_vdisk(spec)
        if not context.stores:
            return record
        try:
            if create:
                disk_stores.create(context.folder, record)
                undo.callback(disk_stores.delete_quietly, context.folder, record)
            store = disk_stores.open_store(context.folder, record)
        except StoreError as error:
            raise disk_stores.as_refusal(error) from None
        if live is None:
            store.close()
        else:
            undo.callback(store.close)
            live.stores[record.id] = store
            undo.callback(live.stores.pop, record.id, None)
            live.bridge.add_vdisk(record, store)
            undo.callback(live.bridge.remove_vdisk, record.id)
    return record


async def remove(context: Context, record: VdiskRecord) -> None:
    """Remove a virtual disk, and let go of its store."""
    live = context.live
    presentations = [p for p in context.state.list_presentations() if p.vdisk_id == record.id]
    with together(context.state) as undo:
        context.state.remove_vdisk(record.id)
        if live is not None:
            disk = live.bridge.array.vdisks[record.id].disk
            for presentation in presentations:
                undo.callback(live.bridge.present, presentation)
            undo.callback(live.bridge.add_vdisk, record, live.stores[record.id])
            live.bridge.remove_vdisk(record.id)
    if live is not None:
        await _let_go(live, record.id, disk, record.parent)


async def _let_go(live: Live, vdisk_id: int, disk: Disk, parent_id: int | None) -> None:
    """Close the store of a disk that is gone, as soon as no thread works on it any more.

    I/O that hangs must not hang the verbs too: such a store stays open until the target stops.
    """
    import asyncio

    from mpxtarget.server import clones

    store = live.stores.pop(vdisk_id)
    copied = await live.clones.end(vdisk_id)
    live.executor.abandon(disk)
    try:
        async with asyncio.timeout(LET_GO_SECONDS):
            while live.executor.busy(disk):  # noqa: ASYNC110 - once per removed disk, nobody sets an event for it
                await asyncio.sleep(0.01)
            snapshot = disk_stores.snapshot_of(store)
            if copied and snapshot is not None and parent_id is not None:
                await clones.leave(live, parent_id, snapshot)
    except (TimeoutError, Refusal):
        copied = False
    if not copied:
        log.error("%s stays open: its I/O does not come to an end", store.url)
        return
    live.executor.forget(disk)
    await asyncio.to_thread(store.close)


async def change(context: Context, old: VdiskRecord, new: VdiskRecord) -> VdiskRecord:
    """Change the LUN of a virtual disk, its preferred controller, or whether it can be written to."""
    live = context.live
    if old == new:
        return old
    if live is not None and old.read_only and not new.read_only and live.stores[old.id].read_only:
        raise Conflict(
            f"{old.name} is open read-only",
            "stop the target, apply this again and start it, to make the disk writable",
        )
    with together(context.state) as undo:
        new = context.state.update_vdisk(new)
        if live is not None:
            undo.callback(live.bridge.update_vdisk, old)
            live.bridge.update_vdisk(new)
    return new


async def resize(context: Context, record: VdiskRecord, size: int) -> VdiskRecord:
    """Give a virtual disk another size.

    The store grows before the disk does and shrinks after it, so that the disk never has blocks the store has
    not.
    """
    if size == record.size:
        return record
    context.state.check_resize(record, size)
    if not context.stores:
        return _set_size(context, record, size)
    live = context.live
    try:
        store = disk_stores.open_store(context.folder, record) if live is None else live.stores[record.id]
        try:
            before = store.size
            if size > before:
                await context.blocking(store.resize, size)
            try:
                new = _set_size(context, record, size)
            except BaseException:
                if size > before:
                    await context.blocking(store.resize, before)
                raise
            if size < record.size:
                try:
                    await context.blocking(store.resize, size)
                except BaseException:
                    _set_size(context, new, record.size)
                    raise
        finally:
            if live is None:
                store.close()
    except StoreError as error:
        raise disk_stores.as_refusal(error) from None
    return new


def _set_size(context: Context, record: VdiskRecord, size: int) -> VdiskRecord:
    with together(context.state) as undo:
        new = context.state.update_vdisk(replace(record, size=size))
        if context.live is not None:
            context.live.bridge.resize_vdisk(record.id, size)
            undo.callback(context.live.bridge.resize_vdisk, record.id, record.size)
    return new


async def present(context: Context, record: PresentationRecord) -> PresentationRecord:
    """Show a virtual disk to an initiator at a LUN."""
    with together(context.state) as undo:
        record = context.state.add_presentation(record)
        if context.live is not None:
            context.live.bridge.present(record)
            undo.callback(context.live.bridge.unpresent, record.vdisk_id, record.initiator)
    return record


async def unpresent(context: Context, vdisk_id: int, initiator: str) -> PresentationRecord:
    """Take a virtual disk away from an initiator."""
    with together(context.state) as undo:
        record = context.state.remove_presentation(vdisk_id, initiator)
        if context.live is not None:
            context.live.bridge.unpresent(vdisk_id, record.initiator)
            undo.callback(context.live.bridge.present, record)
    return record


# Stores


def size_of_store(context: Context, spec: VdiskSpec) -> int:
    """How many bytes a store has that exists already."""
    url = spec.store_url or f"file:{VDISK_FOLDER}/{spec.name}.img"
    try:
        store = backing_stores.open_store(url, read_only=True, base=context.folder)
    except StoreError as error:
        raise disk_stores.as_refusal(error) from None
    size = store.size
    store.close()
    return size


VERBS = (
    Verb("lun/list", NoArguments, list_luns, writes=False),
    Verb("lun/create", CreateLun, create_lun, writes=True),
    Verb("lun/remove", RemoveLun, remove_lun, writes=True),
    Verb("lun/resize", ResizeLun, resize_lun, writes=True),
    Verb("lun/present", PresentLun, present_lun, writes=True),
    Verb("lun/unpresent", UnpresentLun, unpresent_lun, writes=True),
)
