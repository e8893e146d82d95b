"""The page docs/commands.md, written from the command table: `python -m mpxtarget.cli.commands_page >
docs/commands.md`.
"""

from __future__ import annotations

from collections.abc import Iterator

import click

from mpxtarget.array.models import MODELS
from mpxtarget.scsi.codes import AccessState, PeripheralType
from mpxtarget.scsi.command import Command
from mpxtarget.scsi.commands import COMMANDS
from mpxtarget.scsi.reservations import Reserved

_HEAD = """\
# SCSI commands

This page is written by `make docs` from the command table, mpxtarget/scsi/commands.py; change the table, not
the page. The same table dispatches, refuses reserved bits, enforces reservations and access states, and
answers REPORT SUPPORTED OPERATION CODES.

**Usage map.** Byte by byte, the bits that the target looks at; a service action stands where its bits are.
`4*FF` are four bytes of FF. Any other bit that is set is refused with INVALID FIELD IN CDB and a pointer to
it, but for bits that older standards defined.

**Reservations.** What the command does while another I_T nexus holds a reservation: `A` it is allowed, `C`
RESERVATION CONFLICT. WE and EA: of type Write Exclusive and Exclusive Access. REG: of a registrants type,
from a nexus that is registered; WEnr and EAnr: from one that is not. R6: by RESERVE(6) or (10). `*`: fields
of the CDB decide.

**States.** The asymmetric access states in which it is processed besides active/optimized and
active/non-optimized: `S` standby, `U` unavailable, `T` transitioning. `*`: fields of the CDB decide.

**Units.** `D` disks, `C` the console at LUN 0, `-` a LUN where nothing is.

"""

_COLUMNS = ("WE", "EA", "REG", "WEnr", "EAnr", "R6")
_STATES = {"S": AccessState.STANDBY, "U": AccessState.UNAVAILABLE, "T": AccessState.TRANSITIONING}
_UNITS = {
    "D": PeripheralType.DISK,
    "C": PeripheralType.STORAGE_ARRAY_CONTROLLER,
    "-": PeripheralType.UNKNOWN,
}


def commands_page() -> str:
    """The whole page."""
    return _HEAD + "\n".join([*_commands(), "", *_models()])


def _commands() -> Iterator[str]:
    head = ("code", "action", "command", "usage map", *_COLUMNS, "states", "units", "strict models")
    yield _row(*head)
    yield _row(*("---" for _ in head))
    for command in sorted(COMMANDS, key=lambda command: (command.opcode, command.service_action or 0)):
        action = "" if command.service_action is None else f"{command.service_action:02X}"
        yield _row(
            f"{command.opcode:02X}",
            action,
            command.name,
            f"`{_usage(command)}`",
            *_reservations(command),
            _states(command),
            "".join(letter for letter, kind in _UNITS.items() if kind in command.on),
            _offering(command),
        )


def _usage(command: Command) -> str:
    usage = bytearray(command.usage)
    if command.service_action is not None:
        usage[1] = usage[1] & 0xE0 | command.service_action
    words: list[str] = []
    at = 0
    while at < len(usage):
        count = 1
        while at + count < len(usage) and usage[at + count] == usage[at]:
            count += 1
        byte = f"{usage[at]:02X}"
        words += [f"{count}*{byte}"] if count > 2 else [byte] * count
        at += count
    return " ".join(words)


def _reservations(command: Command) -> str:
    """One letter for each column; `*` where the CDB decides."""
    if isinstance(command.reserved, Reserved):
        return command.reserved.value
    return "*" * len(_COLUMNS)


def _states(command: Command) -> str:
    if not isinstance(command.access, frozenset):
        return "*"
    return "".join(letter for letter, state in _STATES.items() if state in command.access)


def _offering(command: Command) -> str:
    models = [model.product for model in MODELS.values() if model.personality(True).offers(command.name)]
    return "all" if len(models) == len(MODELS) else " ".join(models) or "none"


def _models() -> Iterator[str]:
    yield "## Models"
    yield ""
    yield "An array that is not strict offers every command of this page, whatever its model."
    yield ""
    head = ("model", "array", "revision", "firmware", "ports", "commands", "largest disk, strict")
    yield _row(*head)
    yield _row(*("---" for _ in head))
    for model in MODELS.values():
        firmware = model.firmware
        offered = sum(firmware.personality.offers(command.name) for command in COMMANDS)
        yield _row(
            model.product,
            model.marketing,
            model.revision,
            firmware.personality.name,
            f"2 x {model.host_ports}",
            f"{offered} of {len(COMMANDS)}",
            f"{firmware.largest_disk} bytes",
        )


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    click.echo(commands_page())
