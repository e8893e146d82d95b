"""SCSI commands on the wire: the command PDU, the data of both directions, and the response.

Rules kept here:

- What may come unsolicited follows from InitialR2T, ImmediateData and FirstBurstLength (RFC 7143 4.2.5.2);
  what came against them is taken and dropped, and the command ends with 0B/0C/0C or 0B/0C/0D (11.4.7.2).
- R2Ts go out in increasing, contiguous offsets, no longer than MaxBurstLength, no more than MaxOutstandingR2T
  at a time, and only for bytes that the command uses (11.8, 13.17). What a connection has asked for and what
  waits in memory to be written is bounded by MAX_UNWRITTEN a unit: R2Ts keep the pace of a slow store.
- Data-Out is checked for DataSN, offset and amount. Nothing beyond what was asked for is ever handed on.
- A SCSI Response waits until the initiator has finished every burst it owes (11.4.2).
- Data-In fills the initiator's MaxRecvDataSegmentLength, ends a sequence with F at MaxBurstLength, and
  carries a GOOD status itself (11.7).
- Residuals compare what the SCSI layer presents with the expected length (11.4.5).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpxtarget.iscsi.errors import PduRejected, ProtocolError
from mpxtarget.iscsi.session import MASK, MAX_IMMEDIATE
from mpxtarget.iscsi.task import (
    INCORRECT_AMOUNT_OF_DATA,
    PROTOCOL_SERVICE_CRC_ERROR,
    UNEXPECTED_UNSOLICITED_DATA,
    Answer,
    Burst,
    Task,
)
from mpxtarget.pdu import (
    BHS_LENGTH,
    NO_TAG,
    R2T,
    AhsError,
    AhsType,
    DataIn,
    DataOut,
    RejectReason,
    ScsiCommand,
    ScsiResponse,
    padded,
    parse_ahs,
)

if TYPE_CHECKING:
    from mpxtarget.iscsi.connection import Connection

GOOD = 0x00
TASK_ABORTED = 0x40
CHUNK = 262144  # Data-In is laid out in pieces of at most this many bytes, headers not counted
MAX_UNWRITTEN = 8 << 20  # bytes of Data-Out a connection may have on their way or in memory for one unit
MAX_UNWRITTEN_IN_ALL = 64 << 20  # and for all units; each may have one burst whatever the others have

_FINAL, _READ, _WRITE = 0x80, 0x40, 0x20
_OVERFLOW, _UNDERFLOW, _STATUS = 0x04, 0x02, 0x01


# -- the command ----


def scsi_command(c: Connection, header: memoryview, data: memoryview) -> None:
    """Deliver a SCSI Command (RFC 7143 11.3)."""
    session = c.session
    assert session is not None
    opcode, flags, _, lengths, lun, itt, edtl, _, _, cdb = ScsiCommand.STRUCT.unpack_from(header)
    immediate = bool(opcode & 0x40)
    read, write, attr = bool(flags & _READ), bool(flags & _WRITE), flags & 0x07
    if session.discovery:
        raise PduRejected(RejectReason.PROTOCOL_ERROR, "SCSI command in a discovery session")  # RFC 7143 4.3
    if not flags & (_FINAL | _WRITE):
        raise ProtocolError("neither F nor W in a SCSI command")  # RFC 7143 11.3.1
    if attr > 4:
        raise PduRejected(RejectReason.PROTOCOL_ERROR, f"task attribute {attr}")
    if lengths >> 24:
        cdb = _extended_cdb(cdb, bytes(header[BHS_LENGTH:]))
    if read and write:
        raise PduRejected(RejectReason.INVALID_PDU_FIELD, "R and W without a bidirectional AHS")  # 11.3.4
    if edtl and not (read or write):
        raise PduRejected(RejectReason.INVALID_PDU_FIELD, "an expected length without a direction")
    if itt in session.tasks:
        raise PduRejected(RejectReason.TASK_IN_PROGRESS, f"tag {itt:08x}h is in use")
    if len(data) > edtl or (data and not write):
        raise ProtocolError(f"{len(data)} bytes of immediate data, {edtl} expected in all")
    if immediate and len(session.tasks) - session.outstanding >= MAX_IMMEDIATE:
        raise PduRejected(RejectReason.IMMEDIATE_COMMAND_REJECT, "too many immediate commands")
    c.consume(header)
    task = Task(c, itt, lun, cdb, attr=attr, immediate=immediate, read=read, write=write, edtl=edtl)
    task.heard = c.heard
    session.tasks[itt] = task
    if not immediate:
        session.outstanding += 1
    if write:
        _expect_unsolicited(c, task, len(data), final=bool(flags & _FINAL))
    c.around.commands.start(task)
    if task.aborted or session.tasks.get(itt) is not task:
        return
    if data and task.wanted > 0 and task.failure is None and task.answer is None:
        c.around.commands.take(task, 0, data[: task.wanted])
    task.next_offset = len(data)
    _advance(c, task)


def _extended_cdb(cdb: bytes, ahs: bytes) -> bytes:
    """The whole CDB of a command with additional header segments (RFC 7143 11.2.2)."""
    try:
        found = parse_ahs(ahs)
    except AhsError as error:
        raise PduRejected(RejectReason.INVALID_PDU_FIELD, str(error)) from error
    for segment in found:
        if segment.type & 0x3F != AhsType.EXTENDED_CDB or not segment.content:
            raise PduRejected(RejectReason.INVALID_PDU_FIELD, f"AHS type {segment.type}")
        cdb += segment.content
    return cdb


def _expect_unsolicited(c: Connection, task: Task, arrived: int, *, final: bool) -> None:
    """Decide what unsolicited data a write brings, and whether it may (RFC 7143 4.2.5.2)."""
    assert c.session is not None
    parameters = c.session.parameters
    allowance = min(parameters.first_burst_length, task.edtl)
    if arrived > (allowance if parameters.immediate_data else 0):
        task.failure = UNEXPECTED_UNSOLICITED_DATA
    if not final:
        if parameters.initial_r2t or task.failure is not None:
            task.failure = UNEXPECTED_UNSOLICITED_DATA
            allowance = task.edtl
        task.unsolicited = Burst(NO_TAG, arrived, max(allowance, arrived))


def expect(task: Task, length: int) -> None:
    """The command uses `length` bytes of Data-Out, or as many as the initiator has."""
    task.wanted = min(length, task.edtl) if task.write else 0
    task.expecting = True


def expect_no_more(task: Task) -> None:
    """The command has failed: ask for no more data than what was asked for already (RFC 7143 11.4.2)."""
    task.wanted = min(task.wanted, task.next_offset)


def go_on(task: Task) -> None:
    """A command has begun later than it came: ask for its data, or go on if there is nothing to ask for."""
    if not task.aborted:
        _advance(task.connection, task)


# -- Data-Out ------------------------------------------------------------------------------------------------


def data_out(c: Connection, header: memoryview, data: memoryview) -> None:
    """Take a SCSI Data-Out (RFC 7143 11.7)."""
    _take_data_out(c, header, data, good=True)


def corrupt_data_out(c: Connection, header: memoryview, data: memoryview) -> None:
    """A Data-Out whose data digest is wrong: the command fails when its burst is over (RFC 7143 7.8).

    It was rejected when it came.
    """
    _take_data_out(c, header, data, good=False)


def _take_data_out(c: Connection, header: memoryview, data: memoryview, *, good: bool) -> None:
    session = c.session
    assert session is not None
    _, flags, _, _, itt, ttt, _, data_sn, offset = DataOut.STRUCT.unpack_from(header)
    task = session.tasks.get(itt)
    burst = task.burst(ttt) if task is not None and task.connection is c else None
    if task is None or burst is None:
        _stray_data_out(c, header, data, itt, ttt, good=good)
        return
    task.heard = c.heard
    if not good or data_sn != burst.data_sn:
        task.failure = task.failure or PROTOCOL_SERVICE_CRC_ERROR
    if offset != burst.next or offset + len(data) > burst.end:
        raise ProtocolError(
            f"Data-Out of {len(data)} bytes at offset {offset}, due were {burst.next} up to {burst.end}"
        )
    if data and offset < task.wanted and task.failure is None and task.answer is None:
        c.around.commands.take(task, offset, data[: task.wanted - offset])
    burst.next += len(data)
    burst.data_sn = (burst.data_sn + 1) & MASK
    if flags & _FINAL:
        if burst.next != burst.end:
            task.failure = task.failure or INCORRECT_AMOUNT_OF_DATA
        if ttt == NO_TAG:
            task.next_offset = burst.next
        else:
            del c.transfers[ttt]
            c.account(task.lun, -burst.asked)
        task.end_burst(burst)
        _advance(c, task)
        if c.unasked:
            ask_on(c)


def _stray_data_out(
    c: Connection, header: memoryview, data: memoryview, itt: int, ttt: int, *, good: bool
) -> None:
    """Data for no live burst: of an aborted task, of a command held back, or a mistake (RFC 7143 11.17.1)."""
    assert c.session is not None
    if (itt, ttt) in c.dead_tags:
        if header[1] & _FINAL:
            del c.dead_tags[itt, ttt]
        return
    for held in c.session.held.values():
        if held.itt == itt and ttt == NO_TAG:
            held.hold(header, data, good=good)
            return
    if good:
        raise PduRejected(
            RejectReason.INVALID_PDU_FIELD, f"Data-Out for tag {itt:08x}h, transfer {ttt:08x}h: not asked for"
        )


def _advance(c: Connection, task: Task) -> None:
    """Ask for more data, or go on with the command if there is nothing left to ask for."""
    if task.unsolicited is not None:
        return
    if task.answer is not None:
        if not task.bursts:
            answer, task.answer = task.answer, None
            respond(task, answer.status, answer.sense, answer.presented)
        return
    if not task.expecting:  # what carries it out answers by itself
        return
    if task.failure is not None:
        if not task.bursts:
            _fail(task)
        return
    assert c.session is not None
    parameters = c.session.parameters
    while task.next_offset < task.wanted and len(task.bursts) < parameters.max_outstanding_r2t:
        length = min(parameters.max_burst_length, task.wanted - task.next_offset)
        if _must_wait(c, task.lun, length):
            if not task.bursts:
                c.unasked.append(task)
            return
        _send_r2t(c, task, length)
    if not task.bursts:
        task.expecting = False
        c.around.commands.taken(task)


def _must_wait(c: Connection, lun: int, length: int) -> bool:
    """Whether too much is on its way already: for this unit, so that a stuck one leaves room for the others,
    or for all of them together.
    """
    kept = c.unwritten_of.get(lun, 0)
    return kept > 0 and (kept + length > MAX_UNWRITTEN or c.unwritten + length > MAX_UNWRITTEN_IN_ALL)


def ask_on(c: Connection) -> None:
    """Memory has become free: ask for the data of commands that waited for it."""
    unasked, c.unasked = c.unasked, []
    for task in unasked:
        if not task.aborted:
            task.heard = 0.0  # from now on it is the initiator that is waited for
            _advance(c, task)


def _fail(task: Task) -> None:
    """Its data did not come as it must: end a command as ABORTED COMMAND."""
    assert task.failure is not None
    failure, task.failure = task.failure, None
    task.connection.around.commands.undelivered(task, failure)


def _send_r2t(c: Connection, task: Task, length: int) -> None:
    """Ask for the next `length` bytes (RFC 7143 11.8)."""
    ttt = c.next_ttt
    c.next_ttt = ttt % 0xFFFFFFFE + 1
    task.bursts[ttt] = Burst(ttt, task.next_offset, task.next_offset + length, asked=length)
    c.transfers[ttt] = task
    c.account(task.lun, length)
    r2t = R2T(
        lun=task.lun,
        itt=task.itt,
        ttt=ttt,
        r2t_sn=task.r2t_sn,
        buffer_offset=task.next_offset,
        desired_data_transfer_length=length,
    )
    task.r2t_sn += 1
    task.next_offset += length
    c.send(c.number(r2t, advance=False))


# -- Data-In -------------------------------------------------------------------------------------------------


def segments(c: Connection, offset: int, length: int) -> list[int]:
    """The sizes of the Data-In segments that carry `length` bytes from buffer offset `offset` on."""
    assert c.session is not None
    max_burst = c.session.parameters.max_burst_length & ~3
    max_send = c.max_send
    sizes = []
    while length:
        size = min(length, max_send, max_burst - offset % max_burst)
        sizes.append(size)
        offset += size
        length -= size
    return sizes


def lay_data_in(c: Connection, sizes: list[int]) -> tuple[int, list[memoryview]]:
    """Room in the output for Data-In PDUs with these segments: where it starts, and where the data goes."""
    head = BHS_LENGTH + (4 if c.header_digest else 0)
    tail = 4 if c.data_digest else 0
    at = c.output.reserve(sum(head + padded(size) + tail for size in sizes))
    view = c.output.view
    places = []
    data_at = at + head
    for size in sizes:
        places.append(view[data_at : data_at + size])
        data_at += padded(size) + tail + head
    return at, places


def unlay_data_in(c: Connection, at: int) -> None:
    """Give the room back: the data could not be had at once."""
    c.output.used = at


def seal_data_in(c: Connection, task: Task, at: int, sizes: list[int], presented: int | None) -> None:
    """Headers and digests for the PDUs laid out at `at`. With `presented` the last carries GOOD (11.7.3)."""
    session = c.session
    assert session is not None
    max_burst = session.parameters.max_burst_length & ~3
    head = BHS_LENGTH + (4 if c.header_digest else 0)
    tail = 4 if c.data_digest else 0
    if presented is not None:
        session.retire(task)
    exp_cmd_sn, max_cmd_sn = session.exp_cmd_sn, session.max_cmd_sn
    last = len(sizes) - 1
    for index, size in enumerate(sizes):
        flags = stat_sn = residual = 0
        if index == last and presented is not None:
            flags = _FINAL | _STATUS
            if presented != task.edtl:
                flags |= _OVERFLOW if presented > task.edtl else _UNDERFLOW
                residual = abs(presented - task.edtl)
            stat_sn = c.stat_sn
            c.stat_sn = (stat_sn + 1) & MASK
        elif (task.sent + size) % max_burst == 0:
            flags = _FINAL
        DataIn.STRUCT.pack_into(
            c.output.view, at, 0x25, flags, 0, size, 0, task.itt, NO_TAG,
            stat_sn, exp_cmd_sn, max_cmd_sn, task.data_sn, task.sent, residual,
        )  # fmt: skip
        c.seal(at, size)
        at += head + padded(size) + tail
        task.data_sn += 1
        task.sent += size


def send_data_in(c: Connection, task: Task, data: bytes | bytearray, presented: int | None) -> None:
    """Send `data`, and with `presented` GOOD behind it. The data fits into the expected length."""
    view = memoryview(data)
    at = 0
    while at < len(view):
        piece = view[at : at + CHUNK]
        at += len(piece)
        sizes = segments(c, task.sent, len(piece))
        start, places = lay_data_in(c, sizes)
        done = 0
        for place in places:
            place[:] = piece[done : done + len(place)]
            done += len(place)
        seal_data_in(c, task, start, sizes, presented if at == len(view) else None)


# -- the response ----


def respond(task: Task, status: int, sense: bytes = b"", presented: int = 0) -> None:
    """End a command. `presented` is the number of bytes the SCSI layer had to transfer (RFC 7143 11.4.5).

    What is said later of a command whose answer waits for Data-Out, or that was aborted, is not heard.
    """
    if task.aborted or task.answer is not None:
        return
    if task.owed:
        task.answer = Answer(status, sense, presented)
    elif task.failure is not None and status == GOOD:  # what came with it was wrong, even if it was not used
        _fail(task)
    else:
        _write_response(task.connection, task, status, sense, max(presented, task.sent))


def respond_to_aborted(task: Task) -> None:
    """Tell the initiator of a task that another one has ended it. No data is on its way for it any more."""
    _write_response(task.connection, task, TASK_ABORTED, b"", task.sent)


def respond_with_data(task: Task, data: bytes) -> None:
    """End a command with GOOD and data for the initiator, truncated to what it expects."""
    usable = min(len(data), task.edtl) if task.read else 0
    if task.aborted:
        return
    if usable == 0 or task.owed:
        respond(task, GOOD, b"", len(data))
    else:
        send_data_in(task.connection, task, data[:usable], len(data))


def _write_response(c: Connection, task: Task, status: int, sense: bytes, presented: int) -> None:
    session = c.session
    assert session is not None
    session.retire(task)
    response = ScsiResponse(itt=task.itt, status=status, exp_data_sn=task.data_sn)
    if presented > task.edtl:
        response.overflow = 1
    elif presented < task.edtl:
        response.underflow = 1
    response.residual_count = abs(presented - task.edtl)
    c.send(c.number(response), len(sense).to_bytes(2, "big") + sense if sense else b"")
