"""`mpxtarget portal ...`"""

from __future__ import annotations

from typing import Any

import click

from mpxtarget.cli.calls import WrongUsage, call
from mpxtarget.cli.options import complete_portal, json_option, state_option
from mpxtarget.cli.output import echo_listing

_portal = click.argument("portal", shell_complete=complete_portal)


def show(row: dict[str, Any]) -> str:
    """`192.0.2.1:3260`"""
    address = row["address"]
    return f"[{address}]:{row['port']}" if ":" in address else f"{address}:{row['port']}"


HEADINGS = ("ID", "PORTAL", "ADVERTISE", "STATE", "SESSIONS")


def cells(row: dict[str, Any]) -> tuple[object, ...]:
    """A row of the table of portals."""
    state = "enabled" if row["enabled"] else "disabled"
    if row["listening"] not in (None, row["port"]):
        state += f" on port {row['listening']}"
    return row["id"], show(row), row["advertise"], state, row["sessions"]


@click.group()
def portal() -> None:
    """Addresses that the bridge listens on.

    A PORTAL is named by its number or by its ADDRESS:PORT.
    """


@portal.command("list")
@state_option
@json_option
def list_(as_json: bool) -> None:
    """List the portals."""
    rows = call("portal/list")
    echo_listing(
        rows,
        as_json,
        HEADINGS,
        [cells(row) for row in rows],
        "no portals yet: mpxtarget portal add 127.0.0.1:3260",
    )


@portal.command()
@state_option
@click.argument("address", metavar="ADDRESS[:PORT]")
@click.option("--port", type=click.IntRange(0, 65535), help="TCP port.  [default: 3260]")
@click.option("--advertise", metavar="HOST[:PORT]", help="What discovery answers instead (NAT, containers).")
@click.option("--disabled", is_flag=True, help="Add it without listening on it.")
def add(address: str, port: int | None, advertise: str | None, disabled: bool) -> None:
    """Add a portal; 0.0.0.0 is every IPv4 address of this machine, [::] every IPv6 address."""
    row = call(
        "portal/add", {"address": address, "port": port, "advertise": advertise, "enabled": not disabled}
    )
    click.echo(f"added portal {row['id']}: {show(row)}")


@portal.command()
@state_option
@_portal
def remove(portal: str) -> None:
    """Remove a portal and end its sessions."""
    row = call("portal/remove", {"portal": portal})
    click.echo(f"removed portal {row['id']}: {show(row)}")


@portal.command()
@state_option
@_portal
def enable(portal: str) -> None:
    """Listen on a portal again."""
    row = call("portal/enable", {"portal": portal})
    click.echo(f"enabled portal {row['id']}: {show(row)}")


@portal.command()
@state_option
@_portal
def disable(portal: str) -> None:
    """Stop listening on a portal and end its sessions."""
    row = call("portal/disable", {"portal": portal})
    click.echo(f"disabled portal {row['id']}: {show(row)}")


@portal.command()
@state_option
@_portal
@click.argument("host", metavar="HOST[:PORT]", required=False)
@click.option("--off", is_flag=True, help="Answer the portal's own address again.")
def advertise(portal: str, host: str | None, off: bool) -> None:
    """Say what discovery answers instead of a portal's own address."""
    if off == (host is not None):
        raise WrongUsage(
            "give either HOST[:PORT] or --off", "for example `mpxtarget portal advertise 1 san.example:3260`"
        )
    row = call("portal/advertise", {"portal": portal, "advertise": host})
    click.echo(f"portal {row['id']} is advertised as {row['advertise'] or show(row)}")
