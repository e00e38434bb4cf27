"""Held calls of implicit tasks, which end by themselves while people think."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.approving import approve, desk, events, pending, vote
from tests.unit.harness import Bench, bench, call

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

SHORT = "approvals: {hold: 1ms}\nhistory: {idle: 50ms, lifetime: 50ms}\n"


@pytest.fixture
async def there(tmp_path: Path) -> AsyncGenerator[Bench]:
    async with bench(tmp_path, more=SHORT) as started:
        yield started


async def ask(there: Bench) -> Any:
    return await there.ask(call("ask_first", path="a"))


async def next_task(there: Bench, before: str) -> str:
    """Let the implicit task end by its time, and return the id of the next one."""
    while there.gateway.history.tasks.is_open(before, there.gateway.clock()):
        await asyncio.sleep(0.005)
    await desk(there).sweep()
    answer = await there.ask(call("read_file", path="b"))
    assert answer.json["result"] == {"content": []}
    return there.entries("call")[-1]["task"]["id"]


@pytest.mark.parametrize("is_early", [True, False])
async def test_an_approval_outlives_the_task_that_asked(there: Bench, *, is_early: bool):
    assert (await ask(there)).codes == ["approval/grant", "approval/pending"]
    before = pending(there).question.task
    if is_early:
        await approve(there)
    assert await next_task(there, before) != before
    if not is_early:
        await approve(there)

    assert (await ask(there)).json["result"] == {"content": []}
    assert (await ask(there)).codes == ["approval/grant", "approval/pending"]
    assert events(there) == ["asked", "granted", "asked"]


async def test_a_no_outlives_the_task_too(there: Bench):
    await ask(there)
    asked = pending(there)
    await vote(there, asked, answer="deny")
    await next_task(there, asked.question.task)

    assert (await ask(there)).codes == ["approval/grant", "approval/denied"]


async def test_who_ends_an_implicit_task_ends_its_questions(tmp_path: Path):
    async with bench(tmp_path, more="approvals: {hold: 1ms}\n") as there:
        await ask(there)
        asked = pending(there)
        kept = there.gateway.history.tasks.find(asked.question.task)
        assert kept is not None
        await there.gateway.journal.append("task", there.gateway.history.tasks.end(kept.task, "cancelled")[0])
        await desk(there).sweep()

        assert events(there) == ["asked", "withdrawn"]
        assert (await ask(there)).codes == ["history/expired"]
