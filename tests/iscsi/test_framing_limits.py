"""How bytes become PDUs: cut anywhere, never longer than agreed, believed only when whole (RFC 7143 7.7)."""

from __future__ import annotations

import pytest

from mpxtarget.iscsi.negotiation import Limits
from mpxtarget.pdu import LoginResponse, NopIn, Pdu
from mpxtarget.testing import LoggedOut
from mpxtarget.testing.pair import Pair, byte_by_byte, in_pieces
from support.cdb import data, read_10, write_10
from support.fixtures import MakeWorld
from support.world import LUN, Host, World


def whole_session(host: Host, pair: Pair) -> None:
    """Log in, write, read, ping, discover, log out."""
    pair.login()
    content = data(3000)
    machine = host.machine
    host.itl.attentions.take()
    host.itl.refresh()
    machine.command(LUN, write_10(0, 5), data_out=content[:2560])
    pair.run()
    machine.command(LUN, read_10(0, 5), read_length=2560)
    machine.ping(content)
    machine.text([("SendTargets", "")])
    host.events += pair.run()
    assert host.done().data == content[:2560]
    machine.logout()
    host.events += pair.run()
    assert host.of(LoggedOut)


@pytest.mark.conformance("PDU-021", "TCP-007")
@pytest.mark.parametrize("keys", [{}, {"HeaderDigest": "CRC32C", "DataDigest": "CRC32C"}])
@pytest.mark.parametrize("cut", ["bytes", "pieces", "large pieces"])
@pytest.mark.parametrize("fast", [False, True])
def test_a_stream_may_be_cut_anywhere(
    make_world: MakeWorld, cut: str, keys: dict[str, str], fast: bool
) -> None:
    world = make_world(fast=fast)
    host = world.host(login=False, keys=keys | {"InitialR2T": "Yes", "MaxRecvDataSegmentLength": "8192"})
    pair = Pair(host.machine, host.target)
    cutter = {"bytes": byte_by_byte, "pieces": in_pieces(1, 60), "large pieces": in_pieces(2, 4000)}[cut]
    pair.to_target.cutter = cutter
    whole_session(host, pair)
    assert len(world.sessions) == 0


@pytest.mark.conformance("PDU-011", "SEC-003", "PDU-012")
@pytest.mark.parametrize("length", [262145, 1 << 20, (1 << 24) - 1])
def test_a_segment_beyond_what_was_declared_is_not_waited_for(world: World, length: int) -> None:
    host = world.host()
    header = host.make.nop_out(immediate=1)
    header.data_segment_length = length
    assert host.send_bytes(header.to_bytes()) == []
    assert host.closed
    assert host.target.unread == 0


@pytest.mark.conformance("PDU-010", "PDU-011")
def test_a_segment_of_just_what_was_declared_is_taken(make_world: MakeWorld) -> None:
    world = make_world(limits=Limits(max_recv_data_segment_length=512))
    host = world.host()
    ((answer, echo),) = host.say(host.make.nop_out(immediate=1), data(512))
    assert isinstance(answer, NopIn)
    assert echo == data(512)
    host.say(host.make.nop_out(immediate=1), data(513))
    assert host.closed


@pytest.mark.conformance("SEC-002", "PDU-010", "LGN-036")
@pytest.mark.parametrize("length", [8193, 65536, (1 << 24) - 1])
def test_before_full_feature_phase_segments_are_small(world: World, length: int) -> None:
    host = world.host(login=False)
    header = host.make.login_request()
    header.data_segment_length = length
    host.machine.send_bytes(header.to_bytes())
    host.run()
    assert host.seen == []
    assert host.closed


@pytest.mark.conformance("LGN-001", "SEC-001")
@pytest.mark.parametrize("opcode", [0, 1, 2, 4, 5, 6, 0x10, 0x23, 0x3F])
def test_the_first_byte_of_a_connection_that_is_no_login_is_enough(world: World, opcode: int) -> None:
    host = world.host(login=False)
    host.machine.send_bytes(bytes((opcode,)))
    host.run()
    assert host.closed
    assert host.seen == []


@pytest.mark.conformance("LGN-002")
def test_another_pdu_during_login_is_answered_and_ends_it(world: World) -> None:
    host = world.host(login=False)
    seen: list[Pdu] = []
    request = host.make.login_request(transit=0, nsg=0, continue_=1)
    host.target.receive(request.to_bytes(), 0.0)
    host.target.to_send()
    host.target.receive(host.make.nop_out().to_bytes(), 0.0)
    seen.append(LoginResponse.parse(host.target.to_send()))
    assert isinstance(seen[0], LoginResponse)
    assert (seen[0].status_class, seen[0].status_detail) == (0x02, 0x0B)
    assert host.closed


@pytest.mark.conformance("PDU-022", "SEC-001", "LGN-044")
@pytest.mark.parametrize("kept", [0, 1, 47, 48, 100])
def test_a_connection_that_ends_in_the_middle_leaves_nothing(world: World, kept: int) -> None:
    host = world.host(login=False)
    host.machine.start()
    host.target.receive(host.machine.to_send()[:kept], 0.0)
    host.target.hang_up()
    assert len(world.sessions) == 0
    assert host.target.to_send() == b""


@pytest.mark.conformance("PDU-008", "PDU-002")
def test_padding_may_hold_anything_and_ours_is_zero(world: World) -> None:
    host = world.host()
    ping = host.make.nop_out(immediate=1)
    host.say(ping)
    ping.data_segment_length = 5
    ((answer, echo),) = host.send_bytes(ping.to_bytes() + b"hello" + b"\xff\xee\xdd")
    assert isinstance(answer, NopIn)
    assert echo == b"hello"
