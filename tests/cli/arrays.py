"""Arrays to run commands on: at rest, and served by a stand-in for the target over a real control socket."""

import asyncio
import contextlib
import errno
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from backing_stores import BackingStore
from mpxtarget.bridge.bridge import Bridge
from mpxtarget.cli.app import mpxtarget
from mpxtarget.scsi.logical_unit import Disk
from mpxtarget.server.assemble import assemble
from mpxtarget.server.clones import Clones
from mpxtarget.server.control import ControlServer
from mpxtarget.server.controllers import Controllers
from mpxtarget.server.errors import Refusal
from mpxtarget.server.executor import Executor
from mpxtarget.server.keeper import Keeper
from mpxtarget.server.lanes import Completions
from mpxtarget.server.lock import FolderLock
from mpxtarget.server.state import PortalRecord, PortalSpec, State
from mpxtarget.server.verbs import Context

HOST = "iqn.1991-05.com.microsoft:host.example"


def same_entropy(count: int) -> bytes:
    """So that two arrays have the same names."""
    return bytes(range(count))


def make(folder: Path) -> None:
    """A new array with one portal and no disks."""
    State.create(folder, portals=[PortalSpec("127.0.0.1", 3260)], vdisks=(), entropy=same_entropy).close()


@dataclass(frozen=True)
class FakeSession:
    """A session that is logged in."""

    tsih: int
    initiator: str = HOST
    isid: int = 0x400001370000
    target: str | None = None
    portal: str = "127.0.0.1:3260"
    peer: str = "127.0.0.1:49152"
    since: float = 1_000_000.0
    reads: int = 1
    writes: int = 2
    read_bytes: int = 4096
    written_bytes: int = 8192


class FakeTarget:
    """`TargetServer` without sockets: the real bridge, stores and executor, portals that are only noted."""

    def __init__(self, state: State) -> None:
        self._assembly = assemble(state)
        self.started_at = time.time()
        self.bridge: Bridge = self._assembly.bridge
        self.stores: dict[int, BackingStore] = self._assembly.stores
        self._completions = Completions()
        asyncio.get_running_loop().add_reader(self._completions.fd, self._completions.drain)
        self.executor = Executor(self._completions, lambda: ())
        self.clones = Clones(state, self)
        self.clones.start()
        self.keeper = Keeper(state, self._completions, self._vdisk_of)
        self.controllers = Controllers(self.bridge, self.keeper.keep, self._end_sessions)
        self.controllers.start()
        self.open: dict[int, tuple[str, int]] = {}
        self.taken: set[tuple[str, int]] = set()
        self.logged_in: list[FakeSession] = []
        for record in state.list_portals():
            if record.enabled:
                self.open[record.id] = (record.address, record.port)
                self.bridge.set_portal(record)

    def _vdisk_of(self, disk: Disk) -> int | None:
        vdisks = self.bridge.array.vdisks.items()
        return next((number for number, vdisk in vdisks if vdisk.disk is disk), None)

    def _end_sessions(self, target: str, _reason: str) -> None:
        self.logged_in = [session for session in self.logged_in if session.target != target]

    async def open_portal(self, portal: PortalRecord) -> None:
        await asyncio.sleep(0)
        if (portal.address, portal.port) in self.taken:
            raise Refusal(
                f"cannot listen on {portal.address}:{portal.port}: {errno.EADDRINUSE}", "use another port"
            )
        self.open[portal.id] = (portal.address, portal.port)
        self.bridge.set_portal(portal)

    async def close_portal(self, portal_id: int) -> None:
        await asyncio.sleep(0)
        if self.open.pop(portal_id, None) is not None:
            self.bridge.remove_portal(portal_id)

    def portal_addresses(self) -> dict[int, tuple[str, int]]:
        return dict(self.open)

    def sessions(self) -> list[FakeSession]:
        return self.logged_in

    def kill_session(self, tsih: int) -> bool:
        before = len(self.logged_in)
        self.logged_in = [s for s in self.logged_in if s.tsih != tsih]
        return len(self.logged_in) < before

    async def close(self) -> None:
        await self.clones.close()
        self.controllers.stop()
        while self.keeper.busy:  # noqa: ASYNC110 - once
            await asyncio.sleep(0.001)
        self._assembly.close()
        asyncio.get_running_loop().remove_reader(self._completions.fd)
        self._completions.close()


@dataclass
class Array:
    """A state folder, and what to do with it."""

    folder: Path
    target: FakeTarget | None = None
    in_loop: Callable[[Callable[[], Any]], Any] = field(default=lambda function: function())

    @property
    def live(self) -> bool:
        return self.target is not None

    def run(self, *words: str, stdin: str | bytes | None = None, env: dict[str, str] | None = None) -> Result:
        """Run a command on this array."""
        runner = CliRunner(env={"MPXTARGET_STATE": str(self.folder), **(env or {})})
        result = runner.invoke(mpxtarget, list(words), input=stdin)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    def ok(self, *words: str, stdin: str | bytes | None = None, env: dict[str, str] | None = None) -> str:
        """Run a command that has to succeed; what it printed."""
        result = self.run(*words, stdin=stdin, env=env)
        assert result.exit_code == 0, result.output
        return result.stdout

    def refused(self, *words: str, code: int = 1, stdin: str | bytes | None = None) -> str:
        """Run a command that has to fail in one line and a hint; the line."""
        result = self.run(*words, stdin=stdin)
        assert result.exit_code == code, result.output
        lines = result.stderr.splitlines()
        assert lines[0].startswith("error: "), lines
        assert len(lines) == 1 or lines[1].startswith("hint: "), lines
        assert len(lines) <= 2, lines
        return lines[0].removeprefix("error: ")

    def records(self) -> dict[str, object]:
        """All that is in the database."""
        with State.open(self.folder) as state:
            return {
                "array": state.array(),
                "portals": state.list_portals(),
                "vdisks": state.list_vdisks(),
                "initiators": [(i, i.chap_secret, i.target_secret) for i in state.list_initiators()],
                "presentations": state.list_presentations(),
            }

    def files(self) -> set[str]:
        """The backing files."""
        return {path.name for path in (self.folder / "vdisks").glob("*")}


@contextlib.contextmanager
def served(folder: Path) -> Iterator[Array]:
    """An array that is being served."""
    ready = threading.Event()
    made: dict[str, Any] = {}

    def serve() -> None:
        asyncio.run(main())

    async def main() -> None:
        with State.open(folder) as state, FolderLock(folder):
            target = FakeTarget(state)
            control = ControlServer(Context(state, target))
            await control.start()
            made.update(target=target, loop=asyncio.get_running_loop(), stop=asyncio.Event())
            ready.set()
            await made["stop"].wait()
            await control.stop()
            await target.close()

    thread = threading.Thread(target=serve)
    thread.start()
    ready.wait(10)

    def in_loop(function: Callable[[], Any]) -> Any:
        async def call() -> Any:
            return function()

        return asyncio.run_coroutine_threadsafe(call(), made["loop"]).result(10)

    try:
        yield Array(folder, made["target"], in_loop)
    finally:
        made["loop"].call_soon_threadsafe(made["stop"].set)
        thread.join()
