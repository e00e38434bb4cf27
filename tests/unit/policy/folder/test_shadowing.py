"""Data in the place of a rule is refused, wherever the data stand and whatever kind of rule it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.model.errors import PolicyBroken
from gateway.policy.folder import bundle, shadowing
from gateway.policy.folder.shadowing import DataSource
from tests.compiled_policy import compiled

Tree = Callable[[dict[str, str]], Path]

RULES = [tuple(path.split("/")) for path in ("a/b/x", "a/b/s", "a/b/g/h/i", "a/b/r/é/a b", "a/b/g/j")]


def _problem(data: dict[str, Any], at: tuple[str, ...] = (), reads: dict[tuple[str, ...], str] | None = None) -> str:
    try:
        shadowing.require(RULES, reads or {}, [DataSource("data.json", at, data)], data)
    except PolicyBroken as error:
        return error.message
    return ""


def _nested(path: str, value: object) -> Any:
    for part in reversed(path.split("/")):
        value = {part: value}
    return value


@pytest.mark.parametrize("path", ["/".join(rule) for rule in RULES])
@pytest.mark.parametrize("value", [{}, {"deep": {"er": 1}}, [], [1], "", "at once", 0, False, None])
def test_data_at_or_below_a_rule_are_refused(path: str, value: object):
    assert _problem(_nested(path, value)) == f"data.json: it gives data.{path.replace('/', '.')}, and so does a rule"


@pytest.mark.parametrize("value", [[], "", 0, False, None])
@pytest.mark.parametrize("path", ["a", "a/b", "a/b/g", "a/b/g/h", "a/b/r"])
def test_a_value_above_a_rule_is_refused(path: str, value: object):
    found = _problem(_nested(path, value))

    assert found.startswith(f"data.json: data.{path.replace('/', '.')} is no mapping, and the rule data.a.b.")


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
    assert _problem(data) == ""


@pytest.mark.parametrize(
    ("at", "data", "count"),
    [
        (("a", "b"), {"x": 1}, 1),
        (("a", "b"), {"y": 1}, 0),
        (("a", "b", "x"), {}, 1),
        (("a", "b", "x", "deep"), {"er": 1}, 1),
        (("a", "b", "y"), {"x": 1}, 0),
        (("a",), {"b": []}, 1),
        (("b",), {"b": {"x": 1}}, 0),
    ],
)
def test_a_file_counts_where_its_folder_puts_it(at: tuple[str, ...], data: dict[str, Any], count: int):
    assert bool(_problem(data, at=at)) is bool(count)


@pytest.mark.parametrize(
    ("path", "missing"),
    [
        ("a/b/X", "data.a.b.X"),
        ("a/c/d", "data.a.c"),
        ("gateway/settings/limit", "data.gateway"),
        ("a/b/g/k", "data.a.b.g.k"),
    ],
)
def test_data_that_a_rule_reads_and_no_file_gives_are_refused(path: str, missing: str):
    """A denial that reads them would never hold."""
    found = _problem({"a": {"b": {"y": 1}}}, reads={tuple(path.split("/")): "m.rego:3"})

    assert found.startswith(f"m.rego:3: there is no `{missing}`: no rule and no data file gives it")


@pytest.mark.parametrize(
    "path", ["a/b/y", "a/b/y/z", "a/b/n", "gateway/grants/upstreams", "gateway/grants/upstreams/x"]
)
def test_data_that_are_there_or_the_operators_own_may_be_read(path: str):
    assert _problem({"a": {"b": {"y": [1], "n": None}}}, reads={tuple(path.split("/")): "m.rego:3"}) == ""


def test_a_misspelt_name_is_told_with_the_nearest():
    assert _problem({"a": {"b": {"limits": 1}}}, reads={("a", "b", "limit"): "m.rego:3"}).endswith(
        "; did you mean `limits`?"
    )


def test_the_place_of_an_overlay_may_ask_for_what_is_not_there():
    assert _problem({}, reads={("overlay", "x", "asks"): "gateway/overlay/overlay.rego:9"}) == ""


GRANTED = {"gateway/grants/grants.rego": 'package gateway.grants\n\ngranted := "at once" if input.version == 7\n'}
ALLOWS = {
    "gateway/decision/decision.rego": 'package gateway.decision\n\nresult := {"granted": data.gateway.grants.granted}\n'
}


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

    with pytest.raises(PolicyBroken, match=r"so does a rule$") as raised:
        compiled(bundle.read_folder(folder))

    assert raised.value.message.startswith(f"{name}: it gives data.gateway.grants.granted, ")
    assert "data may not take the place of a rule" in raised.value.remedy


def test_a_grants_file_of_ones_own_is_named(tree: Tree, tmp_path: Path):
    grants = tmp_path / "mine.yaml"
    grants.write_text("upstreams: {}\ngranted: at once\n", encoding="utf-8")

    with pytest.raises(PolicyBroken, match=f"^{grants}: it gives data.gateway.grants.granted"):
        compiled(bundle.read_folder(tree(GRANTED | ALLOWS), grants))


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
        compiled(bundle.read_folder(tree({"gateway/grants/data.yaml": text})))

    assert raised.value.message.endswith(problem)
