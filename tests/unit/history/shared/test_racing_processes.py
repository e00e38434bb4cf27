"""Two processes race with calls of one task over one database, and one of them is killed in the middle."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from tests.unit.base.store.engines import open_store
from tests.unit.history.recording import AGENT
from tests.unit.history.shared.racing_gateway import AT_ONCE
from tests.unit.history.shared.replicas import LIMIT, Replica

if TYPE_CHECKING:
    from asyncio.subprocess import Process

CALLS = 300
"""Calls of each process."""
MIDDLE = 40
"""Answers after which one process is killed."""


async def start(place: str, name: str) -> Process:
    command = [sys.executable, "-m", "tests.unit.history.shared.racing_gateway", place, name, str(CALLS)]
    return await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)


async def listen(process: Process, *, kill_after: int = 2 * CALLS) -> list[str]:
    """Return the answers of a process, and kill it after so many."""
    assert process.stdout is not None
    answers: list[str] = []
    async for line in process.stdout:
        answers.append(line.decode().strip())
        if len(answers) == kill_after:
            process.kill()
    await process.wait()
    return answers


async def test_a_task_reaches_no_more_systems_than_its_limit_when_one_gateway_is_killed(schema_url: str):
    first, second = await asyncio.gather(start(schema_url, "a"), start(schema_url, "b"))
    answers = await asyncio.gather(listen(first, kill_after=MIDDLE), listen(second))

    reached = {answer.split()[0] for found in answers for answer in found if answer.endswith(" allowed")}
    assert MIDDLE <= len(answers[0]) < CALLS
    assert len(answers[1]) == CALLS
    assert not any("unavailable" in answer for found in answers for answer in found)
    assert len(reached) == LIMIT

    survivor = Replica("c", open_store(schema_url, time.time), time.time)
    survivor.living = {"b", "c"}
    task = await survivor.enter()
    await survivor.log.confirm(AGENT.key)
    # A call under decision at the killed process counts as sent, since nobody knows.
    audiences = survivor.history.ledger.facts(task, time.time()).audiences
    assert reached <= audiences
    assert len(audiences) <= LIMIT + AT_ONCE
    assert (await survivor.facts())["in_flight"] == 0
    await survivor.log.close()
    survivor.engine.close()
