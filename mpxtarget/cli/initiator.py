"""`mpxtarget initiator ...`"""

from __future__ import annotations

from pathlib import Path

import click

from mpxtarget.cli.calls import WrongUsage, call
from mpxtarget.cli.options import complete_initiator, json_option, state_option
from mpxtarget.cli.output import echo_listing, moment, printable

_SECRET = "MPXTARGET_CHAP_SECRET"
_TARGET_SECRET = "MPXTARGET_CHAP_TARGET_SECRET"  # the name of a variable, no secret
_name = click.argument("name", shell_complete=complete_initiator)
_file = click.Path(dir_okay=False, allow_dash=True, path_type=Path)


@click.group()
def initiator() -> None:
    """Hosts that the bridge knows, by their iSCSI names."""


@initiator.command("list")
@state_option
@json_option
def list_(as_json: bool) -> None:
    """List the initiators."""
    rows = call("initiator/list")
    echo_listing(
        rows,
        as_json,
        ("NAME", "ALIAS", "CHAP", "CHAP USER", "LUNS", "SESSIONS", "LAST LOGIN"),
        [
            (
                r["name"],
                r["alias"],
                r["chap"],
                r["chap_user"],
                ",".join(map(str, r["luns"])),
                r["sessions"],
                moment(r["last_seen"]),
            )
            for r in rows
        ],
        "no initiators yet: they appear here when they log in, or with mpxtarget initiator add NAME",
    )


@initiator.command()
@state_option
@click.argument("name")
@click.option("--alias", default="", help="What you call it.")
def add(name: str, alias: str) -> None:
    """Make an initiator known before its first login."""
    row = call("initiator/add", {"name": name, "alias": alias})
    click.echo(f"added initiator {row['name']}")


@initiator.command("set-chap")
@state_option
@_name
@click.option("--user", default="", help="CHAP name of the initiator.  [default: its iSCSI name]")
@click.option(
    "--secret-file", type=_file, metavar="FILE", help="First line is its secret; - is standard input."
)
@click.option("--mutual", is_flag=True, help="The target proves itself, too.")
@click.option("--target-user", default="", help="CHAP name of the target.  [default: the array's]")
@click.option("--target-secret-file", type=_file, metavar="FILE", help="First line is the target's secret.")
@click.option("--off", is_flag=True, help="Let it in without CHAP.")
def set_chap(
    name: str,
    user: str,
    secret_file: Path | None,
    mutual: bool,
    target_user: str,
    target_secret_file: Path | None,
    off: bool,
) -> None:
    """Set the CHAP secrets of an initiator, from its next login on.

    A secret comes from a file, from standard input, from the environment (MPXTARGET_CHAP_SECRET,
    MPXTARGET_CHAP_TARGET_SECRET), or is asked for. It has 12 bytes or more; Windows takes 12 to 16.
    """
    from mpxtarget.cli.secrets import find_secret

    mutual = mutual or bool(target_user) or target_secret_file is not None
    if off:
        if user or secret_file is not None or mutual:
            raise WrongUsage(
                "--off takes CHAP away, and the other options set it", "leave out one or the other"
            )
        call("initiator/set-chap", {"name": name, "off": True})
        click.echo(f"{name} logs in without CHAP")
        return
    values = {
        "name": name,
        "user": user,
        "secret": find_secret(name, secret_file, "--secret-file", _SECRET),
        "target_user": target_user,
    }
    if mutual:
        values["target_secret"] = find_secret(
            "the target", target_secret_file, "--target-secret-file", _TARGET_SECRET
        )
    row = call("initiator/set-chap", values)
    click.echo(f"{row['name']} logs in with {row['chap']} CHAP as {row['chap_user'] or row['name']}")
    for warning in row["warnings"]:
        click.echo(f"note: {printable(warning)}", err=True)


@initiator.command()
@state_option
@_name
def remove(name: str) -> None:
    """Forget an initiator, its secrets and its presentations."""
    row = call("initiator/remove", {"name": name})
    click.echo(f"removed initiator {row['name']}")
