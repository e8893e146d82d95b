"""Two paths of one initiator to one target, one of them cut again and again: what a multipath host relies on.

Every block that is written carries a number that only grows. What was acknowledged has to be found, at once,
by the other path; a write that was cut off may be found or not, but never in place of a newer one that was
acknowledged.
"""

import asyncio
import random
import struct
from dataclasses import dataclass, field

import pytest

from mpxtarget.testing.client import ConnectionLost, Initiator

from .harness import Portal, TargetUnderTest
from .scsi import BLOCK, GOOD, settle
from .tcp_proxy import TcpProxy

CUTS = 40
SLOTS = 32
SLOT_BLOCKS = 160
"""80 KiB: more than FirstBurstLength, so that cuts also hit writes whose data the target has asked for."""
DEPTH = 8
LUN = 1
INITIATOR = "iqn.2004-09.com.example:multipath"
CUT_ISID, STEADY_ISID = 0x80_0000_000001, 0x80_0000_000002


@dataclass(slots=True)
class Ledger:
    """What was written where: the newest number sent and the newest one acknowledged, by slot."""

    sent: dict[int, int] = field(default_factory=lambda: dict.fromkeys(range(SLOTS), 0))
    acknowledged: dict[int, int] = field(default_factory=lambda: dict.fromkeys(range(SLOTS), 0))
    number: int = 0

    def next_for(self, slot: int) -> bytes:
        """The data of the next write to a slot."""
        self.number += 1
        self.sent[slot] = self.number
        return struct.pack(">QQ", self.number, slot) * (SLOT_BLOCKS * BLOCK // 16)

    def check(self, slot: int, data: bytes) -> None:
        """Assert that every block of a slot is one that may be there."""
        assert len(data) == SLOT_BLOCKS * BLOCK
        for offset in range(0, len(data), BLOCK):
            number, whose = struct.unpack_from(">QQ", data, offset)
            assert data[offset : offset + BLOCK] == struct.pack(">QQ", number, whose) * (BLOCK // 16), (
                "a torn block"
            )
            if self.acknowledged[slot]:
                assert whose == slot, f"slot {slot} holds a block of slot {whose}"
            lost = f"slot {slot}, byte {offset}: {number}, and {self.acknowledged[slot]} was acknowledged"
            assert self.acknowledged[slot] <= number <= self.sent[slot], lost


async def log_in(portal: Portal, target: str, isid: int) -> Initiator:
    """A session of the initiator with an ISID, its unit attentions taken."""
    keys = {"MaxBurstLength": "32768", "FirstBurstLength": "32768"}
    session = await Initiator.connect(
        portal.host, portal.port, target=target, initiator=INITIATOR, isid=isid, keys=keys
    )
    await settle(session, LUN)
    return session


async def write_slots(session: Initiator, steady: Initiator, ledger: Ledger, slots: list[int]) -> None:
    """Write to these slots one after the other; read what was acknowledged by the other path at once.

    Every third write has FUA: it takes longer, so that cuts find it between the wire and the disk.
    """
    for slot in slots:
        data = ledger.next_for(slot)
        number = ledger.sent[slot]
        flags = 0x08 if number % 3 == 0 else 0x00
        cdb = struct.pack(">BBIBHB", 0x2A, flags, slot * SLOT_BLOCKS, 0, SLOT_BLOCKS, 0)
        result = await session.scsi(LUN, cdb, data)
        assert result.status == GOOD, f"{result}"
        ledger.acknowledged[slot] = number
        ledger.check(slot, await steady.read(LUN, slot * SLOT_BLOCKS, SLOT_BLOCKS))


@pytest.mark.conformance("SES-003", "SES-009", "SES-010", "SES-014", "CLR-003", "UAT-009")
async def test_with_one_path_cut_again_and_again(target: TargetUnderTest) -> None:
    dice = random.Random(2009)
    ledger = Ledger()
    tsihs = set()
    name = target.target_names[0]
    steady = await log_in(target.portals[1], name, STEADY_ISID)
    steady_tsih = steady.connection.tsih
    async with TcpProxy(target.portals[0]) as cable:
        for cut in range(CUTS):
            session = await log_in(cable.portal, name, CUT_ISID)
            tsihs.add(session.connection.tsih)
            # What was cut off is written again first, as a host does it: no older write may come after it.
            order = dice.sample(range(SLOTS), SLOTS)
            order.sort(key=lambda slot: ledger.acknowledged[slot] == ledger.sent[slot])
            lanes = [
                asyncio.create_task(write_slots(session, steady, ledger, order[lane::DEPTH]))
                for lane in range(DEPTH)
            ]
            goal = sum(ledger.acknowledged.values())
            for _ in range(dice.randrange(2 * SLOTS)):  # let some of it through
                await steady.ping()
            assert cable.cut() == 1
            ends = await asyncio.gather(*lanes, return_exceptions=True)
            await session.close()
            unexpected = [end for end in ends if end is not None and not isinstance(end, ConnectionLost)]
            assert not unexpected, f"cut {cut}: {unexpected}"
            assert sum(ledger.acknowledged.values()) >= goal
            for slot in range(SLOTS):
                ledger.check(slot, await steady.read(LUN, slot * SLOT_BLOCKS, SLOT_BLOCKS))
        assert cable.accepted == CUTS
        last = await log_in(cable.portal, name, CUT_ISID)
        await write_slots(last, steady, ledger, list(range(SLOTS)))
        for slot in range(SLOTS):
            ledger.check(slot, await last.read(LUN, slot * SLOT_BLOCKS, SLOT_BLOCKS))
        assert ledger.acknowledged == ledger.sent
        assert len(tsihs | {last.connection.tsih, steady_tsih}) == CUTS + 2, "a session handle was used twice"
        assert await settle(steady, LUN) == [], "the cuts were noticed on the other path"
        assert steady.connection.tsih == steady_tsih
        sessions = await asyncio.to_thread(target.listing, "session", "list")
        isids = sorted(row["isid"] for row in sessions if row["initiator"] == INITIATOR)
        assert isids == [f"{CUT_ISID:012x}", f"{STEADY_ISID:012x}"]
        await last.logout()
        await last.close()
    await steady.logout()
    await steady.close()


@pytest.mark.conformance("SES-001", "SES-003", "SES-010", "RSP-007")
async def test_a_path_that_went_silent_is_replaced_by_a_login_with_its_isid(target: TargetUnderTest) -> None:
    ledger = Ledger()
    name = target.target_names[0]
    steady = await log_in(target.portals[1], name, STEADY_ISID)
    async with TcpProxy(target.portals[0]) as cable:
        old = await log_in(cable.portal, name, CUT_ISID)
        await write_slots(old, steady, ledger, [0, 1, 2])
        cable.freeze()
        in_flight = asyncio.create_task(old.write(LUN, 0, ledger.next_for(0)))
        await steady.ping()
        new = await log_in(target.portals[0], name, CUT_ISID)
        assert new.connection.tsih != old.connection.tsih
        await write_slots(new, steady, ledger, [0, 1, 2])
        cable.thaw()
        with pytest.raises(ConnectionLost):
            await in_flight
        await old.close()
        for slot in range(3):
            ledger.check(slot, await new.read(LUN, slot * SLOT_BLOCKS, SLOT_BLOCKS))
    assert await settle(steady, LUN) == []
    for session in (new, steady):
        await session.logout()
        await session.close()


async def test_the_same_isid_at_another_target_is_another_session(target: TargetUnderTest) -> None:
    sessions = [await log_in(target.portals[0], name, CUT_ISID) for name in target.target_names]
    for number, session in enumerate(sessions):
        data = bytes([number + 1]) * BLOCK
        await session.write(LUN, 0, data)
        for other in sessions:
            assert await other.read(LUN, 0, 1) == data
    for session in sessions:
        await session.logout()
        await session.close()
