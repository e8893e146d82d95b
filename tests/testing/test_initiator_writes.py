"""The initiator sends write data as the negotiated parameters say, and no other way (RFC 7143 4.2.5.2)."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_target import Connect, ScriptedTarget

from mpxtarget.pdu import NO_TAG, DataOut, ScsiCommand
from mpxtarget.testing import CommandDone, InitiatorConnection, LoginOptions, R2TReceived, TargetMistake
from mpxtarget.testing.pair import Pair, in_pieces

MODES = list(product(("Yes", "No"), ("Yes", "No")))
SIZES = [512, 4096, 8192, 12288, 40960, 65536]


def write_10(blocks: int) -> bytes:
    return bytes([0x2A, 0, 0, 0, 0, 4, 0]) + blocks.to_bytes(2, "big") + b"\0"


def pattern(length: int) -> bytes:
    return bytes((i * 7 + i // 256) & 0xFF for i in range(length))


@pytest.mark.conformance("WRT-001")
@pytest.mark.parametrize(("initial_r2t", "immediate"), MODES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("outstanding", ["1", "4"])
def test_every_combination_writes_the_right_bytes(
    connect: Connect, initial_r2t: str, immediate: str, size: int, outstanding: str
) -> None:
    initiator, target, pair = connect(
        InitialR2T=initial_r2t,
        ImmediateData=immediate,
        FirstBurstLength="12288",
        MaxBurstLength="16384",
        MaxOutstandingR2T=outstanding,
    )
    data = pattern(size)
    itt = initiator.command(1, write_10(size // 512), data_out=data)
    (done,) = pair.run()
    assert isinstance(done, CommandDone)
    assert (done.itt, done.status, done.residual) == (itt, 0, 0)
    assert target.disk[2048 : 2048 + size] == data

    ((command, first),) = target.got(ScsiCommand)
    assert isinstance(command, ScsiCommand)
    # 8192 is the target's MaxRecvDataSegmentLength, 12288 the first burst
    assert len(first) == (min(size, 8192) if immediate == "Yes" else 0)
    unasked = [pdu for pdu, _ in target.got(DataOut) if isinstance(pdu, DataOut) and pdu.ttt == NO_TAG]
    burst = len(first) + sum(pdu.data_segment_length for pdu in unasked)
    assert burst == (min(size, 12288) if initial_r2t == "No" else len(first))
    assert bool(command.final) == (not unasked)


@pytest.mark.conformance("WRT-010")
def test_each_sequence_counts_its_data_from_0_and_ends_once(connect: Connect) -> None:
    initiator, target, pair = connect(
        InitialR2T="No", ImmediateData="No", FirstBurstLength="12288", MaxBurstLength="20480"
    )
    initiator.command(1, write_10(100), data_out=pattern(51200))
    pair.run()
    seen = [
        (pdu.ttt == NO_TAG, pdu.data_sn, pdu.buffer_offset, pdu.final)
        for pdu, _ in target.got(DataOut)
        if isinstance(pdu, DataOut)
    ]
    assert seen == [
        (True, 0, 0, 0),
        (True, 1, 8192, 1),
        (False, 0, 12288, 0),
        (False, 1, 20480, 0),
        (False, 2, 28672, 1),
        (False, 0, 32768, 0),
        (False, 1, 40960, 0),
        (False, 2, 49152, 1),
    ]


def test_r2ts_can_be_held_and_answered_in_any_order(connect: Connect) -> None:
    initiator, _target, pair = connect(
        InitialR2T="Yes",
        ImmediateData="No",
        MaxBurstLength="8192",
        FirstBurstLength="8192",
        MaxOutstandingR2T="2",
    )
    initiator.hold_r2ts = True
    for _ in range(2):
        initiator.command(1, write_10(16), data_out=pattern(8192))
    first, second = pair.run()
    assert isinstance(first, R2TReceived)
    assert isinstance(second, R2TReceived)
    initiator.answer(second.r2t)
    (done,) = pair.run()
    assert isinstance(done, CommandDone)
    assert done.itt == second.r2t.itt
    assert initiator.outstanding == 1
    initiator.answer(first.r2t)
    pair.run()
    assert initiator.outstanding == 0


def test_more_r2ts_than_agreed_are_a_mistake(connect: Connect) -> None:
    initiator, target, pair = connect(
        InitialR2T="Yes", ImmediateData="No", MaxBurstLength="8192", FirstBurstLength="8192"
    )
    target.answers["MaxOutstandingR2T"] = "3"
    initiator.command(1, write_10(64), data_out=pattern(32768))
    with pytest.raises(TargetMistake, match="2 outstanding, MaxOutstandingR2T is 1"):
        pair.run()


@given(
    mode=st.sampled_from(MODES),
    digests=st.tuples(*[st.sampled_from(["None", "CRC32C"])] * 2),
    blocks=st.integers(1, 130),
    limits=st.tuples(*[st.sampled_from(["512", "1024", "4096", "8192", "65536"])] * 2),
    seed=st.integers(0, 1000),
)
def test_writes_and_reads_survive_every_limit_and_every_cut(
    mode: tuple[str, str], digests: tuple[str, ...], blocks: int, limits: tuple[str, ...], seed: int
) -> None:
    first_burst, max_burst = sorted(limits, key=int)
    keys = {
        "InitialR2T": mode[0],
        "ImmediateData": mode[1],
        "HeaderDigest": digests[0],
        "DataDigest": digests[1],
        "FirstBurstLength": first_burst,
        "MaxBurstLength": max_burst,
        "MaxOutstandingR2T": "3",
    }
    target = ScriptedTarget()
    pair = Pair(InitiatorConnection(LoginOptions(target="iqn.2001-04.com.example:disk", keys=keys)), target)
    pair.to_target.cutter = in_pieces(seed, 3000)
    pair.to_initiator.cutter = in_pieces(seed + 1, 3000)
    pair.login()
    data = pattern(blocks * 512)
    pair.initiator.command(1, write_10(blocks), data_out=data)
    pair.run()
    pair.initiator.command(1, b"\x28" + write_10(blocks)[1:], read_length=len(data))
    (done,) = pair.run()
    assert isinstance(done, CommandDone)
    assert done.data == data
