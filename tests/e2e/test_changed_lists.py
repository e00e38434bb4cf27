"""A policy that changes while clients listen, on both wires: they hear that lists may show something else, and list anew."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import httpx2
import pytest
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client

from tests.e2e.wire import token
from tests.gateway_process import ANYONE_ANYTHING, GatewayProcess
from tests.requirements import requirement


@requirement("mcp/subscriptions")
@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_a_client_that_listens_hears_that_a_policy_shows_it_less(shop: GatewayProcess, mode: str):
    heard: asyncio.Queue[str] = asyncio.Queue()

    async def take(message: Any) -> None:
        heard.put_nowait(type(message).__name__)

    headers = {"authorization": f"Bearer {token(shop, 'ada')}"}
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(httpx2.AsyncClient(headers=headers))
        transport = streamable_http_client(shop.mcp("orders"), http_client=http)
        client = await stack.enter_async_context(Client(transport, mode=mode, message_handler=take))
        if mode == "auto":
            await stack.enter_async_context(client.listen(tools_list_changed=True))
        assert [tool.name for tool in (await client.list_tools()).tools] == ["read"]

        grants = shop.folder / "policy/gateway/grants/data.yaml"
        grants.write_text(ANYONE_ANYTHING.replace('tools: ["*"]', "tools: [another]"), "utf-8")
        async with asyncio.timeout(30):
            while await heard.get() != "ToolListChangedNotification":
                """What else the server says."""

        assert (await client.list_tools()).tools == []
