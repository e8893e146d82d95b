"""docs/cli.md is what the commands say, docs/commands.md what the command table says."""

from pathlib import Path

from mpxtarget.array.models import MODELS
from mpxtarget.cli.commands_page import commands_page
from mpxtarget.cli.reference import reference
from mpxtarget.scsi.commands import COMMANDS

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_is_written_from_the_commands() -> None:
    assert (DOCS / "cli.md").read_text() == reference().rstrip() + "\n", "run: make docs"


def test_every_command_says_what_it_does() -> None:
    for section in reference().split("\n## ")[1:]:
        lines = section.split("\n\n")
        assert lines[2].strip().endswith("."), lines[0]


def test_the_page_of_scsi_commands_is_written_from_the_table() -> None:
    assert (DOCS / "commands.md").read_text() == commands_page() + "\n", "run: make docs"


def test_every_scsi_command_and_every_model_has_a_row() -> None:
    rows = [line.split(" | ") for line in commands_page().splitlines() if line.startswith("| ")]
    assert {row[2] for row in rows if len(row) > 10} >= {command.name for command in COMMANDS}
    assert {row[0].removeprefix("| ") for row in rows if len(row) < 10} >= MODELS.keys()
