"""One SCSI command of the initiator: what may come for it, in which order, and how it may end.

The rules are those for Data-In (RFC 7143 11.7), R2T (11.8), SCSI Response (11.4) and residuals (11.4.5).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from mpxtarget.pdu import NO_TAG, R2T, DataIn, ScsiCommand, ScsiResponse
from mpxtarget.testing.events import CommandDone
from mpxtarget.testing.mistakes import require
from mpxtarget.testing.negotiation import Negotiated

GOOD: Final = 0x00
CHECK_CONDITION: Final = 0x02
_COLLAPSIBLE: Final = frozenset({0x00, 0x04, 0x10, 0x14})
"""Statuses a Data-In may carry: GOOD, CONDITION MET and the INTERMEDIATE ones (11.7.3)."""
_SHORTEST_SENSE: Final = 8


@dataclass(slots=True)
class CommandTask:
    """A command that has no status yet."""

    command: ScsiCommand
    data_out: bytes
    read_length: int
    solicited: int = 0
    """Bytes of `data_out` that go without being asked for or that an R2T has asked for."""
    sent: bool = False
    sequence: int = 0
    """Next DataSN or R2TSN; a bidirectional command has one sequence for both (4.2.2.4)."""
    received: bytearray = field(default_factory=bytearray)
    data_in_pdus: int = 0
    burst: int = 0
    """Bytes of Data-In since the last F=1."""
    burst_open: bool = False
    unanswered: list[R2T] = field(default_factory=list)
    unsent: list[R2T] = field(default_factory=list)
    """R2Ts whose data waits in the send buffer: the target cannot have seen their F=1."""

    @property
    def bidirectional(self) -> bool:
        return bool(self.command.read and self.command.write)

    @property
    def outstanding(self) -> list[R2T]:
        """R2Ts whose last Data-Out has not gone out."""
        return self.unanswered + self.unsent

    def data_in(self, pdu: DataIn, data: bytes, parameters: Negotiated) -> CommandDone | None:
        """Take one Data-In; the end of the command if it carries status."""
        name = f"Data-In for ITT {pdu.itt:#x}"
        offset = len(self.received)
        require(self.command.read, f"{name}, which does not read")
        require(pdu.data_sn == self.sequence, f"{name} with DataSN {pdu.data_sn}, expected {self.sequence}")
        require(pdu.buffer_offset == offset, f"{name} at offset {pdu.buffer_offset}, expected {offset}")
        require(
            offset + len(data) <= self.read_length, f"{name} beyond the expected {self.read_length} bytes"
        )
        require(not pdu.acknowledge, f"{name} with A=1 at ErrorRecoveryLevel 0")
        require(pdu.ttt == NO_TAG, f"{name} with TTT {pdu.ttt:#x} and A=0")
        require(pdu.lun == 0, f"{name} with a LUN and A=0, where it is reserved")
        self.sequence += 1
        self.data_in_pdus += 1
        self.received += data
        self.burst += len(data)
        limit = parameters.max_burst_length
        require(self.burst <= limit, f"{name}: a sequence of {self.burst} bytes above MaxBurstLength {limit}")
        self.burst_open = not pdu.final
        if pdu.final:
            self.burst = 0
        if not pdu.status_flag:
            status = pdu.status or pdu.residual_count or pdu.overflow or pdu.underflow
            require(not status, f"{name} without S and with status, residual, O or U")
            return None
        require(pdu.final, f"{name} with S=1 and F=0")
        require(not self.bidirectional, f"{name} with S=1 for a bidirectional command")
        require(pdu.status in _COLLAPSIBLE, f"{name} with S=1 and status {pdu.status:#04x}")
        return self._finish(pdu, 0, 0, b"")

    def response(self, pdu: ScsiResponse, data: bytes) -> CommandDone:
        """Take the SCSI Response."""
        name = f"SCSI Response for ITT {pdu.itt:#x}"
        bidirectional = pdu.bidi_overflow or pdu.bidi_underflow or pdu.bidi_residual_count
        require(not self.burst_open, f"{name} after a Data-In sequence without F=1")
        require(pdu.snack_tag == 0, f"{name} with a SNACK tag")
        require(self.bidirectional or not bidirectional, f"{name} with a bidirectional residual")
        if pdu.response:
            void = pdu.overflow or pdu.underflow or bidirectional or pdu.residual_count or pdu.exp_data_sn
            require(not void, f"{name} with response {pdu.response:#04x} and residuals or ExpDataSN")
            return self._finish(pdu, pdu.response, 0, b"")
        expected = self.sequence if self.bidirectional else self.data_in_pdus
        require(pdu.exp_data_sn == expected, f"{name} with ExpDataSN {pdu.exp_data_sn}, expected {expected}")
        length = int.from_bytes(data[:2], "big")
        sense = data[2 : 2 + length]
        require(len(sense) == length, f"{name} with SenseLength {length} in {len(data)} bytes")
        if pdu.status == CHECK_CONDITION:
            require(length >= _SHORTEST_SENSE, f"{name}: CHECK CONDITION with {length} bytes of sense")
        else:
            require(not data, f"{name} with status {pdu.status:#04x} and a data segment")
        return self._finish(pdu, 0, pdu.bidi_residual_count, sense)

    def r2t(self, pdu: R2T, data: bytes, parameters: Negotiated) -> None:
        """Take one R2T; it is `unanswered` now."""
        name = f"R2T for ITT {pdu.itt:#x}"
        start, length = pdu.buffer_offset, pdu.desired_data_transfer_length
        limit, allowed = parameters.max_burst_length, parameters.max_outstanding_r2t
        count = len(self.outstanding) + 1
        require(self.command.write, f"{name}, which does not write")
        require(not data, f"{name} with a data segment")
        require(pdu.ttt != NO_TAG, f"{name} with TTT FFFFFFFFh")
        require(pdu.lun == self.command.lun, f"{name} with LUN {pdu.lun:#x}")
        require(pdu.r2t_sn == self.sequence, f"{name} with R2TSN {pdu.r2t_sn}, expected {self.sequence}")
        require(start == self.solicited, f"{name} at offset {start}, expected {self.solicited}")
        require(0 < length <= limit, f"{name} for {length} bytes, MaxBurstLength is {limit}")
        require(
            start + length <= len(self.data_out), f"{name} beyond the {len(self.data_out)} bytes there are"
        )
        require(count <= allowed, f"{name}: {count} outstanding, MaxOutstandingR2T is {allowed}")
        self.sequence += 1
        self.solicited = start + length
        self.unanswered.append(pdu)

    def _finish(
        self, pdu: ScsiResponse | DataIn, response: int, bidi_residual: int, sense: bytes
    ) -> CommandDone:
        """Check the residual against what came, and that nothing is owed any more."""
        name = f"status for ITT {pdu.itt:#x}"
        expected, residual = self.command.expected_data_transfer_length, pdu.residual_count
        owed = len(self.outstanding)
        require(not owed, f"{name} while {owed} R2Ts are outstanding")
        require(not (pdu.overflow and pdu.underflow), f"{name} with both O and U")
        require(
            bool(residual) == bool(pdu.overflow or pdu.underflow),
            f"{name}: residual {residual} against O and U",
        )
        require(
            not pdu.underflow or residual <= expected, f"{name} with underflow of {residual} of {expected}"
        )
        if response == 0:
            due = expected - residual if pdu.underflow else expected
            if self.command.read and not self.command.write:
                got = len(self.received)
                require(got == due, f"{name}: {got} bytes came, by EDTL and residual it is {due}")
            elif self.command.write and pdu.status == GOOD:
                require(
                    self.solicited >= due,
                    f"{name}: GOOD, and {due - self.solicited} bytes were not asked for",
                )
        return CommandDone(
            itt=pdu.itt,
            response=response,
            status=pdu.status,
            data=bytes(self.received),
            sense=sense,
            residual=residual,
            underflow=bool(pdu.underflow),
            overflow=bool(pdu.overflow),
            bidi_residual=bidi_residual,
        )
