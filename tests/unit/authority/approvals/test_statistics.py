"""The fatigue of approvers, counted from the journal."""

from __future__ import annotations

from typing import Any

from gateway.authority.approvals.model import Approval
from gateway.authority.approvals.state import ask, asked_entry, changed_entry, count_vote, end_of_time
from gateway.authority.approvals.statistics import Fatigue
from tests.unit.authority.approvals.making import no, question, yes


def report(*answers: Any) -> dict[str, Any]:
    found = Fatigue()
    for number, (task, vote) in enumerate(answers):
        asked = ask(question(f"q{number}", task=task))
        found.add(asked_entry(asked))
        if vote is None:
            found.add(changed_entry(end_of_time(asked, 1_900.0), 1_900.0))
            continue
        counted = count_vote(asked, vote, asked.question.shown, grant=300.0, remember=900.0)
        assert isinstance(counted, Approval)
        found.add(changed_entry(counted, vote.at, vote=vote))
    return found.describe()


def test_questions_answers_and_times_are_counted():
    found = report(("t1", yes()), ("t1", no(at=1_010.0)), ("t2", yes(at=1_100.0)), ("t3", None))

    assert (found["questions"], found["tasks"], found["questions_per_task"]) == (4, 3, 1.33)
    assert (found["answered"], found["approved_share"], found["expired"]) == (3, 0.667, 1)
    assert (found["median_seconds"], found["quick_share"]) == (10.0, 0.333)
    assert found["warning"] is None


def test_who_approves_everything_is_warned():
    assert "90 %" in report(*[("t1", yes())] * 11)["warning"]
    assert report(*[("t1", yes())] * 9, ("t1", no()))["warning"] is None


def test_the_rules_that_ask_most_come_with_settings():
    (rule,) = report(("t1", yes()))["rules"]

    assert (rule["code"], rule["questions"], rule["most_for"]) == ("approval/effect", 1, "files/delete")
    assert rule["instead"] == [
        {"where": "the contract of an approved task", "yaml": "effects: {destructive: ['files/delete']}"}
    ]


def test_without_questions_nothing_is_claimed():
    found = report()

    assert (found["questions"], found["approved_share"], found["median_seconds"]) == (0, None, None)
