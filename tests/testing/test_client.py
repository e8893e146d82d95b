"""The initiator on TCP: many commands in flight, every wait bounded, every failure told to who waits."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from scripted_target import ScriptedTarget

from mpxtarget.pdu import AsyncMessage, NopIn, Pdu, Reject, TmfFunction
from mpxtarget.testing import AsyncReceived, RawAnswered, TargetMistake
from mpxtarget.testing.client import (
    ConnectionLost,
    Initiator,
    LoginRefused,
    RequestAborted,
    RequestRejected,
    ScsiFailure,
)

TARGET = "iqn.2001-04.com.example:disk"
READY = bytes(6)
pytestmark = pytest.mark.loops


class Server:
    """The scripted target on a port of the kernel's choice."""

    def __init__(self) -> None:
        self.target = ScriptedTarget()
        self.port = 0
        self.writers: list[asyncio.StreamWriter] = []
        self.ended = asyncio.Event()
        self.reset = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        try:
            while data := await reader.read(65536):
                self.target.receive(data)
                self.send()
                if self.target.closed:
                    break
        except ConnectionResetError:
            self.reset = True
        finally:
            writer.close()
            self.ended.set()

    def send(self) -> None:
        self.writers[-1].write(self.target.to_send())


@asynccontextmanager
async def serving() -> AsyncIterator[Server]:
    server = Server()
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        for writer in server.writers:
            writer.transport.abort()
        await listener.wait_closed()


async def test_reads_and_writes_and_leaves_with_a_logout() -> None:
    async with serving() as server:
        async with await Initiator.connect("127.0.0.1", server.port, target=TARGET) as initiator:
            data = bytes(range(256)) * 256
            await initiator.write(1, 8, data)
            assert await initiator.read(1, 8, 128) == data
            assert await initiator.ping(b"hello") == b"hello"
            targets = await initiator.send_targets()
            assert targets == {TARGET: ["127.0.0.1:3260,1"]}
        assert initiator.connection.state == "closed"
        assert server.target.closed


async def test_many_commands_may_be_in_flight() -> None:
    async with (
        serving() as server,
        await Initiator.connect("127.0.0.1", server.port, target=TARGET) as initiator,
    ):
        server.target.disk[:] = bytes(i // 512 & 0xFF for i in range(1 << 20))
        commands = [
            initiator.submit(1, bytes([0x28, 0]) + lba.to_bytes(4, "big") + b"\0\0\x01\0", read_length=512)
            for lba in range(200)
        ]
        results = await asyncio.gather(*(command.result() for command in commands))
        assert [result.data[0] for result in results] == list(range(200))


async def test_a_status_is_a_result_and_for_read_and_write_a_failure() -> None:
    async with (
        serving() as server,
        await Initiator.connect("127.0.0.1", server.port, target=TARGET) as initiator,
    ):
        result = await initiator.scsi(1, b"\xff", read_length=100)
        assert (result.status, result.residual, result.underflow, result.sense[2]) == (2, 100, True, 5)
        with pytest.raises(ScsiFailure, match="status 0x02") as caught:
            await initiator.read(1, 1 << 32, 1)  # READ(16), which the peer does not have
        assert caught.value.result.sense[12] == 0x20


async def test_a_refused_login_is_told_with_its_status() -> None:
    async with serving() as server:
        server.target.bend = refuse(0x0203)
        server.target.login_answer = lambda pdu: {}  # type: ignore[method-assign]
        with pytest.raises(LoginRefused, match="0x0203") as caught:
            await Initiator.connect("127.0.0.1", server.port, target=TARGET)
        assert caught.value.status == 0x0203


def refuse(status: int) -> Callable[[Pdu], None]:
    def bend(pdu: Pdu) -> None:
        for name, value in {
            "status_class": status >> 8,
            "status_detail": status & 0xFF,
            "transit": 0,
            "csg": 0,
            "nsg": 0,
        }.items():
            setattr(pdu, name, value)

    return bend


async def test_a_mistake_of_the_target_fails_whatever_waits_and_the_block() -> None:
    async with serving() as server:
        with pytest.raises(TargetMistake, match="StatSN"):
            async with await Initiator.connect("127.0.0.1", server.port, target=TARGET) as initiator:
                server.target.silent = True
                waiting = initiator.submit(1, READY)
                server.target.silent = False
                server.target.stat_sn += 1
                with pytest.raises(TargetMistake, match="StatSN"):
                    await initiator.ping()
                with pytest.raises(TargetMistake, match="StatSN"):
                    await waiting.result()
                with pytest.raises(TargetMistake, match="StatSN"):
                    await initiator.scsi(1, READY)


async def test_a_wait_without_an_answer_ends() -> None:
    async with serving() as server:
        initiator = await Initiator.connect("127.0.0.1", server.port, target=TARGET)
        server.target.silent = True
        initiator.patience = 0.01
        with pytest.raises(TimeoutError, match="CommandDone"):
            await initiator.scsi(1, READY)
        with pytest.raises(TimeoutError, match="AsyncReceived"):
            await initiator.next_event(AsyncReceived)
        with pytest.raises(TimeoutError, match="to close"):
            await initiator.closed_by_target()
        initiator.patience = 5
        await initiator.close()


async def test_a_connection_the_target_closes_is_told() -> None:
    async with serving() as server:
        initiator = await Initiator.connect("127.0.0.1", server.port, target=TARGET)
        server.target.command = lambda pdu, data: None  # type: ignore[method-assign]
        command = initiator.submit(1, READY)
        await initiator.ping()
        server.writers[0].close()
        await initiator.closed_by_target()
        with pytest.raises(ConnectionLost, match="the target closed"):
            await command.result()
        with pytest.raises(ConnectionLost):
            await initiator.ping()
        await initiator.close()


async def test_abort_cuts_the_connection_with_a_reset() -> None:
    async with serving() as server:
        initiator = await Initiator.connect("127.0.0.1", server.port, target=TARGET)
        server.target.silent = True
        command = initiator.submit(1, READY)
        initiator.abort()
        with pytest.raises(ConnectionLost, match="on purpose"):
            await command.result()
        await server.ended.wait()
        assert server.reset
        await initiator.close()


async def test_what_nobody_asked_for_waits_to_be_fetched() -> None:
    async with (
        serving() as server,
        await Initiator.connect("127.0.0.1", server.port, target=TARGET) as initiator,
    ):
        server.target.send(AsyncMessage(async_event=1))
        server.send()
        assert (await initiator.next_event(AsyncReceived)).message.async_event == 1
        nop = initiator.make.nop_out()
        initiator.inject(nop, b"raw")
        answer = await initiator.next_event(RawAnswered)
        assert isinstance(answer.pdu, NopIn)
        assert answer.data == b"raw"


async def test_a_rejected_or_aborted_request_is_told() -> None:
    async with serving() as server:
        initiator = await Initiator.connect("127.0.0.1", server.port, target=TARGET)
        server.target.handle = (  # type: ignore[method-assign]
            lambda pdu, data: server.target.send(Reject(reason=4), pdu.to_bytes())
        )
        with pytest.raises(RequestRejected, match="0x04"):
            await initiator.scsi(1, READY)
        del server.target.handle
        server.target.command = lambda pdu, data: None  # type: ignore[method-assign]
        command = initiator.submit(1, READY)
        assert await initiator.task_management(TmfFunction.ABORT_TASK, referenced=command.itt) == 0
        assert command.done
        with pytest.raises(RequestAborted):
            await command.result()
        await initiator.close()


async def test_bytes_may_be_sent_before_a_login() -> None:
    async with serving() as server:
        initiator = await Initiator.connect_only("127.0.0.1", server.port, target=TARGET)
        request = initiator.make.login_request(csg=2)
        assert (request.csg, request.nsg, request.transit) == (2, 3, 1)
        initiator.send_bytes(b"\0" * 47)
        await initiator.close()
        await server.ended.wait()
        assert server.target.received == []
