"""`memory:` stores: an anonymous file in memory, sparse, lost when it is closed.

`memory:` or `memory:name`; the name tells two such disks apart in listings and means nothing else. Every
open makes new, empty memory of the size asked for. Memory is taken page by page as it is written, and given
back by discard.
"""

import os
from pathlib import Path
from typing import Self

from backing_stores.descriptor import DescriptorStore
from backing_stores.interface import StoreError, check_size


class MemoryStore(DescriptorStore):
    """A memfd: page cache without a disk behind it, so every read and write is done at once."""

    __slots__ = ()

    @classmethod
    def create(cls, url: str, size: int, *, base: Path | None = None) -> None:
        """Check the size; there is nothing to be made before the store is opened."""
        check_size(url, size)

    @classmethod
    def open(
        cls, url: str, *, read_only: bool = False, size: int | None = None, base: Path | None = None
    ) -> Self:
        """Make zeroed memory of `size` bytes."""
        if size is None:
            raise StoreError(f"{url}: memory has no size of its own: say how many bytes")
        check_size(url, size)
        fd = os.memfd_create("mpxtarget", os.MFD_CLOEXEC)
        try:
            os.ftruncate(fd, size)
            return cls(url, fd, size, read_only=read_only, in_memory=True, can_discard=True)
        except OSError as error:
            os.close(fd)
            raise StoreError(
                f"{url}: {size} bytes of memory cannot be had ({error.strerror}): choose a smaller size"
            ) from error

    @classmethod
    def delete(cls, url: str, *, base: Path | None = None) -> None:
        """Nothing stays of a memory store that is not open."""

    def flush(self) -> None:
        """There is no stable storage below."""

    def resize(self, size: int) -> None:
        """Cut or extend the memory."""
        check_size(self.url, size)
        try:
            os.ftruncate(self.fd, size)
        except OSError as error:
            raise StoreError(
                f"{self.url}: {size} bytes of memory cannot be had ({error.strerror}): choose a smaller size"
            ) from error
        self.size = size
