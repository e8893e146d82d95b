"""An initiator for the tests of the login phase: it makes a good request, and the test bends it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from mpxtarget.iscsi.chap import ChapPolicy
from mpxtarget.iscsi.errors import LoginRejected
from mpxtarget.iscsi.login import Admission, LoginOutcome, LoginPhase, LoginReply, LoginState
from mpxtarget.iscsi.negotiation import Limits
from mpxtarget.pdu import LoginRequest, decode_pairs, encode_pairs

INITIATOR = "iqn.1993-08.org.debian:01:abcdef"
TARGET = "iqn.2004-09.com.hp:fcgw.mpx100.2b3c.b1.01.50001fe150012348"
ISID = 0x00023D000001
ITT = 0x1A2B3C4D
TSIH = 0x4711

SECURITY, OPERATIONAL, FULL_FEATURE = 0, 1, 3

USER = "host-one"
SECRET = b"sixteen byte key"
TARGET_USER = "array-one"
TARGET_SECRET = b"sixteen byte lok"
ONE_WAY = ChapPolicy(USER, SECRET)
MUTUAL = ChapPolicy(USER, SECRET, TARGET_USER, TARGET_SECRET)

Pairs = Iterable[tuple[str, str]]
NAMES = (("InitiatorName", INITIATOR), ("TargetName", TARGET))
DISCOVERY = (("InitiatorName", INITIATOR), ("SessionType", "Discovery"))


@dataclass
class OneTarget:
    """A directory that knows one target and gives everybody the same terms, or the same refusal."""

    admission: Admission
    refusal: LoginRejected | None = None
    asked: list[tuple[str, str | None]] = field(default_factory=list)

    def admit(self, initiator: str, target: str | None) -> Admission:
        self.asked.append((initiator, target))
        if self.refusal:
            raise self.refusal
        if target not in (None, TARGET):
            raise LoginRejected(0x0203, "unknown target")
        return self.admission


class Initiator:
    """One login against a `LoginPhase` of its own, which it shows as `phase`."""

    def __init__(
        self,
        *,
        chap: ChapPolicy | None = None,
        allow_none: bool = False,
        limits: Limits | None = None,
        tag: int = 1,
        alias: str = "",
        refusal: LoginRejected | None = None,
        establish_refusal: Exception | None = None,
        join_refusal: LoginRejected | None = None,
        tsih: int = TSIH,
        **header: int,
    ) -> None:
        self.directory = OneTarget(Admission(tag, alias, chap, allow_none), refusal)
        self.outcomes: list[LoginOutcome] = []
        self.joins: list[LoginOutcome] = []
        self.establish_refusal = establish_refusal
        self.join_refusal = join_refusal
        self.tsih = tsih
        self.random = 0
        self.header = {"isid": ISID, "itt": ITT, "cid": 7, "cmd_sn": 100} | header
        self.phase = LoginPhase(
            self.directory, limits or Limits(), self._establish, self._entropy, may_join=self._may_join
        )

    def send(
        self,
        pairs: Pairs = (),
        *,
        csg: int = SECURITY,
        nsg: int | None = None,
        more: bool = False,
        raw: bytes | None = None,
        **header: int,
    ) -> LoginReply:
        """One request with `pairs`, or the bytes `raw`; T is set if there is an `nsg`."""
        data = encode_pairs(pairs) if raw is None else raw
        fields = {
            "csg": csg,
            "nsg": nsg or 0,
            "transit": int(nsg is not None),
            "continue_": int(more),
            "data_segment_length": len(data),
        }
        return self.phase.receive(LoginRequest(**(self.header | fields | header)), data)

    def whole_answer(self, reply: LoginReply, *, csg: int = OPERATIONAL, nsg: int | None = None) -> bytes:
        """The text of an answer in parts, each asked for with an empty request."""
        text = reply.data
        while reply.response.continue_:
            reply = self.send(csg=csg, nsg=nsg)
            text += reply.data
        return text

    def _establish(self, outcome: LoginOutcome) -> int:
        self.outcomes.append(outcome)
        if self.establish_refusal:
            raise self.establish_refusal
        return self.tsih

    def _may_join(self, outcome: LoginOutcome) -> None:
        self.joins.append(outcome)
        if self.join_refusal:
            raise self.join_refusal

    def _entropy(self, count: int) -> bytes:
        self.random += 1
        return bytes((self.random + n) & 0xFF for n in range(count))


def answers(reply: LoginReply) -> dict[str, str]:
    """The pairs of a reply that has to be good, each key once."""
    assert reply.state is not LoginState.FAILED, reply.reason
    pairs = decode_pairs(reply.data)
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def status(reply: LoginReply) -> int:
    """Status-Class and Status-Detail as one number."""
    return reply.response.status_class << 8 | reply.response.status_detail


def operational(initiator: Initiator, pairs: Pairs, names: Pairs = NAMES) -> dict[str, str]:
    """The answers to `pairs` in a login that goes straight through the operational stage."""
    return answers(initiator.send((*names, *pairs), csg=OPERATIONAL, nsg=FULL_FEATURE))
