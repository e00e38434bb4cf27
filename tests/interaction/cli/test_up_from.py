"""`opagate up --from FILE` by the real command, with a real stdio server behind it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from gateway import config
from tests.gateway_process import ROOT, free_port, stop
from tests.interaction.cli.conftest import run_opagate

MARK = "s3cret-marker-9f8e7d6c5b4a"
_INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}},
}


def write_client(folder: Path) -> Path:
    """Write a client's file with the demo server of files and with a secret."""
    server = {
        "command": sys.executable,
        "args": ["-m", "gateway.surfaces.demo.files", "--stdio"],
        "env": {"API_TOKEN": MARK, "LOG_LEVEL": "debug"},
    }
    path = folder / "client.json"
    path.write_text(json.dumps({"mcpServers": {"files": server}}), "utf-8")
    return path


@contextmanager
def up_from(folder: Path, client: Path, *options: str, last: str = "policy grants propose") -> Generator[list[str]]:
    """Run `opagate up --from` until a printed line has `last`. Gives the printed lines."""
    home = folder / "home"
    home.mkdir(exist_ok=True)
    with subprocess.Popen(
        [sys.executable, "-m", "gateway", "up", "--from", str(client), *options],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "HOME": str(home), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        lines: list[str] = []
        for line in process.stdout:
            lines.append(line)
            if last in line:
                break
        try:
            assert process.poll() is None, "".join(lines)
            yield lines
        finally:
            stop(process)


@pytest.fixture
def port() -> int:
    return free_port()


def test_one_command_leads_from_a_clients_file_to_a_gateway(tmp_path: Path, port: int):
    with up_from(tmp_path, write_client(tmp_path), "--port", str(port)) as lines:
        token = run_opagate(tmp_path, "credentials", "token", "--agent", "me").out.strip()
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json, text/event-stream"}
        url = f"http://127.0.0.1:{port}/mcp/files"
        answer = httpx2.post(url, headers=headers, json=_INITIALIZE, timeout=60)
        link = next(line.strip() for line in lines if "/console/login/link" in line)
        console = httpx2.get(link, timeout=60)

    printed = " ".join("".join(lines).split())
    assert printed.index(f"127.0.0.1:{port}/mcp ") < printed.index(f"127.0.0.1:{port}/mcp/files")
    assert "Observe mode is on until 20" in printed
    assert "`enforce: true` in gateway.yaml ends it" in printed
    assert answer.status_code == 200
    assert "serverInfo" in answer.text
    assert console.status_code == 200
    assert MARK not in "".join(lines)
    kept = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "client.json"]
    assert [path for path in kept if MARK.encode() in path.read_bytes()] == []


def test_a_first_start_labels_the_tools_and_observes(tmp_path: Path, port: int):
    with up_from(tmp_path, write_client(tmp_path), "--port", str(port), last="wrote labels of"):
        settings = config.load(tmp_path / "gateway.yaml", secrets=False)

    assert settings.upstreams["files"].tools["read_file"].effect == "read"
    assert settings.upstreams["files"].tools["delete_file"].effect == "destructive"
    assert settings.enforce is False
    assert settings.observe_until is not None


def test_a_second_start_serves_what_the_first_one_wrote(tmp_path: Path, port: int):
    client = write_client(tmp_path)
    with up_from(tmp_path, client, "--port", str(port)):
        pass
    before = (tmp_path / "gateway.yaml").read_text("utf-8")

    with up_from(tmp_path, client) as lines:
        assert any(f"127.0.0.1:{port}" in line for line in lines)

    assert (tmp_path / "gateway.yaml").read_text("utf-8") == before
    assert config.load(tmp_path / "gateway.yaml", secrets=False).port == port


def test_a_file_without_servers_starts_nothing_and_writes_nothing(tmp_path: Path):
    (tmp_path / "client.json").write_text("{}", "utf-8")

    done = run_opagate(tmp_path, "up", "--from", "client.json")

    assert done.status == 2
    assert "has no list of MCP servers" in done.err
    assert not (tmp_path / "gateway.yaml").exists()


@pytest.mark.parametrize("option", [["--once"], ["--state", "x"]])
def test_options_of_the_demo_do_not_go_with_a_clients_file(option: list[str], tmp_path: Path):
    done = run_opagate(tmp_path, "up", "--from", "client.json", *option)

    assert done.status == 2
    assert "--from goes with --port alone" in done.err
