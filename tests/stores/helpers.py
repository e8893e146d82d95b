"""Reading and writing as the target does it: at once if possible, else by the call that may block."""

from collections.abc import Callable

from backing_stores import BackingStore

Opener = Callable[[int], BackingStore]
"""Makes and opens a store of so many bytes."""


def put(store: BackingStore, offset: int, data: bytes) -> None:
    """Write all of `data`."""
    view = memoryview(data)
    if not store.write_now((view,), offset, len(data)):
        store.write(view, offset)


def get(store: BackingStore, offset: int, length: int) -> bytes:
    """Read `length` bytes, into a buffer that holds no zeros before."""
    buffer = bytearray(b"\xee" * length)
    if not store.read_now((memoryview(buffer),), offset, length):
        buffer[:] = b"\xee" * length
        store.read(memoryview(buffer), offset)
    return bytes(buffer)
