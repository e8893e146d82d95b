"""Long work on a medium in pieces of bounded size, between which it can be abandoned."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mpxtarget.scsi.plan import Medium

PIECE: Final = 1 << 20


def pieces(offset: int, length: int, size: int = PIECE) -> Iterator[tuple[int, int]]:
    """The range in pieces of at most `size` bytes: (offset, length)."""
    end = offset + length
    while offset < end:
        yield offset, min(size, end - offset)
        offset += size


def fill(medium: Medium, offset: int, length: int, pattern: bytes) -> None:
    """Write `pattern`, one logical block, to every block of a range."""
    many = memoryview(pattern * (min(PIECE, length) // len(pattern)))
    for at, size in pieces(offset, length):
        medium.write(at, many[:size])


def first_difference(medium: Medium, offset: int, expected: memoryview) -> int | None:
    """Where in `expected` the first byte stands that the medium has not at `offset` and on; None if all
    are equal.
    """
    for at, size in pieces(0, len(expected)):
        wanted = expected[at : at + size]
        found = memoryview(medium.read(offset + at, size))
        if found != wanted:
            return at + first_unequal(found, wanted)
    return None


def first_unequal(one: memoryview, other: memoryview) -> int:
    """The first byte in which two ranges of one length, which are not equal, differ: by halves, for a loop
    over a MiB of bytes would hold up everybody else.
    """
    low, high = 0, len(one)
    while high - low > 1:
        middle = (low + high) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle
    return low
