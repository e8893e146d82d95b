"""What an initiator learns from the bytes of a target."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from mpxtarget.pdu import R2T, AsyncMessage, Pdu, Reject
from mpxtarget.testing.negotiation import Negotiated


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """The Final-Response came: full feature phase."""

    tsih: int
    parameters: Negotiated


@dataclass(frozen=True, slots=True)
class LoginFailed:
    """A Login Response with a Status-Class; `status` is class and detail as one 16-bit number."""

    status: int
    pairs: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class CommandDone:
    """Status of a SCSI command came, in a SCSI Response or in the last Data-In."""

    itt: int
    response: int
    status: int
    data: bytes = field(repr=False)
    sense: bytes
    residual: int
    underflow: bool
    overflow: bool
    bidi_residual: int = 0


@dataclass(frozen=True, slots=True)
class CommandAborted:
    """A task management function ended the command; no status will come for it."""

    itt: int


@dataclass(frozen=True, slots=True)
class R2TReceived:
    """An R2T came while they are held; `InitiatorConnection.answer` sends its data."""

    r2t: R2T


@dataclass(frozen=True, slots=True)
class PingReceived:
    """A NOP-In with ITT FFFFFFFFh came; one that asks for an answer has got it if pings are answered."""

    ttt: int
    lun: int


@dataclass(frozen=True, slots=True)
class PingAnswered:
    """The NOP-In to our NOP-Out."""

    itt: int
    data: bytes


@dataclass(frozen=True, slots=True)
class TextAnswered:
    """The whole answer to a text request, put together from its parts."""

    itt: int
    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class TmfAnswered:
    """The answer to a task management function; events for the tasks it ended come before this."""

    itt: int
    response: int


@dataclass(frozen=True, slots=True)
class LoggedOut:
    """The Logout Response."""

    itt: int
    response: int
    time2wait: int
    time2retain: int


@dataclass(frozen=True, slots=True)
class AsyncReceived:
    """An Asynchronous Message, with its sense and event data."""

    message: AsyncMessage
    data: bytes


@dataclass(frozen=True, slots=True)
class Rejected:
    """A Reject, with the header it rejects."""

    reject: Reject
    header: bytes
    itt: int


@dataclass(frozen=True, slots=True)
class RawAnswered:
    """A PDU whose ITT is that of an injected PDU; only what holds for every PDU was checked."""

    pdu: Pdu
    data: bytes


Event: TypeAlias = (
    LoggedIn
    | LoginFailed
    | CommandDone
    | CommandAborted
    | R2TReceived
    | PingReceived
    | PingAnswered
    | TextAnswered
    | TmfAnswered
    | LoggedOut
    | AsyncReceived
    | Rejected
    | RawAnswered
)
