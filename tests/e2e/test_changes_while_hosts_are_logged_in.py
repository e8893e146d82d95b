"""What an administrator changes takes effect at once, and sessions that are up are told as SCSI tells it."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from mpxtarget.testing.client import ConnectionLost, Initiator

from .harness import MIB, Portal, TargetUnderTest
from .scsi import BLOCK, CHECK_CONDITION, Sense, sense_of, settle

REPORTED_LUNS_DATA_HAS_CHANGED = (6, 0x3F, 0x0E)
CAPACITY_DATA_HAS_CHANGED = (6, 0x2A, 0x09)
LOGICAL_UNIT_NOT_SUPPORTED = (5, 0x25, 0x00)


async def log_in(portal: Portal, target: str, number: int) -> Initiator:
    """A session whose unit attentions are taken."""
    session = await Initiator.connect(portal.host, portal.port, target=target, isid=0x80_0000_000000 | number)
    for lun in (1, 2):
        await settle(session, lun)
    return session


@pytest.fixture
async def sessions(fresh_target: TargetUnderTest) -> AsyncIterator[list[Initiator]]:
    """One session by each portal, to targets of different controllers."""
    async with AsyncExitStack() as stack:
        opened = []
        for number, portal in enumerate(fresh_target.portals):
            session = await log_in(portal, fresh_target.target_names[2 * number], number)
            opened.append(await stack.enter_async_context(session))
        yield opened


async def luns_of(session: Initiator) -> list[int]:
    """REPORT LUNS."""
    answer = await session.scsi(
        0, b"\xa0" + bytes(5) + (1024).to_bytes(4, "big") + bytes(2), read_length=1024
    )
    entries = answer.data[8 : 8 + int.from_bytes(answer.data[:4], "big")]
    return [lun >> 48 for (lun,) in struct.iter_unpack(">Q", entries)]


async def size_of(session: Initiator, lun: int) -> int:
    """READ CAPACITY(16), in bytes."""
    answer = await session.scsi(
        lun, b"\x9e\x10" + bytes(8) + (32).to_bytes(4, "big") + bytes(2), read_length=32
    )
    last, block = struct.unpack_from(">QI", answer.data)
    return int((last + 1) * block)


async def refusal_of(session: Initiator, lun: int) -> Sense | None:
    """The sense data of a TEST UNIT READY."""
    result = await session.scsi(lun, bytes(6))
    assert result.status == CHECK_CONDITION
    return sense_of(result)


@pytest.mark.conformance("UAT-001", "UAT-002", "LUN-013")
async def test_a_new_lun_is_there_at_once_and_every_session_is_told(
    fresh_target: TargetUnderTest, sessions: list[Initiator]
) -> None:
    await asyncio.to_thread(fresh_target.cli, "lun", "create", "third", "--size", "8M")
    for session in sessions:
        assert await settle(session, 1) == [REPORTED_LUNS_DATA_HAS_CHANGED]
        assert await luns_of(session) == [0, 1, 2, 3]
        assert REPORTED_LUNS_DATA_HAS_CHANGED not in await settle(session, 2), "REPORT LUNS had told it"
        await settle(session, 3)
        assert await size_of(session, 3) == 8 * MIB
    data = b"\x77" * BLOCK
    await sessions[0].write(3, 5, data)
    assert await sessions[1].read(3, 5, 1) == data


@pytest.mark.conformance("UAT-001", "SBC-005")
async def test_a_resized_lun_has_its_size_at_once_and_every_session_is_told_once(
    fresh_target: TargetUnderTest, sessions: list[Initiator]
) -> None:
    await asyncio.to_thread(fresh_target.cli, "lun", "resize", "vdisk1", str(2 * fresh_target.size))
    last = fresh_target.size // BLOCK + 1
    for number, session in enumerate(sessions):
        assert await settle(session, 1) == [CAPACITY_DATA_HAS_CHANGED]
        assert await settle(session, 2) == [], "the other disk has its size still"
        assert await size_of(session, 1) == 2 * fresh_target.size
        await session.write(1, last + number, b"\x11" * BLOCK)
    assert await sessions[0].read(1, last, 2) == b"\x11" * 2 * BLOCK


async def test_a_removed_lun_is_gone_at_once_and_every_session_is_told(
    fresh_target: TargetUnderTest, sessions: list[Initiator]
) -> None:
    await asyncio.to_thread(fresh_target.cli, "lun", "remove", "vdisk2")
    for session in sessions:
        assert await refusal_of(session, 2) == LOGICAL_UNIT_NOT_SUPPORTED
        assert await settle(session, 1) == [REPORTED_LUNS_DATA_HAS_CHANGED]
        assert await luns_of(session) == [0, 1]
        assert await session.read(1, 0, 1) == bytes(BLOCK)
    assert fresh_target.image(2).exists()


async def test_a_new_portal_is_open_at_once_and_discovery_names_it(
    fresh_target: TargetUnderTest, sessions: list[Initiator]
) -> None:
    await asyncio.to_thread(fresh_target.cli, "portal", "add", "127.0.0.1:0")
    rows = await asyncio.to_thread(fresh_target.listing, "portal", "list")
    portals = [Portal(row["address"], row["listening"]) for row in rows]
    assert portals[:2] == fresh_target.portals
    assert len(portals) == 3
    async with await Initiator.connect(
        portals[0].host, portals[0].port, discovery=True, isid=0x80_0000_0000AA
    ) as discovery:
        found = await discovery.send_targets()
    assert found == {name: [f"{portal},1" for portal in portals] for name in fresh_target.target_names}
    async with await log_in(portals[2], fresh_target.target_names[0], 9) as newcomer:
        assert await newcomer.read(1, 0, 1) == bytes(BLOCK)
    for session in sessions:
        assert await settle(session, 1) == [], "a portal is no business of a logical unit"


async def test_a_removed_portal_ends_its_own_sessions_only(
    fresh_target: TargetUnderTest, sessions: list[Initiator]
) -> None:
    await asyncio.to_thread(fresh_target.cli, "portal", "remove", "1")
    await sessions[0].closed_by_target()
    with pytest.raises(ConnectionRefusedError):
        await log_in(fresh_target.portals[0], fresh_target.target_names[0], 9)
    assert await sessions[1].read(1, 0, 1) == bytes(BLOCK)
    assert await settle(sessions[1], 1) == []


async def test_a_killed_session_ends_and_its_initiator_may_log_in_again(
    fresh_target: TargetUnderTest, sessions: list[Initiator]
) -> None:
    rows = await asyncio.to_thread(fresh_target.listing, "session", "list")
    assert sorted(row["tsih"] for row in rows) == sorted(session.connection.tsih for session in sessions)
    await asyncio.to_thread(fresh_target.cli, "session", "kill", str(sessions[0].connection.tsih))
    await sessions[0].closed_by_target()
    with pytest.raises(ConnectionLost):
        await sessions[0].read(1, 0, 1)
    async with await log_in(fresh_target.portals[0], fresh_target.target_names[0], 0) as again:
        assert await again.read(1, 0, 1) == bytes(BLOCK)
    assert await sessions[1].read(1, 0, 1) == bytes(BLOCK)


async def test_a_secret_counts_from_the_next_login_on(
    fresh_target: TargetUnderTest, sessions: list[Initiator]
) -> None:
    name = sessions[0].connection.options.initiator
    secret = fresh_target.folder / "secret"
    secret.write_text("twelve-bytes-or-more\n")
    await asyncio.to_thread(fresh_target.cli, "initiator", "set-chap", name, "--secret-file", secret)
    assert await sessions[0].read(1, 0, 1) == bytes(BLOCK)
    with pytest.raises(ConnectionError, match="0x0201"):
        await log_in(fresh_target.portals[0], fresh_target.target_names[0], 9)
