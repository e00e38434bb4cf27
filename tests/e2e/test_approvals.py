"""Held calls through real gateways: kills, clients of both eras, and the command line of approvers."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp.types import TextContent

from gateway.surfaces.cli.control_client import ControlClient, connect_to_gateway
from tests import forked_gateway
from tests.e2e.running import mortal_gateway
from tests.e2e.wire import call, caller, entries, page, token, until, verified
from tests.gateway_process import GatewayProcess, free_port, running_gateway
from tests.servers.echo import Recorder
from tests.servers.serving import ServerProcess

GRANTS = """
upstreams:
  echo: [{id: asks, agents: ["*"], issuers: ["*"], tools: [echo], approval: true}]
  shop: [{id: all, agents: ["*"], issuers: ["*"], tools: [echo], effects: [destructive]}]
"""


def configured(folder: Path, echo: ServerProcess, hold: str) -> str:
    (folder / "grants.yaml").write_text(GRANTS, "utf-8")
    tools = {"*": {"effect": "read", "egress": False, "sensitivity": "internal"}}
    destroys = {"*": {**tools["*"], "effect": "destructive"}}
    settings = {
        "identity": [{"kind": "development"}],
        "policy": {"grants": "grants.yaml", "engine": {"kind": "embedded", "deadline": "20s"}},
        "approvals": {"hold": hold},
        "upstreams": {
            "echo": {"url": echo.mcp, "audience": "echo", "environment": "test", "tools": tools},
            "shop": {"url": echo.mcp, "audience": "shop", "environment": "test", "tools": destroys},
        },
    }
    return yaml.safe_dump(settings)


@pytest.fixture(scope="module")
def gateway(echo_server: ServerProcess, tmp_path_factory: pytest.TempPathFactory) -> Generator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("approvals")
    with running_gateway(configured(folder, echo_server, "30s"), folder) as running:
        yield running


def at_desk(folder: Path, act: Callable[[ControlClient], Any], person: str = "carol") -> Any:
    with connect_to_gateway(folder / "state/control.sock", person) as desk:
        return act(desk)


def waiting(folder: Path) -> list[dict[str, Any]]:
    return at_desk(folder, lambda desk: desk.ask("approvals/list")["questions"])


def approve(folder: Path, identifier: str, **more: Any) -> None:
    def act(desk: ControlClient) -> Any:
        shown = desk.ask("approvals/show", id=identifier)["shown"]
        return desk.ask("approvals/vote", id=identifier, answer="approve", shown=shown, **more)

    assert at_desk(folder, act)["state"] == "granted"


def received(echo: ServerProcess, text: str) -> int:
    return sum(text in record["body"] for record in Recorder(echo.origin).requests())


def test_a_kill_at_any_moment_loses_no_question_and_uses_no_approval_twice(echo_server: ServerProcess, tmp_path: Path):
    config, port = configured(tmp_path, echo_server, "10ms"), free_port()
    texts = [f"killed-{number}-{tmp_path.name}" for number in range(6)]
    with mortal_gateway(config, tmp_path, port=port) as gateway:
        ann = caller(gateway, "ann", "echo")
        for text in texts[:5]:
            assert ann.call("echo", text=text).codes == ["approval/grant", "approval/pending"]
        for one in waiting(tmp_path)[1:]:
            approve(tmp_path, one["id"])
        assert ann.call("echo", text=texts[4]).text == texts[4]
        gateway.process.kill()
    with mortal_gateway(config, tmp_path, port=port) as gateway:
        ann = caller(gateway, "ann", "echo")
        assert [one["state"] for one in waiting(tmp_path)] == ["pending", "granted", "granted", "granted"]
        assert ann.call("echo", text=texts[0]).codes == ["approval/grant", "approval/pending"]
        assert ann.call("echo", text=texts[1]).text == texts[1]
        gateway.process.kill()
    with mortal_gateway(config, tmp_path, port=port) as gateway:
        ann = caller(gateway, "ann", "echo")
        for used in (texts[1], texts[4]):
            assert ann.call("echo", text=used).codes == ["approval/grant", "approval/pending"]
        for granted in (texts[2], texts[3]):
            assert ann.call("echo", text=granted).text == granted
        asked = {entry["id"] for entry in entries(tmp_path, "approval") if entry["event"] == "asked"}
        assert len(asked) == 7

    assert [received(echo_server, text) for text in texts] == [0, 1, 1, 1, 1, 0]
    assert verified(tmp_path).ok


@pytest.mark.parametrize(("endpoint", "tool"), [("mcp/echo", "echo"), ("mcp", "echo__echo")])
@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_sdk_for_python_gets_its_result_at_the_click(
    gateway: GatewayProcess, mode: Any, endpoint: str, tool: str
):
    text = f"sdk-{mode}-{tool}"

    def person() -> None:
        until(lambda: [one for one in waiting(gateway.folder) if one["state"] == "pending"])
        (one,) = [one for one in waiting(gateway.folder) if one["state"] == "pending"]
        approve(gateway.folder, one["id"])

    clicking = threading.Thread(target=person)
    clicking.start()
    headers = {"authorization": f"Bearer {token(gateway, f'sdk-{mode}')}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=300) as http,
        Client(streamable_http_client(f"{gateway.origin}/{endpoint}", http_client=http), mode=mode) as client,
    ):
        result = await client.call_tool(tool, {"text": text})
    clicking.join()

    assert result.is_error is not True
    assert isinstance(result.content[0], TextContent)
    assert result.content[0].text == text


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_call_that_its_client_gave_up_passes_only_when_it_comes_again(
    gateway: GatewayProcess, echo_server: ServerProcess, mode: Any
):
    agent = f"impatient-{mode}"
    headers = {"authorization": f"Bearer {token(gateway, agent)}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=300) as http,
        Client(streamable_http_client(gateway.mcp("echo"), http_client=http), mode=mode) as client,
    ):
        with pytest.raises(MCPError, match="timed out"):
            await client.call_tool("echo", {"text": agent}, read_timeout_seconds=1)
        await asyncio.to_thread(until, lambda: "opagate_in_flight 0" in page(gateway, "/metrics")[1], 10)
        (one,) = [one for one in waiting(gateway.folder) if one["agent"] == agent]
        approve(gateway.folder, one["id"])
        result = await client.call_tool("echo", {"text": agent})

    assert result.is_error is not True
    assert received(echo_server, agent) == 1


def test_approvers_list_show_and_deny_on_the_command_line(gateway: GatewayProcess):
    def run(*words: str) -> Any:
        arguments = ("approvals", *words, "--as", "carol", "--json")
        done = forked_gateway.run(arguments, gateway.folder, {"HOME": str(gateway.folder)}, given="", timeout=300)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    answers: list[Any] = []
    calling = threading.Thread(target=lambda: answers.append(caller(gateway, "cli", "echo").call("echo", text="cli")))
    calling.start()
    until(lambda: [one for one in waiting(gateway.folder) if one["agent"] == "cli"])
    (one,) = [one for one in run("list") if one["agent"] == "cli"]
    shown = run("show", one["id"][:8])
    denied = run("deny", one["id"][:8])
    calling.join()

    assert shown["said_by_agent"]["arguments"]["value"] == {"text": "cli"}
    assert denied["state"] == "denied"
    assert answers[0].codes == ["approval/grant", "approval/denied"]


def test_the_effects_of_a_task_that_a_person_approved_ask_no_more(echo_server: ServerProcess, tmp_path: Path):
    declared = {"goal": "say kept", "contract": {"effects": {"destructive": ["shop/echo"]}}}
    with running_gateway(configured(tmp_path, echo_server, "10ms"), tmp_path) as gateway:
        headers = {"authorization": f"Bearer {token(gateway, 'ann')}"}
        ask = partial(httpx2.post, f"{gateway.origin}/tasks", headers=headers)
        assert ask(json=declared | {"approval": "ask"}).status_code == 202
        (one,) = waiting(tmp_path)
        approve(tmp_path, one["id"])
        approved, unapproved = ask(json=declared | {"approval": "ask"}).json(), ask(json=declared).json()
        ann = caller(gateway, "ann", "shop")

        def call_in(task: dict[str, Any]) -> Any:
            return ann.ask(call("echo", text="kept"), headers={"opagate-task": task["token"]})

        assert approved["approved_by"] == [{"id": "carol", "issuer": "local"}]
        assert call_in(approved).text == "kept"
        assert call_in(approved).text == "kept"
        assert call_in(unapproved).codes == ["approval/effect", "approval/pending"]
