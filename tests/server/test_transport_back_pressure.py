"""A peer that reads slowly, or not at all: memory stays bounded, and everything arrives in the end."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from backing_stores import BackingStore, open_store
from mpxtarget.iscsi.connection import Connection
from mpxtarget.iscsi.output import ARENA_SIZE
from mpxtarget.pdu import NopOut, ScsiCommand
from mpxtarget.scsi.nexus import ITNexus
from mpxtarget.server.executor import LANE_BYTES
from mpxtarget.server.transport import TURN, WRITE_TIMEOUT, Transport
from mpxtarget.testing import CommandDone, Event, InitiatorConnection, LoginOptions
from support.cdb import TEST_UNIT_READY, data, read_10, read_16, write_10
from support.fixtures import MakeWorld
from support.stores import PATIENCE
from support.world import LUN, OTHER_HOST, TARGET, World, calm

MIB = 1 << 20


class Line:
    """A Transport on one end of a TCP connection with small buffers, a strict initiator on the other."""

    def __init__(self, world: World, transport: Transport, sock: socket.socket, **options: Any) -> None:
        self.world = world
        self.transport = transport
        self.sock = sock
        self.machine = InitiatorConnection(LoginOptions(target=TARGET, **options))
        self.events: list[Event] = []
        self.most = 0
        self._unsent = b""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    def held(self) -> int:
        """Bytes that the target keeps for this connection."""
        out = self.transport.connection.output
        kept = len(out) + len(self.transport._kept)
        return kept + (ARENA_SIZE if self.transport._inbox is not None else 0)

    def give(self) -> bool:
        """Send as much as the target takes; whether anything went."""
        self._unsent += self.machine.to_send()
        sent = 0
        try:
            while self._unsent:
                count = self.sock.send(self._unsent)
                self._unsent = self._unsent[count:]
                sent += count
        except BlockingIOError:
            pass
        return sent > 0

    def take(self, most: int = 65536) -> bytes:
        """Read as much as has come, up to a limit."""
        try:
            return self.sock.recv(most)
        except BlockingIOError:
            return b""

    async def until(self, done: Callable[[], object], *, most: int = 65536) -> None:
        """Talk until something holds, taking at most so much at a time."""
        async with asyncio.timeout(PATIENCE):
            while not done():
                self.give()
                self.most = max(self.most, self.held())
                came = self.take(most)
                self.events += self.machine.receive(came)
                await asyncio.sleep(0)

    async def stalled(self) -> None:
        """Send without reading, until the target cannot do anything more."""
        async with asyncio.timeout(PATIENCE):
            still = 0
            while still < 50:
                moved = self.give()
                before = self.held()
                await asyncio.sleep(0)
                self.most = max(self.most, self.held())
                still = 0 if moved or self.held() != before else still + 1

    def done(self) -> list[CommandDone]:
        return [event for event in self.events if isinstance(event, CommandDone)]

    async def log_in(self) -> None:
        self.machine.start()
        await self.until(lambda: self.machine.state == "full feature")
        session = self.transport.connection.session
        assert session is not None
        calm(session.nexus)


async def gone(transport: Transport) -> None:
    """Wait until the target has closed its socket."""
    async with asyncio.timeout(PATIENCE):
        while not transport.closed:  # noqa: ASYNC110 - the loop has to turn, and nothing else tells
            await asyncio.sleep(0)


Connect = Callable[..., Awaitable[Line]]


@pytest.fixture
async def connect(make_world: MakeWorld) -> AsyncIterator[Connect]:
    """Makes lines to a world."""
    loop = asyncio.get_running_loop()
    lines: list[Line] = []
    by_connection: dict[object, Transport] = {}

    def finished(world: World) -> None:
        world.completions.drain()
        for connection in world.executor.take_touched():
            if connection in by_connection:
                by_connection[connection].flush()

    async def make(world: World | None = None, *, buffer: int = 4096, **options: Any) -> Line:
        world = world or make_world()
        listener = socket.create_server(("127.0.0.1", 0))
        ours = socket.socket()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        ours.connect(listener.getsockname())
        theirs, _ = listener.accept()
        listener.close()
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
        for sock in (ours, theirs):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setblocking(False)
        transport = Transport(
            loop, theirs, world.around, world.arenas, portal_id=1, on_closed=lambda transport: None
        )
        by_connection[transport.connection] = transport
        loop.add_reader(world.completions.fd, finished, world)
        line = Line(world, transport, ours, **options)
        lines.append(line)
        return line

    yield make
    for line in lines:
        line.transport.close()
        line.sock.close()
        line.world.store.open_gate()
        loop.remove_reader(line.world.completions.fd)


@pytest.mark.conformance("SEC-004", "TCP-004", "RDF-001")
@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "in lanes"])
async def test_a_slow_reader_gets_everything_and_costs_little(connect: Connect, at_once: bool) -> None:
    line = await connect()
    content = line.world.store.pattern()
    line.world.store.at_once = at_once
    await line.log_in()
    for number in range(24):
        line.machine.command(LUN, read_16(number, 2048), read_length=MIB)
    await line.stalled()
    assert line.transport.connection.stalled, "reads wait for room"
    assert len(line.done()) == 0
    await line.until(lambda: len(line.done()) == 24, most=30000)
    for number, done in enumerate(sorted(line.done(), key=lambda done: done.itt)):
        assert done.data == content[number * 512 : number * 512 + MIB]
    assert line.most <= 3 * ARENA_SIZE + (0 if at_once else LANE_BYTES + ARENA_SIZE)
    await line.until(lambda: not line.held())


@pytest.mark.conformance("SEC-004", "TCP-004")
async def test_small_answers_pile_up_no_higher(connect: Connect) -> None:
    line = await connect()
    await line.log_in()
    for _ in range(3000):
        line.machine.ping(data(1000), immediate=True)
    await line.stalled()
    assert line.most <= 4 * ARENA_SIZE
    await line.until(lambda: len(line.events) == 3001)


@pytest.mark.conformance("SEC-004", "CSN-017")
async def test_commands_that_wait_in_the_inbox_are_carried_out_in_their_order(
    make_world: MakeWorld, connect: Connect
) -> None:
    line = await connect(make_world(fast=True))
    await line.log_in()
    for number in range(600):
        if number % 3:
            line.machine.command(LUN, read_10(0, 64), read_length=32768)
        else:
            line.machine.command(LUN, write_10(0, 64), data_out=data(32768, number))
    await line.stalled()
    await line.until(lambda: len(line.done()) == 600)
    for number, done in enumerate(sorted(line.done(), key=lambda done: done.itt)):
        assert done.status == 0
        if number % 3:
            assert done.data == data(32768, number - number % 3)


@pytest.fixture
def file_store(tmp_path: Path) -> BackingStore:
    """A store that is a file, from which large reads go out by sendfile."""
    path = tmp_path / "disk.img"
    path.write_bytes(data(4 * MIB))
    return open_store(f"file:{path}")


@pytest.mark.conformance("RDF-001", "RDF-002", "SEC-004", "STS-005")
@pytest.mark.parametrize(
    "keys", [{}, {"MaxBurstLength": "100000"}, {"HeaderDigest": "CRC32C"}, {"DataDigest": "CRC32C"}]
)
async def test_large_reads_from_a_file_arrive_whole_however_slowly_they_are_read(
    make_world: MakeWorld, connect: Connect, file_store: BackingStore, keys: dict[str, str]
) -> None:
    world = make_world()
    world.disk.store = file_store
    line = await connect(world, keys=keys)
    await line.log_in()
    session = line.transport.connection.session
    assert session is not None
    for lba, blocks in ((0, 512), (5, 128), (9, 1), (1000, 300), (3, 512), (77, 129), (0, 8)):
        line.machine.command(LUN, read_10(lba, blocks), read_length=blocks * 512)
        line.machine.command(LUN, TEST_UNIT_READY)
    await line.stalled()
    await line.until(lambda: len(line.done()) == 14, most=7777)
    content = data(4 * MIB)
    for (lba, blocks), done in zip(
        ((0, 512), (5, 128), (9, 1), (1000, 300), (3, 512), (77, 129), (0, 8)),
        sorted(line.done(), key=lambda done: done.itt)[::2],
        strict=True,
    ):
        assert done.data == content[lba * 512 : (lba + blocks) * 512]
    nexus: ITNexus = session.nexus
    assert nexus.by_number[LUN].reads == 7
    file_store.close()


@pytest.mark.conformance("SEC-004", "SES-009")
async def test_a_connection_that_goes_while_a_file_is_being_sent_leaves_no_descriptor(
    make_world: MakeWorld, connect: Connect, file_store: BackingStore
) -> None:
    world = make_world()
    world.disk.store = file_store
    line = await connect(world)
    await line.log_in()
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for _ in range(8):
        line.machine.command(LUN, read_10(0, 512), read_length=512 * 512)
    await line.stalled()
    line.transport.close()
    assert len(os.listdir("/proc/self/fd")) <= before  # noqa: PTH208
    assert len(line.transport.connection.output) == 0
    file_store.close()


@pytest.mark.conformance("RDF-007", "SEC-011")
async def test_a_file_that_becomes_shorter_ends_the_connection_not_the_server(
    make_world: MakeWorld, connect: Connect, file_store: BackingStore, tmp_path: Path
) -> None:
    world = make_world()
    world.disk.store = file_store
    line = await connect(world)
    await line.log_in()
    for _ in range(8):
        line.machine.command(LUN, read_10(4096, 512), read_length=512 * 512)
    await line.stalled()
    os.truncate(tmp_path / "disk.img", 4096)
    async with asyncio.timeout(PATIENCE):
        while not line.transport.closed:
            line.take()
            await asyncio.sleep(0)
    assert len(world.sessions) == 0
    file_store.close()


@pytest.mark.conformance("TCP-004", "SEC-005")
async def test_a_peer_that_takes_nothing_is_dropped(connect: Connect) -> None:
    line = await connect()
    await line.log_in()
    line.machine.command(LUN, read_16(0, 4096), read_length=2 * MIB)
    await line.stalled()
    now = asyncio.get_running_loop().time()
    line.transport.tick(now + WRITE_TIMEOUT - 1)
    assert not line.transport.closed
    line.transport.tick(now + WRITE_TIMEOUT + 1)
    assert line.transport.closed
    assert len(line.world.sessions) == 0


@pytest.mark.conformance("SEC-001")
async def test_an_idle_connection_owns_no_buffer(connect: Connect) -> None:
    world = World()
    lines = [await connect(world, isid=0x800000000000 + number) for number in range(20)]
    for line in lines:
        await line.log_in()
        line.machine.command(LUN, read_10(0, 8), read_length=4096)
        await line.until(line.done)
        line.sock.send(NopOut(itt=1).to_bytes()[:30])  # and a part of a PDU
    await lines[0].stalled()
    for line in lines:
        assert line.transport._inbox is None
        assert line.transport.connection.output._arena is None
        assert len(line.transport._kept) == 30
    assert len(world.arenas._free) <= world.arenas.keep


@pytest.mark.conformance("PDU-021", "TCP-007")
async def test_bytes_come_one_by_one(connect: Connect) -> None:
    line = await connect(buffer=65536)
    await line.log_in()
    line.machine.command(LUN, write_10(0, 1), data_out=data(512))
    line.machine.command(LUN, read_10(0, 1), read_length=512)
    for byte in line.machine.to_send():
        line.sock.send(bytes((byte,)))
        await asyncio.sleep(0)
    await line.until(lambda: len(line.done()) == 2)
    assert line.done()[1].data == data(512)


@pytest.mark.conformance("PDU-011", "SEC-003")
async def test_a_segment_too_long_is_not_read(connect: Connect) -> None:
    line = await connect(buffer=65536)
    await line.log_in()
    line.sock.send(struct.pack(">BBHI", 0x40, 0x80, 0, (1 << 24) - 1) + bytes(40))
    await gone(line.transport)


@pytest.mark.conformance("SES-009", "LGO-010")
@pytest.mark.parametrize("how", ["fin", "reset"])
async def test_the_end_of_the_tcp_connection_ends_the_session(connect: Connect, how: str) -> None:
    line = await connect()
    await line.log_in()
    gate = line.world.store.close_gate()
    line.machine.command(LUN, read_10(0, 1), read_length=512)
    await line.until(lambda: gate.waiting)
    if how == "reset":
        line.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    line.sock.close()
    await gone(line.transport)
    assert len(line.world.sessions) == 0


@pytest.mark.conformance("LGO-005", "LGO-001")
async def test_the_answer_to_a_logout_is_followed_by_the_end_of_the_stream(connect: Connect) -> None:
    line = await connect(buffer=65536)
    await line.log_in()
    line.machine.logout()
    await line.until(lambda: line.machine.state == "closed")
    async with asyncio.timeout(PATIENCE):
        assert await asyncio.get_running_loop().sock_recv(line.sock, 1) == b""
    assert len(line.world.sessions) == 0


@pytest.mark.conformance("SEC-011", "SEC-010")
async def test_an_error_of_our_own_closes_the_socket(
    make_world: MakeWorld, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world()
    line = await connect(world)
    await line.log_in()

    def broken(task: object) -> None:
        raise RecursionError("a bug of ours")

    monkeypatch.setattr(world.executor, "start", broken)
    line.machine.inject(ScsiCommand(final=1, itt=9, cmd_sn=line.machine.cmd_sn))
    line.give()
    await gone(line.transport)


@pytest.mark.conformance("SEC-004", "RDF-007")
async def test_a_read_that_cannot_be_kept_for_later_ends_the_connection(
    make_world: MakeWorld, connect: Connect, file_store: BackingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its header is out, so whatever would follow in place of its data would be taken for data."""

    def refuse(fd: int) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    world = make_world()
    world.disk.store = file_store
    line = await connect(world)
    await line.log_in()
    monkeypatch.setattr(os, "dup", refuse)
    for lba in range(16):
        line.machine.command(LUN, read_10(lba, 512), read_length=512 * 512)
    line.give()
    await gone(line.transport)
    file_store.close()


@pytest.mark.conformance("SEC-004")
async def test_what_one_peer_says_at_once_does_not_keep_the_others_waiting(
    make_world: MakeWorld, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world()
    talker, other = await connect(world, buffer=1 << 20), await connect(world, initiator=OTHER_HOST)
    await talker.log_in()
    await other.log_in()
    taken: list[int] = []
    real = Connection.receive_pdu

    def receive_pdu(connection: Connection, *lent: Any) -> int:
        if connection is talker.transport.connection:
            taken.append(1)
        return real(connection, *lent)

    monkeypatch.setattr(Connection, "receive_pdu", receive_pdu)
    for _ in range(5000):
        talker.machine.ping(immediate=True)
    other.machine.command(LUN, TEST_UNIT_READY)
    talker.give()
    other.give()
    assert not taken
    while not other.done():
        await asyncio.sleep(0)
        other.events += other.machine.receive(other.take())
    assert 0 < len(taken) <= 4 * TURN
    await talker.until(lambda: len(talker.events) == 5001)
