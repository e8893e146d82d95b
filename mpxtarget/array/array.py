"""The array: two controllers, their host ports, virtual disks, and the console LU.

Rules kept here:
- Both controllers serve every virtual disk; each controller's host ports are one target port group. Who
  manages which disk, and what follows from it, is `ownership`'s business.
- LUN 0 is the console LU: one for the whole array, with the identity of the disks and no asymmetric access.
- Every virtual disk says the same about itself on every path: product and revision of the model, the
  controller's serial number (one for all disks, as on an EVA, unless the array is set to give each its own)
  and a World Wide LUN Name of its own.
- A strict array offers what its model offered (`models`), any other all that this target can.
- Which LUN a disk has, and for whom, is not known here: that is the bridge's business.
"""

from dataclasses import dataclass, replace
from typing import Protocol

from mpxtarget.array import identity
from mpxtarget.array.models import MODELS, VENDOR, Model
from mpxtarget.array.ownership import GROUP_IDS, Ownership, preferred_controller
from mpxtarget.array.records import ArrayRecord, ControllerName, VdiskRecord
from mpxtarget.scsi.logical_unit import Console, Disk, Identity
from mpxtarget.scsi.personality import Personality


class Store(Protocol):
    """What the array looks at in an open backing store; the rest of it is the data path's."""

    @property
    def size(self) -> int: ...
    @property
    def read_only(self) -> bool: ...
    @property
    def durable(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class HostPort:
    """A host port of a controller: FP1, FP2, ..."""

    controller: ControllerName
    number: int
    """From 1, as on the back of the controller."""
    wwn: int
    relative_id: int
    """Relative target port identifier: 1, 2, ... over the whole array."""
    group_id: int
    """Target port group: that of its controller."""

    @property
    def label(self) -> str:
        """What the EVA's tools call the path: `Ctl-A/FP-1`."""
        return f"Ctl-{self.controller}/FP-{self.number}"


@dataclass(frozen=True, slots=True)
class Controller:
    """One of the two controllers."""

    name: ControllerName
    group_id: int
    ports: tuple[HostPort, ...]


class Vdisk:
    """A virtual disk: what is configured about it, the logical unit that answers for it, and its store."""

    __slots__ = ("disk", "record", "store")

    def __init__(self, record: VdiskRecord, disk: Disk, store: Store) -> None:
        self.record = record
        self.disk = disk
        self.store = store

    def __repr__(self) -> str:
        return f"<Vdisk {self.record.name}>"

    def take_over(self, controller: ControllerName) -> None:
        """Another controller manages the disk."""
        self.record = replace(self.record, controller=controller)


class Array:
    """An EVA."""

    def __init__(self, record: ArrayRecord, failed: ControllerName | None = None) -> None:
        """An array without virtual disks. Raises ValueError for a model that is not in `models`.

        `failed` is the controller that is out of service from the start.
        """
        model = MODELS.get(record.model)
        if model is None:
            raise ValueError(f"{record.model!r} is not a model")
        self.record = record
        self.model: Model = model
        self._controller_serial = record.controller_serial
        self.controllers = {name: _controller(record.node_wwn, model, name) for name in GROUP_IDS}
        self.ports = [port for controller in self.controllers.values() for port in controller.ports]
        self.console = Console(self._identity(None), self._personality)
        self.vdisks: dict[int, Vdisk] = {}
        self.ownership = Ownership(record, failed)

    def __repr__(self) -> str:
        return f"<Array {self.record.name} {self.record.model} {identity.dashed(self.record.node_wwn)}>"

    @property
    def device_name(self) -> str:
        """The SCSI device name, the same on every port: the node WWN as an NAA name."""
        return f"naa.{identity.plain(self.record.node_wwn)}"

    @property
    def _personality(self) -> Personality:
        return self.model.personality(self.record.strict)

    @property
    def identity(self) -> Identity:
        """What INQUIRY says of the console LU, and of a LUN where there is nothing."""
        return self.console.identity

    def update(self, record: ArrayRecord) -> None:
        """Take a changed record: what disks and console offer, and whose serial number disks tell, changes
        at once, with the unit attentions that are due. The rest of what INQUIRY tells, names and numbers
        stay till the next start.
        """
        self.record = record
        self.ownership.configure(record)
        self.console.become(self.console.identity, self._personality)
        for vdisk in self.vdisks.values():
            serial = self._serial(vdisk.record.wwlun)
            vdisk.disk.become(replace(vdisk.disk.identity, serial=serial), self._personality)

    def add_vdisk(self, record: VdiskRecord, store: Store) -> Vdisk:
        """Take a virtual disk in. Raises ValueError if it is there, or its store is smaller than it."""
        if record.id in self.vdisks:
            raise ValueError(f"vdisk {record.id} is in the array already")
        if store.size < record.size:
            raise ValueError(f"the store of {record.name} has {store.size} bytes, the disk {record.size}")
        disk = Disk(
            self._identity(record.wwlun),
            block_size=record.block_size,
            blocks=record.size // record.block_size,
            store=store,
            managing_group=GROUP_IDS[record.controller],
            preferred_group=_preferred_group(record),
            read_only=record.read_only or store.read_only,
            durable=store.durable,
            personality=self._personality,
        )
        vdisk = self.vdisks[record.id] = Vdisk(record, disk, store)
        self.ownership.admit(vdisk)
        return vdisk

    def update_vdisk(self, record: VdiskRecord) -> Vdisk:
        """Make a disk what its changed record says, with the unit attentions that are due. KeyError: no
        such disk.

        Its store has the new size already. A store that was opened for reading only keeps the disk read-only.
        Which controller manages it is not configuration: `ownership` moves disks.
        """
        vdisk = self.vdisks[record.id]
        old, disk = vdisk.record, vdisk.disk
        if (record.wwlun, record.block_size) != (old.wwlun, old.block_size):
            raise ValueError(f"the World Wide LUN Name and the block size of {old.name} cannot change")
        vdisk.record = replace(record, controller=old.controller)
        if record.size != old.size:
            disk.resize(record.size // record.block_size)
        disk.set_read_only(record.read_only or vdisk.store.read_only)
        if record.preferred != old.preferred:
            disk.prefer(_preferred_group(record))
        return vdisk

    def resize_vdisk(self, vdisk_id: int, size: int) -> Vdisk:
        """Change the capacity, in bytes. KeyError: no such disk."""
        return self.update_vdisk(replace(self.vdisks[vdisk_id].record, size=size))

    def remove_vdisk(self, vdisk_id: int) -> Vdisk:
        """Take a disk out of the array; nobody may be attached to it any more. KeyError: no such disk."""
        self.ownership.dismiss(vdisk_id)
        return self.vdisks.pop(vdisk_id)

    def _identity(self, wwlun: bytes | None) -> Identity:
        return Identity(VENDOR, self.model.product, self.model.revision, self._serial(wwlun), wwlun)

    def _serial(self, wwlun: bytes | None) -> str:
        if wwlun is None or self.record.serial_numbers == "controller":
            return self._controller_serial
        return wwlun.hex().upper()


def _controller(node_wwn: int, model: Model, name: ControllerName) -> Controller:
    group_id = GROUP_IDS[name]
    before = (group_id - 1) * model.host_ports
    ports = tuple(
        HostPort(name, number, identity.host_port_wwn(node_wwn, name, number), before + number, group_id)
        for number in range(1, model.host_ports + 1)
    )
    return Controller(name, group_id, ports)


def _preferred_group(record: VdiskRecord) -> int | None:
    controller = preferred_controller(record.preferred)
    return None if controller is None else GROUP_IDS[controller]
