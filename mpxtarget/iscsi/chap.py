"""CHAP as iSCSI uses it (RFC 7143 12.1.3 and 9.2.1, RFC 1994): the target's side of one exchange.

    initiator                                      target
    CHAP_A=<algorithms>                            CHAP_A=<one of them> CHAP_I=<id> CHAP_C=<challenge>
    CHAP_N=<name> CHAP_R=<response>                (nothing, one way)
      [CHAP_I=<id> CHAP_C=<challenge>]             [CHAP_N=<name> CHAP_R=<response>]

The rules kept here:

- The initiator proves itself before it gets a response of ours to a challenge of its own.
- A wrong name, a wrong response and a response of the wrong form all take the same work and end in the same
  status; only our log tells them apart.
- A challenge that comes back to us, or a response that is the one we would give, is a reflection and fails,
  for else a peer could let us answer our own challenge.
- Randomness comes from outside. Secrets are compared in constant time and appear in no repr and no message.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from mpxtarget.iscsi.errors import LoginRejected
from mpxtarget.pdu.constants import LoginStatus
from mpxtarget.pdu.text import TextError, format_hex, parse_binary, parse_number

MIN_SECRET: Final = 12
"""Bytes; RFC 7143 9.2.1 asks for 96 random bits."""
MAX_BINARY: Final = 1024
"""Bytes of a challenge or a response (12.1.3)."""
CHALLENGE_LENGTH: Final = 32

ALGORITHMS: Final[Mapping[int, str]] = {5: "md5", 6: "sha1", 7: "sha256", 8: "sha3_256"}
"""CHAP_A values and their hash functions (12.1.3 and the IANA registry of PPP authentication algorithms)."""


def chap_response(algorithm: int, identifier: int, secret: bytes, challenge: bytes) -> bytes:
    """The hash over identifier, secret and challenge (RFC 1994 4.1). KeyError for an unknown algorithm."""
    # MD5 is what the protocol prescribes; a host whose policy bars it for new uses still has to speak CHAP.
    digest = hashlib.new(ALGORITHMS[algorithm], usedforsecurity=False)
    digest.update(bytes((identifier,)))
    digest.update(secret)
    digest.update(challenge)
    return digest.digest()


@dataclass(frozen=True, slots=True)
class ChapPolicy:
    """The name and secret an initiator proves itself by, and those that prove the target to it.

    Without a target secret authentication is one way. Raises ValueError for secrets that are empty or the
    same in both directions (RFC 7143 9.2.1), and for a target secret without a name to go with it.
    """

    user: str
    secret: bytes = field(repr=False)
    target_user: str = ""
    target_secret: bytes = field(default=b"", repr=False)

    def __post_init__(self) -> None:
        if not self.user or not self.secret:
            raise ValueError("CHAP needs a user name and a secret")
        if self.target_secret and not self.target_user:
            raise ValueError("a target secret needs a target user name")
        if hmac.compare_digest(self.secret, self.target_secret):
            raise ValueError("the secrets of initiator and target must differ")


def check_secret(secret: bytes, *, allow_short: bool = False) -> None:
    """Raise ValueError for a secret that is no good; Windows takes 12 to 16 bytes only."""
    if not secret:
        raise ValueError("a CHAP secret is not empty")
    if len(secret) < MIN_SECRET and not allow_short:
        raise ValueError(f"a CHAP secret has at least {MIN_SECRET} bytes (Windows: {MIN_SECRET} to 16)")
    if len(secret) > 255:
        raise ValueError("a CHAP secret has at most 255 bytes")


def generate_secret(entropy: Callable[[int], bytes]) -> str:
    """A secret of 96 random bits as 16 characters that every initiator accepts."""
    return base64.urlsafe_b64encode(entropy(MIN_SECRET)).decode()


class Step(Enum):
    """What the exchange waits for."""

    ALGORITHM = auto()
    RESPONSE = auto()
    DONE = auto()


_NEEDED: Final = {
    Step.ALGORITHM: frozenset({"CHAP_A"}),
    Step.RESPONSE: frozenset({"CHAP_N", "CHAP_R"}),
    Step.DONE: frozenset[str](),
}
_ALLOWED: Final = {
    Step.ALGORITHM: _NEEDED[Step.ALGORITHM],
    Step.RESPONSE: _NEEDED[Step.RESPONSE] | {"CHAP_I", "CHAP_C"},
    Step.DONE: _NEEDED[Step.DONE],
}


class Chap:
    """One exchange. `entropy(n)` gives n random bytes that nobody can predict."""

    def __init__(self, policy: ChapPolicy, entropy: Callable[[int], bytes]) -> None:
        self.step = Step.ALGORITHM
        self._policy = policy
        self._entropy = entropy
        self._algorithm = 0
        self._identifier = 0
        self._challenge = b""

    def answer(self, keys: Mapping[str, str]) -> list[tuple[str, str]]:
        """The answer to the CHAP keys of one request. Raises `LoginRejected`."""
        stray = keys.keys() - _ALLOWED[self.step]
        if stray:
            raise LoginRejected(LoginStatus.INITIATOR_ERROR, f"{sorted(stray)[0]} is out of step")
        missing = _NEEDED[self.step] - keys.keys()
        if missing:  # RFC 7143 9.2
            raise LoginRejected(LoginStatus.MISSING_PARAMETER, f"{sorted(missing)[0]} is missing")
        if self.step is Step.ALGORITHM:
            return self._challenge_initiator(keys["CHAP_A"])
        if self.step is Step.RESPONSE:
            return self._verify(keys)
        return []

    def _challenge_initiator(self, offers: str) -> list[tuple[str, str]]:
        for offer in offers.split(","):
            try:
                algorithm = parse_number(offer)
            except TextError:
                continue
            if algorithm in ALGORITHMS:
                break
        else:
            raise _failed("no CHAP algorithm in common")
        self._algorithm = algorithm
        self._identifier = self._entropy(1)[0]
        self._challenge = self._entropy(CHALLENGE_LENGTH)
        self.step = Step.RESPONSE
        return [
            ("CHAP_A", str(algorithm)),
            ("CHAP_I", str(self._identifier)),
            ("CHAP_C", format_hex(self._challenge)),
        ]

    def _verify(self, keys: Mapping[str, str]) -> list[tuple[str, str]]:
        policy = self._policy
        mutual = _peer_challenge(keys)
        try:
            received = parse_binary(keys["CHAP_R"])
        except TextError:
            received = b""
        expected = self._respond(self._identifier, policy.secret, self._challenge)
        ours = self._respond(self._identifier, policy.target_secret, self._challenge)
        right = hmac.compare_digest(received, expected)
        known = hmac.compare_digest(keys["CHAP_N"].encode(), policy.user.encode())
        reflected = hmac.compare_digest(received, ours)
        if not known:
            raise _failed("CHAP_N is not the user of this initiator")
        if not right or reflected:
            raise _failed("CHAP_R is wrong")
        if mutual is None:
            self.step = Step.DONE
            return []
        identifier, challenge = mutual
        if hmac.compare_digest(challenge, self._challenge):
            raise _failed("the initiator sent our own challenge back")
        if not policy.target_secret:
            raise _failed("the initiator wants the target to authenticate, but no target secret is set")
        self.step = Step.DONE
        return [
            ("CHAP_N", policy.target_user),
            ("CHAP_R", format_hex(self._respond(identifier, policy.target_secret, challenge))),
        ]

    def _respond(self, identifier: int, secret: bytes, challenge: bytes) -> bytes:
        return chap_response(self._algorithm, identifier, secret, challenge)


def _peer_challenge(keys: Mapping[str, str]) -> tuple[int, bytes] | None:
    """The initiator's own identifier and challenge, if it sent them."""
    if "CHAP_I" not in keys and "CHAP_C" not in keys:
        return None
    try:
        identifier = parse_number(keys["CHAP_I"])
        challenge = parse_binary(keys["CHAP_C"])
    except KeyError:
        raise LoginRejected(LoginStatus.INITIATOR_ERROR, "CHAP_I and CHAP_C come together") from None
    except TextError as error:
        raise LoginRejected(LoginStatus.INITIATOR_ERROR, f"CHAP_I or CHAP_C: {error}") from None
    if identifier > 255 or len(challenge) > MAX_BINARY:
        raise LoginRejected(LoginStatus.INITIATOR_ERROR, "CHAP_I has one byte, CHAP_C at most 1024")
    return identifier, challenge


def _failed(reason: str) -> LoginRejected:
    return LoginRejected(LoginStatus.AUTHENTICATION_FAILURE, reason)
