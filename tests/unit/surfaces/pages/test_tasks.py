"""The pages of tasks: who is let in, what is looked at in which order, and what is recorded."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.model.errors import JournalError
from gateway.wire.http.limits import RequestPlace
from tests.unit.harness import Answer, Bench, bench, call
from tests.unit.surfaces.pages.asking import ask_page

STRANGER = (b"authorization", b"Bearer nobody")


def code_of(answer: Answer) -> str:
    return answer.json["error"]["code"]


async def opened(there: Bench) -> str:
    answer = await ask_page(there, "POST", "/tasks", body=b'{"goal": "mend it"}')
    assert answer.status == 201, answer.body
    return answer.json["id"]


async def test_a_task_is_opened_shown_and_ended(there: Bench):
    task = await opened(there)

    shown = await ask_page(there, "GET", f"/tasks/{task}?more=1")
    ended = await ask_page(there, "POST", f"/tasks/{task}/complete")
    other = await ask_page(there, "POST", f"/tasks/{task}/cancel")

    assert (shown.status, shown.json["goal"]) == (200, "mend it")
    assert (ended.status, ended.json["status"]) == (200, "completed")
    assert (other.status, code_of(other)) == (409, "task/ended")
    for answer in (shown, ended, other):
        headers = dict(answer.headers)
        assert (headers[b"content-type"], headers[b"x-content-type-options"]) == (b"application/json", b"nosniff")
        assert (headers[b"cache-control"], int(headers[b"content-length"])) == (b"no-store", len(answer.body))
    assert [entry["reasons"][0]["code"] for entry in there.entries("refused")] == ["task/ended"]


async def test_the_caller_is_verified_before_the_path_the_method_and_the_body(there: Bench):
    for method, path in (
        ("GET", "/tasks"),
        ("POST", "/tasks"),
        ("GET", "/tasks/"),
        ("GET", "/tasks/none"),
        ("PUT", "/tasks/none/complete"),
        ("OPTIONS", "/tasks/a/b/c/d"),
    ):
        answer = await ask_page(there, method, path, STRANGER, body=b"{")
        assert (answer.status, answer.codes) == (401, ["identity/malformed"]), path
        assert b"www-authenticate" in dict(answer.headers)


async def test_another_method_is_refused_with_those_that_there_are(there: Bench):
    asked = {
        ("GET", "/tasks"): b"POST",
        ("HEAD", "/tasks"): b"POST",
        ("OPTIONS", "/tasks"): b"POST",
        ("POST", "/tasks/task-1"): b"GET, HEAD",
        ("DELETE", "/tasks/task-1"): b"GET, HEAD",
        ("GET", "/tasks/task-1/complete"): b"POST",
        ("PUT", "/tasks/task-1/cancel"): b"POST",
    }
    for (method, path), allow in asked.items():
        answer = await ask_page(there, method, path)
        assert (answer.status, code_of(answer), dict(answer.headers)[b"allow"]) == (405, "task/method", allow)
    recorded = [entry["reasons"][0]["code"] for entry in there.entries("refused")]
    assert recorded == ["task/method"] * len(asked)


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
async def test_a_page_of_tasks_that_there_is_not_is_refused(there: Bench, method: str):
    for rest in ("", "/", "x/delete", "x/complete/", "x//complete", "/complete", "a/b/c", "x/../y"):
        answer = await ask_page(there, method, f"/tasks/{rest}")
        assert (answer.status, code_of(answer)) == (404, "task/not-found"), rest
        assert b"location" not in dict(answer.headers)


async def test_no_other_spelling_leads_to_a_task(there: Bench):
    task = await opened(there)

    for change in ("/", "%00", "%0a", "%2f", "%2fcomplete", ";x", "/.", "x" * 50_000):
        assert (await ask_page(there, "GET", f"/tasks/{task}{change}")).status == 404
        assert (await ask_page(there, "POST", f"/tasks/{task}{change}/complete")).status == 404
    for path in (f"/tasks/%{ord(task[0]):x}{task[1:]}", f"/tasks//{task}", f"//tasks/{task}", f"/tasks/{task.upper()}"):
        assert (await ask_page(there, "GET", path)).status == 404
    assert (await ask_page(there, "GET", f"/tasks/{task}")).json["status"] == "open"


async def test_a_task_answers_head(there: Bench):
    task = await opened(there)

    get, head = [await ask_page(there, method, f"/tasks/{task}") for method in ("GET", "HEAD")]

    assert (head.status, head.headers) == (get.status, get.headers)


async def test_a_journal_that_cannot_be_written_confirms_nothing(there: Bench, monkeypatch: pytest.MonkeyPatch):
    task = await opened(there)

    async def fail(_kind: str, _fields: Any) -> None:
        raise JournalError("the journal cannot be written: no space", "free space")

    monkeypatch.setattr(there.gateway.tasks, "_append", fail)
    for path in ("/tasks", f"/tasks/{task}/complete"):
        answer = await ask_page(there, "POST", path)
        assert answer.status == 503
        assert answer.json["error"] == {
            "code": "journal/unavailable",
            "message": "The journal cannot be written: no space.",
            "remedy": "Free space.",
        }


async def test_of_two_ends_at_once_one_wins_and_both_are_told(there: Bench):
    task = await opened(there)
    verbs = ["complete", "cancel"] * 8

    answers = await asyncio.gather(*(ask_page(there, "POST", f"/tasks/{task}/{verb}") for verb in verbs))

    told = {verb: {answer.status for end, answer in zip(verbs, answers, strict=True) if end == verb} for verb in verbs}
    assert told == {"complete": {200}, "cancel": {409}}
    shown = await ask_page(there, "GET", f"/tasks/{task}")
    assert shown.json["status"] == "completed"
    assert {entry["how"] for entry in there.entries("task") if entry["event"] == "ended"} == {"completed"}


async def test_a_large_declaration_is_refused(tmp_path: Path):
    async with bench(tmp_path, more="limits: {request_bytes: 64B}\n") as there:
        declared = await ask_page(there, "POST", "/tasks", (b"content-length", b"65"))
        grown = await ask_page(there, "POST", "/tasks", body=json.dumps({"goal": "x" * 64}).encode())
        assert [(answer.status, answer.codes) for answer in (declared, grown)] == [(413, ["request/too-large"])] * 2
        assert there.entries("task") == []
        recorded = [entry["reasons"][0]["code"] for entry in there.entries("refused")]
        assert recorded == ["request/too-large"] * 2


async def test_one_caller_has_so_many_requests_at_once_on_pages_too(tmp_path: Path):
    async with bench(tmp_path, more="limits: {in_flight_per_caller: 1}\n") as there:
        place = there.gateway.places.enter("127.0.0.1")
        assert isinstance(place, RequestPlace)
        refused = await ask_page(there, "GET", "/tasks/none")
        assert (refused.status, refused.codes) == (429, ["limit/in-flight-per-caller"])
        place.leave()
        for _ in range(2):
            assert (await ask_page(there, "GET", "/tasks/none")).status == 404


async def test_a_defect_is_told_and_gives_the_place_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    async with bench(tmp_path, more="limits: {in_flight_per_caller: 1}\n") as there:

        def fail(*_arguments: object) -> Any:
            raise ZeroDivisionError

        with monkeypatch.context() as patch:
            patch.setattr(there.gateway.tasks, "report", fail)
            with pytest.raises(ZeroDivisionError):
                await ask_page(there, "GET", "/tasks/none")
        assert "defect" in capsys.readouterr().out
        assert (await ask_page(there, "GET", "/tasks/none")).status == 404


async def test_a_task_is_handed_over_at_a_page_of_its_own(there: Bench):
    task = await opened(there)

    handed = await ask_page(there, "POST", f"/tasks/{task}/hand-over", body=b'{"agent": "worker"}')
    other = await ask_page(there, "GET", f"/tasks/{task}/hand-over")
    foreign = await ask_page(there, "POST", "/tasks", body=json.dumps({"parent": handed.json["token"]}).encode())

    assert (handed.status, handed.json["agent"], handed.json["parent"]) == (201, "worker", task)
    assert (other.status, code_of(other)) == (405, "task/method")
    assert (foreign.status, code_of(foreign)) == (404, "task/unknown")


async def test_agents_of_the_tasks_above_count_in_the_depth_of_a_call(there: Bench):
    parent = (await ask_page(there, "POST", "/tasks", body=b"{}")).json["id"]
    child = (await ask_page(there, "POST", "/tasks", body=b'{"parent": "%s"}' % parent.encode())).json["id"]
    kept = there.gateway.history.tasks.find(child)
    assert kept is not None
    assert kept.task.parent is not None
    kept.task = replace(kept.task, parent=replace(kept.task.parent, agents=("chief", "lead")))

    for task in (parent, child):
        await there.ask(call(), (b"opagate-task", task.encode()))

    assert [entry["history"]["raises"].get("depth") for entry in there.entries("call")] == [None, 2]
