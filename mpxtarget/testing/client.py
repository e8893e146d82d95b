"""The initiator on a TCP connection: `InitiatorConnection` with asyncio around it, and nothing more.

    async with await Initiator.connect("127.0.0.1", port, target="iqn.2001-04.com.example:disk") as initiator:
        result = await initiator.scsi(1, bytes(6))

Many commands may be in flight. Every wait ends after `patience` seconds at most, with TimeoutError; a target
that breaks a rule makes whatever is waited for raise `TargetMistake`; a connection the target closes makes
it raise `ConnectionLost`.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Final, TypeVar

from mpxtarget.pdu import NO_TAG, LogoutReason, Pdu, TaskAttribute
from mpxtarget.testing.events import (
    CommandAborted,
    CommandDone,
    Event,
    LoggedIn,
    LoggedOut,
    LoginFailed,
    PingAnswered,
    Rejected,
    TextAnswered,
    TmfAnswered,
)
from mpxtarget.testing.factory import PduFactory
from mpxtarget.testing.initiator import InitiatorConnection
from mpxtarget.testing.login import LoginOptions
from mpxtarget.testing.mistakes import TargetMistake
from mpxtarget.testing.negotiation import Negotiated
from mpxtarget.testing.tasks import GOOD

_RECEIVE_SIZE: Final = 256 * 1024
_BLOCK_10_LIMIT: Final = 1 << 32
_E = TypeVar("_E")


class ConnectionLost(ConnectionError):  # noqa: N818
    """The target closed the connection, or `abort` did."""


class LoginRefused(ConnectionError):  # noqa: N818
    """The target refused the login; `status` is Status-Class and Status-Detail."""

    def __init__(self, failed: LoginFailed) -> None:
        super().__init__(f"login refused with status {failed.status:#06x}")
        self.status = failed.status
        self.pairs = failed.pairs


class RequestRejected(Exception):  # noqa: N818
    """A Reject came for the request; `event` is the Reject with the header it is for."""

    def __init__(self, event: Rejected) -> None:
        super().__init__(f"rejected with reason {event.reject.reason:#04x}")
        self.event = event


class RequestAborted(Exception):  # noqa: N818
    """Task management ended the command."""


class ScsiFailure(Exception):  # noqa: N818
    """A command that had to succeed did not."""

    def __init__(self, result: Result) -> None:
        super().__init__(f"SCSI status {result.status:#04x}, sense {result.sense.hex() or 'none'}")
        self.result = result


@dataclass(frozen=True, slots=True)
class Result:
    """How a SCSI command ended. `residual` is of the kind that `underflow` or `overflow` says."""

    status: int
    data: bytes
    sense: bytes
    residual: int
    underflow: bool
    overflow: bool
    response: int


class Command:
    """A SCSI command that was sent."""

    def __init__(self, initiator: Initiator, itt: int, future: asyncio.Future[Event]) -> None:
        self._initiator: Final = initiator
        self._future: Final = future
        self.itt: Final = itt

    @property
    def done(self) -> bool:
        """Whether the command has ended, one way or another."""
        return self._future.done()

    async def result(self) -> Result:
        """Wait for status. Raises RequestAborted, RequestRejected, ConnectionLost, TargetMistake."""
        event = await self._initiator.expect(self._future, CommandDone)
        return Result(
            status=event.status,
            data=event.data,
            sense=event.sense,
            residual=event.residual,
            underflow=event.underflow,
            overflow=event.overflow,
            response=event.response,
        )


class Initiator:
    """One session of one connection."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        connection: InitiatorConnection,
        patience: float,
    ) -> None:
        self.connection: Final = connection
        self.make: Final = PduFactory(connection)
        self.patience = patience
        """Seconds that anything may take."""
        self._reader: Final = reader
        self._writer: Final = writer
        self._futures: Final[dict[int, asyncio.Future[Event]]] = {}
        self._login: Final[asyncio.Future[Event]] = asyncio.get_running_loop().create_future()
        self._events: Final[list[Event]] = []
        self._changed: Final = asyncio.Event()
        self._failure: BaseException | None = None
        self._receiving: Final = asyncio.create_task(self._receive())

    @classmethod
    async def connect(
        cls,
        host: str,
        port: int,
        options: LoginOptions | None = None,
        *,
        patience: float = 10.0,
        observer: Callable[[Pdu, bytes], None] | None = None,
        **changes: Any,
    ) -> Initiator:
        """Connect and log in; `changes` are fields of LoginOptions. Raises LoginRefused."""
        initiator = await cls.connect_only(
            host, port, options, patience=patience, observer=observer, **changes
        )
        try:
            await initiator.login()
        except BaseException:
            await initiator.close()
            raise
        return initiator

    @classmethod
    async def connect_only(
        cls,
        host: str,
        port: int,
        options: LoginOptions | None = None,
        *,
        patience: float = 10.0,
        observer: Callable[[Pdu, bytes], None] | None = None,
        **changes: Any,
    ) -> Initiator:
        """Connect and send nothing."""
        chosen = replace(options or LoginOptions(), **changes)
        async with asyncio.timeout(patience):
            reader, writer = await asyncio.open_connection(host, port, limit=_RECEIVE_SIZE)
        return cls(reader, writer, InitiatorConnection(chosen, observer=observer), patience)

    async def __aenter__(self) -> Initiator:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None and self._failure is None and self.connection.state == "full feature":
                await self.logout()
        finally:
            await self.close()
        if error is None and isinstance(self._failure, TargetMistake):
            raise self._failure

    # Requests

    async def login(self) -> Negotiated:
        """Go through the login phase. Raises LoginRefused."""
        self.connection.start()
        self.flush()
        event = await self._wait(self._login, "the login")
        if isinstance(event, LoginFailed):
            raise LoginRefused(event)
        assert isinstance(event, LoggedIn)
        return event.parameters

    def submit(
        self,
        lun: int,
        cdb: bytes,
        data_out: bytes = b"",
        read_length: int = 0,
        *,
        attr: int = TaskAttribute.SIMPLE,
        immediate: bool = False,
    ) -> Command:
        """Send a SCSI command and do not wait for it."""
        itt = self.connection.command(
            lun, cdb, data_out=data_out, read_length=read_length, attr=attr, immediate=immediate
        )
        return Command(self, itt, self._sent(itt))

    async def scsi(
        self,
        lun: int,
        cdb: bytes,
        data_out: bytes = b"",
        read_length: int = 0,
        *,
        attr: int = TaskAttribute.SIMPLE,
        immediate: bool = False,
    ) -> Result:
        """Send a SCSI command and wait for its status, whatever that is."""
        command = self.submit(lun, cdb, data_out, read_length, attr=attr, immediate=immediate)
        return await command.result()

    async def read(self, lun: int, lba: int, blocks: int, *, block_size: int = 512) -> bytes:
        """Read blocks. Raises ScsiFailure unless it ends with GOOD."""
        return (await self._good(lun, _block_cdb(0x28, 0x88, lba, blocks), b"", blocks * block_size)).data

    async def write(self, lun: int, lba: int, data: bytes, *, block_size: int = 512) -> None:
        """Write blocks. Raises ScsiFailure unless it ends with GOOD."""
        await self._good(lun, _block_cdb(0x2A, 0x8A, lba, len(data) // block_size), data, 0)

    async def ping(self, data: bytes = b"", *, immediate: bool = False) -> bytes:
        """Send a NOP-Out; the data that came back."""
        itt = self.connection.ping(data, immediate=immediate)
        return (await self.expect(self._sent(itt), PingAnswered)).data

    async def text(self, pairs: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
        """Send a text request; the pairs of the whole answer."""
        itt = self.connection.text(pairs)
        return (await self.expect(self._sent(itt), TextAnswered)).pairs

    async def send_targets(self, which: str = "All") -> dict[str, list[str]]:
        """SendTargets: the addresses of each target, by its name, in the order told."""
        targets: dict[str, list[str]] = {}
        addresses: list[str] = []
        for key, value in await self.text([("SendTargets", which)]):
            if key == "TargetName":
                addresses = targets.setdefault(value, [])
            elif key == "TargetAddress":
                addresses.append(value)
        return targets

    async def task_management(
        self, function: int, *, lun: int = 0, referenced: int = NO_TAG, immediate: bool = True
    ) -> int:
        """Send a task management function; its response."""
        itt = self.connection.task_management(function, lun=lun, referenced=referenced, immediate=immediate)
        return (await self.expect(self._sent(itt), TmfAnswered)).response

    async def logout(self, reason: int = LogoutReason.CLOSE_SESSION, *, cid: int | None = None) -> LoggedOut:
        """Send a Logout Request; the answer."""
        itt = self.connection.logout(reason, cid=cid)
        return await self.expect(self._sent(itt), LoggedOut)

    def inject(self, pdu: Pdu, data: bytes = b"", ahs: bytes = b"") -> None:
        """Send a PDU as it is, right or wrong; see `make` for PDUs to bend and `next_event` for answers."""
        self.connection.inject(pdu, data, ahs)
        self.flush()

    def send_bytes(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.connection.send_bytes(data)
        self.flush()

    async def next_event(self, kind: type[_E]) -> _E:
        """The next event of this kind that no request was waiting for; others stay for later."""
        async with self._patiently(kind.__name__):
            while True:
                for event in self._events:
                    if isinstance(event, kind):
                        self._events.remove(event)
                        return event
                self._check()
                self._changed.clear()
                await self._changed.wait()

    # The end

    async def closed_by_target(self) -> None:
        """Wait until the target has closed the connection. Raises TargetMistake."""
        async with self._patiently("the target to close the connection"):
            await asyncio.wait([self._receiving])
        if isinstance(self._failure, TargetMistake):
            raise self._failure

    def abort(self) -> None:
        """Cut the TCP connection with a reset."""
        raw = self._writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._fail(ConnectionLost("the connection was cut on purpose"))
        self._writer.transport.abort()

    async def close(self) -> None:
        """Close the TCP connection, without a logout."""
        self._receiving.cancel()
        await asyncio.wait([self._receiving])
        self._fail(ConnectionLost("the connection is closed"))
        self._writer.close()
        try:
            async with asyncio.timeout(self.patience):
                await self._writer.wait_closed()
        except (OSError, TimeoutError):
            self._writer.transport.abort()

    def flush(self) -> None:
        """Send what the machine has to send."""
        data = self.connection.to_send()
        if data and not self._writer.is_closing():
            self._writer.write(data)

    # Inside

    async def expect(self, future: asyncio.Future[Event], kind: type[_E]) -> _E:
        """Wait for the answer to one request."""
        event = await self._wait(future, kind.__name__)
        if isinstance(event, Rejected):
            raise RequestRejected(event)
        if isinstance(event, CommandAborted):
            raise RequestAborted(f"the command with ITT {event.itt:#x} was aborted")
        assert isinstance(event, kind), f"{event} where {kind.__name__} is due"
        return event

    async def _good(self, lun: int, cdb: bytes, data_out: bytes, read_length: int) -> Result:
        result = await self.scsi(lun, cdb, data_out, read_length)
        if result.status != GOOD or result.response:
            raise ScsiFailure(result)
        return result

    def _sent(self, itt: int) -> asyncio.Future[Event]:
        self._check()
        future: asyncio.Future[Event] = asyncio.get_running_loop().create_future()
        self._futures[itt] = future
        self.flush()
        return future

    async def _wait(self, future: asyncio.Future[Event], what: str) -> Event:
        async with self._patiently(what):
            return await asyncio.shield(future)

    def _patiently(self, what: str) -> _Patience:
        return _Patience(self.patience, what)

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    async def _receive(self) -> None:
        try:
            while data := await self._reader.read(_RECEIVE_SIZE):
                for event in self.connection.receive(data):
                    self._tell(event)
                self.flush()
            self._fail(ConnectionLost("the target closed the connection"))
        except OSError as error:
            self._fail(ConnectionLost(f"the connection broke: {error}"))
        except TargetMistake as mistake:
            self._fail(mistake)
            self._writer.transport.abort()

    def _tell(self, event: Event) -> None:
        """Give an event to the request that waits for it, or keep it for `next_event`."""
        if isinstance(event, LoggedIn | LoginFailed):
            future: asyncio.Future[Event] | None = self._login
        else:
            future = self._futures.pop(getattr(event, "itt", NO_TAG), None)
        if future is not None and not future.done():
            future.set_result(event)
            return
        self._events.append(event)
        self._changed.set()

    def _fail(self, failure: BaseException) -> None:
        """Nothing more will come: everyone who waits is told why. The first reason stands."""
        if self._failure is None:
            self._failure = failure
        for future in (self._login, *self._futures.values()):
            if not future.done():
                future.set_exception(self._failure)
                future.exception()  # nobody has to ask for it
        self._futures.clear()
        self._changed.set()


class _Patience:
    """asyncio.timeout with a word on what was waited for."""

    def __init__(self, seconds: float, what: str) -> None:
        self._seconds: Final = seconds
        self._what: Final = what
        self._timeout: Final = asyncio.timeout(seconds)

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._timeout.__aexit__(kind, error, trace)
        except TimeoutError:
            raise TimeoutError(f"waited {self._seconds:g} s for {self._what}") from None


def _block_cdb(short: int, long: int, lba: int, blocks: int) -> bytes:
    if lba < _BLOCK_10_LIMIT and blocks < 1 << 16:
        return struct.pack(">BBIBHB", short, 0, lba, 0, blocks, 0)
    return struct.pack(">BBQIBB", long, 0, lba, blocks, 0, 0)
