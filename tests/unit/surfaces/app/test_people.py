"""The people whom a gateway asks, by its configuration."""

from __future__ import annotations

import asyncio
from pathlib import Path

from gateway.authority.approvals.model import Person
from tests.unit.approving import approve, desk
from tests.unit.harness import bench, call
from tests.unit.recurring import bearer


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
