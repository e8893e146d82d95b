"""Every wait has an end. Time is an argument here, so that minutes take no time at all."""

from __future__ import annotations

import pytest

from mpxtarget.pdu import NO_TAG, R2T, LoginResponse
from mpxtarget.testing import R2TReceived
from support.cdb import TEST_UNIT_READY, data, write_10
from support.world import LUN, Host, World, only

SOLICITED = {"InitialR2T": "Yes", "ImmediateData": "No"}


@pytest.mark.conformance("LGN-039", "SEC-005")
@pytest.mark.parametrize("said", ["nothing", "half a header", "a request"])
def test_a_login_has_fifteen_seconds_whatever_it_says_meanwhile(world: World, said: str) -> None:
    host = world.host(login=False)
    request = host.make.login_request(transit=0, nsg=0, csg=1, continue_=1)
    for second in range(15):
        if said == "half a header" and second == 0:
            host.machine.send_bytes(request.to_bytes()[:24])
        if said == "a request":
            host.target.receive(request.to_bytes(), world.now)
            assert LoginResponse.parse(host.target.to_send()).status_class == 0
        world.pass_time(1)
        assert not host.closed
    world.pass_time(1)
    assert host.closed
    assert host.seen == []


@pytest.mark.conformance("LGN-039", "LGN-044")
def test_the_clock_of_the_login_stops_with_it(world: World) -> None:
    world.now = 100.0
    host = world.host()
    world.pass_time(20)
    assert host.scsi(LUN, TEST_UNIT_READY).status == 0


def waiting_write(host: Host, *, unsolicited: bool) -> R2T:
    """A write of two blocks whose data is due."""
    command = host.make.scsi_command(
        lun=LUN,
        write=1,
        final=int(not unsolicited),
        expected_data_transfer_length=1024,
        cdb=write_10(0, 2),
    )
    answers = host.say(command)
    if unsolicited:
        assert answers == []
        return R2T(itt=command.itt, ttt=NO_TAG)
    return only(answers, R2T)


@pytest.mark.conformance("WRT-019", "SEC-005", "WRT-011")
@pytest.mark.parametrize("unsolicited", [False, True])
def test_data_that_does_not_come_ends_the_session(world: World, unsolicited: bool) -> None:
    host = world.host(keys={"ImmediateData": "No", "InitialR2T": "No"} if unsolicited else SOLICITED)
    waiting_write(host, unsolicited=unsolicited)
    for _ in range(30):
        world.pass_time(1)
        host.say(host.make.nop_out(immediate=1, itt=NO_TAG))  # alive, and still no data
    assert not host.closed
    world.pass_time(2)
    assert host.closed
    assert len(world.sessions) == 0


@pytest.mark.conformance("WRT-019")
def test_data_that_comes_slowly_is_waited_for(world: World) -> None:
    host = world.host(keys=SOLICITED)
    r2t = waiting_write(host, unsolicited=False)
    for number in range(8):
        world.pass_time(29)
        out = host.make.data_out(
            itt=r2t.itt, ttt=r2t.ttt, data_sn=number, buffer_offset=128 * number, final=int(number == 7)
        )
        answers = host.say(out, data(1024)[128 * number :][:128])
    assert len(answers) == 1
    assert world.store.content[:1024] == data(1024)


@pytest.mark.conformance("WRT-019", "WRT-020")
def test_the_time_a_store_takes_is_not_the_initiators(world: World) -> None:
    world.store.close_gate()
    world.now = 100.0
    host = world.host(keys=SOLICITED | {"MaxBurstLength": "262144"})
    itts = [host.command(LUN, write_10(4096 // 2 * n, 2048), data_out=data(1 << 20, n)) for n in range(4)]
    itts += [host.command(LUN, write_10(0, 2048), data_out=data(1 << 20, 9)) for _ in range(12)]
    assert len(host.pdus(R2T)) < 16 * 4, "they wait for memory"
    world.pass_time(300)
    assert not host.closed
    host.machine.hold_r2ts = True
    world.store.open_gate()
    world.settle()
    world.pass_time(29)
    assert not host.closed, "the initiator's time begins with the R2T"
    host.machine.hold_r2ts = False
    for event in host.of(R2TReceived):
        host.machine.answer(event.r2t)
    world.settle()
    assert all(host.done(itt).status == 0 for itt in itts)


@pytest.mark.conformance("NOP-005", "SEC-005")
def test_a_stream_that_stops_in_the_middle_of_a_pdu_is_noticed(world: World) -> None:
    host = world.host()
    host.machine.answer_pings = False
    host.send_bytes(host.make.nop_out(immediate=1).to_bytes()[:20])
    world.pass_time(47)
    assert host.closed


@pytest.mark.conformance("NOP-005", "SEC-005")
def test_bytes_that_trickle_in_are_no_sign_of_life(world: World) -> None:
    host = world.host()
    host.machine.answer_pings = False
    ping = host.make.nop_out(itt=host.machine.new_itt()).to_bytes()
    seconds = 0
    while not host.closed:
        if seconds % 10 == 0:
            host.target.receive(ping[seconds // 10 : seconds // 10 + 1], world.now)
        world.pass_time(1)
        seconds += 1
        assert seconds < 60
    assert host.target.connection.reason == "no answer to a ping"
