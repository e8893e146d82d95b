"""No write that is not completely stored is ever reported as done."""

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from backing_stores import create, open_store
from backing_stores.descriptor import DescriptorStore


def test_no_space_is_an_error_with_its_own_number() -> None:
    fd = os.open("/dev/full", os.O_RDWR)  # reads as zeros, and has no space for anything
    store = DescriptorStore("file:/dev/full", fd, 1 << 20, read_only=False, in_memory=True, can_discard=False)
    data = memoryview(bytes(4096))
    for attempt in (
        lambda: store.write_now((data,), 0, 4096),
        lambda: store.write(data, 0),
    ):
        with pytest.raises(OSError, match="No space left") as caught:
            attempt()
        assert caught.value.errno == errno.ENOSPC
    store.close()


WRITE_ACROSS_THE_LIMIT = """
import errno, sys
from backing_stores import open_store
store = open_store(sys.argv[1])
data = memoryview(b"x" * 8192)
assert store.write_now((data,), 512 * 1024 - 4096, 8192) is False   # 4096 of 8192 bytes fit
try:
    store.write(data, 512 * 1024 - 4096)
except OSError as error:
    assert error.errno == errno.EFBIG, error
else:
    raise AssertionError("acknowledged")
try:
    store.write_now((data,), 512 * 1024, 8192)
except OSError as error:
    assert error.errno == errno.EFBIG, error
else:
    raise AssertionError("acknowledged")
"""


def test_a_write_that_fits_in_part_is_not_done(tmp_path: Path) -> None:
    url = f"file:{tmp_path}/disk.img"
    create(url, 1 << 20)

    def limit_the_size_of_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (512 * 1024, 512 * 1024))

    subprocess.run(
        [sys.executable, "-c", WRITE_ACROSS_THE_LIMIT, url],
        check=True,
        timeout=60,
        preexec_fn=limit_the_size_of_files,
    )
    assert (tmp_path / "disk.img").stat().st_size == 1 << 20


def test_a_short_write_is_completed_by_the_pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create(f"file:{tmp_path}/disk.img", 8192)
    store = open_store(f"file:{tmp_path}/disk.img")

    def miserly(fd: int, buffers: tuple[memoryview, ...], offset: int) -> int:
        return os.pwritev(fd, [buffers[0][:700]], offset)

    monkeypatch.setattr("backing_stores.descriptor.pwritev", miserly)
    data = memoryview(bytes(range(256)) * 32)
    assert store.write_now((data,), 0, 8192) is False
    store.write(data, 0)
    store.close()
    assert (tmp_path / "disk.img").read_bytes() == data


def test_a_read_only_store_takes_no_byte(tmp_path: Path) -> None:
    url = f"file:{tmp_path}/disk.img"
    create(url, 4096)
    (tmp_path / "disk.img").write_bytes(b"x" * 4096)
    store = open_store(url, read_only=True)
    assert store.read_only
    assert not store.can_discard
    zeros = memoryview(bytes(512))
    assert store.write_now((zeros,), 0, 512) is False
    with pytest.raises(OSError, match="read-only") as caught:
        store.write(zeros, 0)
    assert caught.value.errno == errno.EROFS
    with pytest.raises(OSError, match="read-only") as caught:
        store.discard(0, 512)
    assert caught.value.errno == errno.EROFS
    store.close()
    assert (tmp_path / "disk.img").read_bytes() == b"x" * 4096


def test_a_closed_store_touches_no_other_file(tmp_path: Path) -> None:
    url = f"file:{tmp_path}/disk.img"
    create(url, 4096)
    store = open_store(url)
    store.close()
    store.close()
    other = os.open(tmp_path / "other", os.O_RDWR | os.O_CREAT)  # likely gets the number just given back
    with pytest.raises(OSError) as caught:
        store.write_now((memoryview(b"x" * 512),), 0, 512)
    assert caught.value.errno == errno.EBADF
    assert os.fstat(other).st_size == 0
    os.close(other)
