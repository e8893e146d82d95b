"""A host that loses its registration writes nothing more once PREEMPT is answered; ABORT ends its tasks."""

import struct
from collections.abc import Callable, Iterator

import pytest

from mpxtarget.pdu import TmfFunction
from mpxtarget.scsi.copy.tokens import BlockRange
from mpxtarget.scsi.logical_unit import Disk
from mpxtarget.testing import R2TReceived
from support.cdb import data, read_10, write_10
from support.world import HOST, LUN, OTHER_HOST, OTHER_TARGET, TARGET, Host, World

KIB_4 = 4096
CONFLICT = 0x18
RESERVE, CLEAR, PREEMPT, PREEMPT_AND_ABORT, IGNORE = 1, 3, 4, 5, 6
WRITE_EXCLUSIVE, REGISTRANTS_ONLY = 1, 5
APTPL = 0x01
MINE, THEIRS = 0xA, 0xB
REGISTRATIONS_PREEMPTED = 0x2A05

PREEMPTS = pytest.mark.parametrize("action", [PREEMPT, PREEMPT_AND_ABORT])


@pytest.fixture(params=[False, True], ids=["device server", "short cut"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    world = World(fast=request.param)
    yield world
    world.store.open_gate()
    world.close()


@pytest.fixture
def hosts(world: World) -> tuple[Host, Host]:
    """One that holds the disk, and one that is registered too and gets no data out unless asked."""
    holder = world.host(initiator=HOST, target=TARGET)
    other = world.host(
        initiator=OTHER_HOST, target=OTHER_TARGET, keys={"InitialR2T": "Yes", "ImmediateData": "No"}
    )
    assert persistent(holder, IGNORE, 0, MINE) == persistent(other, IGNORE, 0, THEIRS) == 0
    assert persistent(holder, RESERVE, MINE, type_=REGISTRANTS_ONLY) == 0
    return holder, other


def send(
    host: Host, action: int, key: int, new_key: int = 0, *, type_: int = REGISTRANTS_ONLY, flags: int = 0
) -> int:
    """Send PERSISTENT RESERVE OUT; its tag."""
    cdb = struct.pack(">BBBxxIx", 0x5F, action, type_, 24)
    return host.command(LUN, cdb, data_out=struct.pack(">QQ4xB3x", key, new_key, flags))


def persistent(
    host: Host, action: int, key: int, new_key: int = 0, *, type_: int = REGISTRANTS_ONLY, flags: int = 0
) -> int:
    """PERSISTENT RESERVE OUT; its status."""
    tag = send(host, action, key, new_key, type_=type_, flags=flags)
    host.world.settle()
    return host.done(tag).status


def write_that_waits(host: Host) -> int:
    """A write that has been asked for its data and does not send it."""
    host.machine.hold_r2ts = True
    tag = host.command(LUN, write_10(0, 8), data_out=data(KIB_4, 7))
    assert not host.ended(tag)
    return tag


def send_the_data(host: Host) -> None:
    """Answer what the target has asked for."""
    host.machine.hold_r2ts = False
    for event in host.of(R2TReceived):
        host.machine.answer(event.r2t)
    host.run()
    host.world.settle()


@pytest.mark.conformance("PRS-027", "PRS-011")
def test_a_write_under_way_does_not_reach_the_disk(world: World, hosts: tuple[Host, Host]) -> None:
    holder, other = hosts
    tag = write_that_waits(other)
    assert persistent(holder, PREEMPT, MINE, THEIRS) == 0
    send_the_data(other)
    assert other.done(tag).status == CONFLICT
    assert not any(world.store.content[:KIB_4])
    assert list(other.itl.attentions) == [REGISTRATIONS_PREEMPTED]


@pytest.mark.conformance("PRS-027")
def test_a_write_that_a_new_holder_forbids_does_not_reach_the_disk(
    world: World, hosts: tuple[Host, Host]
) -> None:
    holder, other = hosts
    waiting = write_that_waits(other)
    assert persistent(holder, PREEMPT, MINE, MINE, type_=WRITE_EXCLUSIVE) == 0
    send_the_data(other)
    assert other.done(waiting).status == CONFLICT
    assert not any(world.store.content[:KIB_4])


@pytest.mark.conformance("PRS-027")
def test_a_write_that_is_still_allowed_goes_on(world: World, hosts: tuple[Host, Host]) -> None:
    holder, other = hosts
    tag = write_that_waits(other)
    assert persistent(holder, PREEMPT, MINE, MINE) == 0
    assert persistent(holder, CLEAR, MINE) == 0
    send_the_data(other)
    assert other.done(tag).status == 0
    assert world.store.content[:KIB_4] == data(KIB_4, 7)


@pytest.mark.conformance("PRS-027")
@PREEMPTS
def test_the_answer_waits_for_what_a_thread_is_writing(
    world: World, hosts: tuple[Host, Host], action: int
) -> None:
    holder, other = hosts
    gate = world.store.close_gate()
    write = other.command(LUN, write_10(0, 8), data_out=data(KIB_4, 7))
    gate.arrived(1)
    tag = send(holder, action, MINE, THEIRS)
    assert not holder.ended(tag)
    world.store.open_gate()
    world.settle()
    assert holder.done(tag).status == 0
    assert other.ended(write) is (action == PREEMPT)
    before = bytes(world.store.content[:KIB_4])
    again = other.scsi(LUN, write_10(0, 8), data_out=data(KIB_4, 9))
    assert again.status == 0x02, "first it is told what it lost"
    assert other.scsi(LUN, write_10(0, 8), data_out=data(KIB_4, 9)).status == CONFLICT
    assert world.store.content[:KIB_4] == before


@pytest.mark.conformance("PRS-012")
@PREEMPTS
def test_tasks_of_the_victims_are_aborted_and_no_others(
    world: World, hosts: tuple[Host, Host], action: int
) -> None:
    holder, other = hosts
    second = world.host(initiator=OTHER_HOST, target=TARGET, isid=0x800000000002)
    stranger = world.host(initiator=OTHER_HOST, target=TARGET, isid=0x800000000003)
    assert persistent(second, IGNORE, 0, THEIRS) == 0
    gate = world.store.close_gate()
    doomed = [each.command(LUN, read_10(0, 8), read_length=KIB_4) for each in (other, second)]
    spared = [each.command(LUN, read_10(0, 8), read_length=KIB_4) for each in (holder, stranger)]
    gate.arrived(1)
    tag = send(holder, action, MINE, THEIRS)
    world.store.open_gate()
    world.settle()
    assert holder.done(tag).status == 0
    assert [each.done(read).status for each, read in zip((holder, stranger), spared, strict=True)] == [0, 0]
    ended = [each.ended(read) for each, read in zip((other, second), doomed, strict=True)]
    assert ended == [action == PREEMPT] * 2
    for each in (other, second):
        assert list(each.itl.attentions) == [REGISTRATIONS_PREEMPTED]


@pytest.mark.conformance("PRS-015", "PRS-027")
def test_with_aptpl_the_answer_waits_until_it_is_written_down(
    world: World, hosts: tuple[Host, Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    holder, _ = hosts
    asked: list[tuple[Disk, Callable[[Exception | None], None]]] = []
    monkeypatch.setattr(world.executor, "_keep", lambda disk, done: asked.append((disk, done)))
    first = send(holder, IGNORE, 0, MINE, flags=APTPL)
    assert not holder.ended(first)
    kept = world.disk.kept.reservations
    assert kept is not None
    assert [each.key for each in kept.registrations] == [MINE, THEIRS]
    asked.pop()[1](None)
    world.settle()
    assert holder.done(first).status == 0
    second = send(holder, PREEMPT, MINE, THEIRS)
    world.settle()
    assert not holder.ended(second)
    asked.pop()[1](OSError("no room"))
    world.settle()
    assert holder.done(second).status == 0x02, "what is not written down is not acknowledged"


@pytest.mark.conformance("PRS-015")
def test_what_others_see_is_written_down_also_when_nobody_waits_for_the_answer(
    world: World, hosts: tuple[Host, Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    holder, other = hosts
    assert persistent(holder, IGNORE, 0, MINE, flags=APTPL) == 0
    kept: list[Disk] = []
    monkeypatch.setattr(world.executor, "_keep", lambda disk, done: (kept.append(disk), done(None)))
    gate = world.store.close_gate()
    other.command(LUN, write_10(0, 8), data_out=data(KIB_4, 7))
    gate.arrived(1)
    tag = send(holder, PREEMPT, MINE, THEIRS)
    assert not holder.ended(tag), "it waits for the write"
    assert holder.tmf(TmfFunction.ABORT_TASK, referenced=tag) == 0
    assert [each.key for each in world.disk.reservations.registrations] == [MINE]
    world.store.open_gate()
    world.settle()
    assert kept == [world.disk]


@pytest.mark.conformance("PRS-027")
def test_the_answer_does_not_wait_for_what_is_only_read(world: World, hosts: tuple[Host, Host]) -> None:
    holder, other = hosts
    gate = world.store.close_gate()
    read = other.command(LUN, read_10(0, 8), read_length=KIB_4)
    gate.arrived(1)
    assert holder.done(send(holder, PREEMPT, MINE, THEIRS)).status == 0
    assert not other.ended(read)


@pytest.mark.conformance("PRS-027", "ODX-001")
def test_a_reservation_changes_no_block_and_cancels_no_token(world: World, hosts: tuple[Host, Host]) -> None:
    holder, _ = hosts
    token = world.device.tokens.create(world.disk, [BlockRange(0, KIB_4)], 60, HOST)
    assert persistent(holder, PREEMPT, MINE, THEIRS) == 0
    assert list(world.device.tokens) == [token]


@pytest.mark.conformance("PRS-002", "RES-006")
def test_a_list_that_is_announced_and_not_sent_is_refused(world: World) -> None:
    host = world.host()
    cdb = struct.pack(">BBBxxIx", 0x5F, IGNORE, 0, 24)
    done = host.scsi(LUN, cdb, data_out=bytes(16))
    assert done.status == 0x02
    assert not world.disk.reservations
