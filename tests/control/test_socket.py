"""The socket: for its owner alone, in folders of any name, replaced after a crash, gone after a stop."""

import socket
from pathlib import Path

import pytest

from mpxtarget.cli import client
from mpxtarget.server.control import ControlServer
from mpxtarget.server.state import State
from mpxtarget.server.verbs import Context


@pytest.fixture
def long_folder(tmp_path: Path) -> Path:
    """A folder whose socket has a name too long for sun_path."""
    folder = tmp_path / ("x" * 120) / "state"
    folder.parent.mkdir()
    return folder


async def test_only_its_owner_may_open_it(control: ControlServer) -> None:
    assert (control.context.folder / "control.sock").stat().st_mode & 0o777 == 0o600


async def test_it_is_gone_after_a_stop(control: ControlServer) -> None:
    await control.stop()
    assert not (control.context.folder / "control.sock").exists()
    await control.stop()


@pytest.mark.loops
async def test_a_long_name_is_no_obstacle(long_folder: Path) -> None:
    import asyncio

    assert len(str(long_folder / "control.sock")) > 108
    with State.create(long_folder, portals=(), vdisks=()) as state:
        server = ControlServer(Context(state))
        await server.start()
        assert await asyncio.to_thread(client.request, long_folder, "lun/list", {}) == []
        await server.stop()
        assert not (long_folder / "control.sock").exists()


async def test_the_socket_of_a_killed_server_is_replaced(tmp_path: Path) -> None:
    import asyncio

    with State.create(tmp_path / "state", portals=(), vdisks=()) as state:
        with socket.socket(socket.AF_UNIX) as killed:
            killed.bind(str(state.folder / "control.sock"))
        server = ControlServer(Context(state))
        await server.start()
        assert await asyncio.to_thread(client.request, state.folder, "lun/list", {}) == []
        await server.stop()
