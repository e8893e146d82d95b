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
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Self

from mpxtarget.array import identity
from mpxtarget.array.models import DEFAULT_MODEL, MODELS
from mpxtarget.array.records import (
    ArrayRecord,
    Policy,
    SerialNumbers,
    VdiskRecord,
)
from mpxtarget.bridge.portals import is_wildcard
from mpxtarget.bridge.records import InitiatorRecord, PortalRecord, PresentationRecord
from mpxtarget.server import validation
from mpxtarget.server.database import Database
from mpxtarget.server.errors import Conflict, Invalid, NotFound, Refusal
from mpxtarget.server.vdisk_records import (
    ARRAY,
    DATABASE_NAME,
    VDISK_FOLDER,
    VdiskRecords,
    VdiskSpec,
    check_size,
)

__all__ = [
    "DATABASE_NAME",
    "VDISK_FOLDER",
    "ArrayRecord",
    "InitiatorRecord",
    "PortalRecord",
    "PortalSpec",
    "PresentationRecord",
    "State",
    "VdiskRecord",
    "VdiskSpec",
]

DEFAULT_NAME_TEMPLATE: Final = "iqn.2004-09.com.hp:fcgw.mpx100.{serial}.b1.{nn}.{wwn}"


@dataclass(frozen=True, slots=True)
class PortalSpec:
    """A portal that is to be added."""

    address: str
    port: int = 3260
    advertise: str | None = None
    enabled: bool = True


DEMO_PORTALS: Final = (PortalSpec("127.0.0.1", 3260), PortalSpec("127.0.0.1", 3261))
DEMO_VDISKS: Final = (VdiskSpec("vdisk1", 1 << 30), VdiskSpec("vdisk2", 1 << 30))

_PORTAL: Final = "address, port, advertise, enabled"
_INITIATOR: Final = "name, alias, chap_user, chap_secret, target_user, target_secret, first_seen, last_seen"
_PRESENTATION: Final = "vdisk_id, initiator, lun"


def _nothing_to_prepare(_state: "State") -> None:
    """The records are all there is to make."""


class State(VdiskRecords):
    """The records of one array. Made by `State.create` or `State.open`; a context manager that closes it."""

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
                state._database.insert("array", ARRAY, validation.array(array))
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

    # The array

    def update_array(self, record: ArrayRecord) -> ArrayRecord:
        """Keep a changed array record. World Wide Names and LUN Names stay what they are."""
        with self.transaction():
            old = self.array()
            if (record.node_wwn, record.wwlun_base) != (old.node_wwn, old.wwlun_base):
                raise Conflict("the World Wide Names of an array cannot be changed")
            record = validation.array(record)
            for vdisk in self.list_vdisks():
                check_size(record, vdisk)
            if record.target_secret:
                for initiator in self.list_initiators():
                    validation.initiator(initiator, record.target_secret)
            self._database.update("array", ARRAY, record, "only", 1)
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
            return replace(record, id=self._database.insert("portal", _PORTAL, record))

    def update_portal(self, record: PortalRecord) -> PortalRecord:
        with self.transaction():
            record = validation.portal(record)
            self.get_portal(record.id)
            self._check_portal(record)
            self._database.update("portal", _PORTAL, record, "id", record.id)
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
            self._database.insert("initiator", _INITIATOR, record)
            return record

    def update_initiator(self, record: InitiatorRecord) -> InitiatorRecord:
        with self.transaction():
            record = validation.initiator(record, self.array().target_secret)
            self.get_initiator(record.name)
            self._database.update("initiator", _INITIATOR, record, "name", record.name)
            return record

    def see_initiator(self, name: str, now: float) -> InitiatorRecord:
        """Note a login at `now` (seconds since the epoch); an unknown initiator becomes known."""
        name = validation.initiator_name(name)
        with self.transaction():
            if not self._database.run("SELECT 1 FROM initiator WHERE name = ?", name):
                self._database.insert("initiator", _INITIATOR, InitiatorRecord(name, first_seen=now))
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
            self._database.insert("presentation", _PRESENTATION, record)
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


def _portal(row: tuple[Any, ...]) -> PortalRecord:
    return PortalRecord(row[0], row[1], row[2], row[3], bool(row[4]))
