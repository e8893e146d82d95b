"""docs/cli.md is what the commands say."""

from pathlib import Path

from mpxtarget.cli.reference import reference

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"


def test_the_page_is_written_from_the_commands() -> None:
    assert PAGE.read_text() == reference().rstrip() + "\n", (
        "run: python -m mpxtarget.cli.reference > docs/cli.md"
    )


def test_every_command_says_what_it_does() -> None:
    for section in reference().split("\n## ")[1:]:
        lines = section.split("\n\n")
        assert lines[2].strip().endswith("."), lines[0]
