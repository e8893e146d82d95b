"""What a connection is going to send: one arena being filled, and full ones waiting.

An arena is a fixed buffer lent by a pool that all connections of a loop share. PDUs are built in place, one
behind the other, so that everything one receive event gave rise to leaves in a single send. The rules:

- `reserve(n)` hands out n contiguous bytes and never fails for n up to the arena's size; when the arena is
  full it joins the backlog and a fresh one is taken. Whoever produces bulk data looks at `backlog` first and
  waits while there is one, which bounds a connection to the backlog it had plus one arena.
- An arena without unsent bytes goes back to the pool, so that an idle connection owns no buffer.
- Nothing here sends. The owner of the socket drains `backlog`, then `view[:used]`. Where it can send a range
  of a file without reading it, it says so by setting `splice`.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

ARENA_SIZE = 640 * 1024  # the largest PDU twice over, and still within a second-level cache


class Arena:
    """A buffer of ARENA_SIZE bytes and the one memoryview of it that everybody slices."""

    __slots__ = ("buffer", "view")

    def __init__(self, size: int = ARENA_SIZE) -> None:
        self.buffer = bytearray(size)
        self.view = memoryview(self.buffer)


class ArenaPool:
    """Arenas not in use, the one used last on top: it is still warm. At most `keep` are kept."""

    __slots__ = ("_free", "keep")

    def __init__(self, keep: int = 8) -> None:
        self._free: list[Arena] = []
        self.keep = keep

    def take(self) -> Arena:
        """An arena with arbitrary contents."""
        return self._free.pop() if self._free else Arena()

    def give(self, arena: Arena) -> None:
        """Return an arena that nobody refers to any more."""
        if len(self._free) < self.keep:
            self._free.append(arena)


@dataclass(slots=True)
class Unsent:
    """An arena that waits for the peer: bytes `sent` up to `used` are still to go."""

    arena: Arena
    sent: int
    used: int


@dataclass(slots=True)
class FileSpan:
    """A range of a file that goes out as it is: `length` bytes from `offset` on. `fd` is its own."""

    fd: int
    offset: int
    length: int
    close: Callable[[int], None]


class Output:
    """The send side of one connection, without a socket."""

    __slots__ = ("_arena", "_pool", "backlog", "size", "splice", "used", "view")

    def __init__(self, pool: ArenaPool) -> None:
        self._pool = pool
        self._arena: Arena | None = None
        self.view = memoryview(b"")
        self.size = 0
        self.used = 0
        self.backlog: deque[Unsent | FileSpan] = deque()
        #: (fd, offset, length): send what stands in the arena, then that range of the file
        self.splice: Callable[[int, int, int], None] | None = None

    def open(self) -> None:
        """Make sure that there is an arena to build in."""
        if self._arena is None:
            self._arena = self._pool.take()
            self.view = self._arena.view
            self.size = len(self.view)
            self.used = 0

    def reserve(self, length: int) -> int:
        """The offset in `view` of `length` fresh bytes, which count as used."""
        if self._arena is None or self.used + length > self.size:
            self.park(0)
            self.open()
        offset = self.used
        self.used += length
        return offset

    def park(self, sent: int) -> None:
        """Move the arena, of which `sent` bytes are out, to the backlog."""
        if self._arena is not None and self.used > sent:
            self.backlog.append(Unsent(self._arena, sent, self.used))
            self._arena = None
            self.view = memoryview(b"")
            self.size = self.used = 0

    def close(self) -> None:
        """Everything in the arena is sent: give it back."""
        if self._arena is not None:
            self._pool.give(self._arena)
            self._arena = None
            self.view = memoryview(b"")
            self.size = self.used = 0

    def sent_backlog(self) -> None:
        """The first of the backlog is out: give its arena or descriptor back."""
        first = self.backlog.popleft()
        if isinstance(first, FileSpan):
            first.close(first.fd)
        else:
            self._pool.give(first.arena)

    def discard(self) -> None:
        """The connection is gone: nothing of it will be sent."""
        self.close()
        while self.backlog:
            self.sent_backlog()

    def take_all(self) -> bytes:
        """All that is to be sent, as bytes: for machines driven without a socket."""
        self.park(0)
        parts = []
        while self.backlog:
            unsent = self.backlog[0]
            assert isinstance(unsent, Unsent)  # without a socket there is no splice
            parts.append(bytes(unsent.arena.view[unsent.sent : unsent.used]))
            self.sent_backlog()
        return b"".join(parts)

    def __len__(self) -> int:
        return self.used + sum(
            item.length if isinstance(item, FileSpan) else item.used - item.sent for item in self.backlog
        )
