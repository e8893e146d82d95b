"""Portals: the addresses the bridge listens on."""

from __future__ import annotations

import contextlib
from dataclasses import replace

from mpxtarget.bridge.portals import (
    DEFAULT_PORT,
    InvalidAddress,
    format_address,
    is_wildcard,
    normalise_address,
    shown,
)
from mpxtarget.server.errors import NotFound
from mpxtarget.server.state import PortalRecord, PortalSpec, State
from mpxtarget.server.verbs.base import Arguments, Context, NoArguments, Number, Row, UsageError, Verb


class PortalRow(Row, frozen=True):
    """A portal as it is listed.  `listening` is the port it is open on; null while it is not open."""

    id: int
    address: str
    port: int
    advertise: str | None
    enabled: bool
    listening: int | None
    sessions: int


class AddPortal(Arguments, frozen=True):
    """`address` may have the port behind it: `192.0.2.1:3260`, `[2001:db8::1]:3260`."""

    address: str
    port: Number | None = None
    advertise: str | None = None
    enabled: bool = True


class NamePortal(Arguments, frozen=True):
    """`portal` is the number of a portal or its `address:port`."""

    portal: Number | str


class AdvertisePortal(Arguments, frozen=True):
    """`advertise` is `host` or `host:port`; null goes back to the portal's own address."""

    portal: Number | str
    advertise: str | None


def rows(context: Context) -> list[PortalRow]:
    """All portals, with the sessions that came in by each."""
    counts = _sessions_by_portal(context)
    return [_row(context, record, counts.get(record.id, 0)) for record in context.state.list_portals()]


def _sessions_by_portal(context: Context) -> dict[int, int]:
    counts: dict[int, int] = {}
    if context.live is None:
        return counts
    by_address = {format_address(*address): key for key, address in context.live.portal_addresses().items()}
    # An initiator reaches a portal that listens on every address by one of them.
    by_port = {
        port: key for key, (address, port) in context.live.portal_addresses().items() if is_wildcard(address)
    }
    for session in context.live.sessions():
        key = by_address.get(session.portal)
        if key is None:
            key = by_port.get(int(session.portal.rpartition(":")[2]))
        if key is not None:
            counts[key] = counts.get(key, 0) + 1
    return counts


def _row(context: Context, record: PortalRecord, sessions: int = 0) -> PortalRow:
    open_on = {} if context.live is None else context.live.portal_addresses()
    return PortalRow(
        id=record.id,
        address=record.address,
        port=record.port,
        advertise=record.advertise,
        enabled=record.enabled,
        listening=open_on[record.id][1] if record.id in open_on else None,
        sessions=sessions,
    )


def split_address(text: str, port: int | None = None) -> tuple[str, int]:
    """Address and port of what people write; whether it is an address the state decides.  UsageError."""
    address, colon, given = text, "", ""
    if text.startswith("["):
        inside, bracket, behind = text[1:].partition("]")
        if bracket and behind[:1] in ("", ":"):
            address, colon, given = inside, behind[:1], behind[1:]
    elif text.count(":") == 1:  # more than one: an IPv6 address without a port
        address, colon, given = text.partition(":")
    if not colon:
        return address, DEFAULT_PORT if port is None else port
    if not (given.isascii() and given.isdigit() and len(given) <= 5):
        raise UsageError(
            f"{shown(text)}: {shown(given)} is not a TCP port",
            "write ADDRESS or ADDRESS:PORT, [ADDRESS]:PORT for IPv6",
        )
    if port is not None and port != int(given):
        raise UsageError(f"{text!r} says port {given}, and the port given is {port}", "give the port once")
    return address, int(given)


def find(state: State, portal: int | str) -> PortalRecord:
    """The portal that somebody means by its number or by its address and port."""
    if isinstance(portal, int):
        return state.get_portal(portal)
    if portal.isascii() and portal.isdigit() and len(portal) <= 9:
        return state.get_portal(int(portal))
    address, port = split_address(portal)
    with contextlib.suppress(InvalidAddress):
        address = normalise_address(address)
    for record in state.list_portals():
        if (record.address, record.port) == (address, port):
            return record
    raise NotFound(f"there is no portal {portal}", "`mpxtarget portal list` shows them")


def list_portals(context: Context, _: NoArguments) -> list[PortalRow]:
    """List the portals."""
    return rows(context)


async def add_portal(context: Context, arguments: AddPortal) -> PortalRow:
    """Add a portal; a running target listens on it at once."""
    address, port = split_address(arguments.address, arguments.port)
    return _row(
        context, await add(context, PortalSpec(address, port, arguments.advertise, arguments.enabled))
    )


async def remove_portal(context: Context, arguments: NamePortal) -> PortalRow:
    """Remove a portal and end the sessions that use it."""
    return _row(context, await remove(context, find(context.state, arguments.portal)))


async def enable_portal(context: Context, arguments: NamePortal) -> PortalRow:
    """Listen on a portal again."""
    old = find(context.state, arguments.portal)
    return _row(context, await change(context, old, replace(old, enabled=True)))


async def disable_portal(context: Context, arguments: NamePortal) -> PortalRow:
    """Stop listening on a portal, end its sessions, and keep its record."""
    old = find(context.state, arguments.portal)
    return _row(context, await change(context, old, replace(old, enabled=False)))


async def advertise_portal(context: Context, arguments: AdvertisePortal) -> PortalRow:
    """Say what discovery answers instead of a portal's own address (NAT, containers)."""
    old = find(context.state, arguments.portal)
    return _row(context, await change(context, old, replace(old, advertise=arguments.advertise)))


# The changes themselves, database and running target together; `apply` makes them too.


async def add(context: Context, spec: PortalSpec) -> PortalRecord:
    """Add a portal, and listen on it if somebody serves."""
    record = context.state.add_portal(spec)
    if record.enabled:
        try:
            await _open(context, record)
        except BaseException:
            context.state.remove_portal(record.id)
            raise
    return record


async def remove(context: Context, record: PortalRecord) -> PortalRecord:
    """Remove a portal."""
    context.state.remove_portal(record.id)
    if record.enabled and context.live is not None:
        await context.live.close_portal(record.id)
    return record


async def change(context: Context, old: PortalRecord, new: PortalRecord) -> PortalRecord:
    """Change `enabled` or `advertise`.  Nothing happens to the sessions of a portal that stays open."""
    if old == new:
        return old
    live = context.live
    new = context.state.update_portal(new)
    try:
        if new.enabled and not old.enabled:
            await _open(context, new)
        elif old.enabled and not new.enabled and live is not None:
            await live.close_portal(old.id)
        elif new.enabled and live is not None:
            _, port = live.portal_addresses()[new.id]
            live.bridge.set_portal(replace(new, port=port))
    except BaseException:
        context.state.update_portal(old)
        raise
    return new


async def _open(context: Context, record: PortalRecord) -> None:
    if context.live is not None:
        await context.live.open_portal(record)


VERBS = (
    Verb("portal/list", NoArguments, list_portals, writes=False),
    Verb("portal/add", AddPortal, add_portal, writes=True),
    Verb("portal/remove", NamePortal, remove_portal, writes=True),
    Verb("portal/enable", NamePortal, enable_portal, writes=True),
    Verb("portal/disable", NamePortal, disable_portal, writes=True),
    Verb("portal/advertise", AdvertisePortal, advertise_portal, writes=True),
)
