"""A target of the smallest kind, without I/O: right by itself, wrong in whatever way a test makes it.

`bend` sees every PDU before it is sent and may change it; `data_bend` its bytes. Its disk is a bytearray.
"""

from collections.abc import Callable

from mpxtarget.pdu import (
    R2T,
    DataIn,
    DataOut,
    LoginRequest,
    LoginResponse,
    LogoutRequest,
    LogoutResponse,
    NopIn,
    NopOut,
    Pdu,
    PduStream,
    ScsiCommand,
    ScsiResponse,
    TaskManagementRequest,
    TaskManagementResponse,
    TextRequest,
    TextResponse,
    assemble,
    decode_pairs,
    encode_pairs,
)
from mpxtarget.testing import InitiatorConnection
from mpxtarget.testing.pair import Pair

SENSE = bytes.fromhex("70000500 0000000a 00000000 20000000 0000")
UNNUMBERED = (R2T,)


class Write:
    """A write whose data is still coming."""

    def __init__(self, command: ScsiCommand, data: bytes) -> None:
        self.command = command
        self.data = bytearray(data)
        self.asked = 0
        self.r2t_sn = 0
        self.outstanding = 0


class ScriptedTarget:
    def __init__(self, **answers: str) -> None:
        self.answers = {"MaxRecvDataSegmentLength": "8192", "TargetPortalGroupTag": "1", **answers}
        self.offers: dict[str, str] = {}
        self.bend: Callable[[Pdu], None] = lambda pdu: None
        self.bytes_bend: Callable[[bytes], bytes] = lambda data: data
        self.silent = False
        self.closed = False
        self.window = 32
        self.stat_sn = 7000
        self.exp_cmd_sn = 0
        self.read_segment = 4096
        self.text_segment = 8192
        self.collapse = True
        self.disk = bytearray(1 << 20)
        self.received: list[tuple[Pdu, bytes]] = []
        self.writes: dict[int, Write] = {}
        self.text_in = bytearray()
        self.text_out: list[bytes] = []
        self.full_feature = False
        self.digests = {"header_digest": False, "data_digest": False}
        self.stream = PduStream(1 << 24)
        self.out = bytearray()

    # The machine

    def receive(self, data: bytes, now: float = 0.0) -> None:
        self.stream.receive(data)
        while (whole := self.stream.next()) is not None:
            assert whole.data_intact
            pdu = whole.parse()
            self.received.append((pdu, whole.data))
            if not self.silent:
                self.handle(pdu, whole.data)

    def to_send(self) -> bytes:
        data = bytes(self.out)
        self.out.clear()
        return data

    def got(self, kind: type[Pdu]) -> list[tuple[Pdu, bytes]]:
        return [(pdu, data) for pdu, data in self.received if isinstance(pdu, kind)]

    def send(self, pdu: Pdu, data: bytes = b"", *, status: bool = True) -> None:
        numbers = {"exp_cmd_sn": self.exp_cmd_sn, "max_cmd_sn": self.exp_cmd_sn + self.window - 1}
        if status or isinstance(pdu, UNNUMBERED):
            numbers["stat_sn"] = self.stat_sn
        for name, value in numbers.items():
            setattr(pdu, name, value)
        if status and not isinstance(pdu, UNNUMBERED):
            self.stat_sn += 1
        pdu.data_segment_length = len(data)
        self.bend(pdu)
        digests = self.digests if not isinstance(pdu, LoginResponse) else {}
        self.out += self.bytes_bend(assemble(pdu, data, b"", **digests))

    # What it does

    def handle(self, pdu: Pdu, data: bytes) -> None:
        if isinstance(pdu, LoginRequest):
            self.login(pdu, data)
            return
        if hasattr(pdu, "cmd_sn") and not getattr(pdu, "immediate", 0):
            assert pdu.cmd_sn == self.exp_cmd_sn
            self.exp_cmd_sn += 1
        if isinstance(pdu, ScsiCommand):
            self.command(pdu, data)
        elif isinstance(pdu, DataOut):
            self.data_out(pdu, data)
        elif isinstance(pdu, NopOut) and pdu.itt != 0xFFFFFFFF:
            self.send(NopIn(itt=pdu.itt), data)
        elif isinstance(pdu, TextRequest):
            self.text(pdu, data)
        elif isinstance(pdu, TaskManagementRequest):
            self.writes.clear()
            self.send(TaskManagementResponse(itt=pdu.itt))
        elif isinstance(pdu, LogoutRequest):
            self.send(LogoutResponse(itt=pdu.itt, time2wait=2))
            self.closed = True

    def login(self, pdu: LoginRequest, data: bytes) -> None:
        self.exp_cmd_sn = pdu.cmd_sn
        self.text_in += data
        answer = {} if pdu.continue_ else self.login_answer(pdu)
        final = pdu.transit and pdu.nsg == 3
        response = LoginResponse(
            transit=pdu.transit,
            csg=pdu.csg,
            nsg=pdu.nsg,
            isid=pdu.isid,
            tsih=0x1234 if final else pdu.tsih,
            itt=pdu.itt,
        )
        self.send(response, encode_pairs(answer.items()))
        if final:
            self.full_feature = True
            self.digests = {
                "header_digest": self.offers.get("HeaderDigest") == "CRC32C",
                "data_digest": self.offers.get("DataDigest") == "CRC32C",
            }
            self.stream.header_digest = self.digests["header_digest"]
            self.stream.data_digest = self.digests["data_digest"]

    def login_answer(self, pdu: LoginRequest) -> dict[str, str]:
        """Everything is agreed to; `answers` has what is answered otherwise. The tag comes first."""
        pairs = dict(decode_pairs(bytes(self.text_in)))
        self.text_in.clear()
        answer = {}
        if "TargetPortalGroupTag" in self.answers and not self.offers:
            answer["TargetPortalGroupTag"] = self.answers["TargetPortalGroupTag"]
        self.offers |= pairs
        for key, value in pairs.items():
            if key in ("InitiatorName", "InitiatorAlias", "TargetName", "SessionType"):
                continue
            if key == "MaxRecvDataSegmentLength":
                self.read_segment = min(self.read_segment, int(value))
                continue
            answer[key] = self.answers.get(key, value.split(",")[0])
        if pdu.csg == 1 and pairs:
            answer["MaxRecvDataSegmentLength"] = self.answers["MaxRecvDataSegmentLength"]
        return {key: value for key, value in answer.items() if value}

    def number(self, key: str) -> int:
        return int(self.answers.get(key, self.offers[key]))

    def command(self, pdu: ScsiCommand, data: bytes) -> None:
        start = int.from_bytes(pdu.cdb[2:6], "big") * 512
        if pdu.cdb[0] == 0x28:
            self.read(pdu, start)
        elif pdu.cdb[0] == 0x2A:
            write = self.writes[pdu.itt] = Write(pdu, data)
            write.asked = len(data)
            if not pdu.final:
                first_burst = min(self.number("FirstBurstLength"), pdu.expected_data_transfer_length)
                write.asked = first_burst
            self.go_on(write)
        elif pdu.cdb[0] == 0x00:
            self.send(ScsiResponse(itt=pdu.itt))
        else:
            expected = pdu.expected_data_transfer_length
            response = ScsiResponse(
                itt=pdu.itt, status=2, underflow=int(expected > 0), residual_count=expected
            )
            self.send(response, len(SENSE).to_bytes(2, "big") + SENSE)

    def read(self, pdu: ScsiCommand, start: int) -> None:
        length = int.from_bytes(pdu.cdb[7:9], "big") * 512
        expected = pdu.expected_data_transfer_length
        sent = min(length, expected)
        residual = abs(length - expected)
        flags = {
            "underflow": int(length < expected),
            "overflow": int(length > expected),
            "residual_count": residual,
        }
        burst = self.number("MaxBurstLength")
        count = 0
        offset = 0
        while offset < sent:
            in_burst = burst - offset % burst
            step = min(self.read_segment, sent - offset, in_burst)
            last = offset + step == sent
            data_in = DataIn(
                itt=pdu.itt, data_sn=count, buffer_offset=offset, final=int(last or step == in_burst)
            )
            collapsed = last and self.collapse
            if collapsed:
                data_in.status_flag = 1
                for name, value in flags.items():
                    setattr(data_in, name, value)
            self.send(data_in, bytes(self.disk[start + offset : start + offset + step]), status=collapsed)
            offset += step
            count += 1
        if not self.collapse or not sent:
            self.send(ScsiResponse(itt=pdu.itt, exp_data_sn=count, **flags))

    def data_out(self, pdu: DataOut, data: bytes) -> None:
        write = self.writes[pdu.itt]
        assert pdu.buffer_offset == len(write.data)
        write.data += data
        if pdu.final and pdu.ttt != 0xFFFFFFFF:
            write.outstanding -= 1
        self.go_on(write)

    def go_on(self, write: Write) -> None:
        command = write.command
        expected = command.expected_data_transfer_length
        while write.asked < expected and write.outstanding < self.number("MaxOutstandingR2T"):
            if len(write.data) < write.asked and not write.outstanding:
                return  # the unsolicited burst is still coming
            length = min(self.number("MaxBurstLength"), expected - write.asked)
            r2t = R2T(
                lun=command.lun,
                itt=command.itt,
                ttt=command.itt << 8 | write.r2t_sn,
                r2t_sn=write.r2t_sn,
                buffer_offset=write.asked,
                desired_data_transfer_length=length,
            )
            write.asked += length
            write.r2t_sn += 1
            write.outstanding += 1
            self.send(r2t)
        if len(write.data) == expected:
            start = int.from_bytes(command.cdb[2:6], "big") * 512
            self.disk[start : start + expected] = write.data
            del self.writes[command.itt]
            self.send(ScsiResponse(itt=command.itt))

    def text(self, pdu: TextRequest, data: bytes) -> None:
        self.text_in += data
        if pdu.continue_:
            self.send(TextResponse(itt=pdu.itt, ttt=77))
            return
        if not self.text_out:
            pairs = [("TargetName", "iqn.2001-04.com.example:disk"), ("TargetAddress", "127.0.0.1:3260,1")]
            text = encode_pairs(pairs) if b"SendTargets=" in self.text_in else b""
            self.text_in.clear()
            step = self.text_segment
            self.text_out = [text[i : i + step] for i in range(0, len(text), step)] or [b""]
        piece = self.text_out.pop(0)
        more = int(bool(self.text_out))
        self.send(
            TextResponse(itt=pdu.itt, final=1 - more, continue_=more, ttt=77 if more else 0xFFFFFFFF), piece
        )


Connect = Callable[..., tuple[InitiatorConnection, ScriptedTarget, Pair]]
