"""CmdSN, ExpCmdSN and MaxCmdSN: the command window of a session (RFC 7143 4.2.2.1)."""

from __future__ import annotations

from typing import cast

import pytest

from mpxtarget.pdu import (
    NO_TAG,
    DataIn,
    DataOut,
    NopIn,
    Pdu,
    Reject,
    RejectReason,
    ScsiResponse,
    TaskManagementResponse,
    TextResponse,
    TmfFunction,
    encode_pairs,
    serial_add,
)
from support.cdb import TEST_UNIT_READY, data, read_10, write_10
from support.fixtures import MakeWorld
from support.world import LUN, OTHER_LUN, Host, World, only, reject_of

CLOSE_TO_THE_WRAP = 0xFFFFFFF0
READ_ONE = {"read": 1, "expected_data_transfer_length": 512}


def ping_is_answered(host: Host) -> NopIn:
    """The connection lives, and all it had to say before has come; the NOP-In shows the numbers."""
    return only(host.say(host.make.nop_out(immediate=1)), NopIn)


def numbers_of(pdu: Pdu) -> tuple[int, int]:
    """ExpCmdSN and MaxCmdSN of any answer."""
    numbered = cast(NopIn, pdu)
    return numbered.exp_cmd_sn, numbered.max_cmd_sn


@pytest.mark.conformance("CSN-001", "LGN-025")
def test_the_numbers_wrap_around_without_anybody_noticing(world: World) -> None:
    host = world.host(cmd_sn=CLOSE_TO_THE_WRAP)
    for _ in range(64):
        assert host.scsi(LUN, TEST_UNIT_READY).status == 0
    assert host.session.exp_cmd_sn == serial_add(CLOSE_TO_THE_WRAP, 64)
    assert host.machine.exp_cmd_sn == serial_add(CLOSE_TO_THE_WRAP, 64)


@pytest.mark.conformance("CSN-001", "CSN-003")
@pytest.mark.parametrize("ahead", [128, 129, 1 << 20, (1 << 31) - 1, 1 << 31, (1 << 32) - 2])
def test_a_command_outside_the_window_is_ignored_across_the_wrap(world: World, ahead: int) -> None:
    host = world.host(cmd_sn=CLOSE_TO_THE_WRAP)
    outside = host.make.scsi_command(lun=LUN, cmd_sn=serial_add(CLOSE_TO_THE_WRAP, ahead))
    assert host.say(outside) == []
    assert not host.closed
    assert host.scsi(LUN, TEST_UNIT_READY).status == 0


@pytest.mark.conformance("CSN-003")
@pytest.mark.parametrize("kind", ["scsi_command", "nop_out", "text_request", "logout_request"])
def test_every_numbered_request_outside_the_window_is_ignored(world: World, kind: str) -> None:
    host = world.host()
    outside = getattr(host.make, kind)(immediate=0, cmd_sn=serial_add(host.machine.cmd_sn, -1))
    assert host.say(outside) == []
    assert not host.closed
    ping_is_answered(host)


@pytest.mark.conformance("CSN-004")
def test_a_duplicate_of_a_command_that_is_done_is_ignored(world: World) -> None:
    host = world.host()
    command = host.make.scsi_command(lun=LUN)
    only(host.say(command), ScsiResponse)
    assert host.say(command) == []
    ping_is_answered(host)


@pytest.mark.conformance("CSN-004", "CSN-005")
def test_of_two_early_commands_with_one_number_the_first_counts(world: World) -> None:
    host = world.host()
    hole = host.skip_cmd_sn()
    first = host.make.scsi_command(lun=LUN)
    second = host.make.scsi_command(lun=LUN, cmd_sn=first.cmd_sn)
    assert host.say(first) == []
    assert host.say(second) == []
    host.say(host.make.scsi_command(lun=LUN, cmd_sn=hole))
    assert [pdu.itt for pdu in host.pdus(ScsiResponse)][-1] == first.itt
    assert second.itt not in [pdu.itt for pdu in host.pdus(ScsiResponse)]


@pytest.mark.conformance("CSN-005", "CSN-006", "CSN-012")
def test_early_commands_are_held_until_the_hole_is_filled_and_run_in_order(world: World) -> None:
    host = world.host()
    hole = host.skip_cmd_sn()
    early = [host.make.scsi_command(lun=LUN, itt=0x100 + i) for i in range(3)]
    for command in reversed(early):  # they may come in any order themselves
        command.cmd_sn = serial_add(hole, 1 + early.index(command))
        assert host.say(command) == []
    host.machine.cmd_sn = serial_add(hole, 4)
    assert host.session.exp_cmd_sn == hole, "ExpCmdSN must not pass a hole"
    assert ping_is_answered(host).exp_cmd_sn == hole
    answers = host.say(host.make.scsi_command(lun=LUN, itt=0xFF, cmd_sn=hole))
    assert [pdu.itt for pdu, _ in answers] == [0xFF, 0x100, 0x101, 0x102]
    for number, (pdu, _) in enumerate(answers):
        assert isinstance(pdu, ScsiResponse)
        assert pdu.exp_cmd_sn == serial_add(hole, 1 + number)


@pytest.mark.conformance("CSN-005", "WRT-005")
def test_a_held_write_keeps_its_immediate_and_unsolicited_data(world: World) -> None:
    host = world.host(keys={"MaxRecvDataSegmentLength": "8192"})
    content = data(4096)
    hole = host.skip_cmd_sn()
    itt = host.command(LUN, write_10(4, 8), data_out=content)
    write = host.make.scsi_command(
        lun=OTHER_LUN, final=0, write=1, itt=0x777, expected_data_transfer_length=2048, cdb=write_10(0, 4)
    )
    assert host.say(write, content[:512]) == []
    for number, at in enumerate((512, 1024, 1536)):
        out = host.make.data_out(
            itt=0x777, ttt=NO_TAG, data_sn=number, buffer_offset=at, final=int(at == 1536)
        )
        assert host.say(out, content[at : at + 512]) == []
    assert not host.ended(itt)
    host.say(host.make.scsi_command(lun=LUN, cmd_sn=hole))
    assert host.done(itt).status == 0
    assert host.pdus(ScsiResponse, 0x777)[0].status == 0
    assert world.store.content[2048 : 2048 + 4096] == content
    assert world.other_store.content[:2048] == content[:2048]


@pytest.mark.conformance("CSN-007")
def test_an_immediate_command_passes_a_hole_and_takes_no_number(world: World) -> None:
    host = world.host()
    hole = host.skip_cmd_sn()
    held = host.make.scsi_command(lun=LUN)
    assert host.say(held) == []
    answer = only(host.say(host.make.scsi_command(lun=LUN, immediate=1)), ScsiResponse)
    assert answer.exp_cmd_sn == hole
    assert host.say(host.make.scsi_command(lun=LUN, cmd_sn=hole))[1][0].itt == held.itt


@pytest.mark.conformance("CSN-007")
@pytest.mark.parametrize("ahead", [-1, 128, 1 << 31])
def test_an_immediate_command_may_lie_outside_the_window(world: World, ahead: int) -> None:
    host = world.host()
    due = host.machine.cmd_sn
    command = host.make.scsi_command(lun=LUN, immediate=1, cmd_sn=serial_add(due, ahead))
    assert only(host.say(command), ScsiResponse).exp_cmd_sn == due


@pytest.mark.conformance("CSN-008", "NOP-008")
def test_every_numbered_request_consumes_one_number(world: World) -> None:
    host = world.host()
    due = host.machine.cmd_sn
    text = encode_pairs([("SendTargets", "")])
    requests: list[tuple[Pdu, bytes, type[Pdu]]] = [
        (host.make.scsi_command(lun=LUN, cmd_sn=due), b"", ScsiResponse),
        (
            host.make.task_management_request(
                immediate=0, function=TmfFunction.ABORT_TASK_SET, lun=LUN, cmd_sn=serial_add(due, 1)
            ),
            b"",
            TaskManagementResponse,
        ),
        (host.make.text_request(immediate=0, cmd_sn=serial_add(due, 2)), text, TextResponse),
        (host.make.nop_out(cmd_sn=serial_add(due, 3)), b"", NopIn),
    ]
    for number, (request, content, kind) in enumerate(requests):
        answer = only(host.say(request, content), kind)
        assert numbers_of(answer)[0] == serial_add(due, 1 + number)
    host.say(host.make.logout_request(immediate=0, cmd_sn=serial_add(due, 4)))
    assert numbers_of(host.seen[-1][0])[0] == serial_add(due, 5)


@pytest.mark.conformance("CSN-008")
def test_data_out_and_snack_carry_no_number(world: World) -> None:
    host = world.host(keys={"ImmediateData": "No", "InitialR2T": "Yes"})
    due = host.machine.cmd_sn
    assert host.scsi(LUN, write_10(0, 1), data_out=data(512)).status == 0
    host.say(host.make.snack_request())
    assert ping_is_answered(host).exp_cmd_sn == serial_add(due, 1)


@pytest.mark.conformance("CSN-009")
def test_a_nop_out_without_a_tag_consumes_nothing(world: World) -> None:
    host = world.host()
    due = host.machine.cmd_sn
    assert host.say(host.make.nop_out(immediate=1, itt=NO_TAG)) == []
    assert ping_is_answered(host).exp_cmd_sn == due


@pytest.mark.conformance("CSN-009")
def test_a_nop_out_without_a_tag_has_to_be_immediate(world: World) -> None:
    host = world.host()
    assert host.say(host.make.nop_out(immediate=0, itt=NO_TAG)) == []
    assert host.closed


@pytest.mark.conformance("CSN-010", "RJT-002")
def test_immediate_commands_are_limited_and_task_management_still_gets_through(world: World) -> None:
    gate = world.store.close_gate()
    host = world.host()
    for _ in range(32):
        assert host.say(host.make.scsi_command(lun=LUN, immediate=1, cdb=read_10(0, 1), **READ_ONE)) == []
    refused = host.make.scsi_command(lun=LUN, immediate=1, cdb=read_10(0, 1), **READ_ONE)
    assert reject_of(host.say(refused)).reason == RejectReason.IMMEDIATE_COMMAND_REJECT
    assert host.tmf(TmfFunction.ABORT_TASK_SET, lun=LUN) == 0
    ping_is_answered(host)
    gate.open()


@pytest.mark.conformance("CSN-011", "CSN-020")
def test_a_retry_of_a_live_command_is_ignored(world: World) -> None:
    gate = world.store.close_gate()
    host = world.host()
    command = host.make.scsi_command(lun=LUN, cdb=read_10(0, 1), **READ_ONE)
    assert host.say(command) == []
    assert host.say(command) == []
    gate.open()
    world.settle()
    assert len([pdu for pdu, _ in host.seen if pdu.itt == command.itt]) == 1


@pytest.mark.conformance("CSN-019", "RJT-002", "RJT-003", "RJT-006")
@pytest.mark.parametrize("immediate", [0, 1])
def test_a_tag_in_use_cannot_name_another_command(world: World, immediate: int) -> None:
    gate = world.store.close_gate()
    host = world.host()
    command = host.make.scsi_command(lun=LUN, cdb=read_10(0, 1), **READ_ONE)
    assert host.say(command) == []
    due = host.session.exp_cmd_sn
    other = host.make.scsi_command(lun=LUN, itt=command.itt, immediate=immediate)
    assert reject_of(host.say(other)).reason == RejectReason.TASK_IN_PROGRESS
    assert host.session.exp_cmd_sn == due, "a rejected command was not received"
    gate.open()
    world.settle()
    assert host.pdus(DataIn, command.itt)[-1].status_flag, "the live command goes on"


@pytest.mark.conformance("CSN-002", "CSN-013", "CSN-017", "CSN-018", "CSN-021")
def test_the_window_closes_as_commands_wait_and_opens_as_they_end(world: World) -> None:
    gate = world.store.close_gate()
    host = world.host()
    itts = [host.command(LUN, read_10(i, 1), read_length=512) for i in range(140)]
    assert host.session.outstanding == 128
    closed = ping_is_answered(host)
    assert closed.max_cmd_sn == serial_add(closed.exp_cmd_sn, -1)
    gate.open()
    world.settle()
    assert all(host.done(itt).status == 0 for itt in itts), "those that waited were sent when it opened"


@pytest.mark.conformance("CSN-003", "CSN-017")
def test_a_command_beyond_a_closed_window_is_ignored_not_answered_task_set_full(world: World) -> None:
    world.store.close_gate()
    host = world.host()
    for i in range(128):
        host.command(LUN, read_10(i, 1), read_length=512)
    assert host.say(host.make.scsi_command(lun=OTHER_LUN)) == []


@pytest.mark.conformance("CSN-014", "NOP-004")
def test_a_window_that_another_initiator_opened_is_announced(world: World) -> None:
    world.store.close_gate()
    host, other = world.host(), world.host(initiator="iqn.2001-04.com.example:other")
    for i in range(128):
        host.command(LUN, read_10(i, 1), read_length=512)
    shut = ping_is_answered(host)
    assert shut.max_cmd_sn == serial_add(shut.exp_cmd_sn, -1)
    mark = len(host.seen)
    assert other.tmf(TmfFunction.LOGICAL_UNIT_RESET, lun=LUN) == 0
    world.drain()
    host.run()
    nop = only(host.seen[mark:], NopIn)
    assert (nop.itt, nop.ttt) == (NO_TAG, NO_TAG)
    assert nop.max_cmd_sn == serial_add(nop.exp_cmd_sn, 127)


@pytest.mark.conformance("CSN-015")
def test_every_answer_carries_the_numbers_of_its_moment(world: World) -> None:
    gate = world.store.close_gate()
    host = world.host()
    first = host.command(LUN, read_10(0, 1), read_length=512)
    host.command(OTHER_LUN, TEST_UNIT_READY)
    gate.open()
    world.settle()
    assert host.ended(first)
    ends = [numbers_of(pdu) for pdu, _ in host.seen[-2:]]
    base = host.machine.options.cmd_sn
    assert ends == [(base + 2, base + 2 + 126), (base + 2, base + 2 + 127)]


@pytest.mark.conformance("CSN-016", "RJT-006", "DIG-006")
def test_a_rejected_command_leaves_a_hole_that_its_retry_fills(world: World) -> None:
    host = world.host()
    bad = host.make.scsi_command(lun=LUN, attr=6)
    assert reject_of(host.say(bad)).reason == RejectReason.PROTOCOL_ERROR
    host.skip_cmd_sn()
    later = host.make.scsi_command(lun=LUN)
    assert host.say(later) == [], "it waits for the hole"
    good = host.make.scsi_command(lun=LUN, itt=bad.itt, cmd_sn=bad.cmd_sn)
    assert [pdu.itt for pdu, _ in host.say(good)] == [good.itt, later.itt]


@pytest.mark.conformance("CSN-005", "SEC-004")
def test_what_is_held_for_early_commands_is_bounded(make_world: MakeWorld) -> None:
    world = make_world()
    host = world.host(keys={"MaxRecvDataSegmentLength": "8192"})
    host.skip_cmd_sn()
    command = host.make.scsi_command(
        lun=LUN, final=0, write=1, expected_data_transfer_length=4 << 20, cdb=write_10(0, 8192)
    )
    host.say(command)
    for number in range(8):
        out = DataOut(itt=command.itt, data_sn=number, buffer_offset=number << 18)
        host.say(out, bytes(1 << 18))
    assert host.closed
    assert len(world.sessions) == 0


@pytest.mark.conformance("PDU-014", "RJT-006")
@pytest.mark.parametrize(
    "kind", ["scsi_command", "text_request", "task_management_request", "logout_request"]
)
def test_the_reserved_tag_names_no_task(world: World, kind: str) -> None:
    host = world.host()
    answers = host.say(getattr(host.make, kind)(itt=NO_TAG, immediate=0))
    assert reject_of(answers).reason == RejectReason.INVALID_PDU_FIELD
    assert isinstance(answers[0][0], Reject)
    assert host.session.exp_cmd_sn == host.machine.options.cmd_sn


@pytest.mark.conformance("CSN-005", "SEC-004")
def test_what_is_held_for_all_early_commands_together_is_bounded(make_world: MakeWorld) -> None:
    world = make_world()
    host = world.host()
    host.skip_cmd_sn()
    for number in range(16):
        if not host.closed:
            host.command(LUN, write_10(number, 256), data_out=bytes(1 << 17))
            assert sum(held.size for held in host.session.held.values()) <= (1 << 20) + (1 << 17)
    assert host.closed
    assert len(world.sessions) == 0
