"""The whole server on real sockets: portals, many connections, endings from both sides."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from mpxtarget.bridge.records import PortalRecord
from mpxtarget.pdu import LogoutReason, TmfFunction
from mpxtarget.server.state import State, VdiskSpec
from mpxtarget.server.target import MAX_LOGGING_IN, TargetServer
from mpxtarget.testing.client import ConnectionLost, Initiator
from support.cdb import SYNCHRONIZE_CACHE, TEST_UNIT_READY, data, read_10, report_luns, write_10
from support.stores import PATIENCE

HOST = "iqn.2001-04.com.example:tcp"
PORTAL = 7


class Served:
    """A running server and where it listens."""

    def __init__(self, server: TargetServer) -> None:
        self.server = server

    @property
    def address(self) -> tuple[str, int]:
        return self.server.portal_addresses()[PORTAL]

    async def targets(self) -> dict[str, list[str]]:
        """What SendTargets tells."""
        async with await Initiator.connect(*self.address, initiator=HOST, discovery=True) as discovery:
            return await discovery.send_targets()

    async def host(self, **changes: Any) -> Initiator:
        """A host at the first target, over the unit attention of its nexus."""
        target = changes.pop("target", None) or next(iter(await self.targets()))
        host = await Initiator.connect(*self.address, initiator=HOST, target=target, **changes)
        for lun in (1, 2):
            await host.scsi(lun, TEST_UNIT_READY)
        return host


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    """A server with two disks in memory, on a port that the kernel chose."""
    disks = [VdiskSpec(name, 4 << 20, store_url=f"memory:{name}") for name in ("one", "two")]
    state = State.create(tmp_path / "state", portals=(), vdisks=disks)
    server = TargetServer(state)
    await server.start()
    await server.open_portal(PortalRecord(PORTAL, "127.0.0.1", 0, None, True))
    yield Served(server)
    await server.stop()
    state.close()


@pytest.mark.loops
@pytest.mark.conformance("DSC-001", "DSC-010", "DSC-014", "LGN-043")
async def test_a_host_finds_the_targets_and_uses_a_disk(served: Served) -> None:
    targets = await served.targets()
    address = "{}:{},1".format(*served.address)
    assert all(addresses == [address] for addresses in targets.values())
    async with await served.host() as host:
        luns = await host.scsi(0, report_luns(256), read_length=256)
        assert int.from_bytes(luns.data[:4], "big") == 3 * 8
        await host.write(1, 0, data(65536))
        assert await host.read(1, 0, 128) == data(65536)
        assert (await host.scsi(1, SYNCHRONIZE_CACHE)).status == 0
        assert await host.ping(b"hello") == b"hello"
    assert served.server.sessions() == []


async def test_a_host_that_reserved_and_went_is_not_remembered(served: Served) -> None:
    async with await served.host() as host:
        assert (await host.scsi(1, bytes.fromhex("16 00 00 00 00 00"))).status == 0
    assert served.server.sessions() == []
    assert not served.server.executor.take_touched()


@pytest.mark.conformance("CSN-015", "SES-014", "TMF-020")
async def test_many_hosts_at_once_do_not_mix(served: Served) -> None:
    target = next(iter(await served.targets()))

    async def work(number: int) -> None:
        async with await served.host(target=target, isid=0x800000000000 + number) as host:
            for turn in range(12):
                content = data(8192, seed=number * 100 + turn)
                await host.write(1 + number % 2, 16 * number, content)
                await host.ping(content[:100])
                assert await host.read(1 + number % 2, 16 * number, 16) == content

    await asyncio.gather(*(work(number) for number in range(24)))
    assert served.server.sessions() == []


@pytest.mark.conformance("SES-013", "NAM-005")
async def test_the_same_isid_at_every_target_is_a_path_of_its_own(served: Served) -> None:
    targets = list(await served.targets())
    hosts = [await served.host(target=target, isid=0x400001370000) for target in targets]
    assert [info.target for info in served.server.sessions()] == targets
    await hosts[0].write(1, 0, data(512))
    for host in hosts:
        assert await host.read(1, 0, 1) == data(512)
        await host.logout()
        await host.close()


@pytest.mark.conformance("SES-002", "SES-003", "SES-010")
async def test_a_login_with_the_same_isid_cuts_the_old_connection(served: Served) -> None:
    old = await served.host()
    new = await served.host()
    await old.closed_by_target()
    assert await new.read(1, 0, 1) == bytes(512)
    assert len(served.server.sessions()) == 1
    await old.close()
    await new.close()


@pytest.mark.conformance("SEC-001", "LGN-044")
async def test_those_who_only_connect_do_not_keep_others_out(served: Served) -> None:
    target = next(iter(await served.targets()))
    patient = await served.host(target=target)
    idle = [await asyncio.open_connection(*served.address) for _ in range(3 * MAX_LOGGING_IN)]
    assert await patient.read(1, 0, 1) == bytes(512)
    async with asyncio.timeout(PATIENCE):
        for reader, _ in idle[:MAX_LOGGING_IN]:
            assert await reader.read(1) == b"", "the oldest make room"
    late = await served.host(target=target, isid=0x800000000099)
    assert await late.ping() == b""
    for _, writer in idle:
        writer.close()
    for host in (patient, late):
        await host.close()
    assert len([c for c in served.server._transports if c.phase == 0]) <= MAX_LOGGING_IN


@pytest.mark.conformance("SEC-001", "LGN-044", "PDU-022")
async def test_a_thousand_half_open_logins_leave_nothing(served: Served) -> None:
    await served.targets()  # what is opened once is open
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    half = b"\x43\x87" + bytes(20)
    for _ in range(10):
        pairs = [await asyncio.open_connection(*served.address) for _ in range(100)]
        for _, writer in pairs:
            writer.write(half)
        for _, writer in pairs:
            writer.close()
        for _, writer in pairs:
            with_errors = asyncio.gather(writer.wait_closed(), return_exceptions=True)
            await asyncio.wait_for(with_errors, PATIENCE)
    async with asyncio.timeout(PATIENCE):
        while served.server._transports:  # noqa: ASYNC110 - the loop has to turn
            await asyncio.sleep(0)
    assert served.server.sessions() == []
    assert len(os.listdir("/proc/self/fd")) <= before  # noqa: PTH208


@pytest.mark.conformance("SES-009", "SES-008")
async def test_a_reset_ends_the_session(served: Served) -> None:
    host = await served.host()
    host.submit(1, read_10(0, 8), read_length=4096)
    host.abort()
    async with asyncio.timeout(PATIENCE):
        while served.server.sessions():  # noqa: ASYNC110 - the loop has to turn
            await asyncio.sleep(0)
    await host.close()


@pytest.mark.conformance("LGO-001", "LGO-005")
@pytest.mark.parametrize("reason", [LogoutReason.CLOSE_SESSION, LogoutReason.CLOSE_CONNECTION])
async def test_a_logout_is_answered_and_the_connection_ends(served: Served, reason: int) -> None:
    host = await served.host()
    assert (await host.logout(reason)).response == 0
    await host.closed_by_target()
    assert served.server.sessions() == []
    await host.close()


@pytest.mark.conformance("SES-008", "SES-009")
async def test_closing_a_portal_ends_its_connections_and_killing_a_session_that_one(served: Served) -> None:
    target = next(iter(await served.targets()))
    first = await served.host(target=target, isid=0x800000000001)
    second = await served.host(target=target, isid=0x800000000002)
    tsih = first.connection.tsih
    assert served.server.kill_session(tsih)
    assert not served.server.kill_session(tsih)
    await first.closed_by_target()
    assert await second.read(1, 0, 1) == bytes(512)
    await served.server.close_portal(PORTAL)
    await second.closed_by_target()
    assert served.server.sessions() == []
    for host in (first, second):
        await host.close()


@pytest.mark.conformance("TMF-024", "TMF-014", "CSN-014")
async def test_a_reset_by_one_host_reaches_the_other(served: Served) -> None:
    target = next(iter(await served.targets()))
    host = await served.host(target=target, isid=0x800000000001)
    other = await served.host(target=target, isid=0x800000000002)
    assert await host.task_management(TmfFunction.LOGICAL_UNIT_RESET, lun=1) == 0
    for each in (host, other):
        result = await each.scsi(1, TEST_UNIT_READY)
        assert (result.status, *result.sense[12:14]) == (2, 0x29, 0x03)
        assert (await each.scsi(1, TEST_UNIT_READY)).status == 0
        assert (await each.scsi(2, TEST_UNIT_READY)).status == 0
        await each.close()


@pytest.mark.conformance("SES-008")
async def test_statistics_count_what_went_both_ways(served: Served) -> None:
    host = await served.host()
    await host.write(1, 0, data(8192))
    await host.scsi(1, write_10(0, 1, flags=0x02), data_out=data(512))  # not by the short cut
    await host.read(1, 0, 16)
    (info,) = served.server.sessions()
    assert (info.writes, info.written_bytes, info.reads, info.read_bytes) == (2, 8704, 1, 8192)
    assert (info.initiator, info.tsih) == (HOST, host.connection.tsih)
    await host.close()


@pytest.mark.conformance("SES-009", "LGO-010")
async def test_stopping_ends_everything(tmp_path: Path) -> None:
    state = State.create(
        tmp_path / "state", portals=(), vdisks=[VdiskSpec("one", 1 << 20, store_url="memory:")]
    )
    server = TargetServer(state)
    await server.start()
    await server.open_portal(PortalRecord(PORTAL, "127.0.0.1", 0, None, True))
    host = await Served(server).host()
    running = host.submit(1, write_10(0, 1, flags=0x08), data_out=data(512))
    await server.stop()
    await host.closed_by_target()
    with pytest.raises(ConnectionLost):
        await running.result()
    await host.close()
    state.close()


@pytest.mark.conformance("SEC-001")
async def test_a_portal_without_descriptors_rests_and_goes_on(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0

    def accept(self: socket.socket) -> tuple[socket.socket, Any]:
        nonlocal asked
        asked += 1
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    await served.targets()
    with monkeypatch.context() as without:
        without.setattr(socket.socket, "accept", accept)
        waiting = socket.create_connection(served.address)
        async with asyncio.timeout(PATIENCE):
            while not asked:  # noqa: ASYNC110 - the loop has to turn
                await asyncio.sleep(0)
        first = asked
        for _ in range(100):
            await asyncio.sleep(0)
        assert asked == first
    served.server._accept_again()
    assert await served.targets()
    waiting.close()
