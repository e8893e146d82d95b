"""What one host can pile up in memory and in lanes is bounded, whatever it sends and aborts."""

from __future__ import annotations

import pytest

from mpxtarget.pdu import R2T, DataOut, TmfFunction, assemble
from mpxtarget.server.executor import PARAMETER_BYTES
from mpxtarget.server.lanes import THREADS
from support.cdb import data, verify_10, write_10
from support.fixtures import MakeWorld
from support.world import LUN, OTHER_HOST, OTHER_LUN, Host, World

MIB = 1 << 20
TASK_SET_FULL = 0x28
IMMED = b"\x35\x02" + bytes(8)


@pytest.mark.conformance("SEC-004", "SBC-009")
def test_flushes_that_nobody_waits_for_do_not_pile_up(world: World) -> None:
    gate = world.store.close_gate()
    host = world.host()
    for _ in range(1000):
        assert host.done(host.command(LUN, IMMED)).status == 0
        if gate.waiting or world.executor.io_of(world.disk).lane.pending > THREADS:
            gate.arrived(1)
    assert world.executor.io_of(world.disk).lane.pending <= THREADS + 1
    world.store.open_gate()
    world.settle()
    assert world.store.log[-1][0] == "flush"


@pytest.mark.conformance("SEC-004", "SAM-005")
def test_data_to_compare_is_bounded(make_world: MakeWorld) -> None:
    world = make_world(size=16 * MIB)
    host = world.host()
    host.machine.hold_r2ts = True
    length = 8 * MIB
    itts = [
        host.command(LUN, verify_10(0, length // 512, bytchk=1), data_out=bytes(length)) for _ in range(8)
    ]
    kept = sum(task.work.parameter_bytes for task in host.session.tasks.values())
    assert kept <= PARAMETER_BYTES
    refused = [itt for itt in itts if host.ended(itt)]
    assert len(refused) == 8 - PARAMETER_BYTES // length
    assert {host.done(itt).status for itt in refused} == {TASK_SET_FULL}
    assert host.tmf(TmfFunction.ABORT_TASK_SET, lun=LUN) == 0
    again = host.command(LUN, verify_10(0, length // 512, bytchk=1), data_out=bytes(length))
    assert not host.ended(again), "there is room again"


@pytest.mark.conformance("SEC-004", "TMF-002")
@pytest.mark.parametrize("cdb", [write_10(0, 128), verify_10(0, 128, bytchk=1)], ids=["write", "verify"])
def test_what_was_aborted_leaves_no_data_behind_a_stuck_store(world: World, cdb: bytes) -> None:
    before = world.store.pattern()
    gate = world.store.close_gate()
    host = world.host()
    for number in range(2 * THREADS):  # the first keep the threads busy
        host.command(LUN, write_10(1000 + number, 1), data_out=data(512))
    gate.arrived(THREADS)
    for number in range(8):
        itt = host.command(LUN, cdb, data_out=data(65536, number))
        work = host.session.tasks[itt].work
        assert work.copies or work.parameter_bytes
        assert host.tmf(TmfFunction.ABORT_TASK_SET, lun=LUN) == 0
        assert (work.copies, work.parameter_bytes) == ({}, 0)
    world.store.open_gate()
    world.settle()
    assert world.store.content[:65536] == before[:65536]
    assert host.scsi(OTHER_LUN, write_10(0, 1), data_out=data(512)).status == 0


def in_segments(world: World, sizes: list[int]) -> tuple[Host, int, bytes]:
    """A write whose data comes in segments of these sizes, while the lane is stuck."""
    content = data(sum(sizes), 7)
    host = world.host(keys={"InitialR2T": "Yes", "ImmediateData": "No"})
    host.machine.hold_r2ts = True
    itt = host.command(LUN, write_10(0, len(content) // 512), data_out=content)
    (r2t,) = host.pdus(R2T, itt)
    host.machine.hold_r2ts = False
    host.machine.answer(r2t)
    host.machine.to_send()  # in other segments than these
    at = 0
    for number, size in enumerate(sizes):
        final = int(number == len(sizes) - 1)
        out = DataOut(final=final, lun=LUN << 48, itt=itt, ttt=r2t.ttt, data_sn=number, buffer_offset=at)
        host.target.receive(assemble(out, content[at : at + size]), world.now)
        at += size
    return host, itt, content


SIZES = [[1] * 4096, [512] * 512, [65536, 1, 65536, 3, 60000, 6000, 65068], [3, 131072, 1, 4, 512 * 9 - 8]]


@pytest.mark.conformance("SEC-004", "WRT-007")
@pytest.mark.parametrize("sizes", SIZES, ids=["bytes", "blocks", "large and small", "small first"])
def test_small_segments_for_a_stuck_store_become_few_jobs(world: World, sizes: list[int]) -> None:
    gate = world.store.close_gate()
    host, itt, content = in_segments(world, sizes)
    gate.arrived(1)
    assert world.executor.io_of(world.disk).lane.pending <= 6
    connection = host.target.connection
    assert connection.unwritten == len(content)
    world.store.open_gate()
    world.settle()
    assert host.done(itt).status == 0
    assert world.store.content[: len(content)] == content
    assert connection.unwritten == 0


@pytest.mark.conformance("SEC-004", "TMF-002")
@pytest.mark.parametrize("sizes", SIZES, ids=["bytes", "blocks", "large and small", "small first"])
def test_small_segments_of_an_aborted_write_are_given_back(world: World, sizes: list[int]) -> None:
    gate = world.store.close_gate()
    host, _, _ = in_segments(world, sizes)
    gate.arrived(1)
    assert host.tmf(TmfFunction.ABORT_TASK_SET, lun=LUN) == 0
    world.store.open_gate()
    world.settle()
    assert host.target.connection.unwritten == 0
    assert host.scsi(LUN, write_10(0, 1), data_out=data(512, 9)).status == 0
    assert world.store.content[:512] == data(512, 9)


@pytest.mark.conformance("SEC-004", "SBC-011")
def test_long_work_leaves_the_threads_to_io_that_is_short(make_world: MakeWorld) -> None:
    world = make_world(size=(2 * THREADS + 1) * 8 * MIB)
    blocks = 8 * MIB // 512
    gate = world.store.close_gate()
    host, other = world.host(), world.host(initiator=OTHER_HOST)
    for number in range(2 * THREADS):  # WRITE SAME(16)
        cdb = b"\x93\0" + (number * blocks).to_bytes(8, "big") + blocks.to_bytes(4, "big") + bytes(2)
        host.command(LUN, cdb, data_out=data(512))
    gate.arrived(THREADS)
    lba = 2 * THREADS * blocks
    other.command(LUN, write_10(lba, 1), data_out=data(512))
    other.command(LUN, b"\x89\0" + (lba + 1).to_bytes(8, "big") + b"\0\0\0\x01\0\0", data_out=bytes(1024))
    there = {(what, offset // 512) for what, offset, _ in gate.arrived(THREADS + 2)}
    assert {("write", lba), ("read", lba + 1)} <= there, (
        "COMPARE AND WRITE is a lock: it does not wait either"
    )
    world.store.open_gate()
    world.settle()
