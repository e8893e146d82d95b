"""A whole target in memory: disks, sessions, an executor with real lanes, and connections without sockets.

    world = World()
    host = world.host(keys={"InitialR2T": "Yes"})    # logged in
    host.command(1, write_10(0, 8), data_out=data)
    done = host.done()

`World.settle` waits, in bounded time and without sleeping, until all lanes are empty, and hands out what they
finished. Hosts are the strict `InitiatorConnection`, so every test is also one of StatSN, ExpCmdSN and
MaxCmdSN.
"""

from __future__ import annotations

import random
import select
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, TypeVar, cast

from mpxtarget.iscsi.connection import Commands, Connection, Phase, Surroundings
from mpxtarget.iscsi.errors import LoginRejected
from mpxtarget.iscsi.login import Admission, ChapPolicy
from mpxtarget.iscsi.negotiation import Limits
from mpxtarget.iscsi.output import ArenaPool, Output
from mpxtarget.iscsi.session import Session, Sessions
from mpxtarget.iscsi.task import Task
from mpxtarget.pdu import Pdu, Reject, SnackRequest, serial_add
from mpxtarget.scsi.device import ScsiDevice
from mpxtarget.scsi.logical_unit import Console, Disk, Identity
from mpxtarget.scsi.nexus import ITLNexus, ITNexus, TargetPort
from mpxtarget.server import fast_path
from mpxtarget.server.executor import Executor
from mpxtarget.server.lanes import Completions
from mpxtarget.testing import (
    CommandDone,
    Event,
    InitiatorConnection,
    LoggedIn,
    LoginOptions,
    PduFactory,
    Rejected,
    TmfAnswered,
)
from support.stores import PATIENCE, Blocks

TARGET = "iqn.2004-09.com.hp:fcgw.mpx100.test.b1.01.50001fe150012348"
OTHER_TARGET = "iqn.2004-09.com.hp:fcgw.mpx100.test.b1.02.50001fe15001234c"
HOST = "iqn.2001-04.com.example:host"
OTHER_HOST = "iqn.2001-04.com.example:other"
NAA, OTHER_NAA = (bytes.fromhex(f"600508b40006d7da0001a000047{n}0000") for n in (1, 2))
BLOCK = 512
LUN, OTHER_LUN = 1, 2

_E = TypeVar("_E")
_P = TypeVar("_P", bound=Pdu)


class Target:
    """The target's end of one connection, driven by bytes: what a Transport does, without its socket."""

    def __init__(
        self,
        around: Surroundings,
        arenas: ArenaPool,
        *,
        now: float = 0.0,
        fast: bool = False,
        address: str = "192.0.2.1",
    ) -> None:
        self.output = Output(arenas)
        self.connection = Connection(
            around,
            self.output,
            local=(address, 3260),
            peer=("192.0.2.99", 50000),
            now=now,
            on_drop=self._dropped,
        )
        self.fast = fast
        self.closed = False
        self._inbox = b""

    def _dropped(self) -> None:
        self.closed = True
        self.output.discard()

    @property
    def unread(self) -> int:
        """Bytes of a PDU that is not all there."""
        return len(self._inbox)

    def receive(self, data: bytes, now: float) -> None:
        """Take bytes of the initiator, with what was left of the last."""
        if self.closed:
            return
        self._inbox += data
        view, pos, end = memoryview(bytearray(self._inbox)), 0, len(self._inbox)
        c = self.connection
        while pos < end and c.phase < Phase.CLOSING:
            if self.fast and c.phase == Phase.FULL_FEATURE:
                pos = fast_path.run(c, view, pos, end)
                if pos == end:
                    break
            taken = c.receive_pdu(view, pos, end, now)
            if taken == pos:
                break
            pos = taken
        self._inbox = self._inbox[pos:]
        view[:] = b"\xa5" * end  # the receive buffer is only lent: whoever kept a part of it is found out

    def to_send(self) -> bytes:
        """All that is to be sent; stalled reads go on as a socket that takes everything would let them."""
        c = self.connection
        parts = []
        while not self.closed:
            parts.append(self.output.take_all())
            stalled, c.stalled = c.stalled, []
            for task in stalled:
                if not task.aborted:
                    c.around.commands.resume(task)
            if not len(self.output):
                break
        self.output.close()
        if c.phase == Phase.CLOSING and not self.closed:
            c.lost(c.reason)
        return b"".join(parts)

    def tick(self, now: float) -> None:
        """Let time pass."""
        if not self.closed:
            self.connection.tick(now)

    def hang_up(self) -> None:
        """The TCP connection ends."""
        if not self.closed:
            self.connection.lost("connection closed by the initiator")


class Scripted:
    """`Commands` that answer by a function, and remember what was asked of them."""

    def __init__(self, start: Callable[[Task], None] = lambda task: None) -> None:
        self.on_start = start
        self.on_taken: Callable[[Task], None] = lambda task: None
        self.started: list[Task] = []
        self.data: dict[int, bytearray] = {}
        self.ended: list[Task] = []
        self.failures: list[tuple[Task, object]] = []
        self.managed: list[tuple[int, int]] = []
        self.tmf_response = 0

    def start(self, task: Task) -> None:
        self.started.append(task)
        self.data[task.itt] = bytearray()
        self.on_start(task)

    def take(self, task: Task, offset: int, data: memoryview) -> None:
        assert offset == len(self.data[task.itt]), "data has to come in order"
        self.data[task.itt] += data

    def taken(self, task: Task) -> None:
        self.on_taken(task)

    def undelivered(self, task: Task, failure: object) -> None:
        self.failures.append((task, failure))

    def aborted(self, task: Task) -> None:
        self.ended.append(task)

    def resume(self, task: Task) -> None:
        raise AssertionError("nothing stalls here")

    def manage(self, session: Session, function: int, lun: int) -> int:
        self.managed.append((function, lun))
        return self.tmf_response


class World:
    """Disks, sessions and connections. LUN 1 and 2 are disks on stores of their own, LUN 0 the console."""

    def __init__(
        self,
        *,
        limits: Limits | None = None,
        commands: Commands | None = None,
        size: int = 4 << 20,
        fast: bool = False,
        session_limit: int = 4096,
    ) -> None:
        self.fast = fast
        self.ports = [TargetPort(TARGET, 1, 1, 1), TargetPort(OTHER_TARGET, 1, 2, 2)]
        self.identity = Identity("HP", "HSV300", "0005", "P1234")
        self.device = ScsiDevice("naa.50001fe150012340", self.ports, self.identity)
        self.store, self.other_store = Blocks(size, url="blocks:one"), Blocks(size, url="blocks:two")
        self.disk, self.other_disk = self._disk(self.store, NAA), self._disk(self.other_store, OTHER_NAA)
        self.now = 0.0
        self.device.set_clock(lambda: self.now)
        self.device.entropy = random.Random(0).randbytes
        self.console = Console(self.identity)
        self.completions = Completions()
        self.sessions = Sessions(self._attach, self._detach, session_limit)
        self.executor = Executor(self.completions, lambda: self.sessions)
        self.chap: ChapPolicy | None = None
        self.known: dict[str, list[str]] = {name: ["192.0.2.1:3260,1"] for name in (TARGET, OTHER_TARGET)}
        self.lost_nexuses: list[ITNexus] = []
        self.arenas = ArenaPool()
        self._bytes = 0
        self.around = Surroundings(
            self, commands or self.executor, self.sessions, limits or Limits(), self._entropy
        )
        self.hosts: list[Host] = []

    def _disk(self, store: Blocks, naa: bytes) -> Disk:
        return Disk(
            replace(self.identity, naa=naa),
            block_size=BLOCK,
            blocks=store.size // BLOCK,
            store=store,
            managing_group=1,
        )

    def _entropy(self, count: int) -> bytes:
        self._bytes += 1
        return self._bytes.to_bytes(count, "big")

    # the iSCSI node

    def admit(self, initiator: str, target: str | None) -> Admission:
        if target is not None and target not in self.known:
            raise LoginRejected(0x0203, "unknown target")
        return Admission(1, "", self.chap, self.chap is None)

    def send_targets(self, connection: Connection, target: str | None) -> list[tuple[str, list[str]]]:
        return [(name, list(to)) for name, to in self.known.items() if target in (None, name)]

    def _attach(self, session: Session) -> ITNexus | None:
        if session.target is None or session.discovery:
            return None
        port = next(port for port in self.ports if port.name == session.target)
        nexus = ITNexus(f"{session.initiator},i,0x{session.isid:012x}", session.initiator, port, self.device)
        nexus.map(0, self.console)
        nexus.map(LUN, self.disk)
        nexus.map(OTHER_LUN, self.other_disk)
        return nexus

    def _detach(self, session: Session) -> None:
        self.lost_nexuses.append(session.nexus)
        session.nexus.lose()

    # connections

    def target(self, *, address: str = "192.0.2.1") -> Target:
        """A fresh connection."""
        return Target(self.around, self.arenas, now=self.now, fast=self.fast, address=address)

    def host(
        self, *, login: bool = True, attentions: bool = False, address: str = "192.0.2.1", **options: Any
    ) -> Host:
        """A host with a connection of its own, logged in unless told otherwise.

        `options` are those of LoginOptions; unit attentions of a new nexus are taken away unless wanted.
        """
        options.setdefault("initiator", HOST)
        if not options.get("discovery"):
            options.setdefault("target", TARGET)
        host = Host(self, self.target(address=address), LoginOptions(**options))
        self.hosts.append(host)
        if login:
            host.login()
            if not attentions and host.logged_in and host.session.nexus is not None:
                calm(host.session.nexus)
        return host

    def discovery(self, **options: Any) -> Host:
        """A host in a discovery session."""
        return self.host(discovery=True, **options)

    # lanes and time

    def drain(self, seconds: float = PATIENCE) -> int:
        """Wait for a lane to finish something, and take it in."""
        ready, _, _ = select.select([self.completions.fd], [], [], seconds)
        count = self.completions.drain() if ready else 0
        self.executor.take_touched()
        return count

    def settle(self) -> None:
        """Wait until all lanes are empty, and let all hosts hear of it."""
        self.run()
        while self.executor.busy(self.disk) or self.executor.busy(self.other_disk):
            assert self.drain(), "a lane does not finish"
            self.run()

    def run(self) -> None:
        """Carry what is on its way."""
        for host in self.hosts:
            host.run()

    def pass_time(self, seconds: float) -> None:
        """Time passes, second by second, and everybody gets to say something."""
        for _ in range(int(seconds)):
            self.now += 1.0
            for host in list(self.hosts):
                host.target.tick(self.now)
                host.run()

    def close(self) -> None:
        """End the lanes' work."""
        self.store.close()
        self.other_store.close()
        self.settle()
        self.completions.close()


class Host:
    """A strict initiator on a connection to the target, and what both said."""

    def __init__(self, world: World, target: Target, options: LoginOptions) -> None:
        self.world = world
        self.target = target
        self.machine = InitiatorConnection(options, observer=self._saw)
        self.make = PduFactory(self.machine)
        self.events: list[Event] = []
        self.seen: list[tuple[Pdu, bytes]] = []
        self.received = b""

    def _saw(self, pdu: Pdu, data: bytes) -> None:
        self.seen.append((pdu, data))

    # state

    @property
    def session(self) -> Session:
        """The session of the connection."""
        session = self.target.connection.session
        assert session is not None
        return session

    @property
    def itl(self) -> ITLNexus:
        """The I_T_L nexus of LUN 1."""
        return cast(ITNexus, self.session.nexus).by_number[LUN]

    @property
    def logged_in(self) -> bool:
        return any(isinstance(event, LoggedIn) for event in self.events)

    @property
    def closed(self) -> bool:
        return self.target.closed

    # talking

    def login(self) -> list[Event]:
        """Log in; what came of it."""
        self.machine.start()
        return self.run()

    def run(self) -> list[Event]:
        """Carry bytes both ways until both are silent; the events of this call."""
        new: list[Event] = []
        while True:
            there = self.machine.to_send()
            if there:
                self.target.receive(there, self.world.now)
            back = self.target.to_send()
            if back:
                new += self.machine.receive(back)
            elif not there:
                break
        self.events += new
        return new

    def command(self, lun: int, cdb: bytes, **how: Any) -> int:
        """Send a command, let all that can happen at once happen; its ITT."""
        itt = self.machine.command(lun, cdb, **how)
        self.run()
        return itt

    def done(self, itt: int | None = None) -> CommandDone:
        """How a command ended, the last one if none is named."""
        ends = [e for e in self.events if isinstance(e, CommandDone) and itt in (None, e.itt)]
        assert ends, f"no status yet: {self.events}"
        return ends[-1]

    def ended(self, itt: int) -> bool:
        """Whether status came for a command."""
        return any(isinstance(e, CommandDone) and e.itt == itt for e in self.events)

    def scsi(self, lun: int, cdb: bytes, **how: Any) -> CommandDone:
        """A command from its PDU to its status."""
        itt = self.command(lun, cdb, **how)
        self.world.settle()
        return self.done(itt)

    def say(self, pdu: Pdu, data: bytes = b"", ahs: bytes = b"") -> list[tuple[Pdu, bytes]]:
        """Send a PDU as it is; all PDUs that came back."""
        mark = len(self.seen)
        self.machine.inject(pdu, data, ahs)
        self.run()
        return self.seen[mark:]

    def send_bytes(self, data: bytes) -> list[tuple[Pdu, bytes]]:
        """Send bytes as they are; all PDUs that came back."""
        mark = len(self.seen)
        self.machine.send_bytes(data)
        self.run()
        return self.seen[mark:]

    def tmf(self, function: int, **how: Any) -> int:
        """A task management function; its response."""
        itt = self.machine.task_management(function, **how)
        self.run()
        return next(e.response for e in self.events if isinstance(e, TmfAnswered) and e.itt == itt)

    def rejects(self) -> list[int]:
        """The reasons of all Rejects so far."""
        return [event.reject.reason for event in self.events if isinstance(event, Rejected)]

    def of(self, kind: type[_E]) -> list[_E]:
        """All events of a kind."""
        return [event for event in self.events if isinstance(event, kind)]

    def pdus(self, kind: type[_P], itt: int | None = None) -> list[_P]:
        """All PDUs of a kind that came, of one task if it is named."""
        return [pdu for pdu, _ in self.seen if isinstance(pdu, kind) and itt in (None, pdu.itt)]

    def skip_cmd_sn(self, count: int = 1) -> int:
        """Leave a hole in the numbering; the first CmdSN left out."""
        first = self.machine.cmd_sn
        self.machine.cmd_sn = serial_add(first, count)
        return first


def calm(nexus: ITNexus) -> None:
    """Report all unit attentions of a nexus, so that they are over."""
    nexus.live = True
    for itl in nexus.by_number.values():
        while itl.attentions:
            itl.take_unit_attention()


def options_of(host: Host, **changes: Any) -> LoginOptions:
    """The login options of a host, changed."""
    return replace(host.machine.options, **changes)


def reject_of(answers: list[tuple[Pdu, bytes]]) -> Reject:
    """The Reject that is the only answer."""
    assert [type(pdu) for pdu, _ in answers] == [Reject], answers
    return cast(Reject, answers[0][0])


def only(answers: list[tuple[Pdu, bytes]], kind: type[_P]) -> _P:
    """The only answer, of this kind."""
    assert [type(pdu) for pdu, _ in answers] == [kind], answers
    return cast(_P, answers[0][0])


def snack(host: Host, kind: int) -> SnackRequest:
    """A SNACK of any kind."""
    return host.make.snack_request(type=kind)


def each_disk(world: World) -> Iterator[tuple[Disk, Blocks]]:
    """The disks and their stores."""
    yield world.disk, world.store
    yield world.other_disk, world.other_store
