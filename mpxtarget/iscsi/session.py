"""Sessions: who is logged in, how a login finds or makes one, and the command window they keep.

Rules kept here:

- A session is known by (InitiatorName, ISID, TargetName, portal group tag) (RFC 7143 4.4.3, ISID RULE); an
  unnamed discovery session by (InitiatorName, ISID, portal) (7.4.2.1).
- `Sessions.establish` is the table of RFC 7143 6.3.1 and the only place where a session appears. It runs when
  the login has succeeded, so that a failed login leaves an old session alone (6.3.5).
- TSIHs are not 0, and the one freed longest ago is the next to be used again.
- The window: commands ExpCmdSN up to MaxCmdSN may be sent; MaxCmdSN moves when a command ends, never back
  (4.2.2.1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from mpxtarget.iscsi.errors import LoginRejected, ProtocolError
from mpxtarget.pdu import LoginStatus

if TYPE_CHECKING:
    from mpxtarget.iscsi.connection import Connection
    from mpxtarget.iscsi.login import LoginOutcome
    from mpxtarget.iscsi.negotiation import Parameters
    from mpxtarget.iscsi.task import Task

MASK = 0xFFFFFFFF
WINDOW = 128  # commands a session may have outstanding
MAX_HELD = 1 << 20  # bytes kept of all commands of a session that came before their turn
MAX_IMMEDIATE = 32  # immediate SCSI commands executing at once, beside the window

SessionKey = tuple[str, int, str, str]

CONNECTION_PARAMETERS = (
    "data_digest",
    "header_digest",
    "initiator_max_recv_data_segment_length",
    "target_max_recv_data_segment_length",
)
"""What each login negotiates for its connection; all else belongs to the session (RFC 7143 13)."""


class Held:
    """A command that came before its turn, with the Data-Out that followed it.

    Once it is `aborted`, which may be before it came at all, it only fills the gap of its CmdSN.
    """

    __slots__ = ("aborted", "connection", "itt", "pdus", "size")

    def __init__(self, connection: Connection, itt: int) -> None:
        self.connection = connection
        self.itt = itt
        self.pdus: list[tuple[bytes, bool]] = []  # each with whether its data digest was right
        self.aborted = False
        self.size = 0  # bytes of them

    def hold(self, header: memoryview, data: memoryview, *, good: bool = True) -> None:
        """One more PDU of the command. Raises ProtocolError when that is too much for the session."""
        if self.aborted:
            return
        pdu = bytes(header) + bytes(data)
        self.pdus.append((pdu, good))
        self.size += len(pdu)
        session = self.connection.session
        assert session is not None
        if sum(held.size for held in session.held.values()) > MAX_HELD:
            raise ProtocolError("too much data for commands that are not due yet")

    def abort(self) -> None:
        """Nothing of it will be carried out; what is still to come of it is dropped."""
        self.aborted = True
        self.pdus.clear()
        self.size = 0


class Session:
    """An I_T nexus on the wire: numbering, parameters, connections and live tasks."""

    __slots__ = (
        "connections",
        "discovery",
        "exp_cmd_sn",
        "held",
        "initiator",
        "isid",
        "key",
        "login_time",
        "nexus",
        "outstanding",
        "parameters",
        "portal",
        "portal_group_tag",
        "target",
        "tasks",
        "tsih",
        "window",
    )

    def __init__(self, outcome: LoginOutcome, tsih: int, portal: str, key: SessionKey, now: float) -> None:
        self.initiator: str = outcome.initiator
        self.isid: int = outcome.isid
        self.target: str | None = outcome.target
        self.portal_group_tag: int = outcome.portal_group_tag
        self.discovery: bool = outcome.discovery
        self.parameters: Parameters = outcome.parameters
        self.portal = portal  # where its leading connection came in, "address:port"
        self.key = key
        self.tsih = tsih
        self.login_time = now
        self.exp_cmd_sn: int = outcome.cmd_sn
        self.window = WINDOW
        self.outstanding = 0  # live non-immediate commands
        self.tasks: dict[int, Task] = {}  # by Initiator Task Tag
        self.held: dict[int, Held] = {}  # by CmdSN
        self.connections: dict[int, Connection] = {}  # by CID
        self.nexus: Any = None  # what the SCSI side knows it by

    @property
    def max_cmd_sn(self) -> int:
        """MaxCmdSN to announce now."""
        return (self.exp_cmd_sn - 1 + self.window - self.outstanding) & MASK

    def retire(self, task: Task) -> None:
        """A task has ended: its tag is free and the window opens by one."""
        if self.tasks.pop(task.itt, None) is None:
            return
        if not task.immediate:
            self.outstanding -= 1
        if task.on_end is not None:
            task.on_end(task)


class Sessions:
    """All sessions of one target process."""

    __slots__ = ("_by_key", "_by_tsih", "_next_tsih", "attach", "detach", "limit")

    def __init__(
        self, attach: Callable[[Session], Any], detach: Callable[[Session], None], limit: int = 4096
    ) -> None:
        self._by_key: dict[SessionKey, Session] = {}
        self._by_tsih: dict[int, Session] = {}
        self._next_tsih = 1
        self.limit = limit
        self.attach = attach  # the I_T nexus of a session, None for discovery; may raise LoginRejected
        self.detach = detach  # I_T nexus loss

    def __len__(self) -> int:
        return len(self._by_tsih)

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self._by_tsih.values()))

    def get(self, tsih: int) -> Session | None:
        """The live session with this handle."""
        return self._by_tsih.get(tsih)

    def establish(self, outcome: LoginOutcome, connection: Connection, now: float) -> Session:
        """The session that a successful login is for (RFC 7143 6.3.1). Raises LoginRejected."""
        if outcome.tsih:
            return self._join(outcome, connection)
        portal = connection.portal
        key = _key(outcome, portal)
        old = self._by_key.get(key)
        if old is not None:
            self.close(old, "the initiator logged in again with the same ISID")
        if len(self._by_tsih) >= self.limit:
            raise LoginRejected(LoginStatus.OUT_OF_RESOURCES, f"{self.limit} sessions are open already")
        session = Session(outcome, self._free_tsih(), portal, key, now)
        session.nexus = self.attach(session)
        session.connections[outcome.cid] = connection
        self._by_key[key] = self._by_tsih[session.tsih] = session
        return session

    def joinable(self, outcome: LoginOutcome, portal: str) -> Session:
        """The live session that a login with a TSIH names. Raises LoginRejected (RFC 7143 6.3.1).

        One connection a session, so only its own may come back.
        """
        session = self._by_key.get(_key(outcome, portal))
        if session is None or session.tsih != outcome.tsih:
            raise LoginRejected(LoginStatus.SESSION_DOES_NOT_EXIST, f"no session with TSIH {outcome.tsih}")
        if outcome.cid not in session.connections:
            raise LoginRejected(LoginStatus.TOO_MANY_CONNECTIONS, "one connection a session")
        return session

    def _join(self, outcome: LoginOutcome, connection: Connection) -> Session:
        """Connection reinstatement, RFC 7143 6.3.4: the tasks of the old connection end without a word."""
        session = self.joinable(outcome, connection.portal)
        session.connections[outcome.cid].drop("the initiator reinstated this connection")
        session.connections[outcome.cid] = connection
        for name in CONNECTION_PARAMETERS:
            setattr(session.parameters, name, getattr(outcome.parameters, name))
        return session

    def _free_tsih(self) -> int:
        while self._next_tsih in self._by_tsih or self._next_tsih == 0:
            self._next_tsih = (self._next_tsih + 1) & 0xFFFF
        tsih = self._next_tsih
        self._next_tsih = (tsih + 1) & 0xFFFF
        return tsih

    def close(self, session: Session, reason: str) -> None:
        """End a session: its connections drop, its tasks end without an answer, its nexus is lost."""
        if self._by_tsih.get(session.tsih) is not session:
            return
        del self._by_tsih[session.tsih]
        if self._by_key.get(session.key) is session:
            del self._by_key[session.key]
        for connection in list(session.connections.values()):
            connection.drop(reason)
        session.connections.clear()
        session.held.clear()
        if session.nexus is not None:
            self.detach(session)
            session.nexus = None


def _key(outcome: LoginOutcome, portal: str) -> SessionKey:
    """What tells sessions apart: a discovery session without a target belongs to its portal (7.4.2.1)."""
    where = str(outcome.portal_group_tag) if outcome.target else portal
    return outcome.initiator, outcome.isid, outcome.target or "", where
