"""What a target does wrong does not pass: each mistake is told, and told as what it is."""

from collections.abc import Callable
from typing import Any

import pytest
from scripted_target import Connect

from mpxtarget.pdu import (
    NO_TAG,
    R2T,
    DataIn,
    LogoutResponse,
    NopIn,
    Pdu,
    Reject,
    ScsiResponse,
    TaskManagementResponse,
    TextResponse,
)
from mpxtarget.testing import InitiatorConnection, TargetMistake, TmfAnswered
from mpxtarget.testing.pair import DropNth, SwapNth

Action = Callable[[InitiatorConnection], object]


def read(initiator: InitiatorConnection) -> int:
    return initiator.command(1, bytes.fromhex("28 00 00000004 00 0040 00"), read_length=32768)


def write(initiator: InitiatorConnection) -> int:
    return initiator.command(1, bytes.fromhex("2a 00 00000004 00 0040 00"), data_out=bytes(32768))


def ready(initiator: InitiatorConnection) -> int:
    return initiator.command(1, bytes(6))


def fail(initiator: InitiatorConnection) -> int:
    return initiator.command(1, b"\xff" + bytes(5), read_length=8)


def ping(initiator: InitiatorConnection) -> int:
    return initiator.ping(b"hello")


def text(initiator: InitiatorConnection) -> int:
    return initiator.text([("SendTargets", "All")])


def reset(initiator: InitiatorConnection) -> int:
    return initiator.task_management(5, lun=1)


def logout(initiator: InitiatorConnection) -> int:
    return initiator.logout()


MISTAKES: list[tuple[Action, type[Pdu], dict[str, Any], str]] = [
    (ready, ScsiResponse, {"stat_sn": 6999}, "StatSN 6999, expected 7002"),
    (ready, ScsiResponse, {"stat_sn": 7003}, "StatSN 7003, expected 7002"),
    (ready, ScsiResponse, {"max_cmd_sn": 0}, "MaxCmdSN 0 below ExpCmdSN 2 - 1"),
    (ready, ScsiResponse, {"exp_cmd_sn": 1, "max_cmd_sn": 32}, "before ExpCmdSN acknowledges"),
    (ready, ScsiResponse, {"exp_cmd_sn": 3}, "ExpCmdSN 3, and the next CmdSN is 2"),
    (ready, ScsiResponse, {"max_cmd_sn": 31}, "MaxCmdSN 31 after 32"),
    (ready, ScsiResponse, {"itt": 99}, "ITT 0x63, which is no command in progress"),
    (ready, ScsiResponse, {"final": 0}, "without bit 7 of byte 1"),
    (ready, ScsiResponse, {"exp_data_sn": 1}, "ExpDataSN 1, expected 0"),
    (ready, ScsiResponse, {"snack_tag": 5}, "SNACK tag"),
    (ready, ScsiResponse, {"status": 2}, "CHECK CONDITION with 0 bytes of sense"),
    (ready, ScsiResponse, {"overflow": 1, "underflow": 1, "residual_count": 1}, "both O and U"),
    (ready, ScsiResponse, {"residual_count": 1}, "residual 1 against O and U"),
    (ready, ScsiResponse, {"underflow": 1, "residual_count": 1}, "underflow of 1 of 0"),
    (ready, ScsiResponse, {"bidi_residual_count": 1}, "bidirectional residual"),
    (ready, ScsiResponse, {"response": 1, "residual_count": 1, "overflow": 1}, "response 0x01 and residuals"),
    (fail, ScsiResponse, {"status": 8}, "status 0x08 and a data segment"),
    (fail, ScsiResponse, {"underflow": 0, "residual_count": 0}, "0 bytes came, by EDTL and residual it is 8"),
    (read, DataIn, {"data_sn": 1}, "DataSN 1, expected 0"),
    (read, DataIn, {"buffer_offset": 512}, "offset 512, expected 0"),
    (read, DataIn, {"acknowledge": 1}, "A=1"),
    (read, DataIn, {"ttt": 1}, "TTT 0x1"),
    (read, DataIn, {"lun": 1 << 48}, "a LUN"),
    (read, DataIn, {"status": 8}, "without S and with status"),
    (read, DataIn, {"stat_sn": 7002}, "Data-In without status has StatSN 7002"),
    (read, DataIn, {"status_flag": 1, "stat_sn": 7002}, "S=1 and F=0"),
    (read, DataIn, {"status_flag": 1, "final": 1, "status": 2, "stat_sn": 7002}, "S=1 and status 0x02"),
    (read, DataIn, {"status_flag": 1, "final": 1, "stat_sn": 7002}, "4096 bytes came"),
    (write, R2T, {"final": 0}, "without bit 7 of byte 1"),
    (write, R2T, {"stat_sn": 7003}, "R2T with StatSN 7003"),
    (write, R2T, {"r2t_sn": 1}, "R2TSN 1, expected 0"),
    (write, R2T, {"lun": 0}, "LUN 0x0"),
    (write, R2T, {"ttt": NO_TAG}, "TTT FFFFFFFFh"),
    (write, R2T, {"buffer_offset": 0}, "offset 0, expected 16384"),
    (write, R2T, {"desired_data_transfer_length": 0}, "for 0 bytes"),
    (write, R2T, {"desired_data_transfer_length": 16385}, "for 16385 bytes, MaxBurstLength is 16384"),
    (write, R2T, {"itt": 99}, "no command in progress"),
    (ping, NopIn, {"ttt": 5}, "answers a ping and has a TTT"),
    (ping, NopIn, {"itt": 99}, "no ping in progress"),
    (ping, NopIn, {"itt": NO_TAG}, "of the target's own with data"),
    (text, TextResponse, {"ttt": 5}, "F=1 and TTT 0x5"),
    (text, TextResponse, {"final": 0}, "F=0 and TTT 0xffffffff"),
    (text, TextResponse, {"continue_": 1}, "both F and C"),
    (text, TextResponse, {"itt": 99}, "no text in progress"),
    (reset, TaskManagementResponse, {"itt": 99}, "no task management in progress"),
    (reset, TaskManagementResponse, {"response": 8}, "TMF Response 0x08"),
    (logout, LogoutResponse, {"itt": 99}, "no logout in progress"),
]


@pytest.mark.parametrize(
    ("action", "kind", "changes", "told"),
    MISTAKES,
    ids=[f"{m[1].__name__}-{'-'.join(f'{k}={v}' for k, v in m[2].items())}" for m in MISTAKES],
)
def test_a_wrong_field_is_told(
    connect: Connect, action: Action, kind: type[Pdu], changes: dict[str, Any], told: str
) -> None:
    initiator, target, pair = connect(MaxBurstLength="16384", FirstBurstLength="16384")

    def bend(pdu: Pdu) -> None:
        if isinstance(pdu, kind):
            for name, value in changes.items():
                setattr(pdu, name, value)

    target.bend = bend
    action(initiator)
    with pytest.raises(TargetMistake) as caught:
        pair.run()
    assert told in str(caught.value)


@pytest.mark.parametrize("action", [read, write, ready, fail, ping, text, reset, logout])
def test_the_same_target_unbent_passes(connect: Connect, action: Action) -> None:
    initiator, _, pair = connect(MaxBurstLength="16384", FirstBurstLength="16384")
    action(initiator)
    assert pair.run()
    assert initiator.outstanding == 0


@pytest.mark.conformance("PDU-002")
@pytest.mark.parametrize(("byte", "bits"), [(0, 0x80), (0, 0x40), (1, 0x01), (2, 0x80), (36, 1), (47, 1)])
def test_a_reserved_bit_is_told(connect: Connect, byte: int, bits: int) -> None:
    initiator, target, pair = connect()

    def set_bits(data: bytes) -> bytes:
        return data[:byte] + bytes([data[byte] | bits]) + data[byte + 1 :]

    target.bytes_bend = set_bits
    ping(initiator)
    with pytest.raises(TargetMistake, match="reserved bit"):
        pair.run()


@pytest.mark.conformance("PDU-008")
def test_padding_that_is_not_zero_is_told(connect: Connect) -> None:
    initiator, target, pair = connect()
    target.bytes_bend = lambda data: data[:-1] + b"\x01"
    ping(initiator)
    with pytest.raises(TargetMistake, match="padding"):
        pair.run()


@pytest.mark.conformance("DIG-002")
@pytest.mark.parametrize(
    ("position", "told"), [(20, "header digest"), (52, "data digest"), (-1, "data digest")]
)
def test_a_wrong_digest_is_told(connect: Connect, position: int, told: str) -> None:
    initiator, target, pair = connect(HeaderDigest="CRC32C", DataDigest="CRC32C")

    def flip(data: bytes) -> bytes:
        changed = bytearray(data)
        changed[position] ^= 0x10
        return bytes(changed)

    ping(initiator)
    assert pair.run()
    target.bytes_bend = flip
    ping(initiator)
    with pytest.raises(TargetMistake, match=told):
        pair.run()


@pytest.mark.conformance("PDU-010")
def test_a_segment_above_our_limit_is_told(connect: Connect) -> None:
    initiator, target, pair = connect(MaxRecvDataSegmentLength="1024")
    target.read_segment = 4096
    read(initiator)
    with pytest.raises(TargetMistake, match="4096 bytes where at most 1024"):
        pair.run()


@pytest.mark.conformance("RDF-001")
def test_a_sequence_longer_than_max_burst_is_told(connect: Connect) -> None:
    initiator, target, pair = connect(MaxBurstLength="16384", FirstBurstLength="16384")
    target.answers["MaxBurstLength"] = "32768"
    read(initiator)
    with pytest.raises(TargetMistake, match="20480 bytes above MaxBurstLength 16384"):
        pair.run()


@pytest.mark.conformance("STS-005")
@pytest.mark.parametrize("collapse", [True, False])
def test_a_lost_or_overtaken_data_in_is_told(connect: Connect, collapse: bool) -> None:
    for spoil in (DropNth(DataIn.OPCODE, 2), SwapNth(DataIn.OPCODE, 2)):
        initiator, target, pair = connect()
        target.collapse = collapse
        pair.to_initiator.filter = spoil
        read(initiator)
        with pytest.raises(TargetMistake, match="DataSN 3, expected 2"):
            pair.run()


def test_status_while_an_r2t_is_outstanding_is_told(connect: Connect) -> None:
    initiator, target, pair = connect(ImmediateData="No", InitialR2T="Yes")
    initiator.hold_r2ts = True
    itt = write(initiator)
    pair.run()
    target.send(ScsiResponse(itt=itt))
    with pytest.raises(TargetMistake, match="1 R2Ts are outstanding"):
        pair.run()


def test_good_for_a_write_whose_data_was_never_asked_for_is_told(connect: Connect) -> None:
    initiator, target, pair = connect(ImmediateData="No", InitialR2T="Yes")
    itt = write(initiator)
    target.handle = lambda pdu, data: None  # type: ignore[method-assign]
    pair.run()
    target.exp_cmd_sn += 1
    target.send(ScsiResponse(itt=itt))
    with pytest.raises(TargetMistake, match="32768 bytes were not asked for"):
        pair.run()


@pytest.mark.conformance("RSP-007")
def test_status_for_a_command_that_a_reset_ended_is_told(connect: Connect) -> None:
    initiator, target, pair = connect(ImmediateData="No", InitialR2T="Yes")
    initiator.hold_r2ts = True
    itt = write(initiator)
    pair.run()
    reset(initiator)
    assert isinstance(pair.run()[-1], TmfAnswered)
    target.send(ScsiResponse(itt=itt))
    with pytest.raises(TargetMistake, match="no command in progress"):
        pair.run()


def test_an_initiator_opcode_and_an_unknown_one_are_told(connect: Connect) -> None:
    for header, told in ((b"\x01\x80" + bytes(46), "ScsiCommand"), (b"\x07\x80" + bytes(46), "opcode 0x07")):
        _initiator, target, pair = connect()
        target.out += header
        with pytest.raises(TargetMistake, match=told):
            pair.run()


def test_a_reject_without_the_header_is_told(connect: Connect) -> None:
    _initiator, target, pair = connect()
    target.send(Reject(reason=5), bytes(47))
    with pytest.raises(TargetMistake, match="47 bytes of the rejected header"):
        pair.run()
