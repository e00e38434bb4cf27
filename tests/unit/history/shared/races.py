"""Races of gateway processes with calls of one task, recorded as their clients saw them."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final

from tests.unit.history.shared.racing_gateway import AT_ONCE
from tests.unit.history.shared.replicas import LIMIT

_MODULE: Final = "tests.unit.history.shared.racing_gateway"

Call = dict[str, Any]


async def race(
    commands: Sequence[Sequence[str]],
    *,
    kill_after: int | None = None,
    meanwhile: Callable[[], Awaitable[None]] | None = None,
) -> list[list[Call]]:
    """Run a gateway process for each command, and return the calls of each. The first one is killed after so many answers."""
    processes = [
        await asyncio.create_subprocess_exec(sys.executable, "-m", _MODULE, *command, stdout=subprocess.PIPE)
        for command in commands
    ]
    listeners = [
        _listen(process, kill_after if number == 0 else None, AT_ONCE * number)
        for number, process in enumerate(processes)
    ]
    work = asyncio.ensure_future(meanwhile()) if meanwhile is not None else None
    answers = await asyncio.gather(*listeners)
    if work is not None:
        await work
    return answers


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
    calls = [call for found in answers for call in found]
    first = min(call["begun"] for call in calls)
    unknown = [
        {"client": 0, "system": f"lost-{number}", "answer": "unknown", "number": 0, "begun": first, "ended": first}
        for number in range(lost)
    ]
    history = json.dumps({"limit": LIMIT, "calls": [*calls, *unknown]})
    done = subprocess.run([checker], input=history, capture_output=True, text=True, check=True)
    return done.stdout.strip() == "linearizable"
