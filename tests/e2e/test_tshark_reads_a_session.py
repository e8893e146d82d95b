"""tshark, as an independent oracle, finds nothing wrong with a session that has PDUs of every kind in it."""

import struct
from pathlib import Path

import pytest

from mpxtarget.pdu import Opcode, RejectReason, TmfFunction, TmfResponse
from mpxtarget.testing import Rejected
from mpxtarget.testing.client import Initiator
from tools import require_tool

from .harness import TargetUnderTest
from .scsi import BLOCK, TEST_UNIT_READY, settle
from .tcp_proxy import Capture, TcpProxy
from .tshark import dissect

pytestmark = require_tool("tshark")

KINDS = {
    Opcode.NOP_OUT,
    Opcode.SCSI_COMMAND,
    Opcode.TASK_MANAGEMENT_REQUEST,
    Opcode.LOGIN_REQUEST,
    Opcode.TEXT_REQUEST,
    Opcode.DATA_OUT,
    Opcode.LOGOUT_REQUEST,
    Opcode.SNACK_REQUEST,
    Opcode.NOP_IN,
    Opcode.SCSI_RESPONSE,
    Opcode.TASK_MANAGEMENT_RESPONSE,
    Opcode.LOGIN_RESPONSE,
    Opcode.TEXT_RESPONSE,
    Opcode.DATA_IN,
    Opcode.LOGOUT_RESPONSE,
    Opcode.R2T,
    Opcode.REJECT,
}
"""All but the Asynchronous Message."""
GOOD_DIGEST = "Good CRC32"
ON_OFF = {True: "CRC32C", False: "None"}


async def record_a_session(target: TargetUnderTest, *, header_digest: bool, data_digest: bool) -> Capture:
    """Everything that a session can say, through a recording proxy."""
    keys = {
        "HeaderDigest": ON_OFF[header_digest],
        "DataDigest": ON_OFF[data_digest],
        "MaxRecvDataSegmentLength": "8192",
        "FirstBurstLength": "16384",
        "MaxBurstLength": "32768",
        "MaxOutstandingR2T": "4",
    }
    data = b"".join(struct.pack(">Q", number) * (BLOCK // 8) for number in range(256))
    async with TcpProxy(target.portals[0]) as proxy:
        async with await Initiator.connect(
            proxy.portal.host, proxy.portal.port, target=target.target_names[0], keys=keys
        ) as initiator:
            assert await initiator.ping(b"tshark looks here for data digests") is not None
            await settle(initiator, 1)
            await initiator.write(1, 8, data)
            assert await initiator.read(1, 8, len(data) // BLOCK) == data
            serial = await initiator.scsi(1, bytes((0x12, 1, 0x80, 0, 255, 0)), read_length=255)
            assert len(serial.data) % 4, "this is here for a Data-In with padding"
            assert (
                await initiator.scsi(1, struct.pack(">BBIBHB", 0x28, 0, 2**32 - 2, 0, 1, 0), b"", BLOCK)
            ).sense
            assert await initiator.send_targets("")
            initiator.inject(initiator.make.snack_request())
            assert (await initiator.next_event(Rejected)).reject.reason == RejectReason.SNACK_REJECT
            reset = await initiator.task_management(TmfFunction.LOGICAL_UNIT_RESET, lun=1)
            assert reset == TmfResponse.FUNCTION_COMPLETE
            assert (await initiator.scsi(1, TEST_UNIT_READY)).sense
        return proxy.capture


@pytest.mark.parametrize("data_digest", [False, True], ids=["no data digest", "data digest"])
@pytest.mark.parametrize("header_digest", [False, True], ids=["no header digest", "header digest"])
@pytest.mark.conformance("PDU-001", "LGN-035", "DIG-002", "DIG-008", "DIG-009", "RJT-001")
async def test_no_pdu_is_malformed_and_every_digest_is_good(
    target: TargetUnderTest, tmp_path: Path, header_digest: bool, data_digest: bool
) -> None:
    capture = await record_a_session(target, header_digest=header_digest, data_digest=data_digest)
    dissection = dissect(capture.write(tmp_path / "session.pcap"))
    assert dissection.complaints == []
    assert {pdu.opcode for pdu in dissection.pdus} == KINDS
    for pdu in dissection.pdus:
        in_login = pdu.opcode in (Opcode.LOGIN_REQUEST, Opcode.LOGIN_RESPONSE)
        has_header_digest = header_digest and not in_login
        has_data_digest = data_digest and not in_login and pdu.data_length > 0
        if pdu.opcode == Opcode.REJECT:
            has_data_digest = False  # tshark shows none there; the initiator has checked it
        assert pdu.header_digest == (GOOD_DIGEST if has_header_digest else None), str(pdu)
        assert pdu.data_digest == (GOOD_DIGEST if has_data_digest else None), str(pdu)


@pytest.mark.parametrize("what", ["header", "data"])
async def test_the_oracle_sees_one_wrong_bit(target: TargetUnderTest, tmp_path: Path, what: str) -> None:
    capture = await record_a_session(target, header_digest=True, data_digest=True)
    largest = max(range(len(capture.packets)), key=lambda index: len(capture.packets[index]))
    packet = bytearray(capture.packets[largest])
    packet[40 + 47 if what == "header" else -40] ^= 0x01
    capture.packets[largest] = bytes(packet)
    dissection = dissect(capture.write(tmp_path / "session.pcap"))
    verdicts = [pdu.header_digest if what == "header" else pdu.data_digest for pdu in dissection.pdus]
    wrong = [verdict for verdict in verdicts if verdict not in (None, GOOD_DIGEST)]
    assert len(wrong) == 1, wrong
