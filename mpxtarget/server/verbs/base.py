"""What every verb is made of: a row in a table, a context to work on, and two kinds of error.

The rules kept here:

* A verb is one function over a `Context`.  It runs unchanged inside a running target and on a resting
  database; only `Context.live` tells the difference, and the answer is the same.
* Arguments are msgspec structs.  Whoever calls (the control API, the command line, a test) passes plain
  values, `perform` validates them, so nobody gets a different error for the same mistake.
* A verb that changes something changes the database and the running target together or not at all.  The
  pattern is: everything that may block or wait first, then one transaction without an `await` in it, undo if
  it is refused.
* Secrets go in, never out: no result type has a field for one.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol, TypeVar

import msgspec

from mpxtarget.server.errors import Refusal

if TYPE_CHECKING:
    from backing_stores import BackingStore
    from mpxtarget.array.array import Array
    from mpxtarget.array.ownership import ControllerState
    from mpxtarget.array.records import ArrayRecord, ControllerName, VdiskRecord
    from mpxtarget.bridge.bridge import Target
    from mpxtarget.bridge.records import InitiatorRecord, PortalRecord, PresentationRecord
    from mpxtarget.scsi.logical_unit import Disk
    from mpxtarget.scsi.nexus import ITNexus
    from mpxtarget.server.clones import Clones
    from mpxtarget.server.disk_io import DiskIo
    from mpxtarget.server.keeper import Keeper
    from mpxtarget.server.state import State
    from mpxtarget.server.task_set import Pause

log = logging.getLogger(__name__)
_T = TypeVar("_T")


class UsageError(Exception):
    """The verb was called wrongly: an unknown argument, a wrong type, an impossible value."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class LiveBridge(Protocol):
    """The part of `bridge.Bridge` that verbs drive; each call raises the unit attentions that are due."""

    @property
    def array(self) -> Array: ...
    @property
    def targets(self) -> Mapping[str, Target]: ...
    def nexuses(self) -> list[ITNexus]: ...
    def set_array(self, record: ArrayRecord) -> None: ...
    def set_portal(self, record: PortalRecord) -> None: ...
    def add_vdisk(self, record: VdiskRecord, store: BackingStore) -> None: ...
    def update_vdisk(self, record: VdiskRecord) -> None: ...
    def resize_vdisk(self, vdisk_id: int, size: int) -> None: ...
    def remove_vdisk(self, vdisk_id: int) -> None: ...
    def present(self, record: PresentationRecord) -> None: ...
    def unpresent(self, vdisk_id: int, initiator: str) -> None: ...
    def set_initiator(self, record: InitiatorRecord) -> None: ...
    def remove_initiator(self, name: str) -> None: ...


class LiveExecutor(Protocol):
    """The part of `server.executor.Executor` that verbs drive."""

    def io_of(self, disk: Disk) -> DiskIo: ...
    def pause(self, disk: Disk, begun: Callable[[], None]) -> Pause: ...
    def abandon(self, disk: Disk) -> None: ...
    def busy(self, disk: Disk) -> bool: ...
    def forget(self, disk: Disk) -> None: ...


class LiveSession(Protocol):
    """One logged-in session as the running target describes it: `server.target.SessionInfo`."""

    @property
    def tsih(self) -> int: ...
    @property
    def initiator(self) -> str: ...
    @property
    def isid(self) -> int: ...
    @property
    def target(self) -> str | None: ...
    @property
    def portal(self) -> str: ...
    @property
    def peer(self) -> str: ...
    @property
    def since(self) -> float: ...
    @property
    def reads(self) -> int: ...
    @property
    def writes(self) -> int: ...
    @property
    def read_bytes(self) -> int: ...
    @property
    def written_bytes(self) -> int: ...


class LiveControllers(Protocol):
    """The part of `server.controllers.Controllers` that verbs drive."""

    @property
    def out_of_service(self) -> ControllerName | None: ...
    @property
    def seconds_left(self) -> float | None: ...
    def state(self, controller: ControllerName) -> ControllerState: ...
    def owner(self, vdisk_id: int) -> ControllerName | None: ...
    def in_transition(self, vdisk_id: int) -> bool: ...
    def owners(self) -> dict[int, ControllerName]: ...
    def fail(self, controller: ControllerName, seconds: float | None = None) -> None: ...
    def recover(self) -> None: ...
    def trespass(self, owners: dict[int, ControllerName]) -> None: ...


class Live(Protocol):
    """The part of `server.target.TargetServer` that verbs drive."""

    @property
    def started_at(self) -> float: ...
    @property
    def bridge(self) -> LiveBridge: ...
    @property
    def executor(self) -> LiveExecutor: ...
    @property
    def controllers(self) -> LiveControllers: ...
    @property
    def keeper(self) -> Keeper: ...
    @property
    def stores(self) -> dict[int, BackingStore]: ...
    @property
    def clones(self) -> Clones: ...
    async def open_portal(self, portal: PortalRecord, /) -> None: ...
    async def close_portal(self, portal_id: int, /) -> None: ...
    def portal_addresses(self) -> dict[int, tuple[str, int]]: ...
    def sessions(self) -> Sequence[LiveSession]: ...
    def kill_session(self, tsih: int, /) -> bool: ...


def _quiet(_line: str) -> None:
    """Progress that nobody listens to."""


@contextlib.contextmanager
def together(state: State) -> Iterator[contextlib.ExitStack]:
    """One transaction for the database and the running target.

    What a change in the running target needs to be taken back goes on the stack that this gives; it is
    called, last first, when the transaction fails, up to and including its commit.  There is no `await`
    inside.
    """
    with contextlib.ExitStack() as undo:
        with state.transaction():
            yield undo
        undo.pop_all()


@dataclass(slots=True)
class Context:
    """What a verb works on.

    `live` is the running target, or None when nobody serves.  `progress` takes one line per finished step of
    a long verb.  `stores` False leaves backing stores alone: a rehearsal of changes to the database, which is
    rolled back.
    """

    state: State
    live: Live | None = None
    progress: Callable[[str], None] = field(default=_quiet)
    stores: bool = True

    @property
    def folder(self) -> Path:
        """The state folder."""
        return self.state.folder

    async def blocking(self, function: Callable[..., _T], *arguments: Any) -> _T:
        """Run something that may wait for a disk, without stopping a running target meanwhile."""
        if self.live is None:
            return function(*arguments)
        import asyncio

        return await asyncio.to_thread(function, *arguments)


class Arguments(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Base of the argument records: an argument nobody knows is an error, never ignored."""


Number = Annotated[int, msgspec.Meta(ge=0, le=0xFFFFFFFF)]
"""A number that names something.  Anything longer names nothing, and SQLite could not take it."""


class NoArguments(Arguments, frozen=True):
    """For verbs that take none."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """Base of what verbs answer; becomes a JSON object."""


@dataclass(frozen=True, slots=True)
class Verb:
    """One row of the table."""

    name: str  # "noun/verb", as in the control API's path
    arguments: type[Arguments]
    handler: Callable[[Context, Any], Any]
    writes: bool  # needs the lock of the state folder; POST only
    streams: bool = False  # reports progress line by line
    secrets: bool = False  # its arguments hold secrets: they are never logged
    waits: bool = False  # takes long and changes nothing itself: other verbs go on beside it

    @property
    def summary(self) -> str:
        """First line of the handler's docstring."""
        return (inspect.getdoc(self.handler) or "").partition("\n")[0]

    @property
    def title(self) -> str:
        """The verb as it is typed."""
        return self.name.replace("/", " ")

    def check(self, values: Mapping[str, object], *, lax: bool = False) -> Arguments:
        """Validate plain values.  `lax` accepts numbers and booleans written as text (a query string)."""
        try:
            return msgspec.convert(dict(values), type=self.arguments, strict=not lax)
        except msgspec.ValidationError as error:
            raise UsageError(f"{self.title}: {readable(error)}", _accepted(self)) from None


def readable(error: msgspec.ValidationError) -> str:
    """msgspec's message with the path in front, in the words of whoever wrote it: `lun[0].size: ...`."""
    text, _, path = str(error).partition(" - at `")
    path = path.rstrip("`").removeprefix("$").removeprefix(".")
    text = text.replace("Object ", "").replace("`", "")
    return f"{path}: {text}" if path else text


def _accepted(verb: Verb) -> str:
    fields = msgspec.structs.fields(verb.arguments)
    if not fields:
        return "it takes no arguments"
    return "arguments: " + ", ".join(f.name if f.required else f"[{f.name}]" for f in fields)


async def perform(verb: Verb, context: Context, values: Mapping[str, object], *, lax: bool = False) -> Any:
    """Validate, run, and answer in plain values (dict, list, str, int, float, bool, None).

    Raises `UsageError` or `Refusal`, and nothing else that a caller could have caused.
    """
    arguments = verb.check(values, lax=lax)
    try:
        answer = verb.handler(context, arguments)
        if isinstance(answer, Awaitable):
            answer = await answer
    except OSError as error:
        # Handlers say more where they can; this is the net under them: a full or read-only state folder, say.
        raise Refusal(
            f"{verb.title}: {_os_reason(error)}", f"look at {context.folder} and try again"
        ) from error
    return msgspec.to_builtins(answer)


def _os_reason(error: OSError) -> str:
    reason = error.strerror or str(error)
    return f"{error.filename}: {reason}" if error.filename else reason


def run_offline(verb: Verb, context: Context, values: Mapping[str, object]) -> Any:
    """Run a verb where no event loop runs.

    Without a live target no verb has anything to wait for, so its coroutine finishes at the first step; this
    saves every offline command the import of asyncio.
    """
    if context.live is not None:
        raise ValueError("a live target needs its own event loop")
    coroutine = perform(verb, context, values)
    try:
        coroutine.send(None)
    except StopIteration as finished:
        return finished.value
    finally:
        coroutine.close()
    raise AssertionError(f"{verb.name} waited for something while offline")
