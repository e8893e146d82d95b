"""Every promise of the checklist is proved by a test, or it is said why not."""

import ast
import re

import pytest

from .checklist import groups, items, items_of_scsi
from .citations import TESTS, _cited, citations
from .page import FILE, page


def test_the_page_is_written_from_checklist_and_tests() -> None:
    assert FILE.read_text() == page(), "run: make docs"


def test_tests_cite_items_that_there_are() -> None:
    assert set(citations()) - set(items()) == set()


def test_what_has_to_be_so_of_scsi_is_proved_or_it_is_said_why_not() -> None:
    cited = citations()
    unproved = {
        item.id for item in items_of_scsi() if item.level in "MS" and item.id not in cited and not item.reason
    }
    assert unproved == set()


def test_a_reason_stands_only_where_there_is_no_test() -> None:
    cited = citations()
    assert {item.id for item in items().values() if item.reason and item.id in cited} == set()


def test_items_are_in_order_and_of_their_group() -> None:
    for group in groups():
        identifiers = [item.id for item in group.items]
        assert identifiers == sorted(set(identifiers))
        assert all(re.fullmatch(rf"{group.name}-\d{{3}}", identifier) for identifier in identifiers)
    for item in items().values():
        assert item.level in "MSYP" and len(item.level) == 1
        assert item.rule and "|" not in item.rule + item.clause + item.reason


def test_no_mark_is_overlooked() -> None:
    """Every call of the mark in the sources is found by the reading that the page is made from."""
    found = {(test.file, identifier) for identifier, tests in citations().items() for test in tests}
    for path in TESTS.rglob("test_*.py"):
        module = ast.parse(path.read_text())
        for node in ast.walk(module):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "conformance":
                for identifier in _cited([node], {}):
                    assert (path.relative_to(TESTS).as_posix(), identifier) in found


def test_identifiers_have_to_be_written_out() -> None:
    with pytest.raises(ValueError, match="not an identifier"):
        _cited([ast.parse("pytest.mark.conformance(*ids)", mode="eval").body], {})
