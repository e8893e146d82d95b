"""The wires between two machines cut, drop, reorder and break as they are told, and otherwise not at all."""

from itertools import pairwise

import pytest
from scripted_target import Connect, ScriptedTarget

from mpxtarget.pdu import DataOut, NopIn, NopOut, Pdu, ScsiCommand, assemble
from mpxtarget.testing import CommandDone, InitiatorConnection, LoggedIn, LoginOptions
from mpxtarget.testing.pair import DropNth, Pair, SwapNth, Wire, byte_by_byte, in_pieces, whole

TARGET = "iqn.2001-04.com.example:disk"
PINGS = [assemble(NopOut(itt=itt), bytes(itt)) for itt in range(5)]


def wire() -> Wire:
    return Wire(InitiatorConnection(LoginOptions(target=TARGET)))


def test_the_cutters_keep_every_byte() -> None:
    data = bytes(range(256))
    assert list(whole(data)) == [data]
    assert b"".join(byte_by_byte(data)) == data
    assert len(list(byte_by_byte(data))) == 256
    pieces = list(in_pieces(3, 10)(data))
    assert b"".join(pieces) == data
    assert {len(piece) for piece in pieces[:-1]} <= set(range(1, 11))
    assert pieces == list(in_pieces(3, 10)(data))


def test_a_filter_sees_whole_pdus_however_the_bytes_come() -> None:
    seen: list[bytes] = []
    carrier = wire()
    carrier.filter = lambda pdu: [seen.append(pdu) or pdu]  # type: ignore[func-returns-value]
    stream = b"".join(PINGS)
    arrived = b"".join(segment for byte in byte_by_byte(stream) for segment in carrier.carry(byte))
    assert seen == PINGS
    assert arrived == stream


def test_the_nth_of_a_kind_is_dropped() -> None:
    carrier = wire()
    carrier.filter = DropNth(NopOut.OPCODE, 0, 3)
    assert b"".join(carrier.carry(b"".join(PINGS))) == b"".join([PINGS[1], PINGS[2], PINGS[4]])


def test_the_nth_of_a_kind_is_overtaken_by_the_next() -> None:
    carrier = wire()
    carrier.filter = SwapNth(NopOut.OPCODE, 1)
    order = [PINGS[0], PINGS[2], PINGS[1], PINGS[3], PINGS[4]]
    assert b"".join(carrier.carry(b"".join(PINGS))) == b"".join(order)


def test_a_wire_breaks_at_a_byte() -> None:
    carrier = wire()
    carrier.breaks_after = 70
    stream = b"".join(PINGS)
    assert b"".join(carrier.carry(stream)) == stream[:70]
    assert carrier.broken
    assert list(carrier.carry(stream)) == []


@pytest.mark.parametrize("header_digest", ["None", "CRC32C"])
@pytest.mark.parametrize("data_digest", ["None", "CRC32C"])
def test_pdus_are_told_apart_with_digests_too(connect: Connect, header_digest: str, data_digest: str) -> None:
    initiator, target, pair = connect(HeaderDigest=header_digest, DataDigest=data_digest)
    opcodes: list[int] = []
    for direction in (pair.to_target, pair.to_initiator):
        direction.filter = lambda pdu: [opcodes.append(pdu[0] & 0x3F) or pdu]  # type: ignore[func-returns-value]
    initiator.command(1, bytes.fromhex("2a 00 00000004 00 0040 00"), data_out=bytes(32768))
    (done,) = pair.run()
    assert isinstance(done, CommandDone)
    assert opcodes[0] == ScsiCommand.OPCODE
    assert opcodes.count(DataOut.OPCODE) == len(target.got(DataOut)) == 3


def test_a_broken_wire_leaves_both_machines_waiting(connect: Connect) -> None:
    initiator, target, pair = connect()
    pair.to_initiator.breaks_after = 100
    initiator.command(1, bytes.fromhex("28 00 00000004 00 0040 00"), read_length=32768)
    assert pair.run() == []
    assert initiator.outstanding == 1
    assert len(target.received) == 3


def test_a_target_that_is_closed_hears_nothing_more(connect: Connect) -> None:
    initiator, target, pair = connect()
    target.closed = True
    initiator.command(1, bytes(6))
    assert pair.run() == []
    assert target.got(ScsiCommand) == []


def test_time_is_told_and_moves_only_when_moved() -> None:
    times: list[float] = []

    class Clocked(ScriptedTarget):
        def receive(self, data: bytes, now: float = 0.0) -> None:
            times.append(now)
            super().receive(data, now)

    pair = Pair(InitiatorConnection(LoginOptions(target=TARGET)), Clocked())
    (event,) = pair.login()
    assert isinstance(event, LoggedIn)
    pair.now = 60.0
    pair.initiator.ping()
    pair.run()
    assert times == [0.0, 0.0, 60.0]
    assert all(a <= b for a, b in pairwise(times))


def test_two_machines_that_never_stop_are_found_out(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    initiator, target, pair = connect()

    def ping_back(pdu: Pdu, data: bytes) -> None:
        target.send(NopIn(ttt=5))
        target.stat_sn -= 1

    target.handle = ping_back  # type: ignore[method-assign]
    monkeypatch.setattr("mpxtarget.testing.pair._MOST_ROUNDS", 50)
    initiator.text([])
    with pytest.raises(AssertionError, match="not done after 50"):
        pair.run()
