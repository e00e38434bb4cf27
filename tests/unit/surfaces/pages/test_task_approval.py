"""Tasks that a person approves as a whole: `POST /tasks` with `approval: ask`."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from gateway.authority.approvals.model import Approval, Person, Vote
from gateway.model.errors import JournalError
from tests.unit.harness import Answer, Bench, bench
from tests.unit.surfaces.pages.asking import ask_page

MORE = "approvals: {hold: 20ms}\n"
DECLARED = {
    "goal": "tidy the files",
    "approval": "ask",
    "contract": {"tools": ["files/*"], "effects": {"destructive": ["files/read_file"]}},
}
BOB = Person("bob", "https://idp.example", ("sre",), "login", "test")


@pytest.fixture
async def there(tmp_path: Path) -> AsyncGenerator[Bench]:
    async with bench(tmp_path, more=MORE) as started:
        yield started


async def declare(there: Bench, **changes: Any) -> Answer:
    return await ask_page(there, "POST", "/tasks", body=json.dumps({**DECLARED, **changes}).encode())


async def vote(there: Bench, answer: Any = "approve") -> Any:
    assert there.gateway.people is not None
    desk = there.gateway.people.desk
    (asked,) = [one for one in desk.list_open() if one.state == "pending"]
    return await desk.vote(asked.id, Vote(BOB, answer, desk.now()), asked.question.shown)


async def test_the_same_declaration_opens_the_task_once_after_a_yes(there: Bench):
    first = await declare(there)
    assert (first.status, first.json["status"]) == (202, "waiting")
    assert isinstance(await vote(there), Approval)

    opened = await declare(there)
    again = await declare(there)

    assert (opened.status, again.status) == (201, 202)
    assert opened.json["approved_by"] == [{"id": "bob", "issuer": "https://idp.example"}]
    (task,) = there.entries("task")
    assert (task["task"], task["approval"]) == (opened.json["id"], first.json["approval"]["id"])


@pytest.mark.parametrize("other", [{"goal": "tidy more"}, {"contract": {}}, {"expires_in": 60}, {"risk": "low"}])
async def test_another_declaration_asks_anew(there: Bench, other: dict[str, Any]):
    await declare(there)
    await vote(there)

    assert (await declare(there, **other)).status == 202


EFFECTS = {"effects": {"destructive": ["files/read_file"]}}
CHILDREN: dict[str, tuple[dict[str, Any], bool]] = {
    "nothing of its own": ({}, True),
    "the effects": ({"contract": EFFECTS}, True),
    "the same goal and destinations": (
        {"goal": DECLARED["goal"], "contract": {**EFFECTS, "destinations": ["a@corp.example"]}},
        True,
    ),
    "another goal": ({"goal": "tidy /etc/passwd", "contract": EFFECTS}, False),
    "another destination": ({"contract": {**EFFECTS, "destinations": ["b@corp.example"]}}, False),
}


@pytest.mark.parametrize(("child", "is_approved"), CHILDREN.values(), ids=CHILDREN.keys())
async def test_a_child_has_the_approval_only_for_what_people_were_shown(
    there: Bench, child: dict[str, Any], *, is_approved: bool
):
    """A goal and destinations give ground. An agent writes those of a child by itself, after the yes."""
    shown = {"contract": {**EFFECTS, "destinations": ["*@corp.example", "a@corp.example"]}}
    await declare(there, **shown)
    await vote(there)
    parent = (await declare(there, **shown)).json["id"]

    for _ in range(2):
        body = json.dumps({"parent": parent, **child}).encode()
        opened = await ask_page(there, "POST", "/tasks", body=body)
        assert opened.status == 201
        assert ("approved_by" in opened.json) is is_approved
        parent = opened.json["id"]


async def test_a_no_is_told(there: Bench):
    await declare(there)
    await vote(there, "deny")

    for _ in range(2):
        answer = await declare(there)
        assert (answer.status, answer.json["error"]["code"]) == (403, "approval/denied")
    assert there.entries("task") == []


async def test_silence_is_told_as_silence(tmp_path: Path):
    async with bench(tmp_path, more="approvals: {hold: 2s, pending: 50ms}\n") as there:
        answer = await declare(there)

        assert (answer.status, answer.json["error"]["code"]) == (410, "approval/expired")


async def test_a_task_that_cannot_be_recorded_leaves_the_approval_unused(there: Bench, monkeypatch: pytest.MonkeyPatch):
    await declare(there)
    await vote(there)
    with monkeypatch.context() as failing:

        async def append(kind: str, _entry: object) -> None:
            raise JournalError(f"no {kind}")

        failing.setattr(there.gateway.tasks, "_append", append)
        assert (await declare(there)).status == 503

    assert (await declare(there)).status == 201


async def test_without_people_the_task_is_not_opened(tmp_path: Path):
    async with bench(tmp_path) as there:
        answer = await declare(there)

        assert (answer.status, answer.json["error"]["code"]) == (409, "approval/unavailable")


async def test_a_value_beside_ask_is_refused(there: Bench):
    for value in ("always", True, None, ["ask"]):
        answer = await declare(there, approval=value)
        assert (answer.status, answer.json["error"]["code"]) == (400, "task/invalid")


async def test_the_approval_is_used_also_after_a_restart(tmp_path: Path):
    async with bench(tmp_path, more=MORE) as there:
        await declare(there)
        await vote(there)
        assert (await declare(there)).status == 201
    async with bench(tmp_path, more=MORE) as there:
        assert (await declare(there)).status == 202
