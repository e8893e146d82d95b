"""What every part of the target agrees on about the byte stream: padding, serial numbers, buffers."""

from __future__ import annotations

from typing import Final, TypeAlias

Buffer: TypeAlias = bytes | bytearray | memoryview
"""What is read without being copied. A memoryview must be one of bytes (format "B")."""

PADDING: Final = (b"", b"\0\0\0", b"\0\0", b"\0")
"""The zero bytes that follow a segment, by its length modulo 4 (RFC 7143 11.1)."""

_SERIAL_MASK: Final = 0xFFFFFFFF
_SERIAL_HALF: Final = 0x80000000


def padded(length: int) -> int:
    """Bytes on the wire of a segment of `length` bytes, digest not counted (RFC 7143 11.1)."""
    return (length + 3) & ~3


def serial_less(a: int, b: int) -> bool:
    """True if serial number `a` comes before `b` (RFC 1982 with SERIAL_BITS 32; RFC 7143 4.2.2.1)."""
    return 0 < ((b - a) & _SERIAL_MASK) < _SERIAL_HALF


def serial_add(a: int, n: int) -> int:
    """The serial number `n` after `a`; `n` may be negative."""
    return (a + n) & _SERIAL_MASK
