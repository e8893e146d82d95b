"""The EVA models that can be emulated, as data.

A row is what a host can see of a model: the INQUIRY product and revision, how many host ports each
controller has, which of HP's two company ids its names begin with, and which commands and disk sizes its
firmware knew. All rows are active/active arrays of vendor `HP`; the older active/passive ones (HSV100,
HSV110) cannot stand behind an mpx100 and are not here.

What a *strict* array offers follows from its firmware: the names of rows of the command table. Everything
that is derived from it (VPD pages, INQUIRY bits, REPORT SUPPORTED OPERATION CODES) asks the `Personality`.
An array that is not strict has the names, revision and ports of its model, and offers all that this target
can.

Where the facts come from.

- From host outputs, device tables and manuals: the product strings (device tables of QLogic's and Linux's
  drivers); revision 0953 (HSV300), 6110 (HSV210) and 1000 (HSV340); company ids (WWNs and WWLUNs in host
  outputs); REPORT and SET TARGET PORT GROUPS and persistent reservations on all of these (QLogic's failover
  driver, HP's DSM for Windows); EXTENDED COPY, WRITE SAME and COMPARE AND WRITE from XCS 10.10 on, UNMAP from
  XCS 11.20 on (HP's best practices for vSphere); LUN 0 is the console, 255 more for each host.
- Inferred: the other revisions (the leading digits of an XCS or VCS version that the model ran; of the two
  P6000 models and of the EVA6400 and 8400 one is at an older and one at a newer version, so that each
  firmware can be had); everything else that a firmware is said to offer or to lack, namely what a SPC-3 and
  SBC-2 disk array of its years had; the largest disk, 2 TiB less one block where only 10-byte commands were
  certain, 32 TiB after that (a disk of 7.2 TB behind an HSV300 was seen).
"""

from dataclasses import dataclass
from typing import Final

from mpxtarget.scsi.personality import EVERYTHING, Personality

VENDOR: Final = "HP"

OUI_COMPAQ_NODE: Final = 0x0001FE
"""In the WWNs of arrays built before the EVA4400 (5000-1FE1-...)."""
OUI_COMPAQ_WWLUN: Final = 0x00508B
"""In WWLUNs of the same generation (6005-08B4-...)."""
OUI_HP: Final = 0x001438
"""In both, from the EVA4400 on (5001-4380-..., 6001-438...)."""

MIN_LUN: Final = 1
"""LUN 0 is the console."""
MAX_LUN: Final = 255
"""Of every model: an EVA has 256 LUNs for each host."""

_SPC_3_DISK: Final = frozenset({
    "TEST UNIT READY", "REQUEST SENSE", "INQUIRY", "REPORT LUNS", "SEND DIAGNOSTIC",
    "MODE SENSE(6)", "MODE SENSE(10)", "MODE SELECT(6)", "MODE SELECT(10)",
    "READ CAPACITY(10)", "READ(6)", "READ(10)", "WRITE(6)", "WRITE(10)", "VERIFY(10)", "WRITE AND VERIFY(10)",
    "SYNCHRONIZE CACHE(10)", "START STOP UNIT", "READ BUFFER", "WRITE BUFFER", "LOG SENSE",
    "RESERVE(6)", "RESERVE(10)", "RELEASE(6)", "RELEASE(10)",
    "PERSISTENT RESERVE IN, READ KEYS", "PERSISTENT RESERVE IN, READ RESERVATION",
    "PERSISTENT RESERVE IN, REPORT CAPABILITIES", "PERSISTENT RESERVE IN, READ FULL STATUS",
    "PERSISTENT RESERVE OUT, REGISTER", "PERSISTENT RESERVE OUT, RESERVE",
    "PERSISTENT RESERVE OUT, RELEASE", "PERSISTENT RESERVE OUT, CLEAR", "PERSISTENT RESERVE OUT, PREEMPT",
    "PERSISTENT RESERVE OUT, PREEMPT AND ABORT", "PERSISTENT RESERVE OUT, REGISTER AND IGNORE EXISTING KEY",
    "PERSISTENT RESERVE OUT, REGISTER AND MOVE",
    "REPORT TARGET PORT GROUPS", "SET TARGET PORT GROUPS",
})  # fmt: skip

_LARGE_DISK: Final = frozenset({
    "READ CAPACITY(16)", "READ(16)", "WRITE(16)", "VERIFY(16)", "WRITE AND VERIFY(16)",
    "SYNCHRONIZE CACHE(16)", "REPORT SUPPORTED OPERATION CODES",
})  # fmt: skip

_VAAI: Final = frozenset({
    "COMPARE AND WRITE", "WRITE SAME(10)", "WRITE SAME(16)", "EXTENDED COPY(LID1)",
    "RECEIVE COPY STATUS(LID1)", "RECEIVE COPY OPERATING PARAMETERS",
})  # fmt: skip

_TIB: Final = 1 << 40


@dataclass(frozen=True, slots=True)
class Firmware:
    """What a line of the controllers' software knew."""

    personality: Personality
    largest_disk: int
    """In bytes."""


_VCS_4: Final = Firmware(Personality("VCS 4", _SPC_3_DISK), 2 * _TIB - 512)
_XCS_6: Final = Firmware(Personality("XCS 6", _SPC_3_DISK), 2 * _TIB - 512)
_XCS_9: Final = Firmware(Personality("XCS 9", _SPC_3_DISK | _LARGE_DISK), 32 * _TIB)
_XCS_10: Final = Firmware(Personality("XCS 10.00", _SPC_3_DISK | _LARGE_DISK), 32 * _TIB)
_XCS_10_1: Final = Firmware(Personality("XCS 10.10", _SPC_3_DISK | _LARGE_DISK | _VAAI), 32 * _TIB)
_XCS_11_2: Final = Firmware(
    Personality("XCS 11.20", _SPC_3_DISK | _LARGE_DISK | _VAAI | {"UNMAP", "GET LBA STATUS"}), 32 * _TIB
)


@dataclass(frozen=True, slots=True)
class Model:
    """One model of the EVA family."""

    product: str
    """INQUIRY product identification, without the padding."""
    revision: str
    """INQUIRY product revision level, 4 characters: the leading digits of the firmware's version."""
    marketing: str
    host_ports: int
    """Host ports per controller, 1 to 4."""
    node_oui: int
    wwlun_oui: int
    firmware: Firmware

    def personality(self, strict: bool) -> Personality:
        """What the disks of such an array offer."""
        return self.firmware.personality if strict else EVERYTHING

    def largest_disk(self, strict: bool) -> int | None:
        """The size in bytes that no disk may exceed; None: no limit of the model's."""
        return self.firmware.largest_disk if strict else None


_ROWS: Final = (
    # product  revision marketing name      ports  node WWN         WWLUN             firmware
    ("HSV101", "4000", "EVA3000", 2, OUI_COMPAQ_NODE, OUI_COMPAQ_WWLUN, _VCS_4),
    ("HSV200", "6110", "EVA4000/EVA6000", 2, OUI_COMPAQ_NODE, OUI_COMPAQ_WWLUN, _XCS_6),
    ("HSV210", "6110", "EVA8000", 4, OUI_COMPAQ_NODE, OUI_COMPAQ_WWLUN, _XCS_6),
    ("HSV300", "0953", "EVA4400", 2, OUI_HP, OUI_HP, _XCS_9),
    ("HSV340", "1000", "P6300", 4, OUI_HP, OUI_HP, _XCS_10),
    ("HSV360", "1120", "P6500", 4, OUI_HP, OUI_HP, _XCS_11_2),
    ("HSV400", "0953", "EVA6400", 4, OUI_HP, OUI_HP, _XCS_9),
    ("HSV450", "1010", "EVA8400", 4, OUI_HP, OUI_HP, _XCS_10_1),
)

MODELS: Final[dict[str, Model]] = {row[0]: Model(*row) for row in _ROWS}
"""By product string."""

DEFAULT_MODEL: Final = "HSV300"
