"""Names and numbers of an array: WWNs, World Wide LUN Names, serial numbers; how they are made and how they
are shown.

Every function is pure: what is random comes in as bytes. The formats were read off real arrays:

- Node WWN: NAA 5, company id, 36 bits of the array, of which the last 4 are zero. Host port WWNs are the
  node WWN with that last digit replaced: 8, 9, A, B on controller A and C, D, E, F on controller B.
- World Wide LUN Name (NAA 6, 32 hex digits): `6`, company id, 9 digits of the array, `000`, 2 digits of an
  object table, `000`, a counter of 4 digits, `0000`; the counter grows by 4 from one virtual disk to the
  next.
- Both are shown in groups of four digits: 5001-4380-04C7-2D90.
"""

from typing import Final

from mpxtarget.array.models import OUI_COMPAQ_WWLUN, OUI_HP
from mpxtarget.array.records import ControllerName

ENTROPY_BYTES: Final = 8
"""How many random bytes each of the makers below takes."""

COUNTER_STEP: Final = 4
_COUNTERS_PER_TABLE: Final = 0x10000 // COUNTER_STEP
_TABLES: Final = 0x100
MAX_WWLUNS: Final = _COUNTERS_PER_TABLE * _TABLES
"""How many virtual disks an array can name in its life."""

_FIRST_PORT_DIGIT: Final[dict[ControllerName, int]] = {"A": 0x8, "B": 0xC}
MAX_PORTS_PER_CONTROLLER: Final = 4


def make_node_wwn(oui: int, entropy: bytes) -> int:
    """A node WWN of 64 bits that ends in 0, in the shape that the arrays of this company id have."""
    bits = _number(entropy)
    if oui == OUI_HP:
        array = bits % 0x3000000 << 4  # 5001-4380-xxxx-xxx0
    else:
        array = 0x150_00000_0 | bits % 0x20000 << 4  # 5000-1FE1-50xx-xxx0
    return 0x5 << 60 | oui << 36 | array


def host_port_wwn(node_wwn: int, controller: ControllerName, number: int) -> int:
    """The WWN of host port `number`, counted from 1 (FP1), of a controller."""
    if not 1 <= number <= MAX_PORTS_PER_CONTROLLER:
        raise ValueError(f"an EVA controller has host ports 1 to {MAX_PORTS_PER_CONTROLLER}, not {number}")
    return node_wwn | _FIRST_PORT_DIGIT[controller] + number - 1


def make_wwlun_base(oui: int, entropy: bytes) -> bytes:
    """The World Wide LUN Name that all of an array's are counted from."""
    bits = _number(entropy)
    if oui == OUI_COMPAQ_WWLUN:
        array = 0x4_0000_0000 | bits % 0x200000  # always 4000 or 4001: the familiar 6005-08B4-00...
    else:
        array = bits % 0x2000_0000  # begins with 00 or 01
    return (0x6 << 124 | oui << 100 | array << 64).to_bytes(16, "big")


def wwlun(base: bytes, ordinal: int) -> bytes:
    """The World Wide LUN Name of the `ordinal`th virtual disk ever made on an array, counted from 1."""
    if not 1 <= ordinal < MAX_WWLUNS:
        raise ValueError(f"an array names at most {MAX_WWLUNS - 1} virtual disks")
    table, counter = divmod(ordinal, _COUNTERS_PER_TABLE)
    low = table << 44 | counter * COUNTER_STEP << 16
    return (int.from_bytes(base, "big") | low).to_bytes(16, "big")


def make_controller_serial(entropy: bytes) -> str:
    """A serial number in the shape of the HSV and HSG controllers': two letters, eight digits."""
    return f"ZG{_number(entropy) % 10**8:08d}"


def make_bridge_serial(entropy: bytes) -> str:
    """A serial number of an mpx100: year and week of manufacture, `e`, five digits."""
    bits = _number(entropy)
    year_week = 801 + 100 * (bits >> 8 & 1) + (bits >> 9) % 52
    return f"{year_week:04d}e{(bits >> 24) % 100000:05d}"


def dashed(value: int | bytes) -> str:
    """A WWN (int) or World Wide LUN Name (bytes) as Command View shows it, in groups of four digits."""
    digits = value.hex() if isinstance(value, bytes) else f"{value:016x}"
    return "-".join(digits[at : at + 4] for at in range(0, len(digits), 4)).upper()


def plain(wwn: int) -> str:
    """A WWN as 16 lower case hexadecimal digits."""
    return f"{wwn:016x}"


def _number(entropy: bytes) -> int:
    if len(entropy) != ENTROPY_BYTES:
        raise ValueError(f"{ENTROPY_BYTES} random bytes are needed, got {len(entropy)}")
    return int.from_bytes(entropy, "big")
