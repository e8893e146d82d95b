"""`mpxtarget reservation ...`"""

from __future__ import annotations

import click

from mpxtarget.cli.calls import call
from mpxtarget.cli.options import complete_lun, json_option, state_option
from mpxtarget.cli.output import echo_json, echo_listing


@click.group()
def reservation() -> None:
    """Who is registered with virtual disks, and who has reserved them."""


def _yes(value: bool) -> str:
    return "yes" if value else "no"


@reservation.command("list")
@state_option
@click.argument("lun", metavar="[LUN]", required=False, shell_complete=complete_lun)
@json_option
def list_(lun: str | None, as_json: bool) -> None:
    """List who is registered with all virtual disks, or with one LUN, and who has reserved them.

    While the target does not run these are the registrations that are kept over a loss of power (APTPL).
    """
    rows = call("reservation/list", {"lun": lun})
    echo_listing(
        rows,
        as_json,
        ("LUN", "NAME", "INITIATOR", "ISID", "PORT", "KEY", "HOLDS", "TYPE", "KEPT", "LOGGED IN"),
        [
            (
                "-" if r["lun"] is None else r["lun"],
                r["name"],
                r["initiator"],
                r["isid"],
                " ".join(filter(None, (str(r["target_port"]), r["host_port"]))),
                r["key"],
                _yes(r["holds"]),
                r["type"],
                _yes(r["kept"]),
                _yes(r["logged_in"]),
            )
            for r in rows
        ],
        "nobody is registered",
    )


@reservation.command()
@state_option
@click.argument("lun", metavar="LUN", shell_complete=complete_lun)
@json_option
def clear(lun: str, as_json: bool) -> None:
    """Remove all registrations and the reservation of a LUN, as a host's PERSISTENT RESERVE OUT CLEAR would.

    Hosts that had them learn of it: RESERVATIONS PREEMPTED. A reservation by RESERVE ends too.
    """
    row = call("reservation/clear", {"lun": lun})
    if as_json:
        echo_json(row)
        return
    count = row["registrations"]
    line = f"{count} registration{'' if count == 1 else 's'} of {row['name']} removed"
    if row["type"] is not None:
        line += f", and its reservation: {row['type']}"
    click.echo(line)
