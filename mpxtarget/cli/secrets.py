"""Where secrets come from: a file, standard input, the environment, a prompt; never the command line."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from mpxtarget.cli.calls import WrongUsage


def read_secret_file(file: Path) -> str:
    """The first line of a file; of standard input if it is `-`."""
    try:
        if str(file) == "-":
            line = sys.stdin.buffer.readline()
        else:
            with file.open("rb") as opened:
                line = opened.readline(4096)
    except OSError as error:
        raise WrongUsage(
            f"cannot read the secret in {file}: {error.strerror}", "name a file that has it"
        ) from None
    try:
        # Windows editors begin a file with a byte order mark, which no host would send.
        secret = line.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError:
        raise WrongUsage(
            f"the secret in {file} is not text in UTF-8", "name a file that has it as text"
        ) from None
    if not secret:
        where = "on standard input" if str(file) == "-" else f"in {file}"
        raise WrongUsage(f"there is no secret {where}", "it has to be in the first line")
    return secret


def _somebody_is_there() -> bool:
    return sys.stdin.isatty()


def find_secret(what: str, file: Path | None, option: str, variable: str) -> str:
    """A secret from the file that is given, else from the environment, else from a prompt."""
    if file is not None:
        return read_secret_file(file)
    if secret := os.environ.get(variable):
        return secret
    if not _somebody_is_there():
        raise WrongUsage(
            f"the secret of {what} is missing", f"give {option} FILE (- is standard input) or set {variable}"
        )
    answer: str = click.prompt(f"Secret of {what}", hide_input=True, confirmation_prompt=True, err=True)
    return answer
