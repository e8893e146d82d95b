"""How a command reaches its verb: through the control socket while a target runs, else on the database
itself.

The rules kept here:

* The socket is asked first; when nobody listens, the verb works on the database.  A writing verb then holds
  the lock of the state folder for the moment.
* A target that is just starting or stopping holds the lock and has no socket yet or any more: that is waited
  out, for `LOCK_SECONDS`.
* Every error ends here as a `Failure` (exit code 1) or a `WrongUsage` (exit code 2) of one line and one hint.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

LOCK_SECONDS = 5.0
STATE_VARIABLE = "MPXTARGET_STATE"


class NobodyServes(Exception):  # noqa: N818 - the normal case of an offline verb
    """There is no control socket, or nobody listens on it."""


class Failure(click.ClickException):
    """A refusal: what was wrong, what to do."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class WrongUsage(Failure):
    """The command was called wrongly."""

    exit_code = 2


def default_folder() -> Path:
    """`$MPXTARGET_STATE`, else `mpxtarget` in the user's state folder as XDG has it."""
    if chosen := os.environ.get(STATE_VARIABLE):
        return Path(chosen)
    base = os.environ.get("XDG_STATE_HOME", "")
    # The specification: a relative path is invalid and is to be ignored.
    return (Path(base) if base.startswith("/") else Path.home() / ".local" / "state") / "mpxtarget"


@dataclass(slots=True)
class Settings:
    """What the command line says for all commands."""

    state: Path | None = None

    @property
    def folder(self) -> Path:
        """The state folder."""
        return self.state if self.state is not None else default_folder()


def settings_of(context: click.Context) -> Settings:
    """The settings of this invocation."""
    settings: Settings = context.find_root().ensure_object(Settings)
    return settings


def call(
    verb: str,
    values: dict[str, Any] | None = None,
    progress: Callable[[str], None] | None = None,
    seconds: float | None = None,
) -> Any:
    """Call a verb for the current command: in the running target if there is one, else offline.

    `seconds` is how long a running target may be silent.
    """
    folder = settings_of(click.get_current_context()).folder
    return call_in(folder, verb, values or {}, progress, seconds)


def call_in(
    folder: Path,
    verb: str,
    values: dict[str, Any],
    progress: Callable[[str], None] | None = None,
    seconds: float | None = None,
) -> Any:
    """Call a verb on a state folder.  Raises Failure and WrongUsage.

    `seconds` is how long a running target may be silent.
    """
    import time

    give_up = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            return _in_target(folder, verb, values, progress, seconds)
        except NobodyServes:
            pass
        try:
            return _offline(folder, verb, values, progress)
        except _Locked as locked:
            if time.monotonic() >= give_up:
                raise locked.failure from None
        time.sleep(0.05)  # another command has the folder for a moment; bounded by LOCK_SECONDS


def _in_target(
    folder: Path,
    verb: str,
    values: dict[str, Any],
    progress: Callable[[str], None] | None,
    seconds: float | None,
) -> Any:
    from mpxtarget.cli import client

    try:
        return client.request(
            folder, verb, values, progress=progress, seconds=seconds or client.ANSWER_SECONDS
        )
    except client.ServerRefused as refused:
        raise (WrongUsage if refused.usage else Failure)(refused.message, refused.hint) from None
    except client.NoAnswer as silence:
        raise Failure(
            str(silence), f"look at the process that serves {folder}, and stop and start it again if it hangs"
        ) from None
    except PermissionError:
        raise Failure(
            f"user {os.geteuid()} may not use the array in {folder}",
            "run this as the user that owns the folder and runs the target",
        ) from None


class _Locked(Exception):  # noqa: N818 - somebody has the lock; perhaps for a moment only
    def __init__(self, failure: Failure) -> None:
        super().__init__()
        self.failure = failure


def _offline(folder: Path, name: str, values: dict[str, Any], progress: Callable[[str], None] | None) -> Any:
    from mpxtarget.server.errors import Busy
    from mpxtarget.server.lock import FolderLock
    from mpxtarget.server.state import State
    from mpxtarget.server.verbs import VERBS, Context, run_offline

    verb = VERBS[name]
    with contextlib.ExitStack() as held, failures():
        try:
            # The arguments are looked at first: a wrong one is wrong usage, whether or not there is an array.
            verb.check(values)
            state = held.enter_context(State.open(folder))
            if verb.writes:
                held.enter_context(FolderLock(state.folder, name))
        except Busy as busy:
            raise _Locked(Failure(busy.message, busy.hint)) from None
        context = Context(state)
        if progress is not None:
            context.progress = progress
        return run_offline(verb, context, values)


@contextlib.contextmanager
def failures() -> Iterator[None]:
    """Turn what the server's modules raise into what ends a command."""
    from mpxtarget.server.errors import Refusal
    from mpxtarget.server.verbs import UsageError

    try:
        yield
    except UsageError as error:
        raise WrongUsage(error.message, error.hint) from None
    except Refusal as refusal:
        raise Failure(refusal.message, refusal.hint) from None
