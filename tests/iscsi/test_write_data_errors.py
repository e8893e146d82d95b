"""Write data that does not come as it must: too much, too little, out of order, unasked, for the dead."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from typing import Any

import pytest

from mpxtarget.pdu import NO_TAG, R2T, NopIn, Pdu, RejectReason, ScsiCommand, ScsiResponse, TmfFunction
from support.cdb import SYNCHRONIZE_CACHE, TEST_UNIT_READY, data, read_10, write_10
from support.world import LUN, Host, World, only, reject_of

SOLICITED = {"InitialR2T": "Yes", "ImmediateData": "No"}
UNSOLICITED = {"InitialR2T": "No", "ImmediateData": "No"}

UNEXPECTED_UNSOLICITED_DATA = (0x0B, 0x0C, 0x0C)
INCORRECT_AMOUNT_OF_DATA = (0x0B, 0x0C, 0x0D)
PROTOCOL_SERVICE_CRC_ERROR = (0x0B, 0x47, 0x05)


def sense_of(answers: Iterable[tuple[Pdu, bytes]]) -> tuple[int, int, int]:
    """Sense key, ASC and ASCQ of the one answer, a SCSI Response with CHECK CONDITION."""
    ((response, content),) = answers
    assert isinstance(response, ScsiResponse)
    assert response.status == 2
    sense = content[2:]
    return sense[2] & 0x0F, sense[12], sense[13]


def write_command(host: Host, blocks: int, **changes: int) -> ScsiCommand:
    """A WRITE(10) to LBA 0 whose data is still to be sent."""
    fields: dict[str, Any] = {
        "lun": LUN,
        "write": 1,
        "expected_data_transfer_length": blocks * 512,
        "cdb": write_10(0, blocks),
    }
    return host.make.scsi_command(**fields | changes)


def asked(host: Host, blocks: int) -> R2T:
    """The R2T for such a command."""
    return only(host.say(write_command(host, blocks)), R2T)


def out(host: Host, r2t: R2T, offset: int, length: int, **changes: int) -> list[tuple[Pdu, bytes]]:
    """Answer a part of an R2T."""
    pdu = host.make.data_out(**{"itt": r2t.itt, "ttt": r2t.ttt, "buffer_offset": offset} | changes)
    return host.say(pdu, data(4096)[offset : offset + length])


def is_alive(host: Host) -> None:
    """The connection still answers."""
    only(host.say(host.make.nop_out(immediate=1)), NopIn)


# DataSN


@pytest.mark.conformance("WRT-013", "STS-006", "RSP-006")
@pytest.mark.parametrize("numbers", [(0, 0), (27, 28), (NO_TAG, 0), (1, 0), (0, 2)])
def test_a_wrong_data_sn_is_never_good(world: World, numbers: tuple[int, int]) -> None:
    host = world.host(keys=SOLICITED)
    r2t = asked(host, 2)
    assert out(host, r2t, 0, 512, final=0, data_sn=numbers[0]) == []
    answers = out(host, r2t, 512, 512, data_sn=numbers[1])
    assert sense_of(answers) == PROTOCOL_SERVICE_CRC_ERROR
    is_alive(host)


@pytest.mark.conformance("WRT-013", "STS-006")
@pytest.mark.parametrize("numbers", [(0, 0), (1, 2)])
def test_a_wrong_data_sn_in_unsolicited_data_is_never_good(world: World, numbers: tuple[int, int]) -> None:
    host = world.host(keys=UNSOLICITED)
    command = write_command(host, 2, final=0)
    assert host.say(command) == []
    burst = R2T(itt=command.itt, ttt=NO_TAG)
    assert out(host, burst, 0, 512, final=0, data_sn=numbers[0]) == []
    assert sense_of(out(host, burst, 512, 512, data_sn=numbers[1])) == PROTOCOL_SERVICE_CRC_ERROR


@pytest.mark.conformance("WRT-013")
def test_a_lost_data_out_ends_the_session_at_the_gap(world: World) -> None:
    host = world.host(keys=SOLICITED)
    r2t = asked(host, 4)
    assert out(host, r2t, 0, 512, final=0) == []
    assert out(host, r2t, 1024, 512, final=0, data_sn=2) == []
    assert host.closed


@pytest.mark.conformance("STS-006", "WRT-010")
def test_data_sn_starts_anew_in_every_burst(world: World) -> None:
    host = world.host(keys=SOLICITED | {"MaxBurstLength": "1024", "FirstBurstLength": "512"})
    r2t = asked(host, 4)
    assert out(host, r2t, 0, 512, final=0, data_sn=0) == []
    again = only(out(host, r2t, 512, 512, data_sn=1), R2T)
    assert out(host, again, 1024, 512, final=0, data_sn=0) == []
    assert only(out(host, again, 1536, 512, data_sn=1), ScsiResponse).status == 0


# amounts


@pytest.mark.conformance("WRT-011", "RSP-006")
@pytest.mark.parametrize("sent", [0, 4, 512, 1020])
def test_too_little_for_an_r2t_is_the_wrong_amount(world: World, sent: int) -> None:
    host = world.host(keys=SOLICITED)
    assert sense_of(out(host, asked(host, 2), 0, sent)) == INCORRECT_AMOUNT_OF_DATA
    is_alive(host)


@pytest.mark.conformance("WRT-003", "WRT-011", "RSP-006")
@pytest.mark.parametrize("sent", [0, 512, 2047])
def test_too_little_unsolicited_data_is_the_wrong_amount(world: World, sent: int) -> None:
    host = world.host(keys=UNSOLICITED | {"FirstBurstLength": "2048"})
    command = write_command(host, 8, final=0)
    assert host.say(command) == []
    assert sense_of(out(host, R2T(itt=command.itt, ttt=NO_TAG), 0, sent)) == INCORRECT_AMOUNT_OF_DATA


@pytest.mark.conformance("WRT-012", "PDU-012", "RSP-007", "SEC-003")
@pytest.mark.parametrize(
    ("offset", "length"),
    [(0, 1025), (0, 2048), (512, 512), (1024, 512), (1 << 31, 4), (NO_TAG - 3, 8), (NO_TAG, 1)],
    ids=["a byte too much", "twice", "a gap", "behind the end", "far away", "over the edge", "last byte"],
)
def test_data_outside_what_was_asked_for_ends_the_session(world: World, offset: int, length: int) -> None:
    host = world.host(keys=SOLICITED)
    before = world.store.pattern()
    r2t = asked(host, 2)
    pdu = host.make.data_out(itt=r2t.itt, ttt=r2t.ttt, buffer_offset=offset)
    assert host.say(pdu, bytes(length)) == []
    assert host.closed
    assert len(world.sessions) == 0
    assert world.store.content == before


@pytest.mark.conformance("WRT-012")
def test_overlapping_data_ends_the_session(world: World) -> None:
    host = world.host(keys=SOLICITED)
    r2t = asked(host, 2)
    assert out(host, r2t, 0, 512, final=0) == []
    assert out(host, r2t, 256, 512, data_sn=1) == []
    assert host.closed


@pytest.mark.conformance("WRT-002", "WRT-012")
def test_unsolicited_data_beyond_the_first_burst_ends_the_session(world: World) -> None:
    host = world.host(keys=UNSOLICITED | {"FirstBurstLength": "1024"})
    command = write_command(host, 4, final=0)
    host.say(command)
    assert out(host, R2T(itt=command.itt, ttt=NO_TAG), 0, 1028) == []
    assert host.closed
    assert not any(world.store.content[1024:])


# what was not agreed on


@pytest.mark.conformance("CMD-009", "WRT-001", "RSP-006")
def test_unsolicited_data_against_initial_r2t_is_taken_and_refused(world: World) -> None:
    host = world.host(keys=SOLICITED)
    blocks = host.session.parameters.first_burst_length // 512 + 4
    command = write_command(host, blocks, final=0)
    assert host.say(command) == []
    last = blocks // 4 - 1
    for number in range(last + 1):
        pdu = host.make.data_out(
            itt=command.itt, data_sn=number, buffer_offset=2048 * number, final=int(number == last)
        )
        answers = host.say(pdu, data(2048))
        assert (answers == []) == (number < last)
    assert sense_of(answers) == UNEXPECTED_UNSOLICITED_DATA
    assert not any(world.store.content)
    is_alive(host)


@pytest.mark.conformance("CMD-007", "RSP-006")
@pytest.mark.parametrize("final", [0, 1])
def test_immediate_data_against_the_agreement_is_refused(world: World, final: int) -> None:
    host = world.host(keys=UNSOLICITED)
    command = write_command(host, 2, final=final)
    answers = host.say(command, data(512))
    if not final:
        assert answers == [], "the burst it announces has to come first"
        answers = out(host, R2T(itt=command.itt, ttt=NO_TAG), 512, 512)
    assert sense_of(answers) == UNEXPECTED_UNSOLICITED_DATA
    assert not any(world.store.content)


@pytest.mark.conformance("CMD-007", "WRT-002")
def test_immediate_data_beyond_the_first_burst_is_refused(world: World) -> None:
    host = world.host(keys={"FirstBurstLength": "512"})
    assert sense_of(host.say(write_command(host, 2), data(1024))) == UNEXPECTED_UNSOLICITED_DATA
    assert not any(world.store.content)


@pytest.mark.conformance("CMD-007", "PDU-012")
@pytest.mark.parametrize("changes", [{"expected_data_transfer_length": 512}, {"write": 0, "read": 1}])
def test_immediate_data_that_contradicts_its_header_ends_the_session(
    world: World, changes: dict[str, int]
) -> None:
    host = world.host()
    assert host.say(write_command(host, 2, **changes), data(1024)) == []
    assert host.closed


@pytest.mark.conformance("CMD-007", "WRT-013", "RSP-007")
@pytest.mark.parametrize("cdb", [SYNCHRONIZE_CACHE, TEST_UNIT_READY])
def test_a_command_is_answered_once_even_if_its_unused_data_is_wrong(world: World, cdb: bytes) -> None:
    host = world.host(keys=UNSOLICITED)
    gate = world.store.close_gate()
    command = host.make.scsi_command(
        lun=LUN, write=1, expected_data_transfer_length=512, cdb=cdb.ljust(16, b"\0")
    )
    host.say(command, data(512))
    gate.open()
    world.settle()
    answers = host.pdus(ScsiResponse, command.itt)
    assert len(answers) == 1
    if cdb == SYNCHRONIZE_CACHE:
        assert answers[0].status == 2
    assert host.session.outstanding == 0


@pytest.mark.conformance("WRT-013", "WRT-014")
def test_wrong_data_for_a_command_that_waits_for_its_flush_is_not_good(world: World) -> None:
    host = world.host(keys=UNSOLICITED)
    gate = world.store.close_gate()
    command = host.make.scsi_command(
        lun=LUN, write=1, final=0, expected_data_transfer_length=512, cdb=SYNCHRONIZE_CACHE.ljust(16, b"\0")
    )
    assert host.say(command) == []
    assert out(host, R2T(itt=command.itt, ttt=NO_TAG), 0, 512, data_sn=5) == []
    gate.open()
    world.settle()
    (answer,) = host.pdus(ScsiResponse, command.itt)
    assert answer.status == 2


# errors on our side


@pytest.mark.conformance("WRT-014")
@pytest.mark.parametrize("in_lane", [False, True])
def test_a_failed_write_asks_for_no_more_and_waits_for_what_it_asked_for(world: World, in_lane: bool) -> None:
    keys = {"MaxBurstLength": "512", "FirstBurstLength": "512", "MaxOutstandingR2T": "2"}
    host = world.host(keys=SOLICITED | keys)
    if in_lane:
        world.store.at_once = False
    command = write_command(host, 8)
    first, second = (pdu for pdu, _ in host.say(command))
    assert isinstance(first, R2T)
    assert isinstance(second, R2T)
    world.store.write_error = errno.ENOSPC
    out(host, first, 0, 512)
    world.settle()
    # in a lane the error comes when one more R2T is out already
    waiting = [second, *host.pdus(R2T, command.itt)[2:]]
    assert len(waiting) == 1 + in_lane
    assert host.pdus(ScsiResponse, command.itt) == []
    for r2t in waiting:
        out(host, r2t, r2t.buffer_offset, 512)
        world.settle()
    assert len(host.pdus(R2T, command.itt)) == 2 + in_lane, "no further R2T"
    (response,) = host.pdus(ScsiResponse, command.itt)
    assert (response.status, response.underflow, response.residual_count) == (2, 1, 4096)
    is_alive(host)


@pytest.mark.conformance("WRT-014", "RES-009")
def test_a_write_that_fails_with_its_immediate_data_is_answered_at_once(world: World) -> None:
    host = world.host(keys={"InitialR2T": "Yes", "FirstBurstLength": "512"})
    world.store.write_error = errno.EIO
    itt = host.command(LUN, write_10(0, 8), data_out=data(4096))
    done = host.done(itt)
    assert (done.status, done.sense[2], *done.sense[12:14]) == (2, 0x3, 0x0C, 0x00)
    assert host.pdus(R2T, itt) == []
    world.store.write_error = 0
    assert host.scsi(LUN, write_10(0, 8), data_out=data(4096)).status == 0


@pytest.mark.conformance("WRT-014")
def test_a_unit_attention_waits_for_the_announced_data(world: World) -> None:
    host = world.host(keys=UNSOLICITED, attentions=True)
    command = write_command(host, 2, final=0)
    assert host.say(command) == []
    burst = R2T(itt=command.itt, ttt=NO_TAG)
    assert out(host, burst, 0, 512, final=0) == []
    assert sense_of(out(host, burst, 512, 512, data_sn=1)) == (0x06, 0x29, 0x00)
    assert not any(world.store.content)


# data for the dead


@pytest.mark.conformance("WRT-015", "TMF-002")
def test_late_data_of_an_aborted_task_is_dropped_in_silence(world: World) -> None:
    host = world.host(
        keys=SOLICITED | {"MaxOutstandingR2T": "2", "MaxBurstLength": "1024", "FirstBurstLength": "512"}
    )
    command = write_command(host, 4)
    first, second = (pdu for pdu, _ in host.say(command))
    assert isinstance(first, R2T)
    assert isinstance(second, R2T)
    assert out(host, first, 0, 512, final=0) == []
    before = bytes(world.store.content)
    assert host.tmf(TmfFunction.ABORT_TASK, lun=LUN, referenced=command.itt) == 0
    assert out(host, first, 512, 512, data_sn=1) == []
    assert out(host, second, 1024, 512, final=0) == []
    assert out(host, second, 1536, 512, data_sn=1) == []
    assert world.store.content == before
    assert reject_of(out(host, second, 1024, 512)).reason == RejectReason.INVALID_PDU_FIELD, (
        "its burst is over"
    )
    assert host.pdus(ScsiResponse, command.itt) == []


@pytest.mark.conformance("WRT-015", "TMF-003")
@pytest.mark.parametrize("first", ["the abort", "the data"])
def test_late_unsolicited_data_of_an_aborted_task_is_dropped(world: World, first: str) -> None:
    host = world.host(keys=UNSOLICITED)
    command = write_command(host, 2, final=0)
    assert host.say(command) == []
    burst = R2T(itt=command.itt, ttt=NO_TAG)
    if first == "the data":
        assert out(host, burst, 0, 512, final=0) == []
    assert host.tmf(TmfFunction.ABORT_TASK, lun=LUN, referenced=command.itt) == 0
    if first == "the abort":
        assert out(host, burst, 0, 512, final=0) == []
    assert out(host, burst, 512, 512, data_sn=1) == []
    is_alive(host)


@pytest.mark.conformance("WRT-015", "DIG-006", "RJT-004")
def test_unsolicited_data_of_a_rejected_command_is_dropped_in_silence(world: World) -> None:
    host = world.host(keys=UNSOLICITED)
    command = write_command(host, 2, final=0, attr=7)
    assert reject_of(host.say(command)).reason == RejectReason.PROTOCOL_ERROR
    burst = R2T(itt=command.itt, ttt=NO_TAG)
    assert out(host, burst, 0, 512, final=0) == []
    assert out(host, burst, 512, 512, data_sn=1) == []
    retry = write_command(host, 2, final=0, itt=command.itt, cmd_sn=command.cmd_sn)
    assert host.say(retry) == []
    assert only(out(host, burst, 0, 1024), ScsiResponse).status == 0
    assert world.store.content[:1024] == data(4096)[:1024]


@pytest.mark.conformance("WRT-015")
def test_the_table_of_dead_tags_is_bounded(world: World) -> None:
    host = world.host(keys=SOLICITED)
    for _ in range(1100):
        r2t = asked(host, 1)
        assert host.tmf(TmfFunction.ABORT_TASK, lun=LUN, referenced=r2t.itt) == 0
    assert len(host.target.connection.dead_tags) <= 1024
    assert out(host, r2t, 0, 512) == []
    assert host.scsi(LUN, read_10(0, 1), read_length=512).status == 0
