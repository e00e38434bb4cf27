"""A policy, or pins, that change while clients listen, on both wires: they hear that lists may show something else, and
list anew."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client

from tests.e2e.wire import token
from tests.gateway_process import ANYONE_ANYTHING, GatewayProcess
from tests.requirements import requirement
from tests.servers.serving import ServerProcess
from tests.servers.shifting import say


class Listener:
    """A client that listens."""

    def __init__(self, client: Client, heard: asyncio.Queue[str]) -> None:
        self._client = client
        self._heard = heard

    async def tools(self) -> list[str]:
        return [tool.name for tool in (await self._client.list_tools()).tools]

    async def hears_of_tools(self) -> None:
        async with asyncio.timeout(300):
            while await self._heard.get() != "ToolListChangedNotification":
                """What else the server says."""


@asynccontextmanager
async def listening(shop: GatewayProcess, mode: str) -> AsyncGenerator[Listener]:
    heard: asyncio.Queue[str] = asyncio.Queue()

    async def take(message: Any) -> None:
        heard.put_nowait(type(message).__name__)

    async with (
        # A stream that waits for news is silent for longer than the 5 s that httpx2 would wait.
        httpx2.AsyncClient(headers={"authorization": f"Bearer {token(shop, 'ada')}"}, timeout=300) as http,
        Client(streamable_http_client(shop.mcp("orders"), http_client=http), mode=mode, message_handler=take) as client,
    ):
        if mode == "legacy":
            yield Listener(client, heard)
        else:
            async with client.listen(tools_list_changed=True):
                yield Listener(client, heard)


@requirement("mcp/subscriptions")
@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_a_client_that_listens_hears_that_a_policy_shows_it_less(shop: GatewayProcess, mode: str):
    async with listening(shop, mode) as listener:
        assert await listener.tools() == ["read"]

        grants = shop.folder / "policy/gateway/grants/data.yaml"
        grants.write_text(ANYONE_ANYTHING.replace('tools: ["*"]', "tools: [another]"), "utf-8")
        await listener.hears_of_tools()

        assert await listener.tools() == []


@requirement("mcp/subscriptions")
@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_a_client_that_listens_hears_that_a_changed_tool_was_pinned(
    server: ServerProcess, shop: GatewayProcess, mode: str
):
    async with listening(shop, mode) as listener:
        assert await listener.tools() == ["read"]
        say(server.origin, tools={"read": "Read an order, and all that belongs to it."})
        assert await listener.tools() == []

        command = [sys.executable, "-m", "gateway", "catalogue", "pin", "orders", "--yes"]
        await asyncio.to_thread(subprocess.run, command, cwd=shop.folder, check=True, timeout=300)
        await listener.hears_of_tools()

        assert await listener.tools() == ["read"]
