"""`mpxtarget lun ...`"""

from __future__ import annotations

from typing import Any

import click

from mpxtarget.cli.calls import WrongUsage, call
from mpxtarget.cli.options import complete_initiator, complete_lun, json_option, state_option
from mpxtarget.cli.output import echo_listing, size

_lun = click.argument("lun", metavar="LUN", shell_complete=complete_lun)
_initiator = click.argument("initiator", shell_complete=complete_initiator)


def cells(row: dict[str, Any]) -> tuple[object, ...]:
    """A row of the table of LUNs."""
    return (
        "-" if row["lun"] is None else row["lun"],
        row["name"],
        size(row["size"]),
        row["controller"],
        row["preferred"],
        "ro" if row["read_only"] else "rw",
        row["store"],
        row["wwlun"],
        ", ".join(f"{p['initiator']} at {p['lun']}" for p in row["presented"]),
    )


HEADINGS = ("LUN", "NAME", "SIZE", "CONTROLLER", "PREFERRED", "MODE", "STORE", "WWLUN", "PRESENTED TO")
EMPTY = "no LUNs yet: mpxtarget lun create data --size 10G"


@click.group()
def lun() -> None:
    """Virtual disks, and who sees them at which LUN.

    A LUN is named by the name of its virtual disk or by its number.
    """


@lun.command("list")
@state_option
@json_option
def list_(as_json: bool) -> None:
    """List the virtual disks."""
    rows = call("lun/list")
    echo_listing(rows, as_json, HEADINGS, [cells(row) for row in rows], EMPTY)


@lun.command()
@state_option
@click.argument("name")
@click.option("--size", metavar="SIZE", help="10G, 512M, 1.5T (powers of 1024), or bytes.")
@click.option(
    "--lun", "number", metavar="N|none", help="Its LUN, 1 to 255; none: presented ones only.  [default: next]"
)
@click.option("--store", metavar="URL", help="file:PATH, memory:, block:/dev/...  [default: a thin file]")
@click.option("--existing", is_flag=True, help="Use a store that is there already, with the data in it.")
@click.option("--block-size", type=click.Choice(["512", "4096"]), default="512", show_default=True)
@click.option("--read-only", is_flag=True, help="Hosts may not write.")
@click.option(
    "--preferred",
    type=click.Choice(["none", "A", "B", "A-failback", "B-failback"]),
    default="none",
    show_default=True,
    help="Preferred path, as on an EVA: which controller manages it at start.",
)
def create(
    name: str,
    size: str | None,
    number: str | None,
    store: str | None,
    existing: bool,
    block_size: str,
    read_only: bool,
    preferred: str,
) -> None:
    """Create a virtual disk; hosts that are logged in learn of it at once."""
    at: int | str | None = "next"
    if number is not None and number not in ("next", "none"):
        if not (number.isascii() and number.isdigit()):
            raise WrongUsage(f"{number!r} is not a LUN", "give a number from 1 to 255, or none")
        at = int(number)
    elif number == "none":
        at = None
    row = call(
        "lun/create",
        {
            "name": name,
            "size": size,
            "lun": at,
            "store": store,
            "existing": existing,
            "block_size": int(block_size),
            "read_only": read_only,
            "preferred": preferred,
        },
    )
    where = "without a LUN of its own" if row["lun"] is None else f"LUN {row['lun']}"
    click.echo(
        f"created {row['name']}: {where}, {_size(row)}, controller {row['controller']}, in {row['store']}"
    )


@lun.command()
@state_option
@_lun
@click.option(
    "--delete-data", is_flag=True, help="Delete its backing file, too; a block device is not wiped."
)
def remove(lun: str, delete_data: bool) -> None:
    """Remove a virtual disk; its backing file stays."""
    row = call("lun/remove", {"lun": lun, "delete_data": delete_data})
    scheme = row["store"].partition(":")[0]
    if scheme == "memory":
        data = ", and its data, which was in memory only"
    elif not delete_data:
        data = f"; its data stays in {row['store']}"
    elif scheme == "block":
        data = f"; {row['store']} is free again, and was not wiped"
    else:
        data = " and its data"
    click.echo(f"removed {row['name']}{data}")


@lun.command()
@state_option
@_lun
@click.argument("size")
@click.option("--force", is_flag=True, help="Cut data off at the end.")
def resize(lun: str, size: str, force: bool) -> None:
    """Change the SIZE of a virtual disk; hosts learn of it at once."""
    row = call("lun/resize", {"lun": lun, "size": size, "force": force})
    click.echo(f"{row['name']} has {_size(row)}")


@lun.command()
@state_option
@_lun
@_initiator
@click.option(
    "--at", metavar="N", type=int, help="At which LUN.  [default: its own if free, else the next free]"
)
def present(lun: str, initiator: str, at: int | None) -> None:
    """Show a virtual disk to an INITIATOR."""
    row = call("lun/present", {"lun": lun, "initiator": initiator, "at": at})
    found = next(p for p in row["presented"] if p["initiator"].lower() == initiator.lower())
    click.echo(f"presented {row['name']} to {found['initiator']} at LUN {found['lun']}")


@lun.command()
@state_option
@_lun
@_initiator
def unpresent(lun: str, initiator: str) -> None:
    """End the presentation of a virtual disk to an INITIATOR."""
    row = call("lun/unpresent", {"lun": lun, "initiator": initiator})
    click.echo(f"{row['name']} is no longer presented to {initiator}")


def _size(row: dict[str, Any]) -> str:
    return size(row["size"])
