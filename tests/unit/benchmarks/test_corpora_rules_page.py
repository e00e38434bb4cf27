from __future__ import annotations

import json
import re

import pytest

from benchmarks.corpora.corpus import LINKS, Corpus, measure_corpora
from benchmarks.corpora.installed import ROOT
from benchmarks.corpora.rules_page import read_reasons, rules_page
from tests.unit.benchmarks.test_corpora_measure import RECORDINGS, TOOLS


def test_each_code_of_the_policy_has_a_reason_to_stay():
    codes = json.loads((ROOT / "rego/gateway/reasons/data.json").read_text("utf-8"))

    assert read_reasons().keys() == codes.keys()
    assert all(reason and not reason.endswith(".") for reason in read_reasons().values())


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    office = Corpus("office", RECORDINGS, TOOLS)
    results = measure_corpora([office], tmp_path_factory.mktemp("rules"), LINKS, workers=1)
    return rules_page(results, date="2026-01-01", revision="r")


def test_the_page_says_for_each_rule_what_it_stops_alone_and_what_it_costs(page: str):
    assert "| rule | office (3 pairs, 2 tasks) | it stays, because |" in page
    assert "| `toxic-flow/ungrounded` | 1 (**1**) · 3 (3) |" in page
    assert "| `approval/effect` | 1 (**1**) · 0 (0) |" in page


def test_the_page_says_what_a_setting_that_is_off_would_change(page: str):
    assert "| office | 2 of 3 (66.7%) | 2 of 2 | 2 of 3 (66.7%) | 2 of 2 |" in page


def test_rules_that_no_recording_meets_have_their_reason_too(page: str):
    met, _, unmet = page.partition("## Rules that no benign task")

    assert "| `catalogue/changed` |" in unmet
    assert "| `catalogue/changed` |" not in met


def test_the_published_page_names_rules_of_the_policy_and_each_once():
    """A rule that is newer than the measurement is missing there."""
    named = re.findall(r"^\| `([^`]+/[^`]+)` \|", (ROOT / "docs/benchmarks/rules.md").read_text("utf-8"), re.MULTILINE)

    assert sorted(named) == sorted(set(named) & read_reasons().keys())
    assert len(named) >= 50
