"""The cost of a call beside what grows: processor time of one call in this process, with one, a hundred and more of a thing.

The gateway is the real one, and an upstream answers at once. The call is the call of users: with a token, and a history of untrusted and
confidential data.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from string import ascii_letters, digits
from typing import Any, Final, TypeAlias

import uvloop

from benchmarks.gateway.approvals import held_calls
from benchmarks.gateway.measured_calls import OF_USERS, Client, open_client
from gateway.model.caller import AuthMethod, Principal

Call: TypeAlias = Callable[[], Awaitable[None]]
_SCHEMA: Final = {"type": "object", "properties": {"path": {"type": "string", "description": "The path of the file"}}}
_BATCHES: Final = 7
HEAD: Final = """\
# The cost of growth

    make bench ARGS=growth             # prints the table; some minutes
    make bench ARGS="growth --write"   # writes this page

Milliseconds of processor time for one call in one process, with an upstream that answers at once: the least of several batches. The call has
a token and a history of untrusted and confidential data. The goal compares the largest figure with the smallest.

| what grows | count | ms | count | ms | count | ms | largest / smallest | goal |
|---|---:|---:|---:|---:|---:|---:|---:|---|"""


@dataclass(frozen=True, slots=True)
class Growth:
    """The milliseconds of a call by the count of a thing, and the goal: a factor, or milliseconds at the largest count."""

    thing: str
    found: Mapping[int, float]
    most: float
    is_factor: bool = True

    @property
    def factor(self) -> float:
        """Return the largest figure in units of the smallest."""
        return max(self.found.values()) / min(self.found.values())

    def row(self) -> str:
        """Return the figures as a row of the table."""
        counts = " | ".join(f"{count:,} | {cost:.2f}" for count, cost in self.found.items())
        goal = f"≤ {self.most:g} times" if self.is_factor else f"≤ {self.most:g} ms"
        return f"| {self.thing} | {counts} | {self.factor:.2f} | {goal} |"

    def is_within_goal(self) -> bool:
        """Return whether the figures reach the goal."""
        return (self.factor if self.is_factor else max(self.found.values())) <= self.most


def growth(folder: Path, *, quick: bool) -> list[Growth]:
    """Measure everything in `folder`."""
    return uvloop.run(_measure(folder, (1, 100, 1_000 if quick else 10_000)))


def page(found: list[Growth]) -> str:
    """Return the page."""
    return "\n".join([HEAD, *(each.row() for each in found)])


async def _measure(folder: Path, counts: tuple[int, int, int]) -> list[Growth]:
    few, some, many = counts
    async with open_client(folder / "one", OF_USERS) as client:
        found = [
            Growth("bytes of a result", await _results(client, (64, 6_400, 204_800)), 3.5, is_factor=False),
            Growth("tools in a list", await _lists(client, (few, some, min(many, 4_000))), 1.0, is_factor=False),
        ]
        beside: dict[str, Callable[[Client, range], Awaitable[None]]] = {
            "live tokens of callers": _add_tokens,
            "live secrets of the gateway": _add_secrets,
            "tasks of other callers": _add_tasks,
            "agents that have called": _add_agents,
        }
        for thing, add in beside.items():
            found.append(Growth(thing, await _beside(client, add, counts), 1.2))
    for thing, grant in (("agents", _grant_of_agent), ("tools", _grant_of_tool)):
        costs = {
            count: await _granted(folder / f"{thing}-{count}", grant, count) for count in (few, some, min(many, 1_000))
        }
        found.append(Growth(f"grants on the upstream, for other {thing}", costs, 1.2))
    async with held_calls(folder / "held") as (hold, call):
        costs, held = dict[int, float](), 0
        for count in (few, some, many // 10):
            await hold(range(held, count))
            held, costs[count] = count, await _time(call)
        found.append(Growth("held calls of other agents", costs, 1.2))
    return found


async def _time(call: Call) -> float:
    """Return milliseconds of processor time of a call, in the best batch."""
    begun = time.process_time()
    for _ in range(3):
        await call()
    calls = max(2, min(100, round(0.9 / max(1e-4, time.process_time() - begun))))
    best = float("inf")
    for _ in range(_BATCHES):
        begun = time.process_time()
        for _ in range(calls):
            await call()
        best = min(best, (time.process_time() - begun) / calls)
        await asyncio.sleep(0)
    return best * 1e3


# --- what grows --------------------------------------------------------------------------------------


async def _results(client: Client, sizes: tuple[int, ...]) -> dict[int, float]:
    return {size: await _time(await client.prepare_result(size)) for size in sizes}


async def _lists(client: Client, counts: tuple[int, ...]) -> dict[int, float]:
    tools = [
        {"name": f"read_{number}", "description": "Read a file of the project.", "inputSchema": _SCHEMA}
        for number in range(max(counts))
    ]
    return {count: await _time(client.list_tools(tools[:count])) for count in counts}


async def _beside(
    client: Client, add: Callable[[Client, range], Awaitable[None]], counts: tuple[int, ...]
) -> dict[int, float]:
    """Return the cost of a call beside so many things, which are added between."""
    call, costs, present = await client.prepare(), dict[int, float](), 0
    for count in counts:
        await add(client, range(present, count))
        present, costs[count] = count, await _time(call)
    return costs


def _secret(number: int) -> str:
    return "".join(Random(number).choices(ascii_letters + digits, k=86))


async def _add_tokens(client: Client, numbers: range) -> None:
    for number in numbers:
        client.gateway.caller_tokens.take(f"caller-{number // 4}", [f"Bearer a.b.{_secret(number)}"], time.time())


async def _add_secrets(client: Client, numbers: range) -> None:
    for number in numbers:
        client.gateway.live.hold(f"lease-{number}", [_secret(-1 - number)], "https://crm.example")


async def _add_tasks(client: Client, numbers: range) -> None:
    for number in numbers:
        other = Principal(f"other-{number}", "https://idp.example", AuthMethod.JWT)
        client.gateway.history.tasks.open_implicit(other, time.time())


async def _add_agents(client: Client, numbers: range) -> None:
    for number in numbers:
        call = await client.of_agent(f"agent-{number}").prepare()
        await call()


def _grant_of_agent(number: int) -> dict[str, Any]:
    return {"id": f"g{number}", "agents": [f"a{number}"], "issuers": ["*"], "tools": ["read_file"]}


def _grant_of_tool(number: int) -> dict[str, Any]:
    return {"id": f"g{number}", "agents": ["*"], "issuers": ["*"], "tools": [f"t{number}"]}


async def _granted(folder: Path, grant: Callable[[int], dict[str, Any]], count: int) -> float:
    """Return the cost of a call that the last of so many grants allows."""
    own = {"agents": ["*"], "issuers": ["*"], "tools": ["read_*"], "sensitivity": "confidential"}
    files = [*map(grant, range(count - 1)), own | {"id": "files"}]
    grants = json.dumps({"upstreams": {"files": files, "mail": [own | {"id": "mail"}]}}, indent=0)
    async with open_client(folder, OF_USERS, grants) as client:
        return await _time(await client.prepare())
