"""One SCSI command on its way through the target: what the wire still owes it, and what it has sent.

A task lives from the delivery of its SCSI Command until its status is in the output, or until it is aborted.
While it lives it stands in its session's table by Initiator Task Tag. Data-Out travels in bursts: the
unsolicited one (RFC 7143 4.2.5.2) or one for each R2T (11.8). Bytes are handed on as they arrive; a task
never gathers them itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mpxtarget.pdu import NO_TAG

if TYPE_CHECKING:
    from mpxtarget.iscsi.connection import Connection


@dataclass(slots=True)
class Burst:
    """A sequence of Data-Out PDUs that the initiator owes us: buffer offsets `next` up to `end`.

    `asked` is the length of the R2T that asked for it, 0 for unsolicited data.
    """

    ttt: int
    next: int
    end: int
    data_sn: int = 0
    asked: int = 0


@dataclass(frozen=True, slots=True)
class Delivery:
    """A failure of the transport that a command reports as ABORTED COMMAND (RFC 7143 11.4.7.2)."""

    asc: int
    ascq: int


UNEXPECTED_UNSOLICITED_DATA = Delivery(0x0C, 0x0C)
INCORRECT_AMOUNT_OF_DATA = Delivery(0x0C, 0x0D)
PROTOCOL_SERVICE_CRC_ERROR = Delivery(0x47, 0x05)


@dataclass(frozen=True, slots=True)
class Answer:
    """A SCSI Response that waits until the initiator has sent what it owes (RFC 7143 11.4.2)."""

    status: int
    sense: bytes
    presented: int


class Task:
    """A SCSI command between its PDU and its status."""

    __slots__ = (
        "aborted",
        "answer",
        "attr",
        "bursts",
        "cdb",
        "connection",
        "data_sn",
        "edtl",
        "expecting",
        "failure",
        "heard",
        "immediate",
        "itt",
        "lun",
        "next_offset",
        "on_end",
        "r2t_sn",
        "read",
        "sent",
        "unsolicited",
        "wanted",
        "work",
        "write",
    )

    def __init__(
        self,
        connection: Connection,
        itt: int,
        lun: int,
        cdb: bytes,
        *,
        attr: int,
        immediate: bool,
        read: bool,
        write: bool,
        edtl: int,
    ) -> None:
        self.connection = connection
        self.itt = itt
        self.lun = lun
        self.cdb = cdb
        self.attr = attr
        self.immediate = immediate
        self.read = read
        self.write = write
        self.edtl = edtl
        self.expecting = False  # what executes it waits for Data-Out
        self.wanted = 0  # bytes of Data-Out that the command uses; what comes beyond is dropped
        self.next_offset = 0  # up to here data has arrived or is asked for
        self.unsolicited: Burst | None = None
        self.bursts: dict[int, Burst] = {}  # by Target Transfer Tag
        self.r2t_sn = 0
        self.failure: Delivery | None = None
        self.answer: Answer | None = None
        self.heard = 0.0  # when the last of its PDUs came
        self.data_sn = 0  # of the next Data-In
        self.sent = 0  # buffer offset of the next Data-In
        self.aborted = False
        self.on_end: Callable[[Task], None] | None = None  # to be told when it has ended
        self.work: Any = None  # what executes it keeps its own state here

    @property
    def owed(self) -> bool:
        """Whether the initiator still has Data-Out to send for it."""
        return self.unsolicited is not None or bool(self.bursts)

    def burst(self, ttt: int) -> Burst | None:
        """The burst that a Data-Out with this Target Transfer Tag belongs to."""
        return self.unsolicited if ttt == NO_TAG else self.bursts.get(ttt)

    def end_burst(self, burst: Burst) -> None:
        """Forget a burst whose last PDU has come."""
        if burst is self.unsolicited:
            self.unsolicited = None
        else:
            del self.bursts[burst.ttt]
