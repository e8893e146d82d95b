"""The text keys of RFC 7143, one row each, in the order of its chapters 12 and 13.

Everything the negotiation engine knows of a key is here: who may send it and when, what its values look
like, and how offer and answer become a result. A key that is not in this table is not understood; a key
that is never is, not even the obsolete ones (13.25) and the keys of security methods we do not offer.

The default is what holds while a key was not negotiated, or was answered with Reject.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, Flag, auto
from typing import Final

from mpxtarget.iscsi.names import MAX_NAME_LENGTH


class Use(Enum):
    """When a key may be sent (13, first page)."""

    LEADING_ONLY = "LO"
    """In the login phase of a session's first connection."""
    INITIALIZE_ONLY = "IO"
    """In the login phase of any connection."""
    ALL = "ALL"
    """In the login phase and in full feature phase."""
    FULL_FEATURE_ONLY = "FFPO"
    """In full feature phase."""


class Stages(Flag):
    """Where in the login phase a key is at home; "Any-Stage" in the RFC's rows is both (6.3)."""

    NONE = 0
    SECURITY = auto()
    OPERATIONAL = auto()
    ANY = SECURITY | OPERATIONAL


class Scope(Enum):
    """What a value holds for."""

    SESSION = "SW"
    CONNECTION = "CO"


class Sender(Flag):
    """Who may be the first to send a key; the other side answers it."""

    INITIATOR = auto()
    TARGET = auto()
    BOTH = INITIATOR | TARGET


class Kind(Enum):
    """What a value looks like (6.1)."""

    BOOLEAN = auto()
    NUMBER = auto()
    LIST = auto()
    TEXT = auto()
    BINARY = auto()


class Result(Enum):
    """How offer and own value become the result (6.2)."""

    DECLARED = auto()
    """The sender has said it; there is no answer."""
    FIRST_ACCEPTABLE = auto()
    """Of a list, the first value in the offerer's order that the answerer may use."""
    AND = auto()
    OR = auto()
    MINIMUM = auto()
    MAXIMUM = auto()
    ALWAYS_NO = auto()
    """Obsolete boolean (13.25): the answer is No whatever was offered."""
    ALWAYS_REJECT = auto()
    """Obsolete range (13.25): the answer is Reject whatever was offered."""
    BY_METHOD = auto()
    """The security method in use says what it means (12.1)."""


class Irrelevant(Flag):
    """When a key has no meaning and is answered with Irrelevant (6.2)."""

    NEVER = 0
    IN_DISCOVERY = auto()
    WITHOUT_UNSOLICITED_DATA = auto()
    """InitialR2T=Yes and ImmediateData=No: there is no first burst (13.14)."""


@dataclass(frozen=True, slots=True)
class Key:
    """One row. `low` and `high` bound numbers, `max_bytes` bounds one simple value in decoded form.

    `attribute` names the field of `Limits` and `Parameters` that holds our own and the agreed value; keys
    without one are not negotiated by the engine.
    """

    name: str
    section: str
    use: Use
    scope: Scope
    sender: Sender
    kind: Kind
    result: Result
    default: str | None = None
    low: int = 0
    high: int = 0
    stages: Stages = Stages.OPERATIONAL
    irrelevant: Irrelevant = Irrelevant.NEVER
    max_bytes: int = 255
    attribute: str = ""


_LO, _IO, _ALL, _FFPO = Use.LEADING_ONLY, Use.INITIALIZE_ONLY, Use.ALL, Use.FULL_FEATURE_ONLY
_SW, _CO = Scope.SESSION, Scope.CONNECTION
_I, _T, _IT = Sender.INITIATOR, Sender.TARGET, Sender.BOTH
_SEC, _ANY, _NONE = Stages.SECURITY, Stages.ANY, Stages.NONE
_DISCOVERY = Irrelevant.IN_DISCOVERY
_NO_FIRST_BURST = Irrelevant.IN_DISCOVERY | Irrelevant.WITHOUT_UNSOLICITED_DATA
_MAX_LENGTH = (1 << 24) - 1

_BOOL, _NUM, _LIST, _TEXT, _BIN = Kind.BOOLEAN, Kind.NUMBER, Kind.LIST, Kind.TEXT, Kind.BINARY
_DECL, _FIRST, _METHOD = Result.DECLARED, Result.FIRST_ACCEPTABLE, Result.BY_METHOD
_MIN, _MAX, _AND, _OR = Result.MINIMUM, Result.MAXIMUM, Result.AND, Result.OR


def _method_key(name: str, section: str, kind: Kind, max_bytes: int = 255) -> Key:
    return Key(name, section, _IO, _CO, _IT, kind, _METHOD, stages=_SEC, max_bytes=max_bytes)


# fmt: off
_ROWS: Final = (
    # 12. Security
    Key("AuthMethod", "12.1", _IO, _CO, _IT, _LIST, _FIRST, stages=_SEC),
    _method_key("KRB_AP_REQ", "12.1.1", _BIN, 65535),
    _method_key("KRB_AP_REP", "12.1.1", _BIN, 65535),
    _method_key("SRP_U", "12.1.2", _TEXT),
    _method_key("TargetAuth", "12.1.2", _BOOL),
    _method_key("SRP_GROUP", "12.1.2", _LIST),
    _method_key("SRP_A", "12.1.2", _BIN, 1024),
    _method_key("SRP_B", "12.1.2", _BIN, 1024),
    _method_key("SRP_s", "12.1.2", _BIN, 1024),
    _method_key("SRP_M", "12.1.2", _BIN, 1024),
    _method_key("SRP_HM", "12.1.2", _BIN, 1024),
    _method_key("CHAP_A", "12.1.3", _LIST),
    _method_key("CHAP_N", "12.1.3", _TEXT),
    _method_key("CHAP_R", "12.1.3", _BIN, 1024),
    _method_key("CHAP_I", "12.1.3", _NUM),
    _method_key("CHAP_C", "12.1.3", _BIN, 1024),
    # 13. Login/Text Operational
    Key("HeaderDigest", "13.1", _IO, _CO, _IT, _LIST, _FIRST, "None", attribute="header_digest"),
    Key("DataDigest", "13.1", _IO, _CO, _IT, _LIST, _FIRST, "None", attribute="data_digest"),
    Key("MaxConnections", "13.2", _LO, _SW, _IT, _NUM, _MIN, "1", 1, 65535,
        irrelevant=_DISCOVERY, attribute="max_connections"),
    Key("SendTargets", "13.3", _FFPO, _SW, _I, _TEXT, _DECL, stages=_NONE),
    Key("TargetName", "13.4", _IO, _SW, _IT, _TEXT, _DECL, stages=_ANY, max_bytes=MAX_NAME_LENGTH),
    Key("InitiatorName", "13.5", _IO, _SW, _I, _TEXT, _DECL, stages=_ANY, max_bytes=MAX_NAME_LENGTH),
    Key("TargetAlias", "13.6", _ALL, _SW, _T, _TEXT, _DECL, stages=_ANY),
    Key("InitiatorAlias", "13.7", _ALL, _SW, _I, _TEXT, _DECL, stages=_ANY),
    Key("TargetAddress", "13.8", _ALL, _SW, _T, _TEXT, _DECL, stages=_ANY),
    Key("TargetPortalGroupTag", "13.9", _IO, _SW, _T, _NUM, _DECL, None, 0, 65535, stages=_ANY),
    Key("InitialR2T", "13.10", _LO, _SW, _IT, _BOOL, _OR, "Yes",
        irrelevant=_DISCOVERY, attribute="initial_r2t"),
    Key("ImmediateData", "13.11", _LO, _SW, _IT, _BOOL, _AND, "Yes",
        irrelevant=_DISCOVERY, attribute="immediate_data"),
    Key("MaxRecvDataSegmentLength", "13.12", _ALL, _CO, _IT, _NUM, _DECL, "8192", 512, _MAX_LENGTH),
    Key("MaxBurstLength", "13.13", _LO, _SW, _IT, _NUM, _MIN, "262144", 512, _MAX_LENGTH,
        irrelevant=_DISCOVERY, attribute="max_burst_length"),
    Key("FirstBurstLength", "13.14", _LO, _SW, _IT, _NUM, _MIN, "65536", 512, _MAX_LENGTH,
        irrelevant=_NO_FIRST_BURST, attribute="first_burst_length"),
    Key("DefaultTime2Wait", "13.15", _LO, _SW, _IT, _NUM, _MAX, "2", 0, 3600,
        attribute="default_time2wait"),
    Key("DefaultTime2Retain", "13.16", _LO, _SW, _IT, _NUM, _MIN, "20", 0, 3600,
        attribute="default_time2retain"),
    Key("MaxOutstandingR2T", "13.17", _LO, _SW, _IT, _NUM, _MIN, "1", 1, 65535,
        irrelevant=_DISCOVERY, attribute="max_outstanding_r2t"),
    Key("DataPDUInOrder", "13.18", _LO, _SW, _IT, _BOOL, _OR, "Yes",
        irrelevant=_DISCOVERY, attribute="data_pdu_in_order"),
    Key("DataSequenceInOrder", "13.19", _LO, _SW, _IT, _BOOL, _OR, "Yes",
        irrelevant=_DISCOVERY, attribute="data_sequence_in_order"),
    Key("ErrorRecoveryLevel", "13.20", _LO, _SW, _IT, _NUM, _MIN, "0", 0, 2,
        attribute="error_recovery_level"),
    Key("SessionType", "13.21", _LO, _SW, _I, _TEXT, _DECL, "Normal", stages=_ANY),
    Key("TaskReporting", "13.23", _LO, _SW, _IT, _LIST, _FIRST, "RFC3720",
        irrelevant=_DISCOVERY, attribute="task_reporting"),
    Key("iSCSIProtocolLevel", "13.24", _LO, _SW, _IT, _NUM, _MIN, "1", 0, 31,
        irrelevant=_DISCOVERY, attribute="iscsi_protocol_level"),
    Key("IFMarker", "13.25", _IO, _CO, _IT, _BOOL, Result.ALWAYS_NO, "No"),
    Key("OFMarker", "13.25", _IO, _CO, _IT, _BOOL, Result.ALWAYS_NO, "No"),
    Key("IFMarkInt", "13.25", _IO, _CO, _IT, _TEXT, Result.ALWAYS_REJECT),
    Key("OFMarkInt", "13.25", _IO, _CO, _IT, _TEXT, Result.ALWAYS_REJECT),
    # Not bound to a stage by 13.26; nothing depends on it, so it may come in either.
    Key("X#NodeArchitecture", "13.26", _LO, _SW, _IT, _TEXT, _DECL, stages=_ANY),
)
# fmt: on

KEYS: Final = {row.name: row for row in _ROWS}
"""Every key of RFC 7143 by its name, case-sensitive, in the order of the RFC."""
