"""A controller fails under load and comes back: sessions, paths and ownership as hosts see them over TCP."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial

import pytest

from mpxtarget.pdu import LoginStatus
from mpxtarget.testing.client import ConnectionLost, Initiator, LoginRefused, Result

from .harness import TargetUnderTest
from .scsi import BLOCK, CHECK_CONDITION, GOOD, TEST_UNIT_READY, Sense, sense_of, settle

ACCESS_CHANGED = (6, 0x2A, 0x06)
IN_TRANSITION = (2, 0x04, 0x0A)
GROUP_A, GROUP_B = 1, 2
OPTIMIZED, NON_OPTIMIZED, UNAVAILABLE, TRANSITIONING = 0, 1, 3, 0xF
TARGET_OF = {"A": 0, "B": 2}


async def log_in(target: TargetUnderTest, controller: str, number: int = 0) -> Initiator:
    """A session with a host port of a controller, by the portal of that number; its attentions are taken."""
    portal = target.portals[number % len(target.portals)]
    name = target.target_names[TARGET_OF[controller]]
    session = await Initiator.connect(portal.host, portal.port, target=name, isid=0x80_0000_000000 | number)
    for lun in (1, 2):
        await settle(session, lun)
    return session


@pytest.fixture
async def paths(fresh_target: TargetUnderTest) -> AsyncIterator[tuple[Initiator, Initiator]]:
    """A host with a session with each controller."""
    async with AsyncExitStack() as stack:
        sessions = [
            await log_in(fresh_target, controller, number) for number, controller in enumerate(TARGET_OF)
        ]
        for session in sessions:
            stack.push_async_callback(session.close)
        yield sessions[0], sessions[1]


async def cli(target: TargetUnderTest, *words: str) -> str:
    """A command, while sessions go on."""
    return (await asyncio.to_thread(target.cli, *words)).output


async def states(session: Initiator, lun: int = 1) -> dict[int, int]:
    """REPORT TARGET PORT GROUPS: the access state of each group, 80h added for the preferred one."""
    answer = await session.scsi(
        lun, b"\xa3\x0a" + bytes(4) + (256).to_bytes(4, "big") + bytes(2), read_length=256
    )
    assert answer.status == GOOD, answer
    found, data = {}, answer.data[4:]
    while data:
        found[int.from_bytes(data[2:4], "big")] = data[0]
        data = data[8 + 4 * data[7] :]
    return found


async def set_optimized(session: Initiator, group: int, lun: int = 1) -> None:
    """SET TARGET PORT GROUPS, one descriptor, as Linux and Windows send it."""
    data = bytes(4) + bytes((OPTIMIZED, 0)) + group.to_bytes(2, "big")
    cdb = b"\xa4\x0a" + bytes(4) + len(data).to_bytes(4, "big") + bytes(2)
    assert (await session.scsi(lun, cdb, data_out=data)).status == GOOD


async def next_sense(session: Initiator, lun: int = 1) -> Sense | None:
    """The sense data of a TEST UNIT READY."""
    return sense_of(await session.scsi(lun, TEST_UNIT_READY))


async def until_ready(session: Initiator, lun: int = 1) -> list[Sense | None]:
    """Ask until the unit is ready; the answers that were not GOOD, each once in a row."""
    answers: list[Sense | None] = []
    async with asyncio.timeout(20):
        while (sense := await next_sense(session, lun)) is not None:
            if answers[-1:] != [sense]:
                answers.append(sense)
            await asyncio.sleep(0.02)
    return answers


async def read_one(session: Initiator, lba: int) -> Result:
    """READ(10) of one block of LUN 1."""
    cdb = b"\x28\x00" + lba.to_bytes(4, "big") + bytes((0, 0, 1, 0))
    return await session.scsi(1, cdb, read_length=BLOCK)


class Load:
    """Reads and writes of one host over its paths: it takes the next path when one is lost."""

    def __init__(self, paths: list[Initiator]) -> None:
        self.paths = paths
        self.lost: list[Initiator] = []
        self.attentions: list[Sense | None] = []
        self.done = 0
        self.stop = False
        self.content: dict[int, bytes] = {}
        self._step = asyncio.Event()

    async def run(self) -> None:
        """Write blocks and read them back, until told to stop."""
        number = 0
        while not self.stop:
            number += 1
            lba, data = number % 64, number.to_bytes(8, "big") * (BLOCK // 8)
            await self._try(partial(self._write, lba, data))
            self.content[lba] = data
            await self._try(partial(self._read, lba, data))
            self.done += 1
            self._step.set()

    async def more(self, count: int) -> None:
        """Wait until so many more blocks were written and read back."""
        goal = self.done + count
        async with asyncio.timeout(30):
            while self.done < goal:
                self._step.clear()
                await self._step.wait()

    async def _try(self, what: Callable[[Initiator], Awaitable[bool]]) -> None:
        for path in [path for path in self.paths if path not in self.lost]:
            try:
                while not await what(path):
                    pass
            except ConnectionLost:
                self.lost.append(path)
            else:
                return
        raise AssertionError("no path is left")

    async def _write(self, lba: int, data: bytes, path: Initiator) -> bool:
        cdb = b"\x2a\x08" + lba.to_bytes(4, "big") + bytes((0, 0, 1, 0))
        return self._good(await path.scsi(1, cdb, data_out=data))

    async def _read(self, lba: int, data: bytes, path: Initiator) -> bool:
        result = await read_one(path, lba)
        if not self._good(result):
            return False
        assert result.data == data
        return True

    def _good(self, result: Result) -> bool:
        if result.status == CHECK_CONDITION:
            self.attentions.append(sense_of(result))
            return False
        assert result.status == GOOD
        return True


@pytest.mark.conformance("ALU-010", "ALU-007", "ALU-008", "ALU-009")
async def test_a_controller_fails_under_load_and_gets_its_disk_back(
    fresh_target: TargetUnderTest, paths: tuple[Initiator, Initiator]
) -> None:
    by_a, by_b = paths
    await cli(fresh_target, "lun", "prefer", "1", "A-failback")
    await cli(fresh_target, "lun", "trespass", "1", "--to", "A")
    assert await states(by_b) == {GROUP_A: 0x80 | OPTIMIZED, GROUP_B: NON_OPTIMIZED}
    load = Load([by_a, by_b])
    running = asyncio.create_task(load.run())
    await load.more(20)
    await cli(fresh_target, "controller", "fail", "A")
    await by_a.closed_by_target()
    await load.more(20)
    load.stop = True
    await running
    assert load.lost == [by_a]
    assert load.attentions == [ACCESS_CHANGED]
    assert await states(by_b) == {GROUP_A: 0x80 | UNAVAILABLE, GROUP_B: OPTIMIZED}
    for lba, data in load.content.items():
        assert await by_b.read(1, lba, 1) == data
    for target in fresh_target.target_names[:2]:
        with pytest.raises(LoginRefused) as refused:
            await Initiator.connect(fresh_target.portals[0].host, fresh_target.portals[0].port, target=target)
        assert refused.value.status == LoginStatus.SERVICE_UNAVAILABLE
    await cli(fresh_target, "controller", "recover", "A")
    assert await next_sense(by_b) == ACCESS_CHANGED
    assert await states(by_b) == {GROUP_A: 0x80 | OPTIMIZED, GROUP_B: NON_OPTIMIZED}
    again = await log_in(fresh_target, "A")
    for lba, data in load.content.items():
        assert await again.read(1, lba, 1) == data
    await again.logout()


@pytest.mark.conformance("ALU-006", "ALU-009")
async def test_what_a_host_moved_is_where_it_was_put_after_kill_9(
    fresh_target: TargetUnderTest, paths: tuple[Initiator, Initiator]
) -> None:
    by_a, by_b = paths
    await cli(fresh_target, "lun", "prefer", "1", "A")
    for group in (GROUP_B, GROUP_A, GROUP_B):
        await set_optimized(by_a, group)
        assert await next_sense(by_b) == ACCESS_CHANGED
        assert await next_sense(by_a) is None
    os.kill(fresh_target.pid, signal.SIGKILL)
    await asyncio.to_thread(fresh_target.wait)
    assert fresh_target.listing("lun", "list")[0]["controller"] == "B"
    await asyncio.to_thread(fresh_target.start)
    session = await log_in(fresh_target, "A")
    assert await states(session) == {GROUP_A: 0x80 | NON_OPTIMIZED, GROUP_B: OPTIMIZED}
    await session.logout()
    assert await asyncio.to_thread(fresh_target.stop) == 0
    await asyncio.to_thread(fresh_target.start)  # after a clean stop the preferred path decides
    assert fresh_target.listing("lun", "list")[0]["controller"] == "A"


@pytest.mark.conformance("ALU-010")
async def test_a_failed_controller_is_still_failed_after_kill_9(fresh_target: TargetUnderTest) -> None:
    await cli(fresh_target, "controller", "fail", "B")
    os.kill(fresh_target.pid, signal.SIGKILL)
    await asyncio.to_thread(fresh_target.wait)
    await asyncio.to_thread(fresh_target.start)
    session = await log_in(fresh_target, "A")
    for lun in (1, 2):
        assert await states(session, lun) == {GROUP_A: OPTIMIZED, GROUP_B: UNAVAILABLE}
    with pytest.raises(LoginRefused):
        await log_in(fresh_target, "B")
    await session.logout()


@pytest.mark.conformance("ALU-005", "ALU-006")
async def test_a_disk_in_transition_is_not_ready_until_it_has_arrived(
    fresh_target: TargetUnderTest, paths: tuple[Initiator, Initiator]
) -> None:
    by_a, by_b = paths
    before = await states(by_a)
    target = GROUP_B if before[GROUP_A] == OPTIMIZED else GROUP_A
    await cli(fresh_target, "array", "set", "--transition-time", "2")
    await set_optimized(by_a, target)
    assert set((await states(by_a)).values()) == {TRANSITIONING}
    assert await until_ready(by_a) == [IN_TRANSITION]
    assert await until_ready(by_b) == [ACCESS_CHANGED]
    assert (await states(by_b))[target] == OPTIMIZED
    await by_b.write(1, 0, bytes(BLOCK))


@pytest.mark.conformance("ALU-009", "ALU-007")
async def test_reads_by_the_other_controller_move_a_disk_while_it_is_served(
    fresh_target: TargetUnderTest, paths: tuple[Initiator, Initiator]
) -> None:
    by_a, by_b = paths
    await cli(fresh_target, "lun", "trespass", "1", "--to", "A")
    for path in paths:
        await settle(path, 1)
    await cli(fresh_target, "array", "set", "--implicit-transition", "1:60:10")
    async with asyncio.timeout(20):
        while (result := await read_one(by_b, 0)).status == GOOD:
            pass
    assert sense_of(result) == ACCESS_CHANGED
    assert (await states(by_b))[GROUP_B] == OPTIMIZED
    assert await until_ready(by_a) == [ACCESS_CHANGED]
    fresh_target.eventually(
        lambda: fresh_target.listing("lun", "list")[0]["controller"] == "B", "the move is not listed"
    )


async def test_a_restart_shows_progress_and_ends_by_itself(fresh_target: TargetUnderTest) -> None:
    said = await cli(fresh_target, "controller", "restart", "A", "--seconds", "0.5")
    assert said.splitlines()[0].startswith("controller A restarts, ")
    assert said.splitlines()[-1].startswith("controller A is back, ")
    session = await log_in(fresh_target, "A")
    await session.write(1, 0, bytes(4 * BLOCK))
    await session.logout()
