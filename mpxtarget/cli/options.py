"""Options and completions that several commands have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from mpxtarget.cli.calls import STATE_VARIABLE, settings_of

_F = TypeVar("_F", bound=Callable[..., Any])


def _remember_state(context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    if value is None:
        return
    if not value:  # an unset variable of a script must not mean the current folder
        raise click.BadParameter("the name of the folder is empty.")
    settings_of(context).state = Path(value)


def state_option(command: _F) -> _F:
    """`--state DIR`, before or after the verb; the last one counts."""
    return click.option(
        "--state",
        metavar="DIR",
        type=click.Path(file_okay=False, readable=False),  # who may read it, the verb says
        expose_value=False,
        is_eager=True,
        callback=_remember_state,
        help=f"State folder of the array.  [default: ${STATE_VARIABLE}, else ~/.local/state/mpxtarget]",
    )(command)


def json_option(command: _F) -> _F:
    """`--json` on everything that lists."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def _complete_model(
    _context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    from mpxtarget.array.models import MODELS

    return [
        CompletionItem(name, help=model.marketing)
        for name, model in sorted(MODELS.items())
        if name.startswith(incomplete)
    ]


def model_option(default: str | None) -> Callable[[_F], _F]:
    """`--model HSVnnn` of a new array."""
    return click.option(
        "--model",
        metavar="HSVnnn",
        shell_complete=_complete_model,
        default=default,
        show_default=default is not None,
        help="Model of the array's controllers.",
    )


def strict_option(command: _F) -> _F:
    """`--strict` of a new array."""
    return click.option("--strict", is_flag=True, help="Offer what the model's firmware offered, no more.")(
        command
    )


def serial_numbers_option(default: str | None) -> Callable[[_F], _F]:
    """`--serial-numbers controller|disk`."""
    return click.option(
        "--serial-numbers",
        type=click.Choice(["controller", "disk"]),
        default=default,
        show_default=default is not None,
        help="What a disk tells as its serial number: the controller's, as an EVA does, or one of its own.",
    )


def _listed(context: click.Context, verb: str) -> list[Any]:
    """What a verb lists, for completion: quickly, or nothing."""
    from mpxtarget.cli.calls import call_in

    try:
        rows = call_in(settings_of(context).folder, verb, {}, seconds=2.0)
    except (click.ClickException, OSError):
        return []
    return rows if isinstance(rows, list) else []


def complete_lun(
    context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Names of virtual disks."""
    return [
        CompletionItem(row["name"], help=f"LUN {row['lun']}")
        for row in _listed(context, "lun/list")
        if row["name"].startswith(incomplete)
    ]


def complete_portal(
    context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Numbers of portals."""
    return [
        CompletionItem(str(row["id"]), help=f"{row['address']} port {row['port']}")
        for row in _listed(context, "portal/list")
        if str(row["id"]).startswith(incomplete)
    ]


def complete_initiator(
    context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """iSCSI names of initiators."""
    return [
        CompletionItem(row["name"], help=row["alias"] or None)
        for row in _listed(context, "initiator/list")
        if row["name"].startswith(incomplete)
    ]


def complete_session(
    context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Handles of sessions."""
    return [
        CompletionItem(str(row["tsih"]), help=row["initiator"])
        for row in _listed(context, "session/list")
        if str(row["tsih"]).startswith(incomplete)
    ]
