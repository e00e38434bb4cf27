"""Gateways for the tests that leave them as they were: one before three real upstreams, one before many systems."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

from tests.e2e.systems import Agent, Servers, agent, servers
from tests.e2e.wire import Caller, caller
from tests.gateway_process import GatewayProcess, change_settings, open_config, open_policy, running_gateway
from tests.servers.echo import Recorder
from tests.servers.serving import ServerProcess, running
from tests.servers.shifting import say

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


@pytest.fixture(scope="session")
def systems(tmp_path_factory: pytest.TempPathFactory) -> Generator[Servers]:
    """The servers that play the systems."""
    with servers(tmp_path_factory.mktemp("systems")) as found:
        yield found


@pytest.fixture(scope="session")
def one(systems: Servers, tmp_path_factory: pytest.TempPathFactory) -> Generator[GatewayProcess]:
    """The shipped policy, with a grant for everybody."""
    folder = tmp_path_factory.mktemp("history")
    with running_gateway(systems.config(open_policy(folder)), folder) as found:
        yield found


@pytest.fixture
def ada(one: GatewayProcess, systems: Servers) -> Agent:
    """An agent in a task of its own that has done nothing yet."""
    return agent(one, systems)


def roomy_policy(folder: Path) -> Path:
    """The shipped policy with wide limits for reach, and credentials made without asking."""
    tree = open_policy(folder)
    changes = {
        "  audiences: {soft: 3, hard: 5}": "  audiences: {soft: 20, hard: 21}",
        "  destinations: {soft: 5, hard: 8}": "  destinations: {soft: 99, hard: 100}",
        "effects_without_approval: [": "effects_without_approval: [mint, ",
    }
    change_settings(tree, changes)
    chain = tree / "gateway/denials/credential_chain/credential_chain.rego"
    before, rule, after = chain.read_text("utf-8").partition("# title: A person decides on a new credential\n")
    assert rule
    after = after.replace('properties.effect == "mint"', 'properties.effect == "mint"\n\tfalse', 1)
    chain.write_text(before + rule + after, "utf-8")
    return tree


@pytest.fixture(scope="session")
def wide(systems: Servers, tmp_path_factory: pytest.TempPathFactory) -> Generator[GatewayProcess]:
    """A gateway whose operator lets tasks reach more systems and destinations, and lets credentials be made unattended:
    there the limits that lie behind can be seen."""
    folder = tmp_path_factory.mktemp("wide")
    with running_gateway(systems.config(roomy_policy(folder)), folder) as found:
        yield found


@pytest.fixture
def roomy(wide: GatewayProcess, systems: Servers) -> Agent:
    """An agent of that gateway, in a task of its own."""
    return agent(wide, systems)


@pytest.fixture(scope="session")
def shifting_server(tmp_path_factory: pytest.TempPathFactory) -> Generator[ServerProcess]:
    """A server that says something else of itself when it is told to (see `tests.servers.shifting`)."""
    with running("tests.servers.shifting", tmp_path_factory.mktemp("shifting") / "server.log") as found:
        yield found


@pytest.fixture
def server(shifting_server: ServerProcess) -> ServerProcess:
    """The shifting server, as it was in the beginning."""
    say(shifting_server.origin, anew=True)
    return shifting_server


@pytest.fixture
def shop(server: ServerProcess, tmp_path_factory: pytest.TempPathFactory) -> Generator[GatewayProcess]:
    """A gateway of its own before that."""
    folder = tmp_path_factory.mktemp("gateway")
    config = (
        "identity: [{kind: development}]\n"
        f"policy: {{engine: {{kind: embedded, deadline: 5s}}, path: '{open_policy(folder)}', reload: 100ms}}\n"
        f"upstreams: {{orders: {{url: '{server.mcp}', audience: orders}}}}\n"
    )
    with running_gateway(config, folder) as found:
        yield found
