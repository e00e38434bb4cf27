"""The checks of `make policy`: each of them can fail, and the shipped policy passes those of its behaviour."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import pytest

from gateway.policy.folder.folders import PolicyFolders
from gateway.surfaces.cli import rego
from tests import tiny_policy
from tests.policy.conftest import ROOT


def _module() -> Any:
    spec = importlib.util.spec_from_file_location("policy_checks", ROOT / "tools/policy_checks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CHECKS = _module()


EXTRA = "package gateway.lib.extra\n\nholds if input.version == 1\n"
TESTS = (
    "package gateway.lib.extra_test\n\nimport data.gateway.lib.extra\n\n"
    'test_holds if extra.holds with input as {"version": 1}\n'
)


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A copy of the policy, to be broken."""
    return Path(shutil.copytree(ROOT / "rego", tmp_path / "rego"))


@pytest.fixture
def small(tmp_path: Path, opa_path: Path, regal_path: Path) -> Path:
    """A folder of one rule with its test, in which nothing of these kinds is to be found."""
    return tiny_policy.write(
        tmp_path / "rego",
        {"gateway/lib/extra/extra.rego": EXTRA, "gateway/lib/extra/extra_test.rego": TESTS, ".manifest": "{}"},
    )


@pytest.mark.opa
@pytest.mark.parametrize("name", ["check", "load", "data"])
def test_the_shipped_policy_passes(name: str, opa_path: Path):
    """The form, the coverage and the linter are the work of `make policy` alone."""
    assert CHECKS.CHECKS[name](ROOT / "rego") == []


@pytest.mark.opa
def test_the_policy_is_tested_and_evaluated_as_an_author_types_it():
    """Without `--bundle`, each JSON file is data."""
    tested = CHECKS._run("opa", "test", "--run", "gateway.lib", "rego/")
    evaluated = CHECKS._run("opa", "eval", "--format", "raw", "--data", "rego/", "data.gateway.decision.result.effect")

    assert (tested.returncode, tested.stdout.split(":")[0]) == (0, "PASS")
    assert (evaluated.returncode, evaluated.stdout.strip()) == (0, "deny")


@pytest.mark.opa
@pytest.mark.parametrize(
    ("name", "file", "text", "finding"),
    [
        ("fmt", "extra.rego", EXTRA.replace(" if", "   if"), "not formatted"),
        ("check", "extra.rego", EXTRA.replace("== 1", "== y"), "var y is unsafe"),
        ("test", "extra_test.rego", TESTS.replace('"version": 1', '"version": 2'), "FAIL"),
        ("test", "extra_test.rego", "", "no test reaches line 3"),
        ("regal", "extra.rego", EXTRA.replace("input.version == 1", "time.now_ns() > 1"), "forbidden-function-call"),
    ],
    ids=["fmt", "check", "test", "coverage", "regal"],
)
def test_a_broken_file_is_found(name: str, file: str, text: str, finding: str, small: Path):
    assert [found for found in CHECKS.CHECKS[name](small) if finding in found] == []

    tiny_policy.write(small, {f"gateway/lib/extra/{file}": text})

    assert any(finding in found for found in CHECKS.CHECKS[name](small))


@pytest.mark.opa
def test_a_family_that_nobody_asks_is_found(broken: Path, opa_path: Path):
    rule = 'package gateway.denials.extra\n\ndeny contains {"code": "extra/x"} if input.version == 1\n'
    tiny_policy.write(broken, {"gateway/denials/extra/extra.rego": rule})

    assert any("extra" in found for found in CHECKS.loaded(broken))


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
