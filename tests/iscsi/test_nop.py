"""NOP-Out and NOP-In: pings both ways (RFC 7143 11.18, 11.19)."""

from __future__ import annotations

import pytest

from mpxtarget.pdu import NO_TAG, NopIn, RejectReason
from support.cdb import TEST_UNIT_READY, data
from support.fixtures import MakeWorld
from support.world import LUN, World, only, reject_of


@pytest.mark.conformance("NOP-001", "NOP-008", "PDU-008")
@pytest.mark.parametrize("immediate", [0, 1])
@pytest.mark.parametrize("length", [0, 1, 3, 511, 512, 4096, 262144])
def test_a_ping_is_answered_with_its_data(world: World, length: int, immediate: int) -> None:
    host = world.host()
    ping = host.make.nop_out(immediate=immediate)
    ((answer, echo),) = host.say(ping, data(length))
    assert isinstance(answer, NopIn)
    assert (answer.itt, answer.ttt) == (ping.itt, NO_TAG)
    assert echo == data(length)


@pytest.mark.conformance("NOP-001", "PDU-010")
@pytest.mark.parametrize("limit", [512, 1021, 4096])
def test_the_echo_is_cut_to_what_the_initiator_takes(world: World, limit: int) -> None:
    host = world.host(keys={"MaxRecvDataSegmentLength": str(limit)})
    ((_, echo),) = host.say(host.make.nop_out(immediate=1), data(8192))
    assert echo == data(8192)[:limit]


@pytest.mark.conformance("NOP-002", "NOP-007")
@pytest.mark.parametrize("ttt", [NO_TAG, 0, 1, 4711])
def test_a_nop_out_without_a_tag_is_not_answered(world: World, ttt: int) -> None:
    host = world.host()
    assert host.say(host.make.nop_out(immediate=1, itt=NO_TAG, ttt=ttt), b"?") == []
    only(host.say(host.make.nop_out(immediate=1)), NopIn)


@pytest.mark.conformance("NOP-007", "RJT-002")
def test_a_nop_out_with_both_tags_is_rejected(world: World) -> None:
    host = world.host()
    assert reject_of(host.say(host.make.nop_out(ttt=4711))).reason == RejectReason.INVALID_PDU_FIELD


@pytest.mark.conformance("NOP-003", "NOP-005", "NOP-002")
def test_an_idle_initiator_is_asked_whether_it_lives_and_may_say_so_for_ever(world: World) -> None:
    host = world.host()
    world.pass_time(30)
    assert host.pdus(NopIn) == []
    world.pass_time(1)
    (ping,) = host.pdus(NopIn)
    assert (ping.itt, ping.lun, ping.data_segment_length) == (NO_TAG, 0, 0)
    assert ping.ttt != NO_TAG
    world.pass_time(600)
    assert not host.closed
    tags = [pdu.ttt for pdu in host.pdus(NopIn)]
    assert len(tags) == len(set(tags)) == 20


@pytest.mark.conformance("NOP-005", "NOP-006", "SEC-005")
def test_an_initiator_that_does_not_say_so_is_gone(world: World) -> None:
    host = world.host()
    host.machine.answer_pings = False
    world.pass_time(31)
    assert len(host.pdus(NopIn)) == 1
    world.pass_time(15)
    assert not host.closed
    world.pass_time(1)
    assert host.closed
    assert len(host.pdus(NopIn)) == 1, "never more than one ping at a time"
    assert len(world.sessions) == 0


@pytest.mark.conformance("NOP-005", "NOP-006")
def test_anything_it_says_is_a_sign_of_life_but_a_ping_stays_the_only_one(world: World) -> None:
    host = world.host()
    host.machine.answer_pings = False
    world.pass_time(31)
    for _ in range(20):
        assert host.scsi(LUN, TEST_UNIT_READY).status == 0
        world.pass_time(40)
    assert not host.closed
    assert len(host.pdus(NopIn)) == 1
    world.pass_time(46)
    assert host.closed


@pytest.mark.conformance("NOP-009", "DSC-004")
def test_nobody_is_asked_before_full_feature_phase_or_in_discovery(make_world: MakeWorld) -> None:
    world = make_world()
    newcomer, discovery = world.host(login=False), world.discovery(isid=0x800000000002)
    world.pass_time(120)
    assert newcomer.seen == []
    assert discovery.pdus(NopIn) == []
    assert not discovery.closed


@pytest.mark.conformance("NOP-005", "WRT-019")
def test_transfer_tags_and_ping_tags_are_never_the_reserved_one(world: World) -> None:
    host = world.host()
    host.target.connection.next_ttt = NO_TAG - 1
    world.pass_time(100)
    tags = [pdu.ttt for pdu in host.pdus(NopIn)]
    assert tags[:2] == [NO_TAG - 1, 1]


@pytest.mark.conformance("DSC-003")
def test_a_ping_in_discovery_is_answered(world: World) -> None:
    host = world.discovery()
    only(host.say(host.make.nop_out(immediate=1)), NopIn)
