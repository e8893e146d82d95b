"""Every kind of store behind one fixture, and a buffer or two."""

import os
from pathlib import Path

import pytest

import backing_stores.block
import backing_stores.descriptor
from backing_stores import BackingStore, create, open_store
from stores.helpers import Opener

KINDS = ("file", "file without NOWAIT", "file without holes", "memory", "block")


@pytest.fixture(params=KINDS)
def open_new(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Opener:
    """Makes and opens a store of so many bytes, of each kind in turn; the test closes it.

    There is no device to test with: a `block` store gets a regular file, and everything but the check that
    it is a device is the real thing.
    """
    kind = request.param
    if kind == "file without NOWAIT":
        monkeypatch.setattr(backing_stores.descriptor, "can_read_without_waiting", lambda fd: False)
        monkeypatch.setattr("backing_stores.file.is_in_memory", lambda fd: False)
    if kind == "file without holes":
        monkeypatch.setattr("backing_stores.file.punch_hole", lambda fd, offset, length: False)
        monkeypatch.setattr(backing_stores.descriptor, "punch_hole", lambda fd, offset, length: False)
    if kind == "block":
        monkeypatch.setattr(backing_stores.block, "is_block_device", lambda status: True)

    def open_it(size: int) -> BackingStore:
        path = tmp_path / "disk.img"
        if kind == "memory":
            return open_store("memory:", size=size)
        if kind == "block":
            with path.open("wb") as device:
                os.truncate(device.fileno(), 4 * size)  # room for the store to grow
            return open_store(f"block:{path}", size=size)
        path.unlink(missing_ok=True)
        create(f"file:{path}", size)
        return open_store(f"file:{path}", size=size)

    return open_it
