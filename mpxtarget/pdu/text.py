"""Text of the login and text PDUs: `key=value` pairs, each ended by a NUL (RFC 7143 6.1).

This module knows the encoding and nothing of what a key means. It is strict: what 6.1 does not allow
raises `TextError`. A pair may be cut at any byte by the end of a PDU, even inside its key, so a receiver
joins the segments of one exchange first and decodes only what ends with C=0.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterable, Iterator
from typing import Final

MAX_KEY_LENGTH: Final = 63
"""Characters in a key name (6.1)."""

# 6.1: standard-label, letters of ASCII only; and the X#name form of a registered extension (13.26).
_KEY: Final = re.compile(r"(?:X#)?[A-Za-z0-9.\-+@_]+")
_DECIMAL: Final = re.compile(r"0|[1-9][0-9]*")
_HEX: Final = re.compile(r"0[xX]([0-9a-fA-F]+)")
_BASE64: Final = re.compile(
    r"0[bB]((?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{4}|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{2}==))"
)


class TextError(ValueError):
    """The text breaks a rule of RFC 7143 6.1; the message says which, and never quotes a value."""


def decode_pairs(data: bytes) -> list[tuple[str, str]]:
    """The pairs of one complete text, in their order, repeated keys included.

    Raises `TextError` for text without a NUL at its end, for a pair without `=`, for a key name that is
    none, and for bytes that are not UTF-8.
    """
    if not data:
        return []
    if data[-1] != 0:
        raise TextError("the last key=value pair has no NUL at its end")
    pairs: list[tuple[str, str]] = []
    for item in data[:-1].split(b"\0"):
        key, equals, value = item.partition(b"=")
        if not equals:
            raise TextError("a key=value pair without '='" if item else "an empty key=value pair")
        try:
            pairs.append((_key_name(key.decode("ascii")), value.decode("utf-8")))
        except UnicodeDecodeError:
            raise TextError("a key=value pair that is not UTF-8, or a key name that is not ASCII") from None
    return pairs


def encode_pairs(pairs: Iterable[tuple[str, str]]) -> bytes:
    """The text of `pairs`. Raises `TextError` if a key name is none or a value holds a NUL."""
    text = bytearray()
    for key, value in pairs:
        if "\0" in value:
            raise TextError(f"the value of {key} holds a NUL")
        text += _key_name(key).encode("ascii")
        text += b"="
        text += value.encode("utf-8")
        text += b"\0"
    return bytes(text)


def split_text(text: bytes, limit: int) -> Iterator[bytes]:
    """Cut `text` into data segments of at most `limit` bytes; an empty text is one empty segment."""
    yield text[:limit]
    for start in range(limit, len(text), limit):
        yield text[start : start + limit]


def parse_number(value: str) -> int:
    """A numerical-value: decimal without leading zeros or `0x` and hex digits, below 2**64 (6.1)."""
    hexadecimal = _HEX.fullmatch(value)
    if hexadecimal:
        number = int(hexadecimal[1], 16)
    elif _DECIMAL.fullmatch(value) and len(value) <= 20:
        number = int(value)
    else:
        raise TextError("not a number below 2**64 in decimal without leading zeros or in hex after 0x")
    if number >= 1 << 64:
        raise TextError("a number of 2**64 or more")
    return number


def parse_binary(value: str) -> bytes:
    """A binary-value: `0x` and n hex digits are (n+1)/2 bytes, `0b` is base64 (6.1, RFC 4648).

    Decimal numbers have no length and are no binary values; they raise `TextError` like everything else.
    """
    hexadecimal = _HEX.fullmatch(value)
    if hexadecimal:
        digits = hexadecimal[1]
        return bytes.fromhex(digits if len(digits) % 2 == 0 else "0" + digits)
    encoded = _BASE64.fullmatch(value)
    if not encoded:
        raise TextError("not a binary value: neither 0x and hex digits nor 0b and base64")
    return binascii.a2b_base64(encoded[1])


def format_hex(value: bytes) -> str:
    """`value` as a hex-constant, two digits for each byte."""
    return "0x" + value.hex()


def _key_name(name: str) -> str:
    if len(name) > MAX_KEY_LENGTH:
        raise TextError(f"a key name longer than {MAX_KEY_LENGTH} characters")
    if not _KEY.fullmatch(name) or not name[0].isalpha():  # a small letter too: iSCSIProtocolLevel
        raise TextError("a key name that does not begin with a letter or has illegal characters")
    return name
