"""The root of the command line, and the verbs that have no noun."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Any

import click

from mpxtarget.cli import array, controller, initiator, listings, lun, portal, reservation, serve
from mpxtarget.cli.calls import Failure, WrongUsage, call, failures, settings_of
from mpxtarget.cli.options import (
    json_option,
    model_option,
    serial_numbers_option,
    state_option,
    strict_option,
)

_SHELLS = ("bash", "zsh", "fish")
_COMPLETE_VARIABLE = "_MPXTARGET_COMPLETE"
_TRACEBACK_VARIABLE = "MPXTARGET_TRACEBACK"


class _Root(click.Group):
    """Ends every command with the right exit code, and every error with one line and one hint."""

    def main(  # type: ignore[override]
        self, args: list[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> None:
        extra["standalone_mode"] = False
        extra["complete_var"] = _COMPLETE_VARIABLE
        try:
            code = super().main(args, prog_name or "mpxtarget", **extra)
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.format_message(), err=True)
            sys.exit(2)
        except click.UsageError as error:
            name = error.ctx.command_path if error.ctx is not None else "mpxtarget"
            _complain(error.format_message(), f"`{name} --help` shows how it is used")
            sys.exit(2)
        except Failure as failure:
            _complain(failure.message, failure.hint)
            sys.exit(failure.exit_code)
        except click.ClickException as error:
            _complain(error.format_message(), "")
            sys.exit(1)
        except click.Abort:
            sys.exit(130)  # Ctrl-C, or the end of the input at a prompt
        except OSError as error:  # verbs put theirs in words: this is our own output, most likely
            where = f"{error.filename}: " if error.filename else ""
            _complain(
                f"broken off: {where}{error.strerror or type(error).__name__}",
                "what was asked for may be done; if the output was the trouble, send it elsewhere",
            )
            sys.exit(1)
        except Exception as error:
            if os.environ.get(_TRACEBACK_VARIABLE):
                raise
            # Its text may quote anything, a secret too.
            _complain(
                f"unexpected {type(error).__name__}, a bug", f"with {_TRACEBACK_VARIABLE}=1 it shows where"
            )
            sys.exit(1)
        sys.exit(code if isinstance(code, int) else 0)


def _complain(message: str, hint: str) -> None:
    """One line what was wrong, one line what to do."""
    from mpxtarget.cli.output import printable

    click.echo(f"error: {printable(' '.join(message.split()))}", err=True)
    if hint:
        click.echo(f"hint: {printable(' '.join(hint.split()))}", err=True)


@click.group(
    "mpxtarget", cls=_Root, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@state_option
@click.version_option(package_name="mpxtarget", prog_name="mpxtarget")
def mpxtarget() -> None:
    """An HP EVA array behind an mpx100 iSCSI bridge.

    `mpxtarget serve` runs it. Every other command talks to the running target, and its changes take effect at
    once; while nothing runs, it works on the state folder, with the same result.

    Exit codes: 0 done, 1 refused, 2 wrong usage.
    """


@mpxtarget.command()
@state_option
@model_option("HSV300")
@strict_option
@click.option("--name", help="Name of the array.  [default: the model's]")
@click.option(
    "--policy",
    type=click.Choice(["present-all", "masked"]),
    default="present-all",
    show_default=True,
    help="Who sees a LUN: everybody, or the initiators it is presented to.",
)
@serial_numbers_option("controller")
@click.option(
    "--portal",
    "portals",
    metavar="ADDRESS[:PORT]",
    multiple=True,
    help="Where to listen; may be repeated.  [default: 127.0.0.1:3260]",
)
@click.option(
    "--demo", is_flag=True, help="Two portals, on 127.0.0.1 ports 3260 and 3261, and two LUNs of 1 GiB."
)
def init(
    model: str,
    strict: bool,
    name: str | None,
    policy: str,
    serial_numbers: str,
    portals: tuple[str, ...],
    demo: bool,
) -> None:
    """Make a new array in the state folder."""
    if demo and portals:
        raise WrongUsage("--demo has portals of its own", "leave out --demo or --portal")
    settings = settings_of(click.get_current_context())
    folder = settings.folder
    where = f" --state {shlex.quote(str(settings.state))}" if settings.state is not None else ""
    with failures():
        from mpxtarget.cli.output import printable
        from mpxtarget.server.assemble import create_array
        from mpxtarget.server.state import PortalSpec
        from mpxtarget.server.verbs.portal import split_address

        values: dict[str, Any] = {
            "model": model,
            "strict": strict,
            "name": name,
            "policy": policy,
            "serial_numbers": serial_numbers,
        }
        if not demo:
            addresses = [split_address(text) for text in portals or ("127.0.0.1:3260",)]
            values |= {"portals": [PortalSpec(*address) for address in addresses], "vdisks": ()}
        with create_array(folder, **values) as state:
            record = state.array()
            click.echo(printable(f"made array {record.name} ({record.model}) in {state.folder}"))
            if not state.list_vdisks():
                click.echo(printable(f"add a LUN with: mpxtarget lun create data --size 10G{where}"))
            click.echo(printable(f"run it with: mpxtarget serve{where}"))


@mpxtarget.command()
@state_option
@json_option
def status(as_json: bool) -> None:
    """Show how the array is: portals, LUNs, sessions."""
    answer = call("status")
    if as_json:
        from mpxtarget.cli.output import echo_json

        echo_json(answer)
    else:
        listings.echo_status(answer)


@mpxtarget.command()
@state_option
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path))
@click.option("--dry-run", is_flag=True, help="Only show what would be done.")
@click.option("--prune", is_flag=True, help="Remove what is not in the file; the data of LUNs stays.")
@click.option("--force", is_flag=True, help="Cut LUNs that the file makes smaller.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def apply(file: Path, dry_run: bool, prune: bool, force: bool, as_json: bool) -> None:
    """Make the array like a TOML FILE ("-": standard input).

    Everything is checked before anything is changed. When a step fails, those before it are taken back.
    """
    text = _read(file)
    values = {
        "text": text,
        "secrets": _secrets(text, file),
        "dry_run": dry_run,
        "prune": prune,
        "force": force,
    }
    answer = call("apply", values, None if as_json else click.echo)
    if as_json:
        from mpxtarget.cli.output import echo_json

        echo_json(answer)
        return
    if dry_run:
        for line in answer["steps"]:
            click.echo(f"would {line}")
    if not answer["steps"]:
        click.echo(f"nothing to do: the array is like {'the input' if str(file) == '-' else file}")
    for thing in answer["left"]:
        click.echo(f"left alone, not in the file: {thing}")


def _read(file: Path) -> str:
    try:
        data = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise WrongUsage(
            f"cannot read {file}: {error.strerror}", "name a file that `mpxtarget export` wrote"
        ) from None
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise WrongUsage(
            f"{file} is not text in UTF-8", "name a file that `mpxtarget export` wrote"
        ) from None


def _secrets(text: str, file: Path) -> dict[str, str]:
    """The contents of the files with secrets that a configuration names, relative to its own folder."""
    if "secret_file" not in text:
        return {}
    from mpxtarget.cli.secrets import read_secret_file

    with failures():
        from mpxtarget.server.configuration import parse

        names = parse(text).secret_files()
    return {name: read_secret_file(file.parent / name) for name in names}


@mpxtarget.command()
@state_option
def export() -> None:
    """Print the array as a TOML file for `apply`; without secrets."""
    click.echo(call("export")["text"], nl=False)


@mpxtarget.command()
@click.argument("shell", type=click.Choice(_SHELLS))
def completion(shell: str) -> None:
    """Print the completion script of a SHELL.

    \b
    bash: mpxtarget completion bash > ~/.local/share/bash-completion/completions/mpxtarget
    zsh:  mpxtarget completion zsh > a file _mpxtarget in a folder of $fpath
    fish: mpxtarget completion fish > ~/.config/fish/completions/mpxtarget.fish
    """
    from click.shell_completion import ShellComplete, get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    # ShellComplete.source: bash's own first runs a bash to see how old it is.
    click.echo(ShellComplete.source(kind(mpxtarget, {}, "mpxtarget", _COMPLETE_VARIABLE)))


mpxtarget.add_command(serve.serve)
for _group in (
    array.array,
    portal.portal,
    lun.lun,
    initiator.initiator,
    controller.controller,
    reservation.reservation,
    *listings.GROUPS,
):
    mpxtarget.add_command(_group)
