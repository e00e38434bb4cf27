"""The cost of a call beside what grows: processor time of one call in this process, with one, a hundred and ten thousand of a thing.

The gateway is the real one, and an upstream answers at once. The call is the call of users: with a token, and a history of untrusted and
confidential data.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from string import ascii_letters, digits
from typing import Any, Final, TypeAlias

import uvloop

from benchmarks.gateway.approvals import held_calls
from benchmarks.gateway.measured_calls import CHEAPEST, OF_USERS, Client, open_client
from gateway.model.caller import AuthMethod, Principal

Call: TypeAlias = Callable[[], Awaitable[None]]
_GRANT: Final = {"agents": ["*"], "issuers": ["*"], "sensitivity": "confidential"}
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
    lists, sizes = (few, some, min(many, 4_000)), (64, 6_400, 204_800)
    fewer = (few, some, many // 10)
    made: tuple[tuple[str, Callable[[Path, int], Any], tuple[int, int, int], float, bool], ...] = (
        ("live tokens of callers", _beside_tokens, counts, 1.2, True),
        ("live secrets of the gateway", _beside_secrets, counts, 1.2, True),
        ("grants on the upstream, for other agents", _beside_grants, counts, 1.2, True),
        ("grants on the upstream, for other tools", _beside_grants_of_tools, counts, 1.2, True),
        ("agents that have called", _beside_agents, counts, 1.2, True),
        ("tasks of other callers", _beside_tasks, counts, 1.2, True),
        ("held calls of other agents", held_calls, fewer, 1.2, True),
        ("tools in a list", _list_of, lists, 1.0, False),
        ("bytes of a result", _result_of, sizes, 3.5, False),
    )
    found: list[Growth] = []
    for thing, make, each, most, is_factor in made:
        costs: dict[int, float] = {}
        for count in each:
            async with make(folder / f"{len(found)}-{count}", count) as call:
                costs[count] = await _time(call)
        found.append(Growth(thing, costs, most, is_factor))
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


@asynccontextmanager
async def _client_beside(
    folder: Path, count: int, add: Callable[[Client, int], Awaitable[None]]
) -> AsyncGenerator[Call]:
    async with open_client(folder, OF_USERS) as client:
        await add(client, count)
        yield await client.prepare()


def _secrets(count: int) -> list[str]:
    random = Random(count)
    return ["".join(random.choices(ascii_letters + digits, k=86)) for _ in range(count)]


def _beside_tokens(folder: Path, count: int) -> Any:
    async def add(client: Client, count: int) -> None:
        for number, secret in enumerate(_secrets(count)):
            client.gateway.caller_tokens.take(f"caller-{number // 4}", [f"Bearer a.b.{secret}"], time.time())

    return _client_beside(folder, count, add)


def _beside_secrets(folder: Path, count: int) -> Any:
    async def add(client: Client, count: int) -> None:
        for number, secret in enumerate(_secrets(count)):
            client.gateway.live.hold(f"lease-{number}", [secret], "https://crm.example")

    return _client_beside(folder, count, add)


def _beside_tasks(folder: Path, count: int) -> Any:
    async def add(client: Client, count: int) -> None:
        for number in range(count):
            other = Principal(f"agent-{number}", "https://idp.example", AuthMethod.JWT)
            client.gateway.history.tasks.open_implicit(other, time.time())

    return _client_beside(folder, count, add)


def _beside_agents(folder: Path, count: int) -> Any:
    async def add(client: Client, count: int) -> None:
        for number in range(count):
            call = await client.of_agent(f"agent-{number}").prepare()
            await call()

    return _client_beside(folder, count, add)


@asynccontextmanager
async def _granted(folder: Path, others: list[dict[str, Any]]) -> AsyncGenerator[Call]:
    own = [_GRANT | {"id": name, "tools": ["read_*"]} for name in ("files", "mail")]
    grants = json.dumps({"upstreams": {"files": [*others, own[0]], "mail": [own[1]]}}, indent=0)
    async with open_client(folder, OF_USERS, grants) as client:
        yield await client.prepare()


def _beside_grants(folder: Path, count: int) -> Any:
    return _granted(
        folder,
        [
            _GRANT | {"id": f"g{number}", "agents": [f"a{number}"], "tools": ["read_file"]}
            for number in range(count - 1)
        ],
    )


def _beside_grants_of_tools(folder: Path, count: int) -> Any:
    return _granted(folder, [_GRANT | {"id": f"g{number}", "tools": [f"t{number}"]} for number in range(count - 1)])


@asynccontextmanager
async def _list_of(folder: Path, count: int) -> AsyncGenerator[Call]:
    tools = [
        {"name": f"read_{number}", "description": "Read a file of the project.", "inputSchema": _SCHEMA}
        for number in range(count)
    ]
    async with open_client(folder, CHEAPEST) as client:
        yield client.list_tools(tools)


@asynccontextmanager
async def _result_of(folder: Path, size: int) -> AsyncGenerator[Call]:
    async with open_client(folder, OF_USERS) as client:
        yield await client.prepare_result(size)
