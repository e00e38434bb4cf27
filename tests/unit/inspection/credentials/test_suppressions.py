from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.inspection.credentials.finding import Finding, Suppression, Suppressions, explain_unknown_detector
from gateway.model.target import Target

TARGET = Target("tool", "files", "read_file", "files")
FOUND = Finding("f1", "named-password", "named", "/body/note")


def covers(rule: Suppression, found: Finding = FOUND, target: Target = TARGET, now: float = 50.0) -> bool:
    active = Suppressions([rule]).of(target, now)
    return active is not None and active.covers(found, ())


@pytest.mark.parametrize(
    "rule",
    [
        Suppression("files", 100.0, detector="named-password"),
        Suppression("f*", 100.0, detector="named-*"),
        Suppression("files", 100.0, tool="read_*"),
        Suppression("files", 100.0, pointer="/body"),
        Suppression("files", 100.0, pointer="/body/note"),
        Suppression("files", 100.0, tool="read_file", detector="*", pointer="/body/note"),
    ],
)
def test_what_a_rule_names_is_no_credential(rule: Suppression):
    assert covers(rule)


@pytest.mark.parametrize(
    "rule",
    [
        Suppression("mail", 100.0, detector="named-password"),
        Suppression("files", 100.0, detector="jwt"),
        Suppression("files", 100.0, tool="write_*"),
        Suppression("files", 100.0, pointer="/bod"),
        Suppression("files", 100.0, pointer="/body/note/more"),
        Suppression("files", 100.0, tool="read_file", detector="jwt"),
    ],
)
def test_what_no_rule_names_is_one(rule: Suppression):
    assert not covers(rule)


def test_after_its_last_second_a_rule_says_nothing():
    rule = Suppression("files", 100.0, detector="named-*")

    assert [covers(rule, now=now) for now in (99.9, 100.0, 101.0)] == [True, False, False]


def test_a_place_in_the_arguments_says_nothing_of_results():
    assert not covers(Suppression("files", 100.0, pointer="/body"), replace(FOUND, pointer=""))


def test_what_the_task_knows_stays_a_credential():
    active = Suppressions([Suppression("files", 100.0, detector="*")]).of(TARGET, 0.0)

    assert active is not None
    assert not active.covers(FOUND, {"f1": frozenset[int]()})
    assert not active.covers(replace(FOUND, kind="seen"), ())
    assert not active.covers(replace(FOUND, handle="crm"), ())
    assert active.covers(FOUND, {"f2"})


def test_each_use_is_told_with_the_number_of_the_rule():
    used: list[tuple[int, str]] = []
    rules = [Suppression("files", 100.0, detector="jwt"), Suppression("*", 100.0, detector="named-*")]
    active = Suppressions(rules, lambda number, target: used.append((number, target.upstream))).of(TARGET, 0.0)
    assert active is not None
    active.covers(FOUND, ())
    active.covers(replace(FOUND, detector="bearer"), ())

    assert used == [(1, "files")]
    assert not Suppressions().of(TARGET, 0.0)


# --- names of detectors ----------------------------------------------------------------------------

NAMES = frozenset({"named-password", "named-token", "github-pat", "jwt"})


@pytest.mark.parametrize("detector", [None, "jwt", "named-*", "*", "github-pa[st]"])
def test_a_detector_that_there_is_is_none_that_is_unknown(detector: str | None):
    assert explain_unknown_detector(detector, NAMES) is None


@pytest.mark.parametrize(
    ("detector", "near"),
    [("named-pasword", "named-password"), ("name-*", "named-token"), ("JWT", None), ("github_pat", "github-pat")],
)
def test_a_misspelt_detector_is_told_with_the_nearest_there_is(detector: str, near: str | None):
    problem = explain_unknown_detector(detector, NAMES)

    assert problem is not None
    assert repr(detector) in problem
    assert ("did you mean" in problem) == (near is not None)
    assert near is None or repr(near) in problem


def test_what_a_task_knows_is_not_to_be_suppressed_by_name():
    problem = explain_unknown_detector("seen", NAMES)

    assert problem is not None
    assert "stays one" in problem
