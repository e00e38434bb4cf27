"""A server of earlier protocols at the one endpoint: the client opens a session, however late the server is."""

from __future__ import annotations

from pathlib import Path

import pytest
from mcp.client import Client

from tests.e2e.wire import Caller, stateless, until
from tests.gateway_process import gateway_process, open_config, open_policy

pytestmark = pytest.mark.node


class Late:
    """The official server of files, behind a gate, and the configuration of its gateway."""

    def __init__(self, folder: Path, node: Path, modules: Path) -> None:
        self.gate, self.files = folder / "open", folder / "files"
        self.files.mkdir()
        self.gate.touch()
        server = modules / "@modelcontextprotocol/server-filesystem/dist/index.js"
        wait = f"until [ -e {self.gate} ]; do sleep 0.02; done; exec {node} {server} {self.files}"
        apart = "isolation: {kind: none, accepted_by: tests, until: '2099-01-01'}"
        config = open_config(open_policy(folder), {"files": ["/bin/sh", "-c", wait]})
        self.config = config.replace("    audience: files", f"    {apart}\n    audience: files")

    @property
    def note(self) -> dict[str, str]:
        return {"path": str(self.files / "note.txt"), "content": "written"}


@pytest.fixture
def late(tmp_path: Path, node_path: Path, node_modules: Path) -> Late:
    return Late(tmp_path, node_path, node_modules)


async def test_a_client_that_came_before_its_server_started_gets_whole_results(late: Late, tmp_path: Path):
    async with gateway_process(late.config, tmp_path) as gateway:
        # The lock file has its tools from now on, so the next start does not wait for them.
        until(lambda: "write_file" in (tmp_path / "catalogue.lock").read_text("utf-8"))
    late.gate.unlink()
    async with gateway_process(late.config, tmp_path) as gateway, Client(f"{gateway.origin}/mcp") as client:
        assert "files__write_file" in [tool.name for tool in (await client.list_tools()).tools]
        assert client.protocol_version == "2025-11-25"
        late.gate.touch()
        result = await client.call_tool("files__write_file", late.note)

    assert result.is_error is False
    assert (late.files / "note.txt").read_text("utf-8") == "written"


async def test_a_client_that_insists_on_the_latest_protocol_gets_whole_results(late: Late, tmp_path: Path):
    async with (
        gateway_process(late.config, tmp_path) as gateway,
        Client(f"{gateway.origin}/mcp", mode="2026-07-28") as client,
    ):
        result = await client.call_tool("files__write_file", late.note)
        refused = Caller(gateway, "").ask(stateless("server/discover")).json

    assert result.is_error is False
    assert refused["error"]["code"] == -32601
