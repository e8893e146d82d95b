"""Full feature phase but for the data: NOP, Text, Logout, task management, and what is refused there.

Each function handles one request PDU of a connection (RFC 7143 section 11, in its order). A handler
validates, then calls `consume`, then acts: a PDU that raises PduRejected before that was never received
(7.3).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from mpxtarget.iscsi import transfer
from mpxtarget.iscsi.errors import PduRejected, ProtocolError
from mpxtarget.iscsi.negotiation import TextSequence
from mpxtarget.iscsi.session import MASK, Held
from mpxtarget.pdu import (
    NO_TAG,
    LogoutReason,
    LogoutRequest,
    LogoutResponse,
    LogoutResponseCode,
    NopIn,
    NopOut,
    Opcode,
    RejectReason,
    TaskManagementRequest,
    TaskManagementResponse,
    TextError,
    TextRequest,
    TextResponse,
    TmfFunction,
    TmfResponse,
    decode_pairs,
    encode_pairs,
    serial_less,
)

if TYPE_CHECKING:
    from mpxtarget.iscsi.connection import Connection
    from mpxtarget.iscsi.session import Session

log = logging.getLogger("mpxtarget.iscsi")

PING_AFTER = 30.0  # idle seconds until we ask whether the initiator lives (NOP-005)
PING_TIMEOUT = 15.0  # seconds it has to answer
DATA_OUT_TIMEOUT = 30.0  # seconds between two Data-Out PDUs of a burst (WRT-019)
MAX_TEXT = 65536  # bytes of key=value text in one exchange (NEG-006)


# -- task management (RFC 7143 11.5) ----


def task_management(c: Connection, header: memoryview, data: memoryview) -> None:
    """Carry out a Task Management Function Request and answer it, after all that it ended."""
    session = c.session
    assert session is not None
    request = TaskManagementRequest.parse(header)
    if session.discovery:
        raise PduRejected(RejectReason.PROTOCOL_ERROR, "task management in a discovery session")
    c.consume(header)
    if request.function == TmfFunction.ABORT_TASK:
        response = _abort_task(c, request)
    elif request.function == TmfFunction.TASK_REASSIGN:
        response = TmfResponse.REASSIGNMENT_NOT_SUPPORTED
    else:
        response = c.around.commands.manage(session, request.function, request.lun)
        if response == TmfResponse.FUNCTION_COMPLETE:
            _abort_held(session, request)
    c.send(c.number(TaskManagementResponse(itt=request.itt, response=response)))
    if request.function == TmfFunction.TARGET_COLD_RESET and response == TmfResponse.FUNCTION_COMPLETE:
        _end_all_sessions(c)
    elif c.unasked:
        transfer.ask_on(c)


def _end_all_sessions(c: Connection) -> None:
    """TARGET COLD RESET: the target closes all connections of all its sessions (RFC 7143 11.5.1)."""
    assert c.session is not None
    target, why = c.session.target, f"TARGET COLD RESET by {c.session.initiator}"
    for session in list(c.around.sessions):
        if session.target == target:
            if session is c.session:
                c.finish(why)  # the answer goes first
                session.connections.pop(c.cid, None)
            c.around.sessions.close(session, why)


def _abort_task(c: Connection, request: TaskManagementRequest) -> int:
    """ABORT TASK (RFC 7143 11.6.1, 7.11)."""
    session = c.session
    assert session is not None
    task = session.tasks.get(request.referenced_task_tag)
    if task is not None:
        if task.lun != request.lun:
            return TmfResponse.TASK_DOES_NOT_EXIST  # not there
        task.connection.abort(task)
        return TmfResponse.FUNCTION_COMPLETE
    held = session.held.get(request.ref_cmd_sn)
    if held is not None:
        if held.itt != request.referenced_task_tag:
            return TmfResponse.TASK_DOES_NOT_EXIST
        held.abort()
        return TmfResponse.FUNCTION_COMPLETE
    due = (request.ref_cmd_sn - session.exp_cmd_sn) & MASK
    before = (request.cmd_sn - request.ref_cmd_sn - 1) & MASK
    if due < session.window - session.outstanding and before < session.window:
        # It is on its way or lost: count it as received and aborted, which closes the gap.
        held = session.held[request.ref_cmd_sn] = Held(c, request.referenced_task_tag)
        held.abort()
        return TmfResponse.FUNCTION_COMPLETE
    return TmfResponse.TASK_DOES_NOT_EXIST


def _abort_held(session: Session, request: TaskManagementRequest) -> None:
    """Commands that were sent before the request and wait for their turn end as well (RFC 7143 4.2.3.3)."""
    for cmd_sn, held in session.held.items():
        if held.pdus and serial_less(cmd_sn, request.cmd_sn):
            header = held.pdus[0][0]
            lun = int.from_bytes(header[8:16], "big")
            everywhere = request.function == TmfFunction.TARGET_WARM_RESET
            if header[0] & 0x3F == Opcode.SCSI_COMMAND and (everywhere or lun == request.lun):
                held.abort()


# -- text (RFC 7143 11.10) ----


class TextExchange:
    """A negotiation sequence of full feature phase: text that comes or goes in several PDUs."""

    __slots__ = ("incoming", "itt", "outgoing", "sequence", "ttt")

    def __init__(self, itt: int) -> None:
        self.itt = itt
        self.sequence = TextSequence()
        self.ttt = NO_TAG
        self.incoming = b""
        self.outgoing = b""


def text_request(c: Connection, header: memoryview, data: memoryview) -> None:
    """Answer a Text Request: SendTargets, keys of full feature phase, and continuations of either."""
    request = TextRequest.parse(header)
    if request.continue_ and request.final:
        raise PduRejected(RejectReason.PROTOCOL_ERROR, "C and F in one Text Request")
    exchange: TextExchange | None = c.text
    if request.ttt != NO_TAG:
        if exchange is None or (exchange.ttt, exchange.itt) != (request.ttt, request.itt):
            raise PduRejected(RejectReason.INVALID_PDU_FIELD, f"no text exchange with tag {request.ttt:08x}h")
    elif exchange is not None and exchange.itt != request.itt:
        raise PduRejected(RejectReason.PROTOCOL_ERROR, "a second text exchange at a time")  # RFC 7143 6.2
    else:
        exchange = TextExchange(request.itt)
    if len(exchange.incoming) + len(data) > MAX_TEXT:
        c.text = None
        raise PduRejected(RejectReason.PROTOCOL_ERROR, f"more than {MAX_TEXT} bytes of text")
    if not exchange.outgoing:
        exchange.incoming += bytes(data)
        if not request.continue_:
            try:
                exchange.outgoing = encode_pairs(_answers(c, exchange, decode_pairs(exchange.incoming)))
            except TextError as error:
                c.text = None
                raise PduRejected(RejectReason.PROTOCOL_ERROR, str(error)) from error
            except PduRejected:
                c.text = None
                raise
            exchange.incoming = b""
    c.consume(header)
    _send_text(c, request, exchange)


def _send_text(c: Connection, request: TextRequest, exchange: TextExchange) -> None:
    """The next part of the answer; F only where the request has F and nothing is left (RFC 7143 11.11.1)."""
    part = exchange.outgoing[: c.max_send]
    exchange.outgoing = exchange.outgoing[len(part) :]
    final = bool(request.final) and not exchange.outgoing
    if final:
        c.text = None
        assert c.session is not None
        exchange.sequence.commit(c.session.parameters)  # all of a sequence, or nothing (RFC 7143 7.12)
    else:
        c.text = exchange
        exchange.ttt = c.next_ttt
        c.next_ttt = exchange.ttt % 0xFFFFFFFE + 1
    response = TextResponse(
        final=int(final),
        continue_=int(bool(exchange.outgoing)),
        lun=request.lun,
        itt=request.itt,
        ttt=NO_TAG if final else exchange.ttt,
    )
    c.send(c.number(response), part)
    if final and c.session is not None:
        c.set_max_send(c.session.parameters.initiator_max_recv_data_segment_length)


def _answers(c: Connection, exchange: TextExchange, pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """What a whole text is answered. Raises PduRejected and TextError."""
    if any(key == "SendTargets" for key, _ in pairs):
        if len(pairs) > 1:
            raise PduRejected(RejectReason.PROTOCOL_ERROR, "SendTargets beside other keys")  # RFC 7143 App. C
        return _send_targets(c, pairs[0][1])
    return exchange.sequence.answer(pairs)


def _send_targets(c: Connection, value: str) -> list[tuple[str, str]]:
    """SendTargets (RFC 7143 appendix C): all or one in discovery, the session's own otherwise."""
    session = c.session
    assert session is not None
    if session.discovery:
        if not value:
            return [("SendTargets", "Reject")]
        wanted = None if value == "All" else value
    elif value in ("", session.target):
        wanted = session.target
    else:
        return [("SendTargets", "Reject")]
    answers = []
    for name, addresses in c.around.node.send_targets(c, wanted):
        answers.append(("TargetName", name))
        answers += [("TargetAddress", address) for address in addresses]
    return answers


# -- login, logout, SNACK (RFC 7143 11.12, 11.14, 11.16) ----


def second_login(c: Connection, header: memoryview, data: memoryview) -> None:
    """A Login Request after the login (RFC 7143 4.2.4)."""
    raise PduRejected(RejectReason.PROTOCOL_ERROR, "Login Request in full feature phase")


def snack(c: Connection, header: memoryview, data: memoryview) -> None:
    """SNACK is not used at ErrorRecoveryLevel 0 (RFC 7143 11.16)."""
    raise PduRejected(RejectReason.SNACK_REJECT, "SNACK at ErrorRecoveryLevel 0")


def logout(c: Connection, header: memoryview, data: memoryview) -> None:
    """End the session, or the connection, which at one connection a session is the same."""
    session = c.session
    assert session is not None
    request = LogoutRequest.parse(header)
    if request.reason > LogoutReason.REMOVE_CONNECTION_FOR_RECOVERY:
        raise PduRejected(RejectReason.PROTOCOL_ERROR, f"logout reason {request.reason}")
    c.consume(header)
    response = LogoutResponseCode.CLOSED
    if request.reason == LogoutReason.REMOVE_CONNECTION_FOR_RECOVERY:
        response = LogoutResponseCode.RECOVERY_NOT_SUPPORTED
    elif request.reason == LogoutReason.CLOSE_CONNECTION and request.cid not in session.connections:
        response = LogoutResponseCode.CID_NOT_FOUND
    if response == LogoutResponseCode.CLOSED:
        c.abort_tasks()
    c.send(c.number(LogoutResponse(itt=request.itt, response=response)))
    if response == LogoutResponseCode.CLOSED:
        c.finish("logged out")
        session.connections.pop(c.cid, None)
        c.around.sessions.close(session, "logged out")


# -- NOP (RFC 7143 11.18, 11.19) ----


def nop_out(c: Connection, header: memoryview, data: memoryview) -> None:
    """Answer a ping, or take the answer to ours."""
    request = NopOut.parse(header)
    if request.itt == NO_TAG:
        if not request.immediate:
            raise ProtocolError("NOP-Out without a tag that is not immediate")
        if request.ttt == c.ping_ttt:
            c.ping_ttt = 0
        return
    if request.ttt != NO_TAG:
        raise PduRejected(RejectReason.INVALID_PDU_FIELD, "NOP-Out with both tags")
    c.consume(header)
    assert c.session is not None
    limit = c.session.parameters.initiator_max_recv_data_segment_length
    c.send(c.number(NopIn(itt=request.itt)), bytes(data[:limit]))


def announce_window(c: Connection) -> None:
    """Tell an initiator that has nothing outstanding of a window that opened (RFC 7143 11.4.11)."""
    c.send(c.number(NopIn(itt=NO_TAG), advance=False))


def keep_alive(c: Connection, now: float) -> None:
    """Ask a silent initiator whether it lives; end a session whose initiator does not say, or owes data."""
    session = c.session
    assert session is not None
    if c.unasked:
        transfer.ask_on(c)
    for task in session.tasks.values():
        if task.connection is c and task.owed:
            task.heard = task.heard or now
            if now - task.heard > DATA_OUT_TIMEOUT:
                c.end_session(f"no Data-Out for {DATA_OUT_TIMEOUT:.0f} seconds")
                return
    if c.ping_ttt:
        if now - max(c.heard, c.ping_sent - PING_AFTER) > PING_AFTER + PING_TIMEOUT:
            c.end_session("no answer to a ping")
    elif now - c.heard > PING_AFTER and not session.discovery:  # RFC 7143 7.4.3: none in discovery
        c.ping_ttt = c.next_ttt
        c.next_ttt = c.ping_ttt % 0xFFFFFFFE + 1
        c.ping_sent = now
        c.send(c.number(NopIn(itt=NO_TAG, ttt=c.ping_ttt), advance=False))
