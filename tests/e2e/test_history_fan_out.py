"""How far a task reaches: every cell of the table of fan-out, by a real client, through a real gateway, to real servers.

Each refusal is looked at as the agent sees it, and none of the servers has seen the call.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from tests.e2e.desk import CODE_NAME, made
from tests.e2e.systems import Agent, Servers, agent, delegated, many, spellings, with_sdk
from tests.e2e.wire import stateless
from tests.gateway_process import GatewayProcess
from tests.requirements import requirement


@pytest.fixture
def ada(ada: Agent) -> Agent:
    return with_sdk(ada)


@pytest.fixture
def roomy(roomy: Agent) -> Agent:
    return with_sdk(roomy)


@requirement("history/fan-out")
def test_a_fourth_system_is_asked_about(ada: Agent):
    ada.reads("crm", "billing", "chat", "crm")
    ada.asked(["fan-out/audiences"], "files", "read")
    ada.reads("billing")


@requirement("history/fan-out")
def test_a_session_of_each_system_counts_for_one_task(ada: Agent):
    """As ordinary clients of the older wire have one of each server that they speak with."""
    for system in ("crm", "billing", "chat"):
        ada.session(system).passes(system, "read")
    ada.session("files").asked(["fan-out/audiences"], "files", "read")
    ada.asked(["fan-out/audiences"], "files", "read")
    ada.session("crm").passes("crm", "read")


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
    with_sdk(delegated(one, systems, 2)).passes("crm", "read")
    with_sdk(delegated(one, systems, 3)).asked(["fan-out/depth"], "crm", "read")
    with_sdk(delegated(one, systems, 4)).denied(["fan-out/depth", "delegation/depth"], "crm", "read")


@requirement("history/fan-out")
def test_an_aggregator_is_a_hand_more_and_one_that_nobody_described_is_too_many(one: GatewayProcess, systems: Servers):
    with_sdk(delegated(one, systems, 1)).passes("hub", "read")
    with_sdk(delegated(one, systems, 2)).asked(["fan-out/depth"], "hub", "read")
    with_sdk(delegated(one, systems, 3)).denied(["fan-out/depth"], "hub", "read")
    with_sdk(agent(one, systems)).denied(["fan-out/depth"], "proxy", "read")


@requirement("history/fan-out")
def test_the_systems_behind_an_aggregator_are_reached_with_it(ada: Agent):
    ada.passes("hub", "write")
    ada.passes("billing", "write")
    ada.asked(["fan-out/audiences"], "chat", "read")
    ada.asked(["fan-out/audiences", "fan-out/writes"], "chat", "write")
    task = ada.declare(contract={"limits": {"audiences": 5, "audiences_in_window": 6}})
    task.reads("chat", "files", "hub")
    task.denied(["fan-out/audiences"], "search", "read")


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
        ada.asked(["credential-chain/egress", "credential-chain/unknown"], "chat", "write", body=made("nowhere"))
    ada.reads("files")


@requirement("history/fan-out")
def test_calls_that_reach_nothing_new_ask_for_no_limit(ada: Agent):
    ada.reads("crm", "billing", "chat")
    for _ in range(3):
        ada.asked(["fan-out/audiences"], "files", "read")
        ada.reads("crm", "chat")
        ada.passes("billing", "write", body="a few words")
    hard = ada.declare(contract={"limits": {"audiences": 5, "audiences_in_window": 6}})
    hard.reads("crm", "billing", "chat", "files", "search")
    hard.denied(["fan-out/audiences"], "tickets", "read")
    hard.reads("crm", "search")


@requirement("history/fan-out")
def test_people_whom_the_goal_names_count_for_no_soft_limit(ada: Agent):
    people = many("corp.example", 7)
    task = ada.declare(goal=f"Write to {', '.join(people)} that the release is out")
    for person in people:
        task.passes("mail", "send", to=person, body="It is out")
    task.passes("mail", "send", to="person7@corp.example", body="It is out")
    task.denied(["fan-out/destinations"], "mail", "send", to="person8@corp.example", body="It is out")


@requirement("history/fan-out")
def test_arguments_that_are_too_much_to_be_looked_at_are_refused_and_leave_the_task_as_it_was(ada: Agent):
    ada.denied(["request/length"], "crm", "write", body="many words " * 40_000)
    ada.passes("crm", "write", body="a few words")


@requirement("history/fan-out")
def test_a_model_reads_why_and_what_would_help(ada: Agent):
    ada.reads("crm", "billing", "chat")
    text = ada.asked(["fan-out/audiences"], "files", "read").text

    assert "The task reaches more systems than one task should. [fan-out/audiences]" in text
    assert "Finish this task and open another for the rest." in text


@requirement("history/fan-out")
def test_both_wires_count_in_one_task(ada: Agent):
    old = Agent(ada.gateway, ada.servers, ada.headers)
    new = replace(old, era=stateless)
    old.reads("crm", "billing")
    new.reads("chat")
    old.asked(["fan-out/audiences"], "files", "read")
    new.asked(["fan-out/audiences"], "files", "read")
