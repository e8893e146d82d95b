"""A store behind a file descriptor: what files, memory and block devices have in common.

The two calls for the event loop are as short as they can be, since every command makes one of them: how
the descriptor may be read is found out once, at open.

- Reads ask for RWF_NOWAIT: the page cache answers, or nobody. Such a read may also come back *short*, when
  only the first part of the range is cached; that is not success.
- Memory (tmpfs, memfd) does not know RWF_NOWAIT, and needs not: a plain read never waits.
- A file system which knows neither (many network and FUSE ones) leaves everything to the pool.
- Writes go to the page cache. No file system we know takes RWF_NOWAIT for them, so they are plain writes.
"""

import errno
import os
from collections.abc import Iterator, Sequence
from os import preadv, pwritev
from typing import Final

from backing_stores.linux import can_read_without_waiting, punch_hole

_ZEROS: Final = bytes(1 << 20)


class DescriptorStore:
    """The calls of `BackingStore` over a descriptor, which it owns; `resize` is for the subclasses."""

    __slots__ = (
        "_flags",
        "_reads_now",
        "_writes_now",
        "can_discard",
        "durable",
        "fd",
        "read_only",
        "size",
        "url",
    )

    def __init__(
        self, url: str, fd: int, size: int, *, read_only: bool, in_memory: bool, can_discard: bool
    ) -> None:
        self.url = url
        self.fd = fd
        self.size = size
        self.read_only = read_only
        self.can_discard = can_discard and not read_only
        without_waiting = can_read_without_waiting(fd)
        self.durable = not in_memory
        self._flags = os.RWF_NOWAIT if without_waiting else 0
        self._reads_now = without_waiting or in_memory
        self._writes_now = self._reads_now and not read_only

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.url} {self.size} bytes{' read-only' if self.read_only else ''}>"

    def read_now(self, buffers: Sequence[memoryview], offset: int, length: int) -> bool:
        """Fill the buffers from memory; False if a disk would have to be asked for any byte."""
        try:
            return self._reads_now and preadv(self.fd, buffers, offset, self._flags) == length
        except BlockingIOError:
            return False

    def write_now(self, buffers: Sequence[memoryview], offset: int, length: int) -> bool:
        """Write the buffers into the page cache; False if only a part could be written."""
        # A short write announces an error (ENOSPC, EFBIG): `write` goes on from there and meets it.
        return self._writes_now and pwritev(self.fd, buffers, offset) == length

    def read(self, buffer: memoryview, offset: int) -> None:
        """Fill the buffer; EIO if the file ends early (somebody cut it)."""
        done = 0
        while done < len(buffer):
            count = preadv(self.fd, (buffer[done:],), offset + done)
            if not count:
                raise OSError(
                    errno.EIO, f"{self.url} ends at byte {offset + done}, before its {self.size} bytes"
                )
            done += count

    def write(self, buffer: memoryview, offset: int) -> None:
        """Write the buffer; ENOSPC and EDQUOT when the space is used up, EROFS when read-only."""
        if self.read_only:
            raise OSError(errno.EROFS, f"{self.url} is read-only")
        done = 0
        while done < len(buffer):
            done += pwritev(self.fd, (buffer[done:],), offset + done)

    def flush(self) -> None:
        """fdatasync: data, and what it takes to find it again (the size, not the times)."""
        os.fdatasync(self.fd)

    def discard(self, offset: int, length: int) -> None:
        """Punch a hole; where that is not possible, write zeros."""
        if self.read_only:
            raise OSError(errno.EROFS, f"{self.url} is read-only")
        if punch_hole(self.fd, offset, length):
            return
        end = offset + length
        while offset < end:
            offset += pwritev(self.fd, (memoryview(_ZEROS)[: end - offset],), offset)

    def runs(self, offset: int, length: int) -> Iterator[tuple[int, int, bool]]:
        """What SEEK_DATA and SEEK_HOLE say; a device, which knows neither, is all data."""
        end = offset + length
        while offset < end:
            hole = self._seek(offset, end, os.SEEK_HOLE)
            if hole > offset:
                yield offset, hole - offset, True
            data = self._seek(hole, end, os.SEEK_DATA) if hole < end else end
            if data > hole:
                yield hole, data - hole, False
            offset = data

    def _seek(self, offset: int, end: int, whence: int) -> int:
        try:
            return min(os.lseek(self.fd, offset, whence), end)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole up to the end of the file
                return end
            if error.errno == errno.EINVAL:
                return end if whence == os.SEEK_HOLE else offset
            raise

    def close(self) -> None:
        """Close the descriptor, once; flock goes with it."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)
