"""Every rule of the shipped policy that a question reaches, with data in its place: refused by the gateway, and by a real OPA."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any, cast

import pytest

from gateway.model.errors import PolicyBroken
from gateway.policy.folder import bundle, shadowing
from gateway.policy.folder.bundle import Bundle
from gateway.policy.folder.shadowing import DataSource
from tests.compiled_policy import compiled
from tests.policy.conftest import ROOT

LOADED = bundle.read_folder(ROOT / "rego")
PATHS = sorted(compiled(LOADED).program.rules)
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


def is_refused(data: dict[str, Any]) -> bool:
    try:
        shadowing.require(PATHS, {}, [DataSource("data.json", (), data)], data)
    except PolicyBroken:
        return True
    return False


def opas_verdict(folder: Path, opa: Path, data: dict[str, Any]) -> set[tuple[str, ...]]:
    """The paths of the rules that OPA says data conflict with."""
    for name, text in (*LOADED.modules, ("data.json", json.dumps(data))):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    command = [opa, "check", "--max-errors", "100000", "--bundle", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return {tuple(path.split("/")) for path in _CONFLICT.findall(done.stdout + done.stderr)}


def test_there_is_something_to_shadow():
    assert len(PATHS) > 400
    assert ("gateway", "grants", "granted") in PATHS
    assert ("gateway", "denials", "credential_chain", "_held") in PATHS


@pytest.mark.parametrize("value", [{}, "at once", {"x": {"y": 1}}], ids=repr)
def test_data_in_the_place_of_any_rule_are_refused(value: object):
    assert [path for path in PATHS if not is_refused(nested(path, value))] == []


@pytest.mark.parametrize("value", [[], None], ids=repr)
def test_a_value_above_any_rule_is_refused(value: object):
    assert [path for path in ABOVE if not is_refused(nested(path, value))] == []


@pytest.mark.opa
@pytest.mark.parametrize("value", [{}, {"x": {"y": 1}}, [], "at once", 1, False, None], ids=repr)
def test_opa_refuses_the_same_rules(value: object, tmp_path: Path, opa_path: Path):
    data: dict[str, Any] = {}
    for path in PATHS:
        merged(data, path, value)

    assert opas_verdict(tmp_path, opa_path, data) == set(PATHS)


@pytest.mark.opa
@pytest.mark.parametrize("path", [("gateway",), ("gateway", "denials"), ("gateway", "grants")], ids=str)
def test_opa_refuses_the_same_values_above_rules(path: tuple[str, ...], tmp_path: Path, opa_path: Path):
    below = {rule for rule in PATHS if rule[: len(path)] == path}

    values: tuple[object, ...] = ("x", [], None)
    for value in values:
        assert opas_verdict(tmp_path, opa_path, nested(path, value)) >= below
        assert is_refused(nested(path, value))


@pytest.mark.opa
def test_both_pass_data_beside_the_rules(tmp_path: Path, opa_path: Path):
    data = json.loads(LOADED.data)
    for path in PATHS:
        merged(data, (*path[:-1], f"{path[-1]}_"), {"x": 1})

    assert not is_refused(data)
    assert opas_verdict(tmp_path, opa_path, data) == set()


@pytest.mark.parametrize(
    ("name", "at", "value"),
    [
        ("grants.yaml", ("gateway", "grants"), {"upstreams": {}, "granted": "at once"}),
        ("data.yaml", ("gateway", "denials", "credential_chain"), {"_held": []}),
        ("data.json", (), {"gateway": {"decision": {"denials": []}}}),
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

    with pytest.raises(PolicyBroken, match=rf"^{name}: it gives data\.gateway\..*, and so does a rule$"):
        compiled(shadowed)


def test_data_that_a_rule_reads_by_name_have_to_be_there():
    data = json.loads(LOADED.data)
    del data["gateway"]["settings"]["approvers"]

    with pytest.raises(PolicyBroken, match=r"^gateway/.*\.rego:\d+: there is no `data\.gateway\.settings\.approvers`"):
        compiled(Bundle(LOADED.modules, json.dumps(data), "x", LOADED.roots))
