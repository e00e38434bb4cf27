"""How far a task reaches: every cell of the table of fan-out, by a real client, through a real gateway, to real servers.

Each refusal is looked at as the agent sees it, and none of the servers has seen the call.
"""

from __future__ import annotations

from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from gateway.surfaces.cli.control_client import connect_to_gateway
from tests.e2e.desk import CODE_NAME, made
from tests.e2e.systems import Agent, Servers, agent, delegated, many, spellings, with_sdk
from tests.e2e.wire import stateless
from tests.gateway_process import GatewayProcess, change_settings, open_policy, running_gateway
from tests.requirements import requirement


@pytest.fixture
def ada(ada: Agent) -> Agent:
    return with_sdk(ada)


@pytest.fixture
def roomy(roomy: Agent) -> Agent:
    return with_sdk(roomy)


@pytest.fixture(scope="module")
def with_people(systems: Servers, tmp_path_factory: pytest.TempPathFactory) -> Generator[GatewayProcess]:
    """A gateway with people, where a third tenant or environment is one too many."""
    folder = tmp_path_factory.mktemp("staffed")
    policy = open_policy(folder)
    change_settings(
        policy,
        {
            "  tenants: {soft: 1, hard: 10}": "  tenants: {soft: 1, hard: 2}",
            "  environments: {soft: 1, hard: 10}": "  environments: {soft: 1, hard: 2}",
        },
    )
    with running_gateway(systems.config(policy, "approvals: {hold: 10ms, pending: 2h}"), folder) as found:
        yield found


@pytest.fixture
def staffed(with_people: GatewayProcess, systems: Servers) -> Agent:
    """An agent of that gateway, in a task of its own."""
    return with_sdk(agent(with_people, systems))


def approve_all(caller: Agent) -> None:
    """Approve as a person whatever waits at the gateway of a caller."""
    with connect_to_gateway(caller.gateway.folder / "state/control.sock", "carol") as desk:
        for one in desk.ask("approvals/list")["questions"]:
            if one["state"] == "pending":
                shown = desk.ask("approvals/show", id=one["id"])["shown"]
                voted = desk.ask("approvals/vote", id=one["id"], answer="approve", shown=shown)
                assert voted["state"] == "granted", voted


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
def test_a_fifth_system_is_asked_about_and_a_sixth_refused_with_the_widest_contract(ada: Agent):
    """The hub is one system and two behind it."""
    widest = {"limits": {"audiences": 4, "audiences_in_window": 5}}
    soft, hard = ada.declare(contract=widest), ada.declare(contract=widest)
    soft.reads("crm", "billing", "chat", "files")
    soft.asked(["fan-out/audiences"], "search", "read")
    hard.reads("chat", "files")
    hard.asked(["fan-out/audiences"], "hub", "read")
    hard.reads("search")
    hard.denied(["fan-out/audiences"], "hub", "read")


@requirement("history/fan-out")
@pytest.mark.parametrize(
    ("name", "hard"),
    [
        ("audiences", 5),
        ("audiences_in_window", 6),
        ("write_audiences", 4),
        ("destinations", 8),
        ("call_destinations", 20),
        ("spread", 2),
        ("depth", 3),
        ("tenants", 10),
        ("environments", 10),
        ("denials", 200),
    ],
)
def test_a_contract_that_reaches_a_hard_limit_is_refused_whatever_it_calls(ada: Agent, name: str, hard: int):
    ada.declare(contract={"limits": {name: hard}}).denied(["contract/limit"], "crm", "read")
    ada.declare(contract={"limits": {name: hard - 1}}).reads("crm")


@requirement("history/fan-out")
def test_a_fifth_system_within_a_minute_is_asked_about(roomy: Agent):
    roomy.reads("crm", "billing", "chat", "files")
    roomy.asked(["fan-out/burst"], "search", "read")


@requirement("history/fan-out")
def test_a_seventh_system_within_a_minute_is_refused(roomy: Agent):
    task = roomy.declare(contract={"limits": {"audiences_in_window": 5}})
    task.reads("chat", "files", "search")
    task.asked(["fan-out/burst"], "hub", "read")
    task.reads("tickets")
    task.denied(["fan-out/burst"], "hub", "read")


@requirement("history/fan-out")
def test_a_fourth_system_that_is_written_to_is_asked_about(ada: Agent):
    soft, behind = (ada.declare(contract={"limits": {"audiences": 4, "audiences_in_window": 5}}) for _ in range(2))
    for system in ("crm", "billing", "chat"):
        soft.passes(system, "write")
    soft.asked(["fan-out/writes"], "files", "write")
    soft.passes("files", "read")
    behind.passes("chat", "write")
    behind.asked(["fan-out/writes"], "hub", "write")
    behind.reads("hub")
    behind.passes("billing", "write")


@requirement("history/fan-out")
def test_a_fifth_system_that_is_written_to_is_refused(roomy: Agent):
    task = roomy.declare(contract={"limits": {"audiences_in_window": 5, "write_audiences": 3}})
    task.passes("chat", "write")
    task.passes("files", "write")
    task.reads("hub")
    task.denied(["fan-out/writes"], "hub", "write")
    task.passes("billing", "write")


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
    task = roomy.declare(contract={"limits": {"call_destinations": 19}})
    task.passes("mail", "send", to=many("corp.example", 19))
    task.asked(["fan-out/destinations"], "mail", "send", to=many("corp.example", 20))
    task.denied(["fan-out/destinations"], "mail", "send", to=many("corp.example", 21))


@requirement("history/fan-out")
def test_the_destinations_of_a_task_add_up(ada: Agent):
    ada.passes("mail", "send", to=many("corp.example", 3))
    ada.asked(["fan-out/destinations"], "mail", "send", to=many("corp.example", 3, first=3))
    ada.passes("mail", "send", to=many("corp.example", 2, first=3))
    hard = ada.declare(contract={"limits": {"destinations": 7}})
    hard.passes("mail", "send", to=many("corp.example", 4))
    hard.passes("mail", "send", to=many("corp.example", 3, first=4))
    hard.asked(["fan-out/destinations"], "mail", "send", to="person9@corp.example")
    hard.denied(["fan-out/destinations"], "mail", "send", to=many("corp.example", 2, first=9))


@requirement("history/fan-out")
def test_spellings_of_one_address_are_one_destination(ada: Agent):
    ada.passes("mail", "send", to=list(spellings("bob@corp.example")))
    for spelling in spellings("bob@corp.example"):
        ada.passes("mail", "send", to=spelling)
    ada.passes("mail", "send", to=many("corp.example", 4))
    ada.asked(["fan-out/destinations"], "mail", "send", to="eve@corp.example")


@requirement("history/fan-out")
def test_what_an_untrusted_result_said_goes_to_one_system_unasked(ada: Agent):
    ada.passes("crm", "read", page="plan")
    ada.passes("crm", "write", body=f"About {CODE_NAME}")
    ada.passes("billing", "write", body=f"About {CODE_NAME}")
    ada.asked(["fan-out/spread"], "chat", "write", body=f"About {CODE_NAME.upper()}")
    ada.passes("chat", "write", body="About something else")


@requirement("history/fan-out")
def test_what_an_untrusted_result_said_goes_to_two_systems_by_asking_and_never_to_three(staffed: Agent):
    task = staffed.declare(contract={"limits": {"audiences": 4}})
    task.passes("crm", "read", page="plan")
    task.passes("billing", "write", body=CODE_NAME)
    task.asked(["fan-out/spread"], "chat", "write", body=CODE_NAME)
    approve_all(task)
    task.passes("chat", "write", body=CODE_NAME)
    task.denied(["fan-out/spread"], "files", "read", path=f"/projects/{CODE_NAME}/plan.txt")
    task.reads("files")


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
    task = ada.declare(contract={"limits": {"audiences": 4, "audiences_in_window": 5}})
    task.reads("chat", "files", "search")
    task.denied(["fan-out/audiences"], "hub", "read")


@requirement("history/fan-out")
@pytest.mark.parametrize(
    ("first", "second", "third", "code"),
    [
        ("acme", "globex", "initech", "fan-out/tenants"),
        ("crm", "staging", "demo", "fan-out/environments"),
    ],
)
def test_a_second_tenant_or_environment_is_asked_about_and_a_third_refused_though_people_would_have_it(
    staffed: Agent, first: str, second: str, third: str, code: str
):
    staffed.reads(first)
    staffed.asked([code], second, "read")
    approve_all(staffed)
    staffed.reads(second, first)
    staffed.denied([code], third, "read")
    staffed.reads(first, second)


@requirement("history/fan-out")
@pytest.mark.parametrize(("first", "second"), [("acme", "globex"), ("crm", "staging")])
def test_a_contract_that_allows_a_second_tenant_or_environment_asks_nobody(ada: Agent, first: str, second: str):
    ada.declare(contract={"limits": {"tenants": 9, "environments": 9}}).reads(second, first)
    ada.declare(contract={"limits": {"tenants": 1, "environments": 1}}).reads(second)


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
    hard = ada.declare(contract={"limits": {"audiences": 4, "audiences_in_window": 5}})
    hard.reads("crm", "chat", "files", "search")
    for _ in range(3):
        hard.denied(["fan-out/audiences"], "hub", "read")
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
    assert "Ask a person who may approve it, or open another task for the rest." in text
    assert "Beyond the hard limit only an operator can help: `limits.task.audiences` in gateway.yaml." in text


@requirement("history/fan-out")
def test_both_wires_count_in_one_task(ada: Agent):
    old = Agent(ada.gateway, ada.servers, ada.headers)
    new = replace(old, era=stateless)
    old.reads("crm", "billing")
    new.reads("chat")
    old.asked(["fan-out/audiences"], "files", "read")
    new.asked(["fan-out/audiences"], "files", "read")
