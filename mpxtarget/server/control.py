"""The control API: how everything outside talks to a running target.

HTTP/1.1 on a Unix socket, `<state>/control.sock`, which only the owner of the state folder may open.

    GET  /v1                      what there is
    GET  /v1/portal/list          a verb that only reads; its arguments may be in the query
    POST /v1/portal/add           any verb; its arguments are a JSON object in the body
    -> 200 and one line of JSON: what the verb answers
    -> 4xx, 5xx and one line of JSON: {"error": ..., "hint": ..., "kind": ...}

A verb that reports progress answers with several lines: `{"progress": text}` ... and last `{"result": ...}`
or an error object; its status is 200 as soon as it has begun.

The rules kept here:

* A peer gets `REQUEST_SECONDS` to send a whole request and `MAX_BODY_BYTES` to say it in; there are at most
  `MAX_CONNECTIONS` peers; more are told so.  What cannot be understood is answered once, and the connection
  is closed.
* Verbs that write run one after the other.  One that has begun is finished, whether or not the peer is still
  there.
* h11 knows HTTP; this module only moves bytes and maps errors to status codes.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from traceback import format_tb
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import h11
import msgspec

from mpxtarget.server.errors import Refusal
from mpxtarget.server.verbs import VERBS, Context, UsageError, Verb, perform

log = logging.getLogger(__name__)

SOCKET_NAME: Final = "control.sock"
REQUEST_SECONDS: Final = 10.0
MAX_BODY_BYTES: Final = 4 << 20  # a TOML file with some thousand LUNs
MAX_HEADER_BYTES: Final = 16 << 10
MAX_CONNECTIONS: Final = 32
_CHUNK: Final = 64 << 10


@contextlib.contextmanager
def socket_path(folder: Path) -> Iterator[str]:
    """A name for the control socket that always fits into `sun_path` (108 bytes), valid inside the `with`.

    A state folder may have a longer name than a Unix socket can; through an open descriptor of the folder it
    is short.
    """
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{SOCKET_NAME}"
    finally:
        os.close(descriptor)


class _Answer(Exception):  # noqa: N818 - not an error of the program: an answer other than 200
    """Answer the request with this, then go on or close."""

    def __init__(self, status: int, error: str, hint: str = "", kind: str = "usage", allow: str = "") -> None:
        super().__init__(error)
        self.status = status
        self.allow = allow
        self.body = {"error": error, "hint": hint, "kind": kind}


@dataclasses.dataclass(frozen=True, slots=True)
class _Request:
    method: str
    target: str
    body: bytes


class ControlServer:
    """Serves the verbs on the control socket of one state folder.

    The caller holds the lock of the state folder, so a socket that is already there belongs to nobody and is
    replaced.
    """

    def __init__(self, context: Context, *, request_seconds: float = REQUEST_SECONDS) -> None:
        self._context = context
        self._request_seconds = request_seconds
        live = context.live
        self._writing = asyncio.Lock() if live is None else live.clones.changing
        self._server: asyncio.Server | None = None
        self._peers: set[asyncio.Task[None]] = set()
        self._verbs: set[asyncio.Task[Any]] = set()

    async def start(self) -> None:
        """Open the socket.  Raises OSError."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with socket_path(self._context.folder) as path:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)  # noqa: PTH108 - of a server that was killed
                listener.bind(path)
                # Nobody can connect before listen(), so there is no moment at which others could get in.
                os.chmod(path, 0o600)  # noqa: PTH101
            listener.setblocking(False)
            self._server = await asyncio.start_unix_server(self._connected, sock=listener, limit=_CHUNK)
        except BaseException:
            listener.close()
            raise

    async def stop(self) -> None:
        """Close the socket, let verbs that have begun finish, drop the peers."""
        if self._server is None:
            return
        self._server.close()
        with contextlib.suppress(FileNotFoundError), socket_path(self._context.folder) as path:
            os.unlink(path)  # noqa: PTH108
        if self._verbs:
            await asyncio.wait(self._verbs)
        for peer in self._peers:
            peer.cancel()
        if self._peers:
            await asyncio.wait(self._peers)
        self._server = None

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._peers.add(task)
        try:
            if len(self._peers) > 2 * MAX_CONNECTIONS:
                return  # not even a refusal
            await _Peer(self, reader, writer, self._request_seconds).serve(
                refuse=len(self._peers) > MAX_CONNECTIONS
            )
        except (OSError, asyncio.CancelledError):
            pass  # gone, or we stop
        finally:
            self._peers.discard(task)
            writer.close()

    async def answer(self, verb: Verb, values: Mapping[str, object], *, lax: bool, context: Context) -> Any:
        """Run a verb to its end, even when the peer that asked is dropped meanwhile; one that only waits
        ends with its peer.
        """
        if verb.waits:
            return await perform(verb, context, values, lax=lax)
        task = asyncio.ensure_future(self._run(verb, values, lax, context))
        self._verbs.add(task)
        task.add_done_callback(self._verb_done)
        return await asyncio.shield(task)

    def _verb_done(self, task: asyncio.Task[Any]) -> None:
        self._verbs.discard(task)
        task.exception()  # mark as seen: the peer that should have got it may be gone

    async def _run(self, verb: Verb, values: Mapping[str, object], lax: bool, context: Context) -> Any:
        if not verb.writes:
            return await perform(verb, context, values, lax=lax)
        async with self._writing:
            answer = await perform(verb, context, values, lax=lax)
        log.info("%s done", " ".join([verb.title, *_named(values)]))
        return answer

    @property
    def context(self) -> Context:
        """What the verbs work on."""
        return self._context


class _Peer:
    """One connection: requests in, answers out, one at a time."""

    def __init__(
        self,
        server: ControlServer,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        seconds: float,
    ) -> None:
        self._server = server
        self._reader = reader
        self._writer = writer
        self._seconds = seconds
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEADER_BYTES)
        self._head_only = False

    async def serve(self, *, refuse: bool) -> None:
        while True:
            try:
                if refuse:
                    raise _Answer(
                        503, "too many connections to the control socket", "try again later", "busy"
                    )
                async with asyncio.timeout(self._seconds):
                    request = await self._request()
                if request is None:
                    return
                await self._respond(request)
            except TimeoutError:
                if self._http.their_state is h11.IDLE:
                    return  # said nothing at all: nothing to answer
                await self._refuse(_Answer(408, f"no whole request within {self._seconds:g} seconds"))
                return
            except h11.RemoteProtocolError as error:
                await self._refuse(_Answer(error.error_status_hint, f"not a request: {error}"))
            except _Answer as answer:
                await self._refuse(answer)
            if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
                await self._linger()
                return
            self._http.start_next_cycle()

    async def _linger(self) -> None:
        """Read on for a while what is not wanted: closing with bytes unread takes our answer away with it."""
        self._writer.write_eof()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._seconds):
                while await self._reader.read(_CHUNK):
                    pass

    async def _request(self) -> _Request | None:
        head: h11.Request | None = None
        body = bytearray()
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                if self._http.they_are_waiting_for_100_continue:
                    self._put(h11.InformationalResponse(status_code=100, headers=[]))
                self._http.receive_data(await self._reader.read(_CHUNK))
            elif isinstance(event, h11.Request):
                head = event
                self._head_only = event.method == b"HEAD"  # RFC 9110 9.3.2: the answer has no content
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > MAX_BODY_BYTES:
                    raise _Answer(413, f"the request is larger than {MAX_BODY_BYTES} bytes")
            elif isinstance(event, h11.EndOfMessage):
                assert head is not None
                return _Request(head.method.decode("ascii"), head.target.decode("ascii"), bytes(body))
            else:
                return None  # closed, or wants to speak something that is not HTTP/1.1

    async def _respond(self, request: _Request) -> None:
        url = urlsplit(request.target)
        if url.path.rstrip("/") == "/v1":
            if request.method != "GET":
                raise _Answer(405, f"{request.method} is not possible here", "use GET", allow="GET")
            await self._finish(200, _index())
            return
        verb = VERBS.get(url.path.removeprefix("/v1/")) if url.path.startswith("/v1/") else None
        if verb is None:
            raise _Answer(404, f"there is no {url.path[:80]!r}", "GET /v1 lists the verbs", "not-found")
        if request.method == "GET" and not verb.writes:
            values: Any = dict(parse_qsl(url.query, keep_blank_values=True))
        elif request.method == "POST":
            values = _json_object(request.body)
        else:
            allow = "POST" if verb.writes else "GET, POST"
            raise _Answer(
                405, f"{request.method} is not possible for {verb.name}", f"use {allow}", allow=allow
            )
        await self._run(verb, values, lax=request.method == "GET")

    async def _run(self, verb: Verb, values: Mapping[str, object], *, lax: bool) -> None:
        begun = False

        def progress(line: str) -> None:
            nonlocal begun
            if not begun:
                begun = True
                self._put(_head(200, None))
            self._put(h11.Data(data=_line({"progress": line})))

        context = self._server.context
        if verb.streams:
            context = dataclasses.replace(context, progress=progress)
        try:
            answer = await self._server.answer(verb, values, lax=lax, context=context)
        except Exception as error:
            refusal = _answer_for(verb, error)
            if not begun:
                raise refusal from None
            answer = refusal.body
        else:
            if begun:
                answer = {"result": answer}
        if begun:
            self._put(h11.Data(data=_line(answer)))
            self._put(h11.EndOfMessage())
            await self._drain()
        else:
            await self._finish(200, answer)

    async def _refuse(self, answer: _Answer) -> None:
        if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            await self._finish(answer.status, answer.body, allow=answer.allow)

    async def _finish(self, status: int, answer: object, allow: str = "") -> None:
        body = _line(answer)
        self._put(_head(status, len(body), allow))
        if not self._head_only:
            self._put(h11.Data(data=body))
        self._put(h11.EndOfMessage())
        await self._drain()

    def _put(self, event: h11.Event) -> None:
        data = self._http.send(event)
        if data and not self._writer.is_closing():
            self._writer.write(data)

    async def _drain(self) -> None:
        async with asyncio.timeout(self._seconds):
            await self._writer.drain()


def _head(status: int, length: int | None, allow: str = "") -> h11.Response:
    headers = [("content-type", "application/json" if length is not None else "application/x-ndjson")]
    if length is not None:
        headers.append(("content-length", str(length)))
    if allow:
        headers.append(("allow", allow))
    return h11.Response(status_code=status, headers=headers)


def _line(value: object) -> bytes:
    return msgspec.json.encode(value) + b"\n"


def _json_object(body: bytes) -> dict[str, object]:
    try:
        value = msgspec.json.decode(body) if body.strip() else {}
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise _Answer(
            400, "the body is not JSON", 'send the arguments as an object: {"name": "value"}'
        ) from None
    if not isinstance(value, dict):
        raise _Answer(
            400, "the body is not a JSON object", 'send the arguments as an object: {"name": "value"}'
        )
    return value


def _index() -> list[dict[str, str]]:
    return [
        {"verb": verb.name, "method": "POST" if verb.writes else "GET", "summary": verb.summary}
        for verb in VERBS.values()
    ]


_NAMING: Final = ("controller", "parent", "name", "address", "portal", "lun", "initiator", "tsih")
"""Arguments that say what a verb was about; none of them is ever a secret."""


def _named(values: Mapping[str, object]) -> list[str]:
    named = [value for key in _NAMING if (value := values.get(key)) not in (None, "next")]
    return [ascii(value).strip("'") for value in named]


_STATUS_OF: Final = {"invalid": 422, "not-found": 404, "conflict": 409, "busy": 409}


def _answer_for(verb: Verb, error: Exception) -> _Answer:
    """The HTTP answer to what a verb raised."""
    if isinstance(error, UsageError):
        return _Answer(400, error.message, error.hint)
    if isinstance(error, Refusal):
        return _Answer(_STATUS_OF.get(error.kind, 409), error.message, error.hint, error.kind)
    # The text of an unexpected error may quote anything, a secret too: the peer gets its name only, and where
    # secrets are at hand the log has no more than its name and its place.
    if verb.secrets:
        log.error(
            "%s failed: %s\n%s", verb.name, type(error).__name__, "".join(format_tb(error.__traceback__))
        )
    else:
        log.error("%s failed", verb.name, exc_info=error)
    return _Answer(
        500, f"{verb.name} failed: {type(error).__name__}", "the log of the target says more", "internal"
    )
