"""CRC32C, the one digest of iSCSI (RFC 7143 13.1).

A digest word goes out least significant byte first, unlike every other number on the wire. Nothing here
copies what it is given; `bytes`, `bytearray` and `memoryview` are all read in place.
"""

from __future__ import annotations

import struct
from typing import Final

from crc32c import crc32c as _crc32c

from mpxtarget.pdu.framing import PADDING, Buffer

_WORD: Final = struct.Struct("<I")


def crc32c(buffer: Buffer, value: int = 0) -> int:
    """CRC32C of `buffer`, as a continuation of `value`, the CRC of what came before it."""
    return _crc32c(buffer, value)


def header_digest(header: Buffer, ahs: Buffer = b"") -> bytes:
    """The four bytes that follow a header: `header` with, unless it is in there already, all its `ahs`."""
    return _WORD.pack(_crc32c(ahs, _crc32c(header)))


def data_digest(*parts: Buffer) -> bytes:
    """The four bytes that follow a data segment made of `parts`; zero padding is counted in.

    To check a segment whose padding may be anything, hand over the segment together with its padding:
    what is a multiple of four bytes long gets none added.
    """
    value = 0
    length = 0
    for part in parts:
        value = _crc32c(part, value)
        length += len(part)
    if length & 3:
        value = _crc32c(PADDING[length & 3], value)
    return _WORD.pack(value)
