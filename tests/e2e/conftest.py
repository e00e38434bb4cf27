"""One gateway before three real upstreams, for the tests that leave it as it was."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

from tests.e2e.wire import Caller, caller
from tests.gateway_process import GatewayProcess, open_config, open_policy, running_gateway
from tests.servers.echo import Recorder
from tests.servers.serving import ServerProcess, running

GRANTS = """
upstreams:
  "*":
    - &all
      id: everything
      agents: [alice, mallory, dev]
      issuers: ["*"]
      tools: ["*"]
      resources: ["*"]
      prompts: ["*"]
      effects: [read, write, destructive, mint, exec]
      sensitivity: restricted
    - id: some
      agents: [bob]
      issuers: ["*"]
      tools: ["open_*", echo, task, ask]
      resources: ["test://static-text"]
      effects: [read]
"""


@pytest.fixture(scope="session")
def handles_server(tmp_path_factory: pytest.TempPathFactory) -> Generator[ServerProcess]:
    """A server that hands out sessions, tasks and states (see `tests.servers.handles`)."""
    with running("tests.servers.handles", tmp_path_factory.mktemp("handles") / "server.log") as server:
        yield server


def policy(folder: Path) -> Path:
    """The shipped policy, with the grants above."""
    tree = open_policy(folder)
    (tree / "gateway/grants/data.yaml").write_text(GRANTS, "utf-8")
    return tree


@pytest.fixture(scope="session")
def gateway(
    echo_server: ServerProcess,
    everything_server: ServerProcess,
    handles_server: ServerProcess,
    tmp_path_factory: pytest.TempPathFactory,
) -> Generator[GatewayProcess]:
    """Callers are anonymous (`dev`), or have tokens of the development issuer (`wire.caller`)."""
    folder = tmp_path_factory.mktemp("shared")
    upstreams = {"echo": echo_server.mcp, "everything": everything_server.mcp, "handles": handles_server.mcp}
    config = open_config(policy(folder), upstreams).replace(
        "[{kind: anonymous}]", "[{kind: development}, {kind: anonymous}]"
    )
    with running_gateway(f"{config}limits: {{request_bytes: 64KiB, keep_alive: 200ms}}\n", folder) as found:
        yield found


@pytest.fixture
def recorder(echo_server: ServerProcess) -> Recorder:
    """What reaches the echo server from now on."""
    fresh = Recorder(echo_server.origin)
    fresh.take()
    return fresh


@pytest.fixture
def received(handles_server: ServerProcess) -> Recorder:
    """What reaches the server that hands out handles from now on."""
    fresh = Recorder(handles_server.origin)
    fresh.take()
    return fresh


@pytest.fixture
def alice(gateway: GatewayProcess) -> Caller:
    return caller(gateway, "alice", "handles")


@pytest.fixture
def mallory(gateway: GatewayProcess) -> Caller:
    """May do all that alice may, and is not alice."""
    return caller(gateway, "mallory", "handles")


@pytest.fixture
def bob(gateway: GatewayProcess) -> Caller:
    """May use some tools only."""
    return caller(gateway, "bob", "handles")
