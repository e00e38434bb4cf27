"""`opagate tasks`: the words for people, and the answers for programs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.surfaces.cli import tasks
from tests.unit.surfaces.cli.conftest import Status

MARK = {
    "label": "untrusted",
    "audience": "mail",
    "tenant": "acme",
    "environment": None,
    "task": "task-2",
    "agent": "reader",
    "number": 1,
    "call": "c0ffee",
    "tool": "mail/read",
    "at": 1000.0,
    "own": False,
}
TASK: dict[str, Any] = {
    "id": "task-1",
    "kind": "declared",
    "status": "open",
    "agent": "lead",
    "job": "5f0c",
    "parent": None,
    "opened": 1000.0,
    "used": 1000.0,
    "expires": 4600.0,
    "goal": "Sort the tickets",
}
SHOWN = {
    **TASK,
    "depth": 0,
    "goal_of": "user",
    "ground": None,
    "calls": 2,
    "in_flight": 1,
    "denials": 0,
    "approvals_used": 0,
    "untrusted": True,
    "confidentiality": "public",
    "marks": [MARK],
}
CHILD = {
    **SHOWN,
    "id": "task-3",
    "parent": "task-1",
    "agent": "worker",
    "depth": 1,
    "goal": "\x1b[2JWrite to eve",
    "goal_of": "partly",
    "ground": "Write to    ",
    "marks": [{**MARK, "own": True, "call": None}],
}


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Requests of the command by the name of their operation, each with its answer beforehand."""
    given: dict[str, Any] = {}

    def ask(_at: object, _config: object, do: str, **fields: Any) -> Any:
        answer, given["asked"] = given[do], fields
        return answer

    monkeypatch.setattr(tasks, "ask_gateway", ask)
    return given


def test_tasks_are_listed_with_the_number_of_further_ones(
    answers: dict[str, Any], status: Status, capsys: pytest.CaptureFixture[str]
):
    long, implicit = {**TASK, "goal": "x" * 61}, {**TASK, "kind": "implicit", "goal": None}
    answers["tasks/list"] = {"tasks": [long, implicit], "left_off": 3}

    assert status("tasks", "list", "--user", "ann", "--all") == 0

    said = capsys.readouterr()
    assert answers["asked"] == {"agent": None, "user": "ann", "issuer": None, "all": True}
    assert "x" * 59 + "…" in said.out
    assert "(implicit)" in said.out
    assert "3 further tasks" in said.err


def test_no_task_is_said(answers: dict[str, Any], status: Status, capsys: pytest.CaptureFixture[str]):
    answers["tasks/list"] = {"tasks": [], "left_off": 0}

    assert status("tasks", "list") == 0
    assert capsys.readouterr().err == "no task is known\n"


def test_a_tree_says_whose_words_a_goal_has_and_which_call_brought_a_mark(
    answers: dict[str, Any], status: Status, capsys: pytest.CaptureFixture[str]
):
    answers["tasks/show"] = {"asked": "task-3", "tasks": [SHOWN, CHILD]}

    assert status("tasks", "show", "task-3") == 0

    assert capsys.readouterr().out.splitlines() == [
        "  task-1  open  lead  2 calls, 1 open",
        "    goal: Sort the tickets (the user's words)",
        "    untrusted: mail/acme, by reader in task-2, call c0ffee (mail/read) at 1970-01-01T00:16:40.000Z",
        "  * task-3  open  worker  2 calls, 1 open",
        "      goal: ⟨U+001B⟩[2JWrite to eve (with words of untrusted results, which give no ground)",
        "      ground: Write to",
        "      untrusted: mail/acme, by its own outside of a call (mail/read) at 1970-01-01T00:16:40.000Z",
    ]


@pytest.mark.parametrize(
    ("ended", "said"), [(["task-1"], "task-1 is cancelled"), (["task-1", "task-3"], "with 1 task below it")]
)
def test_an_end_names_the_tasks_below(
    answers: dict[str, Any], status: Status, capsys: pytest.CaptureFixture[str], ended: list[str], said: str
):
    answers["tasks/end"] = {"ended": ended}

    assert status("tasks", "end", "task-1", "--reason", "it loops") == 0
    assert said in capsys.readouterr().err
    assert answers["asked"] == {"id": "task-1", "reason": "it loops"}


def test_an_end_needs_a_reason(answers: dict[str, Any], status: Status):
    assert status("tasks", "end", "task-1", "--reason", " ") == 2
    assert answers == {}


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (("list",), {"tasks": [TASK], "left_off": 0}),
        (("show", "task-1"), {"asked": "task-1", "tasks": [SHOWN]}),
        (("end", "task-1", "--reason", "it loops"), {"ended": ["task-1"]}),
    ],
)
def test_programs_get_the_whole_answer(
    answers: dict[str, Any], status: Status, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], answer: Any
):
    answers[f"tasks/{words[0]}"] = answer

    assert status("tasks", *words, "--json") == 0
    assert json.loads(capsys.readouterr().out) == answer
