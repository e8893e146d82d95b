"""GOOD means that the data is where the host will look for it, whatever hosts, disks and stores do."""

from __future__ import annotations

import errno

import pytest

from mpxtarget.pdu import R2T
from support.cdb import SYNCHRONIZE_CACHE, data, read_10, write_10
from support.fixtures import MakeWorld
from support.world import LUN, OTHER_HOST, Host, World

FUA = 0x08
IMMED = b"\x35\x02" + bytes(8)
WRITE_ERROR = (0x3, 0x0C, 0x00)
SOLICITED = {"InitialR2T": "Yes", "ImmediateData": "No"}


def sense_of(host: Host, cdb: bytes) -> tuple[int, int, int] | None:
    """The sense key and code that a command ends with; None for GOOD."""
    done = host.scsi(LUN, cdb)
    return (done.sense[2], done.sense[12], done.sense[13]) if done.status else None


@pytest.mark.conformance("RES-006")
@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("expected", [512, 1024, 4096])
def test_a_write_that_expects_data_in_is_no_write(make_world: MakeWorld, fast: bool, expected: int) -> None:
    world = make_world(fast=fast)
    before = world.store.pattern()
    done = world.host().scsi(LUN, write_10(0, 1), read_length=expected)
    assert (done.status, done.sense[2], *done.sense[12:14]) == (2, 0x5, 0x0E, 0x03)
    assert world.store.content == before


@pytest.mark.conformance("SBC-009")
def test_a_failed_flush_that_nobody_waited_for_is_told_at_the_next(world: World) -> None:
    host = world.host()
    world.store.flush_error = errno.EIO
    assert sense_of(host, IMMED) is None, "answered before the flush"
    world.store.flush_error = 0
    assert sense_of(host, SYNCHRONIZE_CACHE) == WRITE_ERROR
    assert sense_of(host, SYNCHRONIZE_CACHE) is None


@pytest.mark.parametrize(
    "cdb", [SYNCHRONIZE_CACHE, IMMED, write_10(9, 1, flags=FUA)], ids=["flush", "immediate", "durable write"]
)
@pytest.mark.conformance("SBC-009")
def test_a_failed_flush_is_told_to_every_host(world: World, cdb: bytes) -> None:
    host, other = world.host(), world.host(initiator=OTHER_HOST)
    world.store.flush_error = errno.EIO
    assert sense_of(host, SYNCHRONIZE_CACHE) == WRITE_ERROR
    world.store.flush_error = 0
    length = 512 if cdb[0] == 0x2A else 0
    done = other.scsi(LUN, cdb, **({"data_out": data(length)} if length else {}))
    assert (done.status, done.sense[2]) == (2, 0x3), "it lost what it had written, too"
    assert sense_of(other, SYNCHRONIZE_CACHE) is None
    assert sense_of(host, SYNCHRONIZE_CACHE) is None


def solicited(world: World, lba: int) -> tuple[Host, int, R2T]:
    """A write of one block that has been asked for its data."""
    host = world.host(keys=SOLICITED)
    host.machine.hold_r2ts = True
    itt = host.command(LUN, write_10(lba, 1), data_out=data(512))
    (r2t,) = host.pdus(R2T, itt)
    return host, itt, r2t


@pytest.mark.conformance("LUN-015")
@pytest.mark.parametrize("at_once", [True, False])
def test_the_store_of_a_disk_that_was_taken_away_is_not_touched(world: World, at_once: bool) -> None:
    world.store.at_once = at_once
    before = world.store.pattern()
    host, itt, r2t = solicited(world, 0)
    host.itl.nexus.unmap(LUN)
    host.machine.answer(r2t)
    host.run()
    world.settle()
    done = host.done(itt)
    assert (done.status, done.sense[2], *done.sense[12:14]) == (2, 0x5, 0x25, 0x00)
    assert world.store.content == before
    assert world.store.log == []


@pytest.mark.conformance("SBC-005")
def test_a_write_beyond_the_end_of_a_disk_that_became_smaller_stores_nothing(world: World) -> None:
    before = world.store.pattern()
    host, itt, r2t = solicited(world, 100)
    world.disk.resize(100)
    host.machine.answer(r2t)
    host.run()
    assert host.done(itt).status == 2
    assert world.store.content == before
    assert host.scsi(LUN, read_10(0, 1), read_length=512).status == 2, "CAPACITY DATA HAS CHANGED"
