"""Which chunks of a disk a snapshot has of its own: a file beside its data, and a copy of that in memory.

    0     magic, format, chunk shift, condition, size of the disk, CRC-32; the rest of 4 KiB is zero
    4096  one byte for each chunk: 0 the parent has it, 1 the snapshot has it

Rules kept here:

- A chunk becomes owned for good: `own` returns when that is in stable storage, and only then does the copy in
  memory say so.
- A sector of 512 bytes is taken to be written wholly or not at all, and neighbours in it not to suffer.
- The condition can be changed when there is no space left: its sector was written when the map was made.
- A chunk has 64 KiB, or as much more as keeps the copy in memory below 16 MiB.
"""

import os
import stat
import struct
import zlib
from collections.abc import Iterator
from enum import IntEnum
from os import fdatasync, pwrite
from pathlib import Path
from typing import Final, Self

from backing_stores.interface import StoreError

SUFFIX: Final = ".map"
_MAGIC: Final = b"mpxsnap\n"
_FORMAT: Final = 1
_HEADER: Final = struct.Struct(">8sBBBxQ")
_CRC: Final = struct.Struct(">I")
_HEADER_ROOM: Final = 4096
_MIN_SHIFT: Final = 16
_MAX_CHUNKS: Final = 1 << 24


class Condition(IntEnum):
    """What is to be thought of a snapshot."""

    GOOD = 0
    INVALID = 1
    """A chunk could not be preserved: its contents are no longer those of one point in time."""
    COMPLETE = 2
    """A clone that owns everything: its data needs neither the map nor the parent any more."""


class ChunkMap:
    """An open map. Chunks are counted from 0; ranges of them are `first` to before `last`."""

    __slots__ = ("_fd", "condition", "owned", "settled", "shift", "size")

    def __init__(self, fd: int, shift: int, size: int, condition: Condition, owned: bytearray) -> None:
        self._fd = fd
        self.shift = shift
        self.size = size
        self.condition = condition
        self.settled = True
        """Whether the condition is in stable storage."""
        self.owned = owned
        """One byte for each chunk, 1 if it is owned; to be read by everybody, at any time."""

    @classmethod
    def create(cls, path: Path, size: int) -> None:
        """Make the map of a snapshot that owns nothing, in stable storage.

        One that was left by somebody who was killed is overwritten; raises StoreError for anything else.
        """
        shift = _MIN_SHIFT
        while _chunks(size, shift) > _MAX_CHUNKS:
            shift += 1
        if os.path.lexists(path) and not is_map(path):
            raise StoreError(
                f"{path} already exists and is not overwritten: choose another name, or remove it"
            )
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                _write(fd, _header(shift, size, Condition.GOOD).ljust(_HEADER_ROOM, b"\0"), 0)
                os.ftruncate(fd, _HEADER_ROOM + _chunks(size, shift))
                os.fsync(fd)
            finally:
                os.close(fd)
        except OSError as error:
            raise StoreError(
                f"{path} cannot be made ({error.strerror}): choose another name, or make room"
            ) from error

    @classmethod
    def open(cls, path: Path, *, read_only: bool = False) -> Self:
        """Open a map, all of which is read. Raises StoreError for one that is no map, or not whole."""
        try:
            fd = os.open(path, (os.O_RDONLY if read_only else os.O_RDWR) | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError as error:
            raise StoreError(
                f"{path} cannot be opened ({error.strerror}): restore it, or remove its snapshot"
            ) from None
        try:
            found = _parse(_read(fd, _HEADER.size + _CRC.size, 0))
            if found is None:
                raise StoreError(f"{path} is not the map of a snapshot: restore it, or remove its snapshot")
            shift, size, condition = found
            owned = _read(fd, _chunks(size, shift), _HEADER_ROOM)
            if len(owned) != _chunks(size, shift):
                raise StoreError(f"{path} ends early: restore it, or remove its snapshot")
            return cls(fd, shift, size, condition, owned)
        except OSError as error:
            os.close(fd)
            raise StoreError(f"{path} cannot be read ({error.strerror}): restore it") from error
        except BaseException:
            os.close(fd)
            raise

    @property
    def owned_bytes(self) -> int:
        """How much of the disk is owned."""
        return min(self.owned.count(1) << self.shift, self.size)  # the last chunk may be a short one

    def chunks(self, offset: int, length: int) -> tuple[int, int]:
        """The chunks that a range of bytes touches, inside the disk; none of an empty one."""
        end = min(offset + length, self.size)
        return offset >> self.shift, max(end + (1 << self.shift) - 1 >> self.shift, offset >> self.shift)

    def missing(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        """The runs of chunks that are not owned."""
        while (start := self.owned.find(0, first, last)) >= 0:
            end = self.owned.find(1, start, last)
            first = last if end < 0 else end
            yield start, first

    def own(self, runs: list[tuple[int, int]]) -> None:
        """Own these chunks, whose data is in stable storage; so is this when it returns."""
        for first, last in runs:
            _write(self._fd, b"\1" * (last - first), _HEADER_ROOM + first)
        fdatasync(self._fd)
        for first, last in runs:
            self.owned[first:last] = b"\1" * (last - first)

    def set_condition(self, condition: Condition) -> None:
        """Say what is to be thought of the snapshot, at once and in stable storage."""
        self.condition, self.settled = condition, False
        _write(self._fd, _header(self.shift, self.size, condition), 0)
        fdatasync(self._fd)
        self.settled = True

    def close(self) -> None:
        """Close the file, once."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def is_map(path: Path) -> bool:
    """Whether a file is a map, or one that somebody was killed in the middle of making."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        found = os.fstat(fd)
        return stat.S_ISREG(found.st_mode) and (
            not found.st_size or _parse(_read(fd, _HEADER.size + _CRC.size, 0)) is not None
        )
    except OSError:
        return False
    finally:
        os.close(fd)


def _chunks(size: int, shift: int) -> int:
    return size + (1 << shift) - 1 >> shift


def _header(shift: int, size: int, condition: Condition) -> bytes:
    head = _HEADER.pack(_MAGIC, _FORMAT, shift, condition, size)
    return head + _CRC.pack(zlib.crc32(head))


def _parse(header: bytes | bytearray) -> tuple[int, int, Condition] | None:
    if len(header) != _HEADER.size + _CRC.size or header != header[: _HEADER.size] + _CRC.pack(
        zlib.crc32(header[: _HEADER.size])
    ):
        return None
    magic, version, shift, condition, size = _HEADER.unpack_from(header)
    if magic != _MAGIC or version != _FORMAT or _chunks(size, shift) > _MAX_CHUNKS:
        return None
    return shift, size, Condition(condition)


def _write(fd: int, data: bytes, offset: int) -> None:
    done = 0
    while done < len(data):
        done += pwrite(fd, data[done:], offset + done)


def _read(fd: int, length: int, offset: int) -> bytearray:
    buffer = bytearray(length)
    done = 0
    while done < length:
        count = os.preadv(fd, (memoryview(buffer)[done:],), offset + done)
        if not count:
            return buffer[:done]
        done += count
    return buffer
