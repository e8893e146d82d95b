"""Which tests cite which items of the checklist, read off the sources: nothing is imported or run.

A test cites by `@pytest.mark.conformance("ABC-001", ...)`, at its own head or its class's, in one of its
parameters, by a name that the module gave such a mark, or by the module's `pytestmark`. The identifiers have
to be written out.
"""

import ast
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True, order=True)
class Test:
    """A test function."""

    __test__ = False

    file: str
    """Relative to the folder of the tests."""
    name: str


def citations(folder: Path = TESTS) -> dict[str, list[Test]]:
    """The tests that cite each identifier. Raises ValueError for one that is not written out."""
    found: defaultdict[str, set[Test]] = defaultdict(set)
    for path in sorted(folder.rglob("test_*.py")):
        source = path.read_text()
        if "conformance(" not in source:
            continue
        module = ast.parse(source, str(path))
        file = path.relative_to(folder).as_posix()
        for name, identifiers in _tests(module, _named_marks(module)):
            for identifier in identifiers:
                found[identifier].add(Test(file, name))
    return {identifier: sorted(tests) for identifier, tests in sorted(found.items())}


def _tests(module: ast.Module, named: dict[str, list[str]]) -> Iterator[tuple[str, list[str]]]:
    everywhere = named.get("pytestmark", [])
    for node in module.body:
        if isinstance(node, ast.ClassDef):
            of_class = everywhere + _cited(node.decorator_list, named)
            for child in node.body:
                if _is_test(child):
                    yield f"{node.name}.{child.name}", of_class + _cited(child.decorator_list, named)
        elif _is_test(node):
            yield node.name, everywhere + _cited(node.decorator_list, named)
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if name.startswith("Test"):  # a class of tests that was not made by `class`
                yield name, everywhere + named.get(name, [])


def _is_test(node: ast.stmt) -> bool:
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test")


def _named_marks(module: ast.Module) -> dict[str, list[str]]:
    """Names that the module gives to marks, and what those cite."""
    named: dict[str, list[str]] = {}
    for node in module.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            cited = _cited([node.value], named)
            if cited:
                named[node.targets[0].id] = cited
    return named


def _cited(nodes: list[ast.expr], named: dict[str, list[str]]) -> list[str]:
    cited: list[str] = []
    for root in nodes:
        for node in ast.walk(root):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                if node.func.attr == "conformance":
                    cited += [_identifier(argument) for argument in node.args]
            elif isinstance(node, ast.Name):
                cited += named.get(node.id, [])
    return cited


def _identifier(argument: ast.expr) -> str:
    if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
        return argument.value
    raise ValueError(f"line {argument.lineno}: {ast.unparse(argument)} is not an identifier written out")
