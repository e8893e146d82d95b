"""`require_tool`, and the pytest hooks that keep its promise."""

import os
from pathlib import Path

import pytest

from tools.packages import Need, packages_of, read_table

_TABLE = {need.name: need for need in read_table(Path(__file__).parent.parent / "packages.txt")}


def require_tool(*names: str) -> pytest.MarkDecorator:
    """Mark a test, or a module by `pytestmark`, as needing commands or files of tests/packages.txt.

    `@require_tool("qemu-img", "block-iscsi.so")`
    """
    for name in names:
        if name not in _TABLE:
            raise LookupError(f"{name} is in no row of tests/packages.txt: add it to the package that has it")
    return pytest.mark.require_tool(*names)


def _missing(item: pytest.Item) -> list[Need]:
    names = {name for marker in item.iter_markers("require_tool") for name in marker.args}
    return [need for name, need in _TABLE.items() if name in names and not need.is_met()]


class RequiredTools:
    """The plugin: leaves tests out and reports them, or under CI lets them fail."""

    def __init__(self) -> None:
        self._left_out: dict[str, list[Need]] = {}

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Take the tests out whose tools are missing."""
        if os.environ.get("CI"):
            return
        without = {item.nodeid: needs for item in items if (needs := _missing(item))}
        config.hook.pytest_deselected(items=[item for item in items if item.nodeid in without])
        items[:] = [item for item in items if item.nodeid not in without]
        self._left_out |= without

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Under CI, fail the tests whose tools are missing: elsewhere there are none here."""
        if needs := _missing(item):
            tools = ", ".join(need.name for need in needs)
            pytest.fail(f"{tools} is missing: apt-get install {' '.join(packages_of(needs))}", pytrace=False)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say which tests did not run, and what to install for them."""
        if not self._left_out:
            return
        terminalreporter.section("not run: programs are missing", sep="-", yellow=True)
        for nodeid, needs in self._left_out.items():
            terminalreporter.write_line(f"{nodeid} needs {', '.join(need.name for need in needs)}")
        packages = packages_of([need for needs in self._left_out.values() for need in needs])
        terminalreporter.write_line(
            f"{len(self._left_out)} tests did not run: apt-get install {' '.join(packages)}"
        )
