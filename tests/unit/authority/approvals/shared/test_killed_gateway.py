"""Two processes race for approvals over one database, and one of them is killed in the middle of a release."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from tests.unit.authority.approvals.making import yes
from tests.unit.authority.approvals.shared.racing_desk import open_desk
from tests.unit.base.store.engines import PATIENCE
from tests.unit.history.recording import AGENT

if TYPE_CHECKING:
    from asyncio.subprocess import Process

    from tests.unit.base.store.postgresql_server import PostgresServer

APPROVALS = 60
MIDDLE = 12
"""Passed calls after which one process is killed."""


async def start(url: str, name: str) -> Process:
    command = [sys.executable, "-m", "tests.unit.authority.approvals.shared.racing_desk", url, name, str(APPROVALS)]
    return await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)


async def listen(process: Process, name: str, killed: list[str]) -> list[tuple[str, str]]:
    """Return the approvals and calls that passed at a process. Kill the first process with so many, and note its name."""
    assert process.stdout is not None
    passed: list[tuple[str, str]] = []
    async for line in process.stdout:
        identifier, call = line.decode().split()
        passed.append((identifier, call))
        if len(passed) == MIDDLE and not killed:
            killed.append(name)
            process.kill()
    await process.wait()
    return passed


async def test_no_approval_is_used_twice_or_lost_when_a_gateway_is_killed(postgresql: PostgresServer, schema_url: str):
    async with AsyncExitStack() as stack:
        survivor = await open_desk(stack, schema_url, "c")
        for number in range(APPROVALS):
            identifier, now = f"q{number}", time.time()
            await survivor.ask(identifier, task=identifier, asked=now, expires=now + 900.0)
            await survivor.desk.vote(identifier, yes(at=now), f"sha256:shown-{identifier}")
        first, second = await asyncio.gather(start(schema_url, "a"), start(schema_url, "b"))
        killed: list[str] = []
        passed = await asyncio.gather(listen(first, "a", killed), listen(second, "b", killed))
        told = [pair for found in passed for pair in found]

        assert len(killed) == 1
        assert len({identifier for identifier, _ in told}) == len(told)
        schema = schema_url.rpartition("search_path=")[2]
        async with asyncio.timeout(PATIENCE):
            while True:
                # The time of its claim runs out. The database may still take its last renewal after that.
                await postgresql.execute(
                    f"update {schema}.opagate_gateways set until = now() - interval '1 s' where name = '{killed[0]}'"
                )
                await survivor.desk.follow()
                await survivor.desk.settle_lost_claims()
                if all(one.claim is None for one in survivor.desk.list_remembered()):
                    break

        calls = {one.id: one.calls for one in survivor.desk.list_remembered()}
        assert all(calls[identifier] == (call,) for identifier, call in told)
        free = [one for one in survivor.desk.list_remembered() if one.state == "granted"]
        assert {one.state for one in survivor.desk.list_remembered()} <= {"granted", "used"}
        for one in survivor.desk.list_remembered():
            is_counted = one.state == "used" and await survivor.replica.log.has_reserved(AGENT.job, one.calls[0])
            assert is_counted == (one.state == "used")
        # An approval without a call in the history is free again, and passes once.
        again = [await survivor.desk.claim(one.id, f"again-{one.id}") for one in free]
        assert all(again)
