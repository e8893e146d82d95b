"""TAS of the Control mode page: what a host is told of commands that another one has ended."""

import struct
from collections.abc import Iterator
from dataclasses import replace

import pytest

from mpxtarget.pdu import NO_TAG, ScsiResponse, TmfFunction
from mpxtarget.testing import R2TReceived
from support.cdb import data, read_10, verify_10, write_10
from support.world import HOST, LUN, OTHER_HOST, OTHER_LUN, Host, World, calm

TASK_ABORTED = 0x40
PREEMPT_AND_ABORT, REGISTER_AND_IGNORE = 0x05, 0x06
CLEARED, RESET = 0x2F00, 0x2903


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    world.store.close_gate()
    world.other_store.close_gate()
    yield world
    world.store.open_gate()
    world.other_store.open_gate()
    world.close()


def report_aborted_tasks(world: World, tas: bool = True) -> None:
    """Set TAS of LUN 1, without the unit attention that a MODE SELECT would raise."""
    world.disk.mode = replace(world.disk.mode, task_aborted_status=tas)


def let_go(world: World) -> None:
    """The disks answer again."""
    world.store.open_gate()
    world.other_store.open_gate()
    world.settle()


def reading(host: Host, lun: int = LUN) -> int:
    """A read that waits for the disk."""
    return host.command(lun, read_10(0, 1), read_length=512)


def send_the_data(host: Host) -> None:
    """Answer what the target has asked for."""
    host.machine.hold_r2ts = False
    for event in host.of(R2TReceived):
        host.machine.answer(event.r2t)
    host.run()


def pending_attentions(host: Host) -> list[int]:
    """The unit attentions of LUN 1."""
    return list(host.itl.attentions)


@pytest.mark.conformance("SAM-005", "MOD-010", "UAT-001")
@pytest.mark.parametrize("tas", [False, True])
def test_clear_task_set_is_told_by_status_or_by_unit_attention(world: World, tas: bool) -> None:
    report_aborted_tasks(world, tas)
    host, other, idle = world.host(), world.host(initiator=OTHER_HOST), world.host(isid=0x800000000002)
    own, foreign, elsewhere = reading(host), reading(other), reading(other, OTHER_LUN)
    assert host.tmf(TmfFunction.CLEAR_TASK_SET, lun=LUN) == 0
    other.run()
    assert not host.ended(own)
    assert other.ended(foreign) is tas
    assert not other.ended(elsewhere)
    assert pending_attentions(other) == ([] if tas else [CLEARED])
    assert pending_attentions(host) == pending_attentions(idle) == []
    let_go(world)
    if tas:
        assert other.done(foreign).status == TASK_ABORTED
        assert len(other.pdus(ScsiResponse, foreign)) == 1
    assert foreign not in other.session.tasks
    assert not host.ended(own)


@pytest.mark.conformance("SAM-005", "TMF-014")
@pytest.mark.parametrize(
    ("function", "attention"),
    [(TmfFunction.LOGICAL_UNIT_RESET, RESET), (TmfFunction.TARGET_WARM_RESET, 0x2902)],
)
def test_resets_tell_the_others_by_status_and_everybody_by_unit_attention(
    world: World, function: int, attention: int
) -> None:
    report_aborted_tasks(world)
    host, other = world.host(), world.host(initiator=OTHER_HOST)
    own, foreign = reading(host), reading(other)
    assert host.tmf(function, lun=LUN) == 0
    other.run()
    assert other.done(foreign).status == TASK_ABORTED
    assert not host.ended(own)
    assert pending_attentions(host) == pending_attentions(other) == [attention]
    assert not world.disk.mode.task_aborted_status  # the reset has brought the default back


@pytest.mark.conformance("SAM-005", "TMF-010")
def test_a_host_that_ends_its_own_commands_hears_nothing_of_them(world: World) -> None:
    report_aborted_tasks(world)
    host, other = world.host(), world.host(initiator=OTHER_HOST)
    own, foreign = reading(host), reading(other)
    assert host.tmf(TmfFunction.ABORT_TASK_SET, lun=LUN) == 0
    let_go(world)
    assert not host.ended(own)
    assert other.done(foreign).status == 0


@pytest.mark.conformance("SAM-005")
def test_the_same_host_on_another_path_is_another_nexus(world: World) -> None:
    report_aborted_tasks(world)
    host, path = world.host(), world.host(initiator=HOST, isid=0x800000000002)
    foreign = reading(path)
    host.tmf(TmfFunction.CLEAR_TASK_SET, lun=LUN)
    path.run()
    assert path.done(foreign).status == TASK_ABORTED


@pytest.mark.conformance("SAM-005", "RSP-001")
def test_what_a_command_comes_to_after_it_was_aborted_is_not_its_status(world: World) -> None:
    """Data for it is still to come, so its status waits; meanwhile the disk is done with it."""
    report_aborted_tasks(world)
    host = world.host()
    other = world.host(initiator=OTHER_HOST, keys={"InitialR2T": "No", "ImmediateData": "No"})
    pdu = other.make.scsi_command(
        lun=LUN << 48, itt=0x77, final=0, write=1, read=0, attr=1, expected_data_transfer_length=512,
        cdb=verify_10(0, 1).ljust(16, b"\0"),
    )  # fmt: skip
    assert other.say(pdu) == []
    assert host.tmf(TmfFunction.CLEAR_TASK_SET, lun=LUN) == 0
    let_go(world)
    answers = other.say(other.make.data_out(lun=LUN << 48, itt=0x77, ttt=NO_TAG, final=1), bytes(512))
    assert [answer.status for answer, _ in answers if isinstance(answer, ScsiResponse)] == [TASK_ABORTED]


@pytest.mark.conformance("SAM-005", "RSP-001")
def test_status_of_a_write_waits_for_the_data_that_was_asked_for(world: World) -> None:
    report_aborted_tasks(world)
    keys = {"InitialR2T": "Yes", "ImmediateData": "No"}
    host, other = world.host(), world.host(initiator=OTHER_HOST, keys=keys)
    other.machine.hold_r2ts = True
    foreign = other.command(LUN, write_10(0, 4), data_out=data(2048))
    host.tmf(TmfFunction.CLEAR_TASK_SET, lun=LUN)
    other.run()
    assert not other.ended(foreign)
    send_the_data(other)
    assert other.done(foreign).status == TASK_ABORTED
    let_go(world)
    assert not any(world.store.content)


@pytest.mark.conformance("SAM-005")
def test_write_whose_data_is_here_is_told_at_once_and_answered_once(world: World) -> None:
    report_aborted_tasks(world)
    host, other = world.host(), world.host(initiator=OTHER_HOST)
    foreign = other.command(LUN, write_10(0, 1), data_out=data(512))
    assert not other.ended(foreign)
    host.tmf(TmfFunction.CLEAR_TASK_SET, lun=LUN)
    other.run()
    assert other.done(foreign).status == TASK_ABORTED
    let_go(world)
    assert len(other.pdus(ScsiResponse, foreign)) == 1


@pytest.mark.conformance("SAM-005")
def test_a_session_that_lost_tasks_goes_on(world: World) -> None:
    report_aborted_tasks(world)
    host, other = world.host(), world.host(initiator=OTHER_HOST)
    for _ in range(8):
        reading(other)
    host.tmf(TmfFunction.CLEAR_TASK_SET, lun=LUN)
    let_go(world)
    calm(other.session.nexus)
    assert other.session.outstanding == 0
    assert other.scsi(LUN, read_10(0, 1), read_length=512).status == 0


def persistent_reserve_out(host: Host, action: int, key: int, new_key: int = 0) -> int:
    """PERSISTENT RESERVE OUT for Write Exclusive, Registrants Only; its tag."""
    cdb = struct.pack(">BBBxxIx", 0x5F, action, 0x05, 24)
    return host.command(LUN, cdb, data_out=struct.pack(">QQ8x", key, new_key))


@pytest.mark.conformance("SAM-005", "PRS-012")
@pytest.mark.parametrize("tas", [False, True])
def test_preempted_host_is_told_of_its_commands_before_preempt_is_answered(world: World, tas: bool) -> None:
    let_go(world)
    keys = {"InitialR2T": "Yes", "ImmediateData": "No"}
    holder, other = world.host(), world.host(initiator=OTHER_HOST, keys=keys)
    for host, key in ((holder, 0xA), (other, 0xB)):
        persistent_reserve_out(host, REGISTER_AND_IGNORE, 0, key)
        world.settle()
    report_aborted_tasks(world, tas)
    world.store.close_gate()
    own, foreign = reading(holder), reading(other)
    other.machine.hold_r2ts = True
    unsent = other.command(LUN, write_10(8, 2), data_out=data(1024))
    preempt = persistent_reserve_out(holder, PREEMPT_AND_ABORT, 0xA, 0xB)
    other.run()
    assert other.ended(foreign) is tas
    assert not other.ended(unsent)
    let_go(world)
    assert holder.done(preempt).status == holder.done(own).status == 0
    send_the_data(other)
    world.settle()
    assert other.ended(unsent) is tas
    if tas:
        assert other.done(foreign).status == other.done(unsent).status == TASK_ABORTED
    assert not any(world.store.content)
