"""Races of gateway processes with calls of one task, recorded as their clients saw them."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from gateway.model.errors import HistoryError
from tests.unit.history.shared.racing_gateway import AT_ONCE
from tests.unit.history.shared.replicas import LIMIT, Replica

_PAUSE: Final = 0.005
"""Seconds between two calls of a client."""
_MODULE: Final = "tests.unit.history.shared.racing_gateway"

Call = dict[str, Any]


async def race(
    commands: Sequence[Sequence[str]],
    *,
    kill_after: int | None = None,
) -> list[list[Call]]:
    """Run a gateway process for each command, and return the calls of each. The first one is killed after so many answers."""
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-m", _MODULE, *command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for command in commands
    ]
    for process in processes:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(b"go\n")
    listeners = [
        _listen(process, kill_after if number == 0 else None, AT_ONCE * number)
        for number, process in enumerate(processes)
    ]
    return await asyncio.gather(*listeners)


async def call_until(
    replicas: Sequence[Replica], stop: asyncio.Event, calls: list[Call] | None = None, *, at_once: int = 4
) -> list[Call]:
    """Make calls at gateways of this process until an event, and return them, also in `calls` as they end.

    A call that was never counted has failed.
    """
    calls = [] if calls is None else calls

    async def call_again_and_again(replica: Replica, client: int) -> None:
        while not stop.is_set():
            made: Call = {"client": client, "system": f"system-{random.randrange(40)}", "begun": time.monotonic_ns()}
            try:
                await replica.enter()
                made["answer"] = "unknown"
                is_allowed, made["number"] = await replica.call_numbered(made["system"])
                made["answer"] = "allowed" if is_allowed else "refused"
            except HistoryError:
                made = {"answer": "failed", "number": 0} | made
            calls.append(made | {"ended": time.monotonic_ns()})
            await asyncio.sleep(_PAUSE)

    clients = enumerate(replica for replica in replicas for _ in range(at_once))
    await asyncio.gather(*(call_again_and_again(replica, client) for client, replica in clients))
    return calls


async def _listen(process: asyncio.subprocess.Process, kill_after: int | None, first_client: int) -> list[Call]:
    assert process.stdout is not None
    calls: list[Call] = []
    async for line in process.stdout:
        call: Call = json.loads(line)
        calls.append(call | {"client": call["client"] + first_client})
        if len(calls) == kill_after:
            process.kill()
    await process.wait()
    return calls


def reached(answers: Sequence[Sequence[Call]]) -> set[str]:
    """Return the systems that calls were allowed to reach."""
    return {call["system"] for calls in answers for call in calls if call["answer"] == "allowed"}


def is_linearizable(checker: Path, answers: Sequence[Sequence[Call]], *, lost: int = 0) -> bool:
    """Return what porcupine says. `lost` calls got no answer, since their gateway was killed."""
    calls = [call for found in answers for call in found if call["answer"] != "failed"]
    first = min(call["begun"] for call in calls)
    unknown = [
        {"client": 0, "system": f"lost-{number}", "answer": "unknown", "number": 0, "begun": first, "ended": first}
        for number in range(lost)
    ]
    history = json.dumps({"limit": LIMIT, "calls": [*calls, *unknown]})
    done = subprocess.run([checker], input=history, capture_output=True, text=True, check=True)
    return done.stdout.strip() == "linearizable"
