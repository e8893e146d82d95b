"""Backing stores for tests: one that keeps bytes, and ways to have it wait, fail or come up short.

`Blocks` obeys `backing_stores.BackingStore`. What it does is set by its attributes, at any time:

- `at_once`: whether read_now and write_now succeed; False sends everything to the lane.
- `read_error`, `write_error`, `flush_error`: an errno to fail with, on the loop and in the lane.
- `gate`: while set, jobs in the lane wait for `release`; the waiting is bounded, so that a mistake ends.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

PATIENCE = 20.0


class Blocks:
    """A store in memory that remembers the order of what was done to it."""

    def __init__(self, size: int = 4 << 20, *, url: str = "blocks:", at_once: bool = True) -> None:
        self.url = url
        self.size = size
        self.read_only = False
        self.durable = True
        self.can_discard = False
        self.fd = -1
        self.content = bytearray(size)
        self.at_once = at_once
        self.read_error = 0
        self.write_error = 0
        self.flush_error = 0
        self.crash: Exception | None = None
        self.log: list[tuple[str, int, int]] = []
        self.gate: Gate | None = None

    def pattern(self) -> bytes:
        """Fill the store so that every 8 bytes are different, and return what is in it."""
        self.content[:] = b"".join(i.to_bytes(8, "big") for i in range(self.size // 8))
        return bytes(self.content)

    def close_gate(self) -> Gate:
        """From now on jobs in the lane wait."""
        self.at_once = False
        self.gate = Gate()
        return self.gate

    def open_gate(self) -> None:
        """Let all jobs go, those that wait and those to come."""
        gate, self.gate = self.gate, None
        if gate is not None:
            gate.open()

    # the interface

    def runs(self, offset: int, length: int) -> Iterator[tuple[int, int, bool]]:
        self._wait("runs", offset, length)
        yield offset, length, True

    def read_now(self, buffers: Sequence[memoryview], offset: int, length: int) -> bool:
        if not self.at_once:
            for buffer in buffers:
                buffer[:] = b"?" * len(buffer)  # its contents are undefined then
            return False
        self._trouble(self.read_error)
        self._read(buffers, offset)
        self.log.append(("read now", offset, length))
        return True

    def write_now(self, buffers: Sequence[memoryview], offset: int, length: int) -> bool:
        if not self.at_once:
            return False
        self._trouble(self.write_error)
        for buffer in buffers:
            self.content[offset : offset + len(buffer)] = buffer
            offset += len(buffer)
        self.log.append(("write now", offset - length, length))
        return True

    def read(self, buffer: memoryview, offset: int) -> None:
        self._wait("read", offset, len(buffer))
        self._trouble(self.read_error)
        self._read((buffer,), offset)
        self.log.append(("read", offset, len(buffer)))

    def write(self, buffer: memoryview, offset: int) -> None:
        self._wait("write", offset, len(buffer))
        self._trouble(self.write_error)
        self.content[offset : offset + len(buffer)] = buffer
        self.log.append(("write", offset, len(buffer)))

    def flush(self) -> None:
        self._wait("flush", 0, 0)
        self._trouble(self.flush_error)
        self.log.append(("flush", 0, 0))

    def discard(self, offset: int, length: int) -> None:
        self._wait("discard", offset, length)
        self._trouble(self.write_error)
        self.log.append(("discard", offset, length))
        self.content[offset : offset + length] = bytes(length)

    def resize(self, size: int) -> None:
        self.content = self.content[:size].ljust(size, b"\0")
        self.size = size

    def close(self) -> None:
        self.open_gate()

    def _read(self, buffers: Sequence[memoryview], offset: int) -> None:
        for buffer in buffers:
            buffer[:] = self.content[offset : offset + len(buffer)]
            offset += len(buffer)

    def _wait(self, what: str, offset: int, length: int) -> None:
        gate = self.gate
        if gate is not None:
            gate.wait((what, offset, length))

    def _trouble(self, errno: int) -> None:
        if self.crash is not None:
            raise self.crash
        if errno:
            raise OSError(errno, f"{self.url} was told to fail")


class Gate:
    """Where jobs of a lane wait for the test. `waiting` are those that do, in the order they came."""

    def __init__(self) -> None:
        self.waiting: list[tuple[str, int, int]] = []
        self._changed = threading.Condition()
        self._open = False
        self._free: list[tuple[str, int, int]] = []

    def wait(self, job: tuple[str, int, int]) -> None:
        """Called by a thread of the lane."""
        with self._changed:
            self.waiting.append(job)
            self._changed.notify_all()
            if not self._changed.wait_for(lambda: self._open or job in self._free, PATIENCE):
                raise TimeoutError(f"{job} was never let go")
            if job in self._free:
                self._free.remove(job)
            self.waiting.remove(job)

    def arrived(self, count: int) -> list[tuple[str, int, int]]:
        """Wait until `count` jobs wait here; which they are."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.waiting) >= count, PATIENCE), self.waiting
            return list(self.waiting)

    def release(self, job: tuple[str, int, int]) -> None:
        """Let one job go."""
        with self._changed:
            self._free.append(job)
            self._changed.notify_all()

    def open(self) -> None:
        """Let everything go."""
        with self._changed:
            self._open = True
            self._changed.notify_all()
