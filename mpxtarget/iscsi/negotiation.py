"""Text negotiation (RFC 7143 6.2): offers in, answers and agreed parameters out.

The rules kept here:

- Every key that needs an answer gets exactly one, in the next response. An unknown key is answered with
  NotUnderstood, a value outside its range with Reject, and the key then keeps its default (6.2).
- A key is said once; only a declaration of identity may be repeated, unchanged, in the next stage.
- Reject, Irrelevant and NotUnderstood are answers. As offers they are protocol errors (6.2).
- Of a list the first value in the *offerer's* order counts (6.2.1).
- Nothing holds before the whole negotiation ends in agreement: `agree` runs the integrity rules over all
  keys and only then makes the `Parameters` (6.2).
- We offer nothing ourselves and declare only MaxRecvDataSegmentLength: initiators in the field answer
  anything else unasked with NotUnderstood and start again.

`Screen` says which pairs may be said at all, `Negotiation` is the operational stage of login, and
`TextSequence` and `answer_text` do the same for Text Requests in full feature phase. What breaks a rule
raises `NegotiationError`; no other exception leaves the engine, whatever the text is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from mpxtarget.iscsi.errors import NegotiationError, PduRejected
from mpxtarget.iscsi.keys import KEYS, Irrelevant, Key, Kind, Result, Sender, Use
from mpxtarget.pdu.constants import DEFAULT_DATA_SEGMENT_LENGTH, RejectReason
from mpxtarget.pdu.text import TextError, parse_number

Pair = tuple[str, str]

REJECT: Final = "Reject"
IRRELEVANT: Final = "Irrelevant"
NOT_UNDERSTOOD: Final = "NotUnderstood"
ANSWERS: Final = frozenset({REJECT, IRRELEVANT, NOT_UNDERSTOOD})

MAX_TEXT: Final = 65536
"""Bytes of key=value text in one negotiation, and in all answers to it. RFC 7143 6.1 asks for 8192."""
MAX_KEYS: Final = 2048
"""Keys in one negotiation: more than fit in the 8192 bytes that have to be accepted."""

_IDENTITY: Final = frozenset({"InitiatorName", "InitiatorAlias", "TargetName", "SessionType"})
_DIGESTS: Final = frozenset({"CRC32C", "None"})
_TASK_REPORTING: Final = frozenset({"RFC3720", "ResponseFence"})


@dataclass(frozen=True, slots=True)
class Limits:
    """What this target is ready to agree to. Raises ValueError for what it could not keep.

    The names are those of the keys; lengths are in bytes, times in seconds. `command_window` is the number
    of commands that the login responses invite, MaxCmdSN - ExpCmdSN + 1 (RFC 7143 4.2.2.1).
    """

    max_recv_data_segment_length: int = 262144
    max_burst_length: int = 262144
    first_burst_length: int = 262144
    max_outstanding_r2t: int = 16
    initial_r2t: bool = False
    immediate_data: bool = True
    header_digests: tuple[str, ...] = ("CRC32C", "None")
    data_digests: tuple[str, ...] = ("CRC32C", "None")
    default_time2wait: int = 2
    default_time2retain: int = 0
    error_recovery_level: int = 0
    max_connections: int = 1
    # With one connection a session TCP keeps the order that a response fence asks for (4.2.2.3.3).
    task_reporting: tuple[str, ...] = ("RFC3720", "ResponseFence")
    command_window: int = 128

    data_pdu_in_order: ClassVar[bool] = True
    data_sequence_in_order: ClassVar[bool] = True
    iscsi_protocol_level: ClassVar[int] = 1

    def __post_init__(self) -> None:
        for row in (KEYS["MaxRecvDataSegmentLength"], *_NEGOTIATED.values()):
            if row.kind is Kind.NUMBER:
                value = getattr(self, row.attribute or "max_recv_data_segment_length")
                if not row.low <= value <= row.high:
                    raise ValueError(f"{row.name} is a number from {row.low} to {row.high}, not {value}")
        if self.first_burst_length > self.max_burst_length:
            raise ValueError("FirstBurstLength must not exceed MaxBurstLength")  # RFC 7143 13.14
        for name, known in (
            ("header_digests", _DIGESTS),
            ("data_digests", _DIGESTS),
            ("task_reporting", _TASK_REPORTING),
        ):
            values = getattr(self, name)
            if not values or not known.issuperset(values):
                raise ValueError(f"{name} is one or more of {', '.join(sorted(known))}")
        if not 1 <= self.command_window < 1 << 31:
            raise ValueError("the command window is at least one command")

    def choices(self, key: str) -> tuple[str, ...]:
        """The values of a list key that may be chosen."""
        return {
            "HeaderDigest": self.header_digests,
            "DataDigest": self.data_digests,
            "TaskReporting": self.task_reporting,
        }[key]


@dataclass(slots=True)
class Parameters:
    """What holds for a session and its connection; the defaults are those of RFC 7143 13.

    `max_recv_data_segment_length` is per direction: the initiator's limits what the target sends, the
    target's what the initiator sends (13.12). In a discovery session most of it has no meaning.
    """

    header_digest: bool = False
    data_digest: bool = False
    max_connections: int = 1
    initial_r2t: bool = True
    immediate_data: bool = True
    max_burst_length: int = 262144
    first_burst_length: int = 65536
    max_outstanding_r2t: int = 1
    data_pdu_in_order: bool = True
    data_sequence_in_order: bool = True
    default_time2wait: int = 2
    default_time2retain: int = 20
    error_recovery_level: int = 0
    task_reporting: str = "RFC3720"
    iscsi_protocol_level: int = 1
    initiator_max_recv_data_segment_length: int = DEFAULT_DATA_SEGMENT_LENGTH
    target_max_recv_data_segment_length: int = DEFAULT_DATA_SEGMENT_LENGTH
    initiator_alias: str = ""
    session_type: str = "Normal"


_NEGOTIATED: Final = {row.name: row for row in KEYS.values() if row.attribute}
# The answer to these depends on that to others, so they are answered last (RFC 7143 13.14, 13.19).
_DEPENDENT: Final = ("FirstBurstLength", "MaxOutstandingR2T")


class Screen:
    """Which pairs an initiator may say at all, whatever their values mean.

    One `Screen` sees the whole login phase, or one text sequence. It passes on the pairs that somebody has to
    act upon and drops those that settle themselves: answers to what we declared, and repeated identity.
    """

    def __init__(self) -> None:
        self._said: dict[str, str] = {}
        self._said_in_stage: set[str] = set()
        self._declared: set[str] = set()
        self._offered: set[str] = set()

    def next_stage(self) -> None:
        """A new stage begins: identity may be declared again, if it is the same."""
        self._said_in_stage.clear()

    def declared(self, key: str) -> None:
        """We have declared `key`; the initiator may call it Irrelevant, once."""
        self._declared.add(key)

    def offered(self, key: str) -> None:
        """We have offered `key`; the next pair with it is the answer."""
        self._offered.add(key)

    def is_answer(self, key: str) -> bool:
        """True once for each key that we offered."""
        if key in self._offered:
            self._offered.remove(key)
            return True
        return False

    def __call__(self, pairs: Iterable[Pair]) -> list[Pair]:
        """The pairs to act upon. Raises `NegotiationError`."""
        return [pair for pair in pairs if self._passes(*pair)]

    def _passes(self, key: str, value: str) -> bool:
        if value in ANSWERS and key not in self._offered:
            if value == IRRELEVANT and key in self._declared:
                self._declared.remove(key)
                return False
            # RFC 7143 6.2: reserved words; and a key of this RFC is understood and our value a good one.
            raise NegotiationError(f"{value} is no value to offer for {_quoted(key)}")
        row = KEYS.get(key)
        if row and Sender.INITIATOR not in row.sender:
            raise NegotiationError(f"{key} is for the target to send")
        if key in self._said:
            # libiscsi says who it is in each stage anew; RFC 7143 6.3 has it once.
            if key in _IDENTITY and key not in self._said_in_stage and self._said[key] == value:
                self._said_in_stage.add(key)
                return False
            raise NegotiationError(f"{_quoted(key)} was said twice")
        if len(self._said) >= MAX_KEYS:
            raise NegotiationError(f"more than {MAX_KEYS} keys")
        self._said[key] = value if key in _IDENTITY else ""
        self._said_in_stage.add(key)
        return True


class Negotiation:
    """The operational negotiation of one login, from its first key to agreement.

    `leading` is False for a connection that joins an existing session: it may not touch what the session has
    settled (13, LO keys).
    """

    def __init__(self, limits: Limits, *, discovery: bool, leading: bool) -> None:
        self._limits = limits
        self._discovery = discovery
        self._leading = leading
        self._agreed: dict[str, bool | int | str] = {}
        self._first_burst_said = False
        self._declared = False
        self._their_length = DEFAULT_DATA_SEGMENT_LENGTH
        self._our_length = DEFAULT_DATA_SEGMENT_LENGTH

    def answer(self, pairs: Sequence[Pair]) -> list[Pair]:
        """Answers to pairs that a `Screen` passed, in their order; the first call adds our declaration."""
        answers: dict[str, str | None] = {key: None for key, _ in pairs}
        for last in (False, True):
            for key, value in pairs:
                if (key in _DEPENDENT) == last:
                    answers[key] = self._answer(key, value)
        result = [(key, value) for key, value in answers.items() if value is not None]
        if not self._declared:
            self._declared = True
            self._our_length = self._limits.max_recv_data_segment_length
            result.append(("MaxRecvDataSegmentLength", str(self._our_length)))
        return result

    def agree(self, initiator_alias: str = "") -> Parameters:
        """End the negotiation. Raises `NegotiationError` if the values contradict each other."""
        agreed = Parameters(
            initiator_max_recv_data_segment_length=self._their_length,
            target_max_recv_data_segment_length=self._our_length,
            initiator_alias=initiator_alias,
            session_type="Discovery" if self._discovery else "Normal",
        )
        for name, value in self._agreed.items():
            setattr(agreed, name, value)
        if agreed.first_burst_length > agreed.max_burst_length:  # RFC 7143 13.14
            if self._first_burst_said and (agreed.immediate_data or not agreed.initial_r2t):
                raise NegotiationError("FirstBurstLength exceeds MaxBurstLength")
            agreed.first_burst_length = agreed.max_burst_length
        if (
            agreed.error_recovery_level and agreed.data_sequence_in_order and agreed.max_outstanding_r2t > 1
        ):  # RFC 7143 13.19
            raise NegotiationError("with DataSequenceInOrder=Yes and recovery, one R2T at a time")
        return agreed

    def _answer(self, key: str, value: str) -> str | None:
        row = KEYS.get(key)
        if row is None:
            return NOT_UNDERSTOOD
        if row.use is Use.LEADING_ONLY and not self._leading:
            raise NegotiationError(f"{key} belongs to the login of a session's first connection")
        if row.use is Use.FULL_FEATURE_ONLY or row.result is Result.BY_METHOD or key == "AuthMethod":
            raise NegotiationError(f"{key} has no place in the operational stage")
        if row.result is Result.DECLARED:
            self._declare(row, value)
            return None
        if row.result is Result.ALWAYS_NO:
            return "No"
        if row.result is Result.ALWAYS_REJECT:
            return REJECT
        if self._is_irrelevant(row):
            return IRRELEVANT
        answer = self._negotiate(row, value)
        if key == "FirstBurstLength" and answer != REJECT:
            self._first_burst_said = True
        return answer

    def _declare(self, row: Key, value: str) -> None:
        if row.name == "MaxRecvDataSegmentLength":
            self._their_length = declared_length(value)
        else:
            check_text(row, value)

    def _is_irrelevant(self, row: Key) -> bool:
        if self._discovery and Irrelevant.IN_DISCOVERY in row.irrelevant:
            return True
        return (
            Irrelevant.WITHOUT_UNSOLICITED_DATA in row.irrelevant
            and self._so_far("initial_r2t") is True
            and self._so_far("immediate_data") is False
        )

    def _so_far(self, attribute: str) -> bool | int | str:
        value: bool | int | str = self._agreed.get(attribute, getattr(_DEFAULTS, attribute))
        return value

    def _negotiate(self, row: Key, value: str) -> str:
        if row.kind is Kind.LIST:
            return self._choose(row, value)
        if row.kind is Kind.BOOLEAN:
            return self._combine(row, value)
        return self._limit(row, value)

    def _choose(self, row: Key, value: str) -> str:
        choices = self._limits.choices(row.name)
        for offer in value.split(","):
            if offer in choices:
                digest = row.name != "TaskReporting"
                self._agreed[row.attribute] = offer == "CRC32C" if digest else offer
                return offer
        # RFC 7143 7.12: no acceptable choice fails the login.
        raise NegotiationError(f"nothing offered for {row.name} is acceptable")

    def _combine(self, row: Key, value: str) -> str:
        if value not in ("Yes", "No"):
            return REJECT
        ours: bool = getattr(self._limits, row.attribute)
        theirs = value == "Yes"
        result = ours or theirs if row.result is Result.OR else ours and theirs
        self._agreed[row.attribute] = result
        return "Yes" if result else "No"

    def _limit(self, row: Key, value: str) -> str:
        try:
            theirs = parse_number(value)
        except TextError:
            return REJECT
        if not row.low <= theirs <= row.high:
            return REJECT
        ours: int = getattr(self._limits, row.attribute)
        result = max(ours, theirs) if row.result is Result.MAXIMUM else min(ours, theirs)
        result = self._keep_integrity(row, result)
        self._agreed[row.attribute] = result
        return str(result)

    def _keep_integrity(self, row: Key, result: int) -> int:
        """Lower a result that other results would contradict (13.14, 13.19), discovery's fixed ones too."""
        if row.name == "FirstBurstLength":
            return min(result, int(self._so_far("max_burst_length")))
        if row.name == "MaxOutstandingR2T":
            in_order = self._so_far("data_sequence_in_order")
            return 1 if in_order and self._so_far("error_recovery_level") else result
        if row.name == "ErrorRecoveryLevel" and self._discovery:
            return 0  # RFC 7143 7.4.1
        return result


_DEFAULTS: Final = Parameters()


class TextSequence:
    """The keys of one text sequence in full feature phase, which holds as a whole or not at all (7.12).

    MaxRecvDataSegmentLength and InitiatorAlias may be declared anew. What belongs to login is answered with
    Reject and changes nothing, what nobody knows with NotUnderstood. SendTargets is its caller's business.
    """

    def __init__(self) -> None:
        self._screen = Screen()
        self._length: int | None = None
        self._alias: str | None = None

    def answer(self, pairs: Iterable[Pair]) -> list[Pair]:
        """The answers to one request's text. Raises `PduRejected`; the sequence is void then (6.4)."""
        try:
            return [
                (key, answer)
                for key, value in self._screen(pairs)
                if (answer := self._answer(key, value)) is not None
            ]
        except NegotiationError as error:
            raise PduRejected(RejectReason.PROTOCOL_ERROR, str(error)) from None

    def commit(self, parameters: Parameters) -> None:
        """The sequence has ended well: apply what was declared in it."""
        if self._length is not None:
            parameters.initiator_max_recv_data_segment_length = self._length
        if self._alias is not None:
            parameters.initiator_alias = self._alias

    def _answer(self, key: str, value: str) -> str | None:
        row = KEYS.get(key)
        if row is None:
            return NOT_UNDERSTOOD
        if key == "MaxRecvDataSegmentLength":
            self._length = declared_length(value)
            return None
        if key == "InitiatorAlias":
            check_text(row, value)
            self._alias = value
            return None
        if row.use is Use.FULL_FEATURE_ONLY:
            raise NegotiationError(f"{key} stands alone in its Text Request")  # RFC 7143 Appendix C
        return REJECT


def answer_text(pairs: Iterable[Pair], parameters: Parameters) -> list[Pair]:
    """Answer a text sequence of one request and apply it to `parameters`. Raises `PduRejected`."""
    sequence = TextSequence()
    answers = sequence.answer(pairs)
    sequence.commit(parameters)
    return answers


def declared_length(value: str) -> int:
    """A MaxRecvDataSegmentLength in bytes. Raises `NegotiationError` (13.12)."""
    row = KEYS["MaxRecvDataSegmentLength"]
    try:
        length = parse_number(value)
    except TextError as error:
        raise NegotiationError(f"{row.name} is {error}") from None
    if not row.low <= length <= row.high:
        raise NegotiationError(f"{row.name} is not in {row.low}..{row.high}")
    return length


def check_text(row: Key, value: str) -> None:
    """Raise `NegotiationError` for a text longer than its key allows (6.1)."""
    if len(value.encode()) > row.max_bytes:
        raise NegotiationError(f"{row.name} has more than {row.max_bytes} bytes")


def _quoted(key: str) -> str:
    """A key for a message: ours by name, an unknown one not at all, for it is the peer's to choose."""
    return key if key in KEYS else "an unknown key"
