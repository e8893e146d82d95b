"""docs/conformance.md: every item, and the tests that prove it."""

from collections.abc import Iterator
from pathlib import Path

from .checklist import Group, Item, groups
from .citations import Test, citations

FILE = Path(__file__).parents[2] / "docs" / "conformance.md"

_HEAD = """\
# Conformance

This page is written by `make docs` from tests/conformance/checklist.toml and from the marks of the tests;
change those, not the page.

Each item is one promise. **M** has to be so by the clause, **S** ought to be, **Y** is an option that has to
work if it is offered, **P** is a choice of this project where the standards leave one, or what a known client
needs. `pytest tests/...` with the name of a test runs what proves an item.

"""


def page() -> str:
    """The whole page."""
    return _HEAD + "\n".join(_lines(groups(), citations())) + "\n"


def _lines(all_groups: list[Group], cited: dict[str, list[Test]]) -> Iterator[str]:
    items = [item for group in all_groups for item in group.items]
    proved = [item for item in items if item.id in cited]
    tests = {test for found in cited.values() for test in found}
    yield f"{len(proved)} of {len(items)} items are proved by {len(tests)} tests."
    yield ""
    for level in "MSYP":
        of_level = [item for item in items if item.level == level]
        number = sum(item.id in cited for item in of_level)
        yield f"- {level}: {number} of {len(of_level)}"
    yield ""
    yield from _without_a_test([item for item in items if item.id not in cited])
    for group in all_groups:
        yield f"## {group.name}. {group.title}"
        yield ""
        yield "| item | level | rule | clause | tests |"
        yield "| --- | --- | --- | --- | --- |"
        for item in group.items:
            proof = _proof(cited.get(item.id, []))
            yield f"| {item.id} | {item.level} | {item.rule} | {item.clause or '-'} | {proof} |"
        yield ""


def _without_a_test(items: list[Item]) -> Iterator[str]:
    yield "## Items without a test"
    yield ""
    yield "| item | level | rule | why |"
    yield "| --- | --- | --- | --- |"
    for item in items:
        yield f"| {item.id} | {item.level} | {item.rule} | {item.reason or 'no test yet'} |"
    yield ""


def _proof(tests: list[Test]) -> str:
    by_file: dict[str, list[str]] = {}
    for test in tests:
        by_file.setdefault(test.file, []).append(test.name.removeprefix("test_").replace("_", " "))
    return "<br>".join(
        f"[{file}](../tests/{file}): {'; '.join(sorted(names))}" for file, names in by_file.items()
    )
