"""The socket of one connection: moves bytes between it and the protocol machine, and nothing more.

Rules kept here:

- One readable event is one recv, as many PDUs as came with it, and one send (reference: batching is worth 2.4
  times).
- The receive buffer is lent by the loop's pool. It goes back when everything in it was taken, or when what is
  left is small enough to be kept as bytes, so that an idle connection owns no buffer.
- A large range of a file goes out by sendfile, its bytes never read here; what the peer does not take of it
  at once stays in the output as a FileSpan with a descriptor of its own.
- When the peer does not take what we send, we stop reading from it until it does. A peer that takes nothing
  for WRITE_TIMEOUT seconds is dropped.
- After TURN PDUs that are not plain READ and WRITE the others have their turn: what one peer says at once
  does not keep them waiting.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from mpxtarget.iscsi.connection import Connection, Phase, Surroundings
from mpxtarget.iscsi.output import Arena, ArenaPool, FileSpan, Output
from mpxtarget.server import fast_path

if TYPE_CHECKING:
    from mpxtarget.iscsi.task import Task

WRITE_TIMEOUT = 60.0
TURN = 64  # PDUs that the full machinery takes in one go
SMALL = 8192  # bytes of an unfinished PDU that are kept aside instead of a whole buffer


class Transport:
    """A connected socket and its Connection."""

    __slots__ = (
        "_arenas",
        "_blocked_since",
        "_held_up",
        "_inbox",
        "_inbox_end",
        "_inbox_start",
        "_kept",
        "_loop",
        "_on_closed",
        "_reading",
        "_resuming",
        "_sock",
        "_writing",
        "connection",
        "portal_id",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        around: Surroundings,
        arenas: ArenaPool,
        *,
        portal_id: int,
        on_closed: Callable[[Transport], None],
    ) -> None:
        self._loop = loop
        self._sock = sock
        self._arenas = arenas
        self._on_closed = on_closed
        self.portal_id = portal_id
        self._inbox: Arena | None = None
        self._inbox_start = self._inbox_end = 0
        self._kept = b""
        self._reading = self._writing = self._resuming = False
        self._blocked_since = 0.0
        self._held_up = False  # what waits in the inbox waits for us, or until the peer takes our answers
        local, peer = sock.getsockname(), sock.getpeername()
        self.connection = Connection(
            around,
            Output(arenas),
            local=(local[0], local[1]),
            peer=(peer[0], peer[1]),
            now=loop.time(),
            on_drop=self.close,
        )
        self.connection.output.splice = self._splice
        self._read(True)

    @property
    def closed(self) -> bool:
        """Whether the socket is gone."""
        return self._sock.fileno() < 0

    # -- receiving ----

    def _read(self, wanted: bool) -> None:
        if wanted != self._reading and not self.closed:
            self._reading = wanted
            if wanted:
                self._loop.add_reader(self._sock.fileno(), self._readable)
            else:
                self._loop.remove_reader(self._sock.fileno())

    def _readable(self) -> None:
        inbox = self._inbox
        if inbox is None:
            inbox = self._inbox = self._arenas.take()
            self._inbox_start = 0
            self._inbox_end = len(self._kept)
            inbox.view[: self._inbox_end] = self._kept
            self._kept = b""
        view = inbox.view
        if self._inbox_start and len(view) - self._inbox_end < len(view) // 2:
            unread = self._inbox_end - self._inbox_start
            view[:unread] = bytes(view[self._inbox_start : self._inbox_end])
            self._inbox_start, self._inbox_end = 0, unread
        try:
            count = self._sock.recv_into(view[self._inbox_end :])
        except (BlockingIOError, InterruptedError):
            self._settle_inbox()
            return
        except OSError as error:
            self._lost(f"connection lost: {error.strerror}")
            return
        if not count:
            self._lost("connection closed by the initiator")
            return
        self._inbox_end += count
        self._process()

    def _process(self) -> None:
        """Take what is in the inbox, PDU by PDU, as long as the peer takes our answers."""
        c, inbox = self.connection, self._inbox
        if inbox is not None:
            view, pos, end = inbox.view, self._inbox_start, self._inbox_end
            now = self._loop.time()
            left = TURN
            while pos < end and c.phase < Phase.CLOSING:
                if c.phase == Phase.FULL_FEATURE:
                    fast = fast_path.run(c, view, pos, end)
                    if fast != pos:
                        c.heard = now
                        pos = fast
                        if pos == end:
                            break
                taken = c.receive_pdu(view, pos, end, now)
                if taken == pos:
                    break
                pos = taken
                left -= 1
                if (c.output.backlog and not self._send()) or not left:
                    self._held_up = pos < end
                    break
            if c.phase >= Phase.CLOSING:
                pos = end
            if self._inbox is inbox:
                self._inbox_start = pos
                if not self._held_up:
                    self._settle_inbox()
        if self._reading and self._plain() and self._send() and not self.closed:
            return  # the usual case: all is said in one send, and nothing waits
        self.flush()

    def _plain(self) -> bool:
        """Whether sending is all there is to do."""
        c = self.connection
        return not (
            c.output.backlog or c.stalled or self._held_up or self._writing or c.phase != Phase.FULL_FEATURE
        )

    def _settle_inbox(self) -> None:
        """Give the receive buffer back if little or nothing is left in it."""
        inbox = self._inbox
        if inbox is None:
            return
        left = self._inbox_end - self._inbox_start
        if left <= SMALL:
            self._kept = bytes(inbox.view[self._inbox_start : self._inbox_end]) if left else b""
            self._inbox = None
            self._inbox_start = self._inbox_end = 0
            self._arenas.give(inbox)

    # -- sending ----

    def _send(self) -> bool:
        """Send what is in the output as far as the peer takes it; whether all of it is out."""
        out = self.connection.output
        send = self._sock.send
        try:
            while out.backlog:
                first = out.backlog[0]
                if isinstance(first, FileSpan):
                    self._send_span(first)
                    left = first.length
                else:
                    first.sent += send(first.arena.view[first.sent : first.used])
                    left = first.used - first.sent
                self._blocked_since = 0.0
                if left:
                    return False
                out.sent_backlog()
            if out.used:
                sent = send(out.view[: out.used])
                if sent < out.used:
                    out.park(sent)
                    return False
            out.close()
        except (BlockingIOError, InterruptedError):
            out.park(0)
            return False
        except OSError as error:
            self._lost(f"connection lost: {error.strerror}")
        return True

    def _send_span(self, span: FileSpan) -> None:
        sent = os.sendfile(self._sock.fileno(), span.fd, span.offset, span.length)
        if not sent:  # its header is out: nothing but the end of the connection says that there is no more
            raise OSError(errno.EIO, "the backing file has become shorter")
        span.offset += sent
        span.length -= sent

    def _splice(self, fd: int, offset: int, length: int) -> None:
        """Send what stands in the arena, then a range of a file; what does not go now joins the backlog."""
        out = self.connection.output
        span = FileSpan(fd, offset, length, os.close)
        try:
            if out.backlog:
                out.park(0)
            else:
                sent = self._sock.send(out.view[: out.used], socket.MSG_MORE)
                if sent < out.used:
                    out.park(sent)
                else:
                    out.used = 0
                    self._send_span(span)
        except (BlockingIOError, InterruptedError):
            out.park(0)
        except OSError as error:
            self._lost(f"connection lost: {error.strerror}")
            return
        if span.length:
            try:
                span.fd = os.dup(fd)  # the store may be closed before the peer takes it
            except OSError as error:  # the header is out already, so what follows it would be taken for data
                self._lost(f"no descriptor for what is still to be sent: {error.strerror}")
                return
            out.backlog.append(span)

    def flush(self) -> None:
        """Send, let stalled reads go on while there is room, and see to it that the rest follows."""
        c = self.connection
        while not self.closed:
            if not self._send():
                if not self._blocked_since:
                    self._blocked_since = self._loop.time()
                self._write(True)
                self._read(False)
                return
            if self.closed:
                return
            if not c.stalled:
                break
            stalled: list[Task] = c.stalled
            c.stalled = []
            for task in stalled:
                if not task.aborted:
                    c.around.commands.resume(task)
            if not len(c.output):
                break  # they wait for threads, not for room
        if self.closed:
            return
        self._blocked_since = 0.0
        self._write(False)
        if c.phase == Phase.CLOSING:
            c.lost(c.reason)
            self.close()
            return
        if not self._held_up:
            self._read(True)
        elif not self._resuming:
            self._resuming = True
            self._read(False)  # or each event of the socket would be one more turn
            self._loop.call_soon(self._resume)  # not from here: a peer that reads on would nest this deeply

    def _resume(self) -> None:
        """Go on with what waits in the inbox."""
        self._resuming = self._held_up = False
        self._process()

    def _write(self, wanted: bool) -> None:
        if wanted != self._writing and not self.closed:
            self._writing = wanted
            if wanted:
                self._loop.add_writer(self._sock.fileno(), self.flush)
            else:
                self._loop.remove_writer(self._sock.fileno())

    # -- endings ----

    def tick(self, now: float) -> None:
        """Let time pass for the connection."""
        self.connection.tick(now)
        if self._blocked_since and now - self._blocked_since > WRITE_TIMEOUT:
            self._lost(f"nothing was taken for {WRITE_TIMEOUT:.0f} seconds")
        elif not self.closed and len(self.connection.output):
            self.flush()

    def _lost(self, reason: str) -> None:
        self.connection.lost(reason)
        self.close()

    def close(self) -> None:
        """Close the socket at once; what is not sent stays so."""
        if self.closed:
            return
        self._read(False)
        self._write(False)
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()
        self.connection.output.discard()
        if self._inbox is not None:
            # Not given back: the PDU being taken may still stand in it.
            self._inbox = None
        self._kept = b""
        self._on_closed(self)
