"""iSCSI node names and the names of their SCSI ports (RFC 7143 4.2.7 and 4.4.1, RFC 3721, RFC 3722).

A name is compared only after normalisation: the stringprep profile of RFC 3722 maps it to lower case and to
Unicode form KC. Configured names are normalised once, when they are configured, and names from the wire
when they arrive; then `==` is right everywhere.

One liberty is taken with RFC 3722: it forbids the underscore, but hosts make initiator names out of computer
names that have one, so here it is allowed.
"""

from __future__ import annotations

import re
import stringprep
import unicodedata
from typing import Final

MAX_NAME_LENGTH: Final = 223
"""Bytes in an iSCSI name (RFC 7143 4.2.7.1)."""
MAX_ISID: Final = (1 << 48) - 1
MAX_PORTAL_GROUP_TAG: Final = 0xFFFF

_FORMS: Final = re.compile(
    r"""iqn\.[0-9]{4}-[0-9]{2}\.[^:]+(?::.*)?   # year and month, reversed domain name, what its owner likes
      | eui\.[0-9a-f]{16}
      | naa\.(?:[0-9a-f]{16}|[0-9a-f]{32})
    """,
    re.VERBOSE,
)
# RFC 3722 6.2: of ASCII only letters, digits, dash, dot and colon stay; and the ideographic full stop goes.
_FORBIDDEN: Final = re.compile(r"[\x00-\x2c/\x3b-\x40\x5b-\x5e`\x7b-\x7f\u3002]")
_PROHIBITED_TABLES: Final = (
    stringprep.in_table_c11_c12,  # spaces
    stringprep.in_table_c21_c22,  # control characters
    stringprep.in_table_c3,  # private use
    stringprep.in_table_c4,  # not characters
    stringprep.in_table_c5,  # surrogates
    stringprep.in_table_c6,  # inappropriate for plain text
    stringprep.in_table_c7,  # inappropriate for canonical representation
    stringprep.in_table_c8,  # change display
    stringprep.in_table_c9,  # tagging
)


class InvalidName(ValueError):  # noqa: N818 - it says what is wrong
    """Not an iSCSI name; the message says why."""


def normalize_name(name: str) -> str:
    """The one form of an iSCSI name that is stored and compared. Raises `InvalidName`."""
    if not name:
        raise InvalidName("an iSCSI name is not empty")
    if len(name.encode("utf-8", "surrogatepass")) > MAX_NAME_LENGTH:
        raise InvalidName(f"an iSCSI name has at most {MAX_NAME_LENGTH} bytes")
    mapped = "".join(stringprep.map_table_b2(c) for c in name if not stringprep.in_table_b1(c))
    normal = unicodedata.normalize("NFKC", mapped)
    for character in normal:
        if _FORBIDDEN.match(character) or any(prohibited(character) for prohibited in _PROHIBITED_TABLES):
            raise InvalidName(f"the character {character!r} may not be in an iSCSI name")
    if len(normal.encode()) > MAX_NAME_LENGTH:  # compatibility mapping makes some characters longer
        raise InvalidName(f"an iSCSI name has at most {MAX_NAME_LENGTH} bytes")
    if not _FORMS.fullmatch(normal):
        raise InvalidName(
            "an iSCSI name is iqn.<year>-<month>.<reversed domain>[:<more>], eui.<16 hex digits> "
            "or naa.<16 or 32 hex digits>"
        )
    return normal


def initiator_port_name(name: str, isid: int) -> str:
    """The SCSI initiator port name of a session (RFC 7143 4.4.1); `isid` is the 48-bit number."""
    if not 0 <= isid <= MAX_ISID:
        raise ValueError("an ISID has 48 bits")
    return f"{name},i,0x{isid:012x}"


def target_port_name(name: str, portal_group_tag: int) -> str:
    """The SCSI target port name of a portal group (RFC 7143 4.4.1)."""
    if not 0 <= portal_group_tag <= MAX_PORTAL_GROUP_TAG:
        raise ValueError("a portal group tag has 16 bits")
    return f"{name},t,0x{portal_group_tag:04x}"
