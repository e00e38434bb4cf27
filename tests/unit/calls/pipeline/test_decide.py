"""Policy's verdict on a call, and its record."""

from __future__ import annotations

import asyncio
import shutil
import time
from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml

from benchmarks.credentials.examples import example
from gateway.history.task_history import TaskHistory
from gateway.model.decision import Decision
from gateway.model.errors import JournalError
from gateway.model.facts import SessionFacts
from gateway.model.task import Task
from gateway.model.wire import JsonObject
from gateway.policy import verdict
from gateway.policy.folder.folders import find_shipped
from tests.requirements import requirement
from tests.unit.harness import Bench, allow, bench, call
from tests.unit.policy.failing import failing_policy


async def test_a_call_that_needs_a_person_is_refused_and_says_so(there: Bench):
    answer = await there.ask(call("ask_first"))

    assert answer.codes[-1] == "approval/unavailable"
    assert [entry["effect"] for entry in there.entries("call")] == ["ask"]
    assert there.upstream.sent == []


async def test_a_call_that_cannot_be_recorded_goes_nowhere(there: Bench, monkeypatch: pytest.MonkeyPatch):
    def begin(_kind: str, _entry: JsonObject, _lost: object = None) -> None:
        raise JournalError("the disk is full")

    monkeypatch.setattr(there.gateway.journal, "begin", begin)
    answer = await there.ask(call())

    assert (answer.status, answer.codes) == (503, ["journal/unavailable"])
    assert there.upstream.sent == []
    assert b"opagate_journal_failures_total 1.0" in there.gateway.metrics.exposition()


class Gone:
    """A caller that leaves while its call is at one place, which is there held up until the caller has left."""

    def __init__(self, there: Bench) -> None:
        self.there = there
        self.reached, self.proceed = asyncio.Event(), asyncio.Event()
        self.writing: asyncio.Future[None] | None = None

    def hold_record(self, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
        """Hold the write of the entries of a kind up. Their callers wait for it meanwhile."""
        does = self.there.gateway.journal.flush

        async def write_later() -> None:
            self.reached.set()
            await self.proceed.wait()
            does()

        def held() -> None:
            queue = self.there.gateway.journal._queue  # pyright: ignore[reportPrivateUsage] - to hold its write
            if any(queued.kind == kind for queued in queue):
                self.writing = asyncio.ensure_future(write_later())
            else:
                does()

        monkeypatch.setattr(self.there.gateway.journal, "flush", held)

    def hold(self, monkeypatch: pytest.MonkeyPatch, part: Any, name: str, kind: str | None = None) -> None:
        """Hold `part.name` up before it ends; of the journal only where it writes an entry of this kind."""
        does = getattr(part, name)

        async def held(*about: Any) -> Any:
            found = await does(*about)
            if kind is None or about[0] == kind:
                self.reached.set()
                await self.proceed.wait()
            return found

        monkeypatch.setattr(part, name, held)

    async def leaves(self, tool: str, **changes: Any) -> None:
        task = asyncio.create_task(self.there.ask(call(tool), **changes))
        await self.reached.wait()
        task.cancel()
        await asyncio.sleep(0)
        self.proceed.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    def facts(self) -> SessionFacts:
        history = self.there.gateway.history
        (kept,) = history.tasks.all()
        return history.ledger.facts(kept.task, self.there.gateway.clock())


@pytest.mark.parametrize("place", ["decided", "recorded"])
async def test_a_denial_counts_also_if_its_caller_has_left(there: Bench, monkeypatch: pytest.MonkeyPatch, place: str):
    gone = Gone(there)
    if place == "decided":
        gone.hold(monkeypatch, there.gateway.policy, "decide")
    else:
        gone.hold_record(monkeypatch, "call")
    await gone.leaves("hidden")

    (entry,) = there.entries("call")
    assert (entry["effect"], entry["reasons"][0]["code"]) == ("deny", "tool/not-granted")
    assert (gone.facts().denials, gone.facts().calls, gone.facts().in_flight) == (1, 0, 0)
    assert there.upstream.sent == []
    assert there.entries("settled") == []
    assert b'effect="deny"' in there.gateway.metrics.exposition()


@pytest.mark.parametrize("place", ["decided", "recorded"])
async def test_an_allowed_call_whose_caller_has_left_is_made_as_far_as_anybody_can_tell_but_not_sent(
    there: Bench, monkeypatch: pytest.MonkeyPatch, place: str
):
    gone = Gone(there)
    if place == "decided":
        gone.hold(monkeypatch, there.gateway.policy, "decide")
    else:
        gone.hold_record(monkeypatch, "call")
    await gone.leaves("read_file")

    assert there.upstream.sent == []
    assert [entry["effect"] for entry in there.entries("call")] == ["allow"]
    assert [entry["outcome"] for entry in there.entries("settled")] == ["cancelled"]
    assert (gone.facts().denials, gone.facts().calls, gone.facts().in_flight) == (0, 1, 0)


async def test_a_refusal_is_recorded_also_if_its_caller_has_left(there: Bench, monkeypatch: pytest.MonkeyPatch):
    gone = Gone(there)
    monkeypatch.setattr(
        there.gateway.flood, "rest", lambda: {"since": 0.0, "count": 1, "codes": {"identity/missing": 1}}
    )
    gone.hold(monkeypatch, there.gateway.journal, "append", "flood")
    await gone.leaves("read_file", upstream="made-up")

    assert [entry["reasons"][0]["code"] for entry in there.entries("refused")] == ["upstream/unknown"]


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
    (implicit,) = gateway.history.tasks.all()
    task = Task("task-1", "declared", opened=gateway.clock(), expires=gateway.clock() + 100)
    gateway.history.tasks.admit(TaskHistory(task, implicit.owner, implicit.parties, task.opened))
    looked = type(gateway.inspector).call

    def ending(*about: Any, **more: Any) -> Any:
        gateway.history.tasks.end(task, "cancelled")
        return looked(*about, **more)

    monkeypatch.setattr(type(gateway.inspector), "call", ending)
    answer = await there.ask(call(text="word " * 8_000), (b"opagate-task", b"task-1"))

    assert b"history/expired" in answer.body
    assert len(there.upstream.sent) == sent
    assert [entry["reasons"][0]["code"] for entry in there.entries("refused")] == ["history/expired"]


async def test_calls_go_on_while_long_arguments_full_of_credentials_are_recorded_in_full(tmp_path: Path):
    """Of what the event loop does, no turn of it does much: it is busy with turns, not with the arguments."""
    keys = [example("lin_api_{w:14}", Random(number)) for number in range(2500)]
    async with bench(tmp_path, more="journal: {arguments: full}\n") as there:
        asking, turns = asyncio.ensure_future(there.ask(call(keys=keys))), list[float]()
        while not asking.done():
            begun = time.thread_time()
            await asyncio.sleep(0)
            turns.append(time.thread_time() - begun)
        (entry,) = there.entries("call")

    assert entry["arguments"]["mode"] == "full"
    assert not {*keys} & {*entry["arguments"]["value"]["keys"]}
    assert max(turns) < sum(turns) / 5


LIMITS = yaml.safe_load((find_shipped() / "gateway/settings/data.yaml").read_text("utf-8"))["task_limits"]
OUTAGE = LIMITS["denials"]["hard"] + 5
"""Calls during an outage: more than the hard limit of denials that the shipped policy sets for a task."""


def denials(there: Bench) -> int:
    (kept,) = there.gateway.history.tasks.all()
    return there.gateway.history.ledger.facts(kept.task, there.gateway.clock()).denials


@requirement("fault/no-verdict")
@pytest.mark.parametrize("code", verdict.FAILURES)
async def test_a_failure_of_the_policy_engine_is_no_denial_of_the_task(there: Bench, code: str):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(there.gateway.policy, "decide", failing_policy(code).decide)
        refused = [await there.ask(call()) for _ in range(OUTAGE)]
    after = await there.ask(call())

    assert {tuple(answer.codes) for answer in refused} == {(code,)}
    assert (after.json["result"], denials(there), len(there.upstream.sent)) == ({"content": []}, 0, 1)


@requirement("fault/no-verdict")
@pytest.mark.parametrize("code", verdict.FAILURES)
async def test_a_failure_of_the_policy_engine_is_no_denial_after_a_crash(tmp_path: Path, code: str):
    async with bench(tmp_path) as before:
        before.gateway.policy.decide = failing_policy(code).decide  # type: ignore[method-assign]
        for _ in range(3):
            await before.ask(call())
        crashed = before.entries("call")
    shutil.rmtree(tmp_path / "state/history")

    async with bench(tmp_path) as after:
        await after.ask(call("hidden"))
        assert [entry["reasons"][0]["code"] for entry in crashed] == [code] * 3
        assert denials(after) == 1


@requirement("fault/no-verdict")
async def test_an_ask_is_no_denial_live_or_after_a_crash(tmp_path: Path):
    async with bench(tmp_path) as before:
        for _ in range(3):
            assert (await before.ask(call("ask_first"))).codes[-1] == "approval/unavailable"
        assert denials(before) == 0
    shutil.rmtree(tmp_path / "state/history")

    async with bench(tmp_path) as after:
        await after.ask(call())
        assert denials(after) == 0
