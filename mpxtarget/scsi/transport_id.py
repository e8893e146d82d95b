"""TransportIDs of iSCSI (SPC-4 7.6.4.6): how one host names another's ports, and how READ FULL STATUS does.

Two formats: the name of an initiator device, and the name of one of its ports, `<iSCSI name>,i,0x<ISID>`.
Names are compared in one form only: lower case, Unicode form KC, twelve digits for an ISID. What comes in is
brought into that form, and refused with INVALID FIELD IN PARAMETER LIST where it cannot be.
"""

from __future__ import annotations

import re
import stringprep
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from construct import BitsInteger, BitStruct, Bytes, Default, Int16ub, Nibble, Padding, Rebuild, Struct

from mpxtarget.scsi.sense import invalid_field_in_parameter_list

_ISCSI: Final = 0x5
_DEVICE, _PORT = 0b00, 0b01
_SHORTEST: Final = 20
_LONGEST_NAME: Final = 223
_LONGEST_SUFFIX: Final = len(",i,0x") + 12

TRANSPORT_ID = Struct(
    "first" / BitStruct("format" / BitsInteger(2), Padding(2), "protocol" / Default(Nibble, _ISCSI)),
    Padding(1),
    "additional_length" / Rebuild(Int16ub, lambda ctx: len(ctx.name)),
    "name" / Bytes(lambda ctx: ctx.additional_length),
)
_HEADER_LENGTH: Final = 4

_NAME = re.compile(r"(?:iqn|eui|naa)\.[^\x00-\x2c/\x3b-\x40\x5b-\x5e`\x7b-\x7f]+")
_ISID = re.compile(r"[0-9a-f]{1,12}")


@dataclass(frozen=True, slots=True)
class TransportId:
    """An initiator device (`port` None), or one of its ports, by its SCSI port name."""

    initiator: str
    port: str | None


@lru_cache(maxsize=1024)
def pack(initiator_port: str) -> bytes:
    """The TransportID of an initiator port, by its SCSI port name: null-terminated, a multiple of four."""
    name = initiator_port.encode()
    length = max(_SHORTEST, (len(name) + 4) & ~3)
    return bytes(TRANSPORT_ID.build({"first": {"format": _PORT}, "name": name.ljust(length, b"\0")}))


def parse(data: bytes, start: int, end: int) -> Iterator[tuple[int, TransportId]]:
    """The TransportIDs that fill the parameter list `data` from `start` to `end`, and where each begins."""
    while start < end:
        if end - start < _HEADER_LENGTH:
            raise invalid_field_in_parameter_list(start)
        length = int.from_bytes(data[start + 2 : start + 4], "big")
        if length < _SHORTEST or length % 4 or start + _HEADER_LENGTH + length > end:
            raise invalid_field_in_parameter_list(start + 2)
        parsed = TRANSPORT_ID.parse(data[start : start + _HEADER_LENGTH + length])
        if parsed.first.protocol != _ISCSI:
            raise invalid_field_in_parameter_list(start, 3)
        if parsed.first.format not in (_DEVICE, _PORT):
            raise invalid_field_in_parameter_list(start, 7)
        transport_id = _read(parsed.name, is_port=parsed.first.format == _PORT)
        if transport_id is None:
            raise invalid_field_in_parameter_list(start + _HEADER_LENGTH)
        yield start, transport_id
        start += _HEADER_LENGTH + length


def _read(field: bytes, *, is_port: bool) -> TransportId | None:
    """The names in a field that the first null ends, whatever its length; None if they are none."""
    content = field.partition(b"\0")[0]
    if len(content) > _LONGEST_NAME + _LONGEST_SUFFIX:
        return None
    try:
        text = _one_form(content.decode())
    except UnicodeDecodeError:
        return None
    name, separator, isid = text.partition(",i,0x")
    if len(name.encode()) > _LONGEST_NAME or not _NAME.fullmatch(name) or bool(separator) is not is_port:
        return None
    if not is_port:
        return TransportId(name, None)
    return TransportId(name, f"{name},i,0x{isid.rjust(12, '0')}") if _ISID.fullmatch(isid) else None


def _one_form(text: str) -> str:
    """What RFC 3722 makes of an iSCSI name before it is compared."""
    mapped = "".join(stringprep.map_table_b2(c) for c in text if not stringprep.in_table_b1(c))
    return unicodedata.normalize("NFKC", mapped)
