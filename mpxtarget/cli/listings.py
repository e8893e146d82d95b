"""`mpxtarget target ...`, `session ...` and what `status` prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from mpxtarget.cli import controller, lun, portal
from mpxtarget.cli.calls import call
from mpxtarget.cli.options import complete_session, json_option, state_option
from mpxtarget.cli.output import duration, echo_listing, moment, printable, size, table


@click.group()
def target() -> None:
    """iSCSI targets: one for each host port of the array."""


@target.command("list")
@state_option
@json_option
def list_targets(as_json: bool) -> None:
    """List the targets."""
    rows = call("target/list")
    echo_listing(
        rows,
        as_json,
        ("ID", "CONTROLLER", "PORT", "TARGET", "SESSIONS"),
        [(r["relative_id"], r["controller"], r["host_port"], r["name"], r["sessions"]) for r in rows],
        "no targets",
    )


@click.group()
def session() -> None:
    """Sessions of initiators that are logged in."""


_SESSION_HEADINGS = ("TSIH", "INITIATOR", "ISID", "TARGET", "PORTAL", "PEER", "SINCE", "READ", "WRITTEN")
_NO_SESSIONS = "nobody is logged in"


def _session_cells(rows: list[dict[str, Any]]) -> list[tuple[object, ...]]:
    return [
        (
            r["tsih"],
            r["initiator"],
            r["isid"],
            r["target"] or "(discovery)",
            r["portal"],
            r["peer"],
            moment(r["since"]),
            size(r["read_bytes"]),
            size(r["written_bytes"]),
        )
        for r in rows
    ]


@session.command("list")
@state_option
@json_option
def list_sessions(as_json: bool) -> None:
    """List the sessions."""
    rows = call("session/list")
    echo_listing(rows, as_json, _SESSION_HEADINGS, _session_cells(rows), _NO_SESSIONS)


@session.command()
@state_option
@click.argument("tsih", type=int, shell_complete=complete_session)
def kill(tsih: int) -> None:
    """Cut the session TSIH off; its initiator will probably log in again."""
    row = call("session/kill", {"tsih": tsih})
    click.echo(f"killed session {row['tsih']} of {printable(row['initiator'])}")


GROUPS = (target, session)


def echo_status(answer: dict[str, Any]) -> None:
    """The page that `mpxtarget status` prints."""
    running = "not running: mpxtarget serve"
    if answer["running"]:
        uptime, memory = duration(answer["uptime"]), size(answer["memory"])
        running = f"running for {uptime}, process {answer['pid']}, {memory} of memory"
    strict = "strict " if answer["strict"] else ""
    model = f"{strict}{answer['model']} ({answer['marketing']})"
    click.echo(f"{answer['name']}  {model}  {answer['node_wwn']}  {answer['policy']}")
    click.echo(f"{answer['folder']}: {running}")
    for row in answer["controllers"]:
        if row["state"] != "ok":
            click.echo(f"controller {row['name']}: {controller.state(row)}")
    portals = [portal.cells(row) for row in answer["portals"]]
    _section("portals", portal.HEADINGS, portals, "mpxtarget portal add ADDRESS")
    luns = [lun.cells(row)[:7] for row in answer["luns"]]
    _section("LUNs", lun.HEADINGS[:7], luns, "mpxtarget lun create data --size 10G")
    _section("sessions", _SESSION_HEADINGS, _session_cells(answer["sessions"]), "")
    known = answer["initiators"]
    click.echo(f"\n{answer['targets']} targets, {known} known initiator{'' if known == 1 else 's'}")


def _section(name: str, headings: tuple[str, ...], rows: Sequence[tuple[object, ...]], hint: str) -> None:
    click.echo()
    if rows:
        click.echo(table(headings, rows))
    else:
        click.echo(f"no {name}" + (f": {hint}" if hint else ""))
