"""The implicit task of a caller, through a real gateway and to real servers: no token, session or certificate begins a
new one, a pause or its own time does, and what it has read outlasts that.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.desk import ADDRESS, KEY
from tests.e2e.running import mortal_gateway
from tests.e2e.systems import Agent, Servers, agent
from tests.e2e.wire import Sent, legacy, stateless, token, until
from tests.gateway_process import GatewayProcess, free_port, open_policy, running_gateway
from tests.requirements import requirement

ERAS = pytest.mark.parametrize("era", [legacy, stateless])


def renewed(caller: Agent, name: str, **more: Any) -> Agent:
    """The same caller with another token, as an OAuth client gets one by itself."""
    return replace(caller, headers={"authorization": f"Bearer {token(caller.gateway, name, **more)}"})


@requirement("history/fan-out", "history/implicit")
@ERAS
def test_a_token_for_each_call_reaches_no_more_systems_than_one_token(
    one: GatewayProcess, systems: Servers, era: Callable[..., Sent]
):
    name = f"refreshing-{era.__name__}"
    ada = replace(agent(one, systems, name), era=era)
    for system in ("crm", "billing", "chat"):
        renewed(ada, name).reads(system)
    for system in ("files", "search", "tickets", "vault", "acme"):
        renewed(ada, name).asked(["fan-out/audiences"], system, "read")
    renewed(ada, name).reads("crm")
    agent(one, systems, f"another-{era.__name__}").reads("files")


@requirement("history/fan-out", "history/implicit")
def test_a_session_for_each_token_reaches_no_more_systems_either(one: GatewayProcess, systems: Servers):
    name = "reconnecting"
    ada = agent(one, systems, name)
    for system in ("crm", "billing", "chat"):
        renewed(ada, name).session(system).passes(system, "read")
    renewed(ada, name).session("files").asked(["fan-out/audiences"], "files", "read")


@requirement("history/toxic-flow", "history/implicit")
@ERAS
def test_a_new_token_has_read_what_the_one_before_had(one: GatewayProcess, systems: Servers, era: Callable[..., Sent]):
    name = f"labelled-{era.__name__}"
    ada = replace(agent(one, systems, name), era=era)
    ada.passes("crm", "read", page="advice")
    renewed(ada, name).asked(["toxic-flow/ungrounded"], "crm", "send", to=ADDRESS, body="hello")
    renewed(ada, name).passes("vault", "confidential")
    renewed(ada, name).held(["toxic-flow/exfiltration"], "mail", "post", text="hello")


@requirement("history/implicit", "invariant/5")
def test_two_users_of_one_agent_share_no_task(one: GatewayProcess, systems: Servers):
    name = "shared-agent"
    ann, bob = agent(one, systems, name, user="ann"), agent(one, systems, name, user="bob")
    ann.reads("crm", "billing")
    ann.passes("vault", "confidential")
    bob.reads("files")
    bob.passes("mail", "post", text="hello")
    renewed(ann, name, user="ann").held(["toxic-flow/exfiltration"], "mail", "post", text="hello")
    renewed(ann, name, user="ann").asked(["fan-out/audiences"], "files", "read")


@requirement("history/fan-out", "history/implicit", "invariant/9")
def test_tokens_that_are_used_at_once_reach_no_more_systems_together(one: GatewayProcess, systems: Servers):
    name = "parallel"
    ada = agent(one, systems, name)
    reached = ("crm", "billing", "chat", "files", "search", "tickets", "vault", "acme")
    with ThreadPoolExecutor(len(reached)) as threads:
        calls = [threads.submit(renewed(ada, name).call, system, "read") for system in reached]
        answers = [call.result(30) for call in calls]
    systems.take()
    refused = [answer for answer in answers if "isError" in answer.json["result"]]
    assert len(refused) >= 5
    assert {answer.codes[0] for answer in refused} <= {"fan-out/audiences", "fan-out/burst"}


@requirement("history/restart", "history/implicit", "invariant/9")
@pytest.mark.parametrize("snapshots", [True, False])
def test_a_new_token_after_a_crash_is_of_the_same_task(systems: Servers, tmp_path: Path, *, snapshots: bool):
    config, port, name = systems.config(open_policy(tmp_path)), free_port(), "crashing"
    with mortal_gateway(config, tmp_path, port=port) as gateway:
        ada = agent(gateway, systems, name)
        ada.reads("crm", "billing")
        ada.passes("vault", "confidential")
    if not snapshots:
        shutil.rmtree(tmp_path / "state/history", ignore_errors=True)

    with mortal_gateway(config, tmp_path, port=port) as gateway:
        again = renewed(replace(ada, gateway=gateway), name)
        again.held(["toxic-flow/exfiltration"], "mail", "post", text="hello")
        again.asked(["fan-out/audiences"], "files", "read")


# --- the end of one ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def brief(systems: Servers, tmp_path_factory: pytest.TempPathFactory) -> Generator[GatewayProcess]:
    """A gateway whose implicit tasks last for eight seconds."""
    folder = tmp_path_factory.mktemp("brief")
    with running_gateway(systems.config(open_policy(folder), "history: {idle: 8s, lifetime: 8s}"), folder) as found:
        yield found


def passes_at_last(caller: Agent, system: str) -> None:
    """Repeat a call until it passes."""
    until(lambda: "isError" not in caller.call(system, "read").json["result"])
    caller.servers.take()


@requirement("history/fan-out", "history/implicit")
def test_a_caller_that_never_pauses_reaches_other_systems_after_a_time(brief: GatewayProcess, systems: Servers):
    ada = agent(brief, systems, "tireless")
    ada.reads("crm", "billing", "chat")
    ada.asked(["fan-out/audiences"], "files", "read")
    passes_at_last(ada, "files")


@requirement("history/toxic-flow", "history/implicit")
def test_what_the_last_task_had_read_is_carried_on(brief: GatewayProcess, systems: Servers):
    ada = agent(brief, systems, "carrying")
    ada.passes("vault", "confidential", page="key")
    ada.reads("crm", "billing")
    passes_at_last(ada, "files")
    ada.held(["toxic-flow/exfiltration"], "mail", "post", text="hello")
    ada.held(["credential-chain/presentation"], "chat", "use", token=KEY)
