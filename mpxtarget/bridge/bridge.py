"""The bridge: portals on one side, the array's host ports on the other, and who may pass between them.

Rules kept here:
- Each host port of the array is presented as one iSCSI target, reachable through every portal. All portals
  are one portal group. So a target is one SCSI target port, in the target port group of its controller.
- The targets of a controller that is out of service are offline: nobody can log in there.
- An initiator finds the same LUNs behind every target: LUN 0, the console, and what `masking` shows it.
- An unknown initiator gets in and becomes known (`initiator_seen` tells whoever keeps the records); with
  the policy `masked` it then finds LUN 0 alone.
- A change takes effect at once. Exactly the nexuses whose map changed get REPORTED LUNS DATA HAS CHANGED,
  and a new capacity is told to every nexus of the disk. A change costs in proportion to the nexuses it
  touches, not to the disks or initiators there are.
- Names arrive normalised, from the wire and from the records alike, so `==` compares them (RFC 7143 4.2.7).
- Nothing here checks passwords or speaks iSCSI: `admit` answers what a login has to prove.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from mpxtarget.array import identity
from mpxtarget.array.array import Array, HostPort, Store
from mpxtarget.array.records import ArrayRecord, VdiskRecord
from mpxtarget.bridge.initiators import ChapCredentials, Initiators
from mpxtarget.bridge.masking import LunMask
from mpxtarget.bridge.portals import advertised
from mpxtarget.bridge.records import InitiatorRecord, PortalRecord, PresentationRecord
from mpxtarget.scsi.device import ScsiDevice
from mpxtarget.scsi.logical_unit import LogicalUnit
from mpxtarget.scsi.nexus import ITNexus, TargetPort

PORTAL_GROUP_TAG: Final = 1
CONSOLE_LUN: Final = 0


class AdmissionRefused(Exception):  # noqa: N818 - it says no, nothing went wrong
    """An initiator is not let in. The text says why, for the log."""


class NoSuchTarget(AdmissionRefused):
    """There is no target of that name."""


class NotAllowed(AdmissionRefused):
    """This initiator may not log in."""


class TargetOffline(AdmissionRefused):
    """The host port behind this target is not in service."""


@dataclass(frozen=True, slots=True)
class Target:
    """A host port as the bridge presents it."""

    name: str
    alias: str
    host_port: HostPort
    scsi_port: TargetPort


@dataclass(frozen=True, slots=True)
class AdmissionDecision:
    """What the bridge says about an initiator that wants in."""

    initiator: str
    target: Target | None
    """None: a discovery session that names no target."""
    portal_group_tag: int
    target_alias: str
    chap: ChapCredentials | None
    """What it has to prove; None: nothing."""

    @property
    def allow_none(self) -> bool:
        """Whether it may log in without authentication."""
        return self.chap is None


def _nobody(_name: str, _new: bool) -> None:
    """Nobody wants to know who logged in."""


class Bridge:
    """An mpx100 in front of an array."""

    def __init__(self, array: Array, initiator_seen: Callable[[str, bool], None] = _nobody) -> None:
        """A bridge without portals and initiators.

        The array's disks appear at their own LUNs if its policy is present-all. `initiator_seen` is called
        with the name of every initiator that logs in, and whether it is a new one.
        """
        self.array = array
        self.portals: dict[int, PortalRecord] = {}
        self.initiators = Initiators()
        self.targets = {target.name: target for target in map(self._present_port, array.ports)}
        self.device = ScsiDevice(
            array.device_name, [target.scsi_port for target in self.targets.values()], array.identity
        )
        self._initiator_seen = initiator_seen
        self._mask = LunMask(array.record.policy)
        self._offline: set[str] = set()
        self._nexuses: dict[str, dict[tuple[str, str], ITNexus]] = {}
        """Live I_T nexuses: initiator, then initiator port and target."""
        for vdisk in array.vdisks.values():
            self._mask.set_own_lun(vdisk.record.id, vdisk.record.lun)

    def __repr__(self) -> str:
        return f"<Bridge {self.array.record.bridge_serial}, {len(self.targets)} targets>"

    def _present_port(self, port: HostPort) -> Target:
        record = self.array.record
        name = record.name_template.format(
            serial=record.bridge_serial, nn=f"{port.relative_id:02d}", wwn=identity.plain(port.wwn)
        )
        scsi_port = TargetPort(name, PORTAL_GROUP_TAG, port.relative_id, port.group_id)
        return Target(name, f"{record.name} {port.label}", port, scsi_port)

    # Portals

    def set_portal(self, record: PortalRecord) -> None:
        """Add a portal, or change it. A portal whose port the system chose is told with that port."""
        self.portals[record.id] = record

    def remove_portal(self, portal_id: int) -> None:
        """KeyError: no such portal."""
        del self.portals[portal_id]

    # Logging in

    def admit(self, initiator: str, target: str | None) -> AdmissionDecision:
        """Who may log in, and what it has to prove. `target` None: a discovery session that names none.

        Raises NoSuchTarget, NotAllowed or TargetOffline. Changes nothing.
        """
        if initiator not in self.initiators and self.initiators.full:
            raise NotAllowed(
                f"{initiator} is unknown, and {len(self.initiators)} initiators are known already:"
                " remove those that are gone"
            )
        presented = None if target is None else self._target(target)
        record = self.array.record
        target_user = record.target_user or record.name
        return AdmissionDecision(
            initiator=initiator,
            target=presented,
            portal_group_tag=PORTAL_GROUP_TAG,
            target_alias=record.name if presented is None else presented.alias,
            chap=self.initiators.credentials(initiator, target_user, record.target_secret),
        )

    def send_targets(
        self, initiator: str, target: str | None, reached: tuple[str, int]
    ) -> list[tuple[str, list[str]]]:
        """What SendTargets answers: TargetName and TargetAddress values of all targets, or of the one named.

        `reached` is the address and port of ours that the initiator is connected to; they stand for a portal
        that listens on every address. Portals that cannot be got to from there are left out. An initiator
        that may not log in, and a target that is not there, give an empty answer.
        """
        try:
            self.admit(initiator, target)
        except AdmissionRefused:
            return []
        wanted = self.targets.values() if target is None else [self._target(target)]
        addresses = self._addresses(reached)
        return [(each.name, addresses) for each in wanted if not self._is_offline(each)]

    def _addresses(self, reached: tuple[str, int]) -> list[str]:
        told = (advertised(portal, reached) for portal in self.portals.values() if portal.enabled)
        return list(dict.fromkeys(f"{address},{PORTAL_GROUP_TAG}" for address in told if address is not None))

    def _target(self, name: str) -> Target:
        target = self._known_target(name)
        if self._is_offline(target):
            raise TargetOffline(f"{target.host_port.label} is not in service")
        return target

    def _is_offline(self, target: Target) -> bool:
        return target.name in self._offline or not self.array.ownership.works(target.host_port.controller)

    def _known_target(self, name: str) -> Target:
        target = self.targets.get(name)
        if target is None:
            raise NoSuchTarget(f"there is no target {name!a}")
        return target

    def set_online(self, target: str, online: bool) -> None:
        """Take a target out of service, or back; its sessions are the server's to end. NoSuchTarget."""
        self._known_target(target)
        if online:
            self._offline.discard(target)
        else:
            self._offline.add(target)

    def seen(self, initiator: str) -> None:
        """An initiator has logged in; `attach` says so by itself, a discovery session has to be told here."""
        self._initiator_seen(initiator, self.initiators.register(initiator))

    def attach(self, initiator: str, isid: int, target: str) -> ITNexus:
        """The I_T nexus of a session that has just logged in, with all that its initiator may see.

        Raises what `admit` raises, and ValueError if that nexus is there already: the server ends the old
        session first (RFC 7143 6.3.5).
        """
        presented = self._target(target)
        port_name = f"{initiator},i,0x{isid:012x}"  # RFC 7143 4.4.2
        if (port_name, presented.name) in self._nexuses.get(initiator, ()):
            raise ValueError(f"{port_name} has a nexus with {presented.name}")
        self.seen(initiator)
        nexus = ITNexus(port_name, initiator, presented.scsi_port, self.device)
        nexus.map(CONSOLE_LUN, self.array.console)
        for lun, vdisk_id in self._mask.view(initiator):
            nexus.map(lun, self.array.vdisks[vdisk_id].disk)
        self._nexuses.setdefault(initiator, {})[port_name, presented.name] = nexus
        return nexus

    def detach(self, nexus: ITNexus) -> None:
        """I_T nexus loss: the session is gone. KeyError: the nexus is not one of this bridge."""
        nexuses = self._nexuses[nexus.initiator]
        del nexuses[nexus.initiator_port, nexus.target_port.name]
        if not nexuses:
            del self._nexuses[nexus.initiator]
        nexus.lose()

    def nexuses(self, initiator: str | None = None) -> list[ITNexus]:
        """The live nexuses, of one initiator or of all."""
        if initiator is not None:
            return list(self._nexuses.get(initiator, {}).values())
        return [nexus for nexuses in self._nexuses.values() for nexus in nexuses.values()]

    # Changes

    def set_array(self, record: ArrayRecord) -> None:
        """Change the policy, what the disks offer, or what the array says in mutual CHAP. Target names stay
        till the next start.
        """
        self.array.update(record)
        if record.policy == self._mask.policy:
            return
        self._mask.policy = record.policy
        luns = {vdisk.record.lun for vdisk in self.array.vdisks.values() if vdisk.record.lun is not None}
        self._settle(self._nexuses, luns)

    def add_vdisk(self, record: VdiskRecord, store: Store) -> None:
        """Add a disk; under present-all it appears at its own LUN. ValueError: its LUN or number is taken."""
        self.array.add_vdisk(record, store)
        try:
            touched = self._mask.set_own_lun(record.id, record.lun)
        except ValueError:
            self.array.remove_vdisk(record.id)
            raise
        self._settle(self._seeing_own_luns(), touched)

    def update_vdisk(self, record: VdiskRecord) -> None:
        """Make a disk what its changed record says. KeyError: no such disk. ValueError: its LUN is taken."""
        old = self.array.vdisks[record.id].record
        touched = self._mask.set_own_lun(record.id, record.lun) if record.lun != old.lun else set()
        try:
            self.array.update_vdisk(record)
        except ValueError:
            self._mask.set_own_lun(record.id, old.lun)
            raise
        self._settle(self._seeing_own_luns(), touched)

    def resize_vdisk(self, vdisk_id: int, size: int) -> None:
        """Change the capacity, in bytes; its store has it already. KeyError: no such disk."""
        self.array.resize_vdisk(vdisk_id, size)

    def remove_vdisk(self, vdisk_id: int) -> None:
        """Take a disk away from everybody. KeyError: no such disk."""
        if vdisk_id not in self.array.vdisks:
            raise KeyError(vdisk_id)
        touched = self._mask.set_own_lun(vdisk_id, None)
        self._settle(self._seeing_own_luns(), touched)
        for initiator in self._mask.initiators_of(vdisk_id):
            self.unpresent(vdisk_id, initiator)
        self.array.remove_vdisk(vdisk_id)

    def present(self, record: PresentationRecord) -> None:
        """Present a disk to an initiator. KeyError: no such disk. ValueError: disk or LUN is taken."""
        if record.vdisk_id not in self.array.vdisks:
            raise KeyError(record.vdisk_id)
        touched = self._mask.present(record.vdisk_id, record.initiator, record.lun)
        self._settle([record.initiator], touched)

    def unpresent(self, vdisk_id: int, initiator: str) -> None:
        """Take a presentation back. KeyError: it is not presented."""
        self._settle([initiator], self._mask.unpresent(vdisk_id, initiator))

    def set_initiator(self, record: InitiatorRecord) -> None:
        """Add an initiator, or change its record; what it has to prove counts from its next login."""
        self.initiators.put(record)

    def remove_initiator(self, name: str) -> None:
        """Forget an initiator and its presentations. Its sessions see what a stranger sees. KeyError."""
        self.initiators.remove(name)
        for vdisk_id in self._mask.presented_to(name):
            self.unpresent(vdisk_id, name)

    def _seeing_own_luns(self) -> Iterable[str]:
        return self._nexuses if self._mask.policy == "present-all" else ()

    def _settle(self, initiators: Iterable[str], luns: Iterable[int]) -> None:
        """Bring the map of the nexuses of these initiators in line with the mask, at these LUNs."""
        ordered = sorted(luns)
        for initiator in initiators:
            nexuses = self._nexuses.get(initiator)
            if not nexuses:
                continue
            wanted = [(lun, self._disk_at(initiator, lun)) for lun in ordered]
            for nexus in nexuses.values():
                _remap(nexus, wanted)

    def _disk_at(self, initiator: str, lun: int) -> LogicalUnit | None:
        vdisk_id = self._mask.vdisk_at(initiator, lun)
        return None if vdisk_id is None else self.array.vdisks[vdisk_id].disk


def _remap(nexus: ITNexus, wanted: list[tuple[int, LogicalUnit | None]]) -> None:
    changes = []
    for lun, disk in wanted:
        mapped = nexus.by_number.get(lun)
        if (None if mapped is None else mapped.lu) is not disk:
            changes.append((lun, disk))
            if mapped is not None:
                nexus.unmap(lun)
    for lun, disk in changes:
        if disk is not None:
            nexus.map(lun, disk)
