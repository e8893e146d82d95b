"""What outlasts a restart: one SQLite database per array, in the state folder.

Rules kept here:
- What a method has returned is on stable storage. A process that is killed leaves either the whole change or
  nothing of it. Several changes are made one with `with state.transaction():`.
- Nothing gets in that `server.validation` has not passed; what contradicts a record already there is a
  `Conflict`.
- Every error is a `Refusal` that says what to do. `database` knows SQLite; this module knows the records.
- The file has mode 0600: it holds CHAP secrets.
- Methods may be called from any thread; a lock makes them one at a time.

    folder/array.db      this
    folder/serve.lock    who may write (server.lock)
    folder/vdisks/       the default place of file-backed virtual disks
    folder/unfinished-writes/  what to undo after a crash (server.whole_writes)
"""

import errno
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Self

import msgspec

from backing_stores.chunk_map import SUFFIX as MAP_SUFFIX
from mpxtarget.array import identity
from mpxtarget.array.models import DEFAULT_MODEL, MAX_LUN, MIN_LUN, MODELS
from mpxtarget.array.ownership import GROUP_IDS, other_controller, preferred_controller
from mpxtarget.array.records import (
    ArrayRecord,
    ControllerName,
    Policy,
    Preferred,
    SerialNumbers,
    VdiskKind,
    VdiskRecord,
)
from mpxtarget.bridge.portals import is_wildcard
from mpxtarget.bridge.records import InitiatorRecord, PortalRecord, PresentationRecord
from mpxtarget.server import validation
from mpxtarget.server.database import Database
from mpxtarget.server.errors import Conflict, Invalid, NotFound, Refusal

if TYPE_CHECKING:
    from mpxtarget.scsi.logical_unit import Kept

__all__ = [
    "ArrayRecord",
    "InitiatorRecord",
    "PortalRecord",
    "PortalSpec",
    "PresentationRecord",
    "State",
    "VdiskRecord",
    "VdiskSpec",
]

DATABASE_NAME: Final = "array.db"
VDISK_FOLDER: Final = "vdisks"
_OURS: Final = (DATABASE_NAME, "serve.lock", "control.sock")
DEFAULT_NAME_TEMPLATE: Final = "iqn.2004-09.com.hp:fcgw.mpx100.{serial}.b1.{nn}.{wwn}"


@dataclass(frozen=True, slots=True)
class PortalSpec:
    """A portal that is to be added."""

    address: str
    port: int = 3260
    advertise: str | None = None
    enabled: bool = True


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


DEMO_PORTALS: Final = (PortalSpec("127.0.0.1", 3260), PortalSpec("127.0.0.1", 3261))
DEMO_VDISKS: Final = (VdiskSpec("vdisk1", 1 << 30), VdiskSpec("vdisk2", 1 << 30))

_CONTROLLER_OF: Final = {group_id: name for name, group_id in GROUP_IDS.items()}

_ARRAY: Final = (
    "name, model, node_wwn, controller_serial, bridge_serial, name_template, policy,"
    " target_user, target_secret, wwlun_base, strict, serial_numbers,"
    " transition_time, implicit_transition"
)
_PORTAL: Final = "address, port, advertise, enabled"
_VDISK: Final = (
    "name, lun, wwlun, size, block_size, store_url, read_only, preferred, controller, kind, parent"
)
_INITIATOR: Final = "name, alias, chap_user, chap_secret, target_user, target_secret, first_seen, last_seen"
_PRESENTATION: Final = "vdisk_id, initiator, lun"


class _Rehearsed(Exception):  # noqa: N818 - rolls a transaction back
    def __init__(self, record: VdiskRecord) -> None:
        super().__init__()
        self.record = record


def _nothing_to_prepare(_state: "State") -> None:
    """The records are all there is to make."""


class State:
    """The records of one array. Made by `State.create` or `State.open`; a context manager that closes it."""

    def __init__(self, folder: Path, database: Database) -> None:
        """Use `create` or `open`."""
        self.folder = folder
        self._database = database

    # Opening

    @classmethod
    def exists(cls, folder: str | os.PathLike[str]) -> bool:
        """Whether there is an array in the folder."""
        return _database_path(Path(folder)).exists()

    @classmethod
    def create(
        cls,
        folder: str | os.PathLike[str],
        *,
        model: str = DEFAULT_MODEL,
        name: str | None = None,
        policy: Policy = "present-all",
        strict: bool = False,
        serial_numbers: SerialNumbers = "controller",
        name_template: str = DEFAULT_NAME_TEMPLATE,
        portals: Sequence[PortalSpec] = DEMO_PORTALS,
        vdisks: Sequence[VdiskSpec] = DEMO_VDISKS,
        entropy: Callable[[int], bytes] = os.urandom,
        prepare: Callable[["State"], None] = _nothing_to_prepare,
    ) -> Self:
        """Make a new array, wholly or not at all; the defaults are the demo. The folder is made if it is
        missing.

        The name defaults to the model's. These are records only: `prepare` is called with them before
        anybody can find the array, to make what else it needs; when it raises, there is no array.
        """
        folder = Path(folder).absolute()
        path = _database_path(folder)
        if path.exists():
            raise Conflict(f"there is already an array in {folder}", "choose another folder with --state")
        new = path.with_name(f"{DATABASE_NAME}.new{os.getpid()}")
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            new.unlink(missing_ok=True)
            os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        except OSError as error:
            raise _from_os(error, f"cannot make an array in {folder}") from None
        try:
            with cls(folder, Database(new)) as state, state.transaction():
                state._database.initialise()
                array = _new_array(model, name, policy, name_template, entropy)
                array = replace(array, strict=strict, serial_numbers=serial_numbers)
                state._insert("array", _ARRAY, validation.array(array))
                for portal in portals:
                    state.add_portal(portal)
                for vdisk in vdisks:
                    state.add_vdisk(vdisk)
                prepare(state)
            _publish(new, path)
        except OSError as error:
            raise _from_os(error, f"cannot make an array in {folder}") from None
        finally:
            new.unlink(missing_ok=True)
        return cls.open(folder)

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> Self:
        """The array in the folder."""
        folder = Path(folder).absolute()
        path = _database_path(folder)
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC))
        except FileNotFoundError:
            raise NotFound(
                f"no array in {folder}", f"run `mpxtarget init --state {shlex.quote(str(folder))}`"
            ) from None
        except OSError as error:
            raise _from_os(error, f"cannot open {path}") from None
        state = cls(folder, Database(path))
        try:
            state._database.check()
        except BaseException:
            state.close()
            raise
        return state

    def close(self) -> None:
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<State of {self.folder}>"

    def transaction(self) -> AbstractContextManager[None]:
        """All changes made inside happen together, or with an exception not at all. May be nested."""
        return self._database.transaction()

    # The array

    def array(self) -> ArrayRecord:
        rows = self._database.run(f"SELECT {_ARRAY} FROM array")
        if not rows:
            raise self._database.damaged("it describes no array")
        return _array(rows[0])

    def update_array(self, record: ArrayRecord) -> ArrayRecord:
        """Keep a changed array record. World Wide Names and LUN Names stay what they are."""
        with self.transaction():
            old = self.array()
            if (record.node_wwn, record.wwlun_base) != (old.node_wwn, old.wwlun_base):
                raise Conflict("the World Wide Names of an array cannot be changed")
            record = validation.array(record)
            for vdisk in self.list_vdisks():
                _check_size(record, vdisk)
            if record.target_secret:
                for initiator in self.list_initiators():
                    validation.initiator(initiator, record.target_secret)
            self._update("array", _ARRAY, record, "only", 1)
            return record

    # Portals

    def list_portals(self) -> list[PortalRecord]:
        return [_portal(row) for row in self._database.run(f"SELECT id, {_PORTAL} FROM portal ORDER BY id")]

    def get_portal(self, portal_id: int) -> PortalRecord:
        rows = self._database.run(f"SELECT id, {_PORTAL} FROM portal WHERE id = ?", portal_id)
        if not rows:
            raise NotFound(f"there is no portal {portal_id}", "`mpxtarget portal list` shows them")
        return _portal(rows[0])

    def add_portal(self, spec: PortalSpec) -> PortalRecord:
        with self.transaction():
            record = validation.portal(PortalRecord(0, spec.address, spec.port, spec.advertise, spec.enabled))
            self._check_portal(record)
            return replace(record, id=self._insert("portal", _PORTAL, record))

    def update_portal(self, record: PortalRecord) -> PortalRecord:
        with self.transaction():
            record = validation.portal(record)
            self.get_portal(record.id)
            self._check_portal(record)
            self._update("portal", _PORTAL, record, "id", record.id)
            return record

    def remove_portal(self, portal_id: int) -> PortalRecord:
        with self.transaction():
            record = self.get_portal(portal_id)
            self._database.run("DELETE FROM portal WHERE id = ?", portal_id)
            return record

    def _check_portal(self, record: PortalRecord) -> None:
        for other in self.list_portals():
            if other.id == record.id or other.port != record.port or record.port == 0:
                continue
            if other.address == record.address:
                raise Conflict(f"portal {other.id} already listens on {record.address} port {record.port}")
            same_family = (":" in other.address) == (":" in record.address)
            wildcard = is_wildcard(other.address) or is_wildcard(record.address)
            if wildcard and same_family and other.enabled and record.enabled:
                raise Conflict(
                    f"{record.address} port {record.port} overlaps portal {other.id} on {other.address}",
                    "use another port, or disable or remove that portal",
                )

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
            _check_size(self.array(), record)
            self._check_vdisk(record)
            return replace(record, id=self._insert("vdisk", _VDISK, record))

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
            _check_size(self.array(), record)
            self._check_vdisk(record)
            self.check_resize(old, record.size)
            self._update("vdisk", _VDISK, record, "id", record.id)
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

    # Initiators

    def list_initiators(self) -> list[InitiatorRecord]:
        return [
            InitiatorRecord(*row)
            for row in self._database.run(f"SELECT {_INITIATOR} FROM initiator ORDER BY name")
        ]

    def get_initiator(self, name: str) -> InitiatorRecord:
        name = validation.initiator_name(name)
        rows = self._database.run(f"SELECT {_INITIATOR} FROM initiator WHERE name = ?", name)
        if not rows:
            raise NotFound(f"there is no initiator {name}", "`mpxtarget initiator list` shows them")
        return InitiatorRecord(*rows[0])

    def add_initiator(self, record: InitiatorRecord) -> InitiatorRecord:
        with self.transaction():
            record = validation.initiator(record, self.array().target_secret)
            if self._database.run("SELECT 1 FROM initiator WHERE name = ?", record.name):
                raise Conflict(
                    f"there is already an initiator {record.name}", "`mpxtarget initiator list` shows it"
                )
            self._insert("initiator", _INITIATOR, record)
            return record

    def update_initiator(self, record: InitiatorRecord) -> InitiatorRecord:
        with self.transaction():
            record = validation.initiator(record, self.array().target_secret)
            self.get_initiator(record.name)
            self._update("initiator", _INITIATOR, record, "name", record.name)
            return record

    def see_initiator(self, name: str, now: float) -> InitiatorRecord:
        """Note a login at `now` (seconds since the epoch); an unknown initiator becomes known."""
        name = validation.initiator_name(name)
        with self.transaction():
            if not self._database.run("SELECT 1 FROM initiator WHERE name = ?", name):
                self._insert("initiator", _INITIATOR, InitiatorRecord(name, first_seen=now))
            self._database.run(
                "UPDATE initiator SET first_seen = coalesce(first_seen, ?1), last_seen = ?1 WHERE name = ?2",
                now,
                name,
            )
            return self.get_initiator(name)

    def remove_initiator(self, name: str) -> InitiatorRecord:
        """Remove an initiator and what is presented to it."""
        with self.transaction():
            record = self.get_initiator(name)
            self._database.run("DELETE FROM initiator WHERE name = ?", record.name)
            return record

    # Presentations

    def list_presentations(self, initiator: str | None = None) -> list[PresentationRecord]:
        """All of them, or those of one initiator; by initiator and LUN."""
        query = f"SELECT {_PRESENTATION} FROM presentation"
        if initiator is None:
            rows = self._database.run(f"{query} ORDER BY initiator, lun")
        else:
            name = validation.initiator_name(initiator)
            rows = self._database.run(f"{query} WHERE initiator = ? ORDER BY lun", name)
        return [PresentationRecord(*row) for row in rows]

    def add_presentation(self, record: PresentationRecord) -> PresentationRecord:
        with self.transaction():
            validation.lun(record.lun)
            vdisk = self.get_vdisk(record.vdisk_id)
            name = self.get_initiator(record.initiator).name
            for other in self.list_presentations(name):
                if other.vdisk_id == vdisk.id:
                    raise Conflict(
                        f"{vdisk.name} is presented to {name} already, at LUN {other.lun}",
                        "unpresent it first to move it",
                    )
                if other.lun == record.lun:
                    taken = self.get_vdisk(other.vdisk_id).name
                    raise Conflict(f"{name} already has {taken} at LUN {record.lun}")
            record = replace(record, initiator=name)
            self._insert("presentation", _PRESENTATION, record)
            return record

    def remove_presentation(self, vdisk_id: int, initiator: str) -> PresentationRecord:
        with self.transaction():
            name = validation.initiator_name(initiator)
            found = [other for other in self.list_presentations(name) if other.vdisk_id == vdisk_id]
            if not found:
                raise NotFound(f"{self.get_vdisk(vdisk_id).name} is not presented to {name}")
            self._database.run(
                "DELETE FROM presentation WHERE vdisk_id = ? AND initiator = ?", vdisk_id, name
            )
            return found[0]

    def _insert(self, table: str, columns: str, record: object) -> int:
        """Add a record, and answer the number it got."""
        values = _values(record, columns)
        sql = f"INSERT INTO {table} ({columns}) VALUES ({', '.join('?' * len(values))}) RETURNING rowid"
        return int(self._database.run(sql, *values)[0][0])

    def _update(self, table: str, columns: str, record: object, key: str, value: int | str) -> None:
        values = _values(record, columns)
        marks = ", ".join("?" * len(values))
        self._database.run(f"UPDATE {table} SET ({columns}) = ({marks}) WHERE {key} = ?", *values, value)


def _check_size(array: ArrayRecord, record: VdiskRecord) -> None:
    largest = MODELS[array.model].largest_disk(array.strict)
    if largest is not None and record.size > largest:
        raise Conflict(
            f"{record.name} has {record.size} bytes, a strict {array.model} allows {largest}",
            "make it smaller, or the array not strict: `mpxtarget array set --no-strict`",
        )


def _values(record: object, columns: str) -> list[Any]:
    return [getattr(record, column) for column in columns.split(", ")]


def _database_path(folder: Path) -> Path:
    return folder / DATABASE_NAME


def _publish(new: Path, path: Path) -> None:
    """Give the finished database its name, unless somebody else was faster."""
    try:
        path.hardlink_to(new)
    except FileExistsError:
        raise Conflict(
            f"there is already an array in {path.parent}", "choose another folder with --state"
        ) from None
    except OSError:
        new.rename(path)  # a file system without hard links
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _new_array(
    model: str, name: str | None, policy: Policy, name_template: str, entropy: Callable[[int], bytes]
) -> ArrayRecord:
    row = MODELS.get(model)
    if row is None:
        raise Invalid(f"{model!r} is not a model", f"use one of {', '.join(MODELS)}")
    return ArrayRecord(
        name=row.marketing.partition("/")[0] if name is None else name,
        model=model,
        node_wwn=identity.make_node_wwn(row.node_oui, entropy(identity.ENTROPY_BYTES)),
        controller_serial=identity.make_controller_serial(entropy(identity.ENTROPY_BYTES)),
        bridge_serial=identity.make_bridge_serial(entropy(identity.ENTROPY_BYTES)),
        name_template=name_template,
        policy=policy,
        wwlun_base=identity.make_wwlun_base(row.wwlun_oui, entropy(identity.ENTROPY_BYTES)),
    )


def _from_os(error: OSError, what: str) -> Refusal:
    reason = os.strerror(error.errno or errno.EIO)
    if error.errno in (errno.EACCES, errno.EPERM):
        return Refusal(
            f"{what}: {reason}", "run as the user that owns the folder, or choose another with --state"
        )
    return Refusal(f"{what}: {reason}", "check the folder, or choose another with --state")


def _array(row: tuple[Any, ...]) -> ArrayRecord:
    values = dict(zip(_ARRAY.split(", "), row, strict=True))
    return ArrayRecord(**values | {"strict": bool(values["strict"])})


def _portal(row: tuple[Any, ...]) -> PortalRecord:
    return PortalRecord(row[0], row[1], row[2], row[3], bool(row[4]))


def _vdisk(row: tuple[Any, ...]) -> VdiskRecord:
    values = list(row)
    values[7] = bool(values[7])
    return VdiskRecord(*values)
