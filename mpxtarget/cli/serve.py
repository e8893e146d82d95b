"""`mpxtarget serve`: run the target until it is told to stop."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import click

from mpxtarget.cli.calls import LOCK_SECONDS, Failure, WrongUsage, failures, settings_of
from mpxtarget.cli.options import model_option, state_option, strict_option

if TYPE_CHECKING:
    from pathlib import Path

    from mpxtarget.server.lock import FolderLock
    from mpxtarget.server.state import State
    from mpxtarget.server.target import TargetServer

OPEN_FILES = 65536
_LEVELS = ("debug", "info", "warning", "error")


@click.command()
@state_option
@click.option("--demo", is_flag=True, help="Make a default array first if there is none in the state folder.")
@model_option(None)
@strict_option
@click.option("--log-level", type=click.Choice(_LEVELS), default="info", show_default=True)
def serve(demo: bool, model: str | None, strict: bool, log_level: str) -> None:
    """Run the target, until Ctrl-C or SIGTERM.

    The default array of --demo is an EVA4400 with controllers A and B, two host ports each, portals on
    127.0.0.1 ports 3260 and 3261, and two LUNs of 1 GiB that every initiator sees. --model and --strict are
    for that new array only; `mpxtarget array` shows and changes one that is there.

    Configuration needs no reload: every other command takes effect at once. SIGHUP stops the target as
    SIGTERM does.
    """
    folder = settings_of(click.get_current_context()).folder
    _log_to_stderr(log_level)
    new: dict[str, Any] = {"strict": strict} | ({"model": model} if model is not None else {})
    if (model is not None or strict) and not demo:
        raise WrongUsage(
            "--model and --strict are for the new array that --demo makes",
            "`mpxtarget init` has them too, and `mpxtarget array set --strict` changes an array",
        )
    with failures(), _open(folder, new if demo else None) as state, _lock(state.folder):
        _run(state)


def _open(folder: Path, new: dict[str, Any] | None) -> State:
    from mpxtarget.server.assemble import create_array
    from mpxtarget.server.state import State

    if State.exists(folder):
        return State.open(folder)
    if new is None:
        where = shlex.quote(str(folder))
        raise Failure(
            f"there is no array in {folder}",
            f"make one with `mpxtarget init --state {where}`,"
            f" or start a default one with `mpxtarget serve --state {where} --demo`",
        )
    state = create_array(folder, **new)
    click.echo(f"made a new array in {state.folder}")
    return state


def _lock(folder: Path) -> FolderLock:
    """The lock of the folder; a command that has it for a moment is waited for, another `serve` is not."""
    import time

    from mpxtarget.server import lock
    from mpxtarget.server.errors import Busy

    give_up = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            return lock.FolderLock(folder)
        except Busy:
            _, purpose = lock.holder(folder) or (0, "")
            if purpose == lock.SERVING or time.monotonic() >= give_up:
                raise
        time.sleep(0.05)  # flock has no wait with an end


def _run(state: State) -> None:
    import asyncio

    import uvloop

    from mpxtarget.server.target import TargetServer

    _allow_many_connections()
    target = TargetServer(state)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(state, target))
    click.echo("stopped")


async def _serve(state: State, target: TargetServer) -> None:
    import asyncio
    import signal

    from mpxtarget.cli.banner import banner
    from mpxtarget.server.control import ControlServer
    from mpxtarget.server.verbs import Context

    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in signals:
        loop.add_signal_handler(number, stopping.set)
    control = ControlServer(Context(state, target))
    await target.start()
    try:
        await control.start()
        try:
            click.echo(banner(state, target.portal_addresses(), list(target.bridge.targets)))
            await stopping.wait()
        finally:
            # From here on the signals do what they always do, should stopping take too long for somebody.
            for number in signals:
                loop.remove_signal_handler(number)
            await control.stop()
    finally:
        await target.stop()


def _log_to_stderr(level: str) -> None:
    import logging

    logging.basicConfig(
        level=level.upper(), format="%(asctime)s %(levelname)s %(message)s", datefmt="%Y-%m-%d %H:%M:%S"
    )


def _allow_many_connections() -> None:
    """Each connection is an open file, and the limit that a shell gives is made for other programs."""
    import contextlib
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
