"""Data in the place of a rule is refused, wherever the data stand and whatever kind of rule it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import regorus

from gateway.errors import PolicyBroken
from gateway.policy import bundle, shadowing, syntax
from gateway.policy.embedded import Embedded, trees
from gateway.policy.shadowing import DataSource

Tree = Callable[[dict[str, str]], Path]

RULES = """package a.b

x := 1

default d := 2

s contains 2

f(y) := y

g.h.i := 3

m[k] := v if { some k, v in {"q": 1} }

r["é"]["\\u0061 b"] := 4

v[p].w := 5 if { some p in ["u"] }

g.j contains 6
"""


def _problems(data: dict[str, Any], *modules: str, at: tuple[str, ...] = ()) -> list[str]:
    named = [(f"m{number}.rego", text) for number, text in enumerate((RULES, *modules))]
    found = shadowing.problems(syntax.parse_module(trees(named)), [DataSource("data.json", at, data)])
    return [item.message for item in found]


def _nested(path: str, value: object) -> Any:
    for part in reversed(path.split("/")):
        value = {part: value}
    return value


@pytest.mark.parametrize(
    "path",
    ["a/b/x", "a/b/d", "a/b/s", "a/b/f", "a/b/g/h/i", "a/b/m", "a/b/r/é/a b", "a/b/v", "a/b/g/j"],
)
@pytest.mark.parametrize("value", [{}, {"deep": {"er": 1}}, [], [1], "", "at once", 0, False, None])
def test_data_at_or_below_a_rule_are_refused(path: str, value: object):
    (found,) = _problems(_nested(path, value))

    assert found.startswith(f"data.json: it gives data.{path.replace('/', '.')}, and so does a rule (m0.rego:")


@pytest.mark.parametrize("value", [[], "", 0, False, None])
@pytest.mark.parametrize(("path", "rules"), [("a", 9), ("a/b", 9), ("a/b/g", 2), ("a/b/g/h", 1), ("a/b/r", 1)])
def test_a_value_above_a_rule_is_refused(path: str, rules: int, value: object):
    found = _problems(_nested(path, value))

    assert len(found) == rules
    assert {item.partition(", and a rule")[0] for item in found} == {
        f"data.json: data.{path.replace('/', '.')} is no mapping"
    }


@pytest.mark.parametrize(
    "data",
    [
        {},
        _nested("a", {}),
        _nested("a/b", {}),
        _nested("a/b/g", {}),
        _nested("a/b/g/h", {"j": 1}),
        _nested("a/b/r/e\u0301/a b", 1),
        _nested("a/b/X", 1),
        _nested("a/b/y", {"x": 1}),
        _nested("b/x", 1),
        {"a.b.x": 1, "a": {"b.x": 1}, "": {"": 1}},
    ],
)
def test_data_beside_rules_pass(data: dict[str, Any]):
    assert _problems(data) == []


@pytest.mark.parametrize(
    ("at", "data", "count"),
    [
        (("a", "b"), {"x": 1}, 1),
        (("a", "b"), {"y": 1}, 0),
        (("a", "b", "x"), {}, 1),
        (("a", "b", "x", "deep"), {"er": 1}, 1),
        (("a", "b", "y"), {"x": 1}, 0),
        (("a",), {"b": []}, 9),
        (("b",), {"b": {"x": 1}}, 0),
    ],
)
def test_a_file_counts_where_its_folder_puts_it(at: tuple[str, ...], data: dict[str, Any], count: int):
    assert len(_problems(data, at=at)) == count


@pytest.mark.parametrize(
    ("package", "count"),
    [("a.b.x", 1), ("a.b.g.h.i.deeper", 1), ("a.b.m", 1), ("a.b.other", 0), ("a.b.g", 0), ("a", 0)],
)
@pytest.mark.parametrize("rules", ["", "\nthing := 1\n"])
def test_a_package_in_the_place_of_a_rule_is_refused(package: str, rules: str, count: int):
    found = _problems({}, f"package {package}\n{rules}")

    assert len(found) == count
    assert all(item.startswith(f"m1.rego: the package data.{package} stands at or below a rule") for item in found)


GRANTED = {"gateway/grants/grants.rego": 'package gateway.grants\n\ngranted := "at once" if input.version == 7\n'}
ALLOWS = {
    "gateway/decision/decision.rego": 'package gateway.decision\n\nresult := {"granted": data.gateway.grants.granted}\n'
}


def test_the_engine_itself_lets_data_replace_a_rule():
    """The reason for the check: without it, this is an open gateway."""
    engine = cast("Any", regorus).Engine()
    engine.add_policy("grants.rego", GRANTED["gateway/grants/grants.rego"])
    engine.add_data_json('{"gateway": {"grants": {"granted": "at once"}}}')
    engine.set_input_json("{}")

    assert json.loads(engine.eval_rule_as_json("data.gateway.grants.granted")) == "at once"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("gateway/grants/data.yaml", "upstreams: {}\ngranted: at once\n"),
        ("gateway/grants/data.json", '{"granted": "at once"}'),
        ("gateway/grants/granted/data.yaml", "x: 1\n"),
        ("gateway/grants/granted/data.yaml", ""),
        ("gateway/data.yml", "grants: {granted: at once}\n"),
        ("data.json", '{"gateway": {"grants": {"granted": "at once"}}}'),
    ],
)
def test_a_policy_folder_with_data_in_the_place_of_a_rule_is_not_loaded(tree: Tree, name: str, text: str):
    folder = tree(GRANTED | ALLOWS | {"gateway/grants/data.yaml": ""})
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")

    with pytest.raises(PolicyBroken, match=r"so does a rule \(gateway/grants/grants\.rego:3\)") as raised:
        Embedded(bundle.read_folder(folder), deadline=1.0)

    assert raised.value.message.startswith(f"{name}: it gives data.gateway.grants.granted, ")
    assert "data may not take the place of a rule" in raised.value.remedy


def test_a_grants_file_of_ones_own_is_named(tree: Tree, tmp_path: Path):
    grants = tmp_path / "mine.yaml"
    grants.write_text("upstreams: {}\ngranted: at once\n", encoding="utf-8")

    with pytest.raises(PolicyBroken, match=f"^{grants}: it gives data.gateway.grants.granted"):
        Embedded(bundle.read_folder(tree(GRANTED | ALLOWS), grants), deadline=1.0)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("upstream: {}\n", "'upstream' does not belong in a grants file; did you mean `upstreams`?"),
        ("upstreams: {}\nversion: 1\n", "'version' does not belong in a grants file"),
        ("upstreams: {}\nproblems: {found: []}\n", "'problems' does not belong in a grants file"),
    ],
)
def test_a_grants_file_has_upstreams_at_its_top_and_nothing_else(tree: Tree, text: str, problem: str):
    with pytest.raises(PolicyBroken, match="grants file") as raised:
        Embedded(bundle.read_folder(tree({"gateway/grants/data.yaml": text})), deadline=1.0)

    assert raised.value.message.endswith(problem)


def test_data_of_one_path_in_several_files_are_each_named_by_their_own_file(tree: Tree):
    """Merged data say nothing of their files."""
    folder = tree(
        GRANTED
        | {
            "data.json": '{"gateway": {"grants": {"upstreams": {"a": 1}}, "decision": {"more": {"x": 1}}}}',
            "gateway/data.yaml": "grants: {upstreams: {b: 1}}\ndecision: {more: {t: 1}, result: {}}\n",
            "gateway/decision/data.json": '{"more": {"z": 1}}',
        }
    )
    found = bundle.read_folder(folder)

    assert json.loads(found.data)["gateway"]["decision"]["more"] == {"x": 1, "t": 1, "z": 1}
    assert [item.message.partition(":")[0] for item in shadowing.problems(_modules(found), found.sources)] == [
        "gateway/data.yaml"
    ]


def _modules(found: bundle.Bundle) -> tuple[syntax.Module, ...]:
    return syntax.parse_module(trees(found.modules))
