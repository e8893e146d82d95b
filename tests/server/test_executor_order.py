"""I/O in lanes: overlapping blocks change in the order of their commands, other stores and commands go on."""

from __future__ import annotations

import errno

import pytest

from mpxtarget.iscsi.transfer import MAX_UNWRITTEN
from mpxtarget.pdu import R2T, DataIn, ScsiResponse
from mpxtarget.scsi.logical_unit import ModeParameters
from mpxtarget.server.executor import LANE_BYTES
from support.cdb import SYNCHRONIZE_CACHE, TEST_UNIT_READY, data, read_10, verify_10, write_10, write_16
from support.fixtures import MakeWorld
from support.stores import Gate
from support.world import LUN, OTHER_LUN, World

FUA = 0x08
SOLICITED = {"InitialR2T": "Yes", "ImmediateData": "No"}


def gate_of(world: World) -> Gate:
    """Stop everything in the lane of LUN 1."""
    return world.store.close_gate()


@pytest.mark.conformance("TMF-023", "WRT-007")
def test_a_stuck_store_stalls_nobody_elses_commands(world: World) -> None:
    gate_of(world)
    host, other = world.host(), world.host(initiator="iqn.2001-04.com.example:other")
    for lba in range(64):
        host.command(LUN, read_10(lba, 1), read_length=512)
    world.other_store.at_once = False
    for each in (host, other):
        itt = each.command(OTHER_LUN, read_10(0, 1), read_length=512)
        while not each.ended(itt):
            assert world.drain()
            each.run()
        assert each.done(itt).status == 0
    assert host.session.outstanding == 64


@pytest.mark.conformance("WRT-007")
def test_overlapping_writes_keep_their_order(world: World) -> None:
    gate = gate_of(world)
    host = world.host()
    blocks = [(0, 4), (2, 4), (0, 1), (5, 2), (3, 1)]
    itts = [
        host.command(LUN, write_10(lba, count), data_out=data(512 * count, number))
        for number, (lba, count) in enumerate(blocks)
    ]
    assert [job[1:] for job in gate.arrived(1)] == [(0, 2048)], "the others overlap it, or what waits for it"
    world.store.open_gate()
    world.settle()
    expected = bytearray(8 * 512)
    for number, (lba, count) in enumerate(blocks):
        expected[lba * 512 : (lba + count) * 512] = data(512 * count, number)
    assert world.store.content[: 8 * 512] == expected
    assert all(host.done(itt).status == 0 for itt in itts)


@pytest.mark.conformance("WRT-007")
def test_a_read_sees_the_writes_before_it_and_not_those_after(world: World) -> None:
    gate = gate_of(world)
    host = world.host()
    before = host.command(LUN, read_10(0, 2), read_length=1024)
    gate.arrived(1)
    host.command(LUN, write_10(1, 1), data_out=data(512, 1))
    between = host.command(LUN, read_10(0, 2), read_length=1024)
    world.store.at_once = True  # what could be done at once must not overtake what waits
    host.command(LUN, write_10(0, 2), data_out=data(1024, 2))
    after = host.command(LUN, read_10(0, 2), read_length=1024)
    assert not any(map(host.ended, (before, between, after)))
    elsewhere = host.command(LUN, read_10(9, 1), read_length=512)
    assert host.ended(elsewhere), "blocks of their own need not wait"
    world.store.open_gate()
    world.settle()
    assert host.done(before).data == bytes(1024)
    assert host.done(between).data == bytes(512) + data(512, 1)
    assert host.done(after).data == data(1024, 2)


def test_reads_of_the_same_blocks_do_not_wait_for_each_other(world: World) -> None:
    gate = gate_of(world)
    host = world.host()
    for _ in range(3):
        host.command(LUN, read_10(0, 1), read_length=512)
    gate.arrived(3)


@pytest.mark.conformance("WRT-007")
def test_the_short_cut_is_closed_while_a_lane_writes_and_open_again_after(make_world: MakeWorld) -> None:
    world = make_world(fast=True)
    gate = gate_of(world)
    host = world.host()
    host.command(LUN, write_10(0, 1), data_out=data(512))
    gate.arrived(1)
    assert (host.itl.go_read, host.itl.go_write) == (False, False)
    world.store.open_gate()
    world.settle()
    assert (host.itl.go_read, host.itl.go_write) == (True, True)


@pytest.mark.conformance("WRT-007", "WRT-001")
@pytest.mark.parametrize("at_once", [True, False])
def test_good_for_a_durable_write_means_flushed(world: World, at_once: bool) -> None:
    world.store.at_once = at_once
    host = world.host()
    assert host.scsi(LUN, write_10(0, 1, flags=FUA), data_out=data(512)).status == 0
    assert [what for what, _, _ in world.store.log][-1] == "flush"
    world.disk.select_mode(ModeParameters(write_cache_enable=False), by=host.session.nexus)
    assert host.scsi(LUN, write_10(0, 1), data_out=data(512)).status == 0
    assert [what for what, _, _ in world.store.log].count("flush") == 2


@pytest.mark.conformance("CDB-009")
@pytest.mark.parametrize("fast", [True, False])
def test_a_read_that_wants_stored_data_has_it_stored_first(make_world: MakeWorld, fast: bool) -> None:
    world = make_world(fast=fast)
    host = world.host()
    host.scsi(LUN, write_10(0, 1), data_out=data(512))
    world.store.log.clear()
    assert host.scsi(LUN, read_10(0, 1, flags=FUA), read_length=512).data == data(512)
    assert next(what for what, _, _ in world.store.log) == "flush"
    world.store.flush_error = errno.EIO
    assert host.scsi(LUN, read_10(0, 1, flags=FUA), read_length=512).status == 2


def test_a_flush_that_fails_fails_the_write(world: World) -> None:
    world.store.flush_error = errno.EIO
    host = world.host()
    for cdb, how in ((write_10(0, 1, flags=FUA), {"data_out": data(512)}), (SYNCHRONIZE_CACHE, {})):
        done = host.scsi(LUN, cdb, **how)
        assert (done.status, done.sense[2], *done.sense[12:14]) == (2, 0x3, 0x0C, 0x00)


@pytest.mark.parametrize(
    ("error", "sense"),
    [
        (errno.ENOSPC, (0x7, 0x27, 0x07)),
        (errno.EDQUOT, (0x7, 0x27, 0x07)),
        (errno.EROFS, (0x7, 0x27, 0x00)),
        (errno.EIO, (0x3, 0x0C, 0x00)),
        (errno.ENXIO, (0x4, 0x44, 0x00)),
    ],
)
@pytest.mark.parametrize("at_once", [True, False])
def test_an_error_of_the_store_becomes_sense_data(
    world: World, error: int, sense: tuple[int, int, int], at_once: bool
) -> None:
    world.store.at_once = at_once
    world.store.write_error = error
    host = world.host()
    done = host.scsi(LUN, write_10(0, 8), data_out=data(4096))
    assert (done.status, done.sense[2], *done.sense[12:14]) == (2, *sense)
    assert host.scsi(LUN, read_10(0, 8), read_length=4096).status == 0


def test_a_store_that_comes_up_short_is_asked_in_the_lane(world: World) -> None:
    content = world.store.pattern()
    world.store.at_once = False  # fills the buffers with something else and says no
    host = world.host()
    assert host.scsi(LUN, read_10(0, 64), read_length=32768).data == content[:32768]
    assert [what for what, _, _ in world.store.log] == ["read"]


@pytest.mark.conformance("WRT-014")
def test_one_failed_piece_fails_the_whole_write_once(world: World) -> None:
    world.store.close_gate()
    gate = world.store.gate
    assert gate is not None
    host = world.host(keys={"MaxRecvDataSegmentLength": "8192"})
    itt = host.command(LUN, write_10(0, 1024), data_out=data(512 * 1024))
    gate.arrived(1)
    world.store.write_error = errno.EIO
    world.store.open_gate()
    world.settle()
    assert host.done(itt).status == 2
    assert len(host.pdus(ScsiResponse, itt)) == 1


@pytest.mark.conformance("WRT-013", "RSP-007")
def test_a_write_with_wrong_data_is_answered_when_its_io_is_done(world: World) -> None:
    gate = gate_of(world)
    host = world.host(keys=SOLICITED)
    command = host.make.scsi_command(lun=LUN, write=1, expected_data_transfer_length=1024, cdb=write_10(0, 2))
    ((r2t, _),) = host.say(command)
    assert isinstance(r2t, R2T)
    out = {"itt": command.itt, "ttt": r2t.ttt}
    host.say(host.make.data_out(**out, final=0), data(512))
    assert host.say(host.make.data_out(**out, data_sn=7, buffer_offset=512), data(512)) == []
    gate.open()
    world.settle()
    (response,) = host.pdus(ScsiResponse, command.itt)
    assert response.status == 2


@pytest.mark.conformance("SEC-004", "WRT-020")
def test_a_stuck_store_bounds_what_is_asked_for(make_world: MakeWorld) -> None:
    world = make_world(size=16 << 20)
    gate_of(world)
    host = world.host(keys=SOLICITED | {"MaxOutstandingR2T": "16", "FirstBurstLength": "512"})
    itts = [host.command(LUN, write_16(2048 * n, 2048), data_out=data(1 << 20, n)) for n in range(16)]
    asked = sum(r2t.desired_data_transfer_length for r2t in host.pdus(R2T))
    connection = host.target.connection
    assert asked <= MAX_UNWRITTEN
    assert 0 < connection.unwritten <= MAX_UNWRITTEN
    world.store.open_gate()
    while not all(map(host.ended, itts)):
        assert world.drain()
        assert connection.unwritten <= MAX_UNWRITTEN + (1 << 18)
        world.run()
    assert all(host.done(itt).status == 0 for itt in itts)
    assert connection.unwritten == 0
    assert connection.unasked == []
    assert world.store.content == b"".join(data(1 << 20, n) for n in range(16))


@pytest.mark.conformance("SEC-004", "TMF-002", "WRT-020")
def test_memory_that_an_abort_sets_free_is_used_by_those_who_wait(world: World) -> None:
    gate_of(world)
    host = world.host(keys=SOLICITED | {"MaxOutstandingR2T": "16", "FirstBurstLength": "512"})
    host.machine.hold_r2ts = True
    first = [host.command(LUN, write_16(0, 4096), data_out=bytes(2 << 20)) for _ in range(4)]
    waiting = host.command(LUN, write_16(0, 1), data_out=data(512))
    assert host.pdus(R2T, waiting) == []
    assert host.tmf(1, lun=LUN, referenced=first[0]) == 0
    assert len(host.pdus(R2T, waiting)) == 1
    assert first[0] not in host.session.tasks
    world.store.open_gate()


@pytest.mark.conformance("SEC-004")
def test_reads_in_lanes_are_bounded(world: World) -> None:
    gate_of(world)
    host = world.host()
    for n in range(100):
        host.command(LUN, read_10(n, 2048), read_length=1 << 20)
    connection = host.target.connection
    assert world.executor._lane_bytes[connection, world.disk] <= LANE_BYTES
    world.store.open_gate()
    world.settle()
    while host.session.tasks:
        world.settle()
        if world.executor.busy(world.disk):
            world.drain()
    assert len([pdu for pdu in host.pdus(DataIn) if pdu.status_flag]) == 100
    assert world.executor._lane_bytes == {}


@pytest.mark.conformance("SES-003", "TMF-023")
def test_io_of_a_session_that_is_gone_comes_back_to_nobody(world: World) -> None:
    gate = gate_of(world)
    host = world.host()
    host.command(LUN, read_10(0, 64), read_length=32768)
    host.command(LUN, write_10(100, 64), data_out=data(32768))
    host.command(LUN, verify_10(0, 64))
    host.command(LUN, SYNCHRONIZE_CACHE)
    gate.arrived(1)
    host.target.hang_up()
    mark = len(host.seen)
    world.store.open_gate()
    world.settle()
    assert host.seen[mark:] == []
    assert world.executor._lane_bytes == {}
    assert host.target.output._arena is None
    assert not world.disk._holds


@pytest.mark.conformance("CSN-013", "TMF-024")
def test_a_reset_while_io_hangs_leaves_a_unit_that_works(world: World) -> None:
    gate_of(world)
    host = world.host()
    host.command(LUN, write_10(0, 1), data_out=data(512, 1))
    for lba in range(1, 60):
        host.command(LUN, read_10(lba, 1), read_length=512)
    assert host.tmf(5, lun=LUN) == 0
    assert host.session.tasks == {}
    world.store.at_once = True
    assert host.command(LUN, TEST_UNIT_READY)
    itt = host.command(LUN, read_10(100, 1), read_length=512)
    assert host.ended(itt), "blocks that nothing hangs at"
    world.store.open_gate()
    world.settle()
    assert host.scsi(LUN, write_10(0, 1), data_out=data(512, 2)).status == 0
    assert world.store.content[:512] == data(512, 2)


@pytest.mark.conformance("LUN-015")
def test_a_command_whose_unit_is_removed_while_it_waits_says_that_there_is_none(world: World) -> None:
    gate_of(world)
    world.store.at_once = False
    host = world.host()
    itt = host.command(LUN, read_10(0, 8), read_length=4096)
    host.itl.nexus.unmap(1)
    world.store.read_error = errno.EBADF  # the store is closed
    world.store.open_gate()
    world.settle()
    done = host.done(itt)
    assert (done.status, done.sense[2], *done.sense[12:14]) == (2, 0x5, 0x25, 0x00)


@pytest.mark.conformance("SEC-004", "TMF-023")
def test_a_stuck_unit_leaves_memory_to_the_other_units_of_its_session(world: World) -> None:
    gate_of(world)
    host = world.host(keys=SOLICITED | {"MaxOutstandingR2T": "16", "FirstBurstLength": "512"})
    for lba in range(20):  # more than one disk may have under way, both ways
        host.command(LUN, read_10(lba, 512), read_length=1 << 18)
        host.command(LUN, write_16(0, 2048), data_out=bytes(1 << 20))
    world.other_store.at_once = False
    itts = [
        host.command(OTHER_LUN, write_16(0, 2048), data_out=data(1 << 20)),
        host.command(OTHER_LUN, read_10(4096, 512), read_length=1 << 18),
    ]
    while not all(map(host.ended, itts)):
        assert world.drain()
        host.run()
    assert [host.done(itt).status for itt in itts] == [0, 0]
    assert world.other_store.content[: 1 << 20] == data(1 << 20)
    world.store.open_gate()
