"""`file:` stores: one sparse file per disk, whose size is the disk's size.

`file:/var/lib/disk.img` and `file:///var/lib/disk.img` are absolute, `file:vdisks/disk.img` counts from the
base folder. What follows the scheme is a path as it is: nothing in it is percent-encoded.

An open file is held by flock(2), also when opened for reading only: a second open, by this process or
another one, is refused. Advisory as that lock is, it does not stop programs which do not ask.
"""

import contextlib
import errno
import fcntl
import os
import stat
from pathlib import Path
from typing import Self

from backing_stores.descriptor import DescriptorStore
from backing_stores.interface import SECTOR, StoreError, check_size
from backing_stores.linux import is_in_memory, punch_hole


def path_of(url: str, base: Path | None) -> Path:
    """The file or device that the URL `scheme:path` means."""
    path = url.partition(":")[2]
    if path.startswith("//"):  # RFC 8089: an authority, which must be empty here
        path = path[2:]
        if not path.startswith("/"):
            raise StoreError(
                f"{url}: a host name is not possible here: write file:/absolute/path or file:relative/path"
            )
    if not path or path.endswith("/") or "\0" in path:
        raise StoreError(f"{url}: this names no file: write file:/absolute/path or file:relative/path")
    if path.startswith("/"):
        return Path(path)
    if base is None:
        raise StoreError(f"{url}: a relative path needs a folder to count from: write an absolute path")
    return base / path


def refusal(path: Path, error: OSError, *, read_only: bool = True) -> StoreError:
    """Put a failed open of a file or device in words."""
    match error.errno:
        case errno.ENOENT:
            text = f"{path} does not exist: restore it, or remove the disk that needs it"
        case errno.ENOTDIR:
            text = f"{path} cannot be reached, a part of its path is not a folder: correct the path"
        case errno.EISDIR:
            text = f"{path} is a folder: name a file in it"
        case errno.EACCES | errno.EPERM if read_only:
            text = f"{path} may not be read by user {os.geteuid()}: change its owner or its mode"
        case errno.EACCES | errno.EPERM:
            text = (
                f"{path} may not be read and written by user {os.geteuid()}:"
                " change its owner or its mode, or make the disk read-only"
            )
        case errno.EROFS:
            text = f"{path} is on a read-only file system: mount it read-write, or make the disk read-only"
        case errno.EBUSY:
            text = (
                f"{path} is in use, it is mounted, part of a volume, or another disk's:"
                " unmount it, or remove it there, first"
            )
        case _:
            text = f"{path} cannot be opened: {error.strerror}"
    return StoreError(text)


class FileStore(DescriptorStore):
    """A regular file, locked for as long as it is open."""

    __slots__ = ("_path",)

    def __init__(self, url: str, path: Path, fd: int, size: int, *, read_only: bool) -> None:
        # Asked for beyond the end of the file, where there is nothing to lose.
        can_discard = not read_only and punch_hole(fd, size, SECTOR)
        super().__init__(
            url, fd, size, read_only=read_only, in_memory=is_in_memory(fd), can_discard=can_discard
        )
        self._path = path

    @classmethod
    def create(cls, url: str, size: int, *, base: Path | None = None) -> None:
        """Make a sparse file that only its owner can read; it is on the disk when this returns.

        A file that somebody was killed in the middle of making is taken over: it is of this size or empty,
        and nothing has ever been written to it.
        """
        check_size(url, size)
        path = path_of(url, base)
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            fd = _take_over(path, size)
        except FileNotFoundError:
            raise StoreError(
                f"{path} cannot be made, its folder does not exist: make the folder first"
            ) from None
        except OSError as error:
            raise StoreError(
                f"{path} cannot be made ({error.strerror}): correct the path, or choose another place"
            ) from error
        try:
            os.ftruncate(fd, size)
            os.fsync(fd)
            sync_folder(path.parent)
        except OSError as error:
            path.unlink()
            raise StoreError(
                f"{path} cannot be made with {size} bytes ({error.strerror}):"
                " choose a smaller size, or another file system"
            ) from error
        finally:
            os.close(fd)

    @classmethod
    def open(
        cls, url: str, *, read_only: bool = False, size: int | None = None, base: Path | None = None
    ) -> Self:
        """Open and lock a file that has at least `size` bytes."""
        path = path_of(url, base)
        fd = _open_and_lock(path, read_only=read_only)
        try:
            return cls(url, path, fd, _usable_size(path, fd, size), read_only=read_only)
        except OSError as error:
            os.close(fd)
            raise refusal(path, error, read_only=read_only) from error
        except StoreError:
            os.close(fd)
            raise

    @classmethod
    def delete(cls, url: str, *, base: Path | None = None) -> None:
        """Unlink a file that nobody has open; one that is gone already is no trouble."""
        path = path_of(url, base)
        if not os.path.lexists(path):
            return
        fd = _open_and_lock(path, read_only=True)
        try:
            path.unlink()
            sync_folder(path.parent)
        except OSError as error:
            raise StoreError(f"{path} cannot be deleted: {error.strerror}") from error
        finally:
            os.close(fd)

    def resize(self, size: int) -> None:
        """Cut or extend the file; what is added is a hole."""
        check_size(self.url, size)
        if self.read_only:
            raise StoreError(
                f"{self._path} is open read-only and cannot be resized: make the disk writable first"
            )
        try:
            os.ftruncate(self.fd, size)
            os.fsync(self.fd)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self.fd, self.size)
            raise StoreError(
                f"{self._path} cannot be made {size} bytes long ({error.strerror}):"
                " choose a smaller size, or another file system"
            ) from error
        self.size = size


def _take_over(path: Path, size: int) -> int:
    """Open and lock a file of ours without a byte of data in it; anything else is somebody's."""
    with contextlib.suppress(OSError):
        fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            found = os.fstat(fd)
            ours = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and found.st_nlink == 1
            if ours and found.st_size in (0, size) and _is_one_hole(fd):
                os.fchmod(fd, 0o600)
                return fd
        except OSError:
            pass
        os.close(fd)
    raise StoreError(
        f"{path} already exists and is not overwritten:"
        " choose another name, use it as it is with --existing, or remove it"
    )


def _is_one_hole(fd: int) -> bool:
    # A file system that knows no holes says that all is data.
    try:
        os.lseek(fd, 0, os.SEEK_DATA)
    except OSError as error:
        return error.errno == errno.ENXIO
    return False


def _open_and_lock(path: Path, *, read_only: bool) -> int:
    # O_NONBLOCK: opening a FIFO by mistake must not wait for its other end
    flags = os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK | (os.O_RDONLY if read_only else os.O_RDWR)
    try:
        fd = os.open(path, flags)
    except OSError as error:
        raise refusal(path, error, read_only=read_only) from error
    try:
        mode = os.fstat(fd).st_mode
        if stat.S_ISDIR(mode):
            raise StoreError(f"{path} is a folder: name a file in it")
        if stat.S_ISBLK(mode):
            raise StoreError(f"{path} is a block device: write block:{path}")
        if not stat.S_ISREG(mode):
            raise StoreError(f"{path} is not a regular file: name a file")
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError(
                f"{path} is already in use by another disk or another process (`fuser -v {path}` shows it):"
                " stop that one, or use another file"
            ) from None
        except OSError as error:
            raise StoreError(f"{path} cannot be locked: {error.strerror}") from error
    except BaseException:
        os.close(fd)
        raise
    return fd


def _usable_size(path: Path, fd: int, wanted: int | None) -> int:
    size = os.fstat(fd).st_size
    if size == 0 or (wanted is not None and size < wanted):
        least = f"the {wanted} bytes of its disk" if wanted is not None else f"one block of {SECTOR} bytes"
        raise StoreError(f"{path} is too small, it has {size} bytes and not {least}: restore the whole file")
    if size % SECTOR:
        raise StoreError(
            f"{path} has {size} bytes, which are not whole blocks of {SECTOR}:"
            f" `truncate -s %{SECTOR} {path}` fills it up with zeros"
        )
    return size


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to stable storage."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
