"""An array to send commands to, and what a host reads in the answers.

Two controllers with two ports each, a console LU and disks.  Sense data is taken apart by hand here,
independent of the declarations under test.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mpxtarget.scsi import device_server
from mpxtarget.scsi.device import ScsiDevice
from mpxtarget.scsi.logical_unit import Console, Disk, Identity
from mpxtarget.scsi.nexus import ITLNexus, ITNexus, TargetPort
from mpxtarget.scsi.plan import Fence, Flush, Keep, Plan, Reply, TakeData

CONTROLLER_A, CONTROLLER_B = 1, 2

PORTS = [
    TargetPort(f"iqn.2004-09.com.hp:fcgw.mpx100.b1.50014380025d6f{wwn}", 1, relative_id, group_id)
    for relative_id, (wwn, group_id) in enumerate(
        [("68", CONTROLLER_A), ("69", CONTROLLER_A), ("6c", CONTROLLER_B), ("6d", CONTROLLER_B)], start=1
    )
]

NAA = bytes.fromhex("600508b40006d7da0001a00004740000")

POWER_ON, BUS_RESET, LU_RESET, NEXUS_LOSS = 0x2900, 0x2902, 0x2903, 0x2907
MODE_CHANGED, ACCESS_CHANGED, CAPACITY_CHANGED, LUNS_CHANGED = 0x2A01, 0x2A06, 0x2A09, 0x3F0E
COMMANDS_CLEARED = 0x2F00

GOOD, CHECK_CONDITION, RESERVATION_CONFLICT = 0x00, 0x02, 0x18

TEST_UNIT_READY = "00"
INQUIRY = "12 00 00 00 60"
REPORT_LUNS = "A0 00 00 00 00 00 00 00 10 00"
REQUEST_SENSE = "03 00 00 00 FC"
READ_8 = "28 00 00000000 00 0008"
WRITE_8 = "2A 00 00000000 00 0008"


def identity(naa: bytes | None = NAA, version: int = 5) -> Identity:
    """An HSV300."""
    return Identity("HP", "HSV300", "0953", "P65E2A8GAHZ0AB", naa, version)


def make_disk(**changes: object) -> Disk:
    """A 1 GiB disk managed by controller A."""
    arguments: dict[str, object] = {
        "block_size": 512,
        "blocks": 1 << 21,
        "store": object(),
        "managing_group": CONTROLLER_A,
    }
    arguments |= changes
    return Disk(arguments.pop("identity", identity()), **arguments)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Custody:
    """An array in which a move takes time, or none."""

    transition_time: int = 30

    def moved(self) -> bool:
        return self.transition_time > 0


@dataclass(frozen=True)
class Sense:
    """Sense data as a host reads it."""

    response_code: int
    key: int
    asc: int
    information: int | None
    pointer: tuple[str, int, int | None] | None

    @property
    def code(self) -> tuple[int, int]:
        """Sense key, and additional sense code with its qualifier."""
        return self.key, self.asc


def parse_sense(data: bytes) -> Sense:
    """Take fixed or descriptor format sense data apart."""
    response_code = data[0] & 0x7F
    information: int | None = None
    specific = b""
    if response_code in (0x70, 0x71):
        assert len(data) == 8 + data[7] >= 18
        key, asc = data[2] & 0x0F, int.from_bytes(data[12:14], "big")
        if data[0] & 0x80:
            information = int.from_bytes(data[3:7], "big")
        specific = data[15:18]
    else:
        assert response_code in (0x72, 0x73)
        key, asc = data[1] & 0x0F, int.from_bytes(data[2:4], "big")
        assert len(data) == 8 + data[7]
        at = 8
        while at < len(data):
            if data[at] == 0x00 and data[at + 2] & 0x80:
                information = int.from_bytes(data[at + 4 : at + 12], "big")
            elif data[at] == 0x02:
                specific = data[at + 4 : at + 7]
            at += 2 + data[at + 1]
    pointer = None
    if specific and specific[0] & 0x80:
        bit = specific[0] & 0x07 if specific[0] & 0x08 else None
        pointer = ("CDB" if specific[0] & 0x40 else "data", int.from_bytes(specific[1:], "big"), bit)
    return Sense(response_code, key, asc, information, pointer)


@dataclass
class Path:
    """An initiator port that is logged in to a target port."""

    nexus: ITNexus

    def itl(self, lun: int = 1) -> ITLNexus:
        """The I_T_L nexus behind a LUN."""
        return self.nexus.by_number[lun]

    def plan(self, cdb: str, lun: int = 1) -> Plan:
        """Send a CDB, written in hex and padded with zeros."""
        return device_server.plan(self.nexus, lun << 48, bytes.fromhex(cdb).ljust(16, b"\0"))

    def send(self, cdb: str, lun: int = 1, data: bytes = b"") -> Reply:
        """Send a command that reads and writes no blocks, giving it Data-Out if it asks for that."""
        plan = self.plan(cdb, lun)
        if isinstance(plan, TakeData):
            assert plan.length == len(data)
            plan = plan.then(data)
        if isinstance(plan, Fence):
            plan = plan.then
        if isinstance(plan, Keep):
            plan = plan.reply
        if isinstance(plan, Flush):
            plan = Reply(GOOD)
        assert isinstance(plan, Reply), plan
        assert bool(plan.sense) == (plan.status == CHECK_CONDITION)
        return plan

    def read(self, cdb: str, lun: int = 1) -> bytes:
        """Send a command that has to end with GOOD; its Data-In."""
        reply = self.send(cdb, lun)
        assert reply.status == GOOD, parse_sense(reply.sense)
        return reply.data

    def sense(self, cdb: str, lun: int = 1, data: bytes = b"") -> Sense:
        """Send a command that has to end with CHECK CONDITION; its sense data."""
        reply = self.send(cdb, lun, data)
        assert reply.status == CHECK_CONDITION, reply
        return parse_sense(reply.sense)

    def attentions(self, lun: int = 1) -> list[int]:
        """Send TEST UNIT READY until it no longer reports a unit attention; those it reported."""
        reported = []
        while (reply := self.send(TEST_UNIT_READY, lun)).status == CHECK_CONDITION:
            sense = parse_sense(reply.sense)
            assert sense.key == 6, sense
            reported.append(sense.asc)
        return reported


@dataclass
class Array:
    """Console LU and disks behind four ports."""

    disks: dict[int, Disk] = field(default_factory=lambda: {1: make_disk()})
    device: ScsiDevice = field(
        default_factory=lambda: ScsiDevice("iqn.2004-09.com.hp:eva.50014380025d6f60", PORTS, identity(None))
    )
    console: Console = field(default_factory=lambda: Console(identity(None)))

    @property
    def disk(self) -> Disk:
        """LUN 1."""
        return self.disks[1]

    def login(self, initiator: str = "iqn.1991-05.com.microsoft:host", port: int = 0, isid: int = 1) -> Path:
        """A new session: console and all disks mapped, unit attentions still pending."""
        target_port = self.device.ports[port]
        nexus = ITNexus(f"{initiator},i,0x{isid:012x}", initiator, target_port, self.device)
        nexus.map(0, self.console)
        for lun, disk in self.disks.items():
            nexus.map(lun, disk)
        return Path(nexus)

    def path(self, initiator: str = "iqn.1991-05.com.microsoft:host", port: int = 0, isid: int = 1) -> Path:
        """A session that has heard all there is to hear."""
        path = self.login(initiator, port, isid)
        for lun in path.nexus.by_number:
            path.attentions(lun)
        return path
