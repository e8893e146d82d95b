"""The copies of one disk: those under way, and how the last ones ended (SPC-4 5.16.4).

A copy is known by its I_T nexus and list identifier, or by nobody if it was started without one. It ends with
the reply to its command, when it is aborted, or when the disk is reset; one in the background goes on without
its nexus (SPC-4 5.16.5). What is remembered of a copy goes when its list identifier is used again, with its
nexus, and when there are too many.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from mpxtarget.scsi.codes import Asc, SenseKey, Status
from mpxtarget.scsi.copy import limits
from mpxtarget.scsi.sense import SenseData, illegal_request

if TYPE_CHECKING:
    from mpxtarget.scsi.nexus import ITNexus
    from mpxtarget.scsi.plan import Extent, Reply


class CopyStatus:
    """COPY OPERATION STATUS (SPC-4 6.25)."""

    COMPLETED: Final = 0x01
    FAILED: Final = 0x02
    COMPLETED_IN_PART: Final = 0x03
    """The token did not stand for as much as was asked for."""
    IN_PROGRESS_IN_FOREGROUND: Final = 0x11
    IN_PROGRESS_IN_BACKGROUND: Final = 0x12
    TERMINATED: Final = 0x60


COPY_ABORTED: Final = SenseData(SenseKey.COPY_ABORTED, Asc.COMMANDS_CLEARED_BY_DEVICE_SERVER)
"""How a command ends whose copy was aborted (SPC-4 5.16.4.7)."""


@dataclass(eq=False, slots=True)
class Copy:
    """One copy operation. `destinations`: what it changes.

    A thread counts `segments`, `transferred` (bytes) and `operations` while it works, and looks at `wanted`;
    everything else is the event loop's.
    """

    service_action: int
    background: bool
    status: int = field(init=False)
    wanted: bool = True
    segments: int = 0
    transferred: int = 0
    operations: int = 0
    completion: Reply | None = None
    token: bytes = b""
    counts_blocks: bool = False
    in_part: bool = False
    destinations: tuple[Extent, ...] = ()
    status_taken: bool = False
    details_taken: bool = False

    def __post_init__(self) -> None:
        self.status = (
            CopyStatus.IN_PROGRESS_IN_BACKGROUND if self.background else CopyStatus.IN_PROGRESS_IN_FOREGROUND
        )

    @property
    def under_way(self) -> bool:
        """Whether it is not over yet."""
        return self.status in (CopyStatus.IN_PROGRESS_IN_BACKGROUND, CopyStatus.IN_PROGRESS_IN_FOREGROUND)


class CopyManager:
    """The copies of one disk."""

    __slots__ = ("_anonymous", "_known")

    def __init__(self) -> None:
        self._known: dict[tuple[ITNexus, int], Copy] = {}
        self._anonymous: set[Copy] = set()

    def start(self, nexus: ITNexus, list_identifier: int | None, copy: Copy) -> None:
        """Take a copy in. Raises CheckCondition if its list identifier is that of a copy under way, or if
        too many are.
        """
        if list_identifier is not None:
            old = self._known.get((nexus, list_identifier))
            if old is not None and old.under_way:
                raise illegal_request(Asc.OPERATION_IN_PROGRESS)
        under_way = sum(each.under_way for each in self._known.values()) + len(self._anonymous)
        if under_way >= limits.CONCURRENT_COPIES:
            raise illegal_request(Asc.INSUFFICIENT_RESOURCES)
        if list_identifier is None:
            self._anonymous.add(copy)
            return
        key = nexus, list_identifier
        self._known.pop(key, None)  # the new one is the youngest
        over = [each for each, old in self._known.items() if not old.under_way]
        if len(over) >= limits.REMEMBERED_COPIES:
            del self._known[over[0]]
        self._known[key] = copy

    def end(self, copy: Copy, reply: Reply | None) -> Reply | None:
        """A copy is over, with this reply to its command; None: nobody waited for it any more."""
        self._anonymous.discard(copy)
        copy.completion = reply
        if reply is not None and reply.status == Status.GOOD:
            copy.status = CopyStatus.COMPLETED_IN_PART if copy.in_part else CopyStatus.COMPLETED
        elif reply is None or not copy.wanted:
            copy.status = CopyStatus.TERMINATED
        else:
            copy.status = CopyStatus.FAILED
        return reply

    def find(self, nexus: ITNexus, list_identifier: int) -> Copy | None:
        """The copy a nexus knows by this list identifier."""
        return self._known.get((nexus, list_identifier))

    def leave(self, nexus: ITNexus) -> None:
        """A nexus is lost: nobody can ask for its copies any more."""
        for key in [key for key in self._known if key[0] is nexus]:
            copy = self._known.pop(key)
            if copy.under_way:
                self._anonymous.add(copy)

    def give_up(self, of: Callable[[ITNexus], bool]) -> None:
        """The copies of some nexuses end, as if COPY OPERATION ABORT had come for each; what is known of them
        stays.
        """
        for (nexus, _), copy in self._known.items():
            if of(nexus):
                copy.wanted = False

    def reset(self) -> None:
        """Logical unit reset: every copy ends, and is forgotten."""
        for copy in (*self._known.values(), *self._anonymous):
            if copy.under_way:
                copy.wanted = False
                self._anonymous.add(copy)
        self._known.clear()
