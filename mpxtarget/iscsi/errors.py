"""What a peer can do wrong, by the answer it gets.

- `LoginRejected`: the login ends with a status (RFC 7143 11.13.5), then the connection closes.
- `NegotiationError`: a rule of text negotiation is broken (6.2). Login answers it with status 0200h, the
  full feature phase with a Reject PDU; so the engine that finds it need not know where it runs.
- `PduRejected`: a Reject PDU with a reason (11.17.1); the connection stays.
- `ProtocolError`: no answer helps; the connection is dropped (7.7).

The reasons are for our log, never for the peer, and hold no secret and no value that could be one.
"""

from __future__ import annotations


class LoginRejected(Exception):  # noqa: N818 - it is an answer
    """The login ends with `status`, Status-Class in the high byte and Status-Detail in the low one.

    `target_addresses` are the TargetAddress values of a redirection, `host[:port]` without a portal group
    tag (RFC 7143 13.8); class 1 has at least one, the other classes have none.
    """

    def __init__(self, status: int, reason: str, target_addresses: tuple[str, ...] = ()) -> None:
        if (status >> 8 == 1) != bool(target_addresses):
            raise ValueError("a redirection, and nothing else, names at least one TargetAddress")
        super().__init__(f"{reason} ({status:04x}h)")
        self.status = status
        self.reason = reason
        self.target_addresses = target_addresses


class NegotiationError(Exception):
    """The peer broke a rule of text negotiation, or nothing it offers for a key is acceptable."""


class PduRejected(Exception):  # noqa: N818 - it is an answer
    """The PDU is answered by a Reject with `reject_reason` (RFC 7143 11.17.1)."""

    def __init__(self, reject_reason: int, text: str) -> None:
        super().__init__(text)
        self.reject_reason = reject_reason
        self.text = text


class ProtocolError(Exception):
    """The connection has to be dropped."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
