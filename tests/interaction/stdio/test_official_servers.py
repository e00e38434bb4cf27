"""The official servers of npm and PyPI inside the sandbox, with real calls. Each has what `docs/isolation.md` says, and no more."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gateway.model.wire import Era
from tests.interaction.stdio.test_real_servers import BIN, handshake, node_server, tool
from tests.servers.openbao import running_postgres
from tests.unit.upstreams.stdio.driving import Client, Make

if TYPE_CHECKING:
    from collections.abc import Generator

    from gateway.upstreams.stdio import StdioUpstream


async def both(upstream: StdioUpstream) -> tuple[Client, Client]:
    return await handshake(upstream), Client(upstream, era=Era.STATELESS)


async def git(*arguments: str) -> None:
    process = await asyncio.create_subprocess_exec("git", *arguments, stdout=-3)
    assert await process.wait() == 0


async def test_the_git_server_reads_what_its_command_names_and_writes_what_is_declared(make: Make, tmp_path: Path):
    await git("init", "-q", str(tmp_path))
    await git("-C", str(tmp_path), "config", "user.email", "ada@example.com")
    await git("-C", str(tmp_path), "config", "user.name", "Ada")
    (tmp_path / "new.txt").write_text("new")
    command = (str(BIN / "mcp-server-git"), "--repository", str(tmp_path))
    reader = await handshake(make(*command))
    writer = await handshake(make(*command, files={"write": [str(tmp_path)]}))
    where = {"repo_path": str(tmp_path)}

    assert "new.txt" in (await tool(reader, 2, "git_status", **where))["content"][0]["text"]
    assert (await tool(reader, 3, "git_add", **where, files=["new.txt"])).get("isError"), "it was not declared"
    await tool(writer, 2, "git_add", **where, files=["new.txt"])
    await tool(writer, 3, "git_commit", **where, message="Begin")
    assert "Begin" in (await tool(writer, 4, "git_log", **where))["content"][0]["text"]


class Page(BaseHTTPRequestHandler):
    """A page of a local server. It is plain text: for HTML the fetch server would install packages into its own folder."""

    def do_GET(self) -> None:
        text = b"User-agent: *\nAllow: /\n" if self.path == "/robots.txt" else b"Good day"
        self.send_response(200)
        self.send_header("content-type", "text/plain")
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the signature of the standard library
        """Say nothing."""


@contextmanager
def page() -> Generator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.mark.skipif(not (BIN / "mcp-server-fetch").exists(), reason="MISSING TOOL: mcp-server-fetch; run `make test`")
@pytest.mark.parametrize("network", [True, "port", False])
async def test_the_fetch_server_reaches_what_the_network_setting_opens(make: Make, network: object):
    with page() as port:
        setting = [port] if network == "port" else network
        client = await handshake(make(str(BIN / "mcp-server-fetch"), "--allow-private-ips", network=setting))
        told = await tool(client, 2, "fetch", url=f"http://127.0.0.1:{port}/")

    assert ("Good day" in str(told), bool(told.get("isError"))) == (network is not False, network is False), told


@pytest.mark.node
async def test_the_everything_server_adds_and_echoes(make: Make, node_path: Path, node_modules: Path):
    client = await handshake(make(*node_server(node_path, node_modules, "server-everything")))

    assert "Echo: hello" in str(await tool(client, 2, "echo", message="hello"))
    assert "8" in str(await tool(client, 3, "get-sum", a=3, b=5))


@pytest.mark.node
async def test_the_filesystem_server_writes_a_declared_folder_alone(
    make: Make, node_path: Path, node_modules: Path, tmp_path: Path
):
    for name in ("read", "write"):
        (tmp_path / name).mkdir()
    folders = str(tmp_path / "read"), str(tmp_path / "write")
    command = (*node_server(node_path, node_modules, "server-filesystem"), *folders)
    client = await handshake(make(*command, files={"write": [folders[1]]}))

    refused = await tool(client, 2, "write_file", path=f"{folders[0]}/a.txt", content="x")
    await tool(client, 3, "write_file", path=f"{folders[1]}/a.txt", content="written")

    assert refused["isError"]
    assert not (tmp_path / "read/a.txt").exists()
    assert (tmp_path / "write/a.txt").read_text() == "written"


@pytest.mark.node
async def test_the_memory_server_remembers_in_a_declared_folder(
    make: Make, node_path: Path, node_modules: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MEMORY_FILE", str(tmp_path / "memory.jsonl"))
    settings = {"env": {"MEMORY_FILE_PATH": "${MEMORY_FILE}"}, "files": {"write": [str(tmp_path)]}}
    command = node_server(node_path, node_modules, "server-memory")
    ada = {"name": "Ada", "entityType": "person", "observations": ["likes engines"]}
    first = await handshake(make(*command, **settings))
    await tool(first, 2, "create_entities", entities=[ada])

    second = await handshake(make(*command, **settings))

    assert "likes engines" in str(await tool(second, 2, "read_graph"))
    assert (tmp_path / "memory.jsonl").exists()


@pytest.mark.node
async def test_the_postgres_server_reaches_its_port_alone(
    make: Make, node_path: Path, node_modules: Path, tmp_path: Path
):
    with running_postgres(tmp_path / "data") as postgres:
        address = f"postgresql://postgres@127.0.0.1:{postgres.port}/postgres"
        command = (*node_server(node_path, node_modules, "server-postgres"), address)
        client = await handshake(make(*command, network=[postgres.port]))
        told = await tool(client, 2, "query", sql="SELECT 40 + 2 AS answer")

    assert "42" in str(told)


async def test_the_time_server_needs_nothing(make: Make):
    for client in await both(make(str(BIN / "mcp-server-time"))):
        assert "Zurich" in str(await tool(client, 2, "get_current_time", timezone="Europe/Zurich"))
