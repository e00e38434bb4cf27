"""The worked rules of `opagate policy init`: whole as an overlay, short, and in force by their facts."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from gateway.model.errors import ConfigurationError
from gateway.policy import authoring
from gateway.policy.folder import folders
from gateway.policy.folder.folders import PolicyFolders
from gateway.surfaces.cli import overlay
from gateway.surfaces.cli.worked_rules import RULES, choose

_MOST_LINES = 15
_TESTS_OF_EACH = 3


def test_a_rule_has_at_most_fifteen_lines():
    for rule in RULES:
        lines = rule.write_rule().splitlines()
        counted = [line for line in lines if line and not line.startswith(("#", "package "))]
        assert len(counted) <= _MOST_LINES, rule.name


def test_rules_are_chosen_by_name():
    assert choose(["all"]) == list(RULES)
    assert [rule.name for rule in choose(["four_eyes", "expiry", "expiry"])] == ["expiry", "four_eyes"]
    assert choose([]) == []
    with pytest.raises(ConfigurationError, match="did you mean `four_eyes`"):
        choose(["four_eye"])


@pytest.mark.opa
def test_all_rules_together_are_an_overlay_whose_tests_pass(tmp_path: Path, opa_path: Path):
    overlay.write(tmp_path / "own", RULES)
    policy, suites = folders.read_with_suites(PolicyFolders(folders.find_shipped(), overlay=tmp_path / "own"))

    stored = authoring.judge(policy, [])
    tests = authoring.run_tests(suites[-1], opa_path)

    assert [test.name for test in tests if not test.passed] == []
    assert len(tests) >= _TESTS_OF_EACH * len(RULES)
    used = authoring.find_input_use(policy, bytes(stored.plan))
    declared = {line.split(":")[0].strip() for rule in RULES for line in rule.facts.splitlines()[:1]}
    assert declared <= used.facts.keys(), "each fact is read by its rule"
    assert subprocess.run([opa_path, "fmt", "--list", tmp_path / "own"], capture_output=True, check=True).stdout == b""
