"""Make the array like a file, and write the file that is like the array.

The rules kept here:

* The difference between array and file is a list of steps, each a change that could also be made with a verb,
  each with its opposite.  Nothing in the file that is so already makes a step: applying an export makes none.
* All steps are first rehearsed on the database alone, in a transaction that is rolled back: what the state
  would refuse is refused before anything has changed.
* When a step fails nevertheless (an address in use, a full disk), the steps before it are taken back, last
  first.
* Order: what goes away makes room first (addresses, LUNs), what comes follows, and what cannot be taken back,
  the cutting of a disk, is last.
* What is in the array and not in the file is left alone, and named; with `prune` it is removed.
* A file says nothing of snapshots, which are moments and no configuration: they, and to whom they are
  presented, are left alone in any case. A disk that has one cannot be pruned.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import msgspec

from mpxtarget.bridge.portals import format_address
from mpxtarget.server import configuration, disk_stores, validation
from mpxtarget.server.configuration import ArrayEntry, Configuration, InitiatorEntry, LunEntry
from mpxtarget.server.errors import Conflict, Invalid, NotFound, Refusal
from mpxtarget.server.state import (
    InitiatorRecord,
    PortalRecord,
    PortalSpec,
    PresentationRecord,
    State,
    VdiskRecord,
    VdiskSpec,
)
from mpxtarget.server.verbs import array, initiator, lun, portal
from mpxtarget.server.verbs.base import Arguments, Context, NoArguments, Row, Verb
from mpxtarget.server.verbs.sizes import format_size

Change = Callable[[Context], Awaitable[object]]


class Apply(Arguments, frozen=True):
    """`text` is the file; `secrets` what is in the files with secrets that it names."""

    text: str
    secrets: Mapping[str, str] = msgspec.field(default_factory=dict)
    prune: bool = False
    force: bool = False
    dry_run: bool = False

    def __repr__(self) -> str:
        return "Apply(...)"


class Applied(Row, frozen=True):
    """`steps` in their order, `left` what is in the array and not in the file."""

    changed: bool
    steps: list[str]
    left: list[str]


@dataclass(frozen=True, slots=True)
class Step:
    """A change in words, the change, and its opposite."""

    line: str
    run: Change
    undo: Change


@dataclass(slots=True)
class Plan:
    """What it takes, and what is left alone."""

    steps: list[Step]
    left: list[str]


def export(context: Context, _: NoArguments) -> dict[str, str]:
    """Write the array as a TOML file, without secrets."""
    return {"text": configuration.export(context.state)}


async def apply(context: Context, arguments: Apply) -> Applied:
    """Make the array like a TOML file."""
    wanted = configuration.parse(arguments.text)
    plan = _plan(context, wanted, arguments)
    lines = [step.line for step in plan.steps]
    if plan.steps:
        await _rehearse(context, plan.steps)
        if not arguments.dry_run:
            await _carry_out(context, plan.steps)
    return Applied(changed=bool(lines) and not arguments.dry_run, steps=lines, left=plan.left)


class _RehearsedError(Exception):
    """Rolls the rehearsal back."""


async def _rehearse(context: Context, steps: list[Step]) -> None:
    alone = replace(context, live=None, stores=False)
    step = steps[0]
    try:
        # Without a live target nothing in a step waits, so nobody else gets into this transaction.
        with context.state.transaction():
            for step in steps:
                await step.run(alone)
            raise _RehearsedError
    except _RehearsedError:
        return
    except Refusal as refusal:
        raise Conflict(f"{step.line}: {refusal.message}; nothing was changed", refusal.hint) from None


async def _carry_out(context: Context, steps: list[Step]) -> None:
    for number, step in enumerate(steps):
        try:
            await step.run(context)
        except (Refusal, OSError) as error:
            reason = error.message if isinstance(error, Refusal) else str(error)
            hint = error.hint if isinstance(error, Refusal) else ""
            after = await _take_back(context, steps[:number])
            raise Refusal(f"{step.line}: {reason}; {after}", hint) from error
        context.progress(step.line)


async def _take_back(context: Context, steps: list[Step]) -> str:
    """Undo steps, and say how that went."""
    kept = []
    for step in reversed(steps):
        try:
            await step.undo(context)
        except (Refusal, OSError) as error:
            kept.append(f"{step.line} ({error})")
        else:
            context.progress(f"taken back: {step.line}")
    if kept:
        return "could not be taken back: " + "; ".join(kept)
    if steps:
        return f"the {len(steps)} step(s) before it were taken back, nothing has changed"
    return "nothing was changed"


def _plan(context: Context, wanted: Configuration, arguments: Apply) -> Plan:
    planner = _Planner(context, wanted, arguments)
    steps = [
        *planner.removals(),
        *planner.array(),
        *planner.portals(),
        *planner.luns(),
        *planner.initiators(),
        *planner.presentations(),
        *planner.shrinks(),
    ]
    return Plan(steps, planner.left)


class _Planner:
    """The difference between an array and a file."""

    def __init__(self, context: Context, wanted: Configuration, arguments: Apply) -> None:
        self._context = context
        self._state: State = context.state
        self._wanted = wanted
        self._arguments = arguments
        self._portals = {(p.address, p.port): p for p in self._state.list_portals()}
        self._vdisks = {v.name.lower(): v for v in self._state.list_vdisks()}
        self._initiators = {i.name: i for i in self._state.list_initiators()}
        self.left: list[str] = []

    def _gone(self, what: str, step: Callable[[str], Step]) -> Iterator[Step]:
        """Something that is not in the file: a step when pruning, else left alone."""
        if self._arguments.prune:
            yield step(f"remove {what}")
        else:
            self.left.append(what)

    # Away

    def removals(self) -> Iterator[Step]:
        yield from self._unpresentations()
        initiators = {validation.initiator_name(entry.name) for entry in self._wanted.initiator}
        for old_initiator in self._initiators.values():
            if old_initiator.name not in initiators:
                yield from self._gone(
                    f"initiator {old_initiator.name}", partial(_remove_initiator, old_initiator)
                )
        luns = {entry.name.lower() for entry in self._wanted.lun}
        for key, vdisk in self._vdisks.items():
            if vdisk.parent is not None:  # also a clone that is not complete, which is of no use alone
                self.left.append(f"{vdisk.kind} {vdisk.name}")
            elif key not in luns:
                yield from self._gone(f"lun {vdisk.name}", partial(_remove_lun, vdisk))
        addresses = {self._address(entry.address, entry.port) for entry in self._wanted.portal}
        for address, record in self._portals.items():
            if address not in addresses:
                yield from self._gone(f"portal {format_address(*address)}", partial(_remove_portal, record))

    def _unpresentations(self) -> Iterator[Step]:
        names = {vdisk.id: vdisk.name for vdisk in self._vdisks.values() if vdisk.kind != "snapshot"}
        wanted = {
            (entry.name.lower(), validation.initiator_name(present.initiator)): present.lun
            for entry in self._wanted.lun
            for present in entry.present
        }
        for old in self._state.list_presentations():
            name = names.get(old.vdisk_id)
            if name is None:
                continue
            lun_wanted = wanted.get((name.lower(), old.initiator))
            what = f"presentation of {name} to {old.initiator} at LUN {old.lun}"
            if lun_wanted is None:
                yield from self._gone(what, partial(_unpresent, name, old))
            elif lun_wanted != old.lun:  # moved: `presentations` puts it where it is to be
                yield _unpresent(name, old, f"remove {what}")

    # The array

    def array(self) -> Iterator[Step]:
        entry: ArrayEntry = self._wanted.array
        old = self._state.array()
        given: dict[str, Any] = {
            key: value
            for key in (
                "name",
                "model",
                "policy",
                "controller_serial",
                "bridge_serial",
                "name_template",
                "target_user",
                "strict",
                "serial_numbers",
                "transition_time",
                "implicit_transition",
            )
            if (value := getattr(entry, key)) is not None
        }
        if entry.implicit_transition is not None:
            given["implicit_transition"] = validation.implicit_transition(entry.implicit_transition)
        if entry.target_secret_file is not None:
            given["target_secret"] = self._secret("array.target_secret_file", entry.target_secret_file)
        new = replace(old, **given)
        if new == old:
            return
        if new.model != old.model and self._context.live is not None:
            raise Conflict(
                "array.model: the model cannot change while the target runs",
                "stop it, apply this, start it again",
            )
        changes = []
        later = False
        for key in given:
            if getattr(old, key) != getattr(new, key):
                changes.append(_change_of_array(key, getattr(new, key)))
                later = later or key in _FROM_THE_NEXT_START
        line = f"change array: {', '.join(changes)}"
        if later and self._context.live is not None:
            line += " (names and numbers count from the next start)"
        yield Step(line, _later(lambda c: array.change(c, new)), _later(lambda c: array.change(c, old)))

    # Portals

    def portals(self) -> Iterator[Step]:
        for entry in self._wanted.portal:
            address = self._address(entry.address, entry.port)
            old = self._portals.get(address)
            name = format_address(*address)
            if old is None:
                spec = PortalSpec(*address, entry.advertise, entry.enabled)
                yield Step(f"add portal {name}", _add_portal(spec), _drop_portal(address))
                continue
            new = replace(old, advertise=entry.advertise, enabled=entry.enabled)
            if new != old:
                changes = []
                if new.enabled != old.enabled:
                    changes.append("enabled" if new.enabled else "disabled")
                if new.advertise != old.advertise:
                    changes.append(f"advertise {new.advertise or 'its own address'}")
                yield _change_portal(f"change portal {name}: {', '.join(changes)}", old, new)

    @staticmethod
    def _address(address: str, port: int) -> tuple[str, int]:
        record = validation.portal(PortalRecord(0, address, port, None, True))
        return record.address, record.port

    # LUNs

    def luns(self) -> Iterator[Step]:
        yield from self._vacate()
        for i, entry in enumerate(self._wanted.lun):
            old = self._vdisks.get(entry.name.lower())
            if old is None:
                yield self._create_lun(entry)
                continue
            if old.kind == "snapshot":
                raise Conflict(
                    f"lun[{i}].name: {old.name} is a snapshot",
                    "give the disk another name, or remove the snapshot",
                )
            self._check_lun(f"lun[{i}]", entry, old)
            new = self._like(entry, old)
            if new != old:
                changes = []
                if new.lun != old.lun:
                    changes.append(f"LUN {_lun_name(new.lun)}")
                if new.read_only != old.read_only:
                    changes.append("read-only" if new.read_only else "writable")
                if new.preferred != old.preferred:
                    changes.append(f"preferred {new.preferred}")
                yield _change_lun(f"change lun {old.name}: {', '.join(changes)}", old.name, new, old)
            if entry.size_bytes > old.size:
                yield _resize(f"grow lun {old.name}", old, entry.size_bytes)

    def _vacate(self) -> Iterator[Step]:
        """Take disks off LUNs that the file gives to others, so that two can change places."""
        wanted = {entry.lun: entry.name.lower() for entry in self._wanted.lun if isinstance(entry.lun, int)}
        for entry in self._wanted.lun:
            old = self._vdisks.get(entry.name.lower())
            if old is None or old.lun is None or entry.lun is None or entry.lun == old.lun:
                continue
            if wanted.get(old.lun, old.name.lower()) != old.name.lower():
                yield _change_lun(
                    f"take lun {old.name} off LUN {old.lun}", old.name, replace(old, lun=None), old
                )

    def _create_lun(self, entry: LunEntry) -> Step:
        spec = VdiskSpec(
            name=entry.name,
            size=entry.size_bytes,
            lun="next" if entry.lun is None else None if entry.lun == "none" else entry.lun,
            block_size=entry.block_size,
            store_url=entry.store,
            read_only=entry.read_only,
            preferred=entry.preferred,
            wwlun=entry.wwlun_bytes,
        )

        async def undo(context: Context) -> None:
            record = context.state.find_vdisk(entry.name)
            await lun.remove(context, record)
            if not entry.existing:
                disk_stores.delete(context.folder, record)

        return Step(
            f"create lun {entry.name} of {format_size(entry.size_bytes)}",
            _later(lambda c: lun.add(c, spec, create=not entry.existing)),
            undo,
        )

    @staticmethod
    def _check_lun(path: str, entry: LunEntry, old: VdiskRecord) -> None:
        hint = f"a disk stays what it is: remove lun {old.name}, or give the new one another name"
        if entry.block_size != old.block_size:
            raise Conflict(
                f"{path}.block_size: lun {old.name} has {old.block_size}, not {entry.block_size}", hint
            )
        if entry.wwlun_bytes not in (None, old.wwlun):
            raise Conflict(f"{path}.wwlun: lun {old.name} has another World Wide LUN Name", hint)
        if entry.store not in (None, old.store_url):
            raise Conflict(f"{path}.store: lun {old.name} lives in {old.store_url}", hint)

    @staticmethod
    def _like(entry: LunEntry, old: VdiskRecord) -> VdiskRecord:
        new_lun = old.lun if entry.lun is None else None if entry.lun == "none" else entry.lun
        return replace(old, lun=new_lun, read_only=entry.read_only, preferred=entry.preferred)

    def shrinks(self) -> Iterator[Step]:
        for i, entry in enumerate(self._wanted.lun):
            old = self._vdisks.get(entry.name.lower())
            if old is None or entry.size_bytes >= old.size:
                continue
            if not self._arguments.force:
                raise Refusal(
                    f"lun[{i}].size: {lun.would_cut(old, entry.size_bytes)}",
                    "shrink the file system on the host first, then say --force; nothing was changed",
                )
            yield _resize(f"shrink lun {old.name}", old, entry.size_bytes)

    # Initiators

    def initiators(self) -> Iterator[Step]:
        for i, entry in enumerate(self._wanted.initiator):
            name = validation.initiator_name(entry.name)
            old = self._initiators.get(name)
            new = self._initiator(f"initiator[{i}]", entry, old or InitiatorRecord(name))
            if old is None:
                yield _add_initiator(f"add initiator {name}", new)
            elif new != old:
                changes = []
                if new.alias != old.alias:
                    changes.append(f"alias {new.alias!r}")
                if replace(new, alias="") != replace(old, alias=""):
                    changes.append(f"chap {initiator.chap_of(new)}")
                yield _change_initiator(f"change initiator {name}: {', '.join(changes)}", old, new)

    def _initiator(self, path: str, entry: InitiatorEntry, old: InitiatorRecord) -> InitiatorRecord:
        new = replace(old, alias=entry.alias)
        if entry.chap is None:
            return new
        if entry.chap == "none":
            return replace(new, chap_user="", chap_secret=b"", target_user="", target_secret=b"")
        new = replace(new, chap_user=entry.chap_user, target_user=entry.target_user)
        if entry.chap_secret_file is not None:
            new = replace(new, chap_secret=self._secret(f"{path}.chap_secret_file", entry.chap_secret_file))
        if not new.chap_secret:
            raise Invalid(
                f'{path}.chap: "{entry.chap}" needs a secret, and {old.name} has none here',
                'name a file that has it: chap_secret_file = "PATH"',
            )
        if entry.chap == "one-way":
            return replace(new, target_secret=b"")
        if entry.target_secret_file is not None:
            new = replace(
                new, target_secret=self._secret(f"{path}.target_secret_file", entry.target_secret_file)
            )
        if not new.target_secret:
            raise Invalid(
                f'{path}.chap: "mutual" needs the secret of the target, and {old.name} has none here',
                'name a file that has it: target_secret_file = "PATH"',
            )
        return new

    def _secret(self, path: str, name: str) -> bytes:
        try:
            return validation.secret(self._arguments.secrets[name].encode())
        except KeyError:
            raise Invalid(
                f"{path}: the secret in {name} was not sent along", "send it in `secrets`"
            ) from None
        except Refusal as refusal:
            raise Invalid(f"{path}: {refusal.message}", refusal.hint) from None

    # Presentations

    def presentations(self) -> Iterator[Step]:
        known = {validation.initiator_name(entry.name) for entry in self._wanted.initiator}
        if not self._arguments.prune:
            known |= self._initiators.keys()
        existing = {(p.vdisk_id, p.initiator): p.lun for p in self._state.list_presentations()}
        for i, entry in enumerate(self._wanted.lun):
            old = self._vdisks.get(entry.name.lower())
            for j, present in enumerate(entry.present):
                name = validation.initiator_name(present.initiator)
                if name not in known:
                    raise NotFound(
                        f"lun[{i}].present[{j}].initiator: {name} is not known",
                        "add an [[initiator]] with that name to the file",
                    )
                if old is None or existing.get((old.id, name)) != present.lun:
                    yield _present(entry.name, name, present.lun)


# The steps


def _later(change: Callable[[Context], object]) -> Change:
    """A change that never waits, as one that may."""

    async def run(context: Context) -> object:
        return change(context)

    return run


def _add_portal(spec: PortalSpec) -> Change:
    return lambda context: portal.add(context, spec)


def _drop_portal(address: tuple[str, int]) -> Change:
    return lambda context: portal.remove(context, portal.find(context.state, format_address(*address)))


def _change_portal(line: str, old: PortalRecord, new: PortalRecord) -> Step:
    return Step(line, lambda c: portal.change(c, old, new), lambda c: portal.change(c, new, old))


def _remove_portal(old: PortalRecord, line: str) -> Step:
    spec = PortalSpec(old.address, old.port, old.advertise, old.enabled)
    return Step(line, _drop_portal((old.address, old.port)), _add_portal(spec))


def _add_initiator(line: str, new: InitiatorRecord) -> Step:
    return Step(
        line, _later(lambda c: initiator.add(c, new)), _later(lambda c: initiator.remove(c, new.name))
    )


def _change_initiator(line: str, old: InitiatorRecord, new: InitiatorRecord) -> Step:
    return Step(line, _later(lambda c: initiator.change(c, new)), _later(lambda c: initiator.change(c, old)))


def _remove_initiator(old: InitiatorRecord, line: str) -> Step:
    return Step(
        line, _later(lambda c: initiator.remove(c, old.name)), _later(lambda c: initiator.add(c, old))
    )


def _remove_lun(old: VdiskRecord, line: str) -> Step:
    spec = VdiskSpec(
        old.name, old.size, old.lun, old.block_size, old.store_url, old.read_only, old.preferred, old.wwlun
    )
    memory = old.store_url.startswith("memory:")
    data = "and its data, which is in memory only" if memory else f"(its data stays in {old.store_url})"
    return Step(
        f"{line} {data}",
        lambda c: lun.remove(c, c.state.find_vdisk(old.name)),
        _later(lambda c: lun.add(c, spec, create=False)),
    )


def _change_lun(line: str, name: str, new: VdiskRecord, old: VdiskRecord) -> Step:
    def to(record: VdiskRecord) -> Change:
        def run(context: Context) -> Awaitable[object]:
            now = context.state.find_vdisk(name)
            like = replace(now, lun=record.lun, read_only=record.read_only, preferred=record.preferred)
            return lun.change(context, now, like)

        return run

    return Step(line, to(new), to(old))


def _resize(what: str, old: VdiskRecord, size: int) -> Step:
    return Step(
        f"{what} from {format_size(old.size)} to {format_size(size)}",
        lambda c: lun.resize(c, c.state.find_vdisk(old.name), size),
        lambda c: lun.resize(c, c.state.find_vdisk(old.name), old.size),
    )


def _present(lun_name: str, name: str, at: int) -> Step:
    return Step(
        f"present {lun_name} to {name} at LUN {at}",
        lambda c: lun.present(c, PresentationRecord(c.state.find_vdisk(lun_name).id, name, at)),
        lambda c: lun.unpresent(c, c.state.find_vdisk(lun_name).id, name),
    )


def _unpresent(lun_name: str, old: PresentationRecord, line: str) -> Step:
    return Step(
        line,
        lambda c: lun.unpresent(c, c.state.find_vdisk(lun_name).id, old.initiator),
        lambda c: lun.present(c, PresentationRecord(c.state.find_vdisk(lun_name).id, old.initiator, old.lun)),
    )


_FROM_THE_NEXT_START = ("name", "model", "controller_serial", "bridge_serial", "name_template")


def _change_of_array(key: str, value: object) -> str:
    if key == "target_secret":
        return "target secret"
    return f"{key} {str(value).lower() if isinstance(value, bool) else value}"


def _lun_name(value: int | None) -> str:
    return "none" if value is None else str(value)


VERBS = (
    Verb("apply", Apply, apply, writes=True, streams=True, secrets=True),
    Verb("export", NoArguments, export, writes=False),
)
