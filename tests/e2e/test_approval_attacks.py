"""Approvals under attack through real gateways: a kill with many open questions, other callers, an engine that is away."""

from __future__ import annotations

import copy
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from gateway.surfaces.cli.control_client import ControlClient
from tests.e2e.conftest import policy
from tests.e2e.faults import problems
from tests.e2e.running import Opa, mortal_gateway
from tests.e2e.systems import Servers, agent
from tests.e2e.test_approvals import approve, at_desk, configured, received, waiting
from tests.e2e.wire import Caller, caller, entries, token, until, verified
from tests.gateway_process import GatewayProcess, free_port, open_policy, running_gateway
from tests.servers.receivers import SECRET, receiving
from tests.servers.serving import ServerProcess

AGENTS = 12
EACH = 5
"""Questions of one task that may wait at once."""


def test_a_kill_with_sixty_open_questions_loses_none_and_asks_nobody_twice(echo_server: ServerProcess, tmp_path: Path):
    (tmp_path / "hook-secret").write_text(SECRET, "utf-8")
    texts = {f"agent-{one}": [f"{tmp_path.name}-{one}-{each}" for each in range(EACH)] for one in range(AGENTS)}
    granted = [text for agent in ("agent-0", "agent-1") for text in texts[agent]]
    with receiving() as hooks:
        settings = yaml.safe_load(configured(tmp_path, echo_server, "10ms"))
        hook = {"kind": "webhook", "url": hooks.url, "secret": "file:hook-secret", "tell_end": False}
        settings["approvals"]["channels"] = [hook, {"kind": "cli"}]
        config, port = yaml.safe_dump(settings), free_port()
        with mortal_gateway(config, tmp_path, port=port) as gateway:
            for agent, own in texts.items():
                for text in own:
                    codes = caller(gateway, agent, "echo").call("echo", text=text).codes
                    assert codes == ["approval/grant", "approval/pending"]
            for one in waiting(tmp_path):
                if one["agent"] in {"agent-0", "agent-1"}:
                    approve(tmp_path, one["id"])
            gateway.process.kill()
        with mortal_gateway(config, tmp_path, port=port) as gateway:
            found = waiting(tmp_path)
            states = [one["state"] for one in found]
            assert (states.count("pending"), states.count("granted"), len(states)) == (50, 10, 60)
            shown = at_desk(tmp_path, lambda desk: [_argument(desk, one["id"]) for one in found])
            assert sorted(shown) == sorted(text for own in texts.values() for text in own)
            for agent, own in texts.items():
                for text in own:
                    answer = caller(gateway, agent, "echo").call("echo", text=text)
                    if text in granted:
                        assert answer.text == text
                    else:
                        assert answer.codes == ["approval/grant", "approval/pending"]
            asked = [entry for entry in entries(tmp_path, "approval") if entry["event"] == "asked"]
            assert len(asked) == 60
            pending = {one["id"] for one in found if one["state"] == "pending"}
            until(lambda: pending <= _told(hooks.received).keys())
            # A kill in the middle of a delivery leaves it unrecorded. Then a digest may list its question again.
            assert all(sorted(types) in _TOLD_ONCE for types in _told(hooks.received).values())
            again = caller(gateway, "agent-0", "echo").call("echo", text=granted[0])
            assert again.codes == ["approval/grant", "approval/pending"]

    assert [received(echo_server, f'"{text}"') for text in granted] == [1] * 10
    assert verified(tmp_path).ok


def _argument(desk: ControlClient, identifier: str) -> str:
    return desk.ask("approvals/show", id=identifier)["said_by_agent"]["arguments"]["value"]["text"]


_TOLD_ONCE = (["approval.asked"], ["approval.digest"], ["approval.asked", "approval.digest"])


def _told(received: list[Any]) -> dict[str, list[str]]:
    """Return the types of the messages that told of each question. A message of the same id counts once."""
    found: dict[str, list[str]] = {}
    for one in {one.id: one for one in received}.values():
        data = one.event["data"]
        for question in data.get("questions", [data]):
            found.setdefault(question["id"], []).append(one.event["type"])
    return found


@pytest.fixture(scope="module")
def gateway(echo_server: ServerProcess, tmp_path_factory: pytest.TempPathFactory) -> Generator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("attacks")
    settings = yaml.safe_load(configured(folder, echo_server, "10ms"))
    settings["upstreams"]["twin"] = copy.deepcopy(settings["upstreams"]["echo"]) | {"audience": "twin"}
    (folder / "grants.yaml").write_text(
        (folder / "grants.yaml").read_text("utf-8")
        + '  twin: [{id: twin, agents: ["*"], issuers: ["*"], tools: [echo], approval: true}]\n',
        "utf-8",
    )
    with running_gateway(yaml.safe_dump(settings), folder) as running:
        yield running


def test_an_approval_is_for_no_other_caller_user_task_or_upstream(gateway: GatewayProcess, echo_server: ServerProcess):
    text = f"swapped-{gateway.folder.name}"
    ann = caller(gateway, "ann", "echo", user="ursula")
    assert ann.call("echo", text=text).codes == ["approval/grant", "approval/pending"]
    (one,) = waiting(gateway.folder)
    approve(gateway.folder, one["id"])
    bearer = {"authorization": f"Bearer {token(gateway, 'ann', user='ursula')}"}
    task = httpx2.post(f"{gateway.origin}/tasks", headers=bearer, json={"goal": "x"}).json()
    others = {
        "agent": caller(gateway, "bob", "echo", user="ursula"),
        "user": caller(gateway, "ann", "echo", user="victor"),
        "no user": caller(gateway, "ann", "echo"),
        "upstream": Caller(gateway, "twin", ann.headers),
        "task": Caller(gateway, "echo", {**ann.headers, "opagate-task": task["token"]}),
    }

    codes = {name: other.call("echo", text=text).codes for name, other in others.items()}
    assert codes == {name: ["approval/grant", "approval/pending"] for name in others}
    assert received(echo_server, text) == 0
    assert ann.call("echo", text=text).text == text
    assert received(echo_server, text) == 1


@pytest.mark.opa
def test_an_engine_that_is_away_at_the_release_leaves_the_approval(
    opa_path: Path, echo_server: ServerProcess, tmp_path: Path
):
    tree = policy(tmp_path)
    grants = {
        "upstreams": {"echo": [{"id": "a", "agents": ["*"], "issuers": ["*"], "tools": ["echo"], "approval": True}]}
    }
    (tree / "gateway/grants/data.yaml").write_text(yaml.safe_dump(grants), "utf-8")
    opa = Opa(opa_path, tree, tmp_path)
    opa.start()
    settings = yaml.safe_load(configured(tmp_path, echo_server, "10ms"))
    settings["policy"] = {"engine": {"kind": "opa", "url": f"unix://{opa.socket}", "deadline": "5s"}, "path": str(tree)}
    text = f"away-{tmp_path.name}"
    try:
        with mortal_gateway(yaml.safe_dump(settings), tmp_path) as gateway:
            ann = caller(gateway, "ann", "echo")
            assert ann.call("echo", text=text).codes == ["approval/grant", "approval/pending"]
            (one,) = waiting(tmp_path)
            approve(tmp_path, one["id"])
            opa.kill()
            assert [ann.call("echo", text=text).codes for _ in range(3)] == [["policy/unavailable"]] * 3
            assert [one["state"] for one in waiting(tmp_path)] == ["granted"]
            assert received(echo_server, text) == 0
            opa.start()
            until(lambda: not problems(gateway))
            assert ann.call("echo", text=text).text == text
            assert ann.call("echo", text=text).codes == ["approval/grant", "approval/pending"]
    finally:
        opa.kill()
    assert received(echo_server, text) == 1


def test_an_approved_address_asks_once_in_its_task(systems: Servers, tmp_path: Path):
    more = "approvals: {hold: 10ms}\n"
    with running_gateway(systems.config(open_policy(tmp_path), more), tmp_path) as gateway:
        ada = agent(gateway, systems)
        task = ada.declare(goal="Answer the mail of today")
        task.passes("chat", "read")

        def asks(working: Any, to: str) -> None:
            answer = working.asked(["toxic-flow/ungrounded"], "mail", "send", to=to, body="hello")
            assert "approval/pending" in answer.text

        asks(task, "eve@evil.example")
        (one,) = waiting(tmp_path)
        approve(tmp_path, one["id"], scopes=["once", "destination"])
        for body in ("hello", "how are you", "bye"):
            task.passes("mail", "send", to="eve@evil.example", body=body)
        asks(task, "mallory@evil.example")
        other = ada.declare(goal="Answer the mail of today")
        other.passes("chat", "read")
        asks(other, "eve@evil.example")
