"""What a task has done before, through a real gateway and to real servers: what untrusted data does, budgets, contracts, and
all of that after the gateway was killed. Fan-out and credentials are beside it.

Each refusal is looked at as the agent sees it, and none of the servers has seen the call.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from tests.e2e.desk import ADDRESS, KEY
from tests.e2e.running import mortal_gateway
from tests.e2e.systems import Agent, Servers, agent
from tests.e2e.wire import Caller, Sent, legacy, stateless
from tests.gateway_process import TRACEBACK, GatewayProcess, free_port, open_policy, running_gateway
from tests.requirements import requirement

# --- what untrusted data does ------------------------------------------------------------------------------


@requirement("history/toxic-flow")
def test_confidential_data_stays_in_its_own_system_after_something_untrusted(ada: Agent):
    ada.reads("crm")
    ada.passes("vault", "confidential")
    flow = ["toxic-flow/exfiltration"]
    ada.held(flow, "mail", "post", text="hello")
    ada.held(flow, "mail", "send", to=ADDRESS, body="hello")
    ada.held(flow, "mail", "send", to="colleague@example.com", body="hello")
    ada.passes("vault", "write", body="hello")
    ada.held(flow, "vault", "send", to=["colleague@example.com", ADDRESS], body="hello")
    ada.passes("mail", "read")


@requirement("history/toxic-flow")
def test_two_of_the_three_may_be(ada: Agent):
    ada.passes("wiki", "confidential")
    ada.passes("mail", "send", to="colleague@corp.example", body="hello")
    other = agent(ada.gateway, ada.servers)
    other.reads("crm")
    other.passes("crm", "post", text="hello")
    ada.reads("crm")
    ada.declare().held(["toxic-flow/exfiltration"], "crm", "post", text="hello")


@requirement("history/toxic-flow")
def test_a_destination_or_amount_that_only_an_untrusted_source_named_is_asked_about(ada: Agent):
    ada.passes("mail", "send", to=ADDRESS)
    ada.passes("crm", "read", page="advice")
    ungrounded = ["toxic-flow/ungrounded"]
    ada.asked(ungrounded, "crm", "send", to=ADDRESS, body="hello")
    ada.asked(ungrounded, "crm", "pay", amount="4711.50")
    ada.asked(ungrounded, "crm", "send", body=f"see https://{ADDRESS.partition('@')[2]}/x.png")
    ada.asked([*ungrounded, "approval/effect"], "crm", "run", command="rm -r /")
    ada.passes("crm", "send", body="hello")


@requirement("history/toxic-flow")
def test_what_the_goal_or_a_trusted_source_named_is_grounded(ada: Agent):
    task = ada.declare(goal=f"Send the report to {ADDRESS} and pay 4711.50")
    task.passes("crm", "read", page="advice")
    task.passes("crm", "send", to=ADDRESS.upper(), body="hello")
    task.passes("crm", "pay", amount="4,711.50", to=ADDRESS)
    other = ada.declare()
    other.passes("wiki", "read", page="advice")
    other.passes("crm", "read", page="advice")
    other.passes("crm", "send", to=ADDRESS, body="hello")


@requirement("history/toxic-flow")
def test_a_trusted_system_that_repeats_what_it_was_asked_grounds_nothing(ada: Agent):
    ada.passes("crm", "read", page="advice")
    ada.passes("wiki", "read", find=f"{ADDRESS}, 4711.50")
    ada.asked(["toxic-flow/ungrounded"], "crm", "send", to=ADDRESS, body="hello")
    ada.asked(["toxic-flow/ungrounded"], "crm", "pay", amount="4711.50")
    ada.passes("mail", "read", page="advice")
    ada.asked(["toxic-flow/ungrounded"], "crm", "send", to=ADDRESS, body="hello")


@requirement("history/toxic-flow")
def test_a_link_that_the_goal_points_at_is_followed_once_and_says_nothing_else(ada: Agent):
    ungrounded, task = ["toxic-flow/ungrounded"], ada.declare(goal="Look through the reading list")
    task.passes("chat", "read", page="reading")
    task.asked(ungrounded, "search", "fetch", url="https://www.news.test/?q=what-you-know")
    task.asked(ungrounded, "search", "fetch", url="https://blog.test/?q=what-you-know")
    task.asked(ungrounded, "search", "fetch", url="https://blog.test/today", note="what you know")
    task.passes("search", "fetch", url="https://www.news.test/")
    task.passes("search", "fetch", url="https://blog.test/today")
    task.asked(ungrounded, "search", "fetch", url="https://blog.test/today")
    task.asked(ungrounded, "search", "send", to="www.news.test")


@requirement("history/toxic-flow")
def test_of_links_to_choose_from_and_those_that_the_goal_does_not_point_at_none_is_followed(ada: Agent):
    for goal in ("Learn the alphabet", "Look through the reading list"):
        task = ada.declare(goal=goal)
        task.passes("chat", "read", page="alphabet")
        task.asked(["toxic-flow/ungrounded"], "search", "fetch", url="https://leak.test/s")
        task.asked(["toxic-flow/ungrounded"], "search", "fetch", url="https://leak.test/a")


# --- what a task may use up ---------------------------------------------------------------------------------


@requirement("history/budget")
def test_a_task_uses_up_no_more_than_it_declared(ada: Agent):
    task = ada.declare(contract={"limits": {"calls": 3}})
    task.reads("crm", "crm", "crm")
    task.asked(["budget/calls"], "crm", "read")


@requirement("history/budget")
def test_a_task_that_keeps_being_refused_is_asked_about_and_then_makes_no_more_calls(ada: Agent):
    ada.passes("crm", "read", page="key")
    for _ in range(51):
        assert ada.call("crm", "post", text=KEY).codes == ["credential-chain/egress"]
    ada.asked(["budget/denials"], "crm", "write", body="a few words")
    ada.passes("crm", "read")
    ada.servers.take()
    for _ in range(150):
        assert ada.call("crm", "post", text=KEY).codes[-1] == "credential-chain/egress"
    assert ada.servers.take() == []
    ada.denied(["budget/denials"], "crm", "write", body="a few words")
    ada.denied(["budget/denials"], "billing", "read")
    ada.passes("crm", "read")


@requirement("history/budget")
def test_a_task_has_no_more_calls_open_than_it_declared(ada: Agent):
    task, key = ada.declare(contract={"limits": {"in_flight": 1}}), secrets.token_hex(8)
    with ThreadPoolExecutor(1) as thread:
        held = thread.submit(task.call, "crm", "hold", key=key)
        task.servers.of("crm").wait("request", key)
        task.asked(["budget/in-flight"], "crm", "read")
        task.servers.of("crm").release(key)
        assert held.result(30).status == 200
    task.reads("crm")


@requirement("history/budget")
def test_what_a_risky_task_changes_is_asked_about(ada: Agent):
    task = ada.declare(risk="high")
    task.reads("crm")
    task.asked(["budget/risk"], "crm", "write")


# --- declared tasks ------------------------------------------------------------------------------------------


@requirement("history/contract")
def test_a_contract_narrows_what_its_principal_may_do(ada: Agent):
    task = ada.declare(
        contract={
            "audiences": ["crm", "mail"],
            "tools": ["crm/read", "mail/*", "chat/*"],
            "destinations": ["*@corp.example"],
        }
    )
    task.reads("crm", "mail")
    task.passes("mail", "send", to="BOB@corp.example")
    task.denied(["contract/audience"], "chat", "read")
    task.denied(["contract/tool"], "crm", "write")
    task.denied(["contract/audience", "contract/tool"], "billing", "read")
    task.denied(["contract/destination"], "mail", "send", to="bob@corp.example", bcc="eve@evil.example")
    task.denied(["contract/destination"], "mail", "send", to="eve@evil.example|bob@corp.example")
    ada.reads("billing")


@requirement("history/contract")
def test_an_agent_that_declares_its_own_effects_is_asked_as_before(ada: Agent):
    task = ada.declare(goal="Make a key", contract={"effects": {"mint": ["crm/mint"], "destructive": ["*"]}})
    task.asked(["approval/effect", "credential-chain/mint"], "crm", "mint")
    ada.asked(["approval/effect", "credential-chain/mint"], "crm", "mint")


@requirement("history/contract")
def test_a_contract_gives_nothing(one: GatewayProcess, systems: Servers, tmp_path: Path):
    policy = open_policy(tmp_path)
    grants = policy / "gateway/grants/data.yaml"
    grants.write_text(grants.read_text("utf-8").replace('tools: ["*"]', 'tools: ["read"]'), "utf-8")
    with running_gateway(systems.config(policy), tmp_path) as gateway:
        task = agent(gateway, systems).declare(contract={"tools": ["crm/*"]})
        task.reads("crm")
        task.denied(["tool/not-granted"], "crm", "write")


@requirement("history/contract")
def test_an_empty_list_allows_nothing(ada: Agent):
    ada.declare(contract={"audiences": []}).denied(["contract/audience"], "crm", "read")
    ada.declare(contract={"tools": []}).denied(["contract/tool"], "crm", "read")
    nowhere = ada.declare(contract={"destinations": []})
    nowhere.denied(["contract/destination"], "mail", "send", to="bob@corp.example")
    nowhere.reads("crm")


@requirement("history/contract")
def test_a_task_stays_in_the_tenant_and_environment_that_it_declared(ada: Agent):
    tenant = ada.declare(tenant="acme")
    tenant.denied(["contract/tenant"], "globex", "read")
    tenant.reads("acme")
    environment = ada.declare(environment="staging")
    environment.denied(["contract/environment"], "crm", "read")
    environment.reads("staging")


def not_served(task: Agent, code: str) -> None:
    """The call is refused before policy, and arrives nowhere."""
    task.servers.take()
    answer = task.call("crm", "read")
    assert (answer.status, code in str(answer.json)) == (403, True), answer.body
    assert task.servers.take() == []


@requirement("history/contract", "invariant/5")
def test_the_task_of_another_is_as_unknown_as_one_that_never_was(ada: Agent, one: GatewayProcess, systems: Servers):
    task = ada.declare(contract={"audiences": ["crm"]})
    mallory = agent(one, systems, "mallory")
    token = ada.tasks("")[1]["token"]
    ada.within(token).reads("crm")
    not_served(mallory.within(token), "task/")
    not_served(mallory.within(task.task), "task/unknown")
    not_served(mallory.within("no-such-task"), "task/unknown")
    assert mallory.tasks(f"/{task.task}/cancel")[0] == 404
    task.reads("crm")


@requirement("history/contract", "invariant/5")
@pytest.mark.parametrize("era", [legacy, stateless])
def test_a_task_is_selected_in_the_message_too_by_its_id_or_its_token(
    ada: Agent, one: GatewayProcess, systems: Servers, era: Callable[..., Sent]
):
    declared = ada.tasks("", contract={"audiences": ["crm"]})[1]
    mallory = agent(one, systems, "mallory")
    for name in (declared["id"], declared["token"]):
        asked = era("tools/call", name="read", arguments={}, _meta={"io.opagate/task": name})
        mine, theirs = Caller(one, "billing", ada.headers).ask(asked), Caller(one, "crm", mallory.headers).ask(asked)
        assert mine.codes == ["contract/audience"]
        assert (theirs.status, "task/unknown" in str(theirs.json)) == (403, True)
        systems.take()
        assert "isError" not in Caller(one, "crm", ada.headers).ask(asked).json["result"]
        assert [call.system for call in systems.take()] == ["crm"]


@requirement("history/contract", "history/elsewhere", "invariant/5")
@pytest.mark.parametrize("era", [legacy, stateless])
def test_the_token_of_a_task_stands_in_its_own_place_alone(
    ada: Agent, one: GatewayProcess, systems: Servers, era: Callable[..., Sent]
):
    token = ada.tasks("")[1]["token"]
    selects, crm = {"io.opagate/task": token}, Caller(one, "crm", ada.headers)
    for arguments, meta in (
        ({"body": token}, selects),
        ({"body": "x"}, {**selects, "vendor.example/note": token}),
        ({"body": "x"}, {**selects, f"vendor.example/{token}": 1}),
        ({"body": "x"}, {**selects, "vendor.example/note": selects}),
    ):
        systems.take()
        refused = crm.ask(era("tools/call", name="write", arguments=arguments, _meta=meta))
        assert (refused.codes, systems.take()) == (["credential-chain/gateway"], [])
    passed = crm.ask(era("tools/call", name="write", arguments={"body": "x"}, _meta=selects))
    assert "isError" not in passed.json["result"]
    assert [call.arguments for call in systems.take()] == [{"body": "x"}]


@requirement("history/contract", "invariant/5")
def test_the_owner_of_a_task_reads_what_it_has_done(ada: Agent, one: GatewayProcess, systems: Servers):
    task = ada.declare(goal="Look at the customers", risk="low", contract={"audiences": ["crm"]})
    task.reads("crm")
    task.denied(["contract/audience"], "billing", "read")

    status, read = task.tasks(f"/{task.task}", "GET")
    assert (status, read["status"], read["goal"], read["risk"]) == (200, "open", "Look at the customers", "low")
    assert (read["done"]["calls"], read["done"]["denials"], read["done"]["audiences"]) == (1, 1, ["crm"])
    assert "token" not in read
    assert agent(one, systems, "mallory").tasks(f"/{task.task}", "GET")[0] == 404


@requirement("history/contract")
@pytest.mark.parametrize("end", ["complete", "cancel"])
def test_a_task_that_was_ended_takes_no_more_calls(ada: Agent, end: str):
    task = ada.declare()
    task.reads("crm")
    assert task.tasks(f"/{task.task}/{end}")[0] == 200
    not_served(task, "task/ended")
    ada.reads("crm")


# --- after a crash -------------------------------------------------------------------------------------------


@requirement("history/restart", "fault/crash", "invariant/9")
@pytest.mark.parametrize("snapshots", [True, False])
def test_the_limits_hold_after_the_gateway_was_killed(systems: Servers, tmp_path: Path, *, snapshots: bool):
    """Killed with a call open, and started again on what it left, or on the journal alone: the same token and the same
    tasks."""
    config, port, key = systems.config(open_policy(tmp_path)), free_port(), secrets.token_hex(8)
    with mortal_gateway(config, tmp_path, port=port) as gateway, ThreadPoolExecutor(1) as thread:
        before = agent(gateway, systems)
        task = before.declare(contract={"limits": {"audiences": 4, "audiences_in_window": 5}})
        ended = before.declare()
        assert ended.tasks(f"/{ended.task}/complete")[0] == 200
        task.reads("crm", "chat", "files")
        task.passes("crm", "read", page="key")
        before.reads("crm")
        before.passes("billing", "read", page="key")
        held = thread.submit(before.call, "chat", "hold", key=key)
        systems.of("chat").wait("request", key)
        gateway.process.kill()
        gateway.process.wait()
        assert held.exception(30) is not None
    systems.of("chat").release(key)
    if not snapshots:
        shutil.rmtree(tmp_path / "state/history", ignore_errors=True)

    with mortal_gateway(config, tmp_path, port=port) as gateway:
        after, again = replace(before, gateway=gateway), replace(task, gateway=gateway)
        after.asked(["fan-out/audiences"], "files", "read")
        after.held(["credential-chain/presentation"], "crm", "use", token=KEY)
        after.passes("billing", "use", token=KEY)
        after.reads("chat")
        again.held(["credential-chain/presentation"], "chat", "use", token=KEY)
        again.reads("search")
        again.asked(["fan-out/audiences"], "tickets", "read")
        again.denied(["fan-out/audiences"], "hub", "read")
        not_served(replace(ended, gateway=gateway), "task/ended")
    assert TRACEBACK not in gateway.printed()
