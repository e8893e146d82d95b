"""What a row of the command table is, and what a handler is given.

The usage map of a row says, bit by bit, what this target evaluates; it is written as in the standards'
REPORT SUPPORTED OPERATION CODES, which reports it.  A bit outside the map that is set ends the command with
INVALID FIELD IN CDB and a pointer to that bit, with two exceptions: CONTROL, of which only NACA is looked at
(SAM-5 5.2), and bits that older standards defined and hosts may still set, which a row lists as `ignored`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, cast

from mpxtarget.scsi.codes import AccessState, PeripheralType
from mpxtarget.scsi.plan import Plan, TakeData
from mpxtarget.scsi.reservations import Reserved
from mpxtarget.scsi.sense import CheckCondition, invalid_field_in_cdb, invalid_operation_code

if TYPE_CHECKING:
    from mpxtarget.scsi.logical_unit import Disk, LogicalUnit
    from mpxtarget.scsi.nexus import ITLNexus, ITNexus

_NACA = 0x04
_SERVICE_ACTION = 0x1F


class Direction(Enum):
    """Which way the data of a command goes."""

    NONE = "none"
    IN = "in"
    OUT = "out"


ACTIVE = frozenset({AccessState.ACTIVE_OPTIMIZED, AccessState.ACTIVE_NON_OPTIMIZED})
STANDBY = ACTIVE | {AccessState.STANDBY}
ANY_STATE = STANDBY | {AccessState.UNAVAILABLE, AccessState.TRANSITIONING}

DISK = frozenset({PeripheralType.DISK})
DISK_AND_CONSOLE = DISK | {PeripheralType.STORAGE_ARRAY_CONTROLLER}
EVERYWHERE = DISK_AND_CONSOLE | {PeripheralType.UNKNOWN}

Handler = Callable[["Call"], Plan]


@dataclass(frozen=True, slots=True)
class Command:
    """One row of the table: an operation code, or one service action of it.

    `usage` and `ignored` are written in hex, `4*FF` for four bytes of FF.  `on`: the peripheral types that
    know the command.  `access`: the asymmetric access states in which it is processed.  `reserved`: see
    `Reserved`.  Both are a function of the CDB where they depend on its fields.  `preempts_attention`: it
    runs in spite of a pending unit attention. `needs_medium`: not in the stopped power condition.
    """

    name: str
    opcode: int
    usage_text: str
    handler: Handler
    service_action: int | None = None
    direction: Direction = Direction.NONE
    on: frozenset[int] = DISK
    access: frozenset[int] | Callable[[bytes], frozenset[int]] = ACTIVE
    reserved: Reserved | Callable[[bytes], Reserved] = Reserved.ALLOWED
    preempts_attention: bool = False
    needs_medium: bool = False
    ignored_text: str = ""
    usage: bytes = field(init=False)
    forbidden: int = field(init=False)
    """The bits that have to be zero, as one big-endian number over the whole CDB."""

    def __post_init__(self) -> None:
        usage = usage_map(self.usage_text)
        length = len(usage)
        ignored = usage_map(self.ignored_text).ljust(length, b"\0")
        tolerated = bytearray(u | i for u, i in zip(usage, ignored, strict=True))
        tolerated[0] = 0xFF
        if self.service_action is not None:
            tolerated[1] |= _SERVICE_ACTION
        tolerated[-1] = 0xFF & ~_NACA
        object.__setattr__(self, "usage", usage)
        object.__setattr__(self, "forbidden", ~int.from_bytes(tolerated, "big") & ((1 << 8 * length) - 1))

    def reserved_class(self, cdb: bytes) -> Reserved:
        """How this CDB fares under a reservation of another nexus."""
        return self.reserved if isinstance(self.reserved, Reserved) else self.reserved(cdb)

    def access_states(self, cdb: bytes) -> frozenset[int]:
        """The asymmetric access states in which this CDB is processed."""
        return self.access if isinstance(self.access, frozenset) else self.access(cdb)

    @property
    def length(self) -> int:
        """CDB length in bytes."""
        return len(self.usage)

    def check(self, cdb: bytes) -> None:
        """Raise INVALID FIELD IN CDB for the first bit that has to be zero and is not."""
        wrong = int.from_bytes(cdb[: self.length], "big") & self.forbidden
        if wrong:
            byte, below = divmod(8 * self.length - wrong.bit_length(), 8)
            raise invalid_field_in_cdb(byte, 7 - below)


def usage_map(text: str) -> bytes:
    """`28 FC 4*FF 1F FF FF 04` as bytes."""
    usage = bytearray()
    for word in text.split():
        count, _, byte = word.rpartition("*")
        usage += bytes.fromhex(byte) * int(count or 1)
    return bytes(usage)


class CommandSet:
    """The commands one kind of logical unit knows, found by operation code and service action."""

    def __init__(self, commands: Iterable[Command]) -> None:
        self._by_opcode: dict[int, Command | dict[int, Command]] = {}
        for command in commands:
            if command.service_action is None:
                self._by_opcode[command.opcode] = command
            else:
                actions = self._by_opcode.setdefault(command.opcode, {})
                assert isinstance(actions, dict), (
                    f"operation code {command.opcode:02X}h has service actions or none"
                )
                actions[command.service_action] = command

    def __iter__(self) -> Iterator[Command]:
        """All commands, by operation code and service action."""
        for _, entry in sorted(self._by_opcode.items()):
            if isinstance(entry, Command):
                yield entry
            else:
                yield from (command for _, command in sorted(entry.items()))

    def entry(self, opcode: int) -> Command | dict[int, Command] | None:
        """The command with this operation code, or its service actions, or None."""
        return self._by_opcode.get(opcode)

    def find(self, cdb: bytes) -> Command | CheckCondition:
        """The command a CDB asks for, or the sense data for one that does not exist (SPC-4 4.3.3)."""
        entry = self._by_opcode.get(cdb[0])
        if isinstance(entry, Command):
            return entry
        if entry is None:
            return invalid_operation_code()
        return entry.get(cdb[1] & _SERVICE_ACTION) or invalid_field_in_cdb(1, 4)


@dataclass(frozen=True, slots=True)
class Call:
    """One command on its way: who sent it, to which logical unit, and what it says.

    `itl` is None for a LUN that is not mapped.
    """

    nexus: ITNexus
    itl: ITLNexus | None
    lu: LogicalUnit
    cdb: bytes
    command: Command
    commands: CommandSet

    @property
    def disk(self) -> Disk:
        """The logical unit of a command that only disks know."""
        return cast("Disk", self.lu)

    def take(self, length: int, then: Callable[[Call, bytes], Plan], *, unit: int = 0) -> TakeData:
        """Ask for `length` bytes of Data-Out; `then` goes on with them and may raise CheckCondition.

        `unit`: see `TakeData`.
        """
        return TakeData(length, partial(self._go_on, then), unit)

    def take_at_most(
        self, length: int, then: Callable[[Call, bytes], Plan], most: int, count_byte: int
    ) -> TakeData:
        """The same from an initiator that has no more than `most` bytes for it.

        With more, what it means is not what the number of blocks at `count_byte` of the CDB says: that is an
        invalid field.
        """
        too_much = invalid_field_in_cdb(count_byte).sense.reply(self.lu.descriptor_sense)
        return TakeData(length, partial(self._go_on, then), most=most, too_much=too_much)

    def _go_on(self, then: Callable[[Call, bytes], Plan], data: bytes) -> Plan:
        try:
            return then(self, data)
        except CheckCondition as fault:
            return fault.sense.reply(self.lu.descriptor_sense)
