"""A whole write is all or nothing, at whichever moment its process is killed."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from backing_stores import BackingStore
from backing_stores.file import FileStore
from mpxtarget.server import whole_writes
from mpxtarget.server.assemble import assemble, create_array
from mpxtarget.server.errors import Refusal
from mpxtarget.server.whole_writes import FOLDER, WholeWrites
from support.stores import Blocks

DISK = bytes(range(16))
OFFSET, LENGTH = 8192, 64 << 10
OLD, NEW = b"old!" * (LENGTH // 4), b"new?" * (LENGTH // 4)


def die() -> None:
    """As a kill -9 does it."""
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A file store of 1 MiB with old contents in the range, and a hole in the middle of that."""
    url = f"file:{tmp_path}/disk.img"
    FileStore.create(url, 1 << 20)
    store = FileStore.open(url)
    store.write(memoryview(OLD), OFFSET)
    store.discard(OFFSET + 16384, 16384)
    store.close()
    return url


def contents(url: str) -> bytes:
    """All that is in the store."""
    store = FileStore.open(url)
    buffer = bytearray(store.size)
    store.read(memoryview(buffer), 0)
    store.close()
    return bytes(buffer)


def in_a_child(work: Callable[[], None]) -> bool:
    """Whether a process that did the work was killed meanwhile."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def write_and_die(folder: Path, url: str, moment: str) -> None:
    """A whole write, killed at a moment of it."""
    store = FileStore.open(url)
    writes = WholeWrites(folder)
    write, flush = store.write, store.flush
    torn, make_void = Killing(store), whole_writes._make_void
    if moment == "the undo file is written":
        real = os.fsync

        def fsync(fd: int) -> None:
            os.ftruncate(fd, 5000)
            real(fd)
            die()

        os.fsync = fsync
    elif moment == "the undo file is there":
        torn.write = lambda buffer, offset: die()  # type: ignore[method-assign]
    elif moment == "half is written":

        def half(buffer: memoryview, offset: int) -> None:
            write(buffer[: len(buffer) // 2], offset)
            flush()
            die()

        torn.write = half  # type: ignore[method-assign]
    elif moment == "all is written":
        torn.flush = lambda: (flush(), die())  # type: ignore[method-assign,assign]
    elif moment == "the undo file is void":

        def void(path: Path, fd: int) -> None:
            make_void(path, fd)
            die()

        whole_writes._make_void = void
    writes.write(DISK, torn, OFFSET, memoryview(NEW))


class Killing:
    """A store of which single calls can be replaced."""

    def __init__(self, store: BackingStore) -> None:
        self.url, self.size, self.read_only, self.durable = store.url, store.size, False, True
        self.can_discard, self.fd = True, store.fd
        self.read_now, self.write_now, self.read = store.read_now, store.write_now, store.read
        self.write, self.flush, self.discard = store.write, store.flush, store.discard
        self.runs, self.resize, self.close = store.runs, store.resize, store.close


MOMENTS = [
    "the undo file is written",
    "the undo file is there",
    "half is written",
    "all is written",
    "the undo file is void",
]


@pytest.mark.conformance("SBC-014")
@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_at_any_moment_it_is_all_or_nothing(tmp_path: Path, url: str, moment: str) -> None:
    before = contents(url)
    assert in_a_child(lambda: write_and_die(tmp_path, url, moment))
    store = FileStore.open(url)
    WholeWrites(tmp_path).recover(DISK, store)
    store.close()
    whole = before[:OFFSET] + NEW + before[OFFSET + LENGTH :]
    assert contents(url) == (whole if moment == "the undo file is void" else before)
    assert list((tmp_path / FOLDER).iterdir()) == []


@pytest.mark.conformance("SBC-014")
def test_killed_again_while_it_is_undone(tmp_path: Path, url: str) -> None:
    before = contents(url)
    assert in_a_child(lambda: write_and_die(tmp_path, url, "half is written"))

    def recover_and_die() -> None:
        store = Killing(FileStore.open(url))
        write = store.write

        def once(buffer: memoryview, offset: int) -> None:
            write(buffer, offset)
            die()

        store.write = once  # type: ignore[method-assign]
        WholeWrites(tmp_path).recover(DISK, store)

    assert in_a_child(recover_and_die)
    store = FileStore.open(url)
    WholeWrites(tmp_path).recover(DISK, store)
    store.close()
    assert contents(url) == before


@pytest.mark.conformance("SBC-014")
@pytest.mark.parametrize("broken", ["unlink", "pwrite"])
def test_a_state_folder_that_fails_afterwards_undoes_nothing_later(
    tmp_path: Path, url: str, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The write is done, its file cannot be removed, or not be made void; then the blocks change again."""

    def fails(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "the state folder is broken")

    store = FileStore.open(url)
    with monkeypatch.context() as broken_folder:
        broken_folder.setattr(Path if broken == "unlink" else os, broken, fails)
        WholeWrites(tmp_path).write(DISK, store, OFFSET, memoryview(NEW))
    store.write(memoryview(OLD), OFFSET)
    WholeWrites(tmp_path).recover(DISK, store)
    store.close()
    assert contents(url)[OFFSET : OFFSET + LENGTH] == OLD
    assert list((tmp_path / FOLDER).iterdir()) == []


@pytest.mark.conformance("SBC-014")
def test_what_is_done_is_not_undone(tmp_path: Path, url: str) -> None:
    before = contents(url)
    store = FileStore.open(url)
    WholeWrites(tmp_path).write(DISK, store, OFFSET, memoryview(NEW))
    WholeWrites(tmp_path).recover(DISK, store)
    store.close()
    assert contents(url) == before[:OFFSET] + NEW + before[OFFSET + LENGTH :]


@pytest.mark.conformance("SBC-014")
def test_only_the_disk_s_own_writes_are_undone(tmp_path: Path, url: str) -> None:
    assert in_a_child(lambda: write_and_die(tmp_path, url, "half is written"))
    torn = contents(url)
    store = FileStore.open(url)
    WholeWrites(tmp_path).recover(bytes(16), store)
    store.close()
    assert contents(url) == torn


@pytest.mark.conformance("SBC-014")
def test_an_array_starts_with_no_write_half_done(tmp_path: Path) -> None:
    with create_array(tmp_path) as state:
        record = state.list_vdisks()[1]
        path = f"file:{tmp_path}/vdisks/{record.name}.img"
        store = FileStore.open(path)
        store.write(memoryview(OLD), OFFSET)
        store.close()

        def torn() -> None:
            store = Killing(FileStore.open(path))
            write = store.write
            store.write = lambda buffer, offset: (write(buffer[:5000], offset), die())  # type: ignore[method-assign,assign]
            WholeWrites(tmp_path).write(record.wwlun, store, OFFSET, memoryview(NEW))

        assert in_a_child(torn)
        assembly = assemble(state)
        buffer = bytearray(LENGTH)
        assembly.stores[record.id].read(memoryview(buffer), OFFSET)
        assembly.close()
        assert buffer == OLD
        assert list((tmp_path / FOLDER).iterdir()) == []


@pytest.mark.conformance("SBC-014")
def test_an_array_whose_unfinished_write_cannot_be_undone_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(self: WholeWrites, disk: bytes, store: BackingStore) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(WholeWrites, "recover", fails)
    with (
        create_array(tmp_path) as state,
        pytest.raises(Refusal, match="vdisk vdisk1: an unfinished write cannot be undone"),
    ):
        assemble(state)


@pytest.mark.conformance("SBC-014")
def test_store_that_keeps_nothing_needs_no_file(tmp_path: Path) -> None:
    store = Blocks()
    store.durable = False
    WholeWrites(tmp_path).write(DISK, store, OFFSET, memoryview(NEW))
    assert store.content[OFFSET : OFFSET + LENGTH] == NEW
    assert not (tmp_path / FOLDER).exists()
