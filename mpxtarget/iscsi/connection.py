"""One connection of the target: framing, the login phase, numbering and dispatch. No socket, no clock.

The owner of the socket lends the bytes it received and calls `receive_pdu` until nothing more is taken;
whatever is to be sent stands in `output` afterwards. The rules kept here:

- Lengths are judged before anything waits for them: a data segment beyond what was declared, or one of more
  than 8192 bytes before full feature phase, ends the connection without a byte of it being read (RFC 7143
  7.7, 6.3).
- With header digests on, a header is believed only after its digest (7.8).
- The first PDU is a Login Request, or the connection closes without an answer; during login anything else is
  answered 020Bh (4.2.4).
- Non-immediate commands are delivered in CmdSN order; outside the window or twice, they are ignored
  (4.2.2.1). A command that is rejected was not received: its CmdSN is still due (7.3).
- Every answer carries ExpCmdSN and MaxCmdSN of its moment, and StatSN by 4.2.2.2.

What the opcodes mean is in full_feature.py and transfer.py, each handler a function of the connection.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from mpxtarget.iscsi import full_feature, transfer
from mpxtarget.iscsi.errors import PduRejected, ProtocolError
from mpxtarget.iscsi.login import Directory, LoginOutcome, LoginPhase, LoginState
from mpxtarget.iscsi.negotiation import Limits
from mpxtarget.iscsi.session import MASK, Held, Session, Sessions
from mpxtarget.pdu import (
    BHS_LENGTH,
    NO_TAG,
    LoginRequest,
    LoginStatus,
    Opcode,
    Reject,
    RejectReason,
    crc32c,
    padded,
)

if TYPE_CHECKING:
    from mpxtarget.iscsi.output import Output
    from mpxtarget.iscsi.task import Delivery, Task

log = logging.getLogger("mpxtarget.iscsi")

LOGIN_TIMEOUT = 15.0  # seconds from accept to full feature phase (LGN-039)
LOGIN_SEGMENT = 8192  # data segments during login, both ways (RFC 7143 6.3)
MAX_SEND_SEGMENT = 262144  # we send no larger segment, whatever the initiator would take

_WORD = struct.Struct(">I")
_DIGEST = struct.Struct("<I")


class Phase:
    """Where a connection is in its life."""

    LOGIN = 0
    FULL_FEATURE = 1
    CLOSING = 2  # nothing more is read; what stands in the output is sent, then FIN
    CLOSED = 3


class Commands(Protocol):
    """What executes SCSI commands. Every task started ends in `Connection.respond` or in `aborted`."""

    def start(self, task: Task) -> None:
        """A command was delivered. Answer it, or call `transfer.expect` to be given its data."""

    def take(self, task: Task, offset: int, data: memoryview) -> None:
        """Data of the command, contiguous; the memory is lent for the call."""

    def taken(self, task: Task) -> None:
        """All the data that was expected has been handed over."""

    def undelivered(self, task: Task, failure: Delivery) -> None:
        """The data did not come as it must: end the command as ABORTED COMMAND."""

    def aborted(self, task: Task) -> None:
        """The task has ended without an answer."""

    def resume(self, task: Task) -> None:
        """The output has room again for a task that `stalled`."""

    def manage(self, session: Session, function: int, lun: int) -> int:
        """Carry out a task management function other than ABORT TASK; the TMF response code."""


class Node(Directory, Protocol):
    """The iSCSI node behind the portals: names, admission and discovery."""

    def send_targets(self, connection: Connection, target: str | None) -> list[tuple[str, list[str]]]:
        """(TargetName, its TargetAddress values) of the targets that this initiator may see."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all connections of a target share."""

    node: Node
    commands: Commands
    sessions: Sessions
    limits: Limits
    entropy: Callable[[int], bytes]


class Connection:
    """The target's end of one iSCSI connection."""

    __slots__ = (
        "accepted",
        "around",
        "cid",
        "data_digest",
        "dead_tags",
        "header_digest",
        "heard",
        "local",
        "login",
        "max_receive",
        "max_send",
        "next_ttt",
        "on_drop",
        "output",
        "peer",
        "phase",
        "ping_sent",
        "ping_ttt",
        "reason",
        "session",
        "stalled",
        "stat_sn",
        "text",
        "transfers",
        "unasked",
        "unwritten_of",
    )

    def __init__(
        self,
        around: Surroundings,
        output: Output,
        *,
        local: tuple[str, int],
        peer: tuple[str, int],
        now: float,
        on_drop: Callable[[], None] = lambda: None,
    ) -> None:
        self.around = around
        self.output = output
        self.local = local  # address and port that the initiator reached
        self.peer = peer
        self.on_drop = on_drop  # the socket is to be closed at once
        self.phase = Phase.LOGIN
        self.reason = ""  # why it ended
        self.login: LoginPhase | None = None
        self.session: Session | None = None
        self.cid = 0
        self.accepted = self.heard = now
        self.header_digest = False
        self.data_digest = False
        self.max_receive = LOGIN_SEGMENT
        self.max_send = LOGIN_SEGMENT
        self.stat_sn = 0
        self.transfers: dict[int, Task] = {}  # tasks with an R2T out, by Target Transfer Tag
        self.dead_tags: dict[tuple[int, int], None] = {}  # (ITT, TTT) of bursts whose task ended
        self.next_ttt = 1
        self.stalled: list[Task] = []  # tasks that wait for room in the output
        self.unwritten_of: dict[int, int] = {}  # by LUN: bytes of Data-Out asked for, or not yet written
        self.unasked: list[Task] = []  # tasks that wait for that to become less
        self.ping_ttt = 0  # of our unanswered NOP-In; 0: none
        self.ping_sent = 0.0
        self.text: Any = None  # the text exchange under way (full_feature.py)

    @property
    def portal(self) -> str:
        """The portal as text."""
        return f"{self.local[0]}:{self.local[1]}"

    @property
    def who(self) -> str:
        """What the log calls it: address, and as far as they are known, session and initiator."""
        if self.session is not None:
            kind = "discovery session" if self.session.discovery else "session"
            return f"{kind} {self.session.tsih} ({self.session.initiator} from {self.peer[0]})"
        name = self.login.initiator if self.login is not None else ""
        return f"{name} from {self.peer[0]}" if name else self.peer[0]

    # -- receiving ----

    def receive_pdu(self, view: memoryview, pos: int, end: int, now: float) -> int:
        """Take one PDU from `view[pos:end]`; the position behind it, or `pos` if it is not all there.

        After the call `phase` says whether more is wanted. Nothing is raised for what a peer sends.
        """
        heard, self.heard = self.heard, now
        try:
            taken = self._receive(view, pos, end, now)
            if taken == pos:
                self.heard = heard  # bytes that trickle in are no sign of life, a PDU is
            return taken
        except ProtocolError as error:
            self.end_session(str(error))
        except Exception:
            log.exception("%s: an error of our own", self.who)
            self.end_session("internal error")
        return end

    def _receive(self, view: memoryview, pos: int, end: int, now: float) -> int:
        have = end - pos
        if self.phase >= Phase.CLOSING:
            return end
        if (
            self.phase == Phase.LOGIN
            and self.login is None
            and have
            and view[pos] & 0x3F != Opcode.LOGIN_REQUEST
        ):
            raise ProtocolError("the first PDU is no Login Request")  # RFC 7143 4.2.4
        if have < BHS_LENGTH:
            return pos
        lengths: int = _WORD.unpack_from(view, pos + 4)[0]
        head = BHS_LENGTH + (lengths >> 24) * 4
        size = lengths & 0xFFFFFF
        data_at = pos + head
        if self.header_digest:
            if have < head + 4:
                return pos
            if crc32c(view[pos:data_at]) != _DIGEST.unpack_from(view, data_at)[0]:
                raise ProtocolError("header digest error")  # RFC 7143 7.8: no length can be trusted
            data_at += 4
        if size > self.max_receive:
            raise ProtocolError(f"a data segment of {size} bytes, {self.max_receive} allowed")
        after = data_at + padded(size)
        digest_at = after
        if size and self.data_digest:
            after += 4
        if after > end:
            return pos
        data_good = True
        if size and self.data_digest:
            data_good = crc32c(view[data_at:digest_at]) == _DIGEST.unpack_from(view, digest_at)[0]
        header = view[pos : pos + head]
        data = view[data_at : data_at + size]
        if self.phase == Phase.LOGIN:
            self._login_pdu(header, data, now)
        else:
            self._full_feature_pdu(header, data, data_good)
        return after

    def _login_pdu(self, header: memoryview, data: memoryview, now: float) -> None:
        if header[0] & 0x3F != Opcode.LOGIN_REQUEST:
            assert self.login is not None
            reason = "a PDU other than Login Request during login"
            refusal = self.login.refuse(LoginStatus.INVALID_DURING_LOGIN, reason)
            self.send(refusal.response, refusal.data)
            self.finish(reason)
            return
        if self.login is None:
            self.login = LoginPhase(
                self.around.node,
                self.around.limits,
                lambda outcome: self._establish(outcome, now),
                self.around.entropy,
                may_join=self._may_join,
            )
        reply = self.login.receive(LoginRequest.parse(header), bytes(data))
        if reply.state is LoginState.ESTABLISHED and self.session is not None:
            reply.response.exp_cmd_sn = self.session.exp_cmd_sn  # a reinstated connection finds them moved on
            reply.response.max_cmd_sn = self.session.max_cmd_sn
        self.send(reply.response, reply.data)
        if reply.state is LoginState.FAILED:
            self.finish(f"login refused: {reply.reason}")
        elif reply.state is LoginState.ESTABLISHED:
            self._enter_full_feature()

    def _establish(self, outcome: LoginOutcome, now: float) -> int:
        self.session = self.around.sessions.establish(outcome, self, now)
        self.cid = outcome.cid
        return self.session.tsih

    def _may_join(self, outcome: LoginOutcome) -> None:
        self.around.sessions.joinable(outcome, self.portal)

    def _enter_full_feature(self) -> None:
        assert self.login is not None and self.session is not None
        parameters = self.session.parameters
        self.header_digest = parameters.header_digest
        self.data_digest = parameters.data_digest
        self.max_receive = parameters.target_max_recv_data_segment_length
        self.set_max_send(parameters.initiator_max_recv_data_segment_length)
        self.stat_sn = self.login.stat_sn
        self.login = None
        self.phase = Phase.FULL_FEATURE
        log.info("%s: logged in through %s", self.who, self.portal)

    def set_max_send(self, declared: int) -> None:
        """The initiator's MaxRecvDataSegmentLength; segments but the last are multiples of 4 (11.7.7)."""
        self.max_send = min(declared, MAX_SEND_SEGMENT) & ~3

    def _full_feature_pdu(self, header: memoryview, data: memoryview, data_good: bool) -> None:
        self._deliver(header, data, data_good)
        session = self.session
        while session is not None and session.held and self.phase == Phase.FULL_FEATURE:
            held = session.held.pop(session.exp_cmd_sn, None)
            if held is None:
                return
            if held.aborted:  # it counts as received (RFC 7143 11.6.1)
                session.exp_cmd_sn = (session.exp_cmd_sn + 1) & MASK
                held.connection.bury(held.itt, NO_TAG)
            for pdu, good in held.pdus:
                view = memoryview(pdu)
                head = BHS_LENGTH + view[4] * 4
                if good:
                    held.connection._deliver(view[:head], view[head:], True)
                else:
                    transfer.corrupt_data_out(held.connection, view[:head], view[head:])

    def _deliver(self, header: memoryview, data: memoryview, data_good: bool) -> None:
        """Have one whole PDU of full feature phase handled, or rejected, or held."""
        opcode = header[0] & 0x3F
        entry = HANDLERS.get(opcode)
        try:
            if entry is None:
                raise PduRejected(RejectReason.COMMAND_NOT_SUPPORTED, f"opcode {opcode:02x}h")
            handler, numbered = entry
            if not data_good:
                self.reject(RejectReason.DATA_DIGEST_ERROR, header)  # RFC 7143 7.8
                if opcode == Opcode.DATA_OUT:
                    transfer.corrupt_data_out(self, header, data)
            elif not numbered or self._in_turn(header, data):
                handler(self, header, data)
        except PduRejected as rejected:
            self.reject(rejected.reject_reason, header)
            log.info("%s: rejected a PDU: %s", self.who, rejected)

    # -- numbering ----

    def _in_turn(self, header: memoryview, data: memoryview) -> bool:
        """Whether the command is to be delivered now; RFC 7143 4.2.2.1. Holds it if it is early."""
        session = self.session
        assert session is not None
        itt: int = _WORD.unpack_from(header, 16)[0]
        cmd_sn: int = _WORD.unpack_from(header, 24)[0]
        if itt == NO_TAG and header[0] & 0x3F != Opcode.NOP_OUT:
            raise PduRejected(RejectReason.INVALID_PDU_FIELD, "the reserved tag names a task")  # 11.2.1.8
        if header[0] & 0x40:  # immediate: delivered at once, consumes no number
            return True
        ahead = (cmd_sn - session.exp_cmd_sn) & MASK
        if ahead >= session.window - session.outstanding:
            return False  # outside the window, or a number that was used: ignored in silence
        if ahead == 0:
            return True
        if cmd_sn not in session.held:
            held = session.held[cmd_sn] = Held(self, itt)
            held.hold(header, data)
        return False

    def consume(self, header: memoryview) -> None:
        """The command was received: its CmdSN is used up, unless it is immediate."""
        if not header[0] & 0x40:
            assert self.session is not None
            self.session.exp_cmd_sn = (self.session.exp_cmd_sn + 1) & MASK

    # -- sending ----

    def send(self, pdu: Any, data: bytes = b"") -> None:
        """Put a PDU into the output; its numbering fields are already right."""
        size = len(data)
        head = BHS_LENGTH + (4 if self.header_digest else 0)
        tail = 4 if size and self.data_digest else 0
        at = self.output.reserve(head + padded(size) + tail)
        view = self.output.view
        pdu.data_segment_length = size
        pdu.pack_into(view, at)
        if size:
            view[at + head : at + head + size] = data
        self.seal(at, size)

    def seal(self, at: int, size: int) -> None:
        """Digests and zero padding for a PDU of `size` data bytes that stands at `at` in the output."""
        view = self.output.view
        data_at = at + BHS_LENGTH
        if self.header_digest:
            _DIGEST.pack_into(view, data_at, crc32c(view[at:data_at]))
            data_at += 4
        if size:
            end = data_at + padded(size)
            if end != data_at + size:
                view[data_at + size : end] = bytes(end - data_at - size)
            if self.data_digest:
                _DIGEST.pack_into(view, end, crc32c(view[data_at:end]))

    def number(self, pdu: Any, *, advance: bool = True) -> Any:
        """Fill in StatSN, ExpCmdSN and MaxCmdSN; `advance` says whether the PDU takes a StatSN (4.2.2.2)."""
        session = self.session
        assert session is not None
        pdu.stat_sn = self.stat_sn
        pdu.exp_cmd_sn = session.exp_cmd_sn
        pdu.max_cmd_sn = session.max_cmd_sn
        if advance:
            self.stat_sn = (self.stat_sn + 1) & MASK
        return pdu

    def reject(self, reason: int, header: memoryview) -> None:
        """Answer a PDU with Reject, its header as data (RFC 7143 11.17)."""
        self.send(self.number(Reject(reason=reason)), bytes(header[: self.max_send]))
        if header[0] & 0x3F == Opcode.SCSI_COMMAND and not header[1] & 0x80:
            self.bury(_WORD.unpack_from(header, 16)[0], NO_TAG)  # the data it announced is on its way

    # -- endings ----

    def finish(self, reason: str) -> None:
        """Read no more; send what is in the output, then close."""
        if self.phase < Phase.CLOSING:
            self.phase = Phase.CLOSING
            self.reason = reason
            log.info("%s: closing: %s", self.who, reason)

    def end_session(self, reason: str) -> None:
        """A format error: the connection and its session end at once (RFC 7143 7.7)."""
        session = self.session
        self.drop(reason)
        if session is not None and session.connections.get(self.cid) is self:
            self.around.sessions.close(session, reason)

    def lost(self, reason: str) -> None:
        """The TCP connection is gone. At ErrorRecoveryLevel 0 with nothing retained, so is the session."""
        self.end_session(reason)

    def drop(self, reason: str) -> None:
        """End this connection at once: its tasks end without an answer."""
        if self.phase == Phase.CLOSED:
            return
        if self.phase < Phase.CLOSING:
            log.info("%s: connection dropped: %s", self.who, reason)
            self.reason = reason
        self.phase = Phase.CLOSED
        self.abort_tasks()
        self.on_drop()

    def abort_tasks(self) -> None:
        """All tasks of this connection end without an answer, also those that wait for their turn."""
        session = self.session
        if session is not None:
            for task in [task for task in session.tasks.values() if task.connection is self]:
                self.abort(task)
            for cmd_sn in [cmd_sn for cmd_sn, held in session.held.items() if held.connection is self]:
                del session.held[cmd_sn]

    def abort(self, task: Task) -> None:
        """End a task without an answer; data still on its way for it will be dropped in silence."""
        assert self.session is not None
        task.aborted = True
        self.session.retire(task)
        if task.unsolicited is not None:
            self.bury(task.itt, task.unsolicited.ttt)
        for ttt, burst in task.bursts.items():
            self.bury(task.itt, ttt)
            del self.transfers[ttt]
            self.account(task.lun, -burst.asked)
        self.around.commands.aborted(task)

    @property
    def unwritten(self) -> int:
        """Bytes of Data-Out that were asked for, or are here and not yet written."""
        return sum(self.unwritten_of.values())

    def account(self, lun: int, change: int) -> None:
        """Count bytes of Data-Out into `unwritten_of`, or out again."""
        kept = self.unwritten_of.get(lun, 0) + change
        if kept:
            self.unwritten_of[lun] = kept
        else:
            self.unwritten_of.pop(lun, None)

    def bury(self, itt: int, ttt: int) -> None:
        """Remember a burst whose task is gone (WRT-015); the oldest of too many is forgotten."""
        self.dead_tags[itt, ttt] = None
        if len(self.dead_tags) > 1024:
            del self.dead_tags[next(iter(self.dead_tags))]

    # -- time ----

    def tick(self, now: float) -> None:
        """Let time pass: call about once a second."""
        if self.phase == Phase.LOGIN:
            if now - self.accepted > LOGIN_TIMEOUT:
                self.drop(f"no login within {LOGIN_TIMEOUT:.0f} seconds")
        elif self.phase == Phase.FULL_FEATURE:
            full_feature.keep_alive(self, now)


#: opcode -> (handler, whether it carries a CmdSN); RFC 7143 11.2.1.2
HANDLERS: dict[int, tuple[Callable[[Connection, memoryview, memoryview], None], bool]] = {
    Opcode.NOP_OUT: (full_feature.nop_out, True),
    Opcode.SCSI_COMMAND: (transfer.scsi_command, True),
    Opcode.TASK_MANAGEMENT_REQUEST: (full_feature.task_management, True),
    Opcode.LOGIN_REQUEST: (full_feature.second_login, False),
    Opcode.TEXT_REQUEST: (full_feature.text_request, True),
    Opcode.DATA_OUT: (transfer.data_out, False),
    Opcode.LOGOUT_REQUEST: (full_feature.logout, True),
    Opcode.SNACK_REQUEST: (full_feature.snack, False),
}
