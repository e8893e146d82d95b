"""What is configured about a bridge: plain records, kept on disk by the server's state.

Initiator names in records are normalised (RFC 7143 4.2.7), so two records of one initiator
cannot exist. Times are seconds since the epoch. Secrets are bytes and never part of a repr.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class PortalRecord:
    """An address and TCP port that the bridge listens on."""

    id: int
    address: str
    """An IPv4 or IPv6 address without brackets; `0.0.0.0` is every IPv4 address of
    the machine, `::` every IPv6 address."""
    port: int
    """0: the system chooses one when the portal is opened."""
    advertise: str | None
    """What SendTargets says instead of the address: `host` or `host:port`, for NAT and containers."""
    enabled: bool


@dataclass(frozen=True, slots=True)
class PresentationRecord:
    """A virtual disk shown to one initiator at one LUN."""

    vdisk_id: int
    initiator: str
    lun: int


@dataclass(frozen=True, slots=True)
class InitiatorRecord:
    """An initiator that the bridge knows, because it logged in once or because it was added by hand."""

    name: str
    alias: str = ""
    chap_user: str = ""
    """The CHAP name it must use; empty with a secret set: its own iSCSI name."""
    chap_secret: bytes = field(default=b"", repr=False)
    """Empty: it logs in without authentication."""
    target_user: str = ""
    target_secret: bytes = field(default=b"", repr=False)
    """What the target answers this initiator with in mutual CHAP; empty: the array's own."""
    first_seen: float | None = None
    last_seen: float | None = None
