"""`block:` stores: a whole block device or a partition, `block:/dev/disk/by-id/...`.

The device is opened with O_EXCL: the kernel refuses it while it is mounted, part of a volume, or open in the
same way by somebody else. Its blocks are used as they are: creating such a store writes nothing, deleting it
wipes nothing.
"""

import errno
import fcntl
import os
import stat
from pathlib import Path
from typing import Final, Self

from backing_stores.descriptor import DescriptorStore
from backing_stores.file import path_of, refusal
from backing_stores.interface import SECTOR, StoreError, check_size

_BLKGETSIZE64: Final = 0x80081272  # <linux/fs.h>, on the 64-bit machines that use the generic ioctl numbers


class BlockStore(DescriptorStore):
    """A block device; `size` may be less than the device has."""

    __slots__ = ("_path",)

    def __init__(
        self, url: str, path: Path, fd: int, size: int, *, read_only: bool, can_discard: bool
    ) -> None:
        super().__init__(url, fd, size, read_only=read_only, in_memory=False, can_discard=can_discard)
        self._path = path

    @classmethod
    def create(cls, url: str, size: int, *, base: Path | None = None) -> None:
        """See that the device is there, free and large enough; its contents are not touched."""
        check_size(url, size)
        cls.open(url, size=size, base=base).close()

    @classmethod
    def open(
        cls, url: str, *, read_only: bool = False, size: int | None = None, base: Path | None = None
    ) -> Self:
        """Open the device for us alone; without `size`, all of it is used."""
        path = path_of(url, base)
        flags = (
            os.O_EXCL | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK | (os.O_RDONLY if read_only else os.O_RDWR)
        )
        try:
            fd = os.open(path, flags)
        except OSError as error:
            raise refusal(path, error, read_only=read_only) from error
        try:
            status = os.fstat(fd)
            if not is_block_device(status):
                raise StoreError(
                    f"{path} is not a block device: name a block device, or write file:PATH for a file"
                )
            available = _device_size(path, fd)
            if size is not None:
                check_size(url, size)
            if size is not None and size > available:
                raise StoreError(
                    f"{path} is too small, it has {available} bytes and not the {size} bytes of its disk:"
                    " name a larger device"
                )
            return cls(
                url,
                path,
                fd,
                size or available,
                read_only=read_only,
                can_discard=_can_discard(status.st_rdev),
            )
        except OSError as error:
            os.close(fd)
            raise refusal(path, error, read_only=read_only) from error
        except StoreError:
            os.close(fd)
            raise

    @classmethod
    def delete(cls, url: str, *, base: Path | None = None) -> None:
        """Leave the device as it is."""

    def resize(self, size: int) -> None:
        """Use more or less of the device, which may itself have grown since."""
        check_size(self.url, size)
        available = _device_size(self._path, self.fd)
        if size > available:
            raise StoreError(f"{self._path} has only {available} bytes, not {size}: enlarge the device first")
        self.size = size


def is_block_device(status: os.stat_result) -> bool:
    """Whether a `block:` URL may mean this; the one thing tests without a device replace."""
    return stat.S_ISBLK(status.st_mode)


def _device_size(path: Path, fd: int) -> int:
    """Whole sectors of the device."""
    try:
        size = int.from_bytes(fcntl.ioctl(fd, _BLKGETSIZE64, bytes(8)), "little")
    except OSError as error:
        if error.errno not in (errno.ENOTTY, errno.EINVAL):
            raise StoreError(f"{path} does not tell its size: {error.strerror}") from error
        size = os.lseek(fd, 0, os.SEEK_END)
    size -= size % SECTOR
    if not size:
        raise StoreError(f"{path} is empty, has it a medium? Name a device that has")
    return size


def _can_discard(device: int) -> bool:
    """What the block layer says about the device, or about the disk that the partition is on."""
    folder = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}").resolve()
    for queue in (folder / "queue", folder.parent / "queue"):
        try:
            return int((queue / "discard_max_bytes").read_text()) > 0
        except (OSError, ValueError):
            continue
    return False
