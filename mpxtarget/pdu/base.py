"""What all PDU headers have in common."""

from __future__ import annotations

import struct
from typing import ClassVar

from mpxtarget.pdu.framing import Buffer


class UnknownOpcode(ValueError):  # noqa: N818  (what it is, not that it is bad)
    """An opcode that RFC 7143 does not define (11.2.1.2)."""

    def __init__(self, opcode: int) -> None:
        super().__init__(f"unknown opcode {opcode:#04x}")
        self.opcode = opcode


class Pdu:
    """The 48-byte Basic Header Segment of one PDU; what follows it is the business of who holds it.

    Two are equal if they are of one class and all their fields are equal. They can be changed, so they are
    not hashable.
    """

    __slots__ = ("data_segment_length", "itt", "total_ahs_length")
    OPCODE: ClassVar[int]
    FORMAT: ClassVar[str]
    STRUCT: ClassVar[struct.Struct]
    FIELDS: ClassVar[tuple[str, ...]]
    """Names of all fields, in the order of the wire."""

    total_ahs_length: int
    """In four-byte words (11.2.1.5)."""
    data_segment_length: int
    """In bytes, padding and digest not counted (11.2.1.6)."""
    itt: int

    @classmethod
    def parse(cls, buf: Buffer, offset: int = 0) -> Pdu:
        """The header at `offset`, whatever its opcode says. Raises struct.error if it is not all there."""
        raise NotImplementedError

    def pack_into(self, buf: bytearray | memoryview, offset: int = 0) -> None:
        """Write the header at `offset`."""
        raise NotImplementedError

    def to_bytes(self) -> bytes:
        """The 48 bytes of the header."""
        raise NotImplementedError

    @property
    def opcode(self) -> int:
        """The opcode of the class."""
        return self.OPCODE

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.FIELDS)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        """The fields that are not zero."""
        shown = []
        for name in self.FIELDS:
            value = getattr(self, name)
            if isinstance(value, bytes):
                shown.append(f"{name}={value.hex()}")
            elif value:
                shown.append(f"{name}={value:#x}" if value > 9 else f"{name}={value}")
        return f"{type(self).__name__}({', '.join(shown)})"
