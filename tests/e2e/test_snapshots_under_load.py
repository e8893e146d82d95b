"""Snapshots are taken, and targets killed, while hosts write: every block of all disks is verified.

Each write fills one slot with a number that only grows. A snapshot is one moment if it holds a write only
together with all that was acknowledged before that write was sent.
"""

import asyncio
import contextlib
import json
import os
import random
import signal
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mpxtarget.testing.client import ConnectionLost, Initiator
from tools import require_tool

from .harness import MIB, TargetUnderTest
from .processes import run
from .scsi import BLOCK, GOOD, UNIT_ATTENTION, sense_of, settle

SLOTS = 64
SLOT_BLOCKS = 24
STRIDE = 200
"""Blocks from slot to slot: about 1.5 chunks, so that slots lie across borders and others share a chunk."""
DEPTH = 8
PARENT = 1
INITIATOR = "iqn.2004-09.com.example:snapshots"
KILLS = 12

pytestmark = pytest.mark.timeout(240)


@dataclass(slots=True)
class Ledger:
    """The newest number sent and acknowledged by slot; and for each number, what was before it."""

    number: int = 0
    sent: list[int] = field(default_factory=lambda: [0] * SLOTS)
    acknowledged: list[int] = field(default_factory=lambda: [0] * SLOTS)
    before: dict[int, list[int]] = field(default_factory=lambda: {0: [0] * SLOTS})

    def next_for(self, slot: int) -> int:
        """The number of the next write to a slot."""
        self.number += 1
        self.sent[slot] = self.number
        self.before[self.number] = list(self.acknowledged)
        return self.number

    def check_moment(self, found: list[int], since: list[int], until: list[int]) -> None:
        """Assert that these numbers are those of one moment between two others."""
        for slot, number in enumerate(found):
            assert since[slot] <= number <= until[slot], f"slot {slot}"
            for other, least in enumerate(self.before[number]):
                assert found[other] >= least, f"slot {slot} has {number}, slot {other} not yet {least}"


def content(slot: int, number: int) -> bytes:
    """What a write puts into a slot."""
    return struct.pack(">QQ", number, slot if number else 0) * (SLOT_BLOCKS * BLOCK // 16)


async def log_in(target: TargetUnderTest, number: int = 1) -> Initiator:
    """A session with its unit attentions taken."""
    portal = target.portals[0]
    session = await Initiator.connect(
        portal.host,
        portal.port,
        target=target.target_names[0],
        initiator=INITIATOR,
        isid=0x80_0000_000000 | number,
    )
    await settle(session, PARENT)
    return session


async def read_slots(session: Initiator, lun: int) -> list[int]:
    """The numbers that stand in the slots of a disk, each of which is whole."""
    await settle(session, lun)
    numbers = []
    for slot in range(SLOTS):
        data = await session.read(lun, slot * STRIDE, SLOT_BLOCKS)
        number = int.from_bytes(data[:8], "big")
        assert data == content(slot, number), f"LUN {lun}, slot {slot} is torn"
        numbers.append(number)
    return numbers


async def take_stock(session: Initiator, ledger: Ledger) -> None:
    """See what the parent holds after a kill, which may have torn a write that nobody acknowledged: as a host
    does, such a slot is written again.
    """
    for slot in range(SLOTS):
        data = await session.read(PARENT, slot * STRIDE, SLOT_BLOCKS)
        numbers = {int.from_bytes(data[at : at + 8], "big") for at in range(0, len(data), BLOCK)}
        assert ledger.acknowledged[slot] <= min(numbers), f"slot {slot}"
        assert max(numbers) <= ledger.sent[slot], f"slot {slot}"
        if len(numbers) > 1:
            numbers = {ledger.next_for(slot)}
            await session.write(PARENT, slot * STRIDE, content(slot, *numbers))
        else:
            assert data == content(slot, *numbers)
        (ledger.acknowledged[slot],) = numbers


async def write_on(session: Initiator, ledger: Ledger, dice: random.Random, lane: int) -> None:
    """Write to the slots of a lane, over and over."""
    while True:
        slot = dice.randrange(SLOTS // DEPTH) * DEPTH + lane
        number = ledger.next_for(slot)
        flags = 0x08 if number % 7 == 0 else 0
        cdb = struct.pack(">BBIBHB", 0x2A, flags, slot * STRIDE, 0, SLOT_BLOCKS, 0)
        while (result := await session.scsi(PARENT, cdb, content(slot, number))).status != GOOD:
            sense = sense_of(result)
            assert sense is not None and sense[0] == UNIT_ATTENTION, f"{result}"
        ledger.acknowledged[slot] = number


@contextlib.asynccontextmanager
async def load(session: Initiator, ledger: Ledger, dice: random.Random) -> AsyncIterator[None]:
    """Eight writes at a time, until the end or until the connection is lost."""
    lanes = [asyncio.create_task(write_on(session, ledger, dice, lane)) for lane in range(DEPTH)]
    try:
        yield
    finally:
        for lane in lanes:
            lane.cancel()
        ends = await asyncio.gather(*lanes, return_exceptions=True)
        allowed = (ConnectionLost, asyncio.CancelledError)
        assert not [end for end in ends if not isinstance(end, allowed)], ends


async def cli(target: TargetUnderTest, *words: str, check: bool = True) -> int:
    """A command, while the test goes on."""
    return (await asyncio.to_thread(target.cli, *words, check=check)).status


async def test_snapshots_under_load_are_moments_and_stay_what_they_are(fresh_target: TargetUnderTest) -> None:
    dice = random.Random(6)
    ledger = Ledger()
    writer, reader = await log_in(fresh_target), await log_in(fresh_target, 2)
    moments: dict[int, list[int]] = {}
    async with load(writer, ledger, dice):
        for lun in range(11, 19):
            since = list(ledger.acknowledged)
            await cli(fresh_target, "lun", "snapshot", "vdisk1", f"snap{lun}", "--lun", str(lun))
            until = list(ledger.sent)
            moments[lun] = await read_slots(reader, lun)
            ledger.check_moment(moments[lun], since, until)
        await cli(fresh_target, "lun", "clone", "snap11", "copy", "--lun", "30", "--wait")
        for lun, moment in moments.items():
            assert await read_slots(reader, lun) == moment
    assert await read_slots(reader, 30) == moments[11]
    for lun in moments:
        await cli(fresh_target, "lun", "remove", f"snap{lun}", "--delete-data")
    assert await read_slots(reader, 30) == moments[11]
    ledger.check_moment(await read_slots(reader, PARENT), ledger.acknowledged, ledger.sent)
    for session in (writer, reader):
        await session.close()


async def test_a_clone_under_load_is_a_moment_before_and_after_it_is_complete(
    fresh_target: TargetUnderTest,
) -> None:
    dice = random.Random(7)
    ledger = Ledger()
    writer, reader = await log_in(fresh_target), await log_in(fresh_target, 2)
    async with load(writer, ledger, dice):
        since = list(ledger.acknowledged)
        await cli(fresh_target, "lun", "clone", "vdisk1", "copy", "--lun", "11")
        until = list(ledger.sent)
        moment = await read_slots(reader, 11)
        ledger.check_moment(moment, since, until)
        await reader.write(11, 63 * MIB // BLOCK, b"c" * BLOCK)
        await cli(fresh_target, "lun", "wait", "copy")
        assert await read_slots(reader, 11) == moment
    await cli(fresh_target, "lun", "remove", "vdisk1", "--delete-data")
    assert await read_slots(reader, 11) == moment
    assert await reader.read(11, 63 * MIB // BLOCK, 1) == b"c" * BLOCK
    for session in (writer, reader):
        await session.close()


async def test_a_target_killed_at_any_instant_keeps_every_moment(fresh_target: TargetUnderTest) -> None:
    dice = random.Random(8)
    ledger = Ledger()
    moments: dict[int, list[int]] = {}
    taken = 0
    for _ in range(KILLS):
        writer, reader = await log_in(fresh_target), await log_in(fresh_target, 2)
        async with load(writer, ledger, dice):
            for _ in range(dice.randrange(3)):  # each goes on from the state that the last kill left
                if len(moments) > 5:
                    gone = dice.choice(list(moments))
                    await cli(fresh_target, "lun", "remove", str(gone), "--delete-data")
                    del moments[gone]
                since, taken = list(ledger.acknowledged), taken + 1
                lun = 10 + taken
                await cli(fresh_target, "lun", "snapshot", "vdisk1", f"snap{lun}", "--lun", str(lun))
                until = list(ledger.sent)
                moments[lun] = await read_slots(reader, lun)
                ledger.check_moment(moments[lun], since, until)
            taken += 1
            unfinished = f"snap{10 + taken}"
            kind = dice.choice(["snapshot", "clone"])
            since = list(ledger.acknowledged)
            command = asyncio.create_task(
                cli(fresh_target, "lun", kind, "vdisk1", unfinished, "--lun", str(10 + taken), check=False)
            )
            await asyncio.sleep(dice.random() * 0.6)
            os.kill(fresh_target.pid, signal.SIGKILL)
            fresh_target.wait()
            await command
        for session in (writer, reader):
            await session.close()
        fresh_target.start()
        session = await log_in(fresh_target)
        listed = {row["name"]: row for row in await asyncio.to_thread(fresh_target.listing, "lun", "list")}
        for lun, moment in moments.items():
            assert await read_slots(session, lun) == moment, f"LUN {lun}"
            assert listed[f"snap{lun}"]["condition"] == "good"
        sent = list(ledger.sent)
        await take_stock(session, ledger)
        if unfinished in listed:
            found = await read_slots(session, 10 + taken)
            ledger.check_moment(found, since, sent)
            moments[10 + taken] = found
            if listed[unfinished]["kind"] == "clone":
                await cli(fresh_target, "lun", "wait", unfinished)
            assert await read_slots(session, 10 + taken) == found
        else:
            assert not list((fresh_target.folder / "vdisks").glob(f"{unfinished}*")), "a leftover"
        await session.close()


@require_tool("qemu-img", "block-iscsi.so")
async def test_qemu_copies_a_snapshot_while_its_parent_changes(
    fresh_target: TargetUnderTest, tmp_path: Path
) -> None:
    dice = random.Random(9)
    ledger = Ledger()
    with fresh_target.image().open("r+b") as image:  # nobody uses it yet
        image.write(random.Random(1).randbytes(16 * MIB))
        image.seek(0)
        for slot in range(SLOTS):
            image.seek(slot * STRIDE * BLOCK)
            image.write(content(slot, 0))
    expected = fresh_target.image().read_bytes()
    await cli(fresh_target, "lun", "snapshot", "vdisk1", "snap", "--lun", "11")
    writer = await log_in(fresh_target)
    copy = tmp_path / "copy.img"
    async with load(writer, ledger, dice):
        words = ["qemu-img", "convert", "-O", "raw", fresh_target.url(lun=11), copy]
        await asyncio.to_thread(run, words, timeout=60, check=True)
    await writer.close()
    assert copy.read_bytes() == expected
    assert sum(ledger.acknowledged) > 0
    listed = json.loads(fresh_target.cli("lun", "list", "--json").output)
    own = next(row["own"] for row in listed if row["name"] == "snap")
    assert 0 < own < fresh_target.size
