"""The page docs/cli.md, written from the commands: `python -m mpxtarget.cli.reference > docs/cli.md`."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import click

_HEAD = """\
# The command line

This page is written by `python -m mpxtarget.cli.reference > docs/cli.md`; change the commands, not the page.

**Where the array is.** All that belongs to an array is in one folder: `--state DIR`, before or after the
verb, else the environment variable `MPXTARGET_STATE`, else `$XDG_STATE_HOME/mpxtarget`, which is
`~/.local/state/mpxtarget` unless you set it. The folder can be moved while nothing runs. A newer version
takes over the array of an older one when it first opens it, for good: the older one then refuses it.

**Live or at rest.** While `mpxtarget serve` runs, every other command talks to it through `control.sock` in
that folder and takes effect at once. While nothing runs, the same command works on the database in the
folder, with the same result.

**For scripts.** Everything that lists takes `--json`; names and numbers in it are exact. An error is two
lines on standard error, what was wrong and what to do about it. Exit codes: 0 done, 1 refused, 2 wrong usage,
130 interrupted.

**Sizes** are powers of 1024: `512M`, `10G`, `1.5T`, `10GiB`, or a number of bytes.

**Secrets** are read from a file, from standard input, from the environment or at a prompt, never from the
command line, and nothing ever prints them.

**From other programs.** `control.sock` speaks HTTP/1.1; only the owner of the folder may open it:

    curl --unix-socket state/control.sock http://mpxtarget/v1
    curl --unix-socket state/control.sock http://mpxtarget/v1/lun/list
    curl --unix-socket state/control.sock http://mpxtarget/v1/lun/create -d '{"name": "data", "size": "10G"}'

The verbs are those of the command line, with `/` for the space; their arguments have the names of the
options, with `_` for `-`. A refusal is `{"error": ..., "hint": ..., "kind": ...}` with an HTTP status of 400
and above. `apply` answers line by line: `{"progress": ...}` for each step, and last `{"result": ...}` or the
error.

**The file of `apply` and `export`.** Portals are known by address and port, LUNs and initiators by name. What
is left out of them has its default; what is left out of `[array]`, and what only the array can choose (the
LUN, the World Wide LUN Name, the place of the store), stays as it is. Snapshots, and clones that are not
complete, are never in the file, and are left alone.

    [array]
    policy = "masked"                    # or "present-all"
    strict = true                        # or false: all that this target can
    serial_numbers = "controller"        # or "disk"
    transition_time = 15                 # seconds that a move to the other controller takes
    implicit_transition = "3600:60"      # or "off"

    [[portal]]
    address = "192.0.2.10"
    port = 3260
    advertise = "san.example:3260"       # what discovery answers instead

    [[lun]]
    name = "data"
    size = "10G"
    lun = 1                              # or "none": only presentations show it
    preferred = "A-failback"             # or "none", "A", "B", "B-failback"
    existing = true                      # do not make the store, use the one that is there

    [[lun.present]]
    initiator = "iqn.1991-05.com.microsoft:host.example"
    lun = 1

    [[initiator]]
    name = "iqn.1991-05.com.microsoft:host.example"
    chap = "one-way"                     # or "none", "mutual"
    chap_secret_file = "host.secret"     # relative to this file; its first line is the secret

"""


def reference() -> str:
    """The whole page."""
    from mpxtarget.cli.app import mpxtarget

    return "\n".join([_HEAD, *_commands(mpxtarget, click.Context(mpxtarget, info_name="mpxtarget"))])


def _commands(command: click.Command, context: click.Context) -> Iterator[str]:
    if isinstance(command, click.Group):
        for name in sorted(command.commands):
            child = command.commands[name]
            yield from _commands(child, click.Context(child, info_name=name, parent=context))
        return
    yield f"## {context.command_path}\n"
    yield f"    {' '.join([context.command_path, *command.collect_usage_pieces(context)])}\n"
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        if paragraph.startswith("\b\n"):  # click's mark for lines that stay as they are
            paragraph = "\n".join(f"    {line}" for line in paragraph.splitlines()[1:])
        yield paragraph + "\n"
    options = [option for option in command.params if isinstance(option, click.Option) and not option.hidden]
    for option in options:
        record = option.get_help_record(context)
        if record is not None and option.name != "state":
            yield f"- `{record[0]}`: {' '.join(record[1].split())}" if record[1] else f"- `{record[0]}`"
    if any(option.name != "state" for option in options):
        yield ""


if __name__ == "__main__":
    click.echo(reference().rstrip())
