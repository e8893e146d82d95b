"""Logical units: the state that all paths and both controllers share.

Every method that changes state brings the `go` flags of all attached nexuses up to date and raises the unit
attention that the change is due (SAM-5 5.14): on the other nexuses, not on the one that asked for it.
Attributes are to be read freely, and changed only through these methods.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final, Protocol

from mpxtarget.scsi.buffers import Buffers
from mpxtarget.scsi.codes import AccessState, AccessStatus, Asc, PeripheralType
from mpxtarget.scsi.copy.manager import CopyManager
from mpxtarget.scsi.personality import EVERYTHING, Personality
from mpxtarget.scsi.reservations import Change, Column, KeptReservations, Reservations, Reserved
from mpxtarget.scsi.statistics import Statistics

if TYPE_CHECKING:
    from mpxtarget.scsi.copy.tokens import RodToken
    from mpxtarget.scsi.diagnostics import SelfTestResult
    from mpxtarget.scsi.nexus import ITLNexus, ITNexus
    from mpxtarget.scsi.sanitize import Progress

VERSION_SPC_3: Final = 0x05
VERSION_SPC_4: Final = 0x06

MAXIMUM_TRANSFER_BYTES: Final = 32 * 1024 * 1024
"""What one READ, WRITE or VERIFY may span; VPD page B0h reports it in blocks. 65 536 blocks of 512 bytes."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What INQUIRY tells of a logical unit.

    `vendor`, `product`, `revision` and `serial` are ASCII of at most 8, 16, 4 and 252 characters.  `naa` is
    the NAA designator, 16 bytes (IEEE registered extended); None for a unit that has none.  `version` is the
    VERSION field.
    """

    vendor: str
    product: str
    revision: str
    serial: str
    naa: bytes | None = None
    version: int = VERSION_SPC_3

    def __post_init__(self) -> None:
        for name, limit in (("vendor", 8), ("product", 16), ("revision", 4), ("serial", 252)):
            value: str = getattr(self, name)
            if not value.strip() or len(value) > limit or not value.isascii() or not value.isprintable():
                raise ValueError(f"{name} has to be 1 to {limit} printable ASCII characters, not {value!r}")
        if self.naa is not None and (len(self.naa) != 16 or self.naa[0] >> 4 != 6):
            raise ValueError("the NAA designator has to be 16 bytes that begin with the digit 6")
        if self.version not in (VERSION_SPC_3, VERSION_SPC_4):
            raise ValueError(f"VERSION has to be 05h (SPC-3) or 06h (SPC-4), not {self.version:02X}h")


@dataclass(frozen=True, slots=True)
class Kept:
    """What has to outlast a loss of power about a disk, besides its configuration and its blocks."""

    managing_group: int
    identifying_information: bytes = b""
    identifying_text: bytes = b""
    reservations: KeptReservations | None = None
    """Registrations and the persistent reservation, while a host wants them kept (APTPL)."""
    unsanitized: bool | None = None
    """See `Disk.unsanitized`."""


@dataclass(frozen=True, slots=True)
class ModeParameters:
    """The mode parameters that MODE SELECT can change, at their defaults."""

    write_cache_enable: bool = True
    descriptor_sense: bool = False
    software_write_protect: bool = False
    task_aborted_status: bool = False


class LogicalUnit:
    """What every kind of logical unit has: an identity, and the nexuses attached to it."""

    peripheral_type: ClassVar[int]
    qualifier: int = 0b000
    durable: bool = True
    """Whether what is written can be brought to stable storage."""

    def __init__(self, identity: Identity, personality: Personality = EVERYTHING) -> None:
        self.identity = identity
        self.personality = personality
        self.attached: list[ITLNexus] = []
        self.cached_pages: dict[tuple[int, int], bytes] = {}
        """VPD pages already built, by (relative target port, page code)."""

    @property
    def descriptor_sense(self) -> bool:
        """Whether sense data is reported in descriptor format (D_SENSE)."""
        return False

    def become(self, identity: Identity, personality: Personality) -> None:
        """Change what the logical unit says of itself and offers; INQUIRY DATA HAS CHANGED on every nexus."""
        if (identity, personality) == (self.identity, self.personality):
            return
        self.identity = identity
        self.personality = personality
        self.cached_pages.clear()
        self.changed()
        self.raise_unit_attention(Asc.INQUIRY_DATA_HAS_CHANGED)

    @property
    def reports_aborted_tasks(self) -> bool:
        """Whether a nexus is told TASK ABORTED of a task that another one has ended (TAS)."""
        return False

    def describe_to(self, itl: ITLNexus) -> None:
        """Set what the data path reads in `itl`.  Here: nothing for it to do."""

    def leave(self, itl: ITLNexus) -> None:
        """An I_T_L nexus is no more: forget it, and what it held."""
        self.attached.remove(itl)

    def raise_unit_attention(self, asc: int, except_for: ITNexus | None = None) -> None:
        """Establish a unit attention condition on every attached nexus, but not on the one that caused it."""
        for itl in self.attached:
            if itl.nexus is not except_for:
                itl.raise_unit_attention(asc)

    def reset(self, asc: int = Asc.BUS_DEVICE_RESET_FUNCTION_OCCURRED) -> None:
        """Logical unit reset (SAM-5 6.3.3); `asc` is the condition that every nexus then reports."""
        self.raise_unit_attention(asc)

    def changed(self) -> None:
        """Bring the data path's view up to date on every path."""
        for itl in self.attached:
            itl.refresh()


class Absent(LogicalUnit):
    """What answers for a LUN that is not mapped: INQUIRY, REQUEST SENSE, REPORT LUNS, and no more."""

    peripheral_type = PeripheralType.UNKNOWN

    def __init__(self, identity: Identity, qualifier: int) -> None:
        super().__init__(identity)
        self.qualifier = qualifier


class Console(LogicalUnit):
    """The console LU of an EVA: LUN 0 for every host, no medium, no asymmetric access."""

    peripheral_type = PeripheralType.STORAGE_ARRAY_CONTROLLER


EVA_STATES: Final = frozenset(
    {
        AccessState.ACTIVE_OPTIMIZED,
        AccessState.ACTIVE_NON_OPTIMIZED,
        AccessState.UNAVAILABLE,
        AccessState.TRANSITIONING,
    }
)
"""The asymmetric access states that a disk of an EVA can be in."""


class Custody(Protocol):
    """What a disk asks the array for when it moves from one controller to the other."""

    @property
    def transition_time(self) -> int:
        """Seconds that a move takes."""

    def moved(self) -> bool:
        """The disk has another managing group; whether it is in transition now, until `Disk.arrive`."""


class _AtOnce:
    """The custody of a disk that belongs to no array: a move takes no time."""

    transition_time = 0

    def moved(self) -> bool:
        return False


class Disk(LogicalUnit):
    """A virtual disk.

    `block_size` in bytes, a power of two from 512 to 4096; `blocks` the capacity; `store` the opaque backing
    store; `managing_group` the target port group that serves it optimized; `preferred_group` the one it is
    meant to be managed by, if any (the PREF bit); `durable` whether the store can bring anything to stable
    storage; `rotation_rate` in revolutions per minute; `states` are the
    asymmetric access states that it may be in.
    """

    peripheral_type = PeripheralType.DISK

    def __init__(
        self,
        identity: Identity,
        *,
        block_size: int,
        blocks: int,
        store: object,
        managing_group: int,
        preferred_group: int | None = None,
        read_only: bool = False,
        durable: bool = True,
        rotation_rate: int = 15000,
        states: frozenset[int] = EVA_STATES,
        personality: Personality = EVERYTHING,
    ) -> None:
        if block_size not in (512, 1024, 2048, 4096):
            raise ValueError(f"block size has to be 512, 1024, 2048 or 4096 bytes, not {block_size}")
        if blocks < 1:
            raise ValueError("a disk has at least one block")
        super().__init__(identity, personality)
        self.block_size = block_size
        self.shift = block_size.bit_length() - 1
        self.blocks = blocks
        self.store = store
        self.managing_group = managing_group
        self.preferred_group = preferred_group
        self.read_only = read_only
        self.durable = durable
        self.rotation_rate = rotation_rate
        self.mode = ModeParameters()
        self.stopped = False
        self.reserved_by: ITNexus | None = None
        """The I_T nexus that holds the logical unit by RESERVE(6) or RESERVE(10)."""
        self.reservations = Reservations()
        """Persistent reservations. Whoever changes them tells the disk with `reservations_changed`."""
        self.copies = CopyManager()
        self.tokens: list[RodToken] = []
        """ROD tokens that stand for blocks of the disk, and have to know when those change."""
        self.sanitizing: Progress | None = None
        """The sanitize operation that is going on."""
        self.unsanitized: bool | None = None
        """A SANITIZE has begun and none has succeeded: whether EXIT FAILURE MODE ends that. Else None."""
        self.states = states
        self.access_status: int = AccessStatus.NEVER
        self.custody: Custody = _AtOnce()
        self.transitioning = False
        self._moved_by: ITNexus | None = None
        self.buffers = Buffers()
        self.statistics = Statistics()
        self.self_tests: deque[SelfTestResult] = deque(maxlen=20)
        """The latest first, as many as log page 10h holds."""
        self.application_log: dict[int, bytes] = {}
        """What hosts have put into log page 0Fh, by parameter code."""
        self.identifying_information = b""
        self.identifying_text = b""
        self.clock_ahead: int | None = None
        """Milliseconds by which SET TIMESTAMP put the unit's clock ahead of the device's; None: never set."""
        self._limited: dict[int, int] = {}
        self._reads_of_the_gone: dict[int, int] = {}
        self._holds = 0

    @property
    def descriptor_sense(self) -> bool:
        return self.mode.descriptor_sense

    @property
    def reports_aborted_tasks(self) -> bool:
        return self.mode.task_aborted_status

    @property
    def write_protected(self) -> bool:
        """Read-only by configuration, or by the SWP bit of the Control mode page."""
        return self.read_only or self.mode.software_write_protect

    @property
    def kept(self) -> Kept:
        """What has to be written down about the disk as it is now."""
        return Kept(
            managing_group=self.managing_group,
            identifying_information=self.identifying_information,
            identifying_text=self.identifying_text,
            reservations=self.reservations.kept,
            unsanitized=self.unsanitized,
        )

    def restore(self, kept: Kept) -> None:
        """Be as it was when power was lost; who manages the disk is not in this. Raises ValueError for what
        can never have been kept.
        """
        self.identifying_information = kept.identifying_information
        self.identifying_text = kept.identifying_text
        self.reservations.restore(kept.reservations)
        self.unsanitized = kept.unsanitized
        self.changed()

    @property
    def is_thin(self) -> bool:
        """Whether blocks can be unmapped (LBPME of READ CAPACITY(16)); they then read as zeros (LBPRZ)."""
        return self.personality.offers("UNMAP")

    @property
    def follows_sbc_3(self) -> bool:
        """Whether the disk is one of SBC-3, which wants READ CAPACITY(16), or an older one of SBC-2."""
        return self.personality.offers("READ CAPACITY(16)")

    @property
    def maximum_transfer_blocks(self) -> int:
        """MAXIMUM TRANSFER LENGTH of VPD page B0h."""
        return MAXIMUM_TRANSFER_BYTES >> self.shift

    def describe_to(self, itl: ITLNexus) -> None:
        itl.blocks = self.blocks
        itl.shift = self.shift
        itl.store = self.store
        itl.go_sixteen = self.personality.offers("READ(16)") and self.personality.offers("WRITE(16)")
        ready = (
            not itl.attentions
            and not self.stopped
            and self.unsanitized is None
            and self.access_state(itl.nexus.target_port.group_id) <= AccessState.ACTIVE_NON_OPTIMIZED
        )
        itl.may_read = ready and not self.forbids(itl.nexus, Reserved.READS)
        itl.may_write = (
            ready
            and self.mode.write_cache_enable
            and not self.write_protected
            and not self.tokens
            and not self.forbids(itl.nexus, Reserved.WRITES)
        )
        if self._holds:
            itl.close()
        else:
            itl.reopen()

    def hold(self) -> None:
        """Keep the data path's short cut closed until `release`: something that takes time changes the
        blocks.
        """
        self._holds += 1
        if self._holds == 1:
            for itl in self.attached:
                itl.close()

    def release(self) -> None:
        """End one `hold`."""
        self._holds -= 1
        if not self._holds:
            for itl in self.attached:
                itl.reopen()

    def watch(self, token: RodToken) -> None:
        """Tell this token of all changes of blocks from now on."""
        self.tokens.append(token)
        self.changed()

    def unwatch(self, token: RodToken) -> None:
        """End one `watch`."""
        self.tokens.remove(token)
        self.changed()

    def changing(self, start: int, end: int) -> None:
        """These bytes are about to change. To be called before every change, but for those by the data path's
        short cut, which is closed as long as there are `tokens`.
        """
        for token in tuple(self.tokens):
            token.changing(start, end)

    def access_state(self, group_id: int) -> int:
        """The asymmetric access state of this disk through a target port group."""
        limited = self._limited.get(group_id)
        if limited is not None:
            return limited
        if self.transitioning:
            return AccessState.TRANSITIONING
        return (
            AccessState.ACTIVE_OPTIMIZED
            if group_id == self.managing_group
            else AccessState.ACTIVE_NON_OPTIMIZED
        )

    def manage(self, group_id: int, except_for: ITNexus | None = None) -> None:
        """Move the disk to the other controller: `group_id` becomes active/optimized, at once or after a time
        in which the disk is in transition.

        `except_for` is the nexus that asked for it, if one did.
        """
        if group_id == self.managing_group:
            return
        self.managing_group = group_id
        self._moved_by = except_for
        self.access_status = AccessStatus.IMPLICITLY if except_for is None else AccessStatus.BY_COMMAND
        self.transitioning = self.custody.moved()
        if self.transitioning:
            self.changed()
        else:
            self._access_changed()

    def arrive(self) -> None:
        """End the transition that the last `manage` began."""
        self.transitioning = False
        self._access_changed()

    def limit_access(self, group_id: int, state: int | None) -> None:
        """Make a target port group standby or unavailable for this disk; None lifts it again.

        Raises ValueError for another state, and for one that is not among the disk's.
        """
        if state is not None and (
            state not in (AccessState.STANDBY, AccessState.UNAVAILABLE) or state not in self.states
        ):
            raise ValueError(f"access cannot be limited to state {state:X}h")
        if self._limited.get(group_id) == state:
            return
        if state is None:
            del self._limited[group_id]
        else:
            self._limited[group_id] = state
        self.access_status = AccessStatus.IMPLICITLY
        self.changed()
        self.raise_unit_attention(Asc.ASYMMETRIC_ACCESS_STATE_CHANGED)

    def _access_changed(self) -> None:
        moved_by, self._moved_by = self._moved_by, None
        self.changed()
        self.raise_unit_attention(Asc.ASYMMETRIC_ACCESS_STATE_CHANGED, moved_by)

    def reads_by_group(self) -> dict[int, int]:
        """How many READ commands came in so far by each target port group."""
        reads = dict(self._reads_of_the_gone)
        for itl in self.attached:
            group_id = itl.nexus.target_port.group_id
            reads[group_id] = reads.get(group_id, 0) + itl.reads
        return reads

    def prefer(self, group_id: int | None) -> None:
        """Change the preferred target port group (the PREF bit), which moves nothing by itself."""
        self.preferred_group = group_id

    def resize(self, blocks: int) -> None:
        """Change the capacity; CAPACITY DATA HAS CHANGED on every nexus.  ValueError for less than one
        block.
        """
        if blocks < 1:
            raise ValueError("a disk has at least one block")
        if blocks == self.blocks:
            return
        if blocks < self.blocks:
            self.changing(blocks << self.shift, self.blocks << self.shift)
        self.blocks = blocks
        self.changed()
        self.raise_unit_attention(Asc.CAPACITY_DATA_HAS_CHANGED)

    def set_read_only(self, read_only: bool) -> None:
        """Change write protection; MODE PARAMETERS CHANGED on every nexus, for the WP bit is in the mode
        data.
        """
        if read_only == self.read_only:
            return
        self.read_only = read_only
        self.changed()
        self.raise_unit_attention(Asc.MODE_PARAMETERS_CHANGED)

    def select_mode(self, mode: ModeParameters, by: ITNexus | None = None) -> None:
        """Take new mode parameters, in force at once; MODE PARAMETERS CHANGED on the other nexuses."""
        if mode == self.mode:
            return
        self.mode = mode
        self.changed()
        self.raise_unit_attention(Asc.MODE_PARAMETERS_CHANGED, by)

    def restart_log(self, pages: Iterable[int], by: ITNexus) -> None:
        """Let log pages count from zero again; LOG PARAMETERS CHANGED on the other nexuses."""
        changed = [page for page in pages if self.statistics.restart(page, self.attached)]
        if changed:
            self.raise_unit_attention(Asc.LOG_PARAMETERS_CHANGED, by)

    def select_log(self, parameters: Mapping[int, bytes], by: ITNexus) -> None:
        """Take parameters of the application client log page; LOG PARAMETERS CHANGED on the other nexuses."""
        if any(self.application_log.get(code) != value for code, value in parameters.items()):
            self.application_log |= parameters
            self.raise_unit_attention(Asc.LOG_PARAMETERS_CHANGED, by)

    def identify(self, information: bytes, text: bytes, by: ITNexus) -> None:
        """Take new identifying information; DEVICE IDENTIFIER CHANGED on the other nexuses."""
        if (information, text) == (self.identifying_information, self.identifying_text):
            return
        self.identifying_information, self.identifying_text = information, text
        self.raise_unit_attention(Asc.DEVICE_IDENTIFIER_CHANGED, by)

    def set_clock(self, ahead: int, by: ITNexus) -> None:
        """Put the clock `ahead` ms ahead of the device's; TIMESTAMP CHANGED on the other nexuses."""
        self.clock_ahead = ahead
        self.raise_unit_attention(Asc.TIMESTAMP_CHANGED, by)

    def begin_sanitize(self, progress: Progress, *, may_exit: bool) -> None:
        """From now on the medium cannot be accessed."""
        self.sanitizing = progress
        self.unsanitized = may_exit
        self.changed()

    def end_sanitize(self, *, succeeded: bool) -> None:
        """Nothing goes on any more; the medium can be accessed again if it succeeded."""
        self.sanitizing = None
        if succeeded:
            self.unsanitized = None
            self.changed()

    def start(self) -> None:
        """Leave the stopped power condition."""
        self.stopped = False
        self.changed()

    def stop(self) -> None:
        """Enter the stopped power condition: media access ends with INITIALIZING COMMAND REQUIRED."""
        self.stopped = True
        self.changed()

    @property
    def is_reserved(self) -> bool:
        """Whether there is a reservation of any kind."""
        return self.reserved_by is not None or self.reservations.reservation is not None

    def forbids(self, nexus: ITNexus, reserved: Reserved) -> bool:
        """Whether reservations of others forbid `nexus` a command of this class."""
        if (
            self.reserved_by is not None
            and self.reserved_by is not nexus
            and reserved.conflicts(Column.RESERVE)
        ):
            return True
        return reserved.conflicts(self.reservations.column(nexus.name))

    def reservations_changed(self, change: Change) -> None:
        """Registrations or the persistent reservation have changed: those who are due learn of it."""
        due = dict(change.attentions)
        for itl in self.attached:
            asc = due.get(itl.nexus.name)
            if asc is not None:
                itl.raise_unit_attention(asc)
        self.changed()
        self._end_forbidden_copies()

    def reserve_for(self, nexus: ITNexus) -> None:
        """Reserve the logical unit for `nexus`, as RESERVE(6) does."""
        self.reserved_by = nexus
        self.changed()
        self._end_forbidden_copies()

    def _end_forbidden_copies(self) -> None:
        """Copies in the background of those who may no longer write: a fence would wait for them."""
        self.copies.give_up(lambda nexus: self.forbids(nexus, Reserved.WRITES))

    def end_reservation(self, nexus: ITNexus) -> None:
        """End the reservation that `nexus` holds, if it does."""
        if self.reserved_by is nexus:
            self.reserved_by = None
            self.changed()

    def revoke_reservations(self) -> None:
        """Nobody is registered any more, and nobody holds the disk by RESERVE either; all whom that takes
        something from learn of it.
        """
        change = self.reservations.revoke()
        if self.reserved_by is not None:
            reserved_by, self.reserved_by = self.reserved_by.name, None
            change = Change(((reserved_by, Asc.RESERVATIONS_PREEMPTED), *change.attentions), change.lost)
        self.reservations_changed(change)

    def leave(self, itl: ITLNexus) -> None:
        super().leave(itl)
        self.statistics.leave(itl)
        self.buffers.leave(itl)
        self.copies.leave(itl.nexus)
        group_id = itl.nexus.target_port.group_id
        self._reads_of_the_gone[group_id] = self._reads_of_the_gone.get(group_id, 0) + itl.reads
        self.end_reservation(itl.nexus)

    def reset(self, asc: int = Asc.BUS_DEVICE_RESET_FUNCTION_OCCURRED) -> None:
        """Logical unit reset: mode parameters to defaults, not reserved by RESERVE, started again (SAM-5
        6.3.3). Persistent reservations outlast it (SPC-4 5.13.1).
        """
        self.mode = ModeParameters()
        self.stopped = False
        self.reserved_by = None
        self.copies.reset()
        self.changed()
        super().reset(asc)
