"""Personalities: which of the commands in the table a logical unit offers.

A command that is not offered does not exist for the host: INVALID COMMAND OPERATION CODE, absent from REPORT
SUPPORTED OPERATION CODES, and whatever else announces it (VPD pages, INQUIRY bits) says so too. Those ask
`offers`; there is no second list.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Personality:
    """What a logical unit offers. `commands`: names of rows of the table; None for all of them."""

    name: str
    commands: frozenset[str] | None = None

    def offers(self, command: str) -> bool:
        """Whether the command of this name is offered."""
        return self.commands is None or command in self.commands


EVERYTHING: Final = Personality("everything")
"""All that this target can do."""
