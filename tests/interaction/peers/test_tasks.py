"""A client that other people wrote follows tasks through the gateway: the Inspector, with the requester of the project's own
`@modelcontextprotocol/ext-tasks`. It calls the tool, polls the task as often as the server says, and shows its result.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.run import Node
from tests.e2e.wire import entries
from tests.gateway_process import GatewayProcess, open_config, open_policy, running_gateway
from tests.interaction.peers.inspector import Inspector
from tests.requirements import requirement
from tests.servers.serving import ServerProcess

pytestmark = pytest.mark.node

TOOLS: Mapping[str, tuple[Mapping[str, Any], str]] = {
    "slow_compute": ({"seconds": 0.2, "label": "six by seven"}, "six by seven took 0.2 s"),
    "failing_job": ({}, "This job failed"),
    "protocol_error_job": ({}, "This job broke"),
}
"""Tools whose calls are answered with tasks: what they are given, and what comes of it."""


@pytest.fixture(scope="module")
def gateway(everything_server: ServerProcess, tmp_path_factory: pytest.TempPathFactory) -> Generator[GatewayProcess]:
    home = tmp_path_factory.mktemp("gateway")
    with running_gateway(open_config(open_policy(home), {"everything": everything_server.mcp}), home) as running:
        yield running


@requirement("mcp/tasks")
@pytest.mark.parametrize("tool", TOOLS)
def test_a_task_ends_for_the_inspector_as_it_does_without_the_gateway(
    tool: str, node: Node, everything_server: ServerProcess, gateway: GatewayProcess, tmp_path: Path
) -> None:
    inspect, (given, ended) = Inspector(node, tmp_path), TOOLS[tool]
    call = ("--protocol-era", "modern", "--tool-name", tool, "--tool-args-json", json.dumps(given))
    direct = inspect(everything_server.mcp, "tools/call", *call)
    through = inspect(gateway.mcp("everything"), "tools/call", *call)

    assert (through.returncode, through.stdout, through.stderr) == (direct.returncode, direct.stdout, direct.stderr)
    assert ended in direct.stdout + direct.stderr
    read = [entry["source"] for entry in entries(gateway.folder, "observed") if entry["event"] == "read"]
    assert read[-1] == "everything tasks/get"
