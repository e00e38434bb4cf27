"""An upstream that wants a client to see what policy hides answers a call so that some client finds a list in it."""

from __future__ import annotations

import asyncio
import re
import sys
import threading
from collections.abc import Generator
from pathlib import Path

import httpx2
import pytest
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client

from tests.e2e.conftest import policy
from tests.e2e.hostile import Hostile, hostile, http
from tests.e2e.wire import Caller, Sent, call, caller, entries, legacy, metric, stateless, token, verified
from tests.gateway_process import GatewayProcess, open_config, running_gateway
from tests.requirements import requirement
from tests.servers.serving import ROOT

EVENTS = "text/event-stream"


@pytest.fixture(scope="module")
def server() -> Generator[Hostile]:
    with hostile() as found:
        yield found


@pytest.fixture(scope="module")
def before(server: Hostile, tmp_path_factory: pytest.TempPathFactory) -> Generator[GatewayProcess]:
    """A gateway before it, to which bob may use `open_a`, and may not see `hidden`."""
    folder = tmp_path_factory.mktemp("hostile")
    config = open_config(policy(folder), {"hostile": server.url}).replace("kind: anonymous", "kind: development")
    with running_gateway(config, folder) as found:
        yield found


def answering(server: Hostile, answer: bytes) -> None:
    server.answer, server.listed = answer, None
    server.asked, server.answered = threading.Event(), threading.Event()


@requirement("mcp/list-filter")
@pytest.mark.parametrize("answer", [http(b"NAN"), http(b"data: NAN\n\ndata: OWN\n\n", EVENTS)])
async def test_a_real_client_sees_the_list_that_was_filtered(before: GatewayProcess, server: Hostile, answer: bytes):
    """It reads JSON that is not quite JSON, and takes a response for that to the request whose id it has."""
    answering(server, answer)
    headers = {"authorization": f"Bearer {token(before, 'bob')}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=300) as web,
        Client(
            streamable_http_client(before.mcp("hostile"), http_client=web), mode="2026-07-28", read_timeout_seconds=20
        ) as client,
    ):
        called = asyncio.ensure_future(client.call_tool("open_a", {}))
        listed = await client.list_tools()
        await asyncio.wait([called])

    assert [tool.name for tool in listed.tools] == ["open_a"]


HIDING = [
    http(b": x\xe2\x80\xa8\xe2\x80\xa8data: LIST\xe2\x80\xa8\xe2\x80\xa8\n\ndata: OWN\n\n", EVENTS),
    http(b"id: 1\x0bdata: LIST\ndata: OWN\n\n", EVENTS),
    http(b"event: message\x1cdata: LIST\ndata: OWN\n\n", EVENTS),
    http(b"Data: LIST\ndata: OWN\n\n", EVENTS),
    http(b"data: OWN\n\ndata: LIST", EVENTS),
    http(b"data: OWN\r\rdata: [LIST]\r\r", EVENTS),
    http(b"data: LIST\n\ndata: OWN\n\n", "text/event-streams"),
    http(b"data: LIST\n\ndata: OWN\n\n", "application/json, text/event-stream"),
    http(b"[LIST,OWN]"),
    http(b"\xef\xbb\xbfLIST"),
    http(b"LIST OWN"),
    http(b"LIST", "application/json; charset=utf-8; profile=text/event-stream"),
]


@requirement("mcp/list-filter")
@pytest.mark.parametrize("answer", HIDING)
def test_no_client_finds_the_response_to_another_request(before: GatewayProcess, server: Hostile, answer: bytes):
    answering(server, answer)
    server.listed = 8
    server.asked.set()
    found = caller(before, "bob", "hostile").ask(call("open_a", stateless))

    assert b"hidden" not in found.body
    assert found.status in {200, 502}


ODD_WAYS = [
    b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" + http(b"OWN"),
    (
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\ntrailer: x-end\r\n\r\n"
        b'1;a="b"\r\n\n\r\n%x\r\nOWN\r\n0\r\nx-end: 1\r\n\r\n'
    ),
    http(b"retry: 1\nid: a\ndata:\n\n: x\r\n\r\ndata:OWN\r\n\r\n", EVENTS),
    http(b"\xef\xbb\xbfevent: message\rdata: OWN\r\r", EVENTS),
]


@pytest.mark.parametrize("answer", ODD_WAYS)
def test_what_is_only_odd_passes(before: GatewayProcess, server: Hostile, answer: bytes):
    answering(server, answer)
    server.asked.set()
    found = caller(before, "bob", "hostile").ask(call("open_a", stateless))

    assert found.status == 200
    assert found.json["result"] == {"content": [], "resultType": "complete"}


# --- as the gateway ----------------------------------------------------------------------------------


@requirement("invariant/4")
def test_a_program_cannot_speak_as_the_gateway(tmp_path: Path):
    """In no message of it: its list, a notification, an error, a result."""
    command = [sys.executable, str(ROOT / "tests/servers/impostor.py")]
    setup = open_config(policy(tmp_path), {"impostor": command})
    with running_gateway(setup, tmp_path) as gateway:
        client = Caller(gateway, "impostor")
        opening = legacy(
            "initialize", protocolVersion="2025-11-25", capabilities={}, clientInfo={"name": "a", "version": "1"}
        )
        greeted = client.ask(opening)
        session = {"mcp-session-id": greeted.headers["mcp-session-id"]}
        listed = client.ask(legacy("tools/list", 8), headers=session)
        failed = client.ask(Sent(call("speak").body, legacy("x").headers), headers=session)
        said = client.ask(legacy("tools/call", 9, name="say", arguments={}), headers=session)

        for answer in (greeted, listed, failed, said):
            assert answer.status == 200
            assert not re.search(rb"(?i)forged\", \"effect|opagate|opag.u0061te|-31002", answer.body), answer.body
        assert [tool["name"] for tool in listed.json["result"]["tools"]] == ["speak", "say"]
        assert failed.json["error"] == {"code": -32603, "message": "forged", "data": {}}
        assert said.json["result"] == {"content": [], "structuredContent": {"a": [{}]}, "_meta": {}}
        assert metric(gateway, "opagate_reserved_total", upstream="impostor") == 1 + 3 + 3 + 2
        lock = (tmp_path / "catalogue.lock").read_text("utf-8")
    assert "opagate/" not in lock
    assert [entry["count"] for entry in entries(tmp_path, "reserved")] == [1, 3, 3, 2]
    assert verified(tmp_path).ok
