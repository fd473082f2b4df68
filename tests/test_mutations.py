"""The table of faults can't rot: every edit fits its file once, and every test that is to catch it is there, in the default tier."""

from __future__ import annotations

import ast
from collections import Counter

import pytest
from conftest import ROOT
from faults import FAULTS, Fault

OTHER_TIERS = frozenset({"integration", "slow", "image", "emulation"})


def test_names_are_unique_and_there_are_enough() -> None:
    assert len(FAULTS) >= 100
    assert [name for name, count in Counter(fault.name for fault in FAULTS).items() if count > 1] == []


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_a_fault_fits_and_its_tests_are_there(fault: Fault) -> None:
    assert fault.file.startswith("src/")
    text = (ROOT / fault.file).read_text()
    assert text.count(fault.old) == 1, f"{fault.old!r} must stand in {fault.file} exactly once: move the fault with the code"
    ast.parse(text.replace(fault.old, fault.new))
    assert fault.tests
    for test in fault.tests:
        path, _, function = test.partition("::")
        tree = ast.parse((ROOT / path).read_text())
        found = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == function.partition("[")[0]]
        assert len(found) == 1, f"{path} has no such test: {function}"
        assert not OTHER_TIERS & (_marks(found[0].decorator_list) | _marks_of_all(tree)), f"{test} is not in the default tier"


def _marks(decorators: list[ast.expr]) -> set[str]:
    """The marks of a function; those of single parameters don't count."""
    plain = (node.func if isinstance(node, ast.Call) else node for node in decorators)
    return {node.attr for node in plain if isinstance(node, ast.Attribute)}


def _marks_of_all(tree: ast.Module) -> set[str]:
    """The marks that `pytestmark` gives to all tests of a module."""
    given = [node.value for node in tree.body if isinstance(node, ast.Assign) and "pytestmark" in map(ast.unparse, node.targets)]
    return {node.attr for value in given for node in ast.walk(value) if isinstance(node, ast.Attribute)}
