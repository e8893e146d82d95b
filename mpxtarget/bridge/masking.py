"""LUN masking: which virtual disk an initiator finds at which LUN.

Rules kept here:
- What an initiator finds at one LUN is a function of the presentations, the policy and the disks' own LUNs,
  asked one LUN at a time; so a change is settled by asking again about the two or three LUNs it touches,
  however many disks and initiators there are.
- A presentation shows one disk to one initiator at one LUN.
- Under the policy present-all a disk without a presentation to the initiator is at its own LUN. A
  presentation comes first: it moves its disk away from the disk's own LUN, and hides what would be at the
  LUN it takes.
- LUN 0 is not masked and not known here.
"""

from collections.abc import Iterator

from mpxtarget.array.records import Policy


class LunMask:
    """The mask of one bridge. Disks are known by their numbers; initiator names are normalised."""

    __slots__ = ("_by_initiator", "_lun_of", "_own_lun", "_vdisk_at_own", "policy")

    def __init__(self, policy: Policy) -> None:
        self.policy: Policy = policy
        self._vdisk_at_own: dict[int, int] = {}
        self._own_lun: dict[int, int] = {}
        self._by_initiator: dict[str, dict[int, int]] = {}
        """Presentations: initiator, LUN, disk."""
        self._lun_of: dict[int, dict[str, int]] = {}
        """The same the other way round: disk, initiator, LUN."""

    def vdisk_at(self, initiator: str, lun: int) -> int | None:
        """The disk that the initiator finds at this LUN."""
        presented = self._by_initiator.get(initiator)
        if presented is not None and lun in presented:
            return presented[lun]
        if self.policy == "masked":
            return None
        vdisk_id = self._vdisk_at_own.get(lun)
        if vdisk_id is None or initiator in self._lun_of.get(vdisk_id, ()):
            return None
        return vdisk_id

    def view(self, initiator: str) -> Iterator[tuple[int, int]]:
        """All that the initiator finds: LUN and disk, by LUN."""
        luns = set(self._by_initiator.get(initiator, ()))
        if self.policy == "present-all":
            luns.update(self._vdisk_at_own)
        for lun in sorted(luns):
            vdisk_id = self.vdisk_at(initiator, lun)
            if vdisk_id is not None:
                yield lun, vdisk_id

    def set_own_lun(self, vdisk_id: int, lun: int | None) -> set[int]:
        """Give a disk a LUN of its own, or none. Answers the LUNs at which any initiator may now find
        another disk.

        Raises ValueError if another disk has it.
        """
        if lun is not None and self._vdisk_at_own.get(lun, vdisk_id) != vdisk_id:
            raise ValueError(f"LUN {lun} belongs to another vdisk")
        old = self._own_lun.pop(vdisk_id, None)
        if old is not None:
            del self._vdisk_at_own[old]
        if lun is not None:
            self._own_lun[vdisk_id] = lun
            self._vdisk_at_own[lun] = vdisk_id
        return {changed for changed in (old, lun) if changed is not None}

    def present(self, vdisk_id: int, initiator: str, lun: int) -> set[int]:
        """Present a disk. Answers the LUNs at which this initiator may now find another disk.

        Raises ValueError if the disk is presented to the initiator, or another one is at that LUN.
        """
        if initiator in self._lun_of.get(vdisk_id, ()):
            raise ValueError(f"vdisk {vdisk_id} is presented to {initiator} already")
        if lun in self._by_initiator.get(initiator, ()):
            raise ValueError(f"{initiator} has another vdisk presented at LUN {lun}")
        self._by_initiator.setdefault(initiator, {})[lun] = vdisk_id
        self._lun_of.setdefault(vdisk_id, {})[initiator] = lun
        return self._touched(vdisk_id, lun)

    def unpresent(self, vdisk_id: int, initiator: str) -> set[int]:
        """Take a presentation back; answers as `present` does. KeyError: it is not presented."""
        lun = self._lun_of[vdisk_id].pop(initiator)
        if not self._lun_of[vdisk_id]:
            del self._lun_of[vdisk_id]
        presented = self._by_initiator[initiator]
        del presented[lun]
        if not presented:
            del self._by_initiator[initiator]
        return self._touched(vdisk_id, lun)

    def initiators_of(self, vdisk_id: int) -> list[str]:
        """The initiators to whom a disk is presented."""
        return list(self._lun_of.get(vdisk_id, ()))

    def presented_to(self, initiator: str) -> list[int]:
        """The disks presented to an initiator."""
        return list(self._by_initiator.get(initiator, {}).values())

    def _touched(self, vdisk_id: int, lun: int) -> set[int]:
        own = self._own_lun.get(vdisk_id)
        return {lun} if own is None else {lun, own}
