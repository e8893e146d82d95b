"""Header and data digests: agreed one by one, checked on every PDU, and what a wrong one leads to (7.8)."""

from __future__ import annotations

from typing import Any

import pytest

from mpxtarget.pdu import (
    NO_TAG,
    R2T,
    DataOut,
    NopIn,
    Pdu,
    RejectReason,
    ScsiResponse,
    TextResponse,
    TmfFunction,
    assemble,
    encode_pairs,
    serial_add,
)
from mpxtarget.testing import TextAnswered
from support.cdb import SYNCHRONIZE_CACHE, TEST_UNIT_READY, data, inquiry, read_10, write_10
from support.fixtures import MakeWorld
from support.world import LUN, Host, World, only, reject_of

BOTH = {"HeaderDigest": "CRC32C", "DataDigest": "CRC32C"}
HEADER = {"HeaderDigest": "CRC32C", "DataDigest": "None"}
DATA = {"HeaderDigest": "None", "DataDigest": "CRC32C"}
UNSOLICITED = {"InitialR2T": "No", "ImmediateData": "No"}
SOLICITED = {"InitialR2T": "Yes", "ImmediateData": "No"}


def corrupt(host: Host, pdu: Pdu, content: bytes, *, at: int = -1) -> list[tuple[Pdu, bytes]]:
    """Send a PDU of which one bit was changed on the way, in its data digest unless told otherwise."""
    parameters = host.machine.parameters
    wire = bytearray(
        assemble(
            pdu,
            content,
            header_digest=parameters.header_digest,
            data_digest=parameters.data_digest,
        )
    )
    wire[at] ^= 0x10
    return host.send_bytes(bytes(wire))


@pytest.mark.conformance("DIG-002", "DIG-008", "DIG-009", "PDU-008", "PDU-009", "LGN-035")
@pytest.mark.parametrize("header", ["None", "CRC32C"])
@pytest.mark.parametrize("segments", ["None", "CRC32C"])
@pytest.mark.parametrize("fast", [False, True])
def test_all_combinations_carry_everything(
    make_world: MakeWorld, header: str, segments: str, fast: bool
) -> None:
    world = make_world(fast=fast)
    digests = {"HeaderDigest": header, "DataDigest": segments}
    for isid, keys in enumerate((SOLICITED, UNSOLICITED, {"MaxRecvDataSegmentLength": "1021"})):
        host = world.host(isid=0x800000000000 + isid, keys=digests | keys)
        assert host.machine.parameters.header_digest == (header == "CRC32C")
        assert host.machine.parameters.data_digest == (segments == "CRC32C")
        content = data(20480, seed=isid)
        assert host.scsi(LUN, write_10(0, 40), data_out=content).status == 0
        assert host.scsi(LUN, write_10(40, 1), data_out=content[:512]).status == 0
        assert host.scsi(LUN, read_10(0, 40), read_length=20480).data == content
        assert host.scsi(LUN, read_10(40, 1), read_length=512).data == content[:512]
        assert host.scsi(LUN, TEST_UNIT_READY).status == 0
        assert host.scsi(LUN, b"\xff" + bytes(5)).status == 2
        assert host.scsi(LUN, bytes(32)).status == 0, "with an additional header"
        for length in range(5):
            ((_, echo),) = host.say(host.make.nop_out(immediate=1), data(length))
            assert echo == data(length)
        assert host.tmf(TmfFunction.ABORT_TASK_SET, lun=LUN) == 0
        host.machine.text([("SendTargets", "")])
        host.run()
        assert host.of(TextAnswered)
        host.say(host.make.snack_request())
        assert len(host.rejects()) == 1
        host.machine.logout()
        host.run()
        assert host.closed


@pytest.mark.conformance("DIG-003", "RSP-007", "SEC-010")
@pytest.mark.parametrize("at", [0, 1, 4, 5, 7, 16, 24, 47, 48, 51])
def test_a_header_that_cannot_be_trusted_ends_the_connection(world: World, at: int) -> None:
    host = world.host(keys=HEADER)
    assert corrupt(host, host.make.scsi_command(lun=LUN), b"", at=at) == []
    if at == 4:  # an additional header of so many words is waited for, and then not believed
        assert host.send_bytes(bytes(64)) == []
    assert host.closed
    assert len(world.sessions) == 0


@pytest.mark.conformance("DIG-003", "DIG-002")
def test_the_header_digest_covers_additional_headers(world: World) -> None:
    host = world.host(keys=HEADER)
    pdu = host.make.scsi_command(lun=LUN)
    wire = bytearray(assemble(pdu, b"", b"\0\x11\x01\0" + bytes(16), header_digest=True))
    wire[60] ^= 1
    assert host.send_bytes(bytes(wire)) == []
    assert host.closed


@pytest.mark.conformance("DIG-004", "DIG-006", "RJT-002", "RJT-006", "CSN-016")
@pytest.mark.parametrize("keys", [DATA, BOTH])
@pytest.mark.parametrize("fast", [False, True])
def test_a_command_with_corrupt_data_was_not_received(
    make_world: MakeWorld, keys: dict[str, str], fast: bool
) -> None:
    world = make_world(fast=fast)
    host = world.host(keys=keys)
    write = host.make.scsi_command(lun=LUN, write=1, expected_data_transfer_length=512, cdb=write_10(0, 1))
    answers = corrupt(host, write, data(512))
    assert reject_of(answers).reason == RejectReason.DATA_DIGEST_ERROR
    assert answers[0][1] == write.to_bytes()
    assert host.session.exp_cmd_sn == write.cmd_sn
    assert not any(world.store.content)
    host.machine.cmd_sn = serial_add(write.cmd_sn, 1)
    later = host.make.scsi_command(lun=LUN)
    assert host.say(later) == []
    retry = host.make.scsi_command(
        lun=LUN,
        write=1,
        expected_data_transfer_length=512,
        cdb=write_10(0, 1),
        itt=write.itt,
        cmd_sn=write.cmd_sn,
    )
    host.machine.inject(retry, data(512))
    mark = len(host.seen)
    host.run()
    assert [pdu.itt for pdu, _ in host.seen[mark:]] == [write.itt, later.itt]
    assert world.store.content[:512] == data(512)


@pytest.mark.conformance("DIG-002", "PDU-008")
@pytest.mark.parametrize("good", [True, False])
def test_the_data_digest_covers_the_padding_whatever_it_is(world: World, good: bool) -> None:
    host = world.host(keys=DATA)
    ping = host.make.nop_out(immediate=1)
    ping.data_segment_length = 5
    padded_data = b"hello\x01\x02\x03"
    reference = host.make.nop_out(immediate=1)
    wire = assemble(reference, padded_data, data_digest=True)
    digest = wire[-4:]
    tail = padded_data if good else b"hello\x01\x02\x04"
    host.machine.inject(host.make.nop_out(immediate=1, itt=ping.itt))
    host.run()
    ((answer, content),) = host.send_bytes(ping.to_bytes() + tail + digest)
    if good:
        assert isinstance(answer, NopIn)
        assert content == b"hello"
    else:
        assert host.rejects() == [RejectReason.DATA_DIGEST_ERROR]


@pytest.mark.conformance("DIG-005", "RSP-006", "WRT-013", "RJT-005")
@pytest.mark.parametrize("corrupt_one", [0, 1, 2])
def test_corrupt_solicited_data_fails_its_command_after_the_burst(world: World, corrupt_one: int) -> None:
    host = world.host(keys=DATA | SOLICITED)
    command = host.make.scsi_command(lun=LUN, write=1, expected_data_transfer_length=1536, cdb=write_10(0, 3))
    r2t = only(host.say(command), R2T)
    for number in range(3):
        pdu = host.make.data_out(
            itt=command.itt, ttt=r2t.ttt, data_sn=number, buffer_offset=512 * number, final=int(number == 2)
        )
        content = data(1536)[512 * number :][:512]
        answers = corrupt(host, pdu, content) if number == corrupt_one else host.say(pdu, content)
        if number == corrupt_one:
            assert isinstance(answers[0][0], type(reject_of(answers[:1])))
            assert reject_of(answers[:1]).reason == RejectReason.DATA_DIGEST_ERROR
            answers = answers[1:]
        if number < 2:
            assert answers == []
    ((response, sense),) = answers
    assert isinstance(response, ScsiResponse)
    assert (response.status, sense[4], *sense[14:16]) == (2, 0xB, 0x47, 0x05)
    assert host.scsi(LUN, TEST_UNIT_READY).status == 0


@pytest.mark.conformance("DIG-005", "WRT-013")
def test_corrupt_unsolicited_data_of_a_command_that_waits_is_not_taken_for_good(world: World) -> None:
    host = world.host(keys=DATA | UNSOLICITED)
    hole = host.skip_cmd_sn()
    command = host.make.scsi_command(
        lun=LUN, write=1, final=0, expected_data_transfer_length=512, cdb=write_10(0, 1)
    )
    assert host.say(command) == []
    out = host.make.data_out(itt=command.itt)
    assert reject_of(corrupt(host, out, data(512))).reason == RejectReason.DATA_DIGEST_ERROR
    answers = host.say(host.make.scsi_command(lun=LUN, cmd_sn=hole))
    assert [pdu.itt for pdu, _ in answers][1:] == [command.itt]
    response, sense = answers[1]
    assert isinstance(response, ScsiResponse)
    assert (response.status, sense[4], *sense[14:16]) == (2, 0xB, 0x47, 0x05)
    assert not any(world.store.content)


@pytest.mark.conformance("DIG-004", "RJT-002")
def test_corrupt_data_of_nobody_is_rejected_once(world: World) -> None:
    host = world.host(keys=DATA)
    answers = corrupt(host, DataOut(itt=0x4242, ttt=NO_TAG), data(512))
    assert reject_of(answers).reason == RejectReason.DATA_DIGEST_ERROR


@pytest.mark.conformance("DIG-007", "RJT-002", "TXT-009")
def test_corrupt_text_and_pings_are_rejected_and_that_is_all(world: World) -> None:
    host = world.host(keys=BOTH)
    due = host.session.exp_cmd_sn
    for pdu in (host.make.text_request(immediate=0), host.make.nop_out(), host.make.text_request()):
        reject = reject_of(corrupt(host, pdu, encode_pairs([("SendTargets", "")])))
        assert reject.reason == RejectReason.DATA_DIGEST_ERROR
        assert reject.exp_cmd_sn == due
    only(host.say(host.make.text_request(), encode_pairs([("SendTargets", "")])), TextResponse)


@pytest.mark.conformance("DIG-006", "WRT-015")
def test_the_rest_of_a_corrupt_command_is_dropped_and_its_retry_is_whole(world: World) -> None:
    host = world.host(keys=BOTH)
    content = data(1024)
    write: dict[str, Any] = {
        "lun": LUN,
        "write": 1,
        "final": 0,
        "expected_data_transfer_length": 1024,
        "cdb": write_10(0, 2),
        "itt": 0x99,
    }
    first = host.make.scsi_command(**write)
    out = host.make.data_out(itt=0x99, buffer_offset=512)
    assert reject_of(corrupt(host, first, content[:512])).reason == RejectReason.DATA_DIGEST_ERROR
    assert host.say(out, content[512:]) == []
    assert host.say(host.make.scsi_command(**write), content[:512]) == []
    assert only(host.say(out, content[512:]), ScsiResponse).status == 0
    assert world.store.content[:1024] == content


@pytest.mark.conformance("DIG-008", "RDF-001")
def test_reads_through_a_lane_have_digests_too(world: World) -> None:
    content = world.store.pattern()
    world.store.at_once = False
    host = world.host(keys=BOTH | {"MaxRecvDataSegmentLength": "1021"})
    assert host.scsi(LUN, read_10(0, 100), read_length=51200).data == content[:51200]
    assert host.scsi(LUN, SYNCHRONIZE_CACHE).status == 0
    assert host.scsi(0, inquiry(), read_length=36).status == 0
