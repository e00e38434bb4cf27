"""Every rule of the shipped policy, with data in its place: refused by the gateway, and by a real OPA on the same data."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any, cast

import pytest

from gateway.errors import PolicyBroken
from gateway.policy import bundle, shadowing, syntax
from gateway.policy.bundle import Bundle
from gateway.policy.embedded import Embedded, trees
from gateway.policy.shadowing import DataSource
from tests.policy.conftest import ROOT

LOADED = bundle.read_folder(ROOT / "rego")
TESTS = tuple(
    (str(path.relative_to(ROOT / "rego")), path.read_text("utf-8"))
    for path in sorted((ROOT / "rego").rglob("*_test.rego"))
)
MODULES = syntax.parse_module(trees((*LOADED.modules, *TESTS)))
"""Tests included: data in the place of a test would make it pass."""
PATHS = sorted({rule.path[1:] for module in MODULES for rule in syntax.rules(module)})
ABOVE = sorted({path[:end] for path in PATHS for end in range(1, len(path))})

_CONFLICT = re.compile(r"conflicting rule for data path (\S+) found")


def nested(path: tuple[str, ...], value: object) -> dict[str, Any]:
    for part in reversed(path):
        value = {part: value}
    return cast("dict[str, Any]", value)


def merged(into: dict[str, Any], path: tuple[str, ...], value: object) -> None:
    *above, last = path
    for part in above:
        into = into.setdefault(part, {})
    into[last] = value


def gateways_verdict(data: dict[str, Any]) -> list[str]:
    return [item.message for item in shadowing.problems(MODULES, [DataSource("data.json", (), data)])]


def opas_verdict(folder: Path, opa: Path, data: dict[str, Any]) -> set[tuple[str, ...]]:
    """The paths of the rules that OPA says data conflict with."""
    for name, text in (*LOADED.modules, *TESTS, ("data.json", json.dumps(data))):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    command = [opa, "check", "--max-errors", "100000", "--bundle", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return {tuple(path.split("/")) for path in _CONFLICT.findall(done.stdout + done.stderr)}


def test_there_is_something_to_shadow():
    assert len(PATHS) > 500
    assert ("gateway", "grants", "granted") in PATHS
    assert ("gateway", "denials", "credential_chain", "_held") in PATHS
    assert ("gateway", "testing", "example_test", "call") in PATHS


@pytest.mark.parametrize(("first", "value"), list(enumerate([{}, "at once", {"x": {"y": 1}}])), ids=repr)
def test_data_in_the_place_of_any_rule_are_refused(first: int, value: object):
    """Each rule alone meets one of the values. `test_opa_refuses_the_same_rules` gives every value to all of them."""
    for path in PATHS[first::3]:
        assert len(gateways_verdict(nested(path, value))) == 1, path


@pytest.mark.parametrize("value", [[], None], ids=repr)
def test_a_value_above_any_rule_is_refused(value: object):
    for path in ABOVE:
        below = [rule for rule in PATHS if rule[: len(path)] == path]
        assert len(gateways_verdict(nested(path, value))) == len(below), path


@pytest.mark.opa
@pytest.mark.parametrize("value", [{}, {"x": {"y": 1}}, [], "at once", 1, False, None], ids=repr)
def test_opa_refuses_the_same_rules(value: object, tmp_path: Path, opa_path: Path):
    data: dict[str, Any] = {}
    for path in PATHS:
        merged(data, path, value)

    assert opas_verdict(tmp_path, opa_path, data) == set(PATHS)
    assert len(gateways_verdict(data)) == len(PATHS)


@pytest.mark.opa
@pytest.mark.parametrize("path", [("gateway",), ("gateway", "denials"), ("gateway", "grants"), ("system",)], ids=str)
def test_opa_refuses_the_same_values_above_rules(path: tuple[str, ...], tmp_path: Path, opa_path: Path):
    below = {rule for rule in PATHS if rule[: len(path)] == path}

    values: tuple[object, ...] = ("x", [], None)
    for value in values:
        assert opas_verdict(tmp_path, opa_path, nested(path, value)) == below
        assert len(gateways_verdict(nested(path, value))) == len(below)


@pytest.mark.opa
def test_both_pass_data_beside_the_rules(tmp_path: Path, opa_path: Path):
    data = json.loads(LOADED.data)
    for path in PATHS:
        merged(data, (*path[:-1], f"{path[-1]}_"), {"x": 1})

    assert gateways_verdict(data) == []
    assert opas_verdict(tmp_path, opa_path, data) == set()


@pytest.mark.parametrize(
    ("name", "at", "value"),
    [
        ("grants.yaml", ("gateway", "grants"), {"upstreams": {}, "granted": "at once"}),
        ("data.yaml", ("gateway", "denials", "credential_chain"), {"_held": []}),
        ("data.json", (), {"gateway": {"decision": {"findings": []}}}),
    ],
)
def test_the_shipped_policy_is_not_loaded_with_such_data(name: str, at: tuple[str, ...], value: dict[str, Any]):
    data = json.loads(LOADED.data)
    here = data
    for part in at:
        here = here[part]
    here.update(value)
    source = DataSource(name, at, value)
    shadowed = Bundle(LOADED.modules, json.dumps(data), "x", LOADED.roots, (*LOADED.sources, source))

    with pytest.raises(PolicyBroken, match=rf"^{name}: it gives data\.gateway\..*, and so does a rule \(gateway/"):
        Embedded(shadowed, deadline=1.0)
