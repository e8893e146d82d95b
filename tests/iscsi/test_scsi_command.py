"""The SCSI Command PDU: flags, attributes, additional header segments, contradictions (RFC 7143 11.3)."""

from __future__ import annotations

import pytest

from mpxtarget.iscsi import transfer
from mpxtarget.pdu import (
    BHS_LENGTH,
    Ahs,
    DataIn,
    NopIn,
    Reject,
    RejectReason,
    ScsiResponse,
    bidirectional_read_length,
    extended_cdb,
)
from support.cdb import TEST_UNIT_READY, data, inquiry, read_10, write_10
from support.fixtures import MakeWorld
from support.world import LUN, Scripted, World, only, reject_of


@pytest.mark.conformance("CMD-001", "PDU-012")
@pytest.mark.parametrize("read", [0, 1])
def test_a_command_without_f_announces_data_it_cannot_have(world: World, read: int) -> None:
    host = world.host()
    assert host.say(host.make.scsi_command(lun=LUN, final=0, read=read)) == []
    assert host.closed
    assert len(world.sessions) == 0


@pytest.mark.conformance("CMD-002", "RJT-002")
def test_an_expected_length_needs_a_direction(world: World) -> None:
    host = world.host()
    bad = host.make.scsi_command(lun=LUN, expected_data_transfer_length=512, cdb=inquiry())
    assert reject_of(host.say(bad)).reason == RejectReason.INVALID_PDU_FIELD


@pytest.mark.conformance("CMD-002")
@pytest.mark.parametrize("flags", [{"read": 1}, {"write": 1}, {}])
def test_a_direction_needs_no_length(world: World, flags: dict[str, int]) -> None:
    host = world.host()
    assert only(host.say(host.make.scsi_command(lun=LUN, **flags)), ScsiResponse).status == 0


@pytest.mark.conformance("CMD-003", "RJT-002")
@pytest.mark.parametrize("ahs", [b"", bidirectional_read_length(512).to_bytes()])
def test_bidirectional_commands_are_rejected(world: World, ahs: bytes) -> None:
    host = world.host()
    command = host.make.scsi_command(lun=LUN, read=1, write=1, expected_data_transfer_length=512)
    reject = reject_of(host.say(command, b"", ahs))
    assert reject.reason == RejectReason.INVALID_PDU_FIELD
    assert reject.data_segment_length == BHS_LENGTH + len(ahs)


@pytest.mark.conformance("CMD-004")
@pytest.mark.parametrize("attr", range(5))
def test_every_task_attribute_is_taken(world: World, attr: int) -> None:
    host = world.host()
    assert host.scsi(LUN, TEST_UNIT_READY, attr=attr).status == 0


@pytest.mark.conformance("CMD-004", "PDU-003")
@pytest.mark.parametrize("attr", [5, 6, 7])
def test_reserved_task_attributes_are_a_protocol_error(world: World, attr: int) -> None:
    host = world.host()
    command = host.make.scsi_command(lun=LUN, attr=attr)
    assert reject_of(host.say(command)).reason == RejectReason.PROTOCOL_ERROR


@pytest.mark.conformance("CMD-005", "PDU-002")
@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("write", [False, True])
def test_reserved_bits_and_the_priority_change_nothing(
    make_world: MakeWorld, write: bool, fast: bool
) -> None:
    world = make_world(fast=fast)
    world.store.pattern()
    host = world.host()
    if write:
        command = host.make.scsi_command(
            lun=LUN, write=1, expected_data_transfer_length=512, cdb=write_10(0, 1).ljust(16, b"\xff")
        )
    else:
        command = host.make.scsi_command(
            lun=LUN, read=1, expected_data_transfer_length=512, cdb=read_10(0, 1).ljust(16, b"\xff")
        )
    content = data(512) if write else b""
    command.data_segment_length = len(content)
    header = bytearray(command.to_bytes())
    header[0] |= 0x80
    header[1] |= 0x18
    header[2:4] = b"\xff\xff"
    host.machine.cmd_sn += 1
    host.machine.inject(host.make.nop_out(immediate=1, itt=command.itt))  # answers to this tag are welcome
    host.run()
    ((answer, _),) = host.send_bytes(bytes(header) + content)
    assert isinstance(answer, ScsiResponse if write else DataIn)
    assert answer.status == 0


@pytest.mark.conformance("PDU-002")
def test_reserved_bits_of_all_other_requests_change_nothing(world: World) -> None:
    host = world.host()
    for kind, at in (
        ("nop_out", [(0, 0x80), (1, 0x7F), (2, 0xFF), (3, 0xFF), (32, 0xFF), (47, 0xFF)]),
        ("text_request", [(0, 0x80), (1, 0x3F), (2, 0xFF), (3, 0xFF), (32, 0xFF), (47, 0xFF)]),
        ("task_management_request", [(0, 0x80), (2, 0xFF), (3, 0xFF), (40, 0xFF), (47, 0xFF)]),
        ("logout_request", [(0, 0x80), (2, 0xFF), (3, 0xFF), (8, 0xFF), (22, 0xFF), (32, 0xFF)]),
    ):
        request = getattr(host.make, kind)(immediate=1)
        reference = host.make.nop_out(immediate=1, itt=request.itt)
        host.say(reference)  # answers to this tag are welcome
        header = bytearray(request.to_bytes())
        for byte, bits in at:
            header[byte] |= bits
        ((answer, _),) = host.send_bytes(bytes(header))
        assert answer.opcode == request.opcode + 0x20, kind
        assert not isinstance(answer, Reject)


@pytest.mark.conformance("CMD-006", "PDU-007", "PDU-016", "PDU-017")
@pytest.mark.parametrize("length", [17, 20, 32, 260])
def test_a_long_cdb_comes_whole_to_who_carries_it_out(make_world: MakeWorld, length: int) -> None:
    commands = Scripted(lambda task: transfer.respond(task, 0))
    host = make_world(commands=commands).host()
    cdb = bytes(range(1, 100)) * 3
    host.scsi(LUN, cdb[:length])
    assert commands.started[0].cdb == cdb[:length]


@pytest.mark.conformance("PDU-016", "PDU-019", "RJT-001", "RJT-006")
@pytest.mark.parametrize(
    "ahs",
    [
        Ahs(0x3F, 0, b"abcd").to_bytes(),
        b"\x00\x40\x01\x00" + bytes(4),
        b"\x00\x01\x01\x00",
        b"\x00\x00\x01\x00",
        extended_cdb(bytes(20)).to_bytes() + b"\xff\xff\x01\x00",
        b"\xff\xff\x01\x00" + bytes(1016),
    ],
    ids=[
        "unknown type",
        "past its end",
        "too short",
        "empty",
        "second one past the end",
        "as long as can be",
    ],
)
def test_a_bad_additional_header_is_rejected_with_all_of_it(world: World, ahs: bytes) -> None:
    host = world.host()
    command = host.make.scsi_command(lun=LUN)
    answers = host.say(command, b"", ahs)
    assert reject_of(answers).reason == RejectReason.INVALID_PDU_FIELD
    assert answers[0][1][BHS_LENGTH:] == ahs
    assert host.session.exp_cmd_sn == command.cmd_sn
    only(host.say(host.make.scsi_command(lun=LUN, cmd_sn=command.cmd_sn)), ScsiResponse)


@pytest.mark.conformance("PDU-010", "RJT-001")
def test_a_reject_keeps_to_the_initiators_segment_length(world: World) -> None:
    host = world.host(keys={"MaxRecvDataSegmentLength": "512"})
    answers = host.say(host.make.scsi_command(lun=LUN), b"", b"\xff\xff\x01\x00" + bytes(1016))
    assert reject_of(answers).data_segment_length <= 512


@pytest.mark.conformance("PDU-005", "PDU-006", "PDU-004", "RJT-002")
@pytest.mark.parametrize("opcode", [0x07, 0x0F, 0x1C, 0x20, 0x21, 0x25, 0x26, 0x2F, 0x31, 0x32, 0x3F])
def test_an_opcode_no_initiator_has_is_rejected_and_the_connection_stays(world: World, opcode: int) -> None:
    host = world.host()
    header = bytearray(host.make.nop_out(immediate=1).to_bytes())
    header[0] = opcode | 0x40
    answers = host.send_bytes(bytes(header))
    assert reject_of(answers).reason == RejectReason.COMMAND_NOT_SUPPORTED
    assert answers[0][1] == header
    only(host.say(host.make.nop_out(immediate=1)), NopIn)


@pytest.mark.conformance("LGN-003", "RJT-002")
def test_a_second_login_is_a_protocol_error(world: World) -> None:
    host = world.host()
    assert reject_of(host.say(host.make.login_request())).reason == RejectReason.PROTOCOL_ERROR


@pytest.mark.conformance("ERL-002", "RJT-002", "PDU-003")
@pytest.mark.parametrize("kind", [0, 1, 2, 3, 4, 15])
def test_snack_is_rejected_at_error_recovery_level_0(world: World, kind: int) -> None:
    host = world.host()
    answers = host.say(host.make.snack_request(type=kind))
    assert reject_of(answers).reason == RejectReason.SNACK_REJECT
    assert host.scsi(LUN, TEST_UNIT_READY).status == 0


@pytest.mark.conformance("RJT-001", "RJT-007", "RJT-008")
def test_a_reject_shows_the_header_and_nothing_else(world: World) -> None:
    host = world.host()
    bad = host.make.scsi_command(lun=LUN, attr=7, write=1, expected_data_transfer_length=512)
    answers = host.say(bad, data(512))
    reject = reject_of(answers)
    assert answers[0][1] == bad.to_bytes()
    assert (reject.final, reject.data_sn, reject.itt) == (1, 0, 0xFFFFFFFF)


@pytest.mark.conformance("RJT-004", "RJT-003")
def test_a_rejected_command_gets_no_response(world: World) -> None:
    host = world.host()
    host.say(host.make.scsi_command(lun=LUN, attr=7))
    host.say(host.make.nop_out(immediate=1))
    reject, nop = (pdu for pdu, _ in host.seen[-2:])
    assert isinstance(reject, Reject)
    assert isinstance(nop, NopIn)


@pytest.mark.conformance("SEC-011", "RSP-002")
def test_a_store_that_breaks_ends_the_command_and_nothing_else(world: World) -> None:
    host = world.host()
    world.store.crash = ValueError("a bug of the store")
    for how in ("at once", "in a lane"):
        world.store.at_once = how == "at once"
        for cdb, to in (
            (read_10(0, 1), {"read_length": 512}),
            (write_10(0, 1), {"data_out": data(512)}),
        ):
            done = host.scsi(LUN, cdb, **to)
            assert (done.status, done.sense[2], *done.sense[12:14]) == (2, 0x4, 0x44, 0x00)
    world.store.crash = None
    world.store.at_once = True
    assert host.scsi(LUN, write_10(0, 1), data_out=data(512)).status == 0


@pytest.mark.conformance("SEC-011", "SEC-010")
def test_an_error_of_our_own_ends_that_session_and_no_other(make_world: MakeWorld) -> None:
    def start(task: object) -> None:
        raise KeyError("a bug of ours")

    world = make_world(commands=Scripted(start))
    host, other = world.host(), world.host(isid=0x800000000002)
    assert host.say(host.make.scsi_command(lun=LUN)) == []
    assert host.closed
    assert not other.closed
    only(other.say(other.make.nop_out(immediate=1)), NopIn)
