"""`runs` covers a range in order and without gaps, and calls no data a hole."""

import os
from pathlib import Path

import pytest

from backing_stores import BackingStore, create, open_store
from stores.helpers import Opener, get, put

MIB = 1 << 20


def runs(store: BackingStore, offset: int, length: int) -> list[tuple[int, int, bool]]:
    """The runs of a range, which they cover."""
    found = list(store.runs(offset, length))
    at = offset
    for start, size, _ in found:
        assert start == at
        assert size > 0
        at += size
    assert at == offset + length
    return found


def allocated(store: BackingStore, offset: int, length: int) -> set[int]:
    """The pages of 4 KiB of a range of which at least a part takes space."""
    return {
        page
        for start, size, used in runs(store, offset, length)
        if used
        for page in range(start // 4096, -(-(start + size) // 4096))
    }


def test_everything_is_covered_and_no_data_is_a_hole(open_new: Opener) -> None:
    store = open_new(4 * MIB)
    put(store, MIB, b"x" * 8192)
    put(store, 3 * MIB + 512, b"y" * 512)
    data = {MIB // 4096, MIB // 4096 + 1, 3 * MIB // 4096}
    assert allocated(store, 0, 4 * MIB) >= data
    for offset, length in ((0, 512), (MIB - 512, 1024), (MIB + 512, 512), (4 * MIB - 512, 512)):
        for start, size, used in runs(store, offset, length):
            assert used or get(store, start, size) == bytes(size)
    store.close()


def test_sparse_file_takes_space_only_where_it_was_written(tmp_path: Path) -> None:
    create(f"file:{tmp_path}/disk.img", 1 << 40)
    store = open_store(f"file:{tmp_path}/disk.img")
    assert runs(store, 0, 1 << 40) == [(0, 1 << 40, False)]
    put(store, 1 << 39, b"x" * MIB)
    store.flush()
    holes = [(start, size) for start, size, used in runs(store, 0, 1 << 40) if not used]
    assert sum(size for _, size in holes) >= (1 << 40) - 8 * MIB
    store.close()


def test_discarded_space_is_a_hole_again() -> None:
    store = open_store("memory:", size=4 * MIB)
    put(store, 0, b"x" * 4 * MIB)
    assert allocated(store, 0, 4 * MIB) == set(range(1024))
    store.discard(MIB, 2 * MIB)
    assert allocated(store, 0, 4 * MIB) == set(range(256)) | set(range(768, 1024))
    store.close()


def test_device_that_knows_no_holes_is_all_data(open_new: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_new(MIB)
    seek = os.lseek

    def as_of_a_device(fd: int, offset: int, whence: int) -> int:
        if whence in (os.SEEK_DATA, os.SEEK_HOLE):
            raise OSError(22, "Invalid argument")
        return seek(fd, offset, whence)

    monkeypatch.setattr(os, "lseek", as_of_a_device)
    assert runs(store, 4096, 8192) == [(4096, 8192, True)]
    store.close()


def test_trouble_is_told(open_new: Opener) -> None:
    store = open_new(MIB)
    store.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        list(store.runs(0, MIB))
