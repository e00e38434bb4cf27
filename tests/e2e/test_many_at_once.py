"""Hundreds of calls of one task at once, through a real gateway and to real servers: none passes a limit.

Calls that are refused count too, so after 50 of them a person would be asked about the others (`budget/denials`).
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.e2e.systems import Agent, Servers, agent, many
from tests.e2e.wire import JSON, call
from tests.gateway_process import GatewayProcess, open_policy, running_gateway
from tests.requirements import requirement

CALLS = 300
MOST = 1_000
ROOM = "limits: {in_flight: 1200, in_flight_per_caller: 1200, connect: 60s, first_byte: 120s}\n"
SEVEN = ("crm", "billing", "chat", "files", "search", "tickets", "vault")


@dataclass(frozen=True, slots=True)
class Back:
    """What came of one call."""

    system: str
    effect: str
    codes: frozenset[str]


@pytest.fixture(scope="module")
def crowded(systems: Servers, tmp_path_factory: pytest.TempPathFactory) -> Generator[GatewayProcess]:
    """The shipped limits of a task, but for the number of calls that it may have open."""
    folder: Path = tmp_path_factory.mktemp("crowded")
    policy = open_policy(folder)
    settings = policy / "gateway/settings/data.yaml"
    text = settings.read_text("utf-8")
    assert text.count("  in_flight: {soft: 256, hard: 2560}") == 1
    settings.write_text(text.replace("  in_flight: {soft: 256, hard: 2560}", "  in_flight: {soft: 2000, hard: 2560}"))
    with running_gateway(systems.config(policy, ROOM), folder) as found:
        yield found


async def at_once(
    who: Agent, calls: list[tuple[str, str, dict[str, Any]]], renewed: Callable[[], dict[str, str]] = dict
) -> list[Back]:
    """Make all calls, on as many connections. `renewed` gives the headers of each call in the place of the agent's."""
    begun = asyncio.Event()
    limits = httpx2.Limits(max_connections=len(calls))
    async with httpx2.AsyncClient(headers={**JSON, **who.headers}, limits=limits, timeout=300) as http:

        async def one(system: str, tool: str, arguments: dict[str, Any]) -> Back:
            sent = call(tool, **arguments)
            headers = {**sent.headers, **renewed()}
            await begun.wait()
            answer = await http.post(who.gateway.mcp(system), content=sent.body, headers=headers)
            assert answer.status_code == 200, answer.content
            result = json.loads(answer.content)["result"]
            decision = result.get("_meta", {}).get("io.opagate/decision")
            if decision is None:
                return Back(system, "allow", frozenset())
            return Back(system, decision["effect"], frozenset(reason["code"] for reason in decision["reasons"]))

        waiting = [asyncio.ensure_future(one(*each)) for each in calls]
        begun.set()
        return await asyncio.gather(*waiting)


def arrived(systems: Servers) -> Counter[str]:
    return Counter(call.system for call in systems.take())


@requirement("history/fan-out", "invariant/9")
async def test_a_thousand_calls_reach_no_more_systems_than_a_task_may(crowded: GatewayProcess, systems: Servers):
    task = agent(crowded, systems).declare(contract={"limits": {"audiences": 4, "audiences_in_window": 5}})
    systems.take()
    backs = await at_once(task, [(SEVEN[number % len(SEVEN)], "read", {}) for number in range(MOST)])
    passed, refused = (
        [back for back in backs if back.effect == "allow"],
        [back for back in backs if back.effect != "allow"],
    )

    assert arrived(systems) == Counter(back.system for back in passed)
    assert 1 <= len({back.system for back in passed}) <= 4
    codes = {code for back in refused for code in back.codes}
    assert "fan-out/audiences" in codes
    assert codes <= {"fan-out/audiences", "fan-out/burst", "budget/denials", "approval/unavailable"}
    done = task.tasks(f"/{task.task}", "GET")[1]["done"]
    denied = [back for back in refused if "approval/unavailable" not in back.codes]
    assert (done["calls"], done["denials"], done["in_flight"]) == (len(passed), len(denied), 0)


@requirement("history/fan-out", "history/implicit", "invariant/9")
async def test_calls_with_a_token_each_reach_no_more_systems_than_one_token(crowded: GatewayProcess, systems: Servers):
    def renewed() -> dict[str, str]:
        return dict(agent(crowded, systems, "renewing").headers)

    ada = agent(crowded, systems, "renewing")
    systems.take()
    backs = await at_once(ada, [(SEVEN[number % len(SEVEN)], "read", {}) for number in range(CALLS)], renewed)
    passed = [back for back in backs if back.effect == "allow"]

    assert arrived(systems) == Counter(back.system for back in passed)
    assert 1 <= len({back.system for back in passed}) <= 3
    codes = {code for back in backs for code in back.codes}
    assert "fan-out/audiences" in codes
    assert codes <= {"fan-out/audiences", "fan-out/burst", "budget/denials", "approval/unavailable"}


@requirement("history/fan-out", "invariant/9")
async def test_hundreds_of_calls_send_to_no_more_destinations_than_a_task_may(
    crowded: GatewayProcess, systems: Servers
):
    task = agent(crowded, systems).declare(contract={"limits": {"destinations": 7}})
    people = many("corp.example", CALLS // 2)
    systems.take()
    backs = await at_once(task, [("mail", "send", {"to": people[number % len(people)]}) for number in range(CALLS)])

    sent = {call.arguments["to"] for call in systems.take()}
    assert 1 <= len(sent) <= 7
    assert sum(back.effect == "allow" for back in backs) <= 14
    refused = {code for back in backs for code in back.codes}
    assert "fan-out/destinations" in refused
    assert refused <= {"fan-out/destinations", "budget/denials", "approval/unavailable"}
