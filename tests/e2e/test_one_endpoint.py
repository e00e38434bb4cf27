"""The one endpoint `/mcp`: several upstreams as one server, in both eras."""

from __future__ import annotations

from typing import Any

import mcp_types as types
import pytest
from mcp.client import Client

from tests.e2e.wire import Caller, caller, legacy, stateless
from tests.gateway_process import GatewayProcess

MODES = ["legacy", "2026-07-28"]


def url(gateway: GatewayProcess) -> str:
    return f"{gateway.origin}/mcp"


async def list_tools(client: Client) -> list[str]:
    """The names in the list once all three upstreams are in it: on a busy machine one may come late."""
    for _ in range(10):
        names = [tool.name for tool in (await client.list_tools()).tools]
        if len({name.partition("__")[0] for name in names}) == 3:
            return names
    return []


@pytest.mark.parametrize("mode", [*MODES, "auto"])
async def test_the_tools_of_all_upstreams_are_listed_and_called(gateway: GatewayProcess, mode: str):
    async with Client(url(gateway), mode=mode) as client:
        names = await list_tools(client)
        result = await client.call_tool("everything__test_simple_text", {})
        echoed = await client.call_tool("echo__echo", {"text": "hello"})

    assert {name.partition("__")[0] for name in names} == {"echo", "everything", "handles"}
    assert names == sorted(names, key=lambda name: name.partition("__")[0])
    assert "simple text" in str(result)
    assert "hello" in str(echoed)


@pytest.mark.parametrize("mode", MODES)
async def test_resources_and_prompts_have_the_names_of_the_endpoint(gateway: GatewayProcess, mode: str):
    async with Client(url(gateway), mode=mode) as client:
        uris = [str(item.uri) for item in (await client.list_resources()).resources]
        read = await client.read_resource("opagate:everything:test://static-text")
        prompts = [item.name for item in (await client.list_prompts()).prompts]
        prompt = await client.get_prompt("everything__test_simple_prompt")
        embedded = await client.call_tool("everything__test_embedded_resource", {})

    assert "opagate:everything:test://static-text" in uris
    assert [str(item.uri) for item in read.contents] == ["opagate:everything:test://static-text"]
    assert "everything__test_simple_prompt" in prompts
    assert prompt.messages
    assert "opagate:everything:test://" in str(embedded)


@pytest.mark.parametrize("mode", MODES)
async def test_progress_reaches_the_client(gateway: GatewayProcess, mode: str):
    reports: list[float] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        reports.append(progress)

    async with Client(url(gateway), mode=mode) as client:
        await client.call_tool("everything__test_tool_with_progress", {}, progress_callback=note)

    assert reports == [0, 50, 100]


@pytest.mark.parametrize(
    ("mode", "tool"), [("legacy", "test_sampling"), ("2026-07-28", "test_input_required_result_sampling")]
)
async def test_a_server_asks_the_clients_model(gateway: GatewayProcess, mode: str, tool: str):
    async def sample(context: Any, params: types.CreateMessageRequestParams) -> types.CreateMessageResult:
        content = types.TextContent(type="text", text="Paris")
        return types.CreateMessageResult(role="assistant", content=content, model="none")

    async with Client(url(gateway), mode=mode, sampling_callback=sample) as client:
        result = await client.call_tool(f"everything__{tool}", {"prompt": "capital?"} if mode == "legacy" else {})

    assert "Paris" in str(result)


@pytest.mark.parametrize("era", [legacy, stateless])
def test_a_caller_without_a_grant_sees_and_reaches_nothing(gateway: GatewayProcess, era: Any):
    stranger = caller(gateway, "stranger", "")
    if era is legacy:
        opened = stranger.ask(legacy("initialize", protocolVersion="2025-11-25", capabilities={}, clientInfo={}))
        stranger = Caller(gateway, "", {**stranger.headers, "mcp-session-id": opened.headers["mcp-session-id"]})

    assert stranger.ask(era("tools/list")).json["result"]["tools"] == []
    refused = stranger.ask(era("tools/call", name="echo__echo", arguments={"text": "x"}))
    assert "grant" in str(refused.json)


def test_an_unknown_name_is_refused(gateway: GatewayProcess):
    refused = caller(gateway, "alice", "").ask(stateless("tools/call", name="nowhere__echo", arguments={}))
    assert refused.codes == ["request/name"]
