"""Addresses of portals as text: what SendTargets says about where a target can be reached.

Rules kept here:
- An IPv6 address stands in brackets before its port, and nowhere else has any (DSC-010).
- A portal bound to every address is named by the address the initiator reached, never by the wildcard
  (DSC-014).
- `advertise` says otherwise, for a machine behind NAT or in a container: host, or host and port.
"""

import ipaddress
import re
from typing import Final

from mpxtarget.bridge.records import PortalRecord

DEFAULT_PORT: Final = 3260  # RFC 7143 15

_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?"
_HOST: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")
_WILDCARDS: Final = frozenset({"0.0.0.0", "::"})


class InvalidAddress(ValueError):  # noqa: N818 - what it is called in the messages
    """Not an address that a portal can have. The text says why."""


def normalise_address(address: str) -> str:
    """An IP address, with or without brackets, in its shortest form. Raises InvalidAddress."""
    bare = address[1:-1] if address.startswith("[") and address.endswith("]") else address
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        raise InvalidAddress(f"{address!r} is not an IPv4 or IPv6 address") from None


def is_wildcard(address: str) -> bool:
    return address in _WILDCARDS


def format_address(host: str, port: int) -> str:
    """`host:port`, with brackets around an IPv6 address. A scope (%eth0) means nothing to a peer."""
    host = host.partition("%")[0]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_advertise(text: str) -> tuple[str, int | None]:
    """Host and port of `host`, `host:port`, `[v6]`, `[v6]:port` or bare IPv6. Raises InvalidAddress."""
    try:
        return normalise_address(text), None
    except InvalidAddress:
        pass
    host, colon, digits = text.rpartition(":")
    if not colon:
        host, digits = text, ""
    port: int | None = None
    if colon:
        if not (digits.isascii() and digits.isdigit() and 1 <= int(digits) <= 65535):
            raise InvalidAddress(f"{text!r} is not host or host:port: {digits!r} is not a port (1..65535)")
        port = int(digits)
    if host.startswith("["):
        return normalise_address(host), port
    if len(host) > 253 or _HOST.fullmatch(host) is None:
        raise InvalidAddress(f"{text!r} is not host or host:port: {host!r} is not an address or a host name")
    return host, port


def advertised(portal: PortalRecord, reached: tuple[str, int]) -> str:
    """What to tell an initiator about `portal`, given the address and port at which it reached the bridge."""
    reached_address, reached_port = reached
    if portal.advertise is not None:
        host, port = parse_advertise(portal.advertise)
        return format_address(host, portal.port if port is None else port)
    if not is_wildcard(portal.address):
        return format_address(portal.address, portal.port)
    return format_address(_unmapped(reached_address), portal.port or reached_port)


def _unmapped(address: str) -> str:
    # A dual-stack socket calls an IPv4 peer's view of us ::ffff:192.0.2.1; the peer has never heard of that.
    if address.lower().startswith("::ffff:") and "." in address:
        return address[7:]
    return address
