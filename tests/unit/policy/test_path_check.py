"""A misspelt path and a value of the wrong kind are found; a right rule passes."""

from __future__ import annotations

import json

import pytest

from gateway.errors import PolicyBroken
from gateway.policy import bundle, path_check, syntax
from gateway.policy.embedded import trees
from gateway.policy.folders import find_shipped
from tests.policy.variants import (
    AROUND,
    DATA,
    FUNCTIONS,
    FUNCTIONS_RIGHT,
    MINE,
    PACKAGE,
    RIGHT,
    RIGHT_TOO,
    WRONG,
    denial,
)


def gateways_verdict(text: str) -> list[str]:
    modules = syntax.parse_module(trees([*AROUND.items(), (MINE, text)]))
    return [item.message for item in path_check.problems(modules, DATA)]


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_rule_passes(name: str):
    assert gateways_verdict(denial(RIGHT[name])) == []


@pytest.mark.parametrize("body", RIGHT_TOO)
def test_one_more_right_rule_passes(body: str):
    assert gateways_verdict(denial(body)) == []


@pytest.mark.parametrize("name", WRONG)
def test_a_mistake_is_found_and_named(name: str):
    body, said = WRONG[name]

    found = gateways_verdict(denial(body))

    assert any(said in item for item in found), found
    assert all(item.startswith(f"{MINE}:") for item in found)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_mistake_behind_a_function_an_import_or_a_head_is_found(name: str):
    text, said = FUNCTIONS[name]

    found = gateways_verdict(PACKAGE + text + "\n")

    assert any(said in item for item in found), found


@pytest.mark.parametrize("name", FUNCTIONS_RIGHT)
def test_a_right_module_passes(name: str):
    assert gateways_verdict(f"{PACKAGE}{FUNCTIONS_RIGHT[name]}\n") == []


def test_the_shipped_policy_passes():
    found = bundle.read_folder(find_shipped())

    assert path_check.problems(syntax.parse_module(trees(found.modules)), json.loads(found.data)) == []


def test_a_misspelling_of_a_field_of_the_input_is_found_wherever_the_shipped_policy_reads_one():
    """Every fortieth of some 700 references: each takes a look through the whole policy."""
    found = bundle.read_folder(find_shipped())
    modules, data = syntax.parse_module(trees(found.modules)), json.loads(found.data)
    roots = {"input", "call", "resource", "session", "task", "properties", "subject", "labels"}
    named = [
        node
        for module in modules
        for node in syntax.nodes(module.rules)
        if "RefDot" in node
        and syntax.variable(syntax.split(node)[0]) in roots
        and not module.file.startswith("system/")
    ]
    silent: list[str] = []
    for node in named[::40]:
        field = node["RefDot"]["field"]
        field[1], kept = f"{field[1]}q", field[1]
        silent += [] if path_check.problems(modules, data) else [syntax.show_reference(node)]
        field[1] = kept

    assert len(named) > 500
    assert silent == []


def test_the_packages_of_opa_itself_have_an_input_of_their_own():
    (text,) = ["package system.log\n\nmask contains input.input.arguments\n"]

    assert path_check.problems(syntax.parse_module(trees([("system/log/mask.rego", text)])), {}) == []


def test_each_problem_is_told_once_and_in_order_of_the_file():
    found = gateways_verdict(f"{PACKAGE}b if glance(input)\n\nglance(call) if call.nothing\n\na if input.nothing\n")

    assert [item.partition(": ")[0] for item in found] == [f"{MINE}:5", f"{MINE}:7"]


def test_a_rule_beyond_what_can_be_looked_through_is_refused_in_a_sentence(monkeypatch: pytest.MonkeyPatch):
    def overflow(*_: object) -> None:
        raise RecursionError

    monkeypatch.setattr(path_check.RuleTypes, "check", overflow)

    with pytest.raises(PolicyBroken, match="nested too deeply"):
        gateways_verdict(f"{PACKAGE}a := 1\n")
