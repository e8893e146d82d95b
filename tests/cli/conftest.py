"""Every rule of the command line holds live and at rest."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from .arrays import Array, make, served


@pytest.fixture(params=["at-rest", "live"])
def array(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Array]:
    """An array with one portal, at rest and served."""
    folder = tmp_path / "state"
    make(folder)
    if request.param == "at-rest":
        yield Array(folder)
        return
    with served(folder) as array:
        yield array


@pytest.fixture
def resting(tmp_path: Path) -> Array:
    """An array that nobody serves."""
    make(tmp_path / "state")
    return Array(tmp_path / "state")


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Array]:
    """An array that is being served."""
    make(tmp_path / "state")
    with served(tmp_path / "state") as array:
        yield array
