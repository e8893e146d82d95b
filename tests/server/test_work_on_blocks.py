"""Work on blocks is atomic and ends with its command; fences hold, and what is kept is kept first."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping

import pytest

from mpxtarget.scsi import device_server
from mpxtarget.scsi.logical_unit import Disk
from mpxtarget.scsi.nexus import ITNexus
from mpxtarget.scsi.plan import GOOD, Extent, Fence, Keep, Medium, Plan, Reply, WorkOnBlocks
from mpxtarget.testing.events import R2TReceived
from support.cdb import TEST_UNIT_READY, data, read_10, write_10
from support.fixtures import MakeWorld
from support.world import HOST, LUN, OTHER_HOST, OTHER_LUN, OTHER_TARGET, TARGET, World

PLANNED = bytes([0xC1]) + bytes(15)
RESERVE_6 = bytes([0x16, 0, 0, 0, 0, 0])
KIB_4 = 4096

SetPlan = Callable[[Plan], None]
Media = Mapping[Disk, Medium]


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> SetPlan:
    """A vendor command that is planned as the test says."""
    plans: list[Plan] = []
    original = device_server.plan

    def plan(nexus: ITNexus, lun: int, cdb: bytes) -> Plan:
        return plans[-1] if cdb == PLANNED else original(nexus, lun, cdb)

    monkeypatch.setattr(device_server, "plan", plan)
    return plans.append


def _increment(disk: Disk, ended: list[Reply | None] | None = None, *, immediate: bool = False) -> Plan:
    """Read a number from the disk, and write the next. What it came to is added to `ended`."""

    def work(media: Media) -> Reply:
        number = int.from_bytes(media[disk].read(0, KIB_4), "big")
        media[disk].write(0, (number + 1).to_bytes(KIB_4, "big"))
        return GOOD

    def finished(reply: Reply | None) -> Reply | None:
        if ended is not None:
            ended.append(reply)
        return reply

    return WorkOnBlocks((Extent(disk, 0, KIB_4, True),), work, finished, immediate)


@pytest.mark.conformance("SAM-009")
def test_no_other_io_comes_between_the_steps_of_work(world: World, planned: SetPlan) -> None:
    planned(_increment(world.disk))
    one, two = world.host(initiator=HOST), world.host(initiator=OTHER_HOST, target=OTHER_TARGET)
    world.store.close_gate()
    tags = [(host, host.command(LUN, PLANNED)) for _ in range(8) for host in (one, two)]
    write = one.command(LUN, write_10(0, 8), data_out=(100).to_bytes(KIB_4, "big"))
    tags += [(host, host.command(LUN, PLANNED)) for _ in range(8) for host in (one, two)]
    world.store.open_gate()
    world.settle()
    assert all(host.done(tag).status == 0 for host, tag in [*tags, (one, write)])
    assert int.from_bytes(world.store.content[:KIB_4], "big") == 100 + 16


def test_the_short_cut_is_closed_while_ranges_are_claimed(make_world: MakeWorld, planned: SetPlan) -> None:
    world = make_world(fast=True)
    host = world.host()
    planned(_increment(world.disk))
    gate = world.store.close_gate()
    host.command(LUN, PLANNED)
    gate.arrived(1)
    assert not host.itl.go_read and not host.itl.go_write
    world.store.open_gate()
    world.settle()
    assert host.itl.go_read and host.itl.go_write


def test_work_on_two_disks_from_both_ends_does_not_lock_up(world: World, planned: SetPlan) -> None:
    one, two = world.disk, world.other_disk

    def copy(source: Disk, destination: Disk) -> Plan:
        def work(media: Media) -> Reply:
            media[destination].write(0, media[source].read(0, KIB_4))
            return GOOD

        return WorkOnBlocks((Extent(source, 0, KIB_4, False), Extent(destination, 0, KIB_4, True)), work)

    world.store.content[:KIB_4] = data(KIB_4, 1)
    world.other_store.content[:KIB_4] = data(KIB_4, 2)
    host = world.host()
    gates = world.store.close_gate(), world.other_store.close_gate()
    tags = []
    for source, destination in ((one, two), (two, one)) * 8:
        planned(copy(source, destination))
        tags.append(host.command(LUN, PLANNED))
    assert gates
    world.store.open_gate()
    world.other_store.open_gate()
    world.settle()
    assert all(host.done(tag).status == 0 for tag in tags)
    assert world.store.content[:KIB_4] == world.other_store.content[:KIB_4] == data(KIB_4, 1)


def test_an_aborted_command_abandons_its_work(world: World, planned: SetPlan) -> None:
    ended: list[Reply | None] = []
    planned(_increment(world.disk, ended))
    host = world.host()
    gate = world.store.close_gate()
    tag = host.command(LUN, PLANNED)
    gate.arrived(1)
    host.session.tasks[tag].connection.abort(host.session.tasks[tag])
    world.store.open_gate()
    world.settle()
    assert ended == [None]
    assert not any(world.store.content[:KIB_4]), "it was abandoned before it wrote"
    assert not world.executor.busy(world.disk)
    assert host.scsi(LUN, write_10(0, 1), data_out=data(512)).status == 0, "the range is free again"


def test_work_that_waits_for_its_ranges_is_abandoned_too(world: World, planned: SetPlan) -> None:
    planned(_increment(world.disk))
    host = world.host()
    gate = world.store.close_gate()
    first = host.command(LUN, PLANNED)
    second = host.command(LUN, PLANNED)
    gate.arrived(1)
    host.session.tasks[second].connection.abort(host.session.tasks[second])
    world.store.open_gate()
    world.settle()
    assert host.done(first).status == 0
    assert int.from_bytes(world.store.content[:KIB_4], "big") == 1


@pytest.mark.conformance("SBC-023", "SNS-008")
def test_an_error_of_the_store_is_the_answer(world: World, planned: SetPlan) -> None:
    planned(_increment(world.disk))
    host = world.host()
    for error, key in ((errno.EIO, 0x3), (errno.ENOSPC, 0x7)):
        world.store.write_error = error
        done = host.scsi(LUN, PLANNED)
        assert (done.status, done.sense[2] & 0xF) == (2, key)


@pytest.mark.conformance("SBC-023", "SNS-008")
def test_an_error_of_work_says_whether_it_was_met_reading_or_writing(world: World, planned: SetPlan) -> None:
    planned(_increment(world.disk))
    host = world.host()
    world.store.read_error = errno.EIO
    assert host.scsi(LUN, PLANNED).sense[12:14] == b"\x11\0"
    world.store.read_error, world.store.write_error = 0, errno.EIO
    assert host.scsi(LUN, PLANNED).sense[12:14] == b"\x0c\0"


def test_immediate_work_is_answered_before_it_is_done(world: World, planned: SetPlan) -> None:
    ended: list[Reply | None] = []
    work = _increment(world.disk)
    assert isinstance(work, WorkOnBlocks)
    planned(
        WorkOnBlocks(work.extents, work.work, lambda reply: (ended.append(reply), reply)[1], immediate=True)
    )
    host = world.host()
    gate = world.store.close_gate()
    tag = host.command(LUN, PLANNED)
    gate.arrived(1)
    assert host.done(tag).status == 0 and not ended
    world.store.open_gate()
    world.settle()
    assert ended == [GOOD]
    assert int.from_bytes(world.store.content[:KIB_4], "big") == 1


def test_work_without_its_command_ends_with_its_disk(world: World, planned: SetPlan) -> None:
    ended: list[Reply | None] = []
    work = _increment(world.disk)
    assert isinstance(work, WorkOnBlocks)
    planned(
        WorkOnBlocks(work.extents, work.work, lambda reply: (ended.append(reply), reply)[1], immediate=True)
    )
    host = world.host()
    gate = world.store.close_gate()
    host.command(LUN, PLANNED)
    gate.arrived(1)
    world.executor.abandon(world.disk)
    world.store.open_gate()
    world.settle()
    assert ended == [None]


@pytest.mark.conformance("PRS-027")
def test_a_write_that_a_new_reservation_forbids_does_not_reach_the_disk(
    world: World, planned: SetPlan
) -> None:
    """A write of another host waits for its data; then the disk is reserved, and the data comes."""
    holder = world.host(initiator=HOST, target=TARGET)
    other = world.host(
        initiator=OTHER_HOST, target=OTHER_TARGET, keys={"InitialR2T": "Yes", "ImmediateData": "No"}
    )
    other.machine.hold_r2ts = True
    tag = other.command(LUN, write_10(0, 8), data_out=data(KIB_4, 7))
    assert not other.ended(tag), "it waits for its data"
    assert holder.scsi(LUN, RESERVE_6).status == 0
    planned(Fence(world.disk, GOOD))
    assert holder.scsi(LUN, PLANNED).status == 0
    other.machine.hold_r2ts = False
    for event in other.of(R2TReceived):
        other.machine.answer(event.r2t)
    other.run()
    world.settle()
    assert other.done(tag).status == 0x18
    assert not any(world.store.content[:KIB_4])


@pytest.mark.conformance("PRS-027")
def test_a_fence_waits_for_what_threads_are_writing(world: World, planned: SetPlan) -> None:
    holder, other = world.host(initiator=HOST), world.host(initiator=OTHER_HOST, target=OTHER_TARGET)
    gate = world.store.close_gate()
    write = other.command(LUN, write_10(0, 8), data_out=data(KIB_4, 7))
    gate.arrived(1)
    planned(Fence(world.disk, GOOD))
    fence = holder.command(LUN, PLANNED)
    assert not holder.ended(fence)
    world.store.open_gate()
    world.settle()
    assert holder.done(fence).status == 0 and other.done(write).status == 0
    assert world.store.content[:KIB_4] == data(KIB_4, 7)


@pytest.mark.conformance("PRS-012")
def test_a_fence_aborts_the_tasks_of_its_victims_alone(world: World, planned: SetPlan) -> None:
    holder = world.host(initiator=HOST)
    victim = world.host(initiator=OTHER_HOST, target=OTHER_TARGET)
    gate = world.store.close_gate()
    doomed = victim.command(LUN, read_10(0, 8), read_length=KIB_4)
    spared = holder.command(LUN, read_10(0, 8), read_length=KIB_4)
    elsewhere = victim.command(OTHER_LUN, read_10(0, 8), read_length=KIB_4)
    gate.arrived(1)
    planned(Fence(world.disk, GOOD, abort=(victim.itl,)))
    fence = holder.command(LUN, PLANNED)
    world.store.open_gate()
    world.settle()
    assert holder.done(fence).status == 0 and holder.done(spared).status == 0
    assert victim.done(elsewhere).status == 0 and not victim.ended(doomed)


@pytest.mark.conformance("PRS-015")
def test_an_answer_waits_until_what_it_tells_is_written_down(
    world: World, planned: SetPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Disk, Callable[[Exception | None], None]]] = []
    monkeypatch.setattr(world.executor, "_keep", lambda disk, done: asked.append((disk, done)))
    host = world.host()
    planned(Keep(world.disk, GOOD))
    good, bad = host.command(LUN, PLANNED), host.command(LUN, PLANNED)
    assert not host.ended(good) and [disk for disk, _ in asked] == [world.disk] * 2
    asked[0][1](None)
    asked[1][1](OSError(errno.EIO, "the state folder is gone"))
    host.run()
    assert host.done(good).status == 0
    assert (host.done(bad).status, host.done(bad).sense[2] & 0xF) == (2, 0x4)
    assert host.scsi(LUN, TEST_UNIT_READY).status == 0
