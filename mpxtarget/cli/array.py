"""`mpxtarget array ...`"""

from __future__ import annotations

from typing import Any

import click

from mpxtarget.cli.calls import call
from mpxtarget.cli.options import json_option, serial_numbers_option, state_option
from mpxtarget.cli.output import printable, size


@click.group()
def array() -> None:
    """The array as a whole: its model, and what its disks offer."""


@array.command()
@state_option
@json_option
def show(as_json: bool) -> None:
    """Show what the array is."""
    row = call("array/show")
    if as_json:
        from mpxtarget.cli.output import echo_json

        echo_json(row)
    else:
        click.echo(_page(row))


@array.command("set")
@state_option
@click.option(
    "--strict/--no-strict",
    default=None,
    help="Offer what the model's firmware offered, or all that this target can.",
)
@serial_numbers_option(default=None)
def set_(strict: bool | None, serial_numbers: str | None) -> None:
    """Change what the disks offer and tell.

    Hosts that are logged in learn of it at once: every path reports INQUIRY DATA HAS CHANGED.
    """
    click.echo(_page(call("array/set", {"strict": strict, "serial_numbers": serial_numbers})))


def _page(row: dict[str, Any]) -> str:
    offers = f"what {row['firmware']} offered" if row["strict"] else "all that this target can"
    largest = "" if row["largest_disk"] is None else f", disks of at most {size(row['largest_disk'])}"
    whose = (
        "the controller's, for every disk" if row["serial_numbers"] == "controller" else "one for each disk"
    )
    facts = [
        ("model", f"{row['model']} revision {row['revision']} ({row['marketing']})"),
        ("strict", ("yes" if row["strict"] else "no") + f": {offers}{largest}"),
        ("serial numbers", whose),
        ("controller", row["controller_serial"]),
        ("bridge", row["bridge_serial"]),
        ("node WWN", row["node_wwn"]),
        ("policy", row["policy"]),
    ]
    return "\n".join([printable(row["name"]), *(f"  {name:<16}{fact}" for name, fact in facts)])
