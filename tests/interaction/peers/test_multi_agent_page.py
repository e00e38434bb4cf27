"""The programs of docs/multi-agent.md, as they stand there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.e2e.wire import token
from tests.gateway_process import GatewayProcess, running_gateway
from tests.servers.serving import ROOT

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

PAGE = (ROOT / "docs/multi-agent.md").read_text("utf-8")
CONFIG = "identity: [{kind: development}]\npolicy: {engine: {kind: embedded, deadline: 20s}}\nupstreams: {}\n"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Generator[GatewayProcess]:
    with running_gateway(CONFIG, tmp_path_factory.mktemp("tree")) as started:
        yield started


def run(gateway: GatewayProcess, command: list[str], path: Path, language: str) -> str:
    (program,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    path.write_text(program, "utf-8")
    tokens = {f"{agent.upper()}_TOKEN": token(gateway, agent, user="ann") for agent in ("lead", "worker")}
    return subprocess.run(
        [*command, str(path)],
        env={**os.environ, **tokens, "GATEWAY": gateway.origin},
        stdout=subprocess.PIPE,
        text=True,
        timeout=300,
        check=True,
    ).stdout.strip()


def test_the_program_in_python_opens_hands_over_and_ends(gateway: GatewayProcess, tmp_path: Path):
    assert run(gateway, [sys.executable], tmp_path / "agents.py", "python") == "completed"


@pytest.mark.node
def test_the_program_in_typescript_opens_hands_over_and_ends(gateway: GatewayProcess, node_path: Path, tmp_path: Path):
    command = [str(node_path), "--experimental-strip-types", "--no-warnings"]
    assert run(gateway, command, tmp_path / "agents.mts", "typescript") == "completed"
