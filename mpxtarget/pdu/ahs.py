"""Additional Header Segments (RFC 7143 11.2.2).

An AHS is AHSLength (2 bytes), AHSType (1), AHS-Specific (1) and content, padded to four bytes. AHSLength
counts the AHS-Specific byte and the content.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from mpxtarget.pdu.constants import AhsType
from mpxtarget.pdu.framing import PADDING, Buffer, padded

_HEAD: Final = struct.Struct(">HBB")
_BHS_CDB_LENGTH: Final = 16


class AhsError(ValueError):
    """An AHS that runs past TotalAHSLength or is of a length it cannot have: a format error."""


@dataclass(frozen=True, slots=True)
class Ahs:
    """One AHS: its type, the AHS-Specific byte, and what follows that without padding."""

    type: int
    specific: int
    content: bytes

    def to_bytes(self) -> bytes:
        head = _HEAD.pack(1 + len(self.content), self.type, self.specific)
        return head + self.content + PADDING[len(self.content) & 3]


def parse_ahs(buf: Buffer) -> list[Ahs]:
    """The segments in `buf`, which holds TotalAHSLength words. Raises AhsError."""
    found: list[Ahs] = []
    position = 0
    while position < len(buf):
        if position + _HEAD.size > len(buf):
            raise AhsError("an AHS of less than four bytes")
        length, kind, specific = _HEAD.unpack_from(buf, position)
        if length < 1:
            raise AhsError("AHSLength 0")
        start = position + _HEAD.size
        position += padded(_HEAD.size - 1 + length)
        if position > len(buf):
            raise AhsError("an AHS runs past TotalAHSLength")
        found.append(Ahs(kind, specific, bytes(buf[start : start + length - 1])))
    return found


def extended_cdb(cdb: bytes) -> Ahs:
    """The AHS for what a CDB of more than 16 bytes has behind its first 16 (11.2.2.3)."""
    if len(cdb) <= _BHS_CDB_LENGTH:
        raise ValueError("a CDB of up to 16 bytes fits into the header")
    return Ahs(AhsType.EXTENDED_CDB, 0, cdb[_BHS_CDB_LENGTH:])


def bidirectional_read_length(length: int) -> Ahs:
    """The AHS with the Expected Read Data Transfer Length of a bidirectional command (11.2.2.4)."""
    return Ahs(AhsType.BIDIRECTIONAL_READ_LENGTH, 0, length.to_bytes(4, "big"))
