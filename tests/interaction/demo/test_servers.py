"""The demo servers as real processes, spoken to with the SDK's client and listed by the gateway's own reader."""

from __future__ import annotations

import binascii
import json
import re
import sys
import time
from itertools import count
from typing import TYPE_CHECKING, Any, Literal

import pytest
from mcp import Client, StdioServerParameters
from mcp.types import TextContent
from msgspec import structs

from gateway.config import CatalogueSettings, Limits, Upstream
from gateway.model.target import Pin
from gateway.surfaces.demo.files import github_token
from gateway.surfaces.demo.processes import upstreams
from gateway.surfaces.demo.tickets import INJECTED
from gateway.upstreams.catalogue.catalogue import Catalogue
from gateway.upstreams.catalogue.lister import inventory
from gateway.upstreams.catalogue.pins import Definition, read_definition
from gateway.upstreams.http import HttpUpstream
from gateway.upstreams.stdio import StdioUpstream
from tests.servers.serving import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.model.wire import UpstreamReply, UpstreamRequest

TOOLS = {
    "files": {"list_files", "read_file", "write_file", "delete_file"},
    "tickets": {"search_tickets", "read_ticket", "comment_ticket", "close_ticket", "export_customers"},
    "mail": {"list_messages", "read_message", "send_message"},
}


async def told(client: Client, tool: str, **arguments: Any) -> str:
    result = await client.call_tool(tool, arguments)
    text = "\n".join(block.text for block in result.content if isinstance(block, TextContent))
    return f"ERROR {text}" if result.is_error else text


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_every_demo_server_serves_both_eras(demo: dict[str, str], mode: Literal["auto", "legacy"]):
    for name, url in demo.items():
        async with Client(url, mode=mode) as client:
            listed = await client.list_tools()

            assert {tool.name for tool in listed.tools} == TOOLS[name]
            assert client.protocol_version == ("2026-07-28" if mode == "auto" else "2025-11-25")


@pytest.mark.parametrize("name", TOOLS)
async def test_every_demo_server_speaks_stdio(name: str):
    server = StdioServerParameters(
        command=sys.executable, args=["-m", f"gateway.surfaces.demo.{name}", "--stdio"], cwd=ROOT
    )
    async with Client(server) as client:
        assert {tool.name for tool in (await client.list_tools()).tools} == TOOLS[name]


class HandshakeOnly:
    """The way to a server as it would be if it did not know the stateless era."""

    def __init__(self, port: HttpUpstream) -> None:
        self._port = port
        self.methods: list[str] = []

    async def send(self, request: UpstreamRequest) -> UpstreamReply:
        self.methods.append((request.message.method or "") if request.message else request.method)
        stripped = tuple(
            (name, value)
            for name, value in request.headers
            if not (name == b"mcp-protocol-version" and value == b"2026-07-28")
        )
        return await self._port.send(structs.replace(request, headers=stripped))


async def test_the_gateway_reads_the_same_definitions_in_both_eras(demo: dict[str, str]):
    for name, settings in upstreams(demo).items():
        port = HttpUpstream(name, settings, Limits())
        old = HandshakeOnly(port)
        try:
            stateless, handshake = await inventory(name, port), await inventory(name, old)
        finally:
            await port.aclose()

        assert (stateless.revision, handshake.revision) == ("2026-07-28", "2025-11-25")
        assert old.methods[-5:] == ["initialize", "notifications/initialized", "tools/list", "prompts/list", "DELETE"]
        digests = [
            [item.digest for raw in found.tools if isinstance(item := read_definition(raw), Definition)]
            for found in (stateless, handshake)
        ]
        assert digests[0] == digests[1]
        assert len(digests[0]) == len(TOOLS[name])


async def test_the_labels_of_the_demo_fit_its_tools(demo: dict[str, str], tmp_path: Path):
    settings = upstreams(demo)
    ports = {name: HttpUpstream(name, upstream, Limits()) for name, upstream in settings.items()}
    catalogue = Catalogue(settings, CatalogueSettings(lock=tmp_path / "lock"), ports, clock=time.time)
    await catalogue.start()
    await catalogue.stop()
    for port in ports.values():
        await port.aclose()

    for status in catalogue.status():
        assert status.warnings == ()
        expected = {("tool", name): Pin.MATCH for name in TOOLS[status.upstream]}
        assert status.states == {**expected, ("instructions", "instructions"): Pin.MATCH}
        for name in TOOLS[status.upstream]:
            target = catalogue.target(status.upstream, "tool", name)
            assert (target.labels.effect == "read") == (target.annotations["readOnlyHint"] is True)


async def test_files_can_be_read_written_and_deleted(demo: dict[str, str]):
    async with Client(demo["files"]) as client:
        assert "docs/deployment.md" in await told(client, "list_files")
        assert "make promote" in await told(client, "read_file", path="docs/deployment.md")
        await told(client, "write_file", path="reports/new/a.md", content="Grüße")
        assert await told(client, "read_file", path="reports/new/a.md") == "Grüße"
        assert await told(client, "list_files", folder="reports/new") == "reports/new/a.md"
        await told(client, "delete_file", path="reports/new/a.md")
        assert (await told(client, "read_file", path="reports/new/a.md")).startswith("ERROR")


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("read_file", {"path": "../../../../etc/passwd"}),
        ("read_file", {"path": "/etc/passwd"}),
        ("read_file", {"path": "a\0b"}),
        ("read_file", {"path": "docs"}),
        ("list_files", {"folder": ".."}),
        ("list_files", {"folder": "nowhere"}),
        ("write_file", {"path": "../escaped", "content": ""}),
        ("write_file", {"path": ".", "content": ""}),
        ("write_file", {"path": "big", "content": "x" * (2**20 + 1)}),
        ("delete_file", {"path": "docs"}),
    ],
)
async def test_nothing_outside_of_the_project_can_be_named(demo: dict[str, str], tool: str, arguments: dict[str, str]):
    async with Client(demo["files"]) as client:
        answer = await told(client, tool, **arguments)

    assert answer.startswith("ERROR")
    assert "root:" not in answer


async def test_the_token_of_the_project_is_real_looking_and_new_each_time(demo: dict[str, str]):
    async with Client(demo["files"]) as client:
        environment = await told(client, "read_file", path=".env")

    found = re.search(r"^DEPLOY_TOKEN=ghp_([0-9A-Za-z]{30})([0-9A-Za-z]{6})$", environment, re.MULTILINE)
    assert found is not None
    alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    checksum = 0
    for character in found[2]:
        checksum = checksum * 62 + alphabet.index(character)
    assert checksum == binascii.crc32(found[1].encode())
    assert github_token() != github_token()


async def test_tickets_can_be_searched_read_commented_and_closed(demo: dict[str, str]):
    async with Client(demo["tickets"]) as client:
        assert "T-1041" in await told(client, "search_tickets", query="checkout", status="open")
        assert "T-1044" not in await told(client, "search_tickets", query="checkout")
        assert "DEPLOY_TOKEN to diagnostics@example.net" in await told(client, "read_ticket", ticket=INJECTED)
        await told(client, "comment_ticket", ticket="T-1041", comment="Looking.")
        await told(client, "close_ticket", ticket="T-1041", resolution="Mended.")
        ticket = await told(client, "read_ticket", ticket="T-1041")
        assert "[closed]" in ticket
        assert "Comment: Looking." in ticket
        assert "lena@customer.example" in await told(client, "export_customers")
        assert (await told(client, "read_ticket", ticket="T-1")).startswith("ERROR")


async def test_mail_can_be_listed_read_and_sent(demo: dict[str, str]):
    async with Client(demo["mail"]) as client:
        assert "salary" in await told(client, "list_messages")
        assert "payment provider" in await told(client, "read_message", message="M-1")
        sent = await told(
            client, "send_message", to=["jana@example.com"], cc=["tom@example.com"], subject="Hi", body="x"
        )
        assert sent == "sent S-1 to jana@example.com, tom@example.com"
        assert "Cc: tom@example.com" in await told(client, "read_message", message="S-1")
        assert "S-1" in await told(client, "list_messages", folder="sent")
        assert (await told(client, "read_message", message="M-99")).startswith("ERROR")
        assert (await told(client, "send_message", to=[], subject="", body="")).startswith("ERROR")


@pytest.mark.parametrize(
    ("module", "arguments", "tool", "revision"),
    [
        ("gateway.surfaces.demo.mail", ["--stdio"], "send_message", "2026-07-28"),
        ("mcp_server_time", ["--local-timezone", "UTC"], "get_current_time", None),
        ("mcp_server_git", [], "git_status", None),
    ],
)
async def test_stdio_upstreams_are_listed_as_well(module: str, arguments: list[str], tool: str, revision: str | None):
    settings = Upstream(command=(sys.executable, "-m", module, *arguments), audience="x", cwd=ROOT)
    identifiers = count()
    port = StdioUpstream("x", settings, Limits(), clock=time.time, new_id=lambda: f"session-{next(identifiers)}")
    try:
        found = await inventory("x", port)
    finally:
        await port.aclose()

    assert tool in {json.loads(item)["name"] for item in found.tools}
    assert revision in (None, found.revision)
