"""`read_now` says True only when every byte is in the buffers: not when the page cache had a part of them."""

import errno
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import backing_stores.descriptor
from backing_stores import create, open_store

MIB = 1 << 20


@pytest.fixture
def half_evicted(tmp_path: Path) -> Path:
    """8 MiB in which no byte is zero, with the second half not in the page cache."""
    path = tmp_path / "disk.img"
    with path.open("wb") as file:
        file.write(bytes(range(1, 129)) * (8 * MIB // 128))
        file.flush()
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    with path.open("rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)  # no read-ahead into the second half
        assert len(os.pread(file.fileno(), 4 * MIB, 0)) == 4 * MIB
        os.posix_fadvise(file.fileno(), 4 * MIB, 0, os.POSIX_FADV_DONTNEED)
    return path


@pytest.mark.parametrize("offset", [0, 3 * MIB, 4 * MIB - 4096, 4 * MIB, 6 * MIB])
def test_a_read_across_the_edge_of_what_is_cached(half_evicted: Path, offset: int) -> None:
    store = open_store(f"file:{half_evicted}")
    right = half_evicted.read_bytes()[offset : offset + 2 * MIB] if offset == 0 else None
    buffer = bytearray(2 * MIB)
    if store.read_now((memoryview(buffer),), offset, len(buffer)):
        assert 0 not in buffer  # a missing part would still be zeros
    else:
        store.read(memoryview(buffer), offset)
    assert 0 not in buffer
    assert right is None or bytes(buffer) == right
    store.close()


def kernel_answering(answer: int | OSError) -> Callable[..., int]:
    """A preadv that reads so many bytes of the first buffer, or raises."""

    def preadv(fd: int, buffers: Sequence[Any], offset: int, flags: int = 0) -> int:
        if isinstance(answer, OSError):
            raise answer
        return os.preadv(fd, [memoryview(buffers[0])[:answer]], offset) if answer else 0

    return preadv


@pytest.mark.parametrize(
    ("answer", "expected"),
    [(4096, True), (4095, False), (512, False), (0, False), (BlockingIOError(errno.EAGAIN, "cold"), False)],
)
def test_only_a_full_count_is_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: int | OSError, expected: bool
) -> None:
    create(f"file:{tmp_path}/disk.img", 4096)
    store = open_store(f"file:{tmp_path}/disk.img")
    monkeypatch.setattr(backing_stores.descriptor, "preadv", kernel_answering(answer))
    assert store.read_now((memoryview(bytearray(4096)),), 0, 4096) is expected
    store.close()


def test_a_bad_disk_is_an_error_and_not_a_reason_to_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create(f"file:{tmp_path}/disk.img", 4096)
    store = open_store(f"file:{tmp_path}/disk.img")
    monkeypatch.setattr(
        backing_stores.descriptor, "preadv", kernel_answering(OSError(errno.EIO, "bad sector"))
    )
    with pytest.raises(OSError, match="bad sector"):
        store.read_now((memoryview(bytearray(4096)),), 0, 4096)
    store.close()


def test_a_file_cut_by_somebody_else_is_an_input_error(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    create(f"file:{path}", 8192)
    store = open_store(f"file:{path}")
    os.truncate(path, 4096)
    buffer = memoryview(bytearray(8192))
    assert store.read_now((buffer,), 0, 8192) is False
    with pytest.raises(OSError, match=r"disk\.img ends at byte 4096") as caught:
        store.read(buffer, 0)
    assert caught.value.errno == errno.EIO
    store.close()


def test_a_file_system_without_nowait_leaves_all_to_the_pool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backing_stores.descriptor, "can_read_without_waiting", lambda fd: False)
    monkeypatch.setattr("backing_stores.file.is_in_memory", lambda fd: False)
    create(f"file:{tmp_path}/disk.img", 4096)
    store = open_store(f"file:{tmp_path}/disk.img")
    view = memoryview(bytearray(512))
    store.read(view, 0)
    assert store.read_now((view,), 0, 512) is False
    assert store.write_now((view,), 0, 512) is False
    store.close()


def test_memory_always_answers_at_once() -> None:
    store = open_store("memory:", size=1 << 30)
    assert store.read_now((memoryview(bytearray(4096)),), 1 << 29, 4096)
    assert store.write_now((memoryview(bytearray(4096)),), 1 << 29, 4096)
    assert not store.durable
    store.close()
