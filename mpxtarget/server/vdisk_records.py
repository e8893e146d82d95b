"""The records of virtual disks: what is configured about them, who manages them, what hosts made of them.

One half of `server.state`, which has the rules; the other half is what disks are presented by. The record of
the array is here, for disks are checked against it.
"""

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from backing_stores.chunk_map import SUFFIX as MAP_SUFFIX
from mpxtarget.array import identity
from mpxtarget.array.models import MAX_LUN, MIN_LUN, MODELS
from mpxtarget.array.ownership import GROUP_IDS, other_controller, preferred_controller
from mpxtarget.array.records import (
    ArrayRecord,
    ControllerName,
    Preferred,
    VdiskKind,
    VdiskRecord,
)
from mpxtarget.server import validation
from mpxtarget.server.database import Database
from mpxtarget.server.errors import Conflict, Invalid, NotFound, Refusal

if TYPE_CHECKING:
    from mpxtarget.scsi.logical_unit import Kept

DATABASE_NAME: Final = "array.db"
VDISK_FOLDER: Final = "vdisks"
_OURS: Final = (DATABASE_NAME, "serve.lock", "control.sock")

_CONTROLLER_OF: Final = {group_id: name for name, group_id in GROUP_IDS.items()}

ARRAY: Final = (
    "name, model, node_wwn, controller_serial, bridge_serial, name_template, policy,"
    " target_user, target_secret, wwlun_base, strict, serial_numbers,"
    " transition_time, implicit_transition"
)
_VDISK: Final = (
    "name, lun, wwlun, size, block_size, store_url, read_only, preferred, controller, kind, parent"
)


@dataclass(frozen=True, slots=True)
class VdiskSpec:
    """A virtual disk that is to be added. Size in bytes."""

    name: str
    size: int
    lun: int | Literal["next"] | None = "next"
    """"next": the lowest LUN that no virtual disk has, or None when there is none left."""
    block_size: int = 512
    store_url: str | None = None
    """None: a sparse file of the vdisk's name in the state folder."""
    read_only: bool = False
    preferred: Preferred = "none"
    wwlun: bytes | None = None
    """None: the array makes one."""
    kind: VdiskKind = "disk"
    parent: int | None = None
    """The number of the disk whose snapshot or clone it is; that disk's controller manages it."""


class _Rehearsed(Exception):  # noqa: N818 - rolls a transaction back
    def __init__(self, record: VdiskRecord) -> None:
        super().__init__()
        self.record = record


class VdiskRecords:
    """What `State` knows of virtual disks."""

    def __init__(self, folder: Path, database: Database) -> None:
        self.folder = folder
        self._database = database

    def transaction(self) -> AbstractContextManager[None]:
        """All changes made inside happen together, or with an exception not at all. May be nested."""
        return self._database.transaction()

    def array(self) -> ArrayRecord:
        rows = self._database.run(f"SELECT {ARRAY} FROM array")
        if not rows:
            raise self._database.damaged("it describes no array")
        return _array(rows[0])

    # Virtual disks

    def list_vdisks(self) -> list[VdiskRecord]:
        """By LUN, those without one last."""
        return [
            _vdisk(row)
            for row in self._database.run(f"SELECT id, {_VDISK} FROM vdisk ORDER BY lun IS NULL, lun, id")
        ]

    def get_vdisk(self, vdisk_id: int) -> VdiskRecord:
        return self._one_vdisk("id", vdisk_id)

    def find_vdisk(self, name: str) -> VdiskRecord:
        """By name, in capitals or small letters."""
        return self._one_vdisk("name", name)

    def find_vdisk_by_lun(self, lun: int) -> VdiskRecord:
        return self._one_vdisk("lun", lun)

    def _one_vdisk(self, column: Literal["id", "name", "lun"], value: int | str) -> VdiskRecord:
        rows = self._database.run(f"SELECT id, {_VDISK} FROM vdisk WHERE {column} = ?", value)
        if not rows:
            what = {"id": "vdisk number", "name": "vdisk", "lun": "vdisk at LUN"}[column]
            raise NotFound(f"there is no {what} {value}", "`mpxtarget lun list` shows them")
        return _vdisk(rows[0])

    def next_free_lun(self) -> int | None:
        """The lowest LUN that no virtual disk has; None if all are taken."""
        taken = {row[0] for row in self._database.run("SELECT lun FROM vdisk")}
        return next((n for n in range(MIN_LUN, MAX_LUN + 1) if n not in taken), None)

    def add_vdisk(self, spec: VdiskSpec) -> VdiskRecord:
        """Add the record of a virtual disk; its store is made by `server.assemble`.

        Its controller is the preferred one, or with no preference the one that manages fewer disks, A first.
        """
        with self.transaction():
            record = validation.vdisk(
                VdiskRecord(
                    id=0,
                    name=spec.name,
                    lun=self.next_free_lun() if spec.lun == "next" else spec.lun,
                    wwlun=self._next_wwlun() if spec.wwlun is None else spec.wwlun,
                    size=spec.size,
                    block_size=spec.block_size,
                    store_url=f"file:{VDISK_FOLDER}/{spec.name}.img"
                    if spec.store_url is None
                    else spec.store_url,
                    read_only=spec.read_only,
                    preferred=spec.preferred,
                    controller=self._first_controller(spec.preferred)
                    if spec.parent is None
                    else self.get_vdisk(spec.parent).controller,
                    kind=spec.kind,
                    parent=spec.parent,
                )
            )
            check_size(self.array(), record)
            self._check_vdisk(record)
            return replace(record, id=self._database.insert("vdisk", _VDISK, record))

    def rehearse_vdisk(self, spec: VdiskSpec) -> VdiskRecord:
        """What `add_vdisk` would make now, or its refusal; nothing is changed."""
        try:
            with self.transaction():
                raise _Rehearsed(self.add_vdisk(spec))
        except _Rehearsed as rehearsed:
            return rehearsed.record

    def check_resize(self, record: VdiskRecord, size: int) -> None:
        """Raise Conflict if the size of a disk cannot become this one."""
        if size != record.size and record.parent is not None:
            raise Conflict(
                f"{record.name} keeps the size that {self.get_vdisk(record.parent).name} had",
                "a clone that is complete can be resized",
            )
        if size < record.size:
            self._check_independent(record, "made smaller")

    def update_vdisk(self, record: VdiskRecord) -> VdiskRecord:
        """Keep a changed record of a virtual disk. World Wide LUN Name and block size cannot change, and who
        manages it is not configuration: `set_controllers` does that.
        """
        with self.transaction():
            old = self.get_vdisk(record.id)
            record = replace(record, controller=old.controller)
            if record.wwlun != old.wwlun or record.block_size != old.block_size:
                raise Conflict(f"the World Wide LUN Name and the block size of {old.name} cannot be changed")
            validation.vdisk(record)
            check_size(self.array(), record)
            self._check_vdisk(record)
            self.check_resize(old, record.size)
            self._database.update("vdisk", _VDISK, record, "id", record.id)
            return record

    def remove_vdisk(self, vdisk_id: int) -> VdiskRecord:
        """Remove the record of a virtual disk and its presentations. Its store is left alone."""
        with self.transaction():
            record = self.get_vdisk(vdisk_id)
            self._check_independent(record, "removed")
            self._database.run("DELETE FROM vdisk WHERE id = ?", vdisk_id)
            return record

    def dependents(self, vdisk_id: int) -> list[VdiskRecord]:
        """The snapshots of a virtual disk, and its clones that are not complete."""
        return [record for record in self.list_vdisks() if record.parent == vdisk_id]

    def make_independent(self, vdisk_id: int) -> VdiskRecord:
        """A clone is complete: it is a disk like any other."""
        with self.transaction():
            self._database.run("UPDATE vdisk SET kind = 'disk', parent = NULL WHERE id = ?", vdisk_id)
            return self.get_vdisk(vdisk_id)

    def _check_independent(self, record: VdiskRecord, what: str) -> None:
        found = self.dependents(record.id)
        if found:
            names = ", ".join(each.name for each in found)
            raise Conflict(
                f"{record.name} cannot be {what}: {names} {'depends' if len(found) == 1 else 'depend'} on it",
                "remove what depends on it first; a clone depends on its parent until it is complete",
            )

    # What hosts have made of a virtual disk

    def keep(self, vdisk_id: int, kept: "Kept") -> None:
        """Write down what has to outlast a loss of power about a disk; no error if the disk is gone."""
        values = msgspec.to_builtins(kept)
        controller = _CONTROLLER_OF[values.pop("managing_group")]
        with self.transaction():
            self.set_controllers({vdisk_id: controller})
            self._database.run(
                "INSERT OR REPLACE INTO kept (vdisk_id, content) SELECT id, ? FROM vdisk WHERE id = ?",
                msgspec.json.encode(values).decode(),
                vdisk_id,
            )

    def kept(self, vdisk_id: int) -> "Kept | None":
        """What was written down last about a disk; None if nothing ever was."""
        rows = self._database.run(
            "SELECT content, controller FROM kept JOIN vdisk ON id = vdisk_id WHERE id = ?", vdisk_id
        )
        if not rows:
            return None
        content, controller = rows[0]
        from mpxtarget.scsi.logical_unit import Kept  # only the running target has a use for it

        try:
            values = msgspec.json.decode(content, type=dict)
            return msgspec.convert(values | {"managing_group": GROUP_IDS[controller]}, Kept)
        except (msgspec.MsgspecError, KeyError) as error:
            raise self._database.damaged(f"what it keeps about vdisk {vdisk_id}: {error}") from None

    def damaged(self, what: str) -> Refusal:
        """The database says what cannot be."""
        return self._database.damaged(what)

    def _check_vdisk(self, record: VdiskRecord) -> None:
        rows = self._database.run("SELECT name, lun, wwlun, store_url FROM vdisk WHERE id != ?", record.id)
        place = self._place(record.store_url)
        if Path(place).parent == self.folder and Path(place).name.startswith(_OURS):
            raise Invalid(
                f"{place} belongs to the array itself, hosts must not write to it", "name another file"
            )
        if Path(place).parent == self.folder / VDISK_FOLDER and place.endswith(MAP_SUFFIX):
            raise Invalid(
                f"{place} is where the map of a snapshot would be, hosts must not write to it",
                "name another file",
            )
        for name, lun, wwlun, url in rows:
            if name.lower() == record.name.lower():
                raise Conflict(f"there is already a vdisk {name}", "`mpxtarget lun list` shows them")
            if lun is not None and lun == record.lun:
                free = self.next_free_lun()
                raise Conflict(
                    f"LUN {lun} belongs to vdisk {name}", f"the next free one is {free}" if free else ""
                )
            if wwlun == record.wwlun:
                raise Conflict(f"vdisk {name} has the World Wide LUN Name {identity.dashed(wwlun)}")
            # `memory:` names no place, so two of them are two disks.
            if url.partition(":")[2] and self._place(url) == place:
                raise Conflict(f"vdisk {name} lives in {url} already", "two disks cannot share one store")

    def _place(self, url: str) -> str:
        """What tells whether two URLs mean one store; of the two that name files, the path."""
        scheme, _, path = url.partition(":")
        if scheme not in ("file", "block"):
            return url
        return os.path.normpath(self.folder / ("/" + path.lstrip("/") if path.startswith("/") else path))

    def _next_wwlun(self) -> bytes:
        base, made = self._database.run(
            "UPDATE array SET wwluns_made = wwluns_made + 1 RETURNING wwlun_base, wwluns_made"
        )[0]
        if made >= identity.MAX_WWLUNS:
            raise Refusal(
                "this array has no World Wide LUN Names left", "make a new array with `mpxtarget init`"
            )
        return identity.wwlun(base, made)

    def _first_controller(self, preferred: Preferred) -> ControllerName:
        failed = self.failed_controller()
        if failed is not None:
            return other_controller(failed)
        named = preferred_controller(preferred)
        if named is not None:
            return named
        on_a = "count(*) FILTER (WHERE controller = 'A')"
        return "A" if self._database.run(f"SELECT {on_a} * 2 <= count(*) FROM vdisk")[0][0] else "B"

    # Controllers

    def set_controllers(self, owners: Mapping[int, ControllerName]) -> None:
        """Keep who manages these virtual disks, by their numbers; one that is not there is left out."""
        with self.transaction():
            for vdisk_id, controller in owners.items():
                self._database.run("UPDATE vdisk SET controller = ? WHERE id = ?", controller, vdisk_id)

    def failed_controller(self) -> ControllerName | None:
        """The controller that was made to fail, and still is to be out of service after a restart."""
        failed: ControllerName | None = self._of_array("failed_controller")
        return failed

    def set_failed_controller(self, controller: ControllerName | None) -> None:
        """None: both work."""
        self._database.run("UPDATE array SET failed_controller = ?", controller)

    def stopped_cleanly(self) -> bool:
        """Whether the array was not served since `note_stop`."""
        return bool(self._of_array("stopped_cleanly"))

    def note_start(self) -> None:
        """The array is served from now on."""
        self._database.run("UPDATE array SET stopped_cleanly = 0")

    def note_stop(self) -> None:
        """All that was written to the disks is in their stores, and nobody serves them any more."""
        self._database.run("UPDATE array SET stopped_cleanly = 1")

    def _of_array(self, column: str) -> Any:
        rows = self._database.run(f"SELECT {column} FROM array")
        if not rows:
            raise self._database.damaged("it describes no array")
        return rows[0][0]


def check_size(array: ArrayRecord, record: VdiskRecord) -> None:
    """Raise Conflict for a disk that is larger than a strict model allows."""
    largest = MODELS[array.model].largest_disk(array.strict)
    if largest is not None and record.size > largest:
        raise Conflict(
            f"{record.name} has {record.size} bytes, a strict {array.model} allows {largest}",
            "make it smaller; an array takes it that is not strict: `mpxtarget array set --no-strict`",
        )


def _array(row: tuple[Any, ...]) -> ArrayRecord:
    values = dict(zip(ARRAY.split(", "), row, strict=True))
    return ArrayRecord(**values | {"strict": bool(values["strict"])})


def _vdisk(row: tuple[Any, ...]) -> VdiskRecord:
    values = list(row)
    values[7] = bool(values[7])
    return VdiskRecord(*values)
