"""The nexuses: which initiator port reaches which target port (I_T), and which logical units behind it
(I_T_L).

What belongs to an initiator port on one path lives here: its LUN inventory, its pending unit attentions, its
statistics.  What belongs to the logical unit lives in `logical_unit` and is shared by all paths and
controllers.

`ITLNexus` also carries the answer to the question the data path asks for every command: may a READ or WRITE
run now with nothing checked but its CDB?  `go_read` and `go_write` are recomputed by `refresh`, and *every*
change of state that could change that answer calls it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mpxtarget.scsi import lun as lun_format
from mpxtarget.scsi.codes import Asc
from mpxtarget.scsi.reservations import NexusName
from mpxtarget.scsi.unit_attention import UnitAttentions

if TYPE_CHECKING:
    from mpxtarget.scsi.device import ScsiDevice
    from mpxtarget.scsi.logical_unit import LogicalUnit


@dataclass(frozen=True, slots=True)
class TargetPort:
    """A SCSI target port: an iSCSI target name and its portal group tag (RFC 7143 4.4.2).

    `relative_id` and `group_id` (target port group) are the numbers that VPD page 83h and REPORT TARGET PORT
    GROUPS agree on.
    """

    name: str
    portal_group_tag: int
    relative_id: int
    group_id: int


class ITNexus:
    """One initiator port on one target port, from login to nexus loss.

    `initiator_port` is the SCSI initiator port name, `<iSCSI name>,i,0x<ISID>`; `initiator` the iSCSI name
    alone; `name` what registrations know the nexus by. `luns` finds the I_T_L nexus by the eight-byte LUN
    field of a command, in every form that addresses it.
    """

    __slots__ = (
        "_first_attention",
        "by_number",
        "device",
        "initiator",
        "initiator_port",
        "live",
        "luns",
        "name",
        "power_on_follows",
        "target_port",
    )

    def __init__(
        self, initiator_port: str, initiator: str, target_port: TargetPort, device: ScsiDevice
    ) -> None:
        self.initiator_port = initiator_port
        self.initiator = initiator
        self.target_port = target_port
        self.name = NexusName(initiator_port, target_port.relative_id)
        self.device = device
        self.luns: dict[int, ITLNexus] = {}
        self.by_number: dict[int, ITLNexus] = {}
        self.live = False
        """Whether the initiator has sent a command yet: before that it cannot have seen a LUN inventory."""
        self.power_on_follows = False
        """Whether the end of this nexus is not a loss, but the target's reset as at power on."""
        self._first_attention = (
            Asc.I_T_NEXUS_LOSS_OCCURRED
            if device.recall_loss(initiator_port, target_port)
            else Asc.POWER_ON_RESET_OR_BUS_DEVICE_RESET_OCCURRED
        )

    def __repr__(self) -> str:
        return f"ITNexus({self.initiator_port} -> {self.target_port.name})"

    def map(self, lun: int, lu: LogicalUnit) -> ITLNexus:
        """Let the initiator reach `lu` as `lun`.  Raises ValueError if that LUN is taken or out of range.

        Once the nexus is live the other LUs report REPORTED LUNS DATA HAS CHANGED.
        """
        if lun in self.by_number:
            raise ValueError(f"LUN {lun} is already mapped for {self.initiator_port}")
        fields = lun_format.accepted_fields(lun)
        if self.live:
            self._inventory_changed()
            first_attention: int = Asc.POWER_ON_RESET_OR_BUS_DEVICE_RESET_OCCURRED
        else:
            first_attention = self._first_attention
        itl = ITLNexus(self, lun, lu, first_attention)
        self.by_number[lun] = itl
        for field in fields:
            self.luns[field] = itl
        return itl

    def unmap(self, lun: int) -> None:
        """Take `lun` away again; commands to it now end with LOGICAL UNIT NOT SUPPORTED.  KeyError if not
        mapped.
        """
        itl = self.by_number.pop(lun)
        for field in lun_format.accepted_fields(lun):
            del self.luns[field]
        itl.detach()
        if self.live:
            self._inventory_changed()

    def lose(self) -> None:
        """I_T nexus loss: leave every LU.  The nexus is of no further use (SAM-5 6.3.4)."""
        for itl in self.by_number.values():
            itl.detach()
        self.by_number.clear()
        self.luns.clear()
        if self.power_on_follows:
            self.device.forget_loss(self.initiator_port, self.target_port)
        else:
            self.device.remember_loss(self.initiator_port, self.target_port)

    def luns_reported(self) -> None:
        """The initiator has read the LUN inventory: nothing is left to say about its change (SPC-4 6.33)."""
        for itl in self.by_number.values():
            itl.clear_unit_attention(Asc.REPORTED_LUNS_DATA_HAS_CHANGED)

    def _inventory_changed(self) -> None:
        for itl in self.by_number.values():
            itl.raise_unit_attention(Asc.REPORTED_LUNS_DATA_HAS_CHANGED)


class ITLNexus:
    """One initiator port's view of one logical unit through one target port.

    For the data path: while `go_read` is true, READ(10/12/16) of blocks inside `blocks`, at most MAXIMUM
    TRANSFER LENGTH, needs no check at all if CDB byte 1 is 0 and CONTROL has no NACA; `go_write` likewise for
    WRITE.  Both hold for the 16-byte CDBs only with `go_sixteen`.  `store` is the disk's backing store,
    `shift` log2 of its block size. The four counters are the data path's to count.

    `may_read` and `may_write` are what these two are while nothing works on the disk: such work begins and
    ends so often that it only closes and reopens what was described before.
    """

    __slots__ = (
        "attentions",
        "blocks",
        "detached",
        "go_read",
        "go_sixteen",
        "go_write",
        "lu",
        "lun",
        "may_read",
        "may_write",
        "nexus",
        "read_bytes",
        "reads",
        "shift",
        "store",
        "writes",
        "written_bytes",
    )

    def __init__(self, nexus: ITNexus, lun: int, lu: LogicalUnit, first_attention: int) -> None:
        self.nexus = nexus
        self.lun = lun
        self.lu = lu
        self.attentions = UnitAttentions(first_attention)
        self.detached = False
        self.may_read = self.may_write = False
        self.go_read = self.go_write = False
        self.go_sixteen = False
        self.blocks = 0
        self.shift = 0
        self.store: object = None
        self.reads = 0
        self.writes = 0
        self.read_bytes = 0
        self.written_bytes = 0
        lu.attached.append(self)
        self.refresh()

    def __repr__(self) -> str:
        return f"ITLNexus({self.nexus.initiator_port} -> {self.nexus.target_port.name} LUN {self.lun})"

    def refresh(self) -> None:
        """Recompute what the data path reads.  Cheap, and safe to call once too often."""
        if not self.detached:
            self.lu.describe_to(self)

    def close(self) -> None:
        """Close the short cut until `reopen`."""
        self.go_read = self.go_write = False

    def reopen(self) -> None:
        """Let the short cut be as wide as what was described last."""
        self.go_read, self.go_write = self.may_read, self.may_write

    def raise_unit_attention(self, asc: int) -> None:
        """Establish a unit attention condition, `ASC << 8 | ASCQ`."""
        self.attentions.establish(asc)
        self.refresh()

    def take_unit_attention(self) -> int:
        """Remove and return the unit attention condition to report.  IndexError if none is pending."""
        asc = self.attentions.take()
        self.refresh()
        return asc

    def clear_unit_attention(self, asc: int) -> None:
        """Forget one unit attention condition, if it is pending."""
        self.attentions.clear(asc)
        self.refresh()

    def detach(self) -> None:
        """Leave the logical unit for good."""
        self.detached = True
        self.lu.leave(self)
        self.close()
