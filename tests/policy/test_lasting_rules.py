"""A rule of data alone is evaluated once for a policy, and no other rule is."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.policy.compiled import NOTHING, Both, compiled, plan_of, serving

RULES = """
package gateway.answers

fields := count(input)

size(document) := count(document)

sized := size(input)

named := data.names[0]

again := named

other := found if found := named with data.names as ["x", input.name]

inner := found if found := fields with input as {"a": 1}

outer := [fields, inner, fields]

broken := count(data.names[0].nothing)

chosen := data.names[input.place]

alone := x if {
	not data.names[7]
	x := concat("-", data.names)
}

"""
COMPUTED = "package gateway.asking\n\ncomputed := data.gateway.answers[input.rule]\n"
NAMES = ("fields", "sized", "named", "again", "other", "inner", "outer", "broken", "chosen", "alone")
ENTRIES = [*(f"gateway/answers/{name}" for name in NAMES), "gateway/asking/computed"]
INPUTS: tuple[dict[str, Any], ...] = (
    {},
    {"name": "y", "place": 1},
    {"name": "z", "place": 0, "rule": "alone"},
    {"a": 1, "b": 2, "rule": "fields"},
)


@pytest.fixture(scope="module")
def both(opa_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    folder = tmp_path_factory.mktemp("lasting") / "rego"
    folder.mkdir()
    (folder / "answers.rego").write_text(RULES, "utf-8")
    (folder / "asking.rego").write_text(COMPUTED, "utf-8")
    (folder / "data.json").write_text('{"names": ["a", "b"]}', "utf-8")
    program = compiled(*plan_of(opa_path, folder, ENTRIES))
    with serving(opa_path, folder, program) as found:
        yield found
    shutil.rmtree(folder)


@pytest.mark.opa
@pytest.mark.parametrize("entry", ENTRIES)
def test_a_rule_has_the_value_of_its_own_input(both: Both, entry: str):
    for document in (*INPUTS, *reversed(INPUTS)):
        assert both.plan(entry, document) == both.opa(entry, document)


@pytest.mark.opa
def test_the_inputs_make_a_difference(both: Both):
    assert [both.plan("gateway/answers/fields", document) for document in INPUTS] == [0, 2, 3, 3]
    assert both.plan("gateway/asking/computed", {}) == NOTHING
