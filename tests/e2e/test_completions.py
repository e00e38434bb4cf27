"""Completions through a real gateway, of a real client and a real server of the Python SDK: each is decided as a call is."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeAlias

import httpx2
import mcp_types as types
import pytest
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

from tests.e2e.desk import KEY
from tests.e2e.systems import Agent, Servers, agent
from tests.e2e.wire import entries, until
from tests.gateway_process import GatewayProcess, open_policy, running_gateway
from tests.requirements import requirement
from tests.servers.serving import ServerProcess, running

TRAVEL = types.PromptReference(name="travel")
TRIP = types.ResourceTemplateReference(uri="trip://{from}/{to}")

Opens: TypeAlias = Callable[[Agent], AbstractAsyncContextManager[Client]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[ServerProcess]:
    with running("tests.servers.completing", tmp_path_factory.mktemp("completing") / "server.log") as found:
        yield found


@pytest.fixture(scope="module")
def one(server: ServerProcess, systems: Servers, tmp_path_factory: pytest.TempPathFactory) -> Generator[GatewayProcess]:
    """The systems of the desk, and the server that completes."""
    folder = tmp_path_factory.mktemp("gateway")
    config = systems.config(open_policy(folder))
    with running_gateway(
        config.replace("upstreams:\n", f"upstreams:\n  travel: {{url: '{server.mcp}', audience: travel}}\n"), folder
    ) as found:
        yield found


@pytest.fixture(params=["legacy", "2026-07-28"])
def opens(request: pytest.FixtureRequest) -> Opens:
    """A client of the SDK for what completes, on either wire."""

    @asynccontextmanager
    async def client(ada: Agent) -> AsyncGenerator[Client]:
        async with (
            httpx2.AsyncClient(headers=dict(ada.headers), timeout=300) as http,
            Client(streamable_http_client(ada.gateway.mcp("travel"), http_client=http), mode=request.param) as found,
        ):
            yield found

    return client


def code(error: MCPError) -> str:
    data: Any = error.error.data
    return data["io.opagate/decision"]["reasons"][0]["code"]


@requirement("mcp/completions")
async def test_what_may_be_used_is_completed_and_counted(one: GatewayProcess, systems: Servers, opens: Opens):
    ada = agent(one, systems)
    async with opens(ada) as client:
        first = await client.complete(TRAVEL, {"name": "to", "value": "par"})
        second = await client.complete(TRIP, {"name": "to", "value": "po"}, context_arguments={"from": "paris"})

    assert first.completion.values == ["paris", "parma"]
    assert second.completion.values == ["porto"]
    found = [entry for entry in entries(one.folder, "call") if entry["action"] == "completion/complete"][-2:]
    assert [entry["target"]["id"] for entry in found] == ["travel/travel", "travel/trip://{from}/{to}"]
    assert found[0]["task"]["id"] == found[1]["task"]["id"]
    assert [entry["history"]["number"] for entry in found] == [1, 2]
    asked = {entry["id"] for entry in found}
    until(lambda: asked <= {entry["id"] for entry in entries(one.folder, "settled")})


@requirement("mcp/completions", "history/credentials")
@pytest.mark.parametrize("place", ["value", "context"])
async def test_a_credential_of_another_system_is_not_completed(
    one: GatewayProcess, systems: Servers, server: ServerProcess, opens: Opens, place: str
):
    ada = agent(one, systems)
    ada.passes("crm", "read", page="key")
    argument = {"name": "to", "value": KEY if place == "value" else ""}
    more = {} if place == "value" else {"context_arguments": {"from": KEY}}
    async with opens(ada) as client:
        with pytest.raises(MCPError) as refused:
            await client.complete(TRAVEL, argument, **more)
        await client.complete(TRAVEL, {"name": "to", "value": f"after-{ada.headers['authorization'][-8:]}"})

    assert code(refused.value) == "credential-chain/presentation"
    printed = server.log.read_text("utf-8")
    assert f"completed: after-{ada.headers['authorization'][-8:]}" in printed
    assert KEY not in printed
    assert [entry["effect"] for entry in entries(one.folder, "call")[-2:]] == ["ask", "allow"]
    assert KEY not in json.dumps(entries(one.folder))


@requirement("mcp/completions", "history/contract")
async def test_a_task_completes_only_what_its_contract_names(one: GatewayProcess, systems: Servers, opens: Opens):
    ada = agent(one, systems).declare(contract={"tools": ["travel/trip:*"]})
    async with opens(ada) as client:
        await client.complete(TRIP, {"name": "to", "value": "par"})
        with pytest.raises(MCPError) as refused:
            await client.complete(TRAVEL, {"name": "to", "value": "par"})

    assert code(refused.value) == "contract/tool"


@requirement("mcp/completions", "history/fan-out")
async def test_a_completion_reaches_no_further_than_a_call(one: GatewayProcess, systems: Servers, opens: Opens):
    """One system more than a task may reach without a person."""
    ada = agent(one, systems)
    ada.reads("crm", "billing", "chat")
    async with opens(ada) as client:
        with pytest.raises(MCPError) as refused:
            await client.complete(TRAVEL, {"name": "to", "value": "par"})

    assert code(refused.value) == "fan-out/audiences"
