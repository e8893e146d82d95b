"""Fixtures: an array, and paths to it."""

import pytest
from scsi_initiator import Array, Path


@pytest.fixture
def array() -> Array:
    """A fresh array with one disk."""
    return Array()


@pytest.fixture
def path(array: Array) -> Path:
    """A quiet path through controller A."""
    return array.path()


@pytest.fixture
def other(array: Array) -> Path:
    """A quiet path of another host through controller B."""
    return array.path("iqn.1994-05.com.redhat:host", port=2)
