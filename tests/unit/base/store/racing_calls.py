"""A process that decides calls of one task, racing with others: `python racing_calls.py PLACE NAME CALLS`.

Each call goes to one of forty systems. The task may reach `LIMIT` systems, and the account of its owner counts all calls.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Final

from gateway.base.store.engine import Append, Log
from tests.unit.base.store.engines import open_store

LIMIT: Final = 5
CALLERS: Final = 2
TASK: Final = Log(b"o" * 16, "task")
ACCOUNT: Final = Log(b"o" * 16, "account")


def may_reach(systems: set[str], system: str) -> bool:
    return system in systems or len(systems) < LIMIT


def find_problem(events: Sequence[bytes], acknowledged: Iterable[tuple[int, str]]) -> str | None:
    """Return what is wrong with a log: a verdict that does not follow from the events before it, or an answer without its event."""
    systems: set[str] = set()
    for number, event in enumerate(map(json.loads, events), 1):
        if event["allowed"] != may_reach(systems, event["system"]):
            return f"event {number} was decided on another state"
        if event["allowed"]:
            systems.add(event["system"])
    names = [json.loads(event)["call"] for event in events]
    answers = dict(acknowledged)
    if sorted(answers) != list(range(1, len(events) + 1)) or any(names[n - 1] != call for n, call in answers.items()):
        return "the answers and the events differ"
    return None


async def decide(place: str, name: str, calls: int) -> list[tuple[int, str]]:
    """Decide calls, several at the same time, and return the version and the name of each."""
    engine = open_store(place, time.time)
    known = {TASK: 0, ACCOUNT: 0}
    systems: set[str] = set()
    left = iter(range(calls))
    done: list[tuple[int, str]] = []

    async def call_again_and_again() -> None:
        nonlocal known, systems
        for number in left:
            call, system = f"{name}-{number}", f"system-{random.randrange(40)}"
            while True:
                allowed, versions = may_reach(systems, system), dict(known)
                event = json.dumps({"call": call, "system": system, "allowed": allowed}).encode()
                missing = await engine.append(Append(versions, [(TASK, event), (ACCOUNT, call.encode())]))
                if not missing:
                    done.append((versions[TASK] + 1, call))
                    break
                # Another caller of this process may have learned some of these events meanwhile.
                news = {log: found[known[log] - versions[log] :] for log, found in missing.items()}
                known = {log: version + len(news.get(log, ())) for log, version in known.items()}
                for found in map(json.loads, news.get(TASK, ())):
                    systems |= {found["system"]} if found["allowed"] else set()

    await asyncio.gather(*(call_again_and_again() for _ in range(CALLERS)))
    engine.close()
    return done


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(decide(sys.argv[1], sys.argv[2], int(sys.argv[3])))))
