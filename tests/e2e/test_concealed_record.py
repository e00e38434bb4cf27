"""What an operator makes of a record in which known credentials are concealed: it is explained, exported and replayed."""

from __future__ import annotations

import json
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from tests import forked_gateway
from tests.e2e.desk import WORD
from tests.e2e.systems import Agent, Servers, agent
from tests.e2e.wire import Caller, entries, legacy
from tests.gateway_process import GatewayProcess, open_policy, running_gateway
from tests.requirements import requirement

PRESENTED = ["credential-chain/presentation"]
FULL = "journal: {arguments: full, results: full}"


@pytest.fixture(scope="module")
def gateway(systems: Servers, tmp_path_factory: pytest.TempPathFactory) -> Generator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("concealed")
    with running_gateway(systems.config(open_policy(folder), FULL), folder) as found:
        yield found


@pytest.fixture
def ada(gateway: GatewayProcess, systems: Servers, request: pytest.FixtureRequest) -> Agent:
    """A caller in a task of its own, in which `crm` has shown a password without a format."""
    task = agent(gateway, systems, f"ada-{request.node.name}").declare()
    task.passes("crm", "read", page="word")
    return task


def opagate(ada: Agent, *arguments: str) -> str:
    """The output of a command that succeeds."""
    done = forked_gateway.run([*arguments, "--config", "gateway.yaml"], ada.gateway.folder, os.environ)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stdout + done.stderr
    return done.stdout


@requirement("invariant/8", "explain/causes")
@pytest.mark.parametrize("sent", [{"token": WORD}, {WORD: WORD}, {"a": WORD[:10], "b": WORD[10:]}])
def test_a_refusal_for_a_concealed_credential_is_explained(ada: Agent, sent: dict[str, str]):
    refused = ada.held(PRESENTED, "billing", "read", **sent)
    told = opagate(ada, "journal", "explain", refused.decision)
    assert "credential-chain/presentation" in told
    assert "showed the credential" in " ".join(told.replace("│", " ").split())
    document = json.loads(opagate(ada, "journal", "explain", refused.decision, "--json"))
    assert "credential-chain/presentation" in [reason["code"] for reason in document["reasons"]]
    policy_input = opagate(ada, "journal", "explain", refused.decision, "--input")
    assert json.loads(policy_input)["session"]["credentials"][0]["origin"]["audience"] == "crm"
    for output in (told, json.dumps(document), policy_input):
        assert WORD not in output


@requirement("invariant/8")
def test_a_refusal_without_a_decision_is_explained_without_the_credential(ada: Agent, gateway: GatewayProcess):
    answer = Caller(gateway, "billing", ada.headers).ask(legacy("tools/call", name=f"read-{WORD}", arguments={}))
    told = opagate(ada, "journal", "explain", answer.decision)
    assert WORD not in told
    assert any(answer.decision == entry["id"] for entry in entries(gateway.folder, "refused"))


@requirement("invariant/8")
def test_a_task_with_concealed_values_is_exported_and_replayed_with_the_same_outcome(ada: Agent, tmp_path: Path):
    ada.passes("crm", "read", query=f"try {WORD}")
    ada.held(PRESENTED, "billing", "read", query=f"use {WORD}, thanks")
    ada.held(PRESENTED, "billing", "use", token=WORD)
    ada.passes("billing", "read", query="nothing of note")
    trace = tmp_path / "trace.jsonl"
    opagate(ada, "journal", "export", "--format", "trace", "--task", ada.task, "--output", str(trace))
    assert WORD not in trace.read_text("utf-8")

    steps = [json.loads(line) for line in opagate(ada, "policy", "replay", str(trace), "--json").splitlines()]
    outcomes: list[Any] = [(step["effect"], step["codes"]) for step in steps if "effect" in step]
    assert [effect for effect, _ in outcomes] == ["allow", "allow", "ask", "ask", "allow"], outcomes
    assert all(PRESENTED[0] in codes for effect, codes in outcomes if effect == "ask")
