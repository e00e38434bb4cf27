"""Policy's verdict on a call, and its record."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random
from typing import Any

import pytest

from gateway.errors import JournalError
from gateway.history.kept import Kept
from gateway.inspection.credentials.examples import example
from gateway.model import Decision, JsonObject, Task
from tests.requirements import requirement
from tests.unit.harness import Bench, allow, bench, call


async def test_a_call_that_needs_a_person_is_refused_and_says_so(there: Bench):
    answer = await there.ask(call("ask_first"))

    assert answer.codes[-1] == "approval/unavailable"
    assert [entry["effect"] for entry in there.entries("call")] == ["ask"]
    assert there.upstream.sent == []


async def test_a_call_that_cannot_be_recorded_goes_nowhere(there: Bench, monkeypatch: pytest.MonkeyPatch):
    async def append(_kind: str, _entry: JsonObject) -> None:
        raise JournalError("the disk is full")

    monkeypatch.setattr(there.gateway.journal, "append", append)
    answer = await there.ask(call())

    assert (answer.status, answer.codes) == (503, ["journal/unavailable"])
    assert there.upstream.sent == []
    assert b"opagate_journal_failures_total 1.0" in there.gateway.metrics.exposition()


@pytest.mark.parametrize("effect", ["allow", "deny"])
async def test_a_caller_that_leaves_while_the_decision_is_written_down_sends_nothing(
    there: Bench, monkeypatch: pytest.MonkeyPatch, effect: str
):
    journal = there.gateway.journal
    append, writing, proceed = journal.append, asyncio.Event(), asyncio.Event()

    async def slowly(kind: str, fields: JsonObject) -> None:
        await append(kind, fields)
        if kind == "call":
            writing.set()
            await proceed.wait()

    monkeypatch.setattr(journal, "append", slowly)
    task = asyncio.create_task(there.ask(call("read_file" if effect == "allow" else "hidden")))
    await writing.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert there.upstream.sent == []
    outcomes = [entry["outcome"] for entry in there.entries("settled")]
    assert outcomes == (["cancelled"] if effect == "allow" else [])


@requirement("inspection/suppressions")
@pytest.mark.parametrize(("until", "found"), [("2999-12-31", 0), ("2026-01-01", 1)])
async def test_a_suppression_holds_until_its_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, until: str, found: int
):
    rule = f"{{upstream: files, detector: github-pat, until: {until}, reason: made up}}"
    async with bench(tmp_path, more=f"inspection: {{suppressions: [{rule}]}}\n") as there:
        asked: list[Any] = []

        async def decide(document: JsonObject) -> Decision:
            asked.append(document)
            return allow()

        monkeypatch.setattr(there.gateway.policy, "decide", decide)
        value = example("ghp_{w:30}{crc62}", Random(1))
        await there.ask(call(text=value))

        assert len(asked[0]["session"]["credentials"]) == found
        counted = b'opagate_suppressed_total{upstream="files"} 1.0' in there.gateway.metrics.exposition()
        assert counted is not bool(found)


@requirement("invariant/9", "invariant/10")
async def test_a_task_that_is_ended_while_its_call_is_looked_at_makes_no_call(
    there: Bench, monkeypatch: pytest.MonkeyPatch
):
    gateway = there.gateway
    await there.ask(call())
    sent = len(there.upstream.sent)
    (implicit,) = gateway.history.tasks()
    task = Task("task-1", "declared", opened=gateway.clock(), expires=gateway.clock() + 100)
    gateway.history.admit(Kept(task, b"", implicit.owner, task.opened))
    looked = type(gateway.inspector).call

    def ending(*about: Any, **more: Any) -> Any:
        gateway.history.end(task, "cancelled")
        return looked(*about, **more)

    monkeypatch.setattr(type(gateway.inspector), "call", ending)
    answer = await there.ask(call(text="word " * 8_000), (b"opagate-task", b"task-1"))

    assert b"history/expired" in answer.body
    assert len(there.upstream.sent) == sent
    assert [entry["reasons"][0]["code"] for entry in there.entries("refused")] == ["history/expired"]
