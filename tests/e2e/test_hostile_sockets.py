"""A hostile server under the gateway's own account, which is even named as an operator: the socket does not hear the server."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from gateway.surfaces.cli.control_client import connect_to_gateway
from tests.e2e.wire import call, caller, legacy
from tests.gateway_process import ANYONE_ANYTHING, running_gateway
from tests.machine import needs_proc

SERVER = Path(__file__).with_name("hostile_sockets.py")


@needs_proc
def test_a_server_takes_neither_votes_nor_links_through_the_gateways_socket(tmp_path: Path):
    command = json.dumps([sys.executable, "-I", str(SERVER), str(tmp_path / "state")])
    config = (
        "identity: [{kind: development}]\n"
        "policy: {engine: {kind: embedded, deadline: 5s}, grants: grants.yaml}\n"
        "approvals: {}\nconsole: {}\n"
        f"upstreams: {{files: {{command: {command}, audience: files, environment: test,"
        " tools: {'*': {effect: read, egress: false, sensitivity: internal}}}}\n"
    )
    (tmp_path / "grants.yaml").write_text(ANYONE_ANYTHING, "utf-8")
    with running_gateway(config, tmp_path) as gateway:
        agent = caller(gateway, "agent", "files")
        about = {"name": "c", "version": "1"}
        opened = agent.ask(legacy("initialize", protocolVersion="2025-11-25", capabilities={}, clientInfo=about))
        answer = agent.ask(call("attack"), headers={"mcp-session-id": opened.headers["mcp-session-id"]})
        assert "result" in answer.json, answer.json
        found = json.loads(answer.text)
        with connect_to_gateway(tmp_path / "state/control.sock") as desk:
            for do in ("approvals/list", "stops/list", "logins/link"):
                assert desk.ask(do) is not None

    assert len(found) == 6
    assert set(found.values()) <= {"socket/descendant", "unreachable"}, found
