"""Real MCP servers over stdio, behind the interface of an HTTP upstream, in both protocol eras."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import uvloop

from gateway.config import Limits, Upstream
from gateway.model.wire import Era
from gateway.upstreams.stdio import StdioUpstream
from gateway.upstreams.stdio.pool import POOL_SIZE
from tests.unit.upstreams.stdio.driving import Client, Make, body_of, events_of, is_stream, json_of

BIN = Path(sys.executable).parent
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}


async def handshake(upstream: StdioUpstream, **capabilities: Any) -> Client:
    """A client that has done what a 2025-11-25 client does first."""
    client = Client(upstream)
    params = {
        "protocolVersion": "2025-11-25",
        "capabilities": capabilities,
        "clientInfo": {"name": "test", "version": "1"},
    }
    reply = await client.post({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params})
    client.session = dict(reply.headers)[b"mcp-session-id"].decode()
    await body_of(reply)
    client.headers = ((b"mcp-protocol-version", b"2025-11-25"),)
    told = await client.post({"jsonrpc": "2.0", "method": "notifications/initialized"})
    assert told.status == 202
    return client


async def ask(client: Client, request: int, method: str, **params: Any) -> dict[str, Any]:
    """The response to a request, and in which form it came does not matter."""
    if client.era is Era.STATELESS:
        params["_meta"] = META | params.get("_meta", {})
    reply = await client.post({"jsonrpc": "2.0", "id": request, "method": method, "params": params})
    if not is_stream(reply):
        return await json_of(reply)
    return next(m for _, m in events_of(await body_of(reply)) if m is not None and m.get("id") == request)


async def tool(client: Client, request: int, name: str, **arguments: Any) -> dict[str, Any]:
    return (await ask(client, request, "tools/call", name=name, arguments=arguments))["result"]


async def names(client: Client) -> set[str]:
    return {item["name"] for item in (await ask(client, 1, "tools/list"))["result"]["tools"]}


async def both_eras(upstream: StdioUpstream) -> None:
    for client in (await handshake(upstream), Client(upstream, era=Era.STATELESS)):
        assert {"get_current_time", "convert_time"} <= await names(client)
        result = await tool(client, 2, "get_current_time", timezone="Europe/Zurich")
        assert not result.get("isError")
        assert "Europe/Zurich" in result["content"][0]["text"]


async def test_the_time_server_in_both_eras(make: Make):
    await both_eras(make(str(BIN / "mcp-server-time")))


def test_the_time_server_on_uvloop():
    async def scenario() -> None:
        settings = Upstream.model_validate({"command": (str(BIN / "mcp-server-time"),), "audience": "time"})
        upstream = StdioUpstream("time", settings, Limits(), clock=time.monotonic, new_id=lambda: "session")
        try:
            await both_eras(upstream)
        finally:
            await upstream.aclose()
        assert upstream.status().processes == 0

    uvloop.run(scenario())


async def test_the_git_server_in_both_eras(make: Make, tmp_path: Path):
    process = await asyncio.create_subprocess_exec("git", "init", "-q", str(tmp_path))
    assert await process.wait() == 0
    (tmp_path / "new.txt").write_text("new")
    upstream = make(str(BIN / "mcp-server-git"), "--repository", str(tmp_path))

    for client in (await handshake(upstream), Client(upstream, era=Era.STATELESS)):
        assert "new.txt" in (await tool(client, 2, "git_status", repo_path=str(tmp_path)))["content"][0]["text"]


async def test_a_modern_server_tells_what_it_speaks(make: Make):
    client = Client(make(str(BIN / "mcp-server-time")), era=Era.STATELESS)

    assert "2026-07-28" in (await ask(client, 1, "server/discover"))["result"]["supportedVersions"]


async def test_an_unknown_method_is_404_with_the_servers_own_error(make: Make):
    client = Client(make(str(BIN / "mcp-server-time")), era=Era.STATELESS)

    reply = await client.post({"jsonrpc": "2.0", "id": 1, "method": "no/such", "params": {"_meta": META}})

    assert (reply.status, (await json_of(reply))["error"]["code"]) == (404, -32601)


async def test_forty_clients_of_one_principal_with_the_same_ids_do_not_mix(make: Make):
    upstream = make(str(BIN / "mcp-server-time"))
    zones = ["Europe/Zurich", "Asia/Tokyo", "America/Lima", "UTC"] * 10
    await Client(upstream, era=Era.STATELESS).post(
        {"jsonrpc": "2.0", "id": 0, "method": "server/discover", "params": {"_meta": META}}
    )

    async def one(number: int, zone: str) -> None:
        client = Client(upstream, era=Era.STATELESS)
        result = await tool(client, number % 10, "get_current_time", timezone=zone)
        assert f'"{zone}"' in result["content"][0]["text"]

    await asyncio.gather(*(one(number // 4, zone) for number, zone in enumerate(zones)))

    assert 1 <= upstream.status().processes <= POOL_SIZE


# --- servers in Node, which speak the handshake era only -------------------------------------------------


def node_server(node_path: Path, node_modules: Path, name: str) -> tuple[str, str]:
    return str(node_path), str(node_modules / f"@modelcontextprotocol/{name}/dist/index.js")


@pytest.fixture
def everything(make: Make, node_path: Path, node_modules: Path) -> StdioUpstream:
    return make(*node_server(node_path, node_modules, "server-everything"))


@pytest.mark.node
async def test_a_handshake_only_server_says_so_and_the_client_can_fall_back(everything: StdioUpstream):
    probe = Client(everything, era=Era.STATELESS)
    reply = await probe.post({"jsonrpc": "2.0", "id": 1, "method": "server/discover", "params": {"_meta": META}})
    assert (reply.status, (await json_of(reply))["error"]["code"]) == (404, -32601)

    client = await handshake(everything)

    assert "echo" in await names(client)
    assert (await tool(client, 2, "echo", message="hello"))["content"][0]["text"] == "Echo: hello"


@pytest.mark.node
async def test_progress_of_a_long_call_comes_on_its_stream_in_order(everything: StdioUpstream):
    client = await handshake(everything)
    await ask(client, 1, "tools/list")
    params = {
        "name": "trigger-long-running-operation",
        "arguments": {"duration": 0.3, "steps": 3},
        "_meta": {"progressToken": "p"},
    }

    reply = await client.post({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params})

    messages = [message for _, message in events_of(await body_of(reply)) if message is not None]
    progress = [m["params"]["progress"] for m in messages if m.get("method") == "notifications/progress"]
    assert progress == [1, 2, 3]
    assert messages[-1]["id"] == 2


@pytest.mark.node
async def test_a_call_goes_on_without_its_connection_and_is_resumed(everything: StdioUpstream):
    client = await handshake(everything)
    await ask(client, 1, "tools/list")
    params = {
        "name": "trigger-long-running-operation",
        "arguments": {"duration": 0.6, "steps": 3},
        "_meta": {"progressToken": "p"},
    }
    reply = await client.post({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params})
    seen = events_of(await anext(reply.chunks))
    await reply.close()

    rest = events_of(await body_of(await client.get(seen[-1][0])))

    progress = [m["params"]["progress"] for _, m in seen + rest if m and m.get("method") == "notifications/progress"]
    assert progress == [1, 2, 3]
    assert rest[-1][1]["id"] == 2


@pytest.mark.node
async def test_a_server_can_ask_its_client(everything: StdioUpstream):
    client = await handshake(everything, sampling={})
    assert "trigger-sampling-request" in await names(client)
    params = {"name": "trigger-sampling-request", "arguments": {"prompt": "Say it", "maxTokens": 5}}
    reply = await client.post({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params})

    asked = None
    while asked is None:
        asked = next((m for _, m in events_of(await anext(reply.chunks)) if m and "id" in m), None)
    assert asked["method"] == "sampling/createMessage"
    answer = {"role": "assistant", "content": {"type": "text", "text": "It."}, "model": "m", "stopReason": "endTurn"}
    told = await client.post({"jsonrpc": "2.0", "id": asked["id"], "result": answer})

    assert told.status == 202
    final = events_of(await body_of(reply))[-1][1]
    assert final["id"] == 2
    assert "It." in str(final["result"]["content"])


@pytest.mark.node
async def test_the_filesystem_server_reads_what_it_may_and_nothing_else(
    make: Make, node_path: Path, node_modules: Path, tmp_path: Path
):
    (tmp_path / "a.txt").write_text("häßlich\n" * 100_000)
    client = await handshake(make(*node_server(node_path, node_modules, "server-filesystem"), str(tmp_path)))

    inside = await tool(client, 1, "read_text_file", path=str(tmp_path / "a.txt"))
    outside = await tool(client, 2, "read_text_file", path="/etc/hostname")

    assert inside["content"][0]["text"] == "häßlich\n" * 100_000
    assert outside["isError"]
