"""The items of checklist.toml."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).with_name("checklist.toml")

FIRST_OF_SCSI = "SAM"
"""The groups before this one are about iSCSI, those from here on about SCSI."""


@dataclass(frozen=True, slots=True)
class Item:
    """One promise."""

    id: str
    level: str
    """M, S, Y or P; see the head of the file."""
    clause: str
    rule: str
    reason: str = ""
    """Why no test proves it."""


@dataclass(frozen=True, slots=True)
class Group:
    """Items about one thing; their identifiers begin with its name."""

    name: str
    title: str
    items: tuple[Item, ...]


def groups() -> list[Group]:
    """All groups, in the order of the file."""
    return [
        Group(name, table.pop("title"), tuple(Item(key, **values) for key, values in table.items()))
        for name, table in tomllib.loads(FILE.read_text()).items()
    ]


def items() -> dict[str, Item]:
    """All items by identifier."""
    return {item.id: item for group in groups() for item in group.items}


def items_of_scsi() -> list[Item]:
    """The items of the second part."""
    names = [group.name for group in groups()]
    return [item for group in groups()[names.index(FIRST_OF_SCSI) :] for item in group.items]
