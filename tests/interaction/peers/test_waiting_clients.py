"""Held calls of the SDKs for Python, TypeScript and Go: each revision and capability has its way to wait."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Generator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.surfaces.cli.control_client import ControlClient, connect_to_gateway
from tests.conformance.run import Node
from tests.e2e.wire import call, caller, stateless, token, until
from tests.gateway_process import GatewayProcess, running_gateway
from tests.interaction.peers.waiting_clients import Person, Plan, Seen, run_python, run_typescript
from tests.servers.serving import ROOT, ServerProcess, running

GRANTS = """
upstreams:
  "*":
    - {id: asks, agents: ["*"], issuers: ["*"], tools: [pay, pay_confirmed, "test_*"], approval: true}
    - {id: counts, agents: ["*"], issuers: ["*"], tools: [count]}
"""
SDKS = ["python", pytest.param("typescript", marks=pytest.mark.node)]


def labelled(reached: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of an upstream."""
    tools = {"*": {"effect": "read", "egress": False, "sensitivity": "internal"}}
    return {**reached, "audience": "payments", "environment": "test", "tools": tools}


@pytest.fixture(scope="module")
def payments(tmp_path_factory: pytest.TempPathFactory) -> Generator[ServerProcess]:
    with running("tests.servers.payments", tmp_path_factory.mktemp("payments") / "server.log") as server:
        yield server


@pytest.fixture(scope="module")
def gateway(
    payments: ServerProcess, everything_server: ServerProcess, tmp_path_factory: pytest.TempPathFactory
) -> Generator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("waiting")
    (folder / "grants.yaml").write_text(GRANTS, "utf-8")
    command = [sys.executable, "-m", "tests.servers.payments", "--stdio"]
    settings = {
        "identity": [{"kind": "development"}, {"kind": "anonymous"}],
        "policy": {"grants": "grants.yaml", "engine": {"kind": "embedded", "deadline": "20s"}},
        "approvals": {"hold": "50ms"},
        "upstreams": {
            "http": labelled({"url": payments.mcp}),
            "rounds": labelled({"url": everything_server.mcp, "additional_arguments": "pass"}),
            "stdio": labelled({"command": command, "cwd": str(ROOT)}),
        },
    }
    with running_gateway(yaml.safe_dump(settings), folder) as started:
        yield started


class Desk:
    """The person at the desk, who knows the questions of one agent."""

    def __init__(self, gateway: GatewayProcess, agent: str) -> None:
        self._socket = gateway.folder / "state/control.sock"
        self._agent = agent

    def pending(self) -> list[str]:
        with connect_to_gateway(self._socket, "carol") as desk:
            return [
                one["id"]
                for one in desk.ask("approvals/list")["questions"]
                if one["agent"] == self._agent and one["state"] == "pending"
            ]

    def approve(self, identifier: str) -> None:
        with connect_to_gateway(self._socket, "carol") as desk:
            assert self._vote(desk, identifier)["state"] == "granted"

    def open(self, url: str) -> None:
        """Approve the question at an address."""
        self.approve(url.rpartition("/")[2])

    def approve_next(self) -> None:
        """Approve the next question that comes."""
        until(self.pending)
        (identifier,) = self.pending()
        self.approve(identifier)

    def _vote(self, desk: ControlClient, identifier: str) -> Any:
        shown = desk.ask("approvals/show", id=identifier)["shown"]
        return desk.ask("approvals/vote", id=identifier, answer="approve", shown=shown)


class Trial:
    """One client of an SDK at the gateway, under an agent's name of its own."""

    def __init__(self, request: pytest.FixtureRequest, gateway: GatewayProcess, folder: Path, sdk: str) -> None:
        self.gateway = gateway
        self.agent = f"{sdk}-{folder.name}"
        self.desk = Desk(gateway, self.agent)
        node: Node | None = request.getfixturevalue("node") if sdk == "typescript" else None
        self._start = run_python if node is None else partial(run_typescript, node, folder)

    def run(self, era: str, *, opens: bool, person: Person | None = None, upstream: str = "http", **more: Any) -> Seen:
        plan = Plan(self.gateway.mcp(upstream), token(self.gateway, self.agent), era, opens, **more)
        plan.arguments.update(to=self.agent, amount=5)
        seen = self._start(plan, person or self.desk.open)
        assert seen.version == era
        return seen

    def paid(self) -> int:
        asked = call("count", stateless, to=self.agent)
        return int(caller(self.gateway, self.agent, "http").ask(asked).text)


@pytest.fixture(params=SDKS)
def trial(request: pytest.FixtureRequest, gateway: GatewayProcess, tmp_path: Path) -> Trial:
    return Trial(request, gateway, tmp_path, request.param)


def test_a_client_of_2026_07_28_that_opens_urls_opens_one_and_gets_its_result(trial: Trial):
    seen = trial.run("2026-07-28", opens=True)

    assert len(seen.opened) == 1
    assert seen.answers == [{"is_error": False, "text": f"paid 5 to {trial.agent}: payment 1"}]
    assert trial.paid() == 1


def test_a_client_of_2026_07_28_without_capabilities_gets_its_result_at_the_click(trial: Trial):
    clicking = threading.Thread(target=trial.desk.approve_next)
    clicking.start()
    seen = trial.run("2026-07-28", opens=False)
    clicking.join()

    assert [answer["is_error"] for answer in seen.answers] == [False]
    assert trial.paid() == 1


@pytest.mark.parametrize("urls", [0, 1])
def test_a_client_of_2026_07_28_that_waits_in_vain_gets_a_readable_refusal(trial: Trial, urls: int):
    seen = trial.run("2026-07-28", opens=bool(urls), person=lambda _url: None)

    (answer,) = seen.answers
    assert answer["is_error"] is True
    assert "[approval/pending]" in answer["text"]
    assert "Repeat the same call" in answer["text"]
    assert len(seen.opened) == urls
    assert seen.requests == 10
    assert trial.paid() == 0


@pytest.mark.parametrize("upstream", ["http", "stdio"])
def test_a_client_of_2025_11_25_that_opens_urls_gets_the_address_the_notice_and_its_result(trial: Trial, upstream: str):
    seen = trial.run("2025-11-25", opens=True, upstream=upstream, times=2)

    elicited, paid = seen.answers
    assert elicited["code"] == -32042
    assert seen.notices == [elicited["elicited"]]
    assert [url.rpartition("/")[2] for url in seen.opened] == seen.notices
    assert paid == {"is_error": False, "text": f"paid 5 to {trial.agent}: payment 1"}


@pytest.mark.parametrize(("era", "declares"), [("2025-11-25", ""), ("2025-06-18", ""), ("2025-06-18", "url")])
def test_any_other_client_gets_a_readable_result_and_passes_when_it_comes_again(trial: Trial, era: str, declares: str):
    first = trial.run(era, opens=bool(declares))
    assert [answer["is_error"] for answer in first.answers] == [True]
    assert "[approval/pending]" in first.answers[0]["text"]
    assert first.opened == first.notices == []
    (identifier,) = trial.desk.pending()
    assert f"/approvals/{identifier}" in first.answers[0]["text"]

    trial.desk.approve(identifier)
    second = trial.run(era, opens=bool(declares), times=2)
    assert [answer["is_error"] for answer in second.answers] == [False, True]
    assert trial.paid() == 1


@pytest.mark.parametrize("upstream", ["http", "stdio"])
def test_a_servers_own_form_in_the_midst_of_an_approved_call_reaches_the_client(trial: Trial, upstream: str):
    """The server asks after the approval, on the stream of the call. An answer to its form approves nothing of ours."""
    seen = trial.run("2025-11-25", opens=True, upstream=upstream, tool="pay_confirmed", times=3)

    assert [answer.get("code") for answer in seen.answers] == [-32042, None, -32042]
    assert seen.answers[1] == {"is_error": False, "text": f"paid 5 to {trial.agent}: payment 1"}
    assert seen.forms == 1
    assert trial.desk.pending() == []


@pytest.mark.parametrize(("tool", "forms"), [("request_state", 1), ("multi_round", 2)])
def test_a_servers_own_rounds_go_on_under_one_approval(trial: Trial, tool: str, forms: int):
    tool = f"test_input_required_result_{tool}"
    seen = trial.run("2026-07-28", opens=True, upstream="rounds", tool=tool)

    assert [answer["is_error"] for answer in seen.answers] == [False]
    assert (len(seen.opened), seen.forms) == (1, forms)
    assert trial.desk.pending() == []


def test_the_sdk_for_go_fails_visibly_after_three_rounds_and_passes_when_it_comes_again(
    gosdk_path: Path, gateway: GatewayProcess
):
    """It opens no URLs, so it gets the state alone. An empty result would look like a success."""
    command = [str(gosdk_path), "pay", json.dumps({"to": "go", "amount": 5}), gateway.mcp("http")]

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False
        )

    first, desk = run(), Desk(gateway, "dev")
    assert first.returncode != 0
    assert "exceeded maximum load-shedding retries (3)" in first.stderr
    (identifier,) = desk.pending()
    desk.approve(identifier)

    assert "paid 5 to go: payment 1" in run().stdout
