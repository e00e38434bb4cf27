"""The switch at a running gateway: commands, streams, a call under way, processes, and kill -9."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from typer.testing import CliRunner

from gateway.surfaces.cli.root import app
from tests.e2e.running import mortal_gateway
from tests.e2e.test_lease_streams import asking, outcomes
from tests.e2e.test_leases import configured
from tests.e2e.wire import call, caller, entries, page, stateless, until, verified
from tests.gateway_process import ANYONE_ANYTHING, GatewayProcess, free_port, running_gateway
from tests.servers.echo import Recorder

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from tests.servers.serving import ServerProcess


SERVER = """
import json, sys
for line in sys.stdin:
    asked = json.loads(line)
    method, params = asked.get("method"), asked.get("params") or {}
    if method == "server/discover":
        result = {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}}
    elif method == "tools/list":
        result = {"tools": [{"name": "echo", "inputSchema": {"type": "object"}}]}
    else:
        result = {"content": [{"type": "text", "text": str((params.get("arguments") or {}).get("text"))}]}
    if "id" in asked:
        print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}), flush=True)
"""
"""A server over stdio, of the stateless era."""


def run(gateway: GatewayProcess, *arguments: str) -> Any:
    """Run a command of an operator, and return its document."""
    done = CliRunner().invoke(app, [*arguments, "--config", str(gateway.folder / "gateway.yaml"), "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.output)


def stop(gateway: GatewayProcess, *chosen: str) -> Any:
    return run(gateway, "stop", *chosen, "--reason", "a test")


@pytest.fixture
def gateway(echo_server: ServerProcess, tmp_path: Path) -> Generator[GatewayProcess]:
    with mortal_gateway(configured(tmp_path, echo_server.mcp), tmp_path) as running:
        yield running


def test_a_stopped_agent_is_refused_within_a_second_and_its_lease_has_ended(
    gateway: GatewayProcess, echo_server: ServerProcess
):
    ann, bob = caller(gateway, "ann", "task"), caller(gateway, "bob", "task")
    received = Recorder(echo_server.origin)
    assert ann.call("echo", text="before").text == "before"
    with asking(ann, "hold", key="held-by-ann") as held:
        received.wait("request", "held-by-ann")
        began = time.time()
        told = stop(gateway, "--agent", "ann")
        refused = ann.call("echo", text="after")
        first_refusal = time.time() - began
        received.wait("disconnect", "held-by-ann")

    assert refused.codes == ["stop/in-force"]
    assert told["ended"]["leases"] >= 1
    assert told["ended"]["answers"] == 1
    assert held.answer is not None
    assert "An operator has stopped this call" in held.answer.body.decode()
    assert not [found for found in received.requests() if "after" in found["body"]]
    assert bob.call("echo", text="bob").text == "bob"
    until(lambda: outcomes(gateway.folder, "hold") == ["unknown"])
    ended = [entry for entry in entries(gateway.folder, "lease") if entry.get("cause") == "operator"]
    assert ended
    # The command's own start counts too. A loaded machine gets more time than the second that is promised.
    assert first_refusal < 10

    (listed,) = run(gateway, "stop", "list")
    assert (listed["id"], listed["scope"], listed["name"]) == (told["stop"]["id"], "agent", "ann")
    assert json.loads(page(gateway, "/readyz")[1])["stops"] == {"agent": 1}
    run(gateway, "stop", "resume", "--agent", "ann", "--reason", "mended")
    assert ann.call("echo", text="again").text == "again"
    assert verified(gateway.folder).ok


@pytest.mark.parametrize("chosen", [["--all"], ["--upstream", "task"], ["--agent", "ann"]])
def test_a_stream_that_waits_for_news_is_cut(handles_server: ServerProcess, tmp_path: Path, chosen: list[str]):
    received, listen = Recorder(handles_server.origin), stateless("subscriptions/listen", 31, notifications={})
    with mortal_gateway(configured(tmp_path, handles_server.mcp), tmp_path) as gateway:
        ann = caller(gateway, "ann", "task")
        received.take()
        with ann.open("POST", listen) as answer:
            received.wait("request", "subscriptions/listen")
            assert answer.status == 200
            assert stop(gateway, *chosen)["ended"]["answers"] >= 1
            answer.read()
        received.wait("disconnect", "subscriptions/listen")

        assert ann.ask(listen).codes == ["stop/in-force"]


@pytest.mark.parametrize("chosen", [["--all"], ["--upstream", "files"], ["--agent", "ann"]])
def test_the_processes_of_a_stopped_system_or_agent_end(tmp_path: Path, chosen: list[str]):
    (tmp_path / "grants.yaml").write_text(ANYONE_ANYTHING, "utf-8")
    upstream = {
        "command": [sys.executable, "-c", SERVER],
        "audience": "files",
        "environment": "test",
        "tools": {"*": {"effect": "read", "egress": False, "sensitivity": "internal"}},
    }
    policy = {"grants": "grants.yaml", "engine": {"kind": "embedded", "deadline": "20s"}}
    config = {"identity": [{"kind": "development"}], "policy": policy, "upstreams": {"files": upstream}}
    with mortal_gateway(yaml.safe_dump(config), tmp_path) as gateway:
        ann = caller(gateway, "ann", "files")
        asked = call("echo", stateless, text="x")
        assert ann.ask(asked).text == "x"
        told = stop(gateway, *chosen)

        assert told["ended"]["processes"] >= 1
        assert ann.ask(asked).codes == ["stop/in-force"]


def test_a_stop_outlives_kill_9_and_a_restart(echo_server: ServerProcess, tmp_path: Path):
    text, port = configured(tmp_path, echo_server.mcp), free_port()
    with mortal_gateway(text, tmp_path, port=port) as gateway:
        assert caller(gateway, "ann", "task").call("echo", text="before").text == "before"
        told = stop(gateway, "--agent", "ann", "--until", "8h")
        # The end of the block is a SIGKILL.

    with running_gateway(text, tmp_path, port=port) as gateway:
        assert caller(gateway, "ann", "task").call("echo", text="after").codes == ["stop/in-force"]
        assert caller(gateway, "bob", "task").call("echo", text="bob").text == "bob"
        run(gateway, "stop", "resume", told["stop"]["id"], "--reason", "mended")
        assert caller(gateway, "ann", "task").call("echo", text="again").text == "again"
    assert [entry["action"] for entry in entries(tmp_path, "switch")] == ["stopped", "resumed"]
    assert verified(tmp_path).ok
