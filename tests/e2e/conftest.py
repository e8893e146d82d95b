"""Fixtures of the end-to-end tests: targets that run as processes, and their logs when a test fails."""

from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from .harness import TargetUnderTest

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests of this folder are end-to-end tests."""
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With a failure, show what the targets of the test wrote."""
    report = yield
    if report.failed and isinstance(item, pytest.Function):
        for name, value in item.funcargs.items():
            if isinstance(value, TargetUnderTest):
                report.sections.append((f"log of the target {name!r}", value.read_log()[-8000:]))
    return report


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TargetUnderTest]:
    """A target with the embedded default array, shared by the tests of one file."""
    with TargetUnderTest(tmp_path_factory.mktemp("array")) as running:
        yield running


@pytest.fixture
def fresh_target(tmp_path: Path) -> Iterator[TargetUnderTest]:
    """A target of the test's own, to be changed as it likes."""
    with TargetUnderTest(tmp_path / "array") as running:
        yield running
