"""Killed with SIGKILL again and again, under load: what was acknowledged is there after the next start.

The model is of one kind for everything: what was acknowledged last, and what is under way. After a kill the
array has to show the one or the other, and nothing else. It goes on from what it shows.

- Blocks: every write carries a number that only grows; some have FUA, some are followed by SYNCHRONIZE CACHE.
- Registrations and reservations with APTPL, of two I_T nexuses.
- Who manages a disk, moved by SET TARGET PORT GROUPS.
- Configuration, changed through the control socket: initiators, a disk's preferred path, snapshots.
"""

import asyncio
import contextlib
import os
import random
import signal
import struct
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from mpxtarget.cli.calls import NobodyServes
from mpxtarget.cli.client import NoAnswer, request
from mpxtarget.testing.client import ConnectionLost, Initiator, Result

from .harness import MIB, TargetUnderTest
from .scsi import BLOCK, CHECK_CONDITION, GOOD, UNIT_ATTENTION, sense_of, settle

KILLS = 200
ACTS = 60
"""At most so many acknowledgements pass between a start and the kill after it."""
SLOTS = 24
SLOT_BLOCKS = 16
DATA_LUN, STATE_LUN = 1, 2
INITIATOR = "iqn.2004-09.com.example:killed"
ISIDS = 0x80_0000_000001, 0x80_0000_000002
FUA = 0x08
WRITE_EXCLUSIVE_REGISTRANTS_ONLY = 5


@dataclass(frozen=True, slots=True)
class Persistent:
    """The keys of the two nexuses, 0 for one that is not registered, and which of them holds the disk."""

    keys: tuple[int, int]
    holder: int | None

    def with_key(self, who: int, key: int) -> "Persistent":
        """One nexus registers another key; without any it holds nothing."""
        keys = (key, self.keys[1]) if who == 0 else (self.keys[0], key)
        return Persistent(keys, None if not key and self.holder == who else self.holder)


class Fact:
    """Something the array has to remember: as it was acknowledged last, and as it may be instead."""

    def __init__(self, value: Any) -> None:
        self.value = value
        self._next: list[Any] = []

    def may_become(self, value: Any) -> None:
        """A change is asked for."""
        self._next = [value]

    def became(self) -> None:
        """It was acknowledged."""
        (self.value,) = self._next
        self._next = []

    def check(self, found: Any, what: str) -> None:
        """Assert that what was found after a kill is one of the two; from now on it is the fact."""
        assert found in [self.value, *self._next], f"{what}: {found}, not {self.value} or {self._next}"
        self.value, self._next = found, []


class World:
    """What has been acknowledged, and how it is changed and found again."""

    def __init__(self, target: TargetUnderTest, dice: random.Random) -> None:
        self.target = target
        self.dice = dice
        self.slots = [Fact(0) for _ in range(SLOTS)]
        self.number = 0
        self.persistent = Fact(Persistent((0, 0), None))
        self.ports = [1, 3]  # relative target ports of the two sessions
        self.owner = Fact(1)
        self.preferred = Fact("none")
        self.initiators: set[str] = set()
        self.acts = 0
        self.enough = asyncio.Event()
        self.limit = 0

    # The load

    def acted(self) -> None:
        """Something was acknowledged."""
        self.acts += 1
        if self.acts >= self.limit:
            self.enough.set()

    async def write_blocks(self, session: Initiator, slots: list[int]) -> None:
        """Write to these slots for ever."""
        while True:
            slot = self.dice.choice(slots)
            self.number += 1
            data = struct.pack(">QQ", self.number, slot) * (SLOT_BLOCKS * BLOCK // 16)
            fact = self.slots[slot]
            fact.may_become(self.number)
            how = self.dice.randrange(3)
            flags = FUA if how == 1 else 0
            cdb = struct.pack(">BBIBHB", 0x2A, flags, slot * SLOT_BLOCKS, 0, SLOT_BLOCKS, 0)
            await done(session, DATA_LUN, cdb, data)
            if how == 2:
                await done(session, DATA_LUN, bytes([0x35]) + bytes(9))
            fact.became()
            self.acted()

    async def reserve(self, sessions: list[Initiator]) -> None:
        """Register, reserve, preempt, release and unregister for ever."""
        while True:
            who = self.dice.randrange(2)
            now: Persistent = self.persistent.value
            act = self.dice.choice(["register", "register", "unregister", "reserve", "release", "preempt"])
            own, other = now.keys[who], now.keys[1 - who]
            if act == "register" or not own:
                new = self.dice.randrange(1, 1 << 64)
                await self._persist(sessions[who], now.with_key(who, new), 0x06, 0, new)
            elif act == "unregister":
                await self._persist(sessions[who], now.with_key(who, 0), 0x06, 0, 0)
            elif act == "reserve" and now.holder in (None, who):
                await self._persist(sessions[who], replace(now, holder=who), 0x01, own, 0)
            elif act == "release" and now.holder == who:
                await self._persist(sessions[who], replace(now, holder=None), 0x02, own, 0)
            elif act == "preempt" and other:
                then = now.with_key(1 - who, 0)
                if now.holder == 1 - who:
                    then = replace(then, holder=who)
                await self._persist(sessions[who], then, 0x04, own, other)

    async def _persist(self, session: Initiator, then: Persistent, action: int, key: int, new: int) -> None:
        """PERSISTENT RESERVE OUT with APTPL, type 5 where there is one."""
        kind = WRITE_EXCLUSIVE_REGISTRANTS_ONLY if action in (0x01, 0x02, 0x04) else 0
        cdb = bytes([0x5F, action, kind, 0, 0]) + struct.pack(">I", 24) + bytes(1)
        self.persistent.may_become(then)
        await done(session, STATE_LUN, cdb, struct.pack(">QQ4xB3x", key, new, 0x01))
        self.persistent.became()
        self.acted()

    async def move(self, session: Initiator) -> None:
        """Move the disk from one controller to the other for ever."""
        while True:
            wanted = 3 - self.owner.value
            self.owner.may_become(wanted)
            parameters = bytes(4) + struct.pack(">BxH", 0, wanted)
            cdb = bytes([0xA4, 0x0A, 0, 0, 0, 0]) + struct.pack(">I", len(parameters)) + bytes(2)
            await done(session, DATA_LUN, cdb, parameters)
            self.owner.became()
            self.acted()

    async def configure(self) -> None:
        """Change the configuration for ever."""
        while True:
            if self.dice.randrange(2):
                name = f"iqn.2004-09.com.example:host{self.acts}-{self.dice.randrange(10**6)}"
                await self.call("initiator/add", {"name": name})
                self.initiators.add(name)
            else:
                setting = self.dice.choice(["none", "A", "B", "A-failback", "B-failback"])
                self.preferred.may_become(setting)
                await self.call("lun/prefer", {"lun": STATE_LUN, "preferred": setting})
                self.preferred.became()
            self.acted()

    async def call(self, verb: str, values: dict[str, Any]) -> Any:
        """Call the control API."""
        return await asyncio.to_thread(request, self.target.folder, verb, values)

    # What is found

    async def check(self, sessions: list[Initiator]) -> None:
        """Compare everything with the facts."""
        one = sessions[0]
        for slot, fact in enumerate(self.slots):
            data = await one.read(DATA_LUN, slot * SLOT_BLOCKS, SLOT_BLOCKS)
            fact.check(_number_of(slot, data), f"slot {slot}")
        self.persistent.check(await _persistent(one, self.ports), "registrations")
        self.owner.check(await _owner(one), "who manages the disk")
        rows = await self.call("lun/list", {})
        (row,) = [row for row in rows if row["lun"] == STATE_LUN]
        self.preferred.check(row["preferred"], "preferred path")
        known = {row["name"] for row in await self.call("initiator/list", {})}
        assert self.initiators <= known


async def done(session: Initiator, lun: int, cdb: bytes, data: bytes = b"", read_length: int = 0) -> Result:
    """Send a command until it is not met by a unit attention; it has to end with GOOD."""
    for _ in range(20):
        result = await session.scsi(lun, cdb, data, read_length)
        sense = sense_of(result)
        if result.status != CHECK_CONDITION or sense is None or sense[0] != UNIT_ATTENTION:
            break
    assert result.status == GOOD, f"{cdb.hex()}: {result}"
    return result


async def _persistent(session: Initiator, ports: list[int]) -> Persistent:
    """What READ FULL STATUS says of the two nexuses, each known by its relative target port."""
    cdb = bytes([0x5E, 0x03]) + bytes(5) + struct.pack(">H", 4096) + bytes(1)
    data = (await done(session, STATE_LUN, cdb, read_length=4096)).data
    found = Persistent((0, 0), None)
    at = 8
    while at < 8 + struct.unpack_from(">I", data, 4)[0]:
        key, flags, kind, port, more = struct.unpack_from(">Q4xBB4xHI", data, at)
        who = ports.index(port)
        found = found.with_key(who, key)
        if flags & 0x01:
            assert kind == WRITE_EXCLUSIVE_REGISTRANTS_ONLY
            found = replace(found, holder=who)
        at += 24 + more
    return found


async def _owner(session: Initiator) -> int:
    """The target port group that is active/optimized."""
    cdb = bytes([0xA3, 0x0A, 0, 0, 0, 0]) + struct.pack(">I", 512) + bytes(2)
    data = (await done(session, DATA_LUN, cdb, read_length=512)).data
    at = 4
    while data[at] & 0xF:
        at += 8 + 4 * data[at + 7]
    return int.from_bytes(data[at + 2 : at + 4], "big")


def _number_of(slot: int, data: bytes) -> int:
    """The number in all blocks of a slot; a slot torn between two numbers has the older one."""
    numbers = set()
    for offset in range(0, len(data), BLOCK):
        block = data[offset : offset + BLOCK]
        number, whose = struct.unpack_from(">QQ", block)
        assert block == block[:16] * (BLOCK // 16) and (whose == slot or not number), "a torn block"
        numbers.add(number)
    assert len(numbers) <= 2, f"slot {slot} is torn between {sorted(numbers)}"
    return min(numbers)


@contextlib.asynccontextmanager
async def two_paths(target: TargetUnderTest) -> AsyncIterator[list[Initiator]]:
    """A session by each portal, each to another controller."""
    sessions = []
    for portal, isid in enumerate(ISIDS):
        name = target.target_names[2 * portal]
        where = target.portals[portal]
        session = await Initiator.connect(where.host, where.port, target=name, initiator=INITIATOR, isid=isid)
        sessions.append(session)
        for lun in (DATA_LUN, STATE_LUN):
            await settle(session, lun)
    try:
        yield sessions
    finally:
        for session in sessions:
            await session.close()


async def endure(work: Awaitable[None]) -> None:
    """Run load until the target is gone."""
    with contextlib.suppress(ConnectionLost, ConnectionError, NobodyServes, NoAnswer, TimeoutError):
        await work


@pytest.mark.timeout(600)
@pytest.mark.conformance("SBC-009", "PRS-014", "PRS-015", "PRS-024", "CDB-009")
async def test_nothing_that_was_acknowledged_is_forgotten(tmp_path: Path) -> None:
    dice = random.Random(20081122)
    target = TargetUnderTest(tmp_path / "array", size=MIB)
    world = World(target, dice)
    slots = list(range(SLOTS))
    for _ in range(KILLS):
        await asyncio.to_thread(target.start)
        async with two_paths(target) as sessions:
            await world.check(sessions)
            world.acts, world.limit = 0, dice.randrange(1, ACTS)
            world.enough.clear()
            one, two = sessions
            load = [
                asyncio.create_task(endure(work))
                for work in (
                    world.write_blocks(one, slots[0::3]),
                    world.write_blocks(two, slots[1::3]),
                    world.write_blocks(two, slots[2::3]),
                    world.reserve(sessions),
                    world.move(one),
                    world.configure(),
                )
            ]
            waiting = asyncio.create_task(world.enough.wait())
            async with asyncio.timeout(30):
                await asyncio.wait([waiting, *load], return_when=asyncio.FIRST_COMPLETED)
            os.kill(target.pid, signal.SIGKILL)
            await asyncio.to_thread(target.wait)
            waiting.cancel()
            async with asyncio.timeout(30):
                await asyncio.gather(*load)
    await asyncio.to_thread(target.start)
    async with two_paths(target) as sessions:
        await world.check(sessions)
    assert await asyncio.to_thread(target.stop) == 0
