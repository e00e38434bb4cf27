"""The server of docs/upstreams.md, as it stands there."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import httpx2
from mcp.server.mcpserver import MCPServer

from opagate import verify
from tests.minted import AUDIENCE, ISSUER, Minter, message

PAGE = Path(__file__).resolve().parents[3] / "docs/upstreams.md"
CALL = message(
    params={
        "name": "close_ticket",
        "arguments": {"ticket": "T-1"},
        "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": {},
        },
    }
)
HEADERS = {
    "content-type": "application/json",
    "accept": "application/json, text/event-stream",
    "mcp-protocol-version": "2026-07-28",
    "mcp-method": "tools/call",
    "mcp-name": "close_ticket",
    "host": "127.0.0.1:8000",
}


async def test_the_server_of_the_page_serves_the_gateway_alone(monkeypatch: Any):
    def ask(url: str, _headers: object) -> object:
        return {f"{ISSUER}/.well-known/jwks.json": minter.mint.jwks()}[url]

    monkeypatch.setattr(verify, "_ask", ask)
    (code,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    page: dict[str, Any] = {}
    exec(code, page)
    minter = Minter(now=time.time())  # a server refuses tokens of before its start
    server: MCPServer = page["server"]

    async with (
        server.session_manager.run(),
        httpx2.AsyncClient(
            transport=httpx2.ASGITransport(page["app"]), base_url="http://127.0.0.1:8000", headers=HEADERS
        ) as client,
    ):
        token = minter.call(CALL)
        answers = [
            await client.post("/mcp", content=CALL, headers={"authorization": f"Bearer {each}"} if each else {})
            for each in (token, token, None)
        ]

    assert AUDIENCE in code
    assert "closed T-1" in answers[0].text
    assert [answer.json()["code"] for answer in answers[1:]] == ["token/used", "token/missing"]
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
