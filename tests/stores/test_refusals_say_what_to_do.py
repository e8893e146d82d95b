"""Every refusal names the file, says what is wrong, and after a colon what to do about it."""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

import backing_stores.block
import backing_stores.file
from backing_stores import StoreError, create, delete, open_store

NOBODY = 65534


@contextlib.contextmanager
def without_privileges() -> Iterator[None]:
    """As somebody whom file modes stop, also when the tests run as root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def refused(name: str | Path, what: str, advice: str) -> "pytest.RaisesExc[StoreError]":
    return pytest.raises(StoreError, match=rf"(?s){name}.*{what}.*: .*{advice}")


def test_missing(tmp_path: Path) -> None:
    with refused(tmp_path / "disk.img", "does not exist", "restore it"):
        open_store("file:disk.img", base=tmp_path)


def test_what_is_gone_already_is_deleted(tmp_path: Path) -> None:
    delete("file:disk.img", base=tmp_path)


@pytest.mark.parametrize("length", [0, 512])
def test_too_small_for_its_disk(tmp_path: Path, length: int) -> None:
    (tmp_path / "disk.img").write_bytes(bytes(length))
    with refused(tmp_path / "disk.img", f"too small, it has {length} bytes and not the 1024", "restore"):
        open_store("file:disk.img", base=tmp_path, size=1024)


def test_empty(tmp_path: Path) -> None:
    (tmp_path / "disk.img").touch()
    with refused(tmp_path / "disk.img", "too small, it has 0 bytes", "restore"):
        open_store("file:disk.img", base=tmp_path)


def test_not_whole_blocks(tmp_path: Path) -> None:
    (tmp_path / "disk.img").write_bytes(bytes(1000))
    with refused(tmp_path / "disk.img", "1000 bytes, which are not whole blocks of 512", "truncate -s %512"):
        open_store("file:disk.img", base=tmp_path)


def test_larger_than_its_disk_is_fine(tmp_path: Path) -> None:
    (tmp_path / "disk.img").write_bytes(bytes(2048))
    store = open_store("file:disk.img", base=tmp_path, size=1024)
    assert store.size == 2048
    store.close()


@pytest.mark.parametrize("read_only", [False, True])
def test_a_folder(tmp_path: Path, read_only: bool) -> None:
    with refused(tmp_path, "is a folder", "name a file"):
        open_store(f"file:{tmp_path}", read_only=read_only)


def test_a_file_in_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "disk.img").touch()
    with refused(tmp_path / "disk.img/x", "cannot be reached", "correct the path"):
        open_store("file:disk.img/x", base=tmp_path)


def test_not_a_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (Path("/dev/null"), tmp_path / "fifo"):
        with refused(path, "is not a regular file", "name a file"):
            open_store(f"file:{path}", read_only=True)


def test_a_device_by_the_scheme_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "disk.img").write_bytes(bytes(512))
    monkeypatch.setattr(stat, "S_ISBLK", lambda mode: True)
    with refused(tmp_path / "disk.img", "is a block device", "write block:"):
        open_store("file:disk.img", base=tmp_path)


def test_no_permission(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    path.write_bytes(bytes(512))
    path.chmod(0)
    with without_privileges():
        with refused(path, "may not be read and written by user", "change its owner or its mode, or make"):
            open_store(f"file:{path}")
        with refused(path, "may not be read by user", "change its owner or its mode"):
            open_store(f"file:{path}", read_only=True)


def test_a_read_only_file_is_good_for_a_read_only_disk(tmp_path: Path) -> None:
    folder = tmp_path
    path = folder / "disk.img"
    path.write_bytes(bytes(512))
    path.chmod(0o444)
    folder_fd = os.open(
        folder, os.O_RDONLY
    )  # the folders above may be closed to others: go by the descriptor
    try:
        with without_privileges():
            url = f"file:/proc/self/fd/{folder_fd}/disk.img"
            with refused("disk.img", "may not be read and written", "make the disk read-only"):
                open_store(url)
            if os.access(f"/proc/self/fd/{folder_fd}/disk.img", os.R_OK, effective_ids=True):
                open_store(url, read_only=True).close()
    finally:
        os.close(folder_fd)


@pytest.mark.parametrize(
    ("number", "what", "advice"),
    [
        ("EROFS", "read-only file system", "mount it read-write"),
        ("EBUSY", "is in use", "unmount"),
        ("EIO", "cannot be opened", "Input/output error"),
    ],
)
def test_what_else_the_kernel_says(number: str, what: str, advice: str) -> None:
    error = OSError(getattr(errno, number), os.strerror(getattr(errno, number)))
    text = str(backing_stores.file.refusal(Path("/x/disk.img"), error))
    assert text.startswith("/x/disk.img ")
    assert what in text
    assert advice in text.partition(": ")[2]


def test_create_never_overwrites(tmp_path: Path) -> None:
    (tmp_path / "disk.img").write_bytes(b"precious")
    with refused(tmp_path / "disk.img", "already exists and is not overwritten", "choose another name"):
        create("file:disk.img", 512, base=tmp_path)
    assert (tmp_path / "disk.img").read_bytes() == b"precious"


@pytest.mark.parametrize("written", [b"x", bytes(512)])
def test_a_file_with_anything_in_it_is_never_taken_over(tmp_path: Path, written: bytes) -> None:
    path = tmp_path / "disk.img"
    path.write_bytes(written)
    os.truncate(path, 1 << 20)
    with refused(path, "already exists and is not overwritten", "choose another name"):
        create("file:disk.img", 1 << 20, base=tmp_path)
    assert path.read_bytes().startswith(written)


@pytest.mark.parametrize("length", [512, 2 << 20])
def test_an_unwritten_file_of_another_size_is_not_taken_over(tmp_path: Path, length: int) -> None:
    path = tmp_path / "disk.img"
    path.touch()
    os.truncate(path, length)
    with refused(path, "already exists and is not overwritten", "choose another name"):
        create("file:disk.img", 1 << 20, base=tmp_path)
    assert path.stat().st_size == length


def test_an_unwritten_file_that_is_in_use_or_elsewhere_is_not_taken_over(tmp_path: Path) -> None:
    create("file:disk.img", 1 << 20, base=tmp_path)
    store = open_store("file:disk.img", base=tmp_path)
    (tmp_path / "link.img").symlink_to("disk.img")
    for name in ("disk.img", "link.img"):
        with refused(tmp_path / name, "already exists and is not overwritten", "choose another name"):
            create(f"file:{name}", 1 << 20, base=tmp_path)
    store.close()
    with refused(tmp_path / "link.img", "already exists", "choose another name"):
        create("file:link.img", 1 << 20, base=tmp_path)


@pytest.mark.parametrize("length", [0, 1 << 20])
def test_what_a_killed_create_left_is_taken_over(tmp_path: Path, length: int) -> None:
    path = tmp_path / "disk.img"
    path.touch()
    os.truncate(path, length)
    create("file:disk.img", 1 << 20, base=tmp_path)
    assert path.stat().st_size == 1 << 20
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_create_needs_its_folder(tmp_path: Path) -> None:
    with refused(tmp_path / "no/disk.img", "its folder does not exist", "make the folder"):
        create("file:no/disk.img", 512, base=tmp_path)


def test_a_failed_create_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_large(fd: int, size: int) -> None:
        raise OSError(errno.EFBIG, "File too large")

    monkeypatch.setattr(os, "ftruncate", too_large)
    with refused(
        tmp_path / "disk.img", "cannot be made with 1024 bytes .File too large", "choose a smaller size"
    ):
        create("file:disk.img", 1024, base=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [0, -512, 1, 511, 513])
@pytest.mark.parametrize("url", ["file:disk.img", "memory:", "block:disk.img"])
def test_a_size_no_store_can_have(tmp_path: Path, url: str, size: int) -> None:
    with refused(url, f"a size of {size} bytes is not possible", "multiple of 512"):
        create(url, size, base=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_memory_needs_a_size() -> None:
    with refused("memory:scratch", "has no size|memory", "say how many bytes"):
        open_store("memory:scratch")


def test_a_read_only_store_is_not_resized(tmp_path: Path) -> None:
    create("file:disk.img", 512, base=tmp_path)
    store = open_store("file:disk.img", base=tmp_path, read_only=True)
    with refused(tmp_path / "disk.img", "open read-only and cannot be resized", "make the disk writable"):
        store.resize(1024)
    store.close()


@pytest.mark.parametrize("url", ["", "disk.img", "/srv/disk.img", ":x"])
def test_not_a_url(url: str) -> None:
    with refused("", "is not the URL of a store", "write SCHEME:"):
        open_store(url)


@pytest.mark.parametrize("url", ["file:", "file:/", "file:disk/", "file:a\0b", "file:///", "file://"])
def test_a_url_that_names_no_file(tmp_path: Path, url: str) -> None:
    with refused("file:", "", "write file:/absolute/path"):
        open_store(url, base=tmp_path)


def test_a_file_on_another_host(tmp_path: Path) -> None:
    with refused("file://host/disk.img", "a host name is not possible", "write file:"):
        open_store("file://host/disk.img", base=tmp_path)


def test_a_relative_path_without_a_folder() -> None:
    with refused("file:disk.img", "needs a folder", "write an absolute path"):
        open_store("file:disk.img")


def test_the_forms_of_a_path(tmp_path: Path) -> None:
    create("file:disk.img", 512, base=tmp_path)
    for url in ("file:disk.img", f"file:{tmp_path}/disk.img", f"file://{tmp_path}/disk.img"):
        store = open_store(url, base=tmp_path)
        assert store.url == url
        store.close()


def test_block_is_for_devices(tmp_path: Path) -> None:
    (tmp_path / "disk.img").write_bytes(bytes(512))
    with refused(tmp_path / "disk.img", "is not a block device", "write file:"):
        open_store("block:disk.img", base=tmp_path)
    with refused("/dev/nowhere", "does not exist", "restore it"):
        open_store("block:/dev/nowhere")


def test_a_device_too_small_or_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backing_stores.block, "is_block_device", lambda status: True)
    device = tmp_path / "sdx"
    device.write_bytes(bytes(1500))
    for ask in (create, lambda url, size, base: open_store(url, size=size, base=base)):
        with refused(device, "is too small, it has 1024 bytes and not the 2048", "name a larger device"):
            ask("block:sdx", 2048, base=tmp_path)
    store = open_store("block:sdx", base=tmp_path)
    assert store.size == 1024
    with refused(device, "has only 1024 bytes, not 4096", "enlarge the device"):
        store.resize(4096)
    store.close()
    device.write_bytes(b"")
    with pytest.raises(StoreError, match=rf"{device} is empty"):
        open_store("block:sdx", base=tmp_path)


def test_creating_and_deleting_leave_a_device_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backing_stores.block, "is_block_device", lambda status: True)
    (tmp_path / "sdx").write_bytes(b"x" * 1024)
    create("block:sdx", 1024, base=tmp_path)
    delete("block:sdx", base=tmp_path)
    assert (tmp_path / "sdx").read_bytes() == b"x" * 1024
