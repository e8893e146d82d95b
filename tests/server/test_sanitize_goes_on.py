"""A SANITIZE goes on whatever becomes of its command, and is written down before it begins."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from mpxtarget.pdu import TmfFunction
from mpxtarget.scsi.logical_unit import Disk, Kept
from support.cdb import TEST_UNIT_READY, read_10
from support.world import LUN, OTHER_HOST, Host, World, calm

BLOCK_ERASE, IMMED = 0x02, 0x80
IN_PROGRESS, FAILED = (0x2, 0x04, 0x1B), (0x3, 0x31, 0x03)


def sanitize(flags: int = 0) -> bytes:
    """SANITIZE, BLOCK ERASE."""
    return bytes((0x48, BLOCK_ERASE | flags, 0, 0, 0, 0, 0, 0, 0, 0))


def ready(host: Host) -> tuple[int, int, int] | None:
    """What TEST UNIT READY says; None for GOOD. It does not wait for threads."""
    done = host.done(host.command(LUN, TEST_UNIT_READY))
    return (done.sense[2], done.sense[12], done.sense[13]) if done.status else None


@pytest.mark.conformance("SBC-019", "TMF-014", "TMF-002")
@pytest.mark.parametrize("end", ["abort", "unit reset", "target reset", "connection"])
@pytest.mark.parametrize("flags", [0, IMMED])
def test_it_goes_on_without_its_command(world: World, end: str, flags: int) -> None:
    world.store.pattern()
    host, other = world.host(), world.host(initiator=OTHER_HOST)
    gate = world.store.close_gate()
    itt = host.command(LUN, sanitize(flags))
    gate.arrived(1)
    assert host.ended(itt) is bool(flags)
    assert ready(other) == IN_PROGRESS
    if end == "connection":
        host.target.hang_up()
    else:
        function = {
            "abort": TmfFunction.ABORT_TASK_SET,
            "unit reset": TmfFunction.LOGICAL_UNIT_RESET,
            "target reset": TmfFunction.TARGET_WARM_RESET,
        }[end]
        assert host.tmf(function, lun=LUN) == 0
    calm(other.session.nexus)
    assert ready(other) == IN_PROGRESS
    world.store.open_gate()
    world.settle()
    assert ready(other) is None
    assert world.store.content == bytes(world.store.size)
    assert other.scsi(LUN, read_10(0, 1), read_length=512).data == bytes(512)


@pytest.mark.conformance("SBC-019", "SBC-023")
@pytest.mark.parametrize("flags", [0, IMMED])
def test_a_store_that_fails_leaves_the_failure_to_see(world: World, flags: int) -> None:
    host = world.host()
    world.store.write_error = errno.EIO
    done = host.scsi(LUN, sanitize(flags))
    assert done.status == (0 if flags else 2)
    assert ready(host) == FAILED
    world.store.write_error = 0
    assert host.scsi(LUN, sanitize()).status == 0
    assert ready(host) is None


@pytest.mark.conformance("SBC-019")
def test_the_end_of_the_target_interrupts_it_and_that_is_seen(world: World) -> None:
    world.store.pattern()
    host = world.host()
    gate = world.store.close_gate()
    host.command(LUN, sanitize())
    gate.arrived(1)
    world.executor.abandon()
    world.store.open_gate()
    world.settle()
    assert world.disk.kept.unsanitized is False
    assert ready(host) == FAILED


Done = Callable[[Exception | None], None]


@pytest.mark.conformance("SBC-019")
@pytest.mark.parametrize("flags", [0, IMMED])
def test_it_is_written_down_before_it_begins_and_after_it_ended(
    world: World, monkeypatch: pytest.MonkeyPatch, flags: int
) -> None:
    before = world.store.pattern()
    kept: list[tuple[Kept, Done]] = []

    def keep(disk: Disk, done: Done) -> None:
        kept.append((disk.kept, done))

    monkeypatch.setattr(world.executor, "_keep", keep)
    host = world.host()
    itt = host.command(LUN, sanitize(flags))
    world.settle()
    ((record, done),) = kept
    assert record.unsanitized is False
    assert not host.ended(itt)
    assert world.store.content == before
    done(None)
    world.settle()
    assert world.store.content == bytes(world.store.size)
    assert host.ended(itt) is bool(flags), "not before that it is over is written down"
    record, done = kept[1]
    assert record.unsanitized is None
    done(None)
    world.run()
    assert host.done(itt).status == 0


@pytest.mark.conformance("SBC-019")
@pytest.mark.parametrize("flags", [0, IMMED])
def test_what_cannot_be_written_down_does_not_begin(
    world: World, monkeypatch: pytest.MonkeyPatch, flags: int
) -> None:
    before = world.store.pattern()
    monkeypatch.setattr(world.executor, "_keep", lambda disk, done: done(OSError(errno.EIO, "no")))
    host = world.host()
    done = host.scsi(LUN, sanitize(flags))
    assert (done.status, done.sense[2], done.sense[12]) == (2, 0x4, 0x44)
    assert world.store.content == before
    assert ready(host) == FAILED
