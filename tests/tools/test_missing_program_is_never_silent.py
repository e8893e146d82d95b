"""A test whose program is missing is named with what to install, and under CI it is a failure."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools.packages import Need, missing, packages_of, read_table
from tools.requirement import require_tool

TESTS = Path(__file__).parent.parent

A_TEST_FOR_EACH = """
from tools import require_tool

@require_tool("sh")
def test_with():
    pass

@require_tool("sh", "no-such-program")
async def test_without():
    pass
"""


def run_in(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a project of two tests, with this project's conftest, and a table with a program nobody has."""
    shutil.copy(TESTS / "conftest.py", folder)
    shutil.copytree(TESTS / "tools", folder / "tools", ignore=shutil.ignore_patterns("test_*", "__pycache__"))
    (folder / "packages.txt").write_text("dash sh\nno-such-package no-such-program  # of nobody\n")
    (folder / "pytest.ini").write_text("[pytest]\nasyncio_mode = auto\naddopts = -p no:cacheprovider\n")
    (folder / "test_two.py").write_text(A_TEST_FOR_EACH)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q"],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if name != "CI"} | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_elsewhere_it_is_left_out_and_named(tmp_path: Path) -> None:
    result = run_in(tmp_path)
    assert result.returncode == 0
    assert "test_two.py::test_without needs no-such-program" in result.stdout
    assert "1 tests did not run: apt-get install no-such-package\n" in result.stdout
    assert "1 passed, 1 deselected" in result.stdout


def test_under_ci_it_fails(tmp_path: Path) -> None:
    result = run_in(tmp_path, CI="1")
    assert result.returncode == 1
    assert "no-such-program is missing: apt-get install no-such-package" in result.stdout
    assert "1 passed, 1 error" in result.stdout


def test_a_program_of_no_package_is_a_mistake_in_the_test() -> None:
    with pytest.raises(LookupError, match=r"unheard-of is in no row of tests/packages\.txt"):
        require_tool("unheard-of")


def test_files_are_found_by_wildcards(tmp_path: Path) -> None:
    (tmp_path / "x86_64").mkdir()
    (tmp_path / "x86_64" / "block-iscsi.so").touch()
    table = tmp_path / "packages.txt"
    table.write_text(
        f"# nothing\n\nextra {tmp_path}/*/block-iscsi.so {tmp_path}/*/no.so\nextra nowhere-to-be-found\n"
    )
    needs = read_table(table)
    assert [need.name for need in needs] == ["block-iscsi.so", "no.so", "nowhere-to-be-found"]
    assert [need.name for need in missing(needs)] == ["no.so", "nowhere-to-be-found"]
    assert packages_of(missing(needs)) == ["extra"]


def test_every_row_names_something_to_look_for() -> None:
    for table in (TESTS / "packages.txt", TESTS / "tools" / "bench-packages.txt"):
        assert all(isinstance(need, Need) and need.name for need in read_table(table))
