"""Task attributes: what an ORDERED or a HEAD OF QUEUE command waits for, and what waits for it."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from mpxtarget.pdu import TaskAttribute, TmfFunction
from mpxtarget.server import executor
from mpxtarget.testing import CommandDone
from support.cdb import TEST_UNIT_READY, data, read_10, write_10
from support.world import LUN, OTHER_HOST, OTHER_LUN, Host, World

SIMPLE, ORDERED, HEAD = TaskAttribute.SIMPLE, TaskAttribute.ORDERED, TaskAttribute.HEAD_OF_QUEUE
TASK_SET_FULL, TASK_ABORTED = 0x28, 0x40
SOLICITED = {"InitialR2T": "Yes", "ImmediateData": "No"}
UNSOLICITED = {"InitialR2T": "No", "ImmediateData": "Yes"}


@pytest.fixture
def world() -> Iterator[World]:
    world = World(fast=True)
    yield world
    world.store.open_gate()
    world.other_store.open_gate()
    world.close()


def read(host: Host, lba: int, attr: int = SIMPLE, lun: int = LUN) -> int:
    """A read of one block of its own."""
    return host.command(lun, read_10(lba, 1), read_length=512, attr=attr)


def wait_for(world: World, host: Host, *itts: int) -> None:
    """Let the target work until these commands have ended."""
    world.run()
    while not all(host.ended(itt) for itt in itts):
        assert world.drain(), "the target has nothing left to do"
        world.run()


def let_one_go(world: World, lba: int) -> None:
    """The disk answers the read of one block."""
    assert world.store.gate is not None
    world.store.gate.release(("read", lba * 512, 512))


def reading(world: World, count: int) -> list[int]:
    """The blocks that the disk is asked for; it has to be so many."""
    assert world.store.gate is not None
    return sorted(offset // 512 for _, offset, _ in world.store.gate.arrived(count))


@pytest.mark.conformance("SAM-003")
def test_ordered_waits_for_all_older_and_holds_back_all_younger(world: World) -> None:
    world.store.close_gate()
    host, other = world.host(), world.host(initiator=OTHER_HOST)
    first, second = read(host, 1), read(other, 2)
    ordered = read(host, 3, ORDERED)
    younger = read(other, 4)
    assert reading(world, 2) == [1, 2]
    let_one_go(world, 1)
    wait_for(world, host, first)
    assert reading(world, 1) == [2]
    let_one_go(world, 2)
    wait_for(world, other, second)
    world.drain()
    assert reading(world, 1) == [3]
    assert not other.ended(younger)
    let_one_go(world, 3)
    wait_for(world, host, ordered)
    world.drain()
    assert reading(world, 1) == [4]
    world.store.open_gate()
    wait_for(world, other, younger)
    assert other.done(younger).status == 0


@pytest.mark.conformance("SAM-003")
def test_head_of_queue_begins_at_once_and_holds_back_what_has_not_begun(world: World) -> None:
    world.store.close_gate()
    host = world.host()
    running = read(host, 1)
    ordered = read(host, 2, ORDERED)
    head = read(host, 3, HEAD)
    assert reading(world, 2) == [1, 3]
    let_one_go(world, 1)
    wait_for(world, host, running)
    world.drain()
    assert reading(world, 1) == [3], "ORDERED waits for HEAD OF QUEUE, too"
    let_one_go(world, 3)
    wait_for(world, host, head)
    world.drain()
    assert reading(world, 1) == [2]
    world.store.open_gate()
    wait_for(world, host, ordered)


@pytest.mark.conformance("SAM-003")
def test_simple_waits_for_head_of_queue(world: World) -> None:
    world.store.close_gate()
    host = world.host()
    head, simple = read(host, 1, HEAD), read(host, 2)
    assert reading(world, 1) == [1]
    world.store.open_gate()
    wait_for(world, host, head, simple)
    ends = [event.itt for event in host.of(CommandDone)]
    assert ends.index(head) < ends.index(simple)


@pytest.mark.conformance("SAM-003")
def test_several_ordered_commands_run_one_by_one_in_the_order_they_came(world: World) -> None:
    world.store.close_gate()
    host = world.host()
    itts = [read(host, lba, ORDERED if lba % 2 else SIMPLE) for lba in range(8)]
    for lba in range(0, 8, 2):
        assert reading(world, 1) == [lba], "one alone"
        let_one_go(world, lba)
        wait_for(world, host, itts[lba])
        world.drain()
        assert reading(world, 1) == [lba + 1]
        let_one_go(world, lba + 1)
        wait_for(world, host, itts[lba + 1])
        world.drain()
    assert [event.itt for event in host.of(CommandDone)][-8:] == itts


@pytest.mark.conformance("SAM-003")
def test_every_unit_has_a_task_set_of_its_own(world: World) -> None:
    world.store.close_gate()
    host = world.host()
    read(host, 1)
    read(host, 2, ORDERED)
    elsewhere = read(host, 1, ORDERED, OTHER_LUN)
    assert host.ended(elsewhere)
    assert reading(world, 1) == [1]


@pytest.mark.conformance("SAM-003", "SAM-010")
def test_short_cut_is_closed_while_an_order_is_kept_and_open_again_after(world: World) -> None:
    world.store.close_gate()
    host = world.host()
    world.store.at_once = False
    first = read(host, 1)
    ordered = read(host, 2, ORDERED)
    world.store.at_once = True
    assert not host.itl.go_read
    younger = read(host, 3)
    assert not host.ended(younger)
    world.store.open_gate()
    wait_for(world, host, first, ordered, younger)
    while not host.itl.go_read:
        assert world.drain()
    assert host.ended(read(host, 4))


@pytest.mark.conformance("SAM-003")
@pytest.mark.parametrize("attr", [ORDERED, HEAD])
def test_alone_they_are_done_at_once(world: World, attr: int) -> None:
    host = world.host()
    assert host.ended(read(host, 1, attr))
    assert host.scsi(LUN, TEST_UNIT_READY, attr=attr).status == 0
    while not host.itl.go_read:
        assert world.drain()


@pytest.mark.conformance("SAM-003", "WRT-001")
@pytest.mark.parametrize("keys", [SOLICITED, UNSOLICITED, {}])
@pytest.mark.parametrize("blocks", [1, 16, 600])
def test_writes_that_wait_lose_no_data(world: World, keys: dict[str, str], blocks: int) -> None:
    world.store.close_gate()
    host, other = world.host(), world.host(initiator=OTHER_HOST, keys=keys)
    first = read(host, 8000)
    content, later = data(512 * blocks, 1), data(512 * blocks, 2)
    ordered = other.command(LUN, write_10(0, blocks), data_out=content, attr=ORDERED)
    younger = other.command(LUN, write_10(0, blocks), data_out=later)
    assert not any(world.store.content)
    world.store.open_gate()
    wait_for(world, host, first)
    wait_for(world, other, ordered, younger)
    assert (other.done(ordered).status, other.done(younger).status) == (0, 0)
    assert world.store.content[: len(later)] == later


@pytest.mark.conformance("SAM-003", "SAM-001")
def test_checks_are_made_when_a_command_begins(world: World) -> None:
    world.store.close_gate()
    host, other = world.host(), world.host(initiator=OTHER_HOST)
    first = read(host, 1)
    ordered = read(other, 2, ORDERED)
    world.disk.reserve_for(host.session.nexus)
    world.store.open_gate()
    wait_for(world, host, first)
    wait_for(world, other, ordered)
    assert other.done(ordered).status == 0x18


@pytest.mark.conformance("SAM-003", "TMF-002")
def test_command_that_is_aborted_while_it_waits_is_gone(world: World) -> None:
    world.store.close_gate()
    host = world.host()
    first = read(host, 1)
    ordered = host.command(LUN, write_10(2, 1), data_out=data(512), attr=ORDERED)
    younger = read(host, 3)
    assert host.tmf(TmfFunction.ABORT_TASK, referenced=ordered) == 0
    world.drain()
    assert reading(world, 2) == [1, 3]
    world.store.open_gate()
    wait_for(world, host, first, younger)
    assert not host.ended(ordered)
    assert not any(world.store.content)


@pytest.mark.conformance("SAM-003", "TMF-014")
def test_reset_ends_what_waits_and_the_next_command_begins(world: World) -> None:
    world.store.close_gate()
    host, other = world.host(), world.host(initiator=OTHER_HOST)
    for lba in range(4):
        read(host, lba, ORDERED)
    assert other.tmf(TmfFunction.LOGICAL_UNIT_RESET, lun=LUN) == 0
    assert host.session.tasks == {}
    world.store.open_gate()
    world.settle()
    while world.drain(0):
        pass
    for _ in range(2):
        done = host.scsi(LUN, TEST_UNIT_READY)
    assert done.status == 0
    assert host.itl.go_read


@pytest.mark.conformance("SAM-003")
def test_lost_session_leaves_nobody_waiting(world: World) -> None:
    world.store.close_gate()
    host, other = world.host(), world.host(initiator=OTHER_HOST)
    read(host, 1, ORDERED)
    read(host, 2, ORDERED)
    waiting = read(other, 3)
    host.target.hang_up()
    world.store.open_gate()
    wait_for(world, other, waiting)
    assert other.done(waiting).status == 0


@pytest.mark.conformance("SAM-003", "SAM-005")
def test_waiting_commands_are_told_that_they_were_aborted(world: World) -> None:
    world.disk.mode = replace(world.disk.mode, task_aborted_status=True)
    world.store.close_gate()
    host, other = world.host(), world.host(initiator=OTHER_HOST)
    read(host, 1)
    waiting = [
        other.command(LUN, write_10(2, 1), data_out=data(512), attr=ORDERED),
        read(other, 3),
    ]
    host.tmf(TmfFunction.CLEAR_TASK_SET, lun=LUN)
    other.run()
    assert [other.done(itt).status for itt in waiting] == [TASK_ABORTED, TASK_ABORTED]
    world.store.open_gate()
    world.settle()
    assert not any(world.store.content)


@pytest.mark.conformance("SAM-003", "SEC-001")
def test_data_of_waiting_commands_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor, "PARAMETER_BYTES", 8192)
    world.store.close_gate()
    host = world.host()
    first = read(host, 8000)
    itts = [
        host.command(LUN, write_10(16 * number, 8), data_out=data(4096), attr=ORDERED) for number in range(3)
    ]
    world.run()
    assert host.done(itts[2]).status == TASK_SET_FULL
    world.store.open_gate()
    wait_for(world, host, first, *itts)
    assert [host.done(itt).status for itt in itts] == [0, 0, TASK_SET_FULL]
