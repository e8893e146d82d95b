"""What commands print: plain aligned tables, JSON, and text that is safe for a terminal."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click


def printable(value: object) -> str:
    """Text for a terminal: a control character in the name of an initiator must not reach the screen."""
    text = str(value)
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns as wide as needed, two spaces apart; numbers to the right."""
    cells = [["-" if cell is None or cell == "" else printable(cell) for cell in row] for row in rows]
    widths = [max(len(line[i]) for line in [list(headings), *cells]) for i in range(len(headings))]
    right = [bool(rows) and all(isinstance(row[i], int) for row in rows) for i in range(len(headings))]
    lines = []
    for line in [list(headings), *cells]:
        padded = [
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(line, widths, right, strict=True)
        ]
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def echo_json(value: Any) -> None:
    """One JSON document."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def echo_listing(
    rows: Sequence[Any], as_json: bool, headings: Sequence[str], cells: Sequence[Sequence[object]], empty: str
) -> None:
    """A listing: JSON if asked for, a table, or the hint for when there is nothing to list."""
    if as_json:
        echo_json(rows)
    elif rows:
        click.echo(table(headings, cells))
    else:
        click.echo(empty)


def duration(seconds: float) -> str:
    """`3 d 4 h`, `12 min 5 s`: the two largest units."""
    whole = max(0, int(seconds))
    parts: list[str] = []
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, whole = divmod(whole, length)
        if count or (unit == "s" and not parts):
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])


def moment(seconds: float | None) -> str:
    """A time as people at this machine read it."""
    if seconds is None:
        return "never"
    import time

    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def size(count: int) -> str:
    """Bytes for people: `10G`, `1.5G`, `512`; exact in `--json`."""
    value = float(count)
    for unit in ("", "K", "M", "G", "T"):
        if value < 1024:
            return f"{value:.1f}".removesuffix(".0") + unit
        value /= 1024
    return f"{value:.1f}".removesuffix(".0") + "P"


def exact_size(count: int) -> str:
    """Bytes for people where that says it all, else their number."""
    for power, unit in ((5, "P"), (4, "T"), (3, "G"), (2, "M"), (1, "K")):
        if count and count % 1024**power == 0:
            return f"{count >> 10 * power}{unit}"
    return f"{count} bytes"
