"""The walk of docs/start.md: each command of the page by the real program, and a call through the connected client."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

from mcp.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from tests.gateway_process import ROOT, free_port
from tests.interaction.cli.conftest import run_opagate
from tests.interaction.cli.test_up_from import up_from, write_client

PAGE = (ROOT / "docs/start.md").read_text("utf-8")
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]


async def call_through(entry: dict[str, Any]) -> str:
    """Call a tool by the program that the entry of a client names."""
    program = StdioServerParameters(command=entry["command"], args=entry["args"], env={"PYTHONPATH": str(ROOT)})
    async with Client(stdio_client(program)) as client:
        await client.list_tools()
        return str(await client.call_tool("files__list_files", {}))


async def test_each_command_of_the_page_works_in_its_order(tmp_path: Path):
    client = tmp_path / "home/.cursor/mcp.json"
    client.parent.mkdir(parents=True)
    write_client(tmp_path).rename(client)
    before = client.read_bytes()
    start, connect, remove, *looks = (shlex.split(command)[1:] for command in COMMANDS)
    home = {"HOME": str(tmp_path / "home")}

    assert start == ["up", "--from", "~/.cursor/mcp.json"]
    with up_from(tmp_path, client, "--port", str(free_port()), last="wrote labels of"):
        assert run_opagate(tmp_path, *connect, environment=home).status == 0
        assert "docs/deployment.md" in await call_through(
            json.loads(client.read_text("utf-8"))["mcpServers"]["opagate"]
        )
        for words in looks:
            done = run_opagate(tmp_path, *words, environment=home)
            assert done.status == 0, done.err
        assert run_opagate(tmp_path, *remove, environment=home).status == 0

    assert client.read_bytes() == before
    assert "list_files" in (tmp_path / "least.yaml").read_text("utf-8")
