"""The login phase of RFC 7143 (6.3), the target's end, as a state machine without I/O.

    phase = LoginPhase(directory, limits, establish, entropy)
    reply = phase.receive(request, data)    # for each Login Request; send the reply, look at its state

A login walks through stages. Which step is legal is in `ENTRY` and `NEXT_STAGES` and nowhere else; what a
stage does with its keys is in `_security` and `_operational`. Between them and the wire stand two small
mechanisms: requests with C=1 are collected until the text is whole, and an answer too long for one PDU leaves
in parts.

The rules kept here:

- The initiator leads: T, the stages and the end come from its requests; we follow or hold back, never push.
- Errors are judged in one order: the header with the version first, missing names, the directory's verdict,
  authentication, the named session, and only then the details of negotiation (11.13.5).
- Nothing outside this object changes before `establish`, which is called once, when all is agreed and right
  before the final response is built. A login that fails before leaves no trace.
- A refusal is a status and nothing else: T, CSG and NSG are 0 and there is no data, but for TargetAddress
  in a redirection (6.3.1).
- All that a peer can make us keep is bounded: text and number of keys, exchanges, length of each value.
- `receive` never raises. What goes wrong inside is logged and becomes status 0300h.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol

from mpxtarget.iscsi.chap import Chap, ChapPolicy, Step
from mpxtarget.iscsi.errors import LoginRejected, NegotiationError
from mpxtarget.iscsi.keys import KEYS, Stages
from mpxtarget.iscsi.names import InvalidName, normalize_name
from mpxtarget.iscsi.negotiation import (
    MAX_TEXT,
    NOT_UNDERSTOOD,
    Limits,
    Negotiation,
    Pair,
    Parameters,
    Screen,
    check_text,
)
from mpxtarget.pdu import LoginRequest, LoginResponse
from mpxtarget.pdu.constants import DEFAULT_DATA_SEGMENT_LENGTH, LoginStatus, Stage
from mpxtarget.pdu.text import TextError, decode_pairs, encode_pairs

__all__ = [
    "Admission",
    "ChapPolicy",
    "Directory",
    "LoginOutcome",
    "LoginPhase",
    "LoginReply",
    "LoginState",
]

log = logging.getLogger(__name__)

MAX_EXCHANGES: Final = 32
"""Requests in one login; RFC 7143 6.2 asks for six at least."""
SEGMENT: Final = DEFAULT_DATA_SEGMENT_LENGTH
"""Data segments of login PDUs, both ways, whatever is declared for later (6.3)."""

# RFC 7143 6.3, the table of legal transitions: forward only, and in one step or two.
ENTRY: Final = frozenset({Stage.SECURITY_NEGOTIATION, Stage.OPERATIONAL_NEGOTIATION})
NEXT_STAGES: Final = {
    Stage.SECURITY_NEGOTIATION: frozenset({Stage.OPERATIONAL_NEGOTIATION, Stage.FULL_FEATURE_PHASE}),
    Stage.OPERATIONAL_NEGOTIATION: frozenset({Stage.FULL_FEATURE_PHASE}),
}


@dataclass(frozen=True, slots=True)
class Admission:
    """What an initiator that may come in has to know and to do.

    Without `chap` it logs in unauthenticated. With it, it proves itself, unless `allow_none` leaves it the
    choice.
    """

    portal_group_tag: int
    target_alias: str
    chap: ChapPolicy | None
    allow_none: bool


class Directory(Protocol):
    """Who knows the targets and the initiators. Names it sees are normalised."""

    def admit(self, initiator: str, target: str | None) -> Admission:
        """The terms for `initiator` at `target`, None for discovery without one.

        Raises `LoginRejected`: 0203h for an unknown target, 0202h for one not meant for it, 0301h and so on.
        Asked before anybody is authenticated, so it changes nothing.
        """


@dataclass(frozen=True, slots=True)
class LoginOutcome:
    """A login that has succeeded but for the session it asks for. `tsih` is the requested one, 0 for new."""

    initiator: str
    target: str | None
    isid: int
    tsih: int
    cid: int
    discovery: bool
    parameters: Parameters
    cmd_sn: int
    portal_group_tag: int
    authenticated_as: str | None


class LoginState(Enum):
    """What the sender of a reply does next."""

    CONTINUE = "continue"
    ESTABLISHED = "established"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class LoginReply:
    """The response to one request; after a FAILED one the connection is closed. `reason` is for the log."""

    response: LoginResponse
    data: bytes
    state: LoginState
    reason: str = ""


class _Authentication(Enum):
    """How far the security stage has come."""

    UNDECIDED = "no method chosen"
    CHAP = "CHAP under way"
    PASSED = "authenticated, or None chosen"


class LoginPhase:
    """The login of one connection.

    `establish` gets the outcome and returns the TSIH of the session; it may raise `LoginRejected`.
    `may_join`, if given, is asked about a login that names an existing session (TSIH not 0) as soon as its
    initiator is authenticated, and raises `LoginRejected` (020Ah, 0206h, 0208h) before keys are negotiated;
    the parameters in its argument are not agreed yet. `entropy(n)` gives n unpredictable bytes.

    `stat_sn` is the next StatSN, for the full feature phase to go on with; `exp_cmd_sn` is its first CmdSN.
    """

    def __init__(
        self,
        directory: Directory,
        limits: Limits,
        establish: Callable[[LoginOutcome], int],
        entropy: Callable[[int], bytes],
        *,
        may_join: Callable[[LoginOutcome], None] | None = None,
    ) -> None:
        self.stat_sn = 0
        self.exp_cmd_sn = 0
        self._directory = directory
        self._limits = limits
        self._establish = establish
        self._may_join = may_join
        self._entropy = entropy
        self._first: LoginRequest | None = None
        self._stage: int = Stage.SECURITY_NEGOTIATION
        self._over = False
        self._exchanges = 0
        self._text_length = 0
        self._inbox = bytearray()
        self._outbox = b""
        self._may_leave = False
        # Known from the first complete text on:
        self._admission: Admission | None = None
        self._initiator = ""
        self._target: str | None = None
        self._discovery = False
        self._alias = ""
        self._screen = Screen()
        self._authentication = _Authentication.UNDECIDED
        self._chap: Chap | None = None
        self._authenticated_as: str | None = None
        self._negotiation: Negotiation | None = None

    def receive(self, request: LoginRequest, data: bytes) -> LoginReply:
        """The reply to `request` with its data segment, never an exception."""
        try:
            return self._receive(request, data)
        except LoginRejected as error:
            return self._reject(request, error.status, error.reason, error.target_addresses)
        except (NegotiationError, TextError) as error:
            return self._reject(request, LoginStatus.INITIATOR_ERROR, str(error))
        except Exception as error:
            log.exception("a login failed by our own fault")
            return self._reject(request, LoginStatus.TARGET_ERROR, f"internal error: {type(error).__name__}")

    @property
    def initiator(self) -> str:
        """The InitiatorName that was given; empty as long as none was."""
        return self._initiator

    def refuse(self, status: int, reason: str) -> LoginReply:
        """End a login that has begun for a reason of the caller's: another PDU came, or time is up."""
        return self._reject(self._first or LoginRequest(), status, reason)

    # The request, up to the point where its text is whole

    def _receive(self, request: LoginRequest, data: bytes) -> LoginReply:
        if self._over:
            raise _error("a Login Request after the login was over")
        self._check_header(request)
        self._exchanges += 1
        if self._exchanges > MAX_EXCHANGES:
            raise _error(f"no end after {MAX_EXCHANGES} requests")
        self._text_length += len(data)
        if len(data) > SEGMENT or self._text_length > MAX_TEXT:
            raise _error("too much text")
        if self._outbox:  # RFC 7143 6.2: an empty request asks for the next part of a long answer
            if data or request.continue_:
                raise _error("text before our own was complete")
            return self._send(request)
        self._inbox += data
        if request.continue_:
            return self._reply(request)
        pairs = decode_pairs(bytes(self._inbox))
        self._inbox.clear()
        answers = [] if self._admission else self._introduce(pairs)
        stage = self._operational if self._stage == Stage.OPERATIONAL_NEGOTIATION else self._security
        answers += stage(self._screen(pairs), bool(request.transit))
        self._outbox = encode_pairs(answers)
        if len(self._outbox) > MAX_TEXT:
            raise _error("the answers would be too long")
        return self._send(request)

    def _check_header(self, request: LoginRequest) -> None:
        first = self._first
        if first is None:
            self._first = first = request
            self.exp_cmd_sn = request.cmd_sn  # RFC 7143 11.12.8
            if request.version_min > 0:
                raise LoginRejected(LoginStatus.UNSUPPORTED_VERSION, f"version {request.version_min} and up")
            if request.csg not in ENTRY:
                raise _error(f"no login begins in stage {request.csg}")
            self._stage = request.csg
        # The ITT has to stay too (6.3), but initiators exist that count it up, and no harm comes of it: each
        # response repeats the tag of its request.
        for field in ("isid", "tsih", "cid", "version_max", "version_min"):  # RFC 7143 11.12.4 to 11.12.7
            if getattr(request, field) != getattr(first, field):
                raise _error(f"{field} changed during login")
        if request.csg != self._stage:
            raise _error(f"stage {request.csg} where {self._stage} was agreed")
        if request.transit and request.continue_:
            raise _error("T and C in one request")
        if request.transit and request.nsg not in NEXT_STAGES[self._stage]:
            raise _error(f"no way from stage {self._stage} to {request.nsg}")

    def _introduce(self, pairs: list[Pair]) -> list[Pair]:
        """Who is there and where to: the first complete text. Returns what we say of ourselves (6.3.1)."""
        said = dict(reversed(pairs))  # the first of each key; a second one is for the screen to find
        if "InitiatorName" not in said:
            raise LoginRejected(LoginStatus.MISSING_PARAMETER, "InitiatorName is missing")
        session_type = said.get("SessionType", "Normal")
        if session_type not in ("Normal", "Discovery"):
            raise LoginRejected(LoginStatus.SESSION_TYPE_NOT_SUPPORTED, "unknown SessionType")
        self._discovery = session_type == "Discovery"
        if "TargetName" not in said and not self._discovery:
            raise LoginRejected(LoginStatus.MISSING_PARAMETER, "TargetName is missing")
        try:
            self._initiator = normalize_name(said["InitiatorName"])
        except InvalidName as error:
            raise _error(f"InitiatorName: {error}") from None
        try:
            self._target = normalize_name(said["TargetName"]) if "TargetName" in said else None
        except InvalidName as error:  # nothing can be known by such a name
            raise LoginRejected(LoginStatus.NOT_FOUND, f"TargetName: {error}") from None
        self._admission = admission = self._directory.admit(self._initiator, self._target)
        assert self._first is not None
        self._negotiation = Negotiation(
            self._limits, discovery=self._discovery, leading=self._first.tsih == 0
        )
        if self._stage == Stage.OPERATIONAL_NEGOTIATION:
            if "None" not in self._methods():  # RFC 7143 6.3.1
                raise _unauthenticated("the initiator skipped authentication")
            self._check_session()
        about_us: list[Pair] = []
        if self._target is not None:
            about_us.append(("TargetPortalGroupTag", str(admission.portal_group_tag)))
            if admission.target_alias and not self._discovery:
                about_us.append(("TargetAlias", admission.target_alias))
        for key, _ in about_us:
            self._screen.declared(key)
        return about_us

    # The stages: pairs in, answers out, and whether the stage may be left

    def _security(self, pairs: list[Pair], transit: bool) -> list[Pair]:
        answers: list[Pair] = []
        method: str | None = None
        chap_keys: dict[str, str] = {}
        for key, value in pairs:
            row = KEYS.get(key)
            if row is None:
                answers.append((key, NOT_UNDERSTOOD))
            elif Stages.SECURITY not in row.stages:
                raise _error(f"{key} has no place in the security stage")
            elif key == "AuthMethod":
                method = value
            elif key.startswith("CHAP_"):
                chap_keys[key] = value
            elif row.stages is Stages.ANY:
                self._any_stage(key, value)
            else:
                raise _error(f"{key} belongs to a method that was not chosen")
        answers += self._authenticate(method, chap_keys, transit)
        return answers

    def _operational(self, pairs: list[Pair], _transit: bool) -> list[Pair]:
        assert self._negotiation is not None
        rest: list[Pair] = []
        for key, value in pairs:
            row = KEYS.get(key)
            if row is not None and row.stages is Stages.ANY:
                self._any_stage(key, value)
            else:
                rest.append((key, value))
        self._may_leave = True
        answers = self._negotiation.answer(rest)
        if any(key == "MaxRecvDataSegmentLength" for key, _ in answers):
            self._screen.declared("MaxRecvDataSegmentLength")
        return answers

    def _any_stage(self, key: str, value: str) -> None:
        """Keys that either stage may bring. The names were used when they arrived and cannot come later."""
        check_text(KEYS[key], value)
        if key == "InitiatorAlias":
            self._alias = value
        elif key == "SessionType" and value != ("Discovery" if self._discovery else "Normal"):
            raise _error("SessionType changed during login")
        elif key == "TargetName" and self._target is None:
            raise _error("TargetName came after the first request")

    # Authentication

    def _methods(self) -> tuple[str, ...]:
        """The methods that this initiator may use."""
        assert self._admission is not None
        if self._admission.chap is None:
            return ("None",)
        return ("CHAP", "None") if self._admission.allow_none else ("CHAP",)

    def _authenticate(self, method: str | None, keys: dict[str, str], transit: bool) -> list[Pair]:
        answers: list[Pair] = []
        if method is not None:
            answers = self._choose_method(method, keys)
            if self._chap is not None and not keys:
                self._may_leave = False
                return answers
        if self._chap is not None:
            answers += self._chap.answer(keys)
            if self._chap.step is Step.DONE:
                assert self._admission is not None and self._admission.chap is not None
                self._authentication = _Authentication.PASSED
                self._authenticated_as = self._admission.chap.user
        elif keys:
            raise _error(f"{min(keys)} without AuthMethod=CHAP")
        elif self._authentication is _Authentication.UNDECIDED and "None" not in self._methods() and transit:
            answers += self._offer_method()
        self._may_leave = self._authentication is _Authentication.PASSED or (
            self._authentication is _Authentication.UNDECIDED and "None" in self._methods()
        )
        return answers

    def _choose_method(self, offered: str, keys: dict[str, str]) -> list[Pair]:
        """The first method of the initiator's list that it may use (6.2.1, 6.3.2)."""
        offers = offered.split(",")
        chosen = next((offer for offer in offers if offer in self._methods()), None)
        if chosen is None:
            raise _unauthenticated("no authentication method in common")
        if chosen == "CHAP":
            assert self._admission is not None and self._admission.chap is not None
            # 12.1.3 waits for our choice before CHAP_A; where there is no choice, it may come along.
            if keys and len(offers) > 1:
                raise _error(f"{min(keys)} before a method was chosen")
            self._authentication = _Authentication.CHAP
            self._chap = Chap(self._admission.chap, self._entropy)
        else:
            self._authentication = _Authentication.PASSED
        # One value is the answer to an offer of ours; a list is an offer, and wants an answer itself.
        if self._screen.is_answer("AuthMethod") and len(offers) == 1:
            return []
        return [("AuthMethod", chosen)]

    def _offer_method(self) -> list[Pair]:
        """The initiator would leave the stage without a word on authentication: ask for it (6.3.1)."""
        if self._screen.is_answer("AuthMethod"):  # it was offered already
            raise _unauthenticated("the initiator ignores that it has to authenticate")
        self._screen.offered("AuthMethod")
        return [("AuthMethod", "CHAP")]

    # The response

    def _send(self, request: LoginRequest) -> LoginReply:
        """The next part of the answer; with the last one the stage may end."""
        part, self._outbox = self._outbox[:SEGMENT], self._outbox[SEGMENT:]
        if self._outbox:
            return self._reply(request, part, continue_=1)
        if not (request.transit and self._may_leave):
            return self._reply(request, part)
        if request.nsg == Stage.FULL_FEATURE_PHASE:
            return self._finish(request, part)
        reply = self._reply(request, part, transit=1)
        self._check_session()
        self._stage = request.nsg
        self._may_leave = False
        self._screen.next_stage()
        return reply

    def _finish(self, request: LoginRequest, part: bytes) -> LoginReply:
        assert self._negotiation is not None
        outcome = self._outcome(self._negotiation.agree(self._alias))
        tsih = self._establish(outcome)
        if not 0 < tsih <= 0xFFFF or (request.tsih and tsih != request.tsih):
            raise ValueError(f"{tsih} is no TSIH for this session")
        self._over = True
        return self._reply(request, part, transit=1, tsih=tsih, state=LoginState.ESTABLISHED)

    def _check_session(self) -> None:
        """The session that a further connection names has to be there before its keys are looked at."""
        assert self._first is not None
        if self._first.tsih and self._may_join is not None:
            self._may_join(self._outcome(Parameters()))

    def _outcome(self, parameters: Parameters) -> LoginOutcome:
        assert self._first is not None and self._admission is not None
        return LoginOutcome(
            initiator=self._initiator,
            target=self._target,
            isid=self._first.isid,
            tsih=self._first.tsih,
            cid=self._first.cid,
            discovery=self._discovery,
            parameters=parameters,
            cmd_sn=self._first.cmd_sn,
            portal_group_tag=self._admission.portal_group_tag,
            authenticated_as=self._authenticated_as,
        )

    def _reply(
        self,
        request: LoginRequest,
        data: bytes = b"",
        *,
        transit: int = 0,
        continue_: int = 0,
        tsih: int | None = None,
        state: LoginState = LoginState.CONTINUE,
    ) -> LoginReply:
        response = self._response(request, len(data))
        response.transit = transit
        response.continue_ = continue_
        response.csg = request.csg
        response.nsg = request.nsg if transit else 0  # RFC 7143 11.12.3
        if tsih is not None:
            response.tsih = tsih
        return LoginReply(response, data, state)

    def _reject(
        self, request: LoginRequest, status: int, reason: str, target_addresses: tuple[str, ...] = ()
    ) -> LoginReply:
        self._over = True
        self._inbox.clear()
        self._outbox = b""
        data = encode_pairs(("TargetAddress", address) for address in target_addresses)
        response = self._response(request, len(data))
        response.status_class = status >> 8
        response.status_detail = status & 0xFF
        return LoginReply(response, data, LoginState.FAILED, f"{reason} ({status:04x}h)")

    def _response(self, request: LoginRequest, data_segment_length: int) -> LoginResponse:
        response = LoginResponse(
            data_segment_length=data_segment_length,
            isid=request.isid,
            tsih=request.tsih,
            itt=request.itt,
            stat_sn=self.stat_sn,
            exp_cmd_sn=self.exp_cmd_sn,
            max_cmd_sn=(self.exp_cmd_sn + self._limits.command_window - 1) & 0xFFFFFFFF,
        )
        self.stat_sn = (self.stat_sn + 1) & 0xFFFFFFFF
        return response


def _error(reason: str) -> LoginRejected:
    return LoginRejected(LoginStatus.INITIATOR_ERROR, reason)


def _unauthenticated(reason: str) -> LoginRejected:
    return LoginRejected(LoginStatus.AUTHENTICATION_FAILURE, reason)
