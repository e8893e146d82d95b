"""Logout: reasons, answers, and what ends with the session (RFC 7143 11.14, 11.15)."""

from __future__ import annotations

import pytest

from mpxtarget.pdu import LogoutReason, LogoutResponse, RejectReason, ScsiResponse, serial_add
from mpxtarget.testing import LoggedOut
from support.cdb import TEST_UNIT_READY, data, read_10, write_10
from support.world import LUN, Host, World, only, reject_of


def log_out(host: Host, reason: int = LogoutReason.CLOSE_SESSION, **how: int) -> int:
    """The response to a logout."""
    host.machine.logout(reason, **how)
    host.run()
    return host.of(LoggedOut)[-1].response


@pytest.mark.conformance("LGO-001", "LGO-002", "LGO-005", "LGO-006", "LGO-008", "SES-008")
@pytest.mark.parametrize("reason", [LogoutReason.CLOSE_SESSION, LogoutReason.CLOSE_CONNECTION])
def test_logout_ends_the_session(world: World, reason: int) -> None:
    host = world.host()
    nexus = host.session.nexus
    assert log_out(host, reason) == 0
    assert host.closed
    assert len(world.sessions) == 0
    assert world.lost_nexuses == [nexus]
    answer, content = host.seen[-1]
    assert isinstance(answer, LogoutResponse)
    assert (answer.time2wait, answer.time2retain, content) == (0, 0, b"")


@pytest.mark.conformance("LGO-001", "RSP-007", "LGO-007")
def test_tasks_end_with_it_and_without_an_answer(world: World) -> None:
    world.store.close_gate()
    host = world.host()
    for lba in range(3):
        host.command(LUN, read_10(lba, 1), read_length=512)
    host.command(LUN, write_10(8, 1), data_out=data(512))
    assert log_out(host) == 0
    world.store.open_gate()
    world.settle()
    assert isinstance(host.seen[-1][0], LogoutResponse)
    assert host.pdus(ScsiResponse) == []


@pytest.mark.conformance("LGO-007", "CSN-005")
def test_a_numbered_logout_waits_for_the_commands_before_it(world: World) -> None:
    host = world.host()
    hole = host.skip_cmd_sn()
    assert host.say(host.make.logout_request(immediate=0)) == []
    assert not host.closed
    answers = host.say(host.make.scsi_command(lun=LUN, cmd_sn=hole))
    assert [type(pdu) for pdu, _ in answers] == [ScsiResponse, LogoutResponse]
    assert host.closed


@pytest.mark.conformance("LGO-005", "LGO-001")
def test_nothing_is_taken_after_a_logout(world: World) -> None:
    host = world.host()
    command = host.make.scsi_command(lun=LUN)
    host.machine.inject(host.make.logout_request())
    host.machine.inject(command)
    host.run()
    assert isinstance(host.seen[-1][0], LogoutResponse)
    assert host.closed


@pytest.mark.conformance("LGO-003")
def test_a_connection_that_is_not_there(world: World) -> None:
    host = world.host()
    assert log_out(host, LogoutReason.CLOSE_CONNECTION, cid=77) == 1
    assert not host.closed
    assert host.scsi(LUN, TEST_UNIT_READY).status == 0


@pytest.mark.conformance("LGO-004")
@pytest.mark.parametrize("cid", [1, 77])
def test_no_recovery_below_error_recovery_level_2(world: World, cid: int) -> None:
    host = world.host()
    assert log_out(host, LogoutReason.REMOVE_CONNECTION_FOR_RECOVERY, cid=cid) == 2
    assert host.scsi(LUN, TEST_UNIT_READY).status == 0


@pytest.mark.conformance("PDU-003", "RJT-002", "RJT-006")
@pytest.mark.parametrize("reason", [3, 64, 127])
def test_a_reserved_reason_is_a_protocol_error(world: World, reason: int) -> None:
    host = world.host()
    request = host.make.logout_request(immediate=0, reason=reason)
    assert reject_of(host.say(request)).reason == RejectReason.PROTOCOL_ERROR
    assert host.session.exp_cmd_sn == request.cmd_sn
    assert not host.closed


@pytest.mark.conformance("LGO-001", "DSC-002")
def test_a_discovery_session_logs_out(world: World) -> None:
    host = world.discovery()
    assert log_out(host) == 0
    assert host.closed
    assert len(world.sessions) == 0


@pytest.mark.conformance("LGO-010", "PDU-022", "SES-009")
def test_a_part_of_a_pdu_at_the_end_has_no_effect(world: World) -> None:
    host = world.host()
    command = host.make.scsi_command(lun=LUN, write=1, expected_data_transfer_length=512, cdb=write_10(0, 1))
    command.data_segment_length = 512
    assert host.send_bytes(command.to_bytes() + data(511)) == []
    host.target.hang_up()
    assert not any(world.store.content)
    assert len(world.sessions) == 0
    assert world.lost_nexuses


@pytest.mark.conformance("LGO-001", "CSN-008")
def test_an_immediate_logout_does_not_wait_for_a_gap(world: World) -> None:
    host = world.host()
    due = host.skip_cmd_sn()
    host.say(host.make.scsi_command(lun=LUN))
    answer = only(host.say(host.make.logout_request()), LogoutResponse)
    assert answer.exp_cmd_sn == due == serial_add(host.machine.cmd_sn, -2)
    assert host.closed
