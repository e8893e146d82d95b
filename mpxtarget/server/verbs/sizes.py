"""Sizes as people write them.

Units are powers of 1024, as in every EVA tool and in `truncate`: 1G = 1GiB = 1024 ** 3 bytes.  A number
without a unit is bytes.  Decimal units (GB) are refused, because half of those who write them mean the other
thing.
"""

from __future__ import annotations

import re

_UNITS = {"": 0, "B": 0, "K": 1, "M": 2, "G": 3, "T": 4, "P": 5}
_SIZE = re.compile(r"\s*(\d{1,19})(?:\.(\d{1,9}))?\s*([A-Za-z]*)\s*", re.ASCII)
LARGEST = 1 << 62  # beyond any file system, and still far from overflowing a signed 64-bit file offset


def parse_size(value: int | str) -> int:
    """Bytes of `1G`, `512M`, `1.5GiB`, `4096`.  Raises ValueError with a reason that can be shown."""
    if isinstance(value, int):
        size = value
    else:
        size = _parse(value)
    if size <= 0:
        raise ValueError(f"size {value!r} is not above zero")
    if size > LARGEST:
        raise ValueError(f"size {value!r} is larger than any store can be")
    return size


def _parse(text: str) -> int:
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a size; write 10G, 512M, 1.5T or a number of bytes")
    whole, fraction, unit = match.groups()
    unit = unit.upper()
    if len(unit) == 2 and unit[1] == "B" and unit[0] in _UNITS:
        raise ValueError(
            f"{text!r}: decimal units are not used; write {unit[0]} or {unit[0]}iB for powers of 1024"
        )
    unit = unit.removesuffix("IB") if len(unit) == 3 else unit
    if unit not in _UNITS:
        raise ValueError(f"{text!r} has an unknown unit; use K, M, G, T or P")
    scale: int = 1024 ** _UNITS[unit]
    size = int(whole) * scale
    if fraction is not None:
        part, rest = divmod(int(fraction) * scale, 10 ** len(fraction))
        if rest:
            raise ValueError(f"{text!r} is not a whole number of bytes")
        size += part
    return size


def format_size(size: int) -> str:
    """The shortest exact form: `1G`, `1536M`, or plain bytes.  `parse_size` of it gives `size` back."""
    for unit in "PTGMK":
        scale = 1024 ** _UNITS[unit]
        if size and size % scale == 0:
            return f"{size // scale}{unit}"
    return str(size)


def parse_lun_size(value: int | str, block_size: int) -> int:
    """Bytes of a virtual disk: a multiple of its block size."""
    size = parse_size(value)
    if size % block_size:
        below = size // block_size * block_size
        above = below + block_size
        raise ValueError(
            f"size {value!r} is not a multiple of the block size {block_size}; "
            + (f"the nearest are {below} and {above}" if below else f"the least is {above}")
        )
    return size
