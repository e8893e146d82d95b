"""What Windows Server's cluster validation does to a disk: two nodes, two paths each, over real sockets.

A node registers on all its paths with one key (REGISTER AND IGNORE EXISTING KEY, as its multipath driver
does), reserves by one of them with Write Exclusive - Registrants Only, and writes by any. Its methods are
those of the validation's log; every step of it is followed by raw reads and writes of all four paths.
"""

import asyncio
import os
import signal
import struct
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from mpxtarget.testing.client import ConnectionLost, Initiator

from .harness import TargetUnderTest
from .scsi import BLOCK, GOOD, UNIT_ATTENTION, Sense, sense_of, settle

LUN = 1
RESERVATION_CONFLICT = 0x18
REGISTER, RESERVE, RELEASE, CLEAR, PREEMPT, PREEMPT_AND_ABORT, REGISTER_AND_IGNORE = range(7)
WRITE_EXCLUSIVE_REGISTRANTS_ONLY = 5
WITH_TYPE = (RESERVE, RELEASE, PREEMPT, PREEMPT_AND_ABORT)
APTPL = 0x01

RESERVATIONS_PREEMPTED: Sense = (UNIT_ATTENTION, 0x2A, 0x03)
RESERVATIONS_RELEASED: Sense = (UNIT_ATTENTION, 0x2A, 0x04)
REGISTRATIONS_PREEMPTED: Sense = (UNIT_ATTENTION, 0x2A, 0x05)
NEXUS_LOSS: Sense = (UNIT_ATTENTION, 0x29, 0x07)

KEY_A, KEY_B = 0x5A41_7E11_734D_0001, 0x5A41_7E11_734D_0002
SECTOR_A, SECTOR_B = 8, 9


class Node:
    """A host of the cluster: one session by each portal, to targets of different controllers."""

    def __init__(self, target: TargetUnderTest, number: int, key: int, sector: int) -> None:
        self.target = target
        self.number = number
        self.key = key
        self.sector = sector
        self.paths: list[Initiator] = []
        self._written = 0

    async def log_in(self, path: int) -> Initiator:
        """A session by one path, always from the same initiator port."""
        portal = self.target.portals[path]
        session = await Initiator.connect(
            portal.host,
            portal.port,
            initiator=f"iqn.1991-05.com.microsoft:node{self.number}",
            target=self.target.target_names[2 * path],
            isid=0x4000_0137_0000 | path + 1,
        )
        self.paths[path : path + 1] = [session]
        return session

    # The methods of the validation

    async def out(self, action: int, key: int = 0, new_key: int = 0, *, path: int = 0, flags: int = 0) -> int:
        """PERSISTENT RESERVE OUT by one path; its status, which has no sense data with it."""
        type_ = WRITE_EXCLUSIVE_REGISTRANTS_ONLY if action in WITH_TYPE else 0
        cdb = struct.pack(">BBBxxIx", 0x5F, action, type_, 24)
        result = await self.paths[path].scsi(LUN, cdb, struct.pack(">QQ4xB3x", key, new_key, flags))
        assert not result.sense, sense_of(result)
        return result.status

    async def register(self, key: int | None = None, *, flags: int = 0) -> None:
        """PRRegister, or PRUnRegister with key 0: down all paths."""
        for path in range(2):
            new_key = self.key if key is None else key
            assert await self.out(REGISTER_AND_IGNORE, 0, new_key, path=path, flags=flags) == GOOD

    async def change_key(self, old: int, new: int) -> None:
        """PRRegister3 with an old key: down all paths."""
        for path in range(2):
            assert await self.out(REGISTER, old, new, path=path) == GOOD
        self.key = new

    async def read_keys(self, path: int = 0) -> list[int]:
        """FindKey3."""
        result = await self.paths[path].scsi(LUN, b"\x5e\0\0\0\0\0\0\x04\0\0", read_length=1024)
        assert result.status == GOOD, sense_of(result)
        data = result.data
        assert int.from_bytes(data[4:8], "big") == len(data) - 8
        return [key for (key,) in struct.iter_unpack(">Q", data[8:])]

    async def is_pr_present(self, path: int = 0) -> int:
        """IsPRPresent: 0 there is no reservation, 1 another node has it, 2 this one has."""
        result = await self.paths[path].scsi(LUN, b"\x5e\x01\0\0\0\0\0\x04\0\0", read_length=1024)
        assert result.status == GOOD, sense_of(result)
        if result.data[4:8] == bytes(4):
            return 0
        assert result.data[21] == WRITE_EXCLUSIVE_REGISTRANTS_ONLY
        return 2 if int.from_bytes(result.data[8:16], "big") == self.key else 1

    async def raw_write(self, path: int) -> bool:
        """RawWrite to the node's sector; whether it was let. What was not let has changed nothing."""
        self._written += 1
        data = struct.pack(">QQ", self.key, self._written) * (BLOCK // 16)
        before = await self.paths[path].read(LUN, self.sector, 1)
        cdb = struct.pack(">BBIBHB", 0x2A, 0, self.sector, 0, 1, 0)
        result = await self.paths[path].scsi(LUN, cdb, data)
        assert result.status in (GOOD, RESERVATION_CONFLICT), sense_of(result)
        assert not result.sense
        written = result.status == GOOD
        for each in range(2):
            assert await self.paths[each].read(LUN, self.sector, 1) == (data if written else before)
        return written

    async def writes(self) -> list[bool]:
        """RawWrite by each path."""
        return [await self.raw_write(path) for path in range(2)]

    async def attentions(self) -> list[list[Sense]]:
        """What each path has to tell."""
        return [await settle(path, LUN) for path in self.paths]


MAY, MAY_NOT = [True, True], [False, False]
NOTHING: list[list[Sense]] = [[], []]


@pytest.fixture
async def nodes(fresh_target: TargetUnderTest) -> AsyncIterator[tuple[Node, Node]]:
    """Both nodes, logged in by both paths."""
    both = Node(fresh_target, 1, KEY_A, SECTOR_A), Node(fresh_target, 2, KEY_B, SECTOR_B)
    async with AsyncExitStack() as stack:
        for node in both:
            for path in range(2):
                await node.log_in(path)
            await node.attentions()

            async def leave(node: Node = node) -> None:
                for session in node.paths:
                    async with session:
                        pass

            stack.push_async_callback(leave)
        yield both


@pytest.mark.conformance("PRS-026", "PRS-001", "PRS-008", "PRS-013", "PRS-025", "CLI-003")
@pytest.mark.parametrize("swapped", [False, True])
async def test_validate_scsi_3_persistent_reservation(nodes: tuple[Node, Node], swapped: bool) -> None:
    a, b = reversed(nodes) if swapped else nodes

    # nothing is there, and taking nothing away is good
    await a.register(0)
    assert await a.is_pr_present() == 0
    assert await a.read_keys() == []
    assert await a.writes() == await b.writes() == MAY

    # node A registers and reserves
    await a.register()
    assert await b.read_keys() == [a.key, a.key]
    assert await a.writes() == await b.writes() == MAY, "nothing is reserved yet"
    assert await a.out(RESERVE, a.key) == GOOD
    for path in range(2):
        assert await a.is_pr_present(path) == 2
        assert await b.is_pr_present(path) == 1
    assert await a.writes() == MAY, "by both paths, and only one of them holds the reservation"
    assert await a.out(RESERVE, a.key) == GOOD, "the same again is good"
    assert await a.out(RESERVE, a.key, path=1) == RESERVATION_CONFLICT

    # node B, not registered: it reads, and no more
    for action in (RESERVE, RELEASE, CLEAR, PREEMPT, PREEMPT_AND_ABORT):
        assert await b.out(action, b.key, a.key) == RESERVATION_CONFLICT
    assert await b.writes() == MAY_NOT

    # node B, registered: it writes too, and does not own the disk
    await b.register()
    assert sorted(await a.read_keys(1)) == sorted([a.key, a.key, b.key, b.key])
    assert await b.writes() == await a.writes() == MAY
    assert await b.out(RESERVE, b.key) == RESERVATION_CONFLICT
    assert await b.out(RELEASE, b.key) == GOOD
    assert await b.is_pr_present() == 1, "it has released nothing"
    assert await a.attentions() == await b.attentions() == NOTHING

    # node A releases: the other three paths learn of it
    assert await a.out(RELEASE, a.key) == GOOD
    assert await a.attentions() == [[], [RESERVATIONS_RELEASED]]
    assert await b.attentions() == [[RESERVATIONS_RELEASED], [RESERVATIONS_RELEASED]]
    assert await a.is_pr_present() == 0
    assert await a.writes() == await b.writes() == MAY

    # node A reserves again and leaves: its reservation goes with its registration
    assert await a.out(RESERVE, a.key, path=1) == GOOD
    await a.register(0)
    assert await b.attentions() == [[RESERVATIONS_RELEASED], [RESERVATIONS_RELEASED]]
    assert await a.attentions() == NOTHING
    assert await b.is_pr_present() == 0
    assert await b.read_keys() == [b.key, b.key]

    # node A has the disk, node B takes it
    await a.register()
    assert await a.out(RESERVE, a.key) == GOOD
    assert await b.out(PREEMPT, b.key, a.key) == GOOD
    assert await b.is_pr_present() == 2
    assert await b.read_keys() == [b.key, b.key]
    assert await a.attentions() == [[REGISTRATIONS_PREEMPTED], [REGISTRATIONS_PREEMPTED]]
    assert await b.attentions() == NOTHING
    assert await a.writes() == MAY_NOT
    assert await b.writes() == MAY
    assert await a.is_pr_present() == 1

    # node A challenges in its turn, and all is cleared
    await a.register()
    assert await a.writes() == MAY
    assert await a.out(PREEMPT_AND_ABORT, a.key, b.key) == GOOD
    assert await b.attentions() == [[REGISTRATIONS_PREEMPTED], [REGISTRATIONS_PREEMPTED]]
    await b.register()
    assert await b.out(CLEAR, b.key) == GOOD
    assert await a.attentions() == [[RESERVATIONS_PREEMPTED], [RESERVATIONS_PREEMPTED]]
    assert await b.attentions() == [[], [RESERVATIONS_PREEMPTED]]
    assert await a.read_keys() == []
    assert await a.is_pr_present() == 0
    assert await a.writes() == await b.writes() == MAY

    # clear, register, reserve; then everybody leaves, and once more
    await b.register()
    await b.change_key(b.key, b.key ^ 0xFF00)
    assert await b.out(RESERVE, b.key, path=1) == GOOD
    assert await a.writes() == MAY_NOT
    for node in (b, a, b):
        await node.register(0)
    assert await a.is_pr_present() == 0
    assert await a.writes() == await b.writes() == MAY
    assert await a.attentions() == await b.attentions() == NOTHING


@pytest.mark.conformance("PRS-009", "PRS-010", "PRS-026")
async def test_a_node_arbitrates_for_a_disk_that_a_dead_node_holds(nodes: tuple[Node, Node]) -> None:
    a, b = nodes
    await a.register()
    assert await a.out(RESERVE, a.key) == GOOD
    for session in a.paths:
        session.abort()
        await session.close()
    assert await b.is_pr_present() == 1
    assert await b.writes() == MAY_NOT, "a dead node defends its disk until somebody takes it"
    await b.register()
    assert await b.out(PREEMPT, b.key, a.key) == GOOD
    assert await b.writes() == MAY
    assert await b.read_keys() == [b.key, b.key]
    for path in range(2):
        await a.log_in(path)
    assert await a.attentions() == [[NEXUS_LOSS], [NEXUS_LOSS]]
    assert await a.writes() == MAY_NOT


@pytest.mark.conformance("PRS-014", "PRS-026", "UAT-009", "SES-010")
@pytest.mark.parametrize("dead", [0, 1])
async def test_a_path_that_dies_and_comes_back_keeps_its_registration(
    nodes: tuple[Node, Node], dead: int
) -> None:
    a, b = nodes
    await a.register()
    await b.register()
    assert await a.out(RESERVE, a.key) == GOOD
    keys = await b.read_keys()
    a.paths[dead].abort()
    with pytest.raises(ConnectionLost):
        await a.paths[dead].read(LUN, 0, 1)
    await a.paths[dead].close()
    assert await b.read_keys() == keys
    assert await b.out(RESERVE, b.key) == RESERVATION_CONFLICT
    other_path = a.paths[1 - dead]
    await other_path.write(LUN, a.sector, b"\x01" * BLOCK)

    await a.log_in(dead)
    assert await settle(a.paths[dead], LUN) == [NEXUS_LOSS]
    assert await a.read_keys(dead) == keys
    assert await a.is_pr_present(dead) == 2
    assert await a.writes() == MAY, "without registering anew"
    await a.register()
    assert sorted(await b.read_keys()) == sorted(keys), "and registering anew changes nothing"
    assert await a.out(RELEASE, a.key) == GOOD
    assert await b.attentions() == [[RESERVATIONS_RELEASED], [RESERVATIONS_RELEASED]]
    assert await b.is_pr_present() == 0


@pytest.mark.conformance("PRS-014", "TMF-014")
async def test_resets_and_logouts_leave_the_reservation_alone(nodes: tuple[Node, Node]) -> None:
    a, b = nodes
    await a.register()
    assert await a.out(RESERVE, a.key) == GOOD
    logical_unit_reset = 5
    assert await b.paths[0].task_management(logical_unit_reset, lun=LUN << 48) == 0
    for node in nodes:
        await node.attentions()
    assert await b.is_pr_present() == 1
    assert await b.writes() == MAY_NOT
    async with a.paths[0]:
        pass  # logs out
    assert await b.is_pr_present() == 1
    await a.log_in(0)
    await a.attentions()
    assert await a.out(RELEASE, a.key) == GOOD
    assert await b.is_pr_present() == 0


@pytest.mark.conformance("PRS-015")
async def test_with_aptpl_a_node_has_its_disk_after_the_array_was_killed(nodes: tuple[Node, Node]) -> None:
    a, b = nodes
    await a.register(flags=APTPL)
    await b.register(flags=APTPL)
    assert await a.out(RESERVE, a.key) == GOOD
    assert await b.out(REGISTER, b.key, 0, path=1, flags=APTPL) == GOOD
    os.kill(a.target.pid, signal.SIGKILL)
    await asyncio.to_thread(a.target.wait)
    for session in (*a.paths, *b.paths):
        await session.close()
    await asyncio.to_thread(a.target.start)
    for node in nodes:
        for path in range(2):
            await node.log_in(path)
        await node.attentions()
    assert sorted(await b.read_keys()) == sorted([a.key, a.key, b.key])
    assert await a.is_pr_present() == 2
    assert await a.writes() == MAY
    assert await b.writes() == [True, False]
    await b.register(0)
    assert await a.out(RELEASE, a.key) == GOOD
    assert await a.attentions() == [[], [RESERVATIONS_RELEASED]]
    await a.register(0)
    assert await b.read_keys() == []


@pytest.mark.conformance("PRS-015")
async def test_without_aptpl_nobody_is_registered_after_a_restart(nodes: tuple[Node, Node]) -> None:
    a, b = nodes
    await a.register(flags=APTPL)
    await a.register()
    assert await a.out(RESERVE, a.key) == GOOD
    await asyncio.to_thread(a.target.stop)
    for session in (*a.paths, *b.paths):
        await session.close()
    await asyncio.to_thread(a.target.start)
    for node in nodes:
        for path in range(2):
            await node.log_in(path)
        await node.attentions()
    assert await b.read_keys() == []
    assert await b.writes() == MAY
