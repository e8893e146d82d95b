"""A peer that sends what it is told, right or wrong, and shows what comes back as it came.

One blocking TCP connection with a time limit on everything. It logs in with the defaults of RFC 7143 and
does one command at a time: enough for tests that have to know exactly which bytes were sent. Good behaviour,
digests, several tasks and reconnecting are what `mpxtarget.testing` is for.
"""

import socket
import struct
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from mpxtarget.pdu import (
    NO_TAG,
    DataIn,
    LoginRequest,
    LoginResponse,
    NopIn,
    Opcode,
    Pdu,
    PduStream,
    Reject,
    ScsiCommand,
    ScsiResponse,
    WholePdu,
    assemble,
    encode_pairs,
)

from .harness import Portal

BLOCK = 512
GOOD, CHECK_CONDITION = 0x00, 0x02
RECEIVE_LENGTH = 262144
"""The MaxRecvDataSegmentLength that a login here declares."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a SCSI command came to. `sense` is (sense key, ASC, ASCQ), of fixed or descriptor format."""

    status: int
    data: bytes = b""
    sense: tuple[int, int, int] | None = None

    def __str__(self) -> str:
        return f"status {self.status:02X}h, sense {self.sense}, {len(self.data)} bytes"


class RawPeer:
    """One connection to a portal. `time_limit` bounds each wait, in seconds."""

    def __init__(self, portal: Portal, *, time_limit: float = 20.0) -> None:
        self.socket = socket.create_connection((portal.host, portal.port), time_limit)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._stream = PduStream(RECEIVE_LENGTH)
        self._cmd_sn = 1
        self._exp_stat_sn = 0
        self._tag = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send bytes. A peer that has closed already is no error: what it answered can still be received."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def send_pdu(self, pdu: Pdu, data: bytes = b"") -> None:
        """Send a PDU; its lengths are set to fit the data."""
        self.send(assemble(pdu, data))

    def receive(self) -> WholePdu | None:
        """The next PDU; None when the target has closed the connection. Fails if neither comes in time."""
        while (whole := self._stream.next()) is None:
            try:
                data = self.socket.recv(1 << 18)
            except ConnectionResetError:
                return None
            except TimeoutError:
                raise AssertionError("the target neither answers nor closes the connection") from None
            if not data:
                return None
            self._stream.receive(data)
        return whole

    def receive_pdu(self) -> tuple[Pdu, bytes]:
        """The next PDU and its data. Fails if the connection ends instead."""
        whole = self.receive()
        assert whole is not None, "the target closed the connection"
        return whole.parse(), whole.data

    def login_request(
        self, *pairs: tuple[str, str], stage: int = 1, next_stage: int = 3, **fields: int
    ) -> bytes:
        """A Login Request of one stage."""
        values = {
            "transit": 1,
            "csg": stage,
            "nsg": next_stage,
            "isid": 0x800000000001,
            "cmd_sn": self._cmd_sn,
        }
        return assemble(LoginRequest(**{**values, **fields}), encode_pairs(pairs))

    def log_in(
        self, target: str, *, initiator: str = "iqn.2004-09.com.example:raw", isid: int = 1
    ) -> LoginResponse:
        """Log in in one stage; returns the last Login Response, which may be a refusal."""
        pairs = [
            ("InitiatorName", initiator),
            ("TargetName", target),
            ("SessionType", "Normal"),
            ("HeaderDigest", "None"),
            ("DataDigest", "None"),
            ("MaxRecvDataSegmentLength", str(RECEIVE_LENGTH)),
            ("InitialR2T", "No"),
            ("ImmediateData", "Yes"),
        ]
        while True:
            fields = {"isid": 0x800000000000 | isid, "exp_stat_sn": self._exp_stat_sn}
            self.send(self.login_request(*pairs, **fields))
            response, _ = self.receive_pdu()
            assert isinstance(response, LoginResponse), f"{response} instead of a Login Response"
            self._exp_stat_sn = response.stat_sn + 1
            if response.transit or response.status_class:
                return response
            pairs = []  # the target was not ready for the next stage: ask again, with nothing to add

    def ready(self, target: str, **login: object) -> Self:
        """Log in and take the unit attentions that wait for a new nexus."""
        response = self.log_in(target, **login)  # type: ignore[arg-type]
        assert response.status_class == 0, f"login refused: {response}"
        for lun in (1, 2):
            self.settle(lun)
        return self

    def follow(self, stat_sn: int) -> None:
        """Note the StatSN of a PDU that was received by `receive`."""
        self._exp_stat_sn = stat_sn + 1

    def settle(self, lun: int = 1) -> list[tuple[int, int, int]]:
        """Take all unit attentions of a LUN; returns them."""
        taken: list[tuple[int, int, int]] = []
        while (answer := self.execute(bytes(6), lun=lun)).status != GOOD:
            assert answer.sense is not None and answer.sense[0] == 6 and len(taken) < 10, str(answer)
            taken.append(answer.sense)
        return taken

    def command(
        self, cdb: bytes, *, lun: int = 1, length: int = 0, read: int = 0, write: int = 0
    ) -> ScsiCommand:
        """A SCSI Command with the next CmdSN and a tag of its own."""
        self._tag += 1
        pdu = ScsiCommand(
            final=1,
            read=read,
            write=write,
            attr=1,
            lun=lun << 48,
            itt=self._tag,
            expected_data_transfer_length=length,
            cmd_sn=self._cmd_sn,
            exp_stat_sn=self._exp_stat_sn,
            cdb=cdb.ljust(16, b"\0"),
        )
        self._cmd_sn += 1
        return pdu

    def execute(self, cdb: bytes, *, lun: int = 1, length: int = 0, data: bytes = b"") -> Answer:
        """Do a command that reads up to `length` bytes or writes `data`, all of it as immediate data."""
        pdu = self.command(
            cdb, lun=lun, length=len(data) or length, read=int(length > 0), write=int(bool(data))
        )
        self.send_pdu(pdu, data)
        received = bytearray()
        while True:
            answer, payload = self.receive_pdu()
            match answer:
                case DataIn():
                    received[answer.buffer_offset : answer.buffer_offset + len(payload)] = payload
                    if answer.status_flag:
                        self._exp_stat_sn = answer.stat_sn + 1
                        return Answer(answer.status, bytes(received))
                case ScsiResponse():
                    self._exp_stat_sn = answer.stat_sn + 1
                    return Answer(answer.status, bytes(received), sense_of(payload))
                case NopIn() if answer.itt == NO_TAG:
                    pass
                case _:
                    raise AssertionError(f"{answer} instead of an answer to the command")

    def write(self, lba: int, data: bytes, *, lun: int = 1) -> Answer:
        """WRITE(10)."""
        return self.execute(
            struct.pack(">BBIBHB", 0x2A, 0, lba, 0, len(data) // BLOCK, 0), lun=lun, data=data
        )

    def read(self, lba: int, blocks: int, *, lun: int = 1) -> Answer:
        """READ(10)."""
        return self.execute(
            struct.pack(">BBIBHB", 0x28, 0, lba, 0, blocks, 0), lun=lun, length=blocks * BLOCK
        )

    def capacity(self, lun: int = 1) -> int:
        """The size of a LUN in bytes, by READ CAPACITY(16)."""
        answer = self.execute(b"\x9e\x10" + bytes(8) + (32).to_bytes(4, "big") + bytes(2), lun=lun, length=32)
        assert answer.status == GOOD, str(answer)
        last, block = struct.unpack_from(">QI", answer.data)
        return int((last + 1) * block)

    def check(self, lba: int, seed: int, *, lun: int = 1) -> None:
        """Write a block and read it back: the session works."""
        data = seed.to_bytes(8, "big") * (BLOCK // 8)
        assert (wrote := self.write(lba, data, lun=lun)).status == GOOD, str(wrote)
        assert self.read(lba, 1, lun=lun) == Answer(GOOD, data)


def sense_of(segment: bytes) -> tuple[int, int, int] | None:
    """Sense key, ASC and ASCQ in the data segment of a SCSI Response (RFC 7143 11.4.7)."""
    sense = segment[2:]
    if len(sense) < 4:
        return None
    if sense[0] & 0x7F >= 0x72:
        return sense[1] & 15, sense[2], sense[3]
    return sense[2] & 15, sense[12], sense[13]


__all__ = ["BLOCK", "CHECK_CONDITION", "GOOD", "Answer", "Opcode", "RawPeer", "Reject", "sense_of"]
