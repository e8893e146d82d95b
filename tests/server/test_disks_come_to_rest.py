"""A disk whose store is to be replaced comes to rest: writes end or wait, reads go on, nothing is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from backing_stores import create, open_store
from backing_stores.chunk_map import Condition
from backing_stores.preserving import PreservingStore
from backing_stores.snapshot import SnapshotStore
from mpxtarget.server import clones
from mpxtarget.server.errors import Refusal
from mpxtarget.server.verbs.base import Live
from mpxtarget.testing.events import R2TReceived
from support.cdb import data, read_10, write_10
from support.fixtures import MakeWorld
from support.stores import Blocks
from support.world import HOST, LUN, OTHER_HOST, World

KIB_4 = 4096


@pytest.fixture
async def live(world: World) -> AsyncIterator[Live]:
    """The running target of the world, as far as disks come to rest in it; disk 1 is that of LUN 1."""
    loop = asyncio.get_running_loop()
    loop.add_reader(world.completions.fd, world.drain)
    vdisk = SimpleNamespace(disk=world.disk, store=world.store, record=SimpleNamespace(name="data"))
    bridge = SimpleNamespace(array=SimpleNamespace(vdisks={1: vdisk}))
    yield cast(Live, SimpleNamespace(bridge=bridge, executor=world.executor, stores={1: world.store}))
    loop.remove_reader(world.completions.fd)


async def turn() -> None:
    """Let the loop do all it can."""
    for _ in range(5):
        await asyncio.sleep(0)


async def settled(world: World) -> None:
    """Wait until the lanes are empty."""
    while world.executor.busy(world.disk):  # noqa: ASYNC110 - nobody sets an event for it
        await asyncio.sleep(0.001)
    world.run()


async def test_a_write_under_way_ends_before_the_disk_is_at_rest(world: World, live: Live) -> None:
    host = world.host()
    gate = world.store.close_gate()
    itt = host.command(LUN, write_10(0, 8), data_out=data(KIB_4))
    gate.arrived(1)
    at_rest = clones.at_rest(live, 1)
    entering = asyncio.create_task(at_rest.__aenter__())
    await turn()
    assert not entering.done()
    world.store.open_gate()
    await entering
    assert world.store.content[:KIB_4] == data(KIB_4)
    await at_rest.__aexit__(None, None, None)
    await settled(world)
    assert host.done(itt).status == 0


async def test_a_command_that_has_begun_to_write_gets_all_its_data_first(world: World, live: Live) -> None:
    half = KIB_4 * 2
    keys = {"InitialR2T": "Yes", "ImmediateData": "Yes", "FirstBurstLength": str(half)}
    host, other = world.host(initiator=HOST, keys=keys), world.host(initiator=OTHER_HOST)
    host.machine.hold_r2ts = True
    itt = host.command(LUN, write_10(0, 32), data_out=b"w" * 2 * half)
    assert world.store.content[: 2 * half] == b"w" * half + bytes(half), "half of it has come"
    at_rest = clones.at_rest(live, 1)
    entering = asyncio.create_task(at_rest.__aenter__())
    await turn()
    later = other.command(LUN, write_10(0, 8), data_out=data(KIB_4))
    await turn()
    assert not entering.done()
    host.machine.hold_r2ts = False
    for event in host.of(R2TReceived):
        host.machine.answer(event.r2t)
    host.run()
    await entering
    assert host.ended(itt)
    assert world.store.content[: 2 * half] == b"w" * 2 * half, "all of the one and nothing of the other"
    await at_rest.__aexit__(None, None, None)
    await settled(world)
    assert other.done(later).status == 0
    assert world.store.content[: 2 * half] == data(KIB_4) + b"w" * (2 * half - KIB_4)
    assert other.itl.go_write


async def test_a_host_that_keeps_its_data_back_does_not_hold_up_others_for_long(
    world: World, live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clones, "REST_SECONDS", 0.02)
    host, other = world.host(initiator=HOST, keys={"InitialR2T": "Yes"}), world.host(initiator=OTHER_HOST)
    host.machine.hold_r2ts = True
    host.command(LUN, write_10(0, 2048), data_out=b"w" * (1 << 20))
    with pytest.raises(Refusal, match="does not come to rest"):
        async with clones.at_rest(live, 1):
            raise AssertionError("it is not at rest")
    await turn()
    later = other.command(LUN, write_10(4096, 8), data_out=data(KIB_4))
    await settled(world)
    assert other.done(later).status == 0
    assert other.itl.go_write


async def test_at_rest_reads_go_on_and_writes_wait_for_the_new_store(world: World, live: Live) -> None:
    host, other = world.host(initiator=HOST), world.host(initiator=OTHER_HOST)
    new = Blocks(world.store.size, url="blocks:new")
    new.content[:] = world.store.pattern()
    async with clones.at_rest(live, 1) as io:
        itt = host.command(LUN, write_10(0, 8), data_out=data(KIB_4))
        got = other.command(LUN, read_10(8, 8), read_length=KIB_4)
        await turn()
        world.run()
        assert not host.ended(itt)
        assert other.done(got).data == new.content[KIB_4 : 2 * KIB_4]
        clones.use(live, 1, io, new)
    await settled(world)
    assert host.done(itt).status == 0
    assert new.content[:KIB_4] == data(KIB_4)
    assert world.store.content[:KIB_4] != data(KIB_4)
    assert world.executor.io_of(world.disk) is io
    assert live.stores[1] is new
    assert host.itl.store is new
    assert host.itl.go_write


async def test_a_disk_that_does_not_come_to_rest_is_let_alone(
    world: World, live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clones, "REST_SECONDS", 0.02)
    host = world.host()
    gate = world.store.close_gate()
    itt = host.command(LUN, write_10(0, 8), data_out=data(KIB_4))
    gate.arrived(1)
    with pytest.raises(Refusal, match="data does not come to rest"):
        async with clones.at_rest(live, 1):
            raise AssertionError("it is not at rest")
    world.store.open_gate()
    await settled(world)
    assert host.done(itt).status == 0
    assert host.itl.go_write
    assert host.scsi(LUN, write_10(8, 8), data_out=data(KIB_4)).status == 0


async def test_a_flush_that_fails_is_told_to_who_asked_and_to_every_host(world: World, live: Live) -> None:
    world.host()
    world.store.flush_error = 5
    with pytest.raises(Refusal, match="data cannot be flushed"):
        await clones.flush(live, 1)
    itl = world.disk.attached[0]
    assert world.executor.io_of(world.disk).untold(itl) is not None


@contextmanager
def with_snapshot(world: World, folder: Path) -> Iterator[tuple[PreservingStore, SnapshotStore]]:
    """Disk 1 on a file with a snapshot."""
    create("file:parent", world.store.size, base=folder)
    parent = PreservingStore(open_store("file:parent", base=folder))
    SnapshotStore.create("file:snap", parent.size, base=folder)
    snapshot = SnapshotStore.open("file:snap", parent, base=folder)
    world.executor.io_of(world.disk).use(parent)
    yield parent, snapshot
    world.settle()
    snapshot.close()
    parent.close()


def test_only_the_first_write_to_a_chunk_leaves_the_short_cut(make_world: MakeWorld, tmp_path: Path) -> None:
    world = make_world(fast=True)
    host = world.host()
    asked: list[str] = []
    with with_snapshot(world, tmp_path) as (parent, snapshot):
        submit = world.executor.io_of(world.disk).lane.submit

        def seen(*arguments: Any) -> None:
            asked.append("lane")
            submit(*arguments)

        lane = cast(Any, SimpleNamespace(submit=seen, pending=0))
        io = world.executor.io_of(world.disk)
        real, io.lane = io.lane, lane
        try:
            itt = host.command(LUN, write_10(0, 8), data_out=data(KIB_4))
            while real.pending:
                world.drain()
            world.run()
            assert (host.done(itt).status, asked) == (0, ["lane"])
            for block in (8, 64, 120):
                assert host.done(host.command(LUN, write_10(block, 8), data_out=data(KIB_4))).status == 0
            assert host.done(host.command(LUN, read_10(0, 128), read_length=65536)).status == 0
            assert asked == ["lane"]
        finally:
            io.lane = real
        assert parent.inner.size == snapshot.size


def test_hosts_hear_of_an_invalid_snapshot_as_a_medium_error(world: World, tmp_path: Path) -> None:
    host = world.host()
    with with_snapshot(world, tmp_path) as (_, snapshot):
        world.executor.io_of(world.disk).use(snapshot)
        snapshot.map.set_condition(Condition.INVALID)
        for cdb, how in (
            (read_10(0, 8), {"read_length": KIB_4}),
            (write_10(0, 8), {"data_out": data(KIB_4)}),
        ):
            done = host.scsi(LUN, cdb, **how)
            assert done.status == 2
            assert done.sense[2] & 0x0F == 3
