"""`mpxtarget controller ...`"""

from __future__ import annotations

import time
from typing import Any

import click

from mpxtarget.cli.calls import call
from mpxtarget.cli.options import json_option, state_option
from mpxtarget.cli.output import duration, echo_json, echo_listing

_PROGRESS_SECONDS = 5.0  # between two lines while a controller restarts

_MAX_SECONDS = 86400.0  # the server's limit


def _seconds(_context: click.Context, _parameter: click.Parameter, value: float) -> float:
    # `nan` and `inf` are numbers for click, and none of JSON.
    if not 0 <= value <= _MAX_SECONDS:
        raise click.BadParameter(f"{value:g} is not between 0 and {_MAX_SECONDS:g}.")
    return value


_controller = click.argument("controller", metavar="A|B", type=click.Choice(["A", "B"], case_sensitive=False))


@click.group()
def controller() -> None:
    """Controllers of the array."""


@controller.command("list")
@state_option
@json_option
def list_(as_json: bool) -> None:
    """List the controllers, how they are, their host ports and the LUNs they manage."""
    rows = call("controller/list")
    echo_listing(
        rows,
        as_json,
        ("CONTROLLER", "STATE", "SERIAL", "PORT GROUP", "HOST PORTS", "MANAGES"),
        [
            (
                r["name"],
                state(r),
                r["serial"],
                r["target_port_group"],
                " ".join(f"{p['name']}={p['wwn']}" for p in r["host_ports"]),
                " ".join(r["luns"]),
            )
            for r in rows
        ],
        "no controllers",
    )


@controller.command()
@state_option
@_controller
@json_option
def fail(controller: str, as_json: bool) -> None:
    """Make a CONTROLLER fail, until it is recovered.

    Its sessions end and its targets refuse logins; the other controller manages its LUNs.
    """
    row = call("controller/fail", {"controller": controller})
    _say(
        row, as_json, f"controller {controller} has failed, controller {_other(controller)} manages all LUNs"
    )


@controller.command()
@state_option
@_controller
@json_option
def recover(controller: str, as_json: bool) -> None:
    """Bring a CONTROLLER back; LUNs that prefer it with failback return to it."""
    row = call("controller/recover", {"controller": controller})
    _say(row, as_json, f"controller {controller} is back, {_manages(row)}")


@controller.command()
@state_option
@_controller
@click.option(
    "--seconds",
    metavar="N",
    type=float,
    callback=_seconds,
    default=30.0,
    help="How long it is away.  [default: 30]",
)
@click.option("--no-wait", is_flag=True, help="Do not wait until it is back.")
@json_option
def restart(controller: str, seconds: float, no_wait: bool, as_json: bool) -> None:
    """Restart a CONTROLLER: it fails, and is back after some seconds by itself."""
    row = call("controller/restart", {"controller": controller, "seconds": seconds})
    while not no_wait and row["state"] == "restarting":
        left = row["seconds_left"] or 0.0
        if not as_json:
            click.echo(f"controller {controller} restarts, {duration(left)} left")
        # the next progress line; the target says how long there is left to wait
        time.sleep(min(max(left, 0.05), _PROGRESS_SECONDS))
        row = next(r for r in call("controller/list") if r["name"] == controller)
    if row["state"] == "ok":
        _say(row, as_json, f"controller {controller} is back, {_manages(row)}")
    else:
        _say(row, as_json, f"controller {controller}: {state(row)}")


def state(row: dict[str, Any]) -> str:
    """How a controller is."""
    left = row["seconds_left"]
    return str(row["state"]) if left is None else f"{row['state']}, {duration(left)} left"


def _say(row: dict[str, Any], as_json: bool, line: str) -> None:
    if as_json:
        echo_json(row)
    else:
        click.echo(line)


def _manages(row: dict[str, Any]) -> str:
    return f"it manages {', '.join(row['luns'])}" if row["luns"] else "it manages no LUN"


def _other(controller: str) -> str:
    return "B" if controller == "A" else "A"
