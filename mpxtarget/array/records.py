"""What is configured about an array and its virtual disks: plain records, kept on disk by the server's state.

A record is a fact that outlasts a restart. It does nothing; `array.array` turns records into an array that
answers commands. Sizes are bytes. Secrets are bytes and never part of a repr.
"""

from dataclasses import dataclass, field
from typing import Literal

Policy = Literal["present-all", "masked"]
"""`present-all`: every initiator sees every virtual disk at the disk's own LUN. `masked`: an initiator sees
only what is presented to it, and an unknown one sees LUN 0 alone, as on the hardware."""

ControllerName = Literal["A", "B"]

Preferred = Literal["none", "A", "B", "A-failback", "B-failback"]
"""The preferred path settings of an EVA: No Preference; Path A (B) - Failover Only; Path A (B) -
Failover/Failback."""


SerialNumbers = Literal["controller", "disk"]
"""What VPD page 80h of a disk holds: the controller's serial number, which is that of every disk, as on an
EVA; or one of the disk's own, for hosts that tell disks apart by it."""


VdiskKind = Literal["disk", "snapshot", "clone"]
"""A snapshot depends on its parent for good; a clone (HP: snapclone) is a disk when all is copied."""


@dataclass(frozen=True, slots=True)
class ArrayRecord:
    """The array and its bridge."""

    name: str
    model: str
    """Key of `array.models.MODELS`: "HSV300"."""
    node_wwn: int
    controller_serial: str
    bridge_serial: str
    name_template: str
    policy: Policy
    target_user: str = ""
    target_secret: bytes = field(default=b"", repr=False)
    """What the array answers with in mutual CHAP when the initiator's own record names nothing else."""
    wwlun_base: bytes = bytes(16)
    """The World Wide LUN Name with an object counter of 0; see `array.identity`."""
    strict: bool = False
    """Whether the disks offer what the model offered (see `array.models`), or all that this target can."""
    serial_numbers: SerialNumbers = "controller"
    transition_time: int = 0
    """Seconds that a disk is in transition when it moves to the other controller."""
    implicit_transition: str = "3600:60:10000"
    """When reads move a disk to the other controller, see `array.ownership.ImplicitTransition`; or "off"."""


@dataclass(frozen=True, slots=True)
class VdiskRecord:
    """A virtual disk."""

    id: int
    name: str
    lun: int | None
    """The LUN of its own (1..255), at which the policy present-all shows it, or None."""
    wwlun: bytes
    """The World Wide LUN Name: an NAA-6 designator of 16 bytes, the same on every path."""
    size: int
    block_size: int
    store_url: str
    """Where the blocks live. A relative `file:` counts from the state folder, which can so be moved."""
    read_only: bool
    preferred: Preferred
    controller: ControllerName
    """The controller that manages the disk now."""
    kind: VdiskKind = "disk"
    parent: int | None = None
    """The number of the disk that a snapshot, or a clone that is not complete, depends on."""
