"""The people whom a gateway asks, by its configuration."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.authority.approvals.model import Person
from gateway.authority.approvals.office import SubmittedAnswer
from gateway.authority.approvals.rules import Approver
from gateway.config import keys
from gateway.model.decision import Reason
from tests.unit.approving import BOB, HOLDING, approve, desk, pending
from tests.unit.harness import Bench, bench, call
from tests.unit.recurring import bearer

STORE = "store: {kind: postgresql, url: '${STORE_URL}', deadline: 20s}\n"
"""A database for several gateways."""


@asynccontextmanager
async def two_gateways(folder: Path) -> AsyncGenerator[tuple[Bench, Bench]]:
    """Run two gateways of one deployment on one database."""
    one, two = folder / "one", folder / "two"
    (two / "state").mkdir(mode=0o700, parents=True)
    one.mkdir()
    async with bench(one, more=HOLDING + STORE) as first:
        for name in ("sealing", "fingerprints"):
            key = two / "state" / keys.FILES[name]
            key.write_bytes((one / "state" / keys.FILES[name]).read_bytes())
            key.chmod(0o600)
        async with bench(two, more=HOLDING + STORE) as second:
            yield first, second


async def test_a_development_gateway_without_the_section_asks_its_own_account(tmp_path: Path):
    async with bench(tmp_path, identity="{kind: development}") as there:
        waiting = asyncio.create_task(there.ask(call("ask_first", path="a"), bearer(there)))
        while not desk(there).list_open():
            await asyncio.sleep(0)
        assert there.upstream.sent == []
        await approve(there, Person("developer", "local", (), "peer", "socket"))
        answer = await waiting

        assert answer.json["result"] == {"content": []}
        assert [entry["effect"] for entry in there.entries("call")] == ["ask", "allow"]


async def test_such_a_gateway_refuses_the_call_if_it_is_told_to_ask_nobody(tmp_path: Path):
    async with bench(tmp_path, identity="{kind: development}", more="approvals: null\n") as there:
        answer = await there.ask(call("ask_first", path="a"), bearer(there))

        assert answer.codes == ["approval/grant", "approval/unavailable"]


async def test_a_no_at_another_gateway_ends_the_task_that_only_the_first_one_knew(
    tmp_path: Path, schema_url: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("STORE_URL", schema_url)
    async with two_gateways(tmp_path) as (one, two):
        asking = asyncio.create_task(one.ask(call("ask_first", path="a")))
        while not desk(one).list_open():
            await asyncio.sleep(0.01)
        question = pending(one).question
        people = two.gateway.people
        assert people is not None
        no = SubmittedAnswer(question.id, "deny", question.shown, end_task=True)
        counted = await people.office.vote(Approver(BOB), no)

        assert not isinstance(counted, Reason)
        assert counted["task_ended"]
        assert [entry["task"] for entry in two.entries("task") if entry["event"] == "ended"] == [question.task]
        await one.gateway.history.ledger.log.catch_up(question.requester.job)
        kept = one.gateway.history.tasks.find(question.task)
        assert kept is None or kept.ended == "cancelled"
        await asking
