"""An iSCSI initiator without I/O: one connection of one session, from the first Login Request to logout.

Bytes of the target go into `receive`, which returns what happened; bytes for the target come out of
`to_send`. It keeps the rules of RFC 7143 for initiators and holds the target to those for targets: whatever
the target does wrong raises `TargetMistake`, after which the connection is of no further use.

Rules checked on every PDU: digests, zero padding, zero in every reserved bit, length within our
MaxRecvDataSegmentLength, StatSN without gap or repeat, ExpCmdSN and MaxCmdSN that only move forward and fit
each other. Rules checked for each kind of PDU stand in its handler.

A command for which the window is closed waits here and goes out when the window opens (4.2.2.1).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final, cast

from mpxtarget.pdu import (
    NO_TAG,
    R2T,
    AsyncMessage,
    DataIn,
    DataOut,
    FramingError,
    LoginRequest,
    LoginResponse,
    LogoutReason,
    LogoutRequest,
    LogoutResponse,
    NopIn,
    NopOut,
    Opcode,
    Pdu,
    PduStream,
    Reject,
    ScsiCommand,
    ScsiResponse,
    TaskAttribute,
    TaskManagementRequest,
    TaskManagementResponse,
    TextError,
    TextRequest,
    TextResponse,
    TmfFunction,
    TmfResponse,
    UnknownOpcode,
    WholePdu,
    assemble,
    bidirectional_read_length,
    decode_pairs,
    encode_pairs,
    extended_cdb,
    serial_add,
    serial_less,
    split_text,
)
from mpxtarget.testing.events import (
    AsyncReceived,
    CommandAborted,
    CommandDone,
    Event,
    LoggedIn,
    LoggedOut,
    LoginFailed,
    PingAnswered,
    PingReceived,
    R2TReceived,
    RawAnswered,
    Rejected,
    TextAnswered,
    TmfAnswered,
)
from mpxtarget.testing.login import LoginExchange, LoginOptions, Refusal
from mpxtarget.testing.mistakes import TargetMistake, require
from mpxtarget.testing.negotiation import Negotiated
from mpxtarget.testing.tasks import CommandTask

_CDB_IN_HEADER: Final = 16


def lun_field(lun: int) -> int:
    """The 8-byte LUN field of logical unit number `lun`: peripheral form below 256, flat form below 16384.

    A larger number is taken for a LUN field itself.
    """
    if lun < 1 << 8:
        return lun << 48
    if lun < 1 << 14:
        return (1 << 14 | lun) << 48
    return lun


@dataclass(slots=True)
class _TmfTask:
    request: TaskManagementRequest
    covers: set[int] = field(default_factory=set)
    """The commands that were sent before it: the only ones it can end (RFC 7143 4.2.2.1)."""


@dataclass(slots=True)
class _TextTask:
    request: TextRequest
    pieces: deque[bytes]
    answer: bytearray = field(default_factory=bytearray)


class InitiatorConnection:
    """One connection; `start` logs in, the other methods are for full feature phase.

    `hold_r2ts` and `answer_pings` may be set at any time: with the first, R2Ts become events and `answer`
    sends their data; without the second, the target's pings get no answer.
    """

    def __init__(
        self, options: LoginOptions, *, observer: Callable[[Pdu, bytes], None] | None = None
    ) -> None:
        """`observer` is shown every PDU that came, before it is checked, with its data."""
        self.options: Final = options
        self.parameters = Negotiated()
        self.state = "new"
        """new, login, full feature, logout, closed."""
        self.tsih = options.tsih
        self.cmd_sn = options.cmd_sn
        """The CmdSN of the next non-immediate command."""
        self.exp_stat_sn = 0
        self.exp_cmd_sn = options.cmd_sn
        self.max_cmd_sn = options.cmd_sn
        self.hold_r2ts = False
        self.answer_pings = True
        self._observer: Final = observer
        self._login: Final = LoginExchange(options)
        self._stream: Final = PduStream()
        self._out: Final = bytearray()
        self._waiting: Final[deque[tuple[Pdu, bytes, bytes]]] = deque()
        self._next_itt = serial_add(options.itt, 1)
        self._tasks: Final[dict[int, CommandTask]] = {}
        self._texts: Final[dict[int, _TextTask]] = {}
        self._pings: Final[dict[int, bytes]] = {}
        self._tmfs: Final[dict[int, _TmfTask]] = {}
        self._logouts: Final[dict[int, LogoutRequest]] = {}
        self._injected: Final[set[int]] = set()

    # What the user asks for

    def start(self) -> None:
        """Begin the login."""
        require(self.state == "new", "start() is for a new connection")
        self.state = "login"
        self._queue(*self._login.start())

    def command(
        self,
        lun: int,
        cdb: bytes,
        *,
        data_out: bytes = b"",
        read_length: int = 0,
        attr: int = TaskAttribute.SIMPLE,
        immediate: bool = False,
    ) -> int:
        """Send a SCSI command; its ITT. `read_length` is the Expected Data Transfer Length of a read.

        `lun` is a number or a LUN field (see `lun_field`). With both directions it is bidirectional.
        """
        ahs = b"" if len(cdb) <= _CDB_IN_HEADER else extended_cdb(cdb).to_bytes()
        if data_out and read_length:
            ahs += bidirectional_read_length(read_length).to_bytes()
        parameters = self.parameters
        first_burst = min(parameters.first_burst_length, len(data_out))
        immediate_length = min(first_burst, parameters.send_limit) if parameters.immediate_data else 0
        unsolicited = immediate_length if parameters.initial_r2t else first_burst
        command = ScsiCommand(
            immediate=int(immediate),
            final=int(unsolicited == immediate_length),
            read=int(read_length > 0),
            write=int(len(data_out) > 0),
            attr=attr,
            lun=lun_field(lun),
            itt=self.new_itt(),
            expected_data_transfer_length=len(data_out) or read_length,
            cdb=cdb[:_CDB_IN_HEADER].ljust(_CDB_IN_HEADER, b"\0"),
        )
        self._tasks[command.itt] = CommandTask(command, data_out, read_length, solicited=unsolicited)
        self._number_and_send(command, data_out[:immediate_length], ahs)
        return command.itt

    def ping(self, data: bytes = b"", *, lun: int = 0, immediate: bool = False) -> int:
        """Send a NOP-Out that wants an answer; its ITT."""
        nop = NopOut(immediate=int(immediate), lun=lun_field(lun), itt=self.new_itt())
        self._pings[nop.itt] = data[: self.parameters.receive_limit]
        self._number_and_send(nop, data)
        return nop.itt

    def text(self, pairs: Iterable[tuple[str, str]], *, segment_length: int | None = None) -> int:
        """Send a text request, in segments of at most `segment_length` bytes; its ITT."""
        limit = segment_length or self.parameters.send_limit
        pieces = deque(split_text(encode_pairs(pairs), limit))
        data = pieces.popleft()
        request = TextRequest(
            immediate=1, final=int(not pieces), continue_=int(bool(pieces)), itt=self.new_itt()
        )
        self._texts[request.itt] = _TextTask(request, pieces)
        self._number_and_send(request, data)
        return request.itt

    def task_management(
        self, function: int, *, lun: int = 0, referenced: int = NO_TAG, immediate: bool = True
    ) -> int:
        """Send a task management function; its ITT. `referenced` is the ITT of the task to abort or query."""
        task = self._tasks.get(referenced)
        request = TaskManagementRequest(
            immediate=int(immediate),
            function=function,
            lun=task.command.lun if task else lun_field(lun),
            itt=self.new_itt(),
            referenced_task_tag=referenced,
            ref_cmd_sn=task.command.cmd_sn if task else 0,
        )
        self._tmfs[request.itt] = _TmfTask(request)
        self._number_and_send(request)
        return request.itt

    def logout(self, reason: int = LogoutReason.CLOSE_SESSION, *, cid: int | None = None) -> int:
        """Send a Logout Request; its ITT."""
        named = self.options.cid if cid is None else cid
        request = LogoutRequest(
            immediate=1,
            reason=reason,
            itt=self.new_itt(),
            cid=0 if reason == LogoutReason.CLOSE_SESSION else named,
        )
        self._logouts[request.itt] = request
        self.state = "logout"
        self._number_and_send(request)
        return request.itt

    def answer(self, r2t: R2T) -> None:
        """Send the data of an R2T that was held."""
        task = self._tasks[r2t.itt]
        task.unanswered.remove(r2t)
        task.unsent.append(r2t)
        start = r2t.buffer_offset
        self._send_data(task, r2t.ttt, start, start + r2t.desired_data_transfer_length)

    def inject(self, pdu: Pdu, data: bytes = b"", ahs: bytes = b"") -> None:
        """Send a PDU as it is, right or wrong, with the digests of the connection.

        What carries the next CmdSN and is not immediate uses it up. Answers to its ITT are `RawAnswered`.
        """
        if getattr(pdu, "cmd_sn", None) == self.cmd_sn and not getattr(pdu, "immediate", 0):
            self.cmd_sn = serial_add(self.cmd_sn, 1)
        known = any(pdu.itt in table for table in self._tables())
        if pdu.itt != NO_TAG and not known:
            self._injected.add(pdu.itt)
        self._queue(pdu, data, ahs)

    def send_bytes(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._out.extend(data)

    def new_itt(self) -> int:
        """An Initiator Task Tag that is not in use."""
        itt = self._next_itt
        self._next_itt = serial_add(itt, 1)
        if self._next_itt == NO_TAG:
            self._next_itt = 0
        return itt

    def _tables(self) -> tuple[dict[int, Any], ...]:
        """All that is in progress, by ITT."""
        return self._tasks, self._texts, self._pings, self._tmfs, self._logouts

    @property
    def outstanding(self) -> int:
        """SCSI commands without status."""
        return len(self._tasks)

    # Bytes

    def to_send(self) -> bytes:
        """The bytes for the target that were not handed out yet."""
        data = bytes(self._out)
        self._out.clear()
        for task in self._tasks.values():
            task.unsent.clear()
        return data

    def receive(self, data: bytes) -> list[Event]:
        """Take in bytes of the target and tell what happened. Raises TargetMistake."""
        self._stream.receive(data)
        events: list[Event] = []
        while True:
            try:
                whole = self._stream.next()
            except FramingError as error:
                raise TargetMistake(str(error)) from None
            if whole is None:
                return events
            events += self._take(whole)

    def _take(self, whole: WholePdu) -> list[Event]:
        try:
            pdu = whole.parse()
        except UnknownOpcode as error:
            raise TargetMistake(str(error)) from None
        if self._observer is not None:
            self._observer(pdu, whole.data)
        kind = type(pdu).__name__
        require(whole.data_intact, f"{kind} with a wrong data digest")
        require(not any(whole.padding), f"{kind} with padding that is not zero")
        require(
            pdu.to_bytes() == whole.header,
            f"{kind} with a reserved bit that is not zero: {whole.header.hex()}",
        )
        require(not whole.ahs, f"{kind} with an AHS")
        require(
            getattr(pdu, "final", 1) or isinstance(pdu, DataIn | TextResponse),
            f"{kind} without bit 7 of byte 1",
        )
        if isinstance(pdu, LoginResponse):
            return self._login_response(pdu, whole.data)
        require(
            self.state in ("full feature", "logout"), f"{kind} while the connection is in state {self.state}"
        )
        handler = _HANDLERS.get(pdu.OPCODE)
        if handler is None:
            raise TargetMistake(f"{kind} from a target")
        self._numbers(pdu)
        if pdu.itt in self._injected:
            return [RawAnswered(pdu, whole.data)]
        events = handler(self, pdu, whole.data)
        self._send_what_waits()
        return events

    def _numbers(self, pdu: Pdu) -> None:
        """StatSN, ExpCmdSN and MaxCmdSN (RFC 7143 4.2.2)."""
        kind = type(pdu).__name__
        stat_sn, exp_cmd_sn, max_cmd_sn = cast(
            tuple[int, int, int],
            tuple(getattr(pdu, name) for name in ("stat_sn", "exp_cmd_sn", "max_cmd_sn")),
        )
        if isinstance(pdu, DataIn) and not pdu.status_flag:
            require(stat_sn == 0, f"Data-In without status has StatSN {stat_sn}")  # reserved, 11.7.3
        else:
            require(stat_sn == self.exp_stat_sn, f"{kind} with StatSN {stat_sn}, expected {self.exp_stat_sn}")
            # 11.8.3 and 11.19.2: an R2T and a NOP-In of the target's own only tell the next StatSN
            if not isinstance(pdu, R2T) and not (isinstance(pdu, NopIn) and pdu.itt == NO_TAG):
                self.exp_stat_sn = serial_add(stat_sn, 1)
        require(
            not serial_less(max_cmd_sn, serial_add(exp_cmd_sn, -1)),
            f"{kind} with MaxCmdSN {max_cmd_sn} below ExpCmdSN {exp_cmd_sn} - 1",
        )
        require(
            not serial_less(exp_cmd_sn, self.exp_cmd_sn),
            f"{kind} with ExpCmdSN {exp_cmd_sn} after {self.exp_cmd_sn}",
        )
        require(
            not serial_less(self.cmd_sn, exp_cmd_sn),
            f"{kind} with ExpCmdSN {exp_cmd_sn}, and the next CmdSN is {self.cmd_sn}",
        )
        require(
            not serial_less(max_cmd_sn, self.max_cmd_sn),
            f"{kind} with MaxCmdSN {max_cmd_sn} after {self.max_cmd_sn}",
        )
        self.exp_cmd_sn = exp_cmd_sn
        self.max_cmd_sn = max_cmd_sn

    # Sending

    def _queue(self, pdu: Pdu, data: bytes = b"", ahs: bytes = b"") -> None:
        digests = self.state in ("full feature", "logout") and not isinstance(pdu, LoginRequest)
        self._out.extend(
            assemble(
                pdu,
                data,
                ahs,
                header_digest=digests and self.parameters.header_digest,
                data_digest=digests and self.parameters.data_digest,
            )
        )

    def _number_and_send(self, pdu: Pdu, data: bytes = b"", ahs: bytes = b"") -> None:
        require(self.state in ("full feature", "logout"), f"no {type(pdu).__name__} in state {self.state}")
        self._waiting.append((pdu, data, ahs))
        self._send_what_waits()

    def _send_what_waits(self) -> None:
        """Send in the order asked for; an immediate PDU passes a closed window (RFC 7143 4.2.2.1)."""
        held: list[tuple[Pdu, bytes, bytes]] = []
        while self._waiting:
            request = cast(ScsiCommand, self._waiting[0][0])  # all that wait here have these fields
            if not request.immediate and (held or serial_less(self.max_cmd_sn, self.cmd_sn)):
                held.append(self._waiting.popleft())
                continue
            pdu, data, ahs = self._waiting.popleft()
            request.cmd_sn = self.cmd_sn
            request.exp_stat_sn = self.exp_stat_sn
            if not request.immediate:
                self.cmd_sn = serial_add(self.cmd_sn, 1)
            self._queue(pdu, data, ahs)
            if isinstance(pdu, ScsiCommand):
                task = self._tasks[pdu.itt]
                task.sent = True
                if not pdu.final:
                    self._send_data(task, NO_TAG, len(data), task.solicited)
            elif isinstance(pdu, TaskManagementRequest):
                sent = {itt for itt, task in self._tasks.items() if task.sent}
                self._tmfs[pdu.itt].covers = sent
        self._waiting.extend(held)

    def _send_data(self, task: CommandTask, ttt: int, start: int, end: int) -> None:
        """One sequence of Data-Out PDUs (RFC 7143 11.7)."""
        step = self.parameters.send_limit
        for data_sn, offset in enumerate(range(start, end, step)):
            stop = min(offset + step, end)
            data_out = DataOut(
                final=int(stop == end),
                lun=task.command.lun if ttt != NO_TAG else 0,
                itt=task.command.itt,
                ttt=ttt,
                exp_stat_sn=self.exp_stat_sn,
                data_sn=data_sn,
                buffer_offset=offset,
            )
            self._queue(data_out, task.data_out[offset:stop])

    # What comes: login

    def _login_response(self, pdu: LoginResponse, data: bytes) -> list[Event]:
        require(self.state == "login", f"Login Response while the connection is in state {self.state}")
        answer = self._login.receive(pdu, data)
        if isinstance(answer, Refusal):
            self.state = "closed"
            return [LoginFailed(answer.status, answer.pairs)]
        require(
            not serial_less(pdu.max_cmd_sn, serial_add(pdu.exp_cmd_sn, -1)),
            "MaxCmdSN below ExpCmdSN - 1 in login",
        )
        self.exp_cmd_sn = pdu.exp_cmd_sn
        self.max_cmd_sn = pdu.max_cmd_sn
        self.exp_stat_sn = serial_add(pdu.stat_sn, 1)
        if answer is not None:
            self._queue(*answer)
            return []
        self.parameters = self._login.result()
        self.tsih = self._login.tsih
        self.state = "full feature"
        self._stream.header_digest = self.parameters.header_digest
        self._stream.data_digest = self.parameters.data_digest
        self._stream.max_data_segment_length = self.parameters.receive_limit
        return [LoggedIn(self.tsih, self.parameters)]

    # What comes: SCSI

    def _task_of(self, pdu: Pdu) -> CommandTask:
        task = self._tasks.get(pdu.itt)
        name = f"{type(pdu).__name__} for ITT {pdu.itt:#x}"
        if task is None or not task.sent:
            raise TargetMistake(f"{name}, which is no command in progress")
        acknowledged = task.command.immediate or serial_less(task.command.cmd_sn, self.exp_cmd_sn)
        require(acknowledged, f"{name} before ExpCmdSN acknowledges the command")  # 4.2.2.1
        return task

    def _data_in(self, pdu: DataIn, data: bytes) -> list[Event]:
        done = self._task_of(pdu).data_in(pdu, data, self.parameters)
        return [] if done is None else self._done(done)

    def _scsi_response(self, pdu: ScsiResponse, data: bytes) -> list[Event]:
        return self._done(self._task_of(pdu).response(pdu, data))

    def _done(self, done: CommandDone) -> list[Event]:
        del self._tasks[done.itt]
        return [done]

    def _r2t(self, pdu: R2T, data: bytes) -> list[Event]:
        task = self._task_of(pdu)
        in_use = {r2t.ttt for other in self._tasks.values() for r2t in other.outstanding}
        require(pdu.ttt not in in_use, f"R2T for ITT {pdu.itt:#x} with a TTT that is in use")
        task.r2t(pdu, data, self.parameters)
        if self.hold_r2ts:
            return [R2TReceived(pdu)]
        self.answer(pdu)
        return []

    # What comes: the rest

    def _nop_in(self, pdu: NopIn, data: bytes) -> list[Event]:
        if pdu.itt != NO_TAG:
            require(pdu.itt in self._pings, f"NOP-In for ITT {pdu.itt:#x}, which is no ping in progress")
            require(pdu.ttt == NO_TAG, "NOP-In that answers a ping and has a TTT")
            require(data == self._pings.pop(pdu.itt), "NOP-In with other data than the ping had")
            return [PingAnswered(pdu.itt, data)]
        require(not data, "NOP-In of the target's own with data")
        if pdu.ttt == NO_TAG:
            require(pdu.lun == 0, "NOP-In that wants no answer, with a LUN")
        elif self.answer_pings:
            nop = NopOut(immediate=1, lun=pdu.lun, itt=NO_TAG, ttt=pdu.ttt)
            nop.cmd_sn, nop.exp_stat_sn = self.cmd_sn, self.exp_stat_sn
            self._queue(nop)
        return [PingReceived(pdu.ttt, pdu.lun)]

    def _text_response(self, pdu: TextResponse, data: bytes) -> list[Event]:
        task = self._texts.get(pdu.itt)
        if task is None:
            raise TargetMistake(f"Text Response for ITT {pdu.itt:#x}, which is no text in progress")
        name = f"Text Response for ITT {pdu.itt:#x}"
        require(not (pdu.final and pdu.continue_), f"{name} with both F and C")
        require((pdu.ttt == NO_TAG) == bool(pdu.final), f"{name} with F={pdu.final} and TTT {pdu.ttt:#x}")
        require(task.request.final or not pdu.final, f"{name} with F=1 in the answer to F=0")
        if task.request.continue_:
            require(not data and not pdu.continue_, f"{name}: an answer to C=1 that is not empty")
        task.answer += data
        if pdu.final:
            del self._texts[pdu.itt]
            try:
                return [TextAnswered(pdu.itt, tuple(decode_pairs(bytes(task.answer))))]
            except TextError as error:
                raise TargetMistake(f"{name}: {error}") from None
        piece = task.pieces.popleft() if task.pieces else b""
        more = bool(task.pieces)
        request = TextRequest(
            immediate=1, final=int(not more), continue_=int(more), lun=pdu.lun, itt=pdu.itt, ttt=pdu.ttt
        )
        task.request = request
        self._number_and_send(request, piece)
        return []

    def _tmf_response(self, pdu: TaskManagementResponse, data: bytes) -> list[Event]:
        task = self._tmfs.pop(pdu.itt, None)
        if task is None:
            raise TargetMistake(f"TMF Response for ITT {pdu.itt:#x}, which is no task management in progress")
        require(not data, "TMF Response with a data segment")
        require(
            pdu.response <= TmfResponse.FUNCTION_SUCCEEDED or pdu.response == TmfResponse.FUNCTION_REJECTED,
            f"TMF Response {pdu.response:#04x}",
        )
        events: list[Event] = []
        if pdu.response == TmfResponse.FUNCTION_COMPLETE:
            for itt in sorted(task.covers & self._tasks.keys()):
                if _ends(task.request, self._tasks[itt].command):
                    del self._tasks[itt]
                    events.append(CommandAborted(itt))
        return [*events, TmfAnswered(pdu.itt, pdu.response)]

    def _logout_response(self, pdu: LogoutResponse, data: bytes) -> list[Event]:
        require(
            pdu.itt in self._logouts, f"Logout Response for ITT {pdu.itt:#x}, which is no logout in progress"
        )
        require(not data, "Logout Response with a data segment")
        del self._logouts[pdu.itt]
        self.state = "closed" if pdu.response == 0 else "full feature"
        return [LoggedOut(pdu.itt, pdu.response, pdu.time2wait, pdu.time2retain)]

    def _async_message(self, pdu: AsyncMessage, data: bytes) -> list[Event]:
        require(pdu.itt == NO_TAG, f"Asynchronous Message with ITT {pdu.itt:#x}")
        return [AsyncReceived(pdu, data)]

    def _reject(self, pdu: Reject, data: bytes) -> list[Event]:
        require(pdu.itt == NO_TAG, f"Reject with ITT {pdu.itt:#x}")
        require(len(data) >= 48, f"Reject with {len(data)} bytes of the rejected header")
        header = data[:48]
        itt = int.from_bytes(header[16:20], "big")
        opcode = header[0] & 0x3F
        if opcode not in (Opcode.DATA_OUT, Opcode.SNACK_REQUEST):
            for table in self._tables():
                table.pop(itt, None)
            # RFC 7143 7.3: it was not received, so its CmdSN is still due
            cmd_sn = int.from_bytes(header[24:28], "big")
            if not header[0] & 0x40 and cmd_sn == serial_add(self.cmd_sn, -1) == pdu.exp_cmd_sn:
                self.cmd_sn = cmd_sn
        return [Rejected(pdu, header, itt)]


def _ends(request: TaskManagementRequest, command: ScsiCommand) -> bool:
    """Whether a completed `request` has ended the task of `command` (RFC 7143 11.5.1)."""
    function = request.function
    if function == TmfFunction.ABORT_TASK:
        return command.itt == request.referenced_task_tag
    if function in (TmfFunction.ABORT_TASK_SET, TmfFunction.CLEAR_TASK_SET, TmfFunction.LOGICAL_UNIT_RESET):
        return command.lun == request.lun
    return function in (TmfFunction.TARGET_WARM_RESET, TmfFunction.TARGET_COLD_RESET)


_HANDLERS: Final = cast(
    dict[int, Callable[[InitiatorConnection, Pdu, bytes], list[Event]]],
    {
        Opcode.NOP_IN: InitiatorConnection._nop_in,
        Opcode.SCSI_RESPONSE: InitiatorConnection._scsi_response,
        Opcode.TASK_MANAGEMENT_RESPONSE: InitiatorConnection._tmf_response,
        Opcode.TEXT_RESPONSE: InitiatorConnection._text_response,
        Opcode.DATA_IN: InitiatorConnection._data_in,
        Opcode.LOGOUT_RESPONSE: InitiatorConnection._logout_response,
        Opcode.R2T: InitiatorConnection._r2t,
        Opcode.ASYNC_MESSAGE: InitiatorConnection._async_message,
        Opcode.REJECT: InitiatorConnection._reject,
    },
)
