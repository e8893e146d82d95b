"""The target process: portals, connections, sessions, stores, and the clock that moves them.

This module owns what the layers below do without: listening sockets, the event loop and time. What it does is
small: accept, make a Transport for each connection, wake those whose I/O has finished, tick once a second,
and translate between the words of the bridge and those of the login phase. One event loop, no coroutine per
connection.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import secrets
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mpxtarget.bridge.bridge import Bridge, NoSuchTarget, NotAllowed, TargetOffline
from mpxtarget.bridge.portals import format_address
from mpxtarget.iscsi.connection import Connection, Phase, Surroundings
from mpxtarget.iscsi.errors import LoginRejected
from mpxtarget.iscsi.login import Admission, ChapPolicy
from mpxtarget.iscsi.names import InvalidName, normalize_name
from mpxtarget.iscsi.negotiation import Limits
from mpxtarget.iscsi.output import ArenaPool
from mpxtarget.iscsi.session import Session, Sessions
from mpxtarget.pdu import LoginStatus
from mpxtarget.server.assemble import Assembly, assemble
from mpxtarget.server.clones import Clones
from mpxtarget.server.controllers import Controllers
from mpxtarget.server.errors import Refusal
from mpxtarget.server.executor import Executor
from mpxtarget.server.keeper import Keeper
from mpxtarget.server.lanes import Completions
from mpxtarget.server.transport import Transport
from mpxtarget.server.whole_writes import WholeWrites

if TYPE_CHECKING:
    from backing_stores import BackingStore
    from mpxtarget.bridge.records import PortalRecord
    from mpxtarget.scsi.logical_unit import Disk
    from mpxtarget.scsi.nexus import ITNexus
    from mpxtarget.server.state import State

log = logging.getLogger("mpxtarget.server")

BACKLOG = 512
MAX_LOGGING_IN = 64  # connections that have not logged in yet; the oldest of more is dropped (SEC-001)
TICK = 1.0
STOP_TIMEOUT = 10.0  # seconds that stopping waits for I/O under way


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """A session as listings show it. Sizes in bytes, `since` in seconds of the epoch."""

    tsih: int
    initiator: str
    isid: int
    target: str | None
    portal: str
    peer: str
    since: float
    reads: int
    writes: int
    read_bytes: int
    written_bytes: int


class BridgeNode:
    """What the login phase asks of the bridge, in the words of the login phase."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge

    def admit(self, initiator: str, target: str | None) -> Admission:
        """Whether and how an initiator may log in. Raises LoginRejected."""
        try:
            decision = self._bridge.admit(initiator, target)
        except NoSuchTarget as error:
            raise LoginRejected(LoginStatus.NOT_FOUND, str(error)) from error
        except NotAllowed as error:
            raise LoginRejected(LoginStatus.AUTHORIZATION_FAILURE, str(error)) from error
        except TargetOffline as error:
            raise LoginRejected(LoginStatus.SERVICE_UNAVAILABLE, str(error)) from error
        chap = decision.chap
        return Admission(
            portal_group_tag=decision.portal_group_tag,
            target_alias=decision.target_alias,
            chap=None
            if chap is None
            else ChapPolicy(
                user=chap.user,
                secret=chap.secret,
                target_user=chap.target_user,
                target_secret=chap.target_secret,
            ),
            allow_none=decision.allow_none,
        )

    def send_targets(self, connection: Connection, target: str | None) -> list[tuple[str, list[str]]]:
        """The targets that the initiator of a connection may see."""
        assert connection.session is not None
        try:
            wanted = None if target is None else normalize_name(target)
        except InvalidName:
            return []
        return self._bridge.send_targets(connection.session.initiator, wanted, connection.local)

    def attach(self, session: Session) -> ITNexus | None:
        """The I_T nexus of a new session; there is none in a discovery session."""
        try:
            if session.discovery or session.target is None:
                self._bridge.seen(session.initiator)
                return None
            return self._bridge.attach(session.initiator, session.isid, session.target)
        except NoSuchTarget as error:
            raise LoginRejected(LoginStatus.TARGET_REMOVED, str(error)) from error
        except TargetOffline as error:
            raise LoginRejected(LoginStatus.SERVICE_UNAVAILABLE, str(error)) from error

    def detach(self, session: Session) -> None:
        """The session has ended: I_T nexus loss."""
        self._bridge.detach(session.nexus)


class TargetServer:
    """A running array and bridge. Make it, `await start()`, and in the end `await stop()`."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.started_at = time.time()
        self._assembly: Assembly = assemble(state)
        self.bridge: Bridge = self._assembly.bridge
        self.stores: dict[int, BackingStore] = self._assembly.stores
        self._node = BridgeNode(self.bridge)
        self._completions = Completions()
        self._sessions = Sessions(self._node.attach, self._node.detach)
        self.keeper = Keeper(state, self._completions, self._vdisk_of)
        self.executor = Executor(
            self._completions, lambda: self._sessions, self.keeper.keep, WholeWrites(state.folder)
        )
        self.controllers = Controllers(self.bridge, self.keeper.keep, self._end_sessions)
        self.clones = Clones(state, self)
        self._around = Surroundings(self._node, self.executor, self._sessions, Limits(), secrets.token_bytes)
        self._arenas = ArenaPool()
        self._listeners: dict[int, tuple[PortalRecord, socket.socket]] = {}
        self._resting: set[int] = set()  # portals that wait for a descriptor to become free
        self._transports: dict[Connection, Transport] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None

    # -- life ----

    async def start(self) -> None:
        """Open every enabled portal. Raises Refusal, and then none is open."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._completions.fd, self._finished)
        self._timer = self._loop.call_later(TICK, self._tick)
        self.controllers.start()
        self.clones.start()
        try:
            for portal in self.state.list_portals():
                if portal.enabled:
                    await self.open_portal(portal)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Close portals and sessions, then the stores, flushed."""
        assert self._loop is not None
        for portal_id in list(self._listeners):
            await self.close_portal(portal_id)
        for session in self._sessions:
            self._sessions.close(session, "the target stops")
        for transport in list(self._transports.values()):
            transport.close()
        if self._timer is not None:
            self._timer.cancel()
        self.controllers.stop()
        self.executor.abandon()
        copied = await self.clones.close()
        # A store is closed only when no thread works on it: its descriptor may soon be another file's.
        patience = self._loop.time() + STOP_TIMEOUT
        while (stuck := self._stuck()) and self._loop.time() < patience:  # noqa: ASYNC110 - once
            await asyncio.sleep(0.01)
        if stuck or not copied:
            log.error("stopping without closing %s: its I/O does not come to an end", ", ".join(stuck))
        else:
            await asyncio.to_thread(self._assembly.close)
        self._loop.remove_reader(self._completions.fd)
        self._completions.close()

    def _stuck(self) -> list[str]:
        return self.executor.stuck() + (["the array's database"] if self.keeper.busy else [])

    def _vdisk_of(self, disk: Disk) -> int | None:
        vdisks = self.bridge.array.vdisks.items()
        return next((number for number, vdisk in vdisks if vdisk.disk is disk), None)

    # -- portals ----

    async def open_portal(self, portal: PortalRecord) -> None:
        """Listen on a portal. Raises Refusal if that is not possible."""
        assert self._loop is not None
        family = socket.AF_INET6 if ":" in portal.address else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind((portal.address, portal.port))
            listener.listen(BACKLOG)
        except OSError as error:
            listener.close()
            raise _cannot_listen(portal, error) from error
        self._listeners[portal.id] = (portal, listener)
        self.bridge.set_portal(replace(portal, port=listener.getsockname()[1]))
        self._loop.add_reader(listener.fileno(), self._accept, portal.id)
        log.info("portal %d listens on %s", portal.id, format_address(*listener.getsockname()[:2]))

    async def close_portal(self, portal_id: int) -> None:
        """Stop listening, and end the connections that came in there. No error if it is not open."""
        assert self._loop is not None
        found = self._listeners.pop(portal_id, None)
        if found is None:
            return
        _, listener = found
        self._loop.remove_reader(listener.fileno())
        listener.close()
        self.bridge.remove_portal(portal_id)
        for transport in list(self._transports.values()):
            if transport.portal_id == portal_id:
                transport.connection.lost("the portal was closed")
                transport.close()

    def portal_addresses(self) -> dict[int, tuple[str, int]]:
        """Portal id -> the address and port that it really listens on."""
        return {key: listener.getsockname()[:2] for key, (_, listener) in self._listeners.items()}

    def _accept(self, portal_id: int) -> None:
        assert self._loop is not None
        _, listener = self._listeners[portal_id]
        for _ in range(BACKLOG):
            try:
                sock, _peer = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                # EMFILE and the like: what has not logged in makes room for what may.
                log.warning("cannot accept a connection: %s", error.strerror)
                if not self._drop_oldest_logging_in(0):
                    # It stays readable, and asking again at once would be all that the loop does.
                    self._loop.remove_reader(listener.fileno())
                    self._resting.add(portal_id)
                return
            try:
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                transport = Transport(
                    self._loop, sock, self._around, self._arenas, portal_id=portal_id, on_closed=self._closed
                )
            except OSError:  # gone already
                sock.close()
                continue
            self._transports[transport.connection] = transport
            self._drop_oldest_logging_in(MAX_LOGGING_IN)

    def _accept_again(self) -> None:
        """Ask again for the connections that could not be had."""
        assert self._loop is not None
        resting, self._resting = self._resting, set()
        for portal_id in resting & self._listeners.keys():
            self._loop.add_reader(self._listeners[portal_id][1].fileno(), self._accept, portal_id)

    def _drop_oldest_logging_in(self, keep: int) -> bool:
        """Drop all but the `keep` youngest that have not logged in; whether there were any."""
        waiting = [c for c in self._transports if c.phase == Phase.LOGIN]  # in the order they came
        surplus = waiting[: max(0, len(waiting) - keep)]
        for connection in surplus:
            connection.drop("too many connections that do not log in")
        return bool(surplus)

    def _closed(self, transport: Transport) -> None:
        self._transports.pop(transport.connection, None)
        self.executor.closed(transport.connection)

    # -- events of the loop ----

    def _finished(self) -> None:
        """I/O of the lanes has finished: what it brought is in the outputs; send it."""
        self._completions.drain()
        for connection in self.executor.take_touched():
            transport = self._transports.get(connection)
            if transport is not None:
                transport.flush()

    def _tick(self) -> None:
        assert self._loop is not None
        now = self._loop.time()
        self._timer = self._loop.call_later(TICK, self._tick)
        self._accept_again()
        for transport in list(self._transports.values()):
            transport.tick(now)

    # -- sessions ----

    def sessions(self) -> list[SessionInfo]:
        """Every session, by TSIH."""
        return sorted(self._session_infos(), key=lambda info: info.tsih)

    def _session_infos(self) -> Iterator[SessionInfo]:
        assert self._loop is not None
        epoch = time.time() - self._loop.time()
        for session in self._sessions:
            nexus: ITNexus | None = session.nexus
            itls = list(nexus.by_number.values()) if nexus is not None else []
            peer = next((c.peer for c in session.connections.values()), ("", 0))
            yield SessionInfo(
                tsih=session.tsih,
                initiator=session.initiator,
                isid=session.isid,
                target=session.target,
                portal=session.portal,
                peer=format_address(*peer) if peer[0] else "",
                since=epoch + session.login_time,
                reads=sum(itl.reads for itl in itls),
                writes=sum(itl.writes for itl in itls),
                read_bytes=sum(itl.read_bytes for itl in itls),
                written_bytes=sum(itl.written_bytes for itl in itls),
            )

    def _end_sessions(self, target: str, reason: str) -> None:
        """End all sessions with a target."""
        for session in self._sessions:
            if session.target == target:
                self._sessions.close(session, reason)

    def kill_session(self, tsih: int) -> bool:
        """End a session at once, without a word to the initiator; False if there is none."""
        session = self._sessions.get(tsih)
        if session is None:
            return False
        self._sessions.close(session, "killed by the administrator")
        return True


def _cannot_listen(portal: PortalRecord, error: OSError) -> Refusal:
    where = format_address(portal.address, portal.port)
    hints = {
        errno.EADDRINUSE: "another program listens there, "
        f"`ss -ltnp 'sport = :{portal.port}'` shows it: stop it, or give the portal another port",
        errno.EADDRNOTAVAIL: "this machine does not have that address: `ip address` shows those it has",
        errno.EACCES: "ports below 1024 need privileges: choose another port, 3260 is the usual one",
    }
    hint = hints.get(error.errno or 0, "correct the portal's address")
    return Refusal(f"cannot listen on {where}: {os.strerror(error.errno or 0)}", hint)


__all__ = ["SessionInfo", "TargetServer"]
