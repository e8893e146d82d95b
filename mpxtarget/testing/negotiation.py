"""The initiator's half of negotiation: what it offers, what an answer may be, what holds in the end.

Written from RFC 7143 chapter 13 and not from the target's engine, so that the two can check each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from mpxtarget.pdu import DEFAULT_DATA_SEGMENT_LENGTH, TextError, parse_number
from mpxtarget.testing.mistakes import TargetMistake, require

STANDARD_KEYS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "HeaderDigest": "None",
        "DataDigest": "None",
        "ErrorRecoveryLevel": "0",
        "InitialR2T": "No",
        "ImmediateData": "Yes",
        "MaxRecvDataSegmentLength": "262144",
        "MaxBurstLength": "262144",
        "FirstBurstLength": "65536",
        "MaxOutstandingR2T": "1",
        "MaxConnections": "1",
        "DefaultTime2Wait": "2",
        "DefaultTime2Retain": "20",
        "DataPDUInOrder": "Yes",
        "DataSequenceInOrder": "Yes",
    }
)
"""What an ordinary initiator offers in the operational stage of a normal session."""

DISCOVERY_KEYS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "HeaderDigest": "None",
        "DataDigest": "None",
        "MaxRecvDataSegmentLength": "32768",
        "DefaultTime2Wait": "2",
        "DefaultTime2Retain": "0",
        "ErrorRecoveryLevel": "0",
    }
)

_RULES: Final[Mapping[str, tuple[str, str]]] = {
    # key: (result function, default), RFC 7143 13
    "HeaderDigest": ("list", "None"),
    "DataDigest": ("list", "None"),
    "TaskReporting": ("list", "RFC3720"),
    "MaxConnections": ("minimum", "1"),
    "InitialR2T": ("or", "Yes"),
    "ImmediateData": ("and", "Yes"),
    "MaxBurstLength": ("minimum", "262144"),
    "FirstBurstLength": ("minimum", "65536"),
    "DefaultTime2Wait": ("maximum", "2"),
    "DefaultTime2Retain": ("minimum", "20"),
    "MaxOutstandingR2T": ("minimum", "1"),
    "DataPDUInOrder": ("or", "Yes"),
    "DataSequenceInOrder": ("or", "Yes"),
    "ErrorRecoveryLevel": ("minimum", "0"),
    "iSCSIProtocolLevel": ("minimum", "1"),
    "OFMarker": ("and", "No"),
    "IFMarker": ("and", "No"),
    "MaxRecvDataSegmentLength": ("declared", "8192"),
    "InitiatorAlias": ("declared", ""),
}
_UNASKED: Final = frozenset(
    {"MaxRecvDataSegmentLength", "TargetPortalGroupTag", "TargetAlias", "TargetAddress"}
)
"""Keys a target may declare without having been asked."""


@dataclass(slots=True)
class Negotiated:
    """What holds after the login. Lengths are in bytes."""

    header_digest: bool = False
    data_digest: bool = False
    max_connections: int = 1
    initial_r2t: bool = True
    immediate_data: bool = True
    send_limit: int = DEFAULT_DATA_SEGMENT_LENGTH
    """The target's MaxRecvDataSegmentLength."""
    receive_limit: int = DEFAULT_DATA_SEGMENT_LENGTH
    """Our own MaxRecvDataSegmentLength."""
    max_burst_length: int = 262144
    first_burst_length: int = 65536
    max_outstanding_r2t: int = 1
    default_time2wait: int = 2
    default_time2retain: int = 20
    error_recovery_level: int = 0
    portal_group_tag: int | None = None
    target_alias: str = ""
    answers: dict[str, str] = field(default_factory=dict)
    """Every key the target sent, as it sent it."""


class Negotiation:
    """All keys of one login, in both directions."""

    def __init__(self) -> None:
        self.offered: dict[str, str] = {}
        self.answers: dict[str, str] = {}

    def offer(self, pairs: Mapping[str, str]) -> None:
        """Remember what was sent."""
        self.offered.update(pairs)

    def take(self, pairs: list[tuple[str, str]]) -> None:
        """Check and remember pairs that are not of the security protocol."""
        for key, value in pairs:
            require(key == "TargetAddress" or key not in self.answers, f"{key} was sent twice")
            if key not in _UNASKED:
                require(key in self.offered, f"{key}={value} was not asked for")
                _check_answer(key, self.offered[key], value)
            self.answers[key] = value

    def unanswered(self) -> list[str]:
        """Keys that were offered, need an answer, and have none (RFC 7143 6.2)."""
        return [
            key
            for key, value in self.offered.items()
            if key not in self.answers and not _may_be_silent(key, value)
        ]

    def result(self) -> Negotiated:
        """What holds now. Raises TargetMistake where the values do not fit together."""
        tag = self.answers.get("TargetPortalGroupTag")
        if tag is not None:
            require(tag.isdecimal() and int(tag) < 1 << 16, f"TargetPortalGroupTag={tag}")
        send_limit = _number("MaxRecvDataSegmentLength", self.answers.get("MaxRecvDataSegmentLength", "8192"))
        require(512 <= send_limit < 1 << 24, f"MaxRecvDataSegmentLength={send_limit}")
        result = Negotiated(
            header_digest=self._value("HeaderDigest") == "CRC32C",
            data_digest=self._value("DataDigest") == "CRC32C",
            max_connections=self._number("MaxConnections"),
            initial_r2t=self._value("InitialR2T") == "Yes",
            immediate_data=self._value("ImmediateData") == "Yes",
            send_limit=send_limit,
            receive_limit=parse_number(self.offered.get("MaxRecvDataSegmentLength", "8192")),
            max_burst_length=self._number("MaxBurstLength"),
            first_burst_length=self._number("FirstBurstLength"),
            max_outstanding_r2t=self._number("MaxOutstandingR2T"),
            default_time2wait=self._number("DefaultTime2Wait"),
            default_time2retain=self._number("DefaultTime2Retain"),
            error_recovery_level=self._number("ErrorRecoveryLevel"),
            portal_group_tag=None if tag is None else int(tag),
            target_alias=self.answers.get("TargetAlias", ""),
            answers=dict(self.answers),
        )
        if "FirstBurstLength" in self.answers and (result.immediate_data or not result.initial_r2t):
            require(
                result.first_burst_length <= result.max_burst_length,
                f"FirstBurstLength {result.first_burst_length} above MaxBurstLength",
            )
        return result

    def _value(self, key: str) -> str:
        """The value in force: the answer; the offer if silence confirms it; else the default."""
        answer = self.answers.get(key)
        if answer is None and key in self.offered and _may_be_silent(key, self.offered[key]):
            return self.offered[key]
        if answer is None or answer in ("Reject", "Irrelevant", "NotUnderstood"):
            return _RULES[key][1]
        return answer

    def _number(self, key: str) -> int:
        return _number(key, self._value(key))


def _may_be_silent(key: str, offered: str) -> bool:
    function = _RULES.get(key, ("", ""))[0]
    return function == "declared" or (function, offered) in (("and", "No"), ("or", "Yes"))


def _check_answer(key: str, offered: str, answer: str) -> None:
    """RFC 7143 6.2.1 and 6.2.2: an answer is the result of offer and the target's own limit."""
    said = f"{key}={offered} was answered {answer}"
    if answer in ("Reject", "Irrelevant"):
        return
    if key not in _RULES:
        require(answer == "NotUnderstood" or key.startswith("X"), f"{said}, but this initiator made it up")
        return
    require(answer != "NotUnderstood", f"{said}, but it is a key of RFC 7143")
    function, _ = _RULES[key]
    require(function != "declared", f"{said}, but a declaration gets no answer")
    if function == "list":
        require(answer in offered.split(","), f"{said}, which was not in the list")
    elif function in ("and", "or"):
        require(answer in ("Yes", "No"), said)
        fixed = "No" if function == "and" else "Yes"
        require(offered != fixed or answer == fixed, said)
    elif function == "minimum":
        require(_number(key, answer) <= parse_number(offered), f"{said}, above the offer")
    else:
        require(_number(key, answer) >= parse_number(offered), f"{said}, below the offer")


def _number(key: str, value: str) -> int:
    try:
        return parse_number(value)
    except TextError as error:
        raise TargetMistake(f"{key}={value}: {error}") from None
