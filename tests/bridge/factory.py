"""Makes arrays, disks, bridges and nexuses for tests: the demo EVA4400 unless a test bends it."""

from dataclasses import dataclass
from typing import Any

from mpxtarget.array import identity
from mpxtarget.array.array import Array
from mpxtarget.array.models import OUI_HP
from mpxtarget.array.records import ArrayRecord, VdiskRecord
from mpxtarget.bridge.bridge import Bridge
from mpxtarget.bridge.records import PortalRecord
from mpxtarget.scsi.nexus import ITNexus

NODE_WWN = 0x50014380_04C8A250
WWLUN_BASE = identity.make_wwlun_base(OUI_HP, bytes.fromhex("0000000001020304"))
GIB = 1 << 30


@dataclass
class FakeStore:
    size: int = GIB
    read_only: bool = False
    durable: bool = True


def array_record(**changes: Any) -> ArrayRecord:
    values: dict[str, Any] = {
        "name": "EVA4400",
        "model": "HSV300",
        "node_wwn": NODE_WWN,
        "controller_serial": "ZG20400315",
        "bridge_serial": "0834e00025",
        "name_template": "iqn.2004-09.com.hp:fcgw.mpx100.{serial}.b1.{nn}.{wwn}",
        "policy": "present-all",
        "wwlun_base": WWLUN_BASE,
    }
    return ArrayRecord(**{**values, **changes})


def vdisk_record(number: int, **changes: Any) -> VdiskRecord:
    values: dict[str, Any] = {
        "id": number,
        "name": f"vdisk{number}",
        "lun": number,
        "wwlun": identity.wwlun(WWLUN_BASE, number),
        "size": GIB,
        "block_size": 512,
        "store_url": f"file:vdisks/vdisk{number}.img",
        "read_only": False,
        "preferred": "none",
        "controller": "A" if number % 2 else "B",
    }
    return VdiskRecord(**{**values, **changes})


def eva(disks: int = 2, **changes: Any) -> Array:
    array = Array(array_record(**changes))
    for number in range(1, disks + 1):
        array.add_vdisk(vdisk_record(number), FakeStore())
    return array


INITIATOR = "iqn.1991-05.com.microsoft:host.example.com"
OTHER = "iqn.1994-05.com.redhat:other"
ISID = 0x400001370000


def bridge(disks: int = 2, **changes: Any) -> Bridge:
    """The demo array behind a bridge with two portals."""
    made = Bridge(eva(disks, **changes))
    for number, port in ((1, 3260), (2, 3261)):
        made.set_portal(PortalRecord(number, "127.0.0.1", port, None, True))
    return made


def login(made: Bridge, initiator: str = INITIATOR, *, target: int = 0, isid: int = ISID) -> ITNexus:
    """A nexus whose initiator has seen everything there was to report."""
    nexus = made.attach(initiator, isid, list(made.targets)[target])
    return settled(nexus)


def settled(nexus: ITNexus) -> ITNexus:
    """The initiator has sent commands, and nothing is pending any more."""
    nexus.live = True
    for itl in nexus.by_number.values():
        while itl.attentions:
            itl.take_unit_attention()
    return nexus


def pending(nexus: ITNexus) -> dict[int, list[int]]:
    """The unit attention conditions of each LUN that has any, in the order of their reporting."""
    return {lun: list(itl.attentions) for lun, itl in nexus.by_number.items() if itl.attentions}


def found(nexus: ITNexus) -> dict[int, int | None]:
    """What the initiator finds: LUN, and the number of the disk (None: the console)."""
    return {lun: _number(itl.lu.identity.naa) for lun, itl in sorted(nexus.by_number.items())}


def _number(naa: bytes | None) -> int | None:
    return None if naa is None else int.from_bytes(naa[8:], "big") // (identity.COUNTER_STEP << 16)
