"""The login phase as the initiator sees it (RFC 7143 6.3, 11.12, 11.13, 12.1).

Any mixture of stages, keys and authentication that is legal can be asked for; every Login Response is held
against the rules before it is believed.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from mpxtarget.pdu import (
    DEFAULT_DATA_SEGMENT_LENGTH,
    LoginRequest,
    LoginResponse,
    Stage,
    TextError,
    decode_pairs,
    encode_pairs,
    format_hex,
    parse_binary,
    parse_number,
    serial_add,
    split_text,
)
from mpxtarget.testing.mistakes import TargetMistake, require
from mpxtarget.testing.negotiation import DISCOVERY_KEYS, STANDARD_KEYS, Negotiated, Negotiation

_CHAP_MD5: Final = "5"
_MOST_EXCHANGES: Final = 40
"""A login that takes more is a loop."""


@dataclass(frozen=True, slots=True)
class ChapCredentials:
    """The initiator proves `secret`; with a `target_secret` the target has to prove that (mutual CHAP)."""

    user: str
    secret: bytes = field(repr=False)
    target_user: str = ""
    target_secret: bytes = field(default=b"", repr=False)
    identifier: int = 0x5A
    challenge: bytes = bytes(range(0xA0, 0xB0))
    """What a mutual login asks of the target. It is fixed, so that a test is the same every time."""


@dataclass(frozen=True, slots=True)
class LoginOptions:
    """How to log in. `keys` are offered in the operational stage, over `STANDARD_KEYS` unless `bare`."""

    target: str | None = None
    initiator: str = "iqn.2001-04.com.example:host"
    alias: str = ""
    discovery: bool = False
    isid: int = 0x80_1234_560001
    tsih: int = 0
    cid: int = 1
    cmd_sn: int = 1
    itt: int = 1
    security_stage: bool = True
    operational_stage: bool = True
    auth_methods: tuple[str, ...] = ()
    """What to offer; empty means CHAP,None with `chap` and None without."""
    chap: ChapCredentials | None = None
    keys: Mapping[str, str] = field(default_factory=dict)
    bare: bool = False
    """Offer `keys` only."""
    segment_length: int = DEFAULT_DATA_SEGMENT_LENGTH
    """Cut the login text into segments of at most so many bytes, joined by the C bit."""

    @property
    def offers(self) -> dict[str, str]:
        """All operational keys."""
        standard = {} if self.bare else DISCOVERY_KEYS if self.discovery else STANDARD_KEYS
        return {**standard, **self.keys}

    @property
    def methods(self) -> tuple[str, ...]:
        """The value of AuthMethod."""
        return self.auth_methods or (("CHAP", "None") if self.chap else ("None",))

    @property
    def first_pairs(self) -> dict[str, str]:
        """Names and session type, due in the first request (13.4, 13.5, 13.21)."""
        pairs = {"InitiatorName": self.initiator}
        if self.alias:
            pairs["InitiatorAlias"] = self.alias
        if self.target is not None:
            pairs["TargetName"] = self.target
        pairs["SessionType"] = "Discovery" if self.discovery else "Normal"
        return pairs


@dataclass(frozen=True, slots=True)
class Refusal:
    """A Status-Class other than 0; what came with it matters for a redirection only."""

    status: int
    pairs: tuple[tuple[str, str], ...]


class LoginExchange:
    """One login phase: requests out, responses in, until `done` or a Refusal."""

    def __init__(self, options: LoginOptions) -> None:
        self._options: Final = options
        self._stage = Stage.SECURITY_NEGOTIATION if options.security_stage else Stage.OPERATIONAL_NEGOTIATION
        self._negotiation: Final = Negotiation()
        self._pieces: deque[bytes] = deque()
        self._want_transit = False
        self._asked = LoginRequest()
        self._text = bytearray()
        self._exchanges = 0
        self._group_tag_due = not options.discovery
        self._method = ""
        self._chap_step = ""
        self.done = False
        self.tsih = options.tsih
        self.exp_stat_sn: int | None = None

    def start(self) -> tuple[LoginRequest, bytes]:
        """The first request."""
        pairs = dict(self._options.first_pairs)
        if self._stage == Stage.SECURITY_NEGOTIATION:
            methods = self._options.methods
            pairs["AuthMethod"] = ",".join(methods)
            return self._say(pairs, transit=methods == ("None",))
        return self._say({**pairs, **self._offer()}, transit=True)

    def result(self) -> Negotiated:
        """What was agreed."""
        return self._negotiation.result()

    def receive(self, response: LoginResponse, data: bytes) -> tuple[LoginRequest, bytes] | Refusal | None:
        """The next request, a refusal, or None when the login is done. Raises TargetMistake."""
        status = response.status_class << 8 | response.status_detail
        if status:
            return self._refused(response, status, data)
        self._check(response)
        if self._pieces:  # RFC 7143 6.2: the answer to a request with C=1 is empty
            require(
                not data and not response.transit and not response.continue_,
                "an answer to a request with C=1",
            )
            return self._next_piece()
        self._exchanges += 1
        require(
            self._exchanges <= _MOST_EXCHANGES, f"the login does not end after {_MOST_EXCHANGES} exchanges"
        )
        self._text += data
        if response.continue_:
            require(not response.transit, "Login Response with both C and T")
            return self._say({}, transit=False)
        pairs = _decode(bytes(self._text))
        self._text.clear()
        return self._go_on(response, pairs)

    def _go_on(
        self, response: LoginResponse, pairs: list[tuple[str, str]]
    ) -> tuple[LoginRequest, bytes] | None:
        security = [(key, value) for key, value in pairs if key == "AuthMethod" or key.startswith("CHAP_")]
        self._negotiation.take([pair for pair in pairs if pair not in security])
        if self._group_tag_due:
            require("TargetPortalGroupTag" in dict(pairs), "no TargetPortalGroupTag in the first response")
            self._group_tag_due = False
        answer: dict[str, str] = {}
        if self._stage == Stage.SECURITY_NEGOTIATION:
            answer = self._authenticate(dict(security))
        else:
            require(not security, "security keys in the operational stage")
        if not response.transit:
            return self._say(answer, transit=self._chap_step != "algorithm")
        require(not answer, "T=1 in a response that has to be answered")
        if self._stage == Stage.SECURITY_NEGOTIATION:
            require(self._method, "the security stage ended without an answer to AuthMethod")
        if response.nsg == Stage.OPERATIONAL_NEGOTIATION:
            self._stage = Stage.OPERATIONAL_NEGOTIATION
            return self._say(self._offer(), transit=True)
        self._finish(response)
        return None

    def _finish(self, response: LoginResponse) -> None:
        missing = self._negotiation.unanswered()
        require(not missing, f"no answer to {', '.join(missing)}")
        require(response.tsih != 0, "TSIH 0 in the Final-Response")
        require(
            self._options.tsih in (0, response.tsih),
            f"TSIH {response.tsih:#x} where {self._options.tsih:#x} was asked for",
        )
        self.tsih = response.tsih
        self.done = True

    def _refused(self, response: LoginResponse, status: int, data: bytes) -> Refusal:
        require(response.itt == self._asked.itt, "Login Response with another ITT")
        # RFC 7143 6.3.1: T, CSG and NSG are reserved in a rejection
        require(
            not (response.transit or response.continue_ or response.csg or response.nsg),
            f"login status {status:#06x} with T, C, CSG or NSG",
        )
        redirected = response.status_class == 1
        require(redirected or not data, f"login status {status:#06x} with a data segment")
        return Refusal(status, tuple(_decode(data)))

    def _check(self, response: LoginResponse) -> None:
        """What holds for every successful Login Response (RFC 7143 11.13)."""
        asked = self._asked
        require(response.itt == asked.itt, f"Login Response with ITT {response.itt:#x}, not {asked.itt:#x}")
        require(response.isid == asked.isid, "Login Response with another ISID")
        require(response.version_active == 0, f"Version-active {response.version_active}")
        require(response.version_max == 0, f"Version-max {response.version_max}")
        require(response.csg == asked.csg, f"CSG {response.csg} in the answer to CSG {asked.csg}")
        require(asked.transit or not response.transit, "T=1 in the answer to T=0")
        if response.transit:
            require(
                asked.csg < response.nsg <= asked.nsg, f"NSG {response.nsg} in the answer to NSG {asked.nsg}"
            )
        else:
            require(response.nsg == 0, "NSG in a response with T=0, where it is reserved")
        final = response.transit and response.nsg == Stage.FULL_FEATURE_PHASE
        require(final or response.tsih == asked.tsih, f"TSIH {response.tsih:#x} before the Final-Response")
        if self.exp_stat_sn is not None:
            require(
                response.stat_sn == self.exp_stat_sn,
                f"StatSN {response.stat_sn}, expected {self.exp_stat_sn}",
            )
        self.exp_stat_sn = serial_add(response.stat_sn, 1)
        require(
            response.exp_cmd_sn == asked.cmd_sn or asked.tsih,
            f"ExpCmdSN {response.exp_cmd_sn} in a leading login with CmdSN {asked.cmd_sn}",
        )

    def _offer(self) -> dict[str, str]:
        offers = self._options.offers
        self._negotiation.offer(offers)
        return offers

    def _say(self, pairs: Mapping[str, str], *, transit: bool) -> tuple[LoginRequest, bytes]:
        self._pieces.extend(split_text(encode_pairs(pairs.items()), self._options.segment_length))
        self._want_transit = transit
        return self._next_piece()

    def _next_piece(self) -> tuple[LoginRequest, bytes]:
        options = self._options
        data = self._pieces.popleft()
        last = not self._pieces
        transit = int(last and self._want_transit)
        operational = options.operational_stage and self._stage == Stage.SECURITY_NEGOTIATION
        target_stage = Stage.OPERATIONAL_NEGOTIATION if operational else Stage.FULL_FEATURE_PHASE
        self._asked = LoginRequest(
            transit=transit,
            continue_=int(not last),
            csg=self._stage,
            nsg=target_stage if transit else 0,
            isid=options.isid,
            tsih=options.tsih,
            cid=options.cid,
            itt=options.itt,
            cmd_sn=options.cmd_sn,
            exp_stat_sn=self.exp_stat_sn or 0,
            data_segment_length=len(data),
        )
        return self._asked, data

    # CHAP (RFC 7143 12.1.3, RFC 1994)

    def _authenticate(self, keys: dict[str, str]) -> dict[str, str]:
        """What to answer to the security keys of one response."""
        chap = self._options.chap
        if not self._method:
            method = keys.get("AuthMethod")
            if method is None:
                require(not keys, "CHAP keys before CHAP was agreed on")
                return {}
            require(len(keys) == 1, "CHAP keys together with AuthMethod")
            require(method in self._options.methods, f"AuthMethod={method} was not offered")
            self._method = method
            if method == "None":
                return {}
            require(chap is not None, "CHAP was chosen, and there are no credentials for it")
            self._chap_step = "algorithm"
            return {"CHAP_A": _CHAP_MD5}
        if self._method == "None" or chap is None:
            require(not keys, f"{sorted(keys)} after AuthMethod=None")
            return {}
        if self._chap_step == "algorithm":
            require(
                set(keys) == {"CHAP_A", "CHAP_I", "CHAP_C"}, f"{sorted(keys)} where CHAP_A, _I, _C are due"
            )
            require(keys["CHAP_A"] == _CHAP_MD5, f"CHAP_A={keys['CHAP_A']}")
            identifier, challenge = _identifier(keys["CHAP_I"]), _binary("CHAP_C", keys["CHAP_C"])
            require(challenge != chap.challenge, "the target's challenge is our own")
            self._chap_step = "answered"
            answer = {
                "CHAP_N": chap.user,
                "CHAP_R": format_hex(_chap_response(identifier, chap.secret, challenge)),
            }
            if chap.target_secret:
                answer |= {"CHAP_I": str(chap.identifier), "CHAP_C": format_hex(chap.challenge)}
            return answer
        if not chap.target_secret or self._chap_step == "verified":
            require(not keys, f"{sorted(keys)} after the end of CHAP")
            return {}
        require(set(keys) == {"CHAP_N", "CHAP_R"}, f"{sorted(keys)} where CHAP_N and CHAP_R are due")
        require(keys["CHAP_N"] == chap.target_user, "CHAP_N is not the target's name")
        expected = _chap_response(chap.identifier, chap.target_secret, chap.challenge)
        require(_binary("CHAP_R", keys["CHAP_R"]) == expected, "the target does not know its secret")
        self._chap_step = "verified"
        return {}


def _chap_response(identifier: int, secret: bytes, challenge: bytes) -> bytes:
    return hashlib.md5(bytes([identifier]) + secret + challenge, usedforsecurity=False).digest()


def _identifier(value: str) -> int:
    try:
        number = parse_number(value)
    except TextError as error:
        raise TargetMistake(f"CHAP_I: {error}") from None
    require(number < 256, f"CHAP_I={number}")
    return number


def _binary(key: str, value: str) -> bytes:
    try:
        return parse_binary(value)
    except TextError as error:
        raise TargetMistake(f"{key}: {error}") from None


def _decode(data: bytes) -> list[tuple[str, str]]:
    try:
        return decode_pairs(data)
    except TextError as error:
        raise TargetMistake(f"login text: {error}") from None
