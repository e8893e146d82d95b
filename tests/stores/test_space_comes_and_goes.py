"""Stores are thin: space is taken by writing, given back by discarding; resizing keeps what stays."""

import errno
import os
from pathlib import Path

import pytest

from backing_stores import StoreError, create, open_store
from stores.helpers import Opener, get, put

MIB = 1 << 20


def test_a_new_store_takes_no_space(tmp_path: Path) -> None:
    create(f"file:{tmp_path}/disk.img", 1 << 40)
    status = (tmp_path / "disk.img").stat()
    assert status.st_size == 1 << 40
    assert status.st_blocks == 0
    assert status.st_mode & 0o777 == 0o600


def test_discarded_space_is_given_back(tmp_path: Path) -> None:
    create(f"file:{tmp_path}/disk.img", 8 * MIB)
    store = open_store(f"file:{tmp_path}/disk.img")
    put(store, 0, b"x" * 8 * MIB)
    store.flush()
    full = (tmp_path / "disk.img").stat().st_blocks
    store.discard(MIB, 6 * MIB)
    store.flush()
    if store.can_discard:
        assert (tmp_path / "disk.img").stat().st_blocks <= full - 6 * MIB // 512
    store.close()
    assert (tmp_path / "disk.img").stat().st_size == 8 * MIB


def test_discarded_memory_is_given_back() -> None:
    store = open_store("memory:", size=8 * MIB)
    put(store, 0, b"x" * 8 * MIB)
    full = os.fstat(store.fd).st_blocks
    store.discard(MIB, 6 * MIB)
    assert os.fstat(store.fd).st_blocks <= full - 6 * MIB // 512
    store.close()


def test_discard_zeroes_what_was_asked_and_nothing_else(open_new: Opener) -> None:
    store = open_new(4 * MIB)
    put(store, 0, b"x" * 4 * MIB)
    for offset, length in ((512, 512), (4096, 8192), (MIB - 512, 2 * MIB)):
        store.discard(offset, length)
        assert get(store, offset, length) == bytes(length)
        assert get(store, offset - 512, 512) == b"x" * 512
        assert get(store, offset + length, 512) == b"x" * 512
    store.close()


def test_growing_keeps_the_data_and_adds_zeros(open_new: Opener) -> None:
    store = open_new(MIB)
    put(store, 0, b"x" * MIB)
    store.resize(2 * MIB)
    assert store.size == 2 * MIB
    assert get(store, 0, 2 * MIB) == b"x" * MIB + bytes(MIB)
    store.close()


def test_shrinking_keeps_what_stays(open_new: Opener) -> None:
    store = open_new(2 * MIB)
    put(store, 0, b"x" * 2 * MIB)
    store.resize(MIB)
    assert store.size == MIB
    assert get(store, 0, MIB) == b"x" * MIB
    store.close()


def test_what_a_file_lost_by_shrinking_does_not_come_back(tmp_path: Path) -> None:
    create(f"file:{tmp_path}/disk.img", 8192)
    store = open_store(f"file:{tmp_path}/disk.img")
    put(store, 0, b"x" * 8192)
    store.resize(4608)
    store.resize(8192)
    assert get(store, 0, 8192) == b"x" * 4608 + bytes(8192 - 4608)
    store.close()


@pytest.mark.parametrize("size", [0, -512, 511, 513])
def test_a_size_no_store_can_have_changes_nothing(open_new: Opener, size: int) -> None:
    store = open_new(8192)
    put(store, 0, b"x" * 8192)
    with pytest.raises(StoreError, match="multiple of 512"):
        store.resize(size)
    assert store.size == 8192
    assert get(store, 0, 8192) == b"x" * 8192
    store.close()


def test_a_resize_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create(f"file:{tmp_path}/disk.img", 8192)
    store = open_store(f"file:{tmp_path}/disk.img")
    put(store, 0, b"x" * 8192)

    def no_space_for_metadata(fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space_for_metadata)
    with pytest.raises(StoreError, match=r"disk\.img cannot be made 16384 bytes long \(No space"):
        store.resize(16384)
    assert store.size == (tmp_path / "disk.img").stat().st_size == 8192
    assert get(store, 0, 8192) == b"x" * 8192
    store.close()
