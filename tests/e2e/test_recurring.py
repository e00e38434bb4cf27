"""Values that recur, through real gateways: kills, and the command line of approvers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx2
import yaml

from gateway.surfaces.cli.control_client import connect_to_gateway
from tests.e2e.running import mortal_gateway
from tests.e2e.wire import Caller, entries, token, verified
from tests.gateway_process import GatewayProcess, free_port
from tests.servers.serving import ServerProcess
from tests.unit.base.store.keeping import put_back_endorsements, read_endorsements
from tests.unit.recurring import KIND, RECURRING, policy_with

GRANTS = "upstreams: {echo: [{id: all, agents: ['*'], issuers: ['*'], tools: ['*'], effects: [read, write]}]}\n"


def configured(folder: Path, echo: ServerProcess) -> str:
    (folder / "grants.yaml").write_text(GRANTS, "utf-8")
    policy_with(folder, RECURRING)
    labels = {"effect": "write", "egress": True, "sensitivity": "internal", "roles": {"/text": "destination"}}
    settings = {
        "identity": [{"kind": "development"}],
        "policy": {
            "path": "rego",
            "require_tests": False,
            "grants": "grants.yaml",
            "engine": {"kind": "embedded", "deadline": "20s"},
        },
        "approvals": {"hold": "10ms"},
        "upstreams": {
            "echo": {"url": echo.mcp, "audience": "echo", "environment": "test", "tools": {"*": labels}},
        },
    }
    return yaml.safe_dump(settings)


def task_of_kind(gateway: GatewayProcess) -> Caller:
    """Open a task, and have it read something untrusted."""
    auth = {"authorization": f"Bearer {token(gateway, 'ann')}"}
    opened = httpx2.post(f"{gateway.origin}/tasks", json={"goal": "report", "kind": KIND}, headers=auth)
    assert opened.status_code == 201, opened.text
    agent = Caller(gateway, "echo", {**auth, "opagate-task": opened.json()["id"]})
    agent.call("echo", other="x")
    return agent


def endorse(agent: Caller, text: str) -> None:
    assert agent.call("echo", text=text).codes[-1] == "approval/pending"
    with connect_to_gateway(agent.gateway.folder / "state/control.sock", "carol") as desk:
        (asked,) = [one for one in desk.ask("approvals/list")["questions"] if one["state"] == "pending"]
        shown = desk.ask("approvals/show", id=asked["id"])
        assert shown["recurs"]["values"] == {"/text": [text]}
        vote = {"answer": "approve", "shown": shown["shown"], "scopes": ["once", "recurring"]}
        assert desk.ask("approvals/vote", id=asked["id"], **vote)["state"] == "granted"
    assert agent.call("echo", text=text).text == text


def listed(folder: Path) -> list[dict[str, Any]]:
    with connect_to_gateway(folder / "state/control.sock", "carol") as desk:
        return desk.ask("endorsements/list")["endorsements"]


def test_a_kill_loses_no_endorsement_and_revives_none(echo_server: ServerProcess, tmp_path: Path):
    config, port = configured(tmp_path, echo_server), free_port()
    kept, revoked = "ann@corp.example", "bob@corp.example"
    state = tmp_path / "state"
    with mortal_gateway(config, tmp_path, port=port) as gateway:
        before = read_endorsements(state)
        endorse(task_of_kind(gateway), kept)
        endorse(task_of_kind(gateway), revoked)
        gateway.process.kill()
    # The disk lost the last states of the record: the journal has them.
    put_back_endorsements(state, before)
    with mortal_gateway(config, tmp_path, port=port) as gateway:
        assert [one["values"] for one in listed(tmp_path)] == [None, None]
        both = read_endorsements(state)
        agent = task_of_kind(gateway)
        assert [agent.call("echo", text=text).text for text in (kept, revoked)] == [kept, revoked]
        with connect_to_gateway(tmp_path / "state/control.sock", "dave") as desk:
            desk.ask("endorsements/revoke", id=listed(tmp_path)[1]["id"])
        assert agent.call("echo", text=revoked).codes[-1] == "approval/pending"
        gateway.process.kill()
    put_back_endorsements(state, both)
    with mortal_gateway(config, tmp_path, port=port) as gateway:
        agent = task_of_kind(gateway)
        assert agent.call("echo", text=kept).text == kept
        assert agent.call("echo", text=revoked).codes[-1] == "approval/pending"
        assert len(listed(tmp_path)) == 1

    assert [entry["event"] for entry in entries(tmp_path, "endorsement")] == ["given", "given", "revoked"]
    assert verified(tmp_path).ok
