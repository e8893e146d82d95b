"""Write `_codec.py`, the struct codec the target runs on, from the declarations of the PDUs.

    python -m mpxtarget.pdu.generate

The codec is checked in, so that neither a build nor a running server needs scapy; a test generates it again
and compares. What comes out is plain typed Python in the shape `ruff format` leaves alone.

How bits become words: the fields of a header are taken in order and packed into the smallest words struct
can read (1, 2, 4 or 8 bytes) such that the rest of the header still divides into words. So byte 0 and byte 1
are bytes, and the 24 bits of DataSegmentLength share four bytes with TotalAHSLength.
"""

from __future__ import annotations

import builtins
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scapy.fields import BitField, StrFixedLenField

from mpxtarget.pdu.constants import BHS_LENGTH, NO_TAG
from mpxtarget.pdu.declarations import DECLARATIONS, Declaration

OUTPUT: Final = Path(__file__).with_name("_codec.py")

_LINE_LENGTH: Final = 110
_LETTERS: Final = {8: "B", 16: "H", 32: "I", 64: "Q"}
_COMMON: Final = ("total_ahs_length", "data_segment_length", "itt")
"""Fields every PDU has; they are attributes of the base class."""


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    bits: int
    default: int | bytes

    @property
    def reserved(self) -> bool:
        return self.name.startswith("reserved")

    @property
    def attribute(self) -> bool:
        return not self.reserved and self.name != "opcode"

    @property
    def type_name(self) -> str:
        return "bytes" if isinstance(self.default, bytes) else "int"

    @property
    def default_text(self) -> str:
        if isinstance(self.default, bytes):
            return f"bytes({len(self.default)})"
        return "NO_TAG" if self.default == NO_TAG else str(self.default)


@dataclass(frozen=True, slots=True)
class _Word:
    """Fields that struct reads and writes as one; `name` is that of a local variable for bit runs."""

    name: str
    fields: tuple[_Field, ...]

    @property
    def bits(self) -> int:
        return sum(field.bits for field in self.fields)

    @property
    def reserved(self) -> bool:
        return all(field.reserved for field in self.fields)

    @property
    def letter(self) -> str:
        if self.reserved:
            size = self.bits // 8
            return "x" if size == 1 else f"{size}x"
        if isinstance(self.fields[0].default, bytes):
            return f"{self.bits // 8}s"
        return _LETTERS[self.bits]

    def shifts(self) -> Iterator[tuple[_Field, int]]:
        """Each field with the number of bits to its right."""
        right = self.bits
        for field in self.fields:
            right -= field.bits
            yield field, right


def _fields(declaration: type[Declaration]) -> list[_Field]:
    fields = []
    for field in declaration.fields_desc:
        bits = field.size if isinstance(field, BitField) else math.ceil(field.sz) * 8
        if isinstance(field, StrFixedLenField):
            bits = field.length_from(None) * 8
        fields.append(_Field(field.name, bits, field.default))
    if sum(field.bits for field in fields) != BHS_LENGTH * 8:
        raise ValueError(f"{declaration.__name__} does not cover the {BHS_LENGTH} bytes of a header")
    return fields


def _divide(fields: Sequence[_Field]) -> list[tuple[_Field, ...]] | None:
    """Divide into words, the first one as small as the rest allows; None if it cannot be done."""
    if not fields:
        return []
    bits = 0
    for count, field in enumerate(fields, 1):
        bits += field.bits
        alone = count == 1 and bits % 8 == 0 and (field.reserved or field.type_name == "bytes")
        if alone or bits in _LETTERS:
            rest = _divide(fields[count:])
            if rest is not None:
                return [tuple(fields[:count]), *rest]
    return None


def _words(declaration: type[Declaration]) -> list[_Word]:
    groups = _divide(_fields(declaration))
    if groups is None:
        raise ValueError(f"{declaration.__name__} does not divide into words of 1, 2, 4 or 8 bytes")
    words: list[_Word] = []
    offset = 0
    for group in groups:
        bits = sum(field.bits for field in group)
        name = f"byte{offset}" if bits == 8 else "_".join(field.name for field in group)
        word = _Word("lengths" if group[-1].name == "data_segment_length" else name, group)
        if words and word.reserved and words[-1].reserved:
            word = _Word("", words.pop().fields + group)
        words.append(word)
        offset += bits // 8
    return words


def _unpack_expression(word: _Word, field: _Field, right: int) -> str:
    left = word.bits - right - field.bits
    shifted = f"{word.name} >> {right}" if right else word.name
    if not left:
        return shifted
    mask = (1 << field.bits) - 1
    return f"{shifted} & {mask if mask < 10 else f'0x{mask:X}'}"


def _pack_argument(word: _Word, opcode: int) -> str:
    parts = []
    for field, right in word.shifts():
        if field.reserved:
            continue
        value = f"0x{opcode:02X}" if field.name == "opcode" else f"self.{field.name}"
        parts.append(f"{value} << {right}" if right else value)
    line = " " * 12 + " | ".join(parts) + ","
    return line if len(line) <= _LINE_LENGTH else ("\n" + " " * 12 + "| ").join(parts).join((" " * 12, ","))


def _is_single(word: _Word) -> bool:
    return len(word.fields) == 1


def _class(declaration: type[Declaration]) -> Iterator[str]:
    name = declaration.__name__
    words = _words(declaration)
    fields = [field for word in words for field in word.fields if field.attribute]
    own = [field for field in fields if field.name not in _COMMON]
    text = ">" + "".join(word.letter for word in words)
    carried = [word for word in words if not word.reserved]

    yield "@final"
    yield f"class {name}(Pdu):"
    yield f'    """{declaration.__doc__}"""'
    yield ""
    yield "    __slots__ = ("
    yield from (f'        "{name}",' for name in sorted(field.name for field in own))
    yield "    )"
    yield f"    OPCODE: ClassVar[int] = 0x{declaration.OPCODE:02X}"
    yield f'    FORMAT: ClassVar[str] = "{text}"'
    yield "    STRUCT: ClassVar[struct.Struct] = struct.Struct(FORMAT)"
    yield "    FIELDS: ClassVar[tuple[str, ...]] = ("
    yield from (f'        "{field.name}",' for field in fields)
    yield "    )"
    yield ""
    yield from (f"    {field.name}: {field.type_name}" for field in own)
    yield ""
    yield "    def __init__("
    yield "        self,"
    yield "        *,"
    for field in fields:
        noqa = "  # noqa: A002" if hasattr(builtins, field.name) else ""
        yield f"        {field.name}: {field.type_name} = {field.default_text},{noqa}"
    yield "    ) -> None:"
    yield from (f"        self.{field.name} = {field.name}" for field in fields)
    yield ""
    yield "    @classmethod"
    yield f"    def parse(cls, buf: Buffer, offset: int = 0) -> {name}:"
    yield f"        pdu = {name}.__new__({name})"
    yield "        ("
    for word in carried:
        only_opcode = all(field.reserved or field.name == "opcode" for field in word.fields)
        target = "_" if only_opcode else f"pdu.{word.fields[0].name}" if _is_single(word) else word.name
        yield f"            {target},"
    yield f"        ) = {name}.STRUCT.unpack_from(buf, offset)"
    for word in carried:
        if _is_single(word):
            continue
        for field, right in word.shifts():
            if field.attribute:
                yield f"        pdu.{field.name} = {_unpack_expression(word, field, right)}"
    yield "        return pdu"
    yield ""
    yield "    def pack_into(self, buf: bytearray | memoryview, offset: int = 0) -> None:"
    yield f"        {name}.STRUCT.pack_into("
    yield "            buf,"
    yield "            offset,"
    yield from (_pack_argument(word, declaration.OPCODE) for word in carried)
    yield "        )"
    yield ""
    yield "    def to_bytes(self) -> bytes:"
    yield f"        return {name}.STRUCT.pack("
    yield from (_pack_argument(word, declaration.OPCODE) for word in carried)
    yield "        )"


_HEAD: Final = '''\
"""The struct codec of every iSCSI PDU header. Generated by mpxtarget/pdu/generate.py: do not edit.

One class for each PDU of RFC 7143, its fields as attributes. Reserved bits are no attributes: they are
ignored when a header is read and zero when it is written. Values are not checked for their range; one that
fits neither its bits nor its word spoils its neighbours or raises struct.error.
"""

from __future__ import annotations

import struct
from typing import ClassVar, Final, final

from mpxtarget.pdu.base import Pdu, UnknownOpcode
from mpxtarget.pdu.constants import NO_TAG
from mpxtarget.pdu.framing import Buffer
'''


def generate() -> str:
    """The text of `_codec.py`."""
    lines = [_HEAD]
    for declaration in DECLARATIONS:
        lines += ["", *_class(declaration), ""]
    lines += ["", "PDU_CLASSES: Final[dict[int, type[Pdu]]] = {"]
    lines += [f"    0x{declaration.OPCODE:02X}: {declaration.__name__}," for declaration in DECLARATIONS]
    lines += [
        "}",
        "",
        "",
        "def parse_bhs(buf: Buffer, offset: int = 0) -> Pdu:",
        '    """The header at `offset` as an object of its class. Raises UnknownOpcode."""',
        "    opcode = buf[offset] & 0x3F",
        "    pdu_class = PDU_CLASSES.get(opcode)",
        "    if pdu_class is None:",
        "        raise UnknownOpcode(opcode)",
        "    return pdu_class.parse(buf, offset)",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    OUTPUT.write_text(generate(), encoding="utf-8")
