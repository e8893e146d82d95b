"""Addresses of portals as text: what SendTargets says about where a target can be reached.

Rules kept here:
- An IPv6 address stands in brackets before its port, and nowhere else has any (DSC-010).
- A portal bound to every address is named by the address the initiator reached, never by the wildcard
  (DSC-014). `0.0.0.0` is every IPv4 address and `::` every IPv6 address: one that was reached by the other
  family cannot be named.
- A portal on loopback is told to those who came by loopback, and to nobody else, whom it would send to their
  own machine.
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
_BROADCAST: Final = ipaddress.IPv4Address("255.255.255.255")


class InvalidAddress(ValueError):  # noqa: N818 - what it is called in the messages
    """Not an address that a portal can have. The text says why."""


def normalise_address(address: str) -> str:
    """An IP address, with or without brackets, in its shortest form. Raises InvalidAddress."""
    bare = address[1:-1] if address.startswith("[") and address.endswith("]") else address
    try:
        parsed = ipaddress.ip_address(bare)
    except ValueError:
        raise InvalidAddress(f"{shown(address)} is not an IPv4 or IPv6 address") from None
    if parsed.version == 6 and parsed.ipv4_mapped is not None:
        raise InvalidAddress(f"{address!r} is an IPv4 address in IPv6's clothes, write {parsed.ipv4_mapped}")
    if parsed.is_multicast or parsed == _BROADCAST:
        raise InvalidAddress(f"{address!r} is the address of a group, and a portal is one place")
    if parsed.version == 6 and parsed.is_link_local:
        raise InvalidAddress(
            f"{address!r} is a link-local address, which discovery cannot tell to a host without naming the"
            " host's own interface"
        )
    return str(parsed)


def shown(text: str) -> str:
    """What somebody wrote, as a message quotes it."""
    return repr(text if len(text) <= 80 else text[:80] + "...")


def is_wildcard(address: str) -> bool:
    return address in _WILDCARDS


def format_address(host: str, port: int) -> str:
    """`host:port`, with brackets around an IPv6 address. A scope (%eth0) means nothing to a peer."""
    host = host.partition("%")[0]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_advertise(text: str) -> tuple[str, int | None]:
    """Host and port of `host`, `host:port`, `[v6]`, `[v6]:port` or bare IPv6. Raises InvalidAddress."""
    if text.startswith("[") and text.endswith("]"):
        return _single(text), None
    if _is_address(text):
        return _single(text), None
    host, colon, digits = text.rpartition(":")
    if not colon:
        host, digits = text, ""
    port: int | None = None
    if colon:
        if not (digits.isascii() and digits.isdigit() and len(digits) <= 5 and 1 <= int(digits) <= 65535):
            raise InvalidAddress(f"{shown(text)}: {shown(digits)} is not a port (1..65535)")
        port = int(digits)
    if host.startswith("[") or _is_address(host):
        return _single(host), port
    if len(host) > 253 or _HOST.fullmatch(host) is None:
        raise InvalidAddress(f"{shown(host)} is not an address or a host name")
    return host, port


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _single(address: str) -> str:
    """An address that a host can connect to."""
    normal = normalise_address(address)
    if is_wildcard(normal):
        raise InvalidAddress(f"{address!r} is every address, and a host has to be told one")
    return normal


def advertised(portal: PortalRecord, reached: tuple[str, int]) -> str | None:
    """What to tell an initiator about `portal`, given the address and port at which it reached the bridge.

    None: nothing, it could not get there.
    """
    reached_address, reached_port = reached
    if portal.advertise is not None:
        host, port = parse_advertise(portal.advertise)
        return format_address(host, portal.port if port is None else port)
    unmapped = _unmapped(reached_address)
    if not is_wildcard(portal.address):
        if _is_loopback(portal.address) and not _is_loopback(unmapped):
            return None
        return format_address(portal.address, portal.port)
    family_reached = reached_address if portal.address == "::" else unmapped
    if (":" in portal.address) != (":" in family_reached):
        return None
    return format_address(unmapped, portal.port or reached_port)


def _is_loopback(address: str) -> bool:
    return address == "::1" or address.startswith("127.")


def _unmapped(address: str) -> str:
    # A dual-stack socket calls an IPv4 peer's view of us ::ffff:192.0.2.1; the peer has never heard of that.
    if address.lower().startswith("::ffff:") and "." in address:
        return address[7:]
    return address
