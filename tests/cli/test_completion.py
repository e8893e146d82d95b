"""The shell completes verbs, and names of what there is."""

import os
import subprocess
import sys

import pytest

from .arrays import HOST, Array


def complete(array: Array, line: str) -> list[str]:
    """What bash offers at the end of a line."""
    words = line.split(" ")
    env = {
        **os.environ,
        "_MPXTARGET_COMPLETE": "bash_complete",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
        "MPXTARGET_STATE": str(array.folder),
    }
    done = subprocess.run(
        [sys.executable, "-m", "mpxtarget"], env=env, capture_output=True, text=True, check=True, timeout=60
    )
    return [entry.partition(",")[2] for entry in done.stdout.splitlines() if entry]


def test_verbs_and_names_are_completed(array: Array) -> None:
    array.ok("lun", "create", "data", "--size", "1M")
    array.ok("initiator", "add", HOST)
    assert complete(array, "mpxtarget por") == ["portal"]
    assert complete(array, "mpxtarget lun re") == ["remove", "resize"]
    assert complete(array, "mpxtarget lun remove d") == ["data"]
    assert complete(array, "mpxtarget portal disable ") == ["1"]
    assert complete(array, "mpxtarget lun present data iqn") == [HOST]
    assert complete(array, "mpxtarget init --model HSV2") == ["HSV200", "HSV210"]


def test_completion_of_nothing_is_quiet(array: Array) -> None:
    assert complete(array, "mpxtarget session kill ") == []
    assert complete(array, "mpxtarget --state /nowhere lun remove ") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_has_its_script(resting: Array, shell: str) -> None:
    script = resting.ok("completion", shell)
    assert "_MPXTARGET_COMPLETE" in script
    assert "mpxtarget" in script
