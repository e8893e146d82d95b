"""The array as a TOML file: what it looks like, how it is read, how it is written.

The rules kept here:

* The file describes; it holds no steps.  What it takes to make an array like it is `verbs.apply`'s business.
* What is left out has its default.  What only an array can choose (LUN, World Wide LUN Name, place of the
  store, serial numbers) or what a file should not hold (secrets) stays as it is when left out.
* Every error names the place in the file: `lun[0].size: ...`.
* A secret is never written.  The file can name a file that has one: `chap_secret_file`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, TypeVar

import msgspec

from mpxtarget.array.identity import dashed
from mpxtarget.array.records import Policy, Preferred, SerialNumbers
from mpxtarget.bridge.portals import format_address
from mpxtarget.server import validation
from mpxtarget.server.errors import Invalid, Refusal
from mpxtarget.server.state import (
    ArrayRecord,
    InitiatorRecord,
    PortalRecord,
    PresentationRecord,
    State,
    VdiskRecord,
)
from mpxtarget.server.verbs.base import readable
from mpxtarget.server.verbs.sizes import format_size, parse_lun_size

_T = TypeVar("_T")


class _Entry(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True, omit_defaults=True):
    """Base of the tables in the file: a key nobody knows is an error."""


class ArrayEntry(_Entry, frozen=True):
    """`[array]`"""

    name: str | None = None
    model: str | None = None
    policy: Policy | None = None
    controller_serial: str | None = None
    bridge_serial: str | None = None
    name_template: str | None = None
    target_user: str | None = None
    target_secret_file: str | None = None
    strict: bool | None = None
    serial_numbers: SerialNumbers | None = None
    transition_time: int | None = None
    implicit_transition: str | None = None


class PortalEntry(_Entry, frozen=True):
    """`[[portal]]`, known by its address and port."""

    address: str
    port: int = 3260
    advertise: str | None = None
    enabled: bool = True


class PresentEntry(_Entry, frozen=True):
    """`[[lun.present]]`"""

    initiator: str
    lun: int


class LunEntry(_Entry, frozen=True):
    """`[[lun]]`, known by its name.  `lun = "none"`: only presentations show it."""

    name: str
    size: int | str
    lun: int | Literal["none"] | None = None
    block_size: int = 512
    wwlun: str | None = None
    store: str | None = None
    existing: bool = False
    read_only: bool = False
    preferred: Preferred = "none"
    present: list[PresentEntry] = []

    @property
    def size_bytes(self) -> int:
        """The size in bytes; `parse` has seen that it is one."""
        return parse_lun_size(self.size, self.block_size)

    @property
    def wwlun_bytes(self) -> bytes | None:
        """The World Wide LUN Name; None: the array's choice."""
        return None if self.wwlun is None else _wwlun(self.wwlun)


class InitiatorEntry(_Entry, frozen=True):
    """`[[initiator]]`, known by its iSCSI name.  `chap` left out: secrets stay as they are."""

    name: str
    alias: str = ""
    chap: Literal["none", "one-way", "mutual"] | None = None
    chap_user: str = ""
    chap_secret_file: str | None = None
    target_user: str = ""
    target_secret_file: str | None = None


class Configuration(_Entry, frozen=True):
    """The whole file."""

    array: ArrayEntry = ArrayEntry()
    portal: list[PortalEntry] = []
    lun: list[LunEntry] = []
    initiator: list[InitiatorEntry] = []

    def secret_files(self) -> list[str]:
        """The files with secrets that this one names."""
        names = [self.array.target_secret_file]
        for entry in self.initiator:
            names += [entry.chap_secret_file, entry.target_secret_file]
        return [name for name in dict.fromkeys(names) if name is not None]


def parse(text: str) -> Configuration:
    """Read a file.  Raises Invalid, which names the place in the file."""
    try:
        values = tomllib.loads(text.removeprefix("\ufeff"))  # Windows editors begin a file with it
    except tomllib.TOMLDecodeError as error:
        raise Invalid(
            f"the file is not TOML: {error}", "`mpxtarget export` shows what it looks like"
        ) from None
    except RecursionError:
        raise Invalid("the file is not a configuration: it is nested too deeply") from None
    try:
        configuration = msgspec.convert(values, type=Configuration)
    except msgspec.ValidationError as error:
        raise Invalid(readable(error), "`mpxtarget export` shows what it looks like") from None
    return _check(configuration)


def _check(configuration: Configuration) -> Configuration:
    """See that every value is one the array could have, whatever else is in it."""
    _at("array.transition_time", validation.transition_time, configuration.array.transition_time or 0)
    _at(
        "array.implicit_transition",
        validation.implicit_transition,
        configuration.array.implicit_transition or "off",
    )
    portals = [
        _at(
            f"portal[{i}]",
            lambda e: validation.portal(PortalRecord(0, e.address, e.port, e.advertise, e.enabled)),
            e,
        )
        for i, e in enumerate(configuration.portal)
    ]
    _unique(
        "portal", "address", [(p.address, p.port) for p in portals if p.port], lambda k: format_address(*k)
    )
    for i, lun in enumerate(configuration.lun):
        _at(f"lun[{i}].name", validation.vdisk_name, lun.name)
        if lun.block_size not in validation.BLOCK_SIZES:
            _at(f"lun[{i}].block_size", lambda e: validation.size(e.block_size, e.block_size), lun)
        _at(f"lun[{i}].size", lambda e: validation.size(e.size_bytes, e.block_size), lun)
        if isinstance(lun.lun, int):
            _at(f"lun[{i}].lun", validation.lun, lun.lun)
        _at(f"lun[{i}].wwlun", lambda e: e.wwlun_bytes, lun)
        for j, present in enumerate(lun.present):
            _at(f"lun[{i}].present[{j}].initiator", validation.initiator_name, present.initiator)
            _at(f"lun[{i}].present[{j}].lun", validation.lun, present.lun)
    _unique("lun", "name", [lun.name.lower() for lun in configuration.lun], str)
    _unique("lun", "lun", [lun.lun for lun in configuration.lun], str, ignore=(None, "none"))
    _unique(
        "lun", "wwlun", [lun.wwlun_bytes for lun in configuration.lun], lambda w: dashed(w), ignore=(None,)
    )
    names = [
        _at(f"initiator[{i}].name", validation.initiator_name, entry.name)
        for i, entry in enumerate(configuration.initiator)
    ]
    _unique("initiator", "name", names, str)
    for i, entry in enumerate(configuration.initiator):
        _at(f"initiator[{i}]", _check_chap, entry)
    return configuration


def _check_chap(entry: InitiatorEntry) -> None:
    secrets = entry.chap_secret_file is not None or entry.target_secret_file is not None
    if entry.chap == "none" and (secrets or entry.chap_user or entry.target_user):
        raise Invalid('chap is "none", and a user or a secret is given', "give one or the other")
    if entry.chap is None and (secrets or entry.chap_user or entry.target_user):
        raise Invalid(
            "a user or a secret is given, and not which chap", 'add chap = "one-way" or chap = "mutual"'
        )
    if entry.chap == "one-way" and (entry.target_secret_file is not None or entry.target_user):
        raise Invalid('chap is "one-way", and a target user or secret is given', 'say chap = "mutual"')


def _at(path: str, check: Callable[[Any], _T], value: Any) -> _T:
    try:
        return check(value)
    except Refusal as refusal:
        raise Invalid(f"{path}: {refusal.message}", refusal.hint) from None
    except ValueError as error:
        raise Invalid(f"{path}: {error}", "correct the file and apply it again") from None


def _unique(
    table: str, key: str, values: Sequence[Any], show: Callable[[Any], str], ignore: Sequence[object] = ()
) -> None:
    seen: dict[object, int] = {}
    for i, value in enumerate(values):
        if value in ignore:
            continue
        if value in seen:
            raise Invalid(
                f"{table}[{i}].{key}: {show(value)} is in {table}[{seen[value]}] already",
                "remove one of the two",
            )
        seen[value] = i


def _wwlun(text: str) -> bytes:
    try:
        value = bytes.fromhex(text.replace("-", "").removeprefix("0x"))
    except ValueError:
        value = b""
    if len(value) != 16 or value[0] >> 4 != 6:
        raise ValueError(
            f"{text!r} is not a World Wide LUN Name: it has 32 hexadecimal digits, the first a 6"
        )
    return value


_HEAD = """\
# The array {name} ({model}), node WWN {wwn}, as `mpxtarget export` wrote it.
# `mpxtarget apply FILE` makes an array like this one; `--dry-run` shows what that would change.
# Secrets are not in here. An array that has them already keeps them; a new one needs, beside
# chap = "one-way", chap_secret_file = "PATH", and beside chap = "mutual" also target_secret_file = "PATH".
"""


def export(state: State) -> str:
    """The file that describes an array.  Applying it to that array changes nothing."""
    array = state.array()
    presentations = state.list_presentations()
    configuration = Configuration(
        array=_array_entry(array),
        portal=[_portal_entry(record) for record in state.list_portals()],
        lun=[
            _lun_entry(record, presentations) for record in state.list_vdisks() if record.kind != "snapshot"
        ],
        initiator=[_initiator_entry(record) for record in state.list_initiators()],
    )
    head = _HEAD.format(name=array.name, model=array.model, wwn=dashed(array.node_wwn))
    for record in state.list_vdisks():
        if record.kind == "snapshot" and record.parent is not None:
            head += f"# Not in here: {record.name}, a snapshot of {state.get_vdisk(record.parent).name}.\n"
    return head + "".join(_tables(_without_none(msgspec.to_builtins(configuration))))


def _tables(values: dict[str, Any], path: str = "") -> Iterator[str]:
    """Every table under a header of its own: in a file under version control, a line is one fact."""
    import tomli_w

    for key, value in values.items():
        for table in value if isinstance(value, list) else [value]:
            header = f"[[{path}{key}]]" if isinstance(value, list) else f"[{path}{key}]"
            plain = {k: v for k, v in table.items() if not isinstance(v, list)}
            yield f"\n{header}\n{tomli_w.dumps(plain)}"
            yield from _tables({k: v for k, v in table.items() if isinstance(v, list)}, f"{path}{key}.")


def _array_entry(record: ArrayRecord) -> ArrayEntry:
    return ArrayEntry(
        name=record.name,
        model=record.model,
        policy=record.policy,
        controller_serial=record.controller_serial,
        bridge_serial=record.bridge_serial,
        name_template=record.name_template,
        target_user=record.target_user or None,
        strict=record.strict,
        serial_numbers=record.serial_numbers,
        transition_time=record.transition_time,
        implicit_transition=record.implicit_transition,
    )


def _portal_entry(record: PortalRecord) -> PortalEntry:
    return PortalEntry(
        address=record.address, port=record.port, advertise=record.advertise, enabled=record.enabled
    )


def _lun_entry(record: VdiskRecord, presentations: Sequence[PresentationRecord]) -> LunEntry:
    return LunEntry(
        name=record.name,
        size=format_size(record.size),
        lun="none" if record.lun is None else record.lun,
        block_size=record.block_size,
        wwlun=dashed(record.wwlun),
        store=record.store_url,
        read_only=record.read_only,
        preferred=record.preferred,
        present=[
            PresentEntry(initiator=p.initiator, lun=p.lun) for p in presentations if p.vdisk_id == record.id
        ],
    )


def _initiator_entry(record: InitiatorRecord) -> InitiatorEntry:
    return InitiatorEntry(
        name=record.name,
        alias=record.alias,
        chap="none" if not record.chap_secret else "mutual" if record.target_secret else "one-way",
        chap_user=record.chap_user,
        target_user=record.target_user,
    )


def _without_none(value: Any) -> Any:
    """TOML has no null."""
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_none(item) for item in value]
    return value
