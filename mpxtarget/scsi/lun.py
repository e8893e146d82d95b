"""The eight bytes of a LUN (SAM-5 4.7).

A LUN field is handled as one 64-bit number, big-endian as on the wire.  Single-level addressing only: LUN 0
to 255 are reported in peripheral form (`00 nn`), 256 to 16383 in flat form (`40|hi lo`); a field in either
form is accepted where both can express the number.  Anything in the lower levels, another bus, another
method: no such LUN.
"""

from typing import Final

MAX_LUN: Final = 0x3FFF

_PERIPHERAL_LIMIT = 0x100
_FLAT = 0x4000


def to_field(lun: int) -> int:
    """The form in which REPORT LUNS reports this LUN."""
    if not 0 <= lun <= MAX_LUN:
        raise ValueError(f"a LUN is 0 to {MAX_LUN}, not {lun}")
    return (lun if lun < _PERIPHERAL_LIMIT else _FLAT | lun) << 48


def accepted_fields(lun: int) -> tuple[int, ...]:
    """Every form under which an initiator may address this LUN."""
    if not 0 <= lun <= MAX_LUN:
        raise ValueError(f"a LUN is 0 to {MAX_LUN}, not {lun}")
    flat = (_FLAT | lun) << 48
    return (lun << 48, flat) if lun < _PERIPHERAL_LIMIT else (flat,)


def from_field(field: int) -> int | None:
    """The LUN a field addresses, or None if the form is not one of ours."""
    first_level = field >> 48
    if field != first_level << 48:
        return None
    if first_level < _PERIPHERAL_LIMIT:
        return first_level
    if first_level >> 14 == 1:
        return first_level & MAX_LUN
    return None
