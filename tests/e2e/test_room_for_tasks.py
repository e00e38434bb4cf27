"""What declared tasks cost, through a real gateway: nobody takes the room of others with them."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.systems import Agent, Servers, agent
from tests.gateway_process import GatewayProcess, open_policy, running_gateway
from tests.requirements import requirement

ROOM = "history: {tasks: 64, tasks_per_caller: 64, declarations: 1MiB, declarations_per_caller: 64KiB}"


@pytest.fixture
def small(systems: Servers, tmp_path: Path) -> Generator[GatewayProcess]:
    """A gateway with room for 64 tasks."""
    with running_gateway(systems.config(open_policy(tmp_path), ROOM), tmp_path) as found:
        yield found


def declare_all(callers: Iterable[Agent], **declared: Any) -> int:
    """Declare a task for each caller, until one is refused for want of room. Returns how many were not."""
    count = 0
    for count, caller in enumerate(callers):
        status, answer = caller.tasks("", expires_in=86_400, **declared)
        if status != 201:
            assert (status, answer["error"]["code"]) == (503, "history/full"), answer
            return count
    raise AssertionError(f"{count} tasks were declared, and there was room for more")


@requirement("history/room")
def test_a_caller_that_fills_the_room_locks_nobody_out(small: GatewayProcess, systems: Servers):
    hoarder = agent(small, systems, "hoarder")

    assert declare_all([hoarder] * 65) == 48
    for number in range(10):
        newcomer = agent(small, systems, f"newcomer-{number}")
        newcomer.reads("crm")
    agent(small, systems, "declaring").declare().reads("crm")


@requirement("history/room")
def test_an_agent_with_any_number_of_users_locks_nobody_out(small: GatewayProcess, systems: Servers):
    users = (agent(small, systems, "shared", user=f"user-{number}") for number in range(65))

    assert declare_all(users) == 48
    agent(small, systems, "other", user="somebody").reads("crm")


@requirement("history/room")
def test_a_user_with_any_number_of_agents_locks_nobody_out(small: GatewayProcess, systems: Servers):
    agents = (agent(small, systems, f"agent-{number}", user="mallory") for number in range(65))

    assert declare_all(agents) == 48
    agent(small, systems, "other", user="somebody").reads("crm")


@requirement("history/room")
def test_a_caller_declares_no_more_than_its_share_of_bytes(small: GatewayProcess, systems: Servers):
    ada = agent(small, systems, "ada")
    destinations = [f"person-{number}@corp.example" for number in range(100)]

    assert declare_all([ada] * 65, contract={"destinations": destinations}) == 1
    ada.reads("crm")
    ada.declare(goal="A short one").reads("crm")
    agent(small, systems, "bob").declare(contract={"destinations": destinations})


@requirement("history/room")
def test_a_declaration_is_short_and_holds_few_credentials(small: GatewayProcess, systems: Servers):
    ada = agent(small, systems, "ada")
    long = ada.tasks("", contract={"tools": ["x" * 500] * 33})
    many = ada.tasks("", goal=" ".join(f"password=Zx9-{number}!kQ7vLm2pRw" for number in range(17)))

    for status, answer in (long, many):
        assert (status, answer["error"]["code"]) == (400, "task/invalid"), answer
    assert "16 KiB" in json.dumps(long[1])
    assert "16 credentials" in json.dumps(many[1])
