"""Help and completion load little; a command loads what it needs."""

import subprocess
import sys

import pytest

from .arrays import Array

HEAVY = {"asyncio", "construct", "crc32c", "h11", "msgspec", "scapy", "sqlite3", "tomllib", "uvloop"}
LISTS = (
    "import sys; from mpxtarget.cli import main\ntry: main()\nfinally: print(*sys.modules, file=sys.stderr)"
)


def loaded(*words: str) -> set[str]:
    """The modules that a command loads."""
    done = subprocess.run(
        [sys.executable, "-c", LISTS, *words], capture_output=True, text=True, check=True, timeout=60
    )
    return set(done.stderr.split())


@pytest.mark.parametrize("words", [["--help"], ["lun", "create", "--help"], ["completion", "bash"]])
def test_help_loads_nothing_heavy(words: list[str]) -> None:
    assert loaded(*words) & (HEAVY | {"mpxtarget.server"}) == set()


def test_a_command_at_rest_needs_no_event_loop(resting: Array) -> None:
    modules = loaded("lun", "list", "--state", str(resting.folder))
    assert "mpxtarget.server.verbs" in modules
    assert modules & {"asyncio", "scapy", "uvloop", "h11"} == set()


def test_a_command_to_a_running_target_needs_no_database(live: Array) -> None:
    assert loaded("lun", "list", "--state", str(live.folder)) & (HEAVY | {"mpxtarget.server"}) == set()
