"""iSCSI names: what is one, and when two are the same.

Rules kept here (RFC 7143 4.2.7, RFC 3722):
- A name is at most 223 bytes and begins with `iqn.`, `eui.` (16 hex digits) or `naa.` (16 or 32 hex digits).
- Names are the same when they are equal after normalisation: NFKC and lower case. Everything that is stored
  or looked up goes through `normalise` first.
- ASCII is limited to letters, digits, `-`, `.` and `:`. Beyond ASCII, letters, marks and digits are
  allowed. No white space anywhere.
"""

import re
import unicodedata
from typing import Final

MAX_NAME_BYTES: Final = 223

_ASCII_NAME: Final = re.compile(r"[a-z0-9.:-]*")
_FORM: Final = re.compile(r"iqn\.[^.:].*|eui\.[0-9a-f]{16}|naa\.(?:[0-9a-f]{16}|[0-9a-f]{32})", re.DOTALL)
_CATEGORIES: Final = frozenset({"Ll", "Lo", "Lm", "Mn", "Mc", "Nd"})


class InvalidName(ValueError):  # noqa: N818 - what it is called in the messages
    """Not an iSCSI name. The text says why, and quotes the name in ASCII only."""


def normalise(name: str) -> str:
    """The form in which names are compared and stored. Raises InvalidName."""
    if _ASCII_NAME.fullmatch(name) is None:
        name = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
        if _ASCII_NAME.fullmatch(name) is None:
            _check_characters(name)
    if len(name.encode("utf-8", "surrogatepass")) > MAX_NAME_BYTES:
        raise InvalidName(f"an iSCSI name has at most {MAX_NAME_BYTES} bytes, {_quoted(name)} has more")
    if _FORM.fullmatch(name) is None:
        raise InvalidName(
            f"{_quoted(name)} is not an iSCSI name: it should look like iqn.1991-05.com.microsoft:host, "
            "eui. and 16 hexadecimal digits, or naa. and 16 or 32"
        )
    return name


def _check_characters(name: str) -> None:
    for character in name:
        if character in "-.:" or (character.isascii() and character.isalnum()):
            continue
        if character.isascii() or unicodedata.category(character) not in _CATEGORIES:
            raise InvalidName(
                f"{_quoted(name)} has {character!a} in it;"
                " an iSCSI name has letters, digits, '-', '.' and ':' only"
            )


def _quoted(name: str) -> str:
    return ascii(name if len(name) <= 80 else name[:80] + "...")
