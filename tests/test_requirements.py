"""The map between requirements and tests, both ways. Read from the source, so that no test has to be run for it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.requirements import REQUIREMENTS, requirement

TESTS = Path(__file__).resolve().parent


def marks() -> dict[str, list[str]]:
    """Requirement → the tests that are marked with it."""
    found: dict[str, list[str]] = {}
    for path in sorted(TESTS.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                for name in _named(node):
                    found.setdefault(name, []).append(f"{path.relative_to(TESTS)}::{node.name}")
    return found


def _named(test: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    calls = [node for node in test.decorator_list if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    arguments = [argument for call in calls if _called(call) == "requirement" for argument in call.args]
    return [str(argument.value) for argument in arguments if isinstance(argument, ast.Constant)]


def _called(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else ""


def test_every_requirement_has_a_test():
    assert sorted(REQUIREMENTS.keys() - marks().keys()) == []


def test_every_mark_names_a_requirement():
    assert sorted(marks().keys() - REQUIREMENTS.keys()) == []


def test_every_requirement_says_where_it_comes_from_and_what_can_be_seen():
    assert [name for name, found in REQUIREMENTS.items() if not found.source or not found.behaviour.endswith(".")] == []


def test_a_mark_for_no_requirement_is_an_error():
    with pytest.raises(KeyError):
        requirement("mcp/nothing")
