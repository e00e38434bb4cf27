from __future__ import annotations

from typing import Any

from benchmarks.corpora.__main__ import differences

BEFORE: dict[str, Any] = {
    "bfcl": {"figures": {"by hand": {"tasks": 3, "questions": 2}}, "rules": [{"rule": "a/one", "tasks": 1}]},
    "retail": {"figures": {}, "rules": []},
}


def test_runs_that_agree_differ_in_nothing():
    assert differences(BEFORE, BEFORE) == []


def test_each_figure_that_differs_has_a_line_and_so_has_each_rule_that_came_or_went():
    now = {"bfcl": {"figures": {"by hand": {"tasks": 3, "questions": 1}}, "rules": [{"rule": "b/one", "tasks": 1}]}}

    assert differences(BEFORE, now) == [
        "/bfcl/figures/by hand/questions: 2 → 1",
        '/bfcl/rules/b/one: null → {"rule": "b/one", "tasks": 1}',
        "/bfcl/rules/a/one: gone",
    ]
