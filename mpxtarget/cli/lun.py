"""`mpxtarget lun ...`"""

from __future__ import annotations

from typing import Any

import click

from mpxtarget.cli.calls import WrongUsage, call
from mpxtarget.cli.options import complete_initiator, complete_lun, json_option, state_option
from mpxtarget.cli.output import echo_json, echo_listing, size

PREFERRED = ("none", "A", "B", "A-failback", "B-failback")

_lun = click.argument("lun", metavar="LUN", shell_complete=complete_lun)
_initiator = click.argument("initiator", shell_complete=complete_initiator)


def cells(row: dict[str, Any]) -> tuple[object, ...]:
    """A row of the table of LUNs."""
    return (
        "-" if row["lun"] is None else row["lun"],
        row["name"],
        size(row["size"]),
        row["controller"] + (" (in transition)" if row["in_transition"] else ""),
        row["preferred"],
        ("ro" if row["read_only"] else "rw") + ("" if row["durable"] else ", volatile"),
        _kind(row),
        row["store"],
        row["wwlun"],
        ", ".join(f"{p['initiator']} at {p['lun']}" for p in row["presented"]),
    )


HEADINGS = (
    "LUN",
    "NAME",
    "SIZE",
    "CONTROLLER",
    "PREFERRED",
    "MODE",
    "KIND",
    "STORE",
    "WWLUN",
    "PRESENTED TO",
)
TAKE_SECONDS = 90.0
"""What taking a snapshot may need: its parent is flushed."""
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
    metavar="|".join(PREFERRED),
    type=click.Choice(PREFERRED, case_sensitive=False),
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
    row = call(
        "lun/create",
        {
            "name": name,
            "size": size,
            "lun": _lun_of(number),
            "store": store,
            "existing": existing,
            "block_size": int(block_size),
            "read_only": read_only,
            "preferred": preferred,
        },
    )
    click.echo(
        f"created {row['name']}: {_place(row)}, {_size(row)}, controller {row['controller']},"
        f" in {row['store']}"
    )


_parent = click.argument("parent", metavar="PARENT", shell_complete=complete_lun)
_number = click.option(
    "--lun", "number", metavar="N|none", help="Its LUN, 1 to 255; none: presented ones only.  [default: next]"
)
_read_only = click.option("--read-only", is_flag=True, help="Hosts may not write.")


@lun.command()
@state_option
@_parent
@click.argument("name")
@_number
@_read_only
def snapshot(parent: str, name: str, number: str | None, read_only: bool) -> None:
    """Take a snapshot of PARENT: what it holds now, as a virtual disk NAME that can be written to.

    It takes space only for what is changed later, in it or in PARENT. It depends on PARENT, and is managed by
    the same controller.
    """
    row = _take("lun/snapshot", parent, name, number, read_only)
    click.echo(f"snapshot {row['name']} of {row['parent']}: {_place(row)}, {_size(row)}")


@lun.command()
@state_option
@_parent
@click.argument("name")
@_number
@_read_only
@click.option("--wait", is_flag=True, help="Return when all is copied.")
def clone(parent: str, name: str, number: str | None, read_only: bool, wait: bool) -> None:
    """Make a clone of PARENT: a virtual disk NAME of its own, with what PARENT holds now.

    It is of use at once, and copied in the background while the target runs. Until it is complete it depends
    on PARENT.
    """
    row = _take("lun/clone", parent, name, number, read_only)
    click.echo(f"clone {row['name']} of {row['parent']}: {_place(row)}, {_size(row)}")
    if wait:
        _wait(row["name"])


@lun.command()
@state_option
@_lun
def wait(lun: str) -> None:
    """Wait until a clone is complete; if the target does not run, copy it now."""
    _wait(lun)


def _take(verb: str, parent: str, name: str, number: str | None, read_only: bool) -> dict[str, Any]:
    values = {"parent": parent, "name": name, "lun": _lun_of(number), "read_only": read_only}
    row: dict[str, Any] = call(verb, values, seconds=TAKE_SECONDS)
    return row


def _wait(lun: str) -> None:
    row = call("lun/wait", {"lun": lun}, progress=click.echo)
    click.echo(f"{row['name']} depends on no other disk")


def _lun_of(number: str | None) -> int | str | None:
    """The LUN that an option asks for."""
    if number is None or number == "next":
        return "next"
    if number == "none":
        return None
    if not (number.isascii() and number.isdigit()):
        raise WrongUsage(f"{number!r} is not a LUN", "give a number from 1 to 255, or none")
    return int(number)


def _place(row: dict[str, Any]) -> str:
    return "without a LUN of its own" if row["lun"] is None else f"LUN {row['lun']}"


def _kind(row: dict[str, Any]) -> str:
    """Whether it is a disk, a snapshot or a clone, and of what."""
    if row["parent"] is None:
        return str(row["kind"])
    text = f"{row['kind']} of {row['parent']}"
    if row["condition"] == "copying":
        return f"{text}, {100 * row['own'] // row['size']} %"
    return text if row["condition"] == "good" else f"{text}, {row['condition'].upper()}"


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


@lun.command()
@state_option
@_lun
@click.option(
    "--to",
    metavar="A|B",
    type=click.Choice(["A", "B"], case_sensitive=False),
    help="Which one.  [default: the other one]",
)
@json_option
def trespass(lun: str, to: str | None, as_json: bool) -> None:
    """Let the other controller manage a virtual disk; hosts learn of it at once."""
    row = call("lun/trespass", {"lun": lun, "to": to})
    if as_json:
        echo_json(row)
        return
    if row["parent"] is not None:
        click.echo(f"controller {row['controller']} manages {row['name']}, and {row['parent']} with it")
        return
    preferred = row["preferred"].partition("-")[0]
    click.echo(f"controller {row['controller']} manages {row['name']}")
    if preferred not in ("none", row["controller"]):
        click.echo(f"it prefers controller {preferred}, and is there again after the next start")


@lun.command()
@state_option
@_lun
@click.argument("preferred", type=click.Choice(PREFERRED, case_sensitive=False), metavar="|".join(PREFERRED))
@json_option
def prefer(lun: str, preferred: str, as_json: bool) -> None:
    """Change the preferred path of a virtual disk.

    It decides which controller manages the disk after the next start, and whether the disk goes back to it
    when it has failed and comes back. It moves nothing now. A snapshot has none: it is managed where its
    parent is.
    """
    row = call("lun/prefer", {"lun": lun, "preferred": preferred})
    if as_json:
        echo_json(row)
    else:
        click.echo(f"{row['name']} prefers {row['preferred']}, controller {row['controller']} manages it")


def _size(row: dict[str, Any]) -> str:
    return size(row["size"])
