"""The persistent reservations of one logical unit: who is registered, who holds it, what that forbids.

The rules are SPC-4 5.13, and nothing else is in here: no disk, no session, no parameter list.

- A registration belongs to the name of an I_T nexus, and so outlasts its sessions and every reset. It ends
  when it is taken away: by its owner, by PREEMPT, by CLEAR; or with the power, unless APTPL is on.
- There is one reservation at most. One nexus holds it; under the All Registrants types every registered one.
- A reservation whose holder is registered no more is no more.
- A service action is done whole or not at all. It answers with what has changed for other nexuses: who is
  due which unit attention, and who lost its registration. The nexus that asked for it is never among them.
- Every service action but REGISTER of a nexus that is not registered, and REGISTER AND IGNORE EXISTING KEY,
  needs the key the nexus is registered with, or ends with `ReservationConflict`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Final, NamedTuple

from mpxtarget.scsi.codes import Asc
from mpxtarget.scsi.sense import illegal_request, invalid_field_in_cdb, invalid_field_in_parameter_list

MAXIMUM_REGISTRATIONS: Final = 1024
"""How many I_T nexuses can be registered with one logical unit."""


class Type(IntEnum):
    """TYPE of a persistent reservation (SPC-4 6.15.3.4)."""

    WRITE_EXCLUSIVE = 0x1
    EXCLUSIVE_ACCESS = 0x3
    WRITE_EXCLUSIVE_REGISTRANTS_ONLY = 0x5
    EXCLUSIVE_ACCESS_REGISTRANTS_ONLY = 0x6
    WRITE_EXCLUSIVE_ALL_REGISTRANTS = 0x7
    EXCLUSIVE_ACCESS_ALL_REGISTRANTS = 0x8

    @property
    def is_for_registrants(self) -> bool:
        """Registrants Only or All Registrants."""
        return self >= Type.WRITE_EXCLUSIVE_REGISTRANTS_ONLY

    @property
    def is_held_by_all(self) -> bool:
        """All Registrants: every registered nexus holds the reservation (SPC-4 5.13.10)."""
        return self >= Type.WRITE_EXCLUSIVE_ALL_REGISTRANTS

    @property
    def is_exclusive_access(self) -> bool:
        """Reading is restricted too."""
        return self in (
            Type.EXCLUSIVE_ACCESS,
            Type.EXCLUSIVE_ACCESS_REGISTRANTS_ONLY,
            Type.EXCLUSIVE_ACCESS_ALL_REGISTRANTS,
        )

    @property
    def words(self) -> str:
        """What the standard calls it."""
        words = "Exclusive Access" if self.is_exclusive_access else "Write Exclusive"
        if self.is_held_by_all:
            return f"{words} - All Registrants"
        return f"{words} - Registrants Only" if self.is_for_registrants else words


def type_of(scope_and_type: int) -> Type:
    """The SCOPE and TYPE fields, CDB byte 2. The scope is the logical unit, there is no other (SPC-4
    6.15.3.3).
    """
    if scope_and_type >> 4:
        raise invalid_field_in_cdb(2, 7)
    try:
        return Type(scope_and_type)
    except ValueError:
        raise invalid_field_in_cdb(2, 3) from None


class Column(IntEnum):
    """A kind of reservation that is not this nexus's own: a place in the values of `Reserved`."""

    WRITE_EXCLUSIVE = 0
    EXCLUSIVE_ACCESS = 1
    REGISTERED = 2
    WRITE_EXCLUSIVE_NOT_REGISTERED = 3
    EXCLUSIVE_ACCESS_NOT_REGISTERED = 4
    RESERVE = 5


class Reserved(Enum):
    """What a command does while the logical unit is reserved and the reservation is not this I_T nexus's.

    One letter for each `Column`: A is allowed, C is RESERVATION CONFLICT.  In order: persistent, of type
    Write Exclusive and Exclusive Access; of a registrants type while this nexus is registered, and while it
    is not, Write Exclusive and Exclusive Access again (SPC-4 5.13.1, table 65); last, by RESERVE(6) or
    RESERVE(10) (SPC-2 5.5.1).
    """

    ALLOWED = "AAAAAA"
    TESTS = "AAAAAC"
    READS = "ACAACC"
    WRITES = "CCACCC"

    def conflicts(self, column: Column | None) -> bool:
        """Whether the command conflicts with a reservation; None: there is none, or it is this nexus's."""
        return column is not None and self.value[column] == "C"


class NexusName(NamedTuple):
    """What an I_T nexus is called before, between and after its sessions: SCSI initiator port name, and
    relative target port identifier.
    """

    initiator_port: str
    relative_port: int


class ReservationConflict(Exception):  # noqa: N818 - the word of SAM-5, and not an error of ours
    """The command ends with RESERVATION CONFLICT status."""


@dataclass(frozen=True, slots=True)
class Reservation:
    """A persistent reservation. `holder` is None for the All Registrants types."""

    type: Type
    holder: NexusName | None


@dataclass(frozen=True, slots=True)
class Registration:
    """A registered I_T nexus and its key."""

    nexus: NexusName
    key: int


@dataclass(frozen=True, slots=True)
class KeptReservations:
    """What outlasts a loss of power while APTPL is on."""

    registrations: tuple[Registration, ...]
    reservation: Reservation | None


@dataclass(frozen=True, slots=True)
class Change:
    """What a service action has done to others: unit attentions they are due, registrations they lost."""

    attentions: tuple[tuple[NexusName, int], ...] = ()
    lost: tuple[NexusName, ...] = ()


_NOTHING = Change()


class Reservations:
    """The registrations and the reservation of a logical unit.

    Attributes are to be read freely, and changed only through the methods.
    """

    def __init__(self) -> None:
        self._keys: dict[NexusName, int] = {}
        self.reservation: Reservation | None = None
        self.generation = 0
        """PRGENERATION (SPC-4 6.15.2): 0 at power on, whatever APTPL says."""
        self.aptpl = False
        """Whether registrations and reservation outlast a loss of power: the last APTPL bit received."""

    # What is asked

    @property
    def registrations(self) -> tuple[Registration, ...]:
        """All registrations, in the order in which they were made."""
        return tuple(Registration(nexus, key) for nexus, key in self._keys.items())

    def __bool__(self) -> bool:
        """Whether anybody is registered."""
        return bool(self._keys)

    def key_of(self, nexus: NexusName) -> int | None:
        """The key a nexus is registered with."""
        return self._keys.get(nexus)

    @property
    def holder_key(self) -> int:
        """The key of the nexus that holds the reservation; 0 if all registrants do, or nobody."""
        if self.reservation is None or self.reservation.holder is None:
            return 0
        return self._keys[self.reservation.holder]

    def holds(self, nexus: NexusName) -> bool:
        """Whether the nexus is a persistent reservation holder (SPC-4 5.13.10)."""
        reservation = self.reservation
        if reservation is None:
            return False
        return nexus in self._keys if reservation.holder is None else nexus == reservation.holder

    def column(self, nexus: NexusName) -> Column | None:
        """Under which column of the command table the commands of a nexus fall (SPC-4 5.13.1, table 65)."""
        reservation = self.reservation
        if reservation is None or self.holds(nexus):
            return None
        if reservation.type.is_for_registrants:
            if nexus in self._keys:
                return Column.REGISTERED
            if reservation.type.is_exclusive_access:
                return Column.EXCLUSIVE_ACCESS_NOT_REGISTERED
            return Column.WRITE_EXCLUSIVE_NOT_REGISTERED
        return Column.EXCLUSIVE_ACCESS if reservation.type.is_exclusive_access else Column.WRITE_EXCLUSIVE

    # What outlasts a loss of power

    @property
    def kept(self) -> KeptReservations | None:
        """What has to be written down; None while APTPL is off."""
        return KeptReservations(self.registrations, self.reservation) if self.aptpl else None

    def restore(self, kept: KeptReservations | None) -> None:
        """Be as it was before power was lost. Raises ValueError for what can never have been kept."""
        if kept is None:
            return
        keys = {each.nexus: each.key for each in kept.registrations}
        if len(keys) != len(kept.registrations) or len(keys) > MAXIMUM_REGISTRATIONS:
            raise ValueError("there are registrations twice, or too many of them")
        if not all(0 < key < 1 << 64 and 0 < nexus.relative_port < 1 << 16 for nexus, key in keys.items()):
            raise ValueError("a registration has a key or a port that is out of range")
        reservation = kept.reservation
        if reservation is not None:
            if reservation.type.is_held_by_all is not (reservation.holder is None):
                raise ValueError("the holder of a reservation does not go with its type")
            if not keys or (reservation.holder is not None and reservation.holder not in keys):
                raise ValueError("the holder of a reservation is not registered")
        self._keys, self.reservation, self.aptpl = keys, reservation, True

    # PERSISTENT RESERVE OUT

    def register(
        self,
        by: NexusName,
        key: int | None,
        new_key: int,
        *,
        aptpl: bool,
        ports: Collection[int] = (),
        others: Callable[[], Iterable[NexusName]] | None = None,
    ) -> Change:
        """REGISTER, or with `key` None REGISTER AND IGNORE EXISTING KEY (SPC-4 5.13.7).

        `ports` are all relative target ports, for ALL_TG_PT: what happens, happens to the initiator port on
        every one of them. `others` tells the nexuses that SPEC_I_PT adds, and may raise CheckCondition; it is
        asked only if they matter.
        """
        held = self._keys.get(by, 0)
        if key is not None and key != held:
            raise ReservationConflict
        own = [by, *(NexusName(by.initiator_port, port) for port in ports if port != by.relative_port)]
        # as if the request had come by each port: it has to be right on every one (SPC-4 6.16.3)
        if key is not None and any(self._keys.get(nexus, key) != key for nexus in own):
            raise ReservationConflict
        registered = [nexus for nexus in own if nexus in self._keys]
        if not registered and not new_key:
            return _NOTHING
        if held and others is not None:
            raise invalid_field_in_parameter_list(20, 3)
        if not new_key:
            return self._unregister(by, registered, aptpl)
        added = [] if others is None else [nexus for nexus in dict.fromkeys(others()) if nexus not in own]
        if any(nexus in self._keys for nexus in added):
            raise invalid_field_in_parameter_list(28)
        self._need_room_for([*own, *added])
        for nexus in (*own, *added):
            self._keys[nexus] = new_key
        self.aptpl = aptpl
        self._count()
        return _NOTHING

    def reserve(self, by: NexusName, key: int, type_: Type) -> Change:
        """RESERVE (SPC-4 5.13.9). The same reservation again is no error."""
        self._verify(by, key)
        if self.reservation is None:
            self._reserve(by, type_)
        elif not self.holds(by) or self.reservation.type is not type_:
            raise ReservationConflict
        return _NOTHING

    def release(self, by: NexusName, key: int, type_: Type) -> Change:
        """RELEASE (SPC-4 5.13.11.2.2). What is not held by the nexus is not released, and that is no
        error.
        """
        self._verify(by, key)
        if self.reservation is None or not self.holds(by):
            return _NOTHING
        if self.reservation.type is not type_:
            raise illegal_request(Asc.INVALID_RELEASE_OF_PERSISTENT_RESERVATION)
        self.reservation = None
        return Change(self._released(by) if type_.is_for_registrants else ())

    def clear(self, by: NexusName, key: int) -> Change:
        """CLEAR (SPC-4 5.13.11.2.7): nobody is registered any more."""
        self._verify(by, key)
        return self._clear(by)

    def preempt(self, by: NexusName, key: int, victims_key: int, scope_and_type: int) -> Change:
        """PREEMPT, and what PREEMPT AND ABORT shares with it (SPC-4 5.13.11.2.4 and 5.13.11.2.5).

        SCOPE and TYPE are looked at only if the reservation passes to this nexus.
        """
        self._verify(by, key)
        reservation = self.reservation
        if reservation is None:
            passes = False
        elif reservation.holder is None:
            passes = not victims_key
        elif not victims_key:
            raise invalid_field_in_parameter_list(8)
        else:
            passes = victims_key == self._keys[reservation.holder]
        type_ = type_of(scope_and_type) if passes else None
        hit = [nexus for nexus, held in self._keys.items() if not victims_key or held == victims_key]
        if not passes and (not victims_key or not hit):
            raise ReservationConflict
        lost = tuple(nexus for nexus in hit if nexus != by)
        attentions = tuple((nexus, Asc.REGISTRATIONS_PREEMPTED) for nexus in lost)
        # who keeps no reservation takes its own registration away too, if it names its own key
        self._remove(hit if type_ is None else lost)
        if type_ is not None:
            self._reserve(by, type_)
            if reservation is not None and reservation.type is not type_:
                attentions += self._released(by)
        self._count()
        return Change(attentions, lost)

    def register_and_move(
        self,
        by: NexusName,
        key: int,
        new_key: int,
        destination: Callable[[], NexusName],
        *,
        unregister: bool,
        aptpl: bool,
    ) -> Change:
        """REGISTER AND MOVE (SPC-4 5.13.8). `destination` may raise CheckCondition; it is asked last."""
        self._verify(by, key)
        reservation = self.reservation
        if reservation is None:
            raise invalid_field_in_cdb(1, 4)
        if reservation.holder != by:
            raise ReservationConflict
        if not new_key:
            raise invalid_field_in_parameter_list(8)
        heir = destination()
        if heir.initiator_port == by.initiator_port:
            raise invalid_field_in_parameter_list(24)
        self._need_room_for([heir], leaving=int(unregister))
        self._keys[heir] = new_key
        self.reservation = Reservation(reservation.type, heir)
        if unregister:
            del self._keys[by]
        self.aptpl = aptpl
        self._count()
        return _NOTHING

    # The administrator

    def revoke(self) -> Change:
        """What CLEAR does, in the name of no nexus: all that were registered learn of it."""
        return self._clear(None) if self._keys else _NOTHING

    # Inside

    def _clear(self, by: NexusName | None) -> Change:
        lost = tuple(nexus for nexus in self._keys if nexus != by)
        self._keys.clear()
        self.reservation = None
        self._count()
        return Change(tuple((nexus, Asc.RESERVATIONS_PREEMPTED) for nexus in lost), lost)

    def _verify(self, by: NexusName, key: int) -> None:
        """The nexus is registered, and with this key (SPC-4 6.16.3)."""
        if self._keys.get(by) != key:
            raise ReservationConflict

    def _need_room_for(self, nexuses: Iterable[NexusName], leaving: int = 0) -> None:
        new = sum(nexus not in self._keys for nexus in nexuses)
        if len(self._keys) + new - leaving > MAXIMUM_REGISTRATIONS:
            raise illegal_request(Asc.INSUFFICIENT_REGISTRATION_RESOURCES)

    def _reserve(self, by: NexusName, type_: Type) -> None:
        self.reservation = Reservation(type_, None if type_.is_held_by_all else by)

    def _unregister(self, by: NexusName, leaving: Iterable[NexusName], aptpl: bool) -> Change:
        """Unregistering (SPC-4 5.13.11.2.3): a reservation goes with its last holder."""
        before = self.reservation
        self._remove(leaving)
        self.aptpl = aptpl
        self._count()
        ended = before is not None and self.reservation is None and before.type.is_for_registrants
        return Change(self._released(by) if ended else ())

    def _remove(self, nexuses: Iterable[NexusName]) -> None:
        for nexus in nexuses:
            del self._keys[nexus]
        reservation = self.reservation
        if reservation is not None:
            holders_left = self._keys if reservation.holder is None else reservation.holder in self._keys
            if not holders_left:
                self.reservation = None

    def _released(self, by: NexusName) -> tuple[tuple[NexusName, int], ...]:
        """The registered nexuses but one learn that there is another reservation now, or none."""
        return tuple((nexus, Asc.RESERVATIONS_RELEASED) for nexus in self._keys if nexus != by)

    def _count(self) -> None:
        self.generation = (self.generation + 1) & 0xFFFF_FFFF
