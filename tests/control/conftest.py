"""A control socket, and bytes to put into it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from mpxtarget.server.control import ControlServer
from mpxtarget.server.state import State
from mpxtarget.server.verbs import Context

Say = Callable[..., Awaitable[bytes]]


@pytest.fixture
async def control(tmp_path: Path) -> AsyncIterator[ControlServer]:
    """A control server over an array at rest that gives a peer half a second."""
    with State.create(tmp_path / "state", portals=(), vdisks=()) as state:
        server = ControlServer(Context(state), request_seconds=0.5)
        await server.start()
        yield server
        await server.stop()


@pytest.fixture
def say(control: ControlServer) -> Say:
    """Send bytes, and read until the server closes."""

    async def say(data: bytes, *, finish: bool = True) -> bytes:
        reader, writer = await asyncio.open_unix_connection(control.context.folder / "control.sock")
        writer.write(data)
        if finish:
            writer.write_eof()
        try:
            return await reader.read()
        except ConnectionResetError:  # it closed with bytes of ours unread
            return b""
        finally:
            writer.close()

    return say
