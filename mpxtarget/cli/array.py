"""`mpxtarget array ...`"""

from __future__ import annotations

from typing import Any

import click

from mpxtarget.cli.calls import call
from mpxtarget.cli.options import json_option, serial_numbers_option, state_option
from mpxtarget.cli.output import exact_size, printable


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
@click.option(
    "--transition-time",
    metavar="SECONDS",
    type=int,
    help="How long a LUN that moves to the other controller is in transition, and not accessible.",
)
@click.option(
    "--implicit-transition",
    metavar="SECONDS:PERCENT[:READS]|off",
    help="Move a LUN when more than PERCENT of its reads, at least READS, came in by the other controller"
    " within SECONDS.",
)
def set_(
    strict: bool | None,
    serial_numbers: str | None,
    transition_time: int | None,
    implicit_transition: str | None,
) -> None:
    """Change what the disks offer and tell, and how they move between controllers.

    It takes effect at once. When what the disks offer or tell changes, every path of hosts that are logged in
    reports INQUIRY DATA HAS CHANGED.
    """
    values = {
        "strict": strict,
        "serial_numbers": serial_numbers,
        "transition_time": transition_time,
        "implicit_transition": implicit_transition,
    }
    click.echo(_page(call("array/set", values)))


def _page(row: dict[str, Any]) -> str:
    offers = f"what {row['firmware']} offered" if row["strict"] else "all that this target can"
    largest = "" if row["largest_disk"] is None else f", disks of at most {exact_size(row['largest_disk'])}"
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
        ("transition", _transition(row["transition_time"])),
        ("implicit", _implicit(row["implicit_transition"])),
    ]
    return "\n".join([printable(row["name"]), *(f"  {name:<16}{fact}" for name, fact in facts)])


def _transition(seconds: int) -> str:
    return f"a LUN that moves is in transition for {seconds} s" if seconds else "a LUN moves at once"


def _implicit(rule: str) -> str:
    if rule == "off":
        return "off: no LUN moves because of its reads"
    window, percent, reads = rule.split(":")
    return f"{rule}: more than {percent} % of at least {reads} reads in {window} s"
