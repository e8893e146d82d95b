"""A strict iSCSI initiator, for tests of the target and for tests of others' initiators' habits.

`InitiatorConnection` is the machine: bytes in, events and bytes out, no socket and no clock. `Initiator` in
`mpxtarget.testing.client` puts it on a TCP connection; `Pair` in `mpxtarget.testing.pair` couples it with a
target machine in memory. Whatever the target does that RFC 7143 does not allow raises `TargetMistake`.
The initiator shares the codec with the target and nothing else, so it cannot share its mistakes.
"""

from mpxtarget.testing.events import (
    AsyncReceived,
    CommandAborted,
    CommandDone,
    Event,
    LoggedIn,
    LoggedOut,
    LoginFailed,
    PingAnswered,
    PingReceived,
    R2TReceived,
    RawAnswered,
    Rejected,
    TextAnswered,
    TmfAnswered,
)
from mpxtarget.testing.factory import PduFactory
from mpxtarget.testing.initiator import InitiatorConnection, lun_field
from mpxtarget.testing.login import ChapCredentials, LoginOptions
from mpxtarget.testing.mistakes import TargetMistake
from mpxtarget.testing.negotiation import STANDARD_KEYS, Negotiated

__all__ = [
    "STANDARD_KEYS",
    "AsyncReceived",
    "ChapCredentials",
    "CommandAborted",
    "CommandDone",
    "Event",
    "InitiatorConnection",
    "LoggedIn",
    "LoggedOut",
    "LoginFailed",
    "LoginOptions",
    "Negotiated",
    "PduFactory",
    "PingAnswered",
    "PingReceived",
    "R2TReceived",
    "RawAnswered",
    "Rejected",
    "TargetMistake",
    "TextAnswered",
    "TmfAnswered",
    "lun_field",
]
