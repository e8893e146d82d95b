"""The SCSI target device: its name, its ports, its clock, and which I_T nexuses it has lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from mpxtarget.scsi.copy.tokens import RodTokens
from mpxtarget.scsi.logical_unit import Absent, Identity

if TYPE_CHECKING:
    from mpxtarget.scsi.nexus import TargetPort

_REMEMBERED_LOSSES = 4096


def _stopped_clock() -> float:
    return 0.0


def _no_entropy(count: int) -> bytes:
    return b""


class ScsiDevice:
    """A SCSI target device: its name, its target ports, and what an unmapped LUN says about itself.

    `name` is a SCSI name string (an iSCSI name, or `naa.` or `eui.` and hex digits), the same on every port.
    Raises ValueError for two ports with one relative identifier.
    """

    def __init__(self, name: str, ports: Sequence[TargetPort], identity: Identity) -> None:
        if len({port.relative_id for port in ports}) != len(ports):
            raise ValueError("relative target port identifiers have to be different")
        self.name = name
        self.ports = tuple(sorted(ports, key=lambda port: port.relative_id))
        self.clock: Callable[[], float] = _stopped_clock
        self.entropy: Callable[[int], bytes] = _no_entropy
        """Random bytes for secrets. A device without makes none."""
        self.tokens = RodTokens(self)
        self._on_since = 0.0
        self._lost: dict[tuple[str, int], None] = {}
        self._absent_lun_0 = Absent(identity, qualifier=0b001)
        self._absent = Absent(identity, qualifier=0b011)

    def set_clock(self, clock: Callable[[], float]) -> None:
        """Power on: `clock` tells the time from now on, in seconds since 1970."""
        self.clock = clock
        self._on_since = clock()

    @property
    def hours_on(self) -> int:
        """Whole hours since power on."""
        return max(0, int(self.clock() - self._on_since) // 3600)

    @property
    def groups(self) -> dict[int, list[TargetPort]]:
        """Target port groups, ascending, each with its ports by relative identifier."""
        groups: dict[int, list[TargetPort]] = {}
        for port in sorted(self.ports, key=lambda port: port.group_id):
            groups.setdefault(port.group_id, []).append(port)
        return groups

    def absent(self, lun_field: int) -> Absent:
        """The stand-in for a LUN that is not mapped.  LUN 0 says that something could be there (SAM-5
        4.7.4).
        """
        return self._absent if lun_field else self._absent_lun_0

    def remember_loss(self, initiator_port: str, target_port: TargetPort) -> None:
        """An I_T nexus was lost: if it comes back it learns so.  The oldest of very many are forgotten."""
        key = (initiator_port, target_port.relative_id)
        self._lost.pop(key, None)
        self._lost[key] = None
        if len(self._lost) > _REMEMBERED_LOSSES:
            del self._lost[next(iter(self._lost))]

    def forget_loss(self, initiator_port: str, target_port: TargetPort) -> None:
        """An I_T nexus is as if it had never been."""
        self._lost.pop((initiator_port, target_port.relative_id), None)

    def recall_loss(self, initiator_port: str, target_port: TargetPort) -> bool:
        """Whether this I_T nexus existed before and was lost."""
        return (initiator_port, target_port.relative_id) in self._lost
