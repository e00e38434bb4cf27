"""What the README tells people to paste into their clients, pasted."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from gateway.surfaces.cli import importing
from tests.conformance.run import Node
from tests.gateway_process import GatewayProcess, running_gateway
from tests.servers.serving import ROOT

README = (ROOT / "README.md").read_text("utf-8")
ENDPOINT = "http://127.0.0.1:8080/mcp/files"
CONFIG = f"""
identity: [{{kind: development}}]
upstreams:
  files:
    command: ["{sys.executable}", -m, gateway.surfaces.demo.files, --stdio]
    cwd: {ROOT}
    audience: files.example.com
    environment: demo
    tools: {{list_files: {{effect: read, egress: false, sensitivity: internal}}}}
"""


def snippet(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert found.count(ENDPOINT) == found.count("TOKEN") == 1
    return found


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Generator[GatewayProcess]:
    with running_gateway(CONFIG, tmp_path_factory.mktemp("gateway")) as running:
        yield running


@pytest.fixture(scope="module")
def token(gateway: GatewayProcess) -> str:
    """As the README has people make one."""
    command = [sys.executable, "-m", "gateway", "credentials", "token", "--agent", "me", "--config", "gateway.yaml"]
    made = subprocess.run(command, cwd=gateway.folder, capture_output=True, text=True, check=True, timeout=300)
    return made.stdout.strip()


def pasted(language: str, gateway: GatewayProcess, token: str) -> str:
    return snippet(language).replace(ENDPOINT, gateway.mcp("files")).replace("TOKEN", token)


def test_the_client_of_the_python_sdk_lists_the_files(gateway: GatewayProcess, token: str, tmp_path: Path):
    program = tmp_path / "me.py"
    program.write_text(pasted("python", gateway, token), "utf-8")
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=300, check=False)

    assert done.returncode == 0, done.stderr
    assert "docs/deployment.md" in done.stdout


@pytest.mark.node
def test_the_client_of_the_typescript_sdk_lists_the_files(
    gateway: GatewayProcess, token: str, node: Node, tmp_path: Path
):
    program = tmp_path / "me.mts"
    program.write_text(pasted("ts", gateway, token), "utf-8")
    (tmp_path / "node_modules").symlink_to(node.modules)
    done = subprocess.run([node.program, program], capture_output=True, text=True, timeout=300, check=False)

    assert done.returncode == 0, done.stderr
    assert "docs/deployment.md" in done.stdout


def test_claude_desktop_starts_the_bridge():
    text = README.partition("**Claude Desktop**")[2].partition("```json\n")[2].partition("```")[0]
    server = json.loads(text)["mcpServers"]["files"]

    assert importing.is_own_bridge(server)
    assert server["args"][:3] == ["connect", "stdio", "files"]


@pytest.mark.parametrize("client", ["Cursor", "VS Code"])
def test_the_file_of_a_client_names_the_endpoint_and_a_place_for_the_token(client: str):
    text = README.partition(f"**{client}**")[2].partition("```json\n")[2].partition("```")[0]
    found = importing.import_servers(text, client)

    assert list(found.upstreams) == ["files"]
    assert ENDPOINT in json.dumps(found.upstreams)
    assert text.count("TOKEN") + text.count("${input:opagate}") == 1
