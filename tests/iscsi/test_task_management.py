"""Task management functions: what they end, what they leave alone, what they answer (RFC 7143 11.5, 11.6)."""

from __future__ import annotations

from typing import Any

import pytest

from mpxtarget.pdu import (
    NO_TAG,
    DataIn,
    NopIn,
    Reject,
    RejectReason,
    ScsiResponse,
    TaskManagementRequest,
    TaskManagementResponse,
    TmfFunction,
    TmfResponse,
    serial_add,
)
from mpxtarget.scsi.codes import Asc
from mpxtarget.testing import CommandAborted
from support.cdb import SYNCHRONIZE_CACHE, TEST_UNIT_READY, data, read_10, write_10
from support.world import HOST, LUN, OTHER_HOST, OTHER_LUN, OTHER_TARGET, Host, World, calm, only, reject_of

COMPLETE, NO_TASK, NO_LUN = 0, 1, 2
SOLICITED = {"InitialR2T": "Yes", "ImmediateData": "No"}


def pending(host: Host, lun: int = LUN, lba: int = 0) -> int:
    """A read that waits in its lane."""
    itt = host.command(lun, read_10(lba, 1), read_length=512)
    assert not host.ended(itt)
    return itt


def stuck(world: World) -> None:
    """From now on both disks answer nothing."""
    world.store.close_gate()
    world.other_store.close_gate()


def abort(host: Host, **changes: int) -> TaskManagementResponse:
    """The answer to an immediate ABORT TASK, which comes before anything it sets free."""
    request = host.make.task_management_request(**{"function": TmfFunction.ABORT_TASK, "lun": LUN} | changes)
    answer, content = host.say(request)[0]
    assert isinstance(answer, TaskManagementResponse)
    assert content == b""
    return answer


def attention(host: Host, lun: int) -> tuple[int, int]:
    """ASC and ASCQ of the unit attention that TEST UNIT READY meets; (0, 0) for none."""
    done = host.scsi(lun, TEST_UNIT_READY)
    if done.status == 0:
        return 0, 0
    assert done.sense[2] == 0x6
    return done.sense[12], done.sense[13]


# ABORT TASK


@pytest.mark.conformance("TMF-001", "TMF-002", "TMF-023", "RSP-007")
def test_aborting_a_live_task_ends_it_without_a_response(world: World) -> None:
    stuck(world)
    host = world.host()
    itt, other = pending(host), pending(host, lba=1)
    assert host.tmf(TmfFunction.ABORT_TASK, referenced=itt) == COMPLETE
    assert list(host.session.tasks) == [other]
    world.store.open_gate()
    world.settle()
    assert not host.ended(itt)
    assert host.ended(other)
    assert host.session.outstanding == 0


@pytest.mark.conformance("TMF-002", "WRT-015")
def test_a_task_may_be_aborted_while_its_data_is_due(world: World) -> None:
    host = world.host(keys=SOLICITED)
    host.machine.hold_r2ts = True
    itt = host.command(LUN, write_10(0, 1), data_out=data(512))
    assert host.tmf(TmfFunction.ABORT_TASK, referenced=itt) == COMPLETE
    assert host.target.connection.transfers == {}
    assert host.scsi(LUN, TEST_UNIT_READY).status == 0


@pytest.mark.conformance("TMF-004", "TMF-005")
def test_a_task_that_has_its_status_does_not_exist(world: World) -> None:
    host = world.host()
    command = host.make.scsi_command(lun=LUN)
    only(host.say(command), ScsiResponse)
    answer = abort(host, referenced_task_tag=command.itt, ref_cmd_sn=command.cmd_sn)
    assert answer.response == NO_TASK


@pytest.mark.conformance("TMF-003", "CSN-006")
@pytest.mark.parametrize("unsolicited", [False, True])
def test_aborting_a_command_that_never_came_fills_its_gap(world: World, unsolicited: bool) -> None:
    host = world.host()
    hole = host.skip_cmd_sn()
    held = host.make.scsi_command(lun=LUN)
    assert host.say(held) == []
    mark = len(host.seen)
    assert abort(host, referenced_task_tag=0x777, ref_cmd_sn=hole).response == COMPLETE
    assert [pdu.itt for pdu, _ in host.seen[mark:]][1:] == [held.itt], "what waited for it goes on"
    late = host.make.scsi_command(
        lun=LUN,
        itt=0x777,
        cmd_sn=hole,
        final=0,
        write=1,
        expected_data_transfer_length=512,
        cdb=write_10(0, 1),
    )
    assert host.say(late) == [], "it counts as received"
    if unsolicited:
        assert host.say(host.make.data_out(itt=0x777), data(512)) == []
    assert host.session.exp_cmd_sn == serial_add(hole, 2)
    assert not any(world.store.content)


@pytest.mark.conformance("TMF-003")
def test_a_later_gap_is_remembered_and_data_for_it_is_dropped(world: World) -> None:
    host = world.host()
    first, second = host.skip_cmd_sn(), host.skip_cmd_sn()
    last = host.make.scsi_command(lun=LUN)
    assert host.say(last) == []
    assert abort(host, referenced_task_tag=0x777, ref_cmd_sn=second).response == COMPLETE
    assert host.say(host.make.data_out(itt=0x777), data(512)) == []
    assert host.session.exp_cmd_sn == first
    answers = host.say(host.make.scsi_command(lun=LUN, cmd_sn=first))
    assert [pdu.itt for pdu, _ in answers][1:] == [last.itt]


@pytest.mark.conformance("TMF-003", "TMF-009")
def test_aborting_a_command_that_waits_for_its_turn(world: World) -> None:
    host = world.host()
    hole = host.skip_cmd_sn()
    held = host.make.scsi_command(
        lun=LUN, final=0, write=1, expected_data_transfer_length=1024, cdb=write_10(0, 2)
    )
    assert host.say(held, data(512)) == []
    assert abort(host, referenced_task_tag=held.itt, ref_cmd_sn=held.cmd_sn).response == COMPLETE
    assert host.say(host.make.data_out(itt=held.itt, buffer_offset=512), data(512)) == []
    only(host.say(host.make.scsi_command(lun=LUN, cmd_sn=hole)), ScsiResponse)
    assert host.session.exp_cmd_sn == serial_add(hole, 2)
    assert host.session.held == {}
    assert not any(world.store.content)


@pytest.mark.conformance("TMF-003", "TMF-020")
def test_aborting_one_command_never_ends_another_that_waits(world: World) -> None:
    host = world.host()
    hole = host.skip_cmd_sn()
    held = host.make.scsi_command(lun=LUN)
    host.say(held)
    assert abort(host, referenced_task_tag=0x777, ref_cmd_sn=held.cmd_sn).response == NO_TASK
    answers = host.say(host.make.scsi_command(lun=LUN, cmd_sn=hole))
    assert [pdu.itt for pdu, _ in answers][1:] == [held.itt]


@pytest.mark.conformance("TMF-004")
@pytest.mark.parametrize("ahead", [-1, -5, 128, 200, 1 << 31])
def test_aborting_what_cannot_be_on_its_way(world: World, ahead: int) -> None:
    host = world.host(cmd_sn=0xFFFFFFF0)
    due = host.machine.cmd_sn
    assert abort(host, referenced_task_tag=0x777, ref_cmd_sn=serial_add(due, ahead)).response == NO_TASK
    assert host.session.held == {}


@pytest.mark.conformance("TMF-003", "TMF-004")
def test_only_what_was_sent_before_the_abort_can_be_on_its_way(world: World) -> None:
    host = world.host()
    due = host.machine.cmd_sn
    assert abort(host, referenced_task_tag=0x777, ref_cmd_sn=due).response == NO_TASK
    assert abort(host, referenced_task_tag=0x777, ref_cmd_sn=serial_add(due, 1)).response == NO_TASK
    assert host.scsi(LUN, TEST_UNIT_READY).status == 0


@pytest.mark.conformance("TMF-020", "PDU-013")
def test_an_abort_for_another_unit_ends_nothing(world: World) -> None:
    stuck(world)
    host = world.host()
    itt = pending(host)
    assert abort(host, lun=OTHER_LUN, referenced_task_tag=itt).response == NO_TASK
    assert itt in host.session.tasks


@pytest.mark.conformance("TMF-007", "TMF-013")
def test_status_comes_before_the_answer_to_its_abort_or_never(world: World) -> None:
    host = world.host()
    for at_once in (True, False):
        world.store.at_once = at_once
        itts = [host.machine.command(LUN, read_10(lba, 1), read_length=512) for lba in range(8)]
        for itt in itts:
            host.machine.task_management(TmfFunction.ABORT_TASK, referenced=itt)
        host.run()
        world.settle()  # the host itself complains about status for a task it knows to be aborted
        aborted = {event.itt for event in host.of(CommandAborted)}
        assert all(host.ended(itt) != (itt in aborted) for itt in itts)


@pytest.mark.conformance("TMF-009", "CSN-007")
def test_a_numbered_abort_waits_for_its_turn(world: World) -> None:
    stuck(world)
    host = world.host()
    itt = pending(host)
    hole = host.skip_cmd_sn()
    request = host.make.task_management_request(
        immediate=0, function=TmfFunction.ABORT_TASK, lun=LUN, referenced_task_tag=itt
    )
    assert host.say(request) == []
    assert itt in host.session.tasks
    answers = host.say(host.make.nop_out(cmd_sn=hole))
    assert [type(pdu) for pdu, _ in answers] == [NopIn, TaskManagementResponse]
    assert host.session.tasks == {}


# functions for many tasks


@pytest.mark.conformance("TMF-010", "TMF-020", "TMF-014")
def test_abort_task_set_ends_the_issuers_tasks_on_that_unit(world: World) -> None:
    stuck(world)
    host, other = world.host(), world.host(initiator=OTHER_HOST)
    own, elsewhere, foreign = pending(host), pending(host, OTHER_LUN), pending(other)
    assert host.tmf(TmfFunction.ABORT_TASK_SET, lun=LUN) == COMPLETE
    assert (list(host.session.tasks), list(other.session.tasks)) == ([elsewhere], [foreign])
    world.store.open_gate()
    world.other_store.open_gate()
    world.settle()
    assert (host.ended(own), host.ended(elsewhere), other.ended(foreign)) == (False, True, True)
    assert attention(other, LUN) == attention(host, LUN) == (0, 0)


@pytest.mark.conformance("TMF-010", "TMF-014", "TMF-020")
def test_clear_task_set_ends_everybodys_tasks_on_that_unit_and_tells_the_others(world: World) -> None:
    stuck(world)
    host, other, idle = world.host(), world.host(initiator=OTHER_HOST), world.host(isid=0x800000000002)
    own, foreign, elsewhere = pending(host), pending(other), pending(other, OTHER_LUN)
    assert host.tmf(TmfFunction.CLEAR_TASK_SET, lun=LUN) == COMPLETE
    world.store.open_gate()
    world.other_store.open_gate()
    world.settle()
    assert (host.ended(own), other.ended(foreign), other.ended(elsewhere)) == (False, False, True)
    assert attention(other, LUN) == (0x2F, 0x00)
    assert attention(host, LUN) == attention(idle, LUN) == attention(other, OTHER_LUN) == (0, 0)


@pytest.mark.conformance("TMF-010", "TMF-014", "TMF-015", "TMF-020", "TMF-024")
def test_a_unit_reset_ends_all_its_tasks_and_every_nexus_learns_of_it(world: World) -> None:
    stuck(world)
    host, other = world.host(), world.host(initiator=OTHER_HOST)
    foreign, elsewhere = pending(other), pending(other, OTHER_LUN)
    assert host.tmf(TmfFunction.LOGICAL_UNIT_RESET, lun=LUN) == COMPLETE
    world.store.open_gate()
    world.other_store.open_gate()
    world.settle()
    assert (other.ended(foreign), other.ended(elsewhere)) == (False, True)
    for each in (host, other):
        assert attention(each, LUN) == (0x29, 0x03)
        assert attention(each, OTHER_LUN) == (0, 0)


@pytest.mark.conformance("TMF-010", "TMF-014", "TMF-024")
def test_a_warm_reset_ends_the_tasks_of_every_unit_the_issuer_sees(world: World) -> None:
    stuck(world)
    host, other = world.host(), world.host(initiator=OTHER_HOST)
    tasks = [pending(each, lun) for each in (host, other) for lun in (LUN, OTHER_LUN)]
    assert host.tmf(TmfFunction.TARGET_WARM_RESET) == COMPLETE
    assert host.session.tasks == other.session.tasks == {}
    assert len(tasks) == 4
    world.store.open_gate()
    world.other_store.open_gate()
    world.settle()
    for each in (host, other):
        assert [attention(each, lun) for lun in (LUN, OTHER_LUN)] == [(0x29, 0x02)] * 2


@pytest.mark.conformance("TMF-009")
@pytest.mark.parametrize(
    "function",
    [
        TmfFunction.ABORT_TASK_SET,
        TmfFunction.CLEAR_TASK_SET,
        TmfFunction.LOGICAL_UNIT_RESET,
        TmfFunction.TARGET_WARM_RESET,
    ],
)
def test_commands_that_wait_for_their_turn_are_ended_too(world: World, function: int) -> None:
    host = world.host()
    hole = host.skip_cmd_sn()
    held = host.make.scsi_command(lun=LUN, write=1, expected_data_transfer_length=512, cdb=write_10(0, 1))
    elsewhere = host.make.scsi_command(lun=OTHER_LUN, cmd_sn=serial_add(hole, 2))
    later = host.make.scsi_command(lun=LUN, cmd_sn=serial_add(hole, 3))
    assert host.say(held, data(512)) == []
    assert host.say(elsewhere) == []
    host.machine.cmd_sn = serial_add(hole, 3)
    request = host.make.task_management_request(function=function, lun=LUN)
    assert only(host.say(request), TaskManagementResponse).response == COMPLETE
    assert host.say(later) == []
    calm(host.session.nexus)
    answers = host.say(host.make.scsi_command(lun=LUN, cmd_sn=hole))
    everything = function == TmfFunction.TARGET_WARM_RESET
    assert [pdu.itt for pdu, _ in answers][1:] == ([] if everything else [elsewhere.itt]) + [later.itt]
    assert not any(world.store.content)


@pytest.mark.conformance("TMF-016")
@pytest.mark.parametrize(
    "function", [TmfFunction.ABORT_TASK_SET, TmfFunction.CLEAR_TASK_SET, TmfFunction.LOGICAL_UNIT_RESET]
)
def test_a_function_for_a_unit_that_is_not_there(world: World, function: int) -> None:
    assert world.host().tmf(function, lun=9) == NO_LUN


@pytest.mark.conformance("TMF-020")
def test_a_unit_is_reset_by_either_form_of_its_lun(world: World) -> None:
    stuck(world)
    host = world.host()
    pending(host)
    request = host.make.task_management_request(lun=(0x4000 | LUN) << 48)
    assert only(host.say(request), TaskManagementResponse).response == COMPLETE
    assert host.session.tasks == {}


# functions that are not offered


@pytest.mark.conformance("TMF-019", "TMF-022", "S44-006", "TMF-001")
@pytest.mark.parametrize("function", [0, TmfFunction.CLEAR_ACA, 9, 10, 11, 12, 13, 64, 127])
def test_a_function_that_is_not_offered_is_answered_not_rejected(world: World, function: int) -> None:
    stuck(world)
    host = world.host()
    itt = pending(host)
    assert host.tmf(function, lun=LUN) == TmfResponse.FUNCTION_NOT_SUPPORTED
    assert list(host.session.tasks) == [itt]


@pytest.mark.conformance("TMF-018")
def test_no_reassignment_below_error_recovery_level_2(world: World) -> None:
    stuck(world)
    host = world.host()
    itt = pending(host)
    answer = host.tmf(TmfFunction.TASK_REASSIGN, lun=LUN, referenced=itt)
    assert answer == TmfResponse.REASSIGNMENT_NOT_SUPPORTED
    assert itt in host.session.tasks


@pytest.mark.conformance("TMF-017", "UAT-001")
def test_a_cold_reset_is_answered_and_ends_all_sessions_of_the_target(world: World) -> None:
    stuck(world)
    host, other = world.host(), world.host(initiator=OTHER_HOST)
    elsewhere = world.host(target=OTHER_TARGET, isid=0x800000000003)
    itt, foreign = pending(host), pending(other)
    assert host.tmf(TmfFunction.TARGET_COLD_RESET) == COMPLETE
    assert host.closed and other.closed and not elsewhere.closed
    assert [session.target for session in world.sessions] == [OTHER_TARGET]
    assert not host.ended(itt) and not other.ended(foreign)
    assert list(elsewhere.itl.attentions) == [Asc.POWER_ON_OCCURRED]
    for name in (HOST, OTHER_HOST):
        again = world.host(initiator=name, attentions=True)
        assert list(again.itl.attentions) == [Asc.POWER_ON_RESET_OR_BUS_DEVICE_RESET_OCCURRED]


@pytest.mark.conformance("TMF-017", "RSV-003")
def test_a_cold_reset_by_one_path_ends_a_reserve_by_another(world: World) -> None:
    host, other = world.host(), world.host(initiator=OTHER_HOST, target=OTHER_TARGET)
    assert host.scsi(LUN, bytes([0x16, 0, 0, 0, 0, 0])).status == 0
    assert other.tmf(TmfFunction.TARGET_COLD_RESET) == COMPLETE
    assert not host.closed and other.closed
    assert world.disk.reserved_by is None


# stuck I/O


@pytest.mark.conformance("TMF-023", "TMF-002")
@pytest.mark.parametrize("cdb", ["read", "write", "flush"])
def test_io_that_hangs_can_be_aborted_and_its_late_end_changes_nothing(world: World, cdb: str) -> None:
    stuck(world)
    host = world.host()
    ways: dict[str, dict[str, Any]] = {
        "read": {"cdb": read_10(0, 8), "read_length": 4096},
        "write": {"cdb": write_10(0, 8), "data_out": data(4096)},
        "flush": {"cdb": SYNCHRONIZE_CACHE},
    }
    itt = host.command(LUN, **ways[cdb])
    assert host.tmf(TmfFunction.ABORT_TASK, referenced=itt) == COMPLETE
    only(host.say(host.make.scsi_command(lun=LUN, itt=itt)), ScsiResponse)  # the tag is free again
    mark = len(host.seen)
    world.store.open_gate()
    world.settle()
    assert host.seen[mark:] == []
    assert not host.pdus(DataIn)


@pytest.mark.conformance("TMF-002")
def test_an_aborted_write_that_still_waits_is_never_carried_out(world: World) -> None:
    world.store.close_gate()
    gate = world.store.gate
    assert gate is not None
    host = world.host()
    host.command(LUN, write_10(0, 1), data_out=data(512, seed=1))
    second = host.command(LUN, write_10(0, 1), data_out=data(512, seed=2))  # waits for the first
    gate.arrived(1)
    assert host.tmf(TmfFunction.ABORT_TASK, referenced=second) == COMPLETE
    world.store.open_gate()
    world.settle()
    assert world.store.content[:512] == data(512, seed=1)


@pytest.mark.conformance("DSC-002")
def test_a_discovery_session_has_no_tasks_to_manage(world: World) -> None:
    host = world.discovery()
    request: TaskManagementRequest = host.make.task_management_request()
    assert reject_of(host.say(request)).reason == RejectReason.PROTOCOL_ERROR
    assert isinstance(host.seen[-1][0], Reject)
    assert request.referenced_task_tag == NO_TAG
