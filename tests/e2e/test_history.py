"""What a task has done before, through a real gateway and to real servers: every cell of the tables of fan-out and
credential chaining, what untrusted data does, contracts, and all of that after the gateway was killed.

Each refusal is looked at as the agent sees it, and none of the servers has seen the call.
"""

from __future__ import annotations

import base64
import secrets
import shutil
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import httpx2
import pytest
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client

from tests.e2e.desk import ADDRESS, CODE_NAME, KEY, NEW, SECOND, THIRD, made
from tests.e2e.running import mortal_gateway
from tests.e2e.systems import Agent, Servers, agent, delegated, many, servers, spellings
from tests.e2e.wire import stateless
from tests.gateway_process import TRACEBACK, GatewayProcess, free_port, open_policy, running_gateway
from tests.requirements import requirement


@pytest.fixture(scope="module")
def systems(tmp_path_factory: pytest.TempPathFactory) -> Generator[Servers]:
    with servers(tmp_path_factory.mktemp("systems")) as found:
        yield found


@pytest.fixture(scope="module")
def one(systems: Servers, tmp_path_factory: pytest.TempPathFactory) -> Generator[GatewayProcess]:
    """The shipped policy, with a grant for everybody."""
    folder = tmp_path_factory.mktemp("history")
    with running_gateway(systems.config(open_policy(folder)), folder) as found:
        yield found


@pytest.fixture
def ada(one: GatewayProcess, systems: Servers) -> Agent:
    """An agent in a task of its own that has done nothing yet."""
    return agent(one, systems)


@pytest.fixture
def roomy(systems: Servers, tmp_path: Path) -> Generator[Agent]:
    """An agent of a gateway whose operator lets tasks reach more systems and destinations, and lets credentials be made
    unattended: there the limits that lie behind can be seen."""
    policy = open_policy(tmp_path)
    settings = policy / "gateway/settings/data.yaml"
    text = settings.read_text("utf-8")
    for shipped, own in (
        ("  audiences: {soft: 3, hard: 5}", "  audiences: {soft: 20, hard: 20}"),
        ("  destinations: {soft: 5, hard: 8}", "  destinations: {soft: 99, hard: 99}"),
        ("effects_without_approval: [", "effects_without_approval: [mint, "),
    ):
        assert text.count(shipped) == 1
        text = text.replace(shipped, own)
    settings.write_text(text, "utf-8")
    chain = policy / "gateway/denials/credential_chain/credential_chain.rego"
    before, rule, after = chain.read_text("utf-8").partition("# title: A person decides on a new credential\n")
    assert rule
    after = after.replace('properties.effect == "mint"', 'properties.effect == "never"', 1)
    chain.write_text(before + rule + after, "utf-8")
    with running_gateway(systems.config(policy), tmp_path) as gateway:
        yield agent(gateway, systems)


# --- fan-out -----------------------------------------------------------------------------------------


@requirement("history/fan-out")
def test_a_fourth_system_is_asked_about(ada: Agent):
    ada.reads("crm", "billing", "chat", "crm")
    ada.asked(["fan-out/audiences"], "files", "read")
    ada.reads("billing")


@requirement("history/fan-out")
def test_a_sixth_system_is_refused_though_the_contract_would_have_it(ada: Agent):
    task = ada.declare(contract={"limits": {"audiences": 20, "audiences_in_window": 6}})
    task.reads("crm", "billing", "chat", "files", "search")
    task.denied(["fan-out/audiences"], "tickets", "read")


@requirement("history/fan-out")
def test_a_fifth_system_within_a_minute_is_asked_about(ada: Agent):
    task = ada.declare(contract={"limits": {"audiences": 5}})
    task.reads("crm", "billing", "chat", "files")
    task.asked(["fan-out/burst"], "search", "read")


@requirement("history/fan-out")
def test_a_seventh_system_within_a_minute_is_refused(roomy: Agent):
    task = roomy.declare(contract={"limits": {"audiences_in_window": 20}})
    task.reads("crm", "billing", "chat", "files", "search", "tickets")
    task.denied(["fan-out/burst"], "vault", "read")


@requirement("history/fan-out")
def test_a_fourth_system_that_is_written_to_is_asked_about_and_a_fifth_refused(ada: Agent):
    soft = ada.declare(contract={"limits": {"audiences": 5}})
    hard = ada.declare(contract={"limits": {"audiences": 5, "audiences_in_window": 6, "write_audiences": 9}})
    for system in ("crm", "billing", "chat"):
        soft.passes(system, "write")
        hard.passes(system, "write")
    soft.asked(["fan-out/writes"], "files", "write")
    soft.passes("files", "read")
    hard.passes("files", "write")
    hard.denied(["fan-out/writes"], "search", "write")
    hard.passes("search", "read")


@requirement("history/fan-out")
def test_six_destinations_of_one_call_are_asked_about_and_21_refused(ada: Agent):
    ada.passes("mail", "send", to=many("corp.example", 3), cc="person0@corp.example, person3@corp.example")
    other = ada.declare()
    other.asked(["fan-out/destinations"], "mail", "send", to=many("corp.example", 2), cc=[], bcc=many("b.example", 4))
    other.asked(["fan-out/destinations"], "mail", "send", to="; ".join(many("corp.example", 6)))
    other.denied(["fan-out/destinations"], "mail", "send", to=many("corp.example", 21))
    other.passes("mail", "send", to=many("corp.example", 5))


@requirement("history/fan-out")
def test_a_call_has_a_limit_of_its_own_where_tasks_may_have_more_destinations(roomy: Agent):
    roomy.passes("mail", "send", to=many("corp.example", 5))
    roomy.asked(["fan-out/destinations"], "mail", "send", to=many("corp.example", 6))
    roomy.passes("mail", "send", to=many("corp.example", 5, first=5))
    task = roomy.declare(contract={"limits": {"call_destinations": 99}})
    task.passes("mail", "send", to=many("corp.example", 20))
    task.denied(["fan-out/destinations"], "mail", "send", to=many("corp.example", 21))


@requirement("history/fan-out")
def test_the_destinations_of_a_task_add_up(ada: Agent):
    ada.passes("mail", "send", to=many("corp.example", 3))
    ada.asked(["fan-out/destinations"], "mail", "send", to=many("corp.example", 3, first=3))
    ada.passes("mail", "send", to=many("corp.example", 2, first=3))
    hard = ada.declare(contract={"limits": {"destinations": 99}})
    hard.passes("mail", "send", to=many("corp.example", 4))
    hard.passes("mail", "send", to=many("corp.example", 4, first=4))
    hard.denied(["fan-out/destinations"], "mail", "send", to="person9@corp.example")


@requirement("history/fan-out")
def test_spellings_of_one_address_are_one_destination(ada: Agent):
    ada.passes("mail", "send", to=list(spellings("bob@corp.example")))
    for spelling in spellings("bob@corp.example"):
        ada.passes("mail", "send", to=spelling)
    ada.passes("mail", "send", to=many("corp.example", 4))
    ada.asked(["fan-out/destinations"], "mail", "send", to="eve@corp.example")


@requirement("history/fan-out")
def test_what_an_untrusted_result_said_goes_to_one_system_and_with_a_contract_to_two(ada: Agent):
    ada.passes("crm", "read", page="plan")
    ada.passes("crm", "write", body=f"About {CODE_NAME}")
    ada.passes("billing", "write", body=f"About {CODE_NAME}")
    ada.asked(["fan-out/spread"], "chat", "write", body=f"About {CODE_NAME.upper()}")
    ada.passes("chat", "write", body="About something else")
    hard = ada.declare(contract={"limits": {"spread": 9, "audiences": 5}})
    hard.passes("crm", "read", page="plan")
    hard.passes("billing", "write", body=CODE_NAME)
    hard.passes("chat", "write", body=CODE_NAME)
    hard.denied(["fan-out/spread"], "files", "read", path=f"/projects/{CODE_NAME}/plan.txt")


@requirement("history/fan-out")
def test_a_third_agent_in_a_row_is_asked_about_and_a_fourth_refused(one: GatewayProcess, systems: Servers):
    delegated(one, systems, 2).passes("crm", "read")
    delegated(one, systems, 3).asked(["fan-out/depth"], "crm", "read")
    delegated(one, systems, 4).denied(["fan-out/depth", "delegation/depth"], "crm", "read")


@requirement("history/fan-out")
@pytest.mark.parametrize(
    ("first", "second", "code"), [("acme", "globex", "fan-out/tenants"), ("crm", "staging", "fan-out/environments")]
)
def test_a_second_tenant_or_environment_is_refused(ada: Agent, first: str, second: str, code: str):
    ada.reads(first)
    ada.denied([code], second, "read")
    ada.declare(contract={"limits": {"tenants": 9, "environments": 9}}).reads(second)
    declared = ada.declare(contract={"limits": {"tenants": 9, "environments": 9}})
    declared.reads(second)
    declared.denied([code], first, "read")


@requirement("history/fan-out", "invariant/9")
def test_calls_at_once_do_not_race_past_a_limit(ada: Agent):
    """Each is counted before it is decided, so together they reach no more than one after the other would."""
    names = ["crm", "billing", "chat", "files", "search", "tickets", "vault"] * 4
    ada.servers.take()
    with ThreadPoolExecutor(len(names)) as threads:
        answers = list(threads.map(ada.call, names, ["write"] * len(names)))

    arrived = ada.servers.take()
    passed = ["isError" not in answer.json["result"] for answer in answers]
    assert len(arrived) == sum(passed)
    assert len({call.system for call in arrived}) <= 3
    refused = [answer for answer, through in zip(answers, passed, strict=True) if not through]
    assert all(code.startswith(("fan-out/", "approval/")) for answer in refused for code in answer.codes)
    assert all(answer.codes[0].startswith("fan-out/") for answer in refused)


@requirement("history/fan-out")
def test_a_refused_call_leaves_room_for_another(ada: Agent):
    ada.reads("crm", "billing")
    for _ in range(3):
        ada.denied(["credential-chain/egress"], "chat", "write", body=made("nowhere"))
    ada.reads("files")


@requirement("history/fan-out")
def test_arguments_that_are_too_much_to_be_looked_at_are_refused_and_leave_the_task_as_it_was(ada: Agent):
    unknown = ["fan-out/incomplete", "credential-chain/incomplete", "toxic-flow/incomplete"]
    ada.denied(unknown, "crm", "write", body="many words " * 40_000)
    ada.passes("crm", "write", body="a few words")


@requirement("history/fan-out")
async def test_the_client_of_the_sdk_reads_why_and_what_would_help(ada: Agent):
    ada.reads("crm", "billing", "chat")
    ada.servers.take()
    async with (
        httpx2.AsyncClient(headers=dict(ada.headers)) as http,
        Client(streamable_http_client(ada.gateway.mcp("files"), http_client=http)) as client,
    ):
        result = await client.call_tool("read", {})

    assert ada.servers.take() == []
    assert result.is_error
    assert "[fan-out/audiences]" in str(result.content)
    assert "Finish this task and open another for the rest." in str(result.content)


@requirement("history/fan-out")
def test_both_wires_count_in_one_task(ada: Agent):
    ada.reads("crm", "billing", "chat")
    replace(ada, era=stateless).asked(["fan-out/audiences"], "files", "read")


# --- credential chaining ---------------------------------------------------------------------------------


def doubled(text: str) -> str:
    return base64.b64encode(base64.b64encode(text.encode())).decode()


DISGUISES: dict[str, Callable[[str], str]] = {
    "raw": str,
    "in a sentence": lambda key: f"please use {key}, thanks",
    "base64": lambda key: base64.b64encode(key.encode()).decode(),
    "base64 twice": doubled,
    "base64url": lambda key: base64.urlsafe_b64encode(f"user:{key}".encode()).decode().rstrip("="),
    "hex": lambda key: key.encode().hex(),
    "percent": lambda key: "".join(f"%{byte:02x}" for byte in key.encode()),
    "percent twice": lambda key: quote("".join(f"%{byte:02X}" for byte in key.encode())),
    "Basic": lambda key: "Basic " + base64.b64encode(f"ada:{key}".encode()).decode(),
    "userinfo": lambda key: f"https://ada:{key}@git.example/repo",
}


@requirement("history/credentials")
@pytest.mark.parametrize("form", DISGUISES)
def test_a_credential_of_one_system_is_not_shown_to_another(ada: Agent, form: str):
    ada.passes("crm", "read", page="key")
    ada.denied(["credential-chain/presentation"], "billing", "use", token=DISGUISES[form](KEY))
    ada.passes("billing", "write", body="without")


@requirement("history/credentials")
def test_a_credential_in_parts_is_not_shown_to_another(ada: Agent):
    ada.passes("crm", "read", page="key")
    both = ["credential-chain/presentation", "credential-chain/egress"]
    ada.denied(both, "billing", "write", first=KEY[:15], second=KEY[15:])
    ada.denied(both, "billing", "post", parts=[KEY[:15], {"rest": KEY[15:]}])
    ada.denied(both, "billing", "write", **{KEY[:15]: KEY[15:]})


@requirement("history/credentials")
def test_a_credential_is_not_shown_to_a_tool_that_only_reads_either(ada: Agent):
    ada.passes("crm", "read", page="key")
    ada.denied(["credential-chain/presentation"], "billing", "read", query=KEY)


@requirement("history/credentials")
def test_a_credential_goes_back_to_the_system_that_it_came_from(ada: Agent):
    ada.passes("crm", "read", page="key")
    ada.passes("crm", "use", token=KEY)
    ada.passes("crm", "read", query=KEY)


@requirement("history/credentials")
def test_a_credential_is_not_written_down_nor_sent_out_in_its_own_system(ada: Agent):
    ada.passes("crm", "read", page="key")
    for tool, arguments in (
        ("write", {"body": f"the key is {KEY}"}),
        ("write", {"note": KEY}),
        ("post", {"payload": {"deep": [KEY]}}),
        ("send", {"to": "ops@corp.example", "subject": DISGUISES["base64"](KEY)}),
        ("use", {"note": DISGUISES["percent"](KEY)}),
        ("use", {"first": KEY[:15], "second": KEY[15:]}),
    ):
        ada.denied(["credential-chain/egress"], "crm", tool, **arguments)


@requirement("history/credentials")
def test_a_flow_that_the_contract_declares_is_asked_about_in_its_direction_only(ada: Agent):
    task = ada.declare(contract={"credential_flows": [{"from": "crm", "to": "billing"}]})
    task.passes("crm", "read", page="key")
    task.asked(["credential-chain/presentation"], "billing", "use", token=KEY)
    task.denied(["credential-chain/egress"], "billing", "write", body=KEY)
    task.denied(["credential-chain/presentation"], "chat", "use", token=KEY)
    other = ada.declare(contract={"credential_flows": [{"from": "billing", "to": "crm"}]})
    other.passes("crm", "read", page="key")
    other.denied(["credential-chain/presentation"], "billing", "use", token=KEY)


@requirement("history/credentials")
def test_a_credential_is_of_the_task_that_saw_it(ada: Agent):
    """To any other task it is one that nobody gave."""
    ada.passes("crm", "read", page="key")
    ada.declare().asked(["credential-chain/unknown"], "billing", "use", token=KEY)


@requirement("history/credentials")
def test_a_new_credential_is_asked_about(ada: Agent):
    ada.asked(["credential-chain/mint", "approval/effect"], "vault", "mint", page="new")


@requirement("history/credentials")
def test_a_credential_that_the_task_made_makes_no_other(roomy: Agent):
    roomy.passes("vault", "mint", page="new")
    roomy.denied(["credential-chain/mint"], "vault", "mint", token=NEW)
    roomy.denied(["credential-chain/mint", "credential-chain/presentation"], "crm", "mint", token=NEW)
    roomy.passes("vault", "use", token=NEW)


@requirement("history/credentials")
def test_a_chain_of_credentials_is_not_carried_on_though_the_contract_declares_the_flow(ada: Agent):
    task = ada.declare(contract={"credential_flows": [{"from": "crm", "to": "billing"}]})
    task.passes("crm", "read", page="key")
    task.passes("crm", "use", token=KEY, page="second")
    task.asked(["credential-chain/presentation"], "billing", "use", token=SECOND)
    task.passes("crm", "use", token=SECOND, page="third")
    task.denied(["credential-chain/lineage"], "billing", "use", token=THIRD)
    task.denied(["credential-chain/lineage"], "crm", "mint", token=THIRD)
    task.passes("crm", "use", token=THIRD)


@requirement("history/credentials")
def test_a_login_as_somebody_else_is_asked_about(one: GatewayProcess, systems: Servers):
    mine = agent(one, systems, user="ada")
    mine.passes("crm", "login", user="Ada")
    mine.asked(["credential-chain/identity-switch"], "crm", "login", user="root")
    mine.passes("crm", "write", user="root")
    agent(one, systems).asked(["credential-chain/identity-switch"], "crm", "login", username="ada")


@requirement("history/credentials")
def test_a_credential_that_nobody_gave_is_asked_about_and_refused_if_it_leaves(ada: Agent):
    nowhere = made("nowhere")
    ada.asked(["credential-chain/unknown"], "crm", "use", token=nowhere)
    ada.denied(["credential-chain/unknown"], "crm", "push", token=nowhere)
    ada.denied(["credential-chain/unknown", "credential-chain/egress"], "crm", "post", text=f"use {nowhere}")


@requirement("history/credentials")
def test_a_credential_that_the_user_gave_passes(ada: Agent):
    given = made("given")
    task = ada.declare(goal=f"Renew the subscription; the token is {given}")
    task.passes("billing", "use", token=given)
    task.passes("billing", "push", token=given)
    task.denied(["credential-chain/egress"], "billing", "write", body=given)


@requirement("history/credentials", "invariant/8")
def test_no_credential_is_in_anything_that_the_gateway_wrote(ada: Agent, one: GatewayProcess):
    ada.passes("crm", "read", page="key")
    ada.denied(["credential-chain/presentation"], "billing", "use", token=KEY)
    written = [path for path in one.folder.rglob("*") if path.is_file() and "policy" not in path.parts]
    assert any(path.suffix == ".jsonl" for path in written)
    assert [path for path in written if KEY.encode() in path.read_bytes()] == []


# --- what untrusted data does ------------------------------------------------------------------------------


@requirement("history/toxic-flow")
def test_confidential_data_does_not_leave_after_something_untrusted(ada: Agent):
    ada.reads("crm")
    ada.passes("vault", "confidential")
    flow = ["toxic-flow/exfiltration"]
    ada.denied(flow, "mail", "post", text="hello")
    ada.denied(flow, "mail", "send", to=ADDRESS, body="hello")
    ada.asked(flow, "mail", "send", to="colleague@example.com", body="hello")
    ada.asked(flow, "vault", "write", body="hello")
    ada.denied(flow, "vault", "send", to=["colleague@example.com", ADDRESS], body="hello")
    ada.passes("mail", "read")


@requirement("history/toxic-flow")
def test_two_of_the_three_may_be(ada: Agent):
    ada.passes("wiki", "confidential")
    ada.passes("mail", "send", to="colleague@corp.example", body="hello")
    other = ada.declare()
    other.reads("crm")
    other.passes("crm", "post", text="hello")


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
    for _ in range(51):
        assert ada.call("crm", "post", text=made("nowhere")).codes[0].startswith("credential-chain/")
    ada.asked(["budget/denials"], "crm", "read")
    ada.servers.take()
    for _ in range(149):
        assert ada.call("crm", "read").codes[0] == "budget/denials"
    assert ada.servers.take() == []
    ada.denied(["budget/denials"], "crm", "read")


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
    ada.reads("billing")


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


@requirement("history/contract")
@pytest.mark.parametrize("end", ["complete", "cancel"])
def test_a_task_that_was_ended_takes_no_more_calls(ada: Agent, end: str):
    task = ada.declare()
    task.reads("crm")
    assert task.tasks(f"/{task.task}/{end}")[0] == 200
    not_served(task, "task/ended")
    ada.reads("crm")


# --- after a crash -------------------------------------------------------------------------------------------


@requirement("history/restart", "fault/crash")
@pytest.mark.parametrize("snapshots", [True, False])
def test_the_limits_hold_after_the_gateway_was_killed(systems: Servers, tmp_path: Path, *, snapshots: bool):
    """Killed with a call open, and started again on what it left, or on the journal alone: the same token and the same
    tasks."""
    config, port, key = systems.config(open_policy(tmp_path)), free_port(), secrets.token_hex(8)
    with mortal_gateway(config, tmp_path, port=port) as gateway, ThreadPoolExecutor(1) as thread:
        before = agent(gateway, systems)
        task = before.declare(contract={"limits": {"audiences": 9, "audiences_in_window": 6}})
        ended = before.declare()
        assert ended.tasks(f"/{ended.task}/complete")[0] == 200
        task.reads("crm", "billing", "chat", "files")
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
        after.denied(["credential-chain/presentation"], "crm", "use", token=KEY)
        after.passes("billing", "use", token=KEY)
        after.reads("chat")
        again.denied(["credential-chain/presentation"], "chat", "use", token=KEY)
        again.reads("search")
        again.denied(["fan-out/audiences"], "tickets", "read")
        not_served(replace(ended, gateway=gateway), "task/ended")
    assert TRACEBACK not in gateway.printed()
