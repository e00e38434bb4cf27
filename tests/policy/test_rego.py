"""The checks of `make policy` pass, and each of them can fail."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import pytest

from gateway.policy.folder.folders import PolicyFolders
from gateway.surfaces.cli import rego
from tests.policy.conftest import ROOT


def _module() -> Any:
    spec = importlib.util.spec_from_file_location("policy_checks", ROOT / "tools/policy_checks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CHECKS = _module()


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A copy of the policy, to be broken."""
    return Path(shutil.copytree(ROOT / "rego", tmp_path / "rego"))


@pytest.mark.opa
@pytest.mark.parametrize("name", CHECKS.CHECKS)
def test_the_shipped_policy_passes(name: str, opa_path: Path, regal_path: Path):
    assert CHECKS.CHECKS[name](ROOT / "rego") == []


@pytest.mark.opa
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("fmt", "package gateway.lib.extra\n\nholds   if true\n"),
        ("check", "package gateway.lib.extra\n\nholds if input.x == y\n"),
        ("load", 'package gateway.denials.extra\n\ndeny contains {"code": "extra/x"} if input.version == 1\n'),
        ("test", "package gateway.lib.extra_test\n\ntest_nothing if false\n"),
        ("coverage", "package gateway.lib.extra\n\nholds if input.version == 1\n"),
        ("regal", "package gateway.lib.extra\n\nholds if time.now_ns() > 1\n"),
    ],
)
def test_a_broken_file_is_found(name: str, text: str, broken: Path, opa_path: Path, regal_path: Path):
    folder = broken / "gateway/lib/extra"
    folder.mkdir()
    (folder / ("extra_test.rego" if name == "test" else "extra.rego")).write_text(text, encoding="utf-8")

    assert CHECKS.CHECKS[name](broken)


@pytest.mark.opa
def test_there_is_no_coverage_while_a_test_fails(broken: Path, opa_path: Path):
    path = broken / "gateway/lib/extra_test.rego"
    path.write_text("package gateway.lib.extra_test\n\ntest_nothing if false\n", encoding="utf-8")

    assert CHECKS.covered(broken) == ["not known while a test fails"]


@pytest.mark.opa
def test_a_misspelt_input_field_is_found(broken: Path, opa_path: Path):
    rules = broken / "gateway/denials/identity/identity.rego"
    rules.write_text(rules.read_text().replace("input.subject.id", "input.subject.identity", 1), encoding="utf-8")

    assert any("identity" in finding for finding in CHECKS.compiled(broken))


@pytest.mark.opa
@pytest.mark.parametrize(
    ("grant", "problem"),
    [
        ("{}", "id is missing"),
        ("{id: a, agents: [a], issuers: [i], tools: [t], scope: [s]}", 'there is no field "scope"'),
        ("{id: a, agents: a, issuers: [i], tools: [t]}", "agents is not a list of text, with at least one item"),
        ("{id: a, agents: [a*b*], issuers: [i], tools: [t]}", 'agents: "a*b*" has more than one *'),
        ("{id: a, agents: [a], issuers: [i], tools: [t], effects: [fly]}", 'effects: there is no "fly"'),
        (
            r"{id: a, agents: [a], issuers: [i], tools: [t], when: {/x: {matches: '\d'}}}",
            "when /x: matches has a value",
        ),
    ],
)
def test_a_malformed_grant_is_found(grant: str, problem: str, broken: Path, opa_path: Path):
    (broken / "gateway/grants/data.yaml").write_text(f"upstreams:\n  files:\n    - {grant}\n", encoding="utf-8")

    assert any(problem in finding for finding in CHECKS.readable(broken))


@pytest.mark.opa
def test_the_tests_of_the_shipped_policy_pass(opa_path: Path):
    found = rego.run_tests(rego.suites(PolicyFolders(ROOT / "rego")))

    assert [test.name for test in found if not test.passed] == []
    assert len(found) > 200


def test_each_file_with_rules_has_its_tests_beside_it():
    """Those of `system/log` are a folder deeper: a package `system.log_test` would be outside of the roots of the bundle."""
    sources = [path for path in (ROOT / "rego").rglob("*.rego") if not path.stem.endswith("_test")]
    with_rules = [path for path in sources if len(_code(path)) > 1]
    alone = [
        path
        for path in with_rules
        if not any((folder / f"{path.stem}_test.rego").exists() for folder in (path.parent, path.parent / path.stem))
    ]

    assert len(with_rules) > 20
    assert alone == []


def _code(path: Path) -> list[str]:
    """The lines that are no comments: of a file without rules that of its package."""
    return [line for line in path.read_text("utf-8").splitlines() if line and not line.startswith("#")]
