"""What a backing store is: the one interface between a disk and the place where its blocks live.

Rules kept on both sides:

- Offsets and sizes are bytes. A size is a positive multiple of `SECTOR`. The caller never asks for bytes
  outside the store: the logical block address was checked before.
- `read_now` and `write_now` run in the thread of the event loop, once per command. They never wait for a
  disk or a network: what cannot be done at once is answered with False, and the same call is made again
  through `read` or `write` in a thread of a pool.
- All other methods may block and are called from pool threads, several at a time for one store.
- Trouble with the data is an `OSError` with a true errno (ENOSPC, EIO, EROFS, ...): it becomes sense data.
  Trouble with the store (no such file, in use, too small) is a `StoreError`: it becomes a message.
- Nothing is acknowledged that is not stored: a call which returns has done all that was asked.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Protocol

SECTOR: Final = 512


class StoreError(Exception):
    """A store cannot be made, opened, resized or deleted.

    The text names the file or device, says what is wrong with it, and what to do about it.
    """


class BackingStore(Protocol):
    """An open store. It belongs to the one who opened it, and to nobody else, until `close`."""

    url: str
    """The URL it was opened by."""

    size: int
    """Bytes; a multiple of `SECTOR`."""

    read_only: bool
    """Writing, discarding and resizing are refused."""

    durable: bool
    """What was written and flushed outlives this process and the machine's next start."""

    can_discard: bool
    """`discard` gives space back; where False it still zeroes, at the price of writing."""

    fd: int
    """A descriptor whose byte N is byte N of the store, for `os.sendfile`; -1 where there is none."""

    def read_now(self, buffers: Sequence[memoryview], offset: int, length: int) -> bool:
        """Fill `buffers` (`length` bytes in all), only if that takes no waiting.

        False: it would block, or only a part came; the buffers' contents are then undefined.
        """

    def write_now(self, buffers: Sequence[memoryview], offset: int, length: int) -> bool:
        """Write all of `buffers` (`length` bytes in all) without waiting for stable storage.

        False: nothing or only a part was written; write all of it again with `write`.
        """

    def read(self, buffer: memoryview, offset: int) -> None:
        """Fill the whole buffer. Blocks."""

    def write(self, buffer: memoryview, offset: int) -> None:
        """Write the whole buffer, not necessarily to stable storage. Blocks."""

    def flush(self) -> None:
        """Return when everything written before this call is in stable storage. Blocks."""

    def discard(self, offset: int, length: int) -> None:
        """Make a range read back as zeros, and give its space back where possible. Blocks."""

    def runs(self, offset: int, length: int) -> Iterator[tuple[int, int, bool]]:
        """The range in pieces (offset, length, whether space is allocated), in order, without gaps. Blocks.

        Where the store cannot tell, all is allocated. Pieces next to each other may be of one kind.
        """

    def resize(self, size: int) -> None:
        """Make the store `size` bytes long; what stays keeps its contents, what is new is zero.

        Raises StoreError, and then nothing has changed.
        """

    def close(self) -> None:
        """Let go of the store, and of its lock. No other call may be under way, or come later."""


class StoreType(Protocol):
    """What a URL scheme stands for: usually a class whose class methods these are.

    `base` is the folder that a relative location in the URL counts from; None where there is none.
    All three raise StoreError.
    """

    def create(self, url: str, size: int, *, base: Path | None) -> None:
        """Make a new store of `size` zero bytes; never overwrite one that exists.

        What was left by somebody who was killed while making it may be taken over, if it holds no data.
        """

    def open(self, url: str, *, read_only: bool, size: int | None, base: Path | None) -> BackingStore:
        """Open a store, for us alone.

        `size` is what the disk is known to have: a store with less is refused, one that keeps nothing
        (memory) is made anew with it. None: whatever the store has.
        """

    def delete(self, url: str, *, base: Path | None) -> None:
        """Remove what `create` made; refuse while it is in use. Nothing there: nothing to do."""


def check_size(url: str, size: int) -> None:
    """Raise StoreError unless `size` is one that a store can have."""
    if size <= 0 or size % SECTOR:
        raise StoreError(
            f"{url}: a size of {size} bytes is not possible: give a positive multiple of {SECTOR}"
        )
