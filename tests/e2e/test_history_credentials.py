"""Where a credential may go: every cell of the table of credential chaining, by a real client, through a real gateway, to
real servers.

Each refusal is looked at as the agent sees it, and none of the servers has seen the call.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.e2e.desk import KEY, NEW, PEM, SECOND, SIGNATURE, SIGNED, THIRD, WORD, made, password
from tests.e2e.running import leave, mortal_gateway
from tests.e2e.systems import Agent, Servers, agent, with_sdk
from tests.e2e.wire import entries
from tests.gateway_process import GatewayProcess, free_port, open_policy
from tests.requirements import requirement


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


@pytest.fixture
def ada(ada: Agent) -> Agent:
    return with_sdk(ada)


@pytest.fixture
def roomy(roomy: Agent) -> Agent:
    return with_sdk(roomy)


@requirement("history/credentials")
@pytest.mark.parametrize("form", DISGUISES)
def test_a_credential_of_one_system_is_not_shown_to_another(ada: Agent, form: str):
    ada.passes("crm", "read", page="key")
    ada.held(["credential-chain/presentation"], "billing", "use", token=DISGUISES[form](KEY))
    ada.passes("billing", "write", body="without")


@requirement("history/credentials")
def test_a_credential_of_one_session_is_not_shown_to_another_system_in_another(ada: Agent):
    ada.session("crm").passes("crm", "read", page="key")
    ada.session("billing").held(["credential-chain/presentation"], "billing", "use", token=KEY)


@requirement("history/credentials")
@pytest.mark.parametrize("form", DISGUISES)
def test_a_new_task_is_no_way_round_what_another_was_shown(ada: Agent, form: str):
    ada.passes("crm", "read", page="key")
    disguised = DISGUISES[form](KEY)
    there = ["credential-chain/presentation"]
    ada.declare().held(there, "billing", "use", token=disguised)
    ada.declare().held(there, "billing", "read", query=disguised)
    ada.declare(goal=f"Use {KEY} at billing").held(there, "billing", "use", token=disguised)
    ada.declare().denied([*there, "credential-chain/egress"], "billing", "write", **{KEY[:15]: KEY[15:]})


@requirement("history/credentials")
def test_what_no_form_tells_is_known_in_another_task_too(ada: Agent):
    ada.passes("crm", "read", page="word")
    there = ["credential-chain/presentation"]
    ada.declare().held(there, "billing", "read", query=f"try {WORD}")
    ada.declare(goal=f"Log in with {WORD}").held(there, "billing", "use", token=WORD)
    agent(ada.gateway, ada.servers, "bert").passes("billing", "read", query=f"try {WORD}")


@requirement("history/credentials")
def test_more_credentials_than_are_kept_apart_hide_none(ada: Agent):
    ada.passes("crm", "read", page="flood")
    ada.passes("crm", "read", page="word")
    ada.passes("crm", "read", page="key")
    there = ["credential-chain/presentation"]
    ada.passes("crm", "read", query=f"try {WORD}")
    ada.held(there, "billing", "use", token=KEY)
    ada.held(there, "billing", "read", query=f"try {WORD}")
    ada.held(there, "billing", "read", first=KEY[:15], second=KEY[15:])
    ada.passes("billing", "read", query="the latest invoice")
    ada.declare(goal=f"Use {KEY} at billing").held(there, "billing", "use", token=KEY)
    ada.declare().passes("billing", "read")


FLOODS: dict[str, tuple[str, ...]] = {
    "one result": ("environment",),
    "three files": ("environment-0", "environment-1", "environment-2"),
}


@requirement("history/credentials")
@pytest.mark.parametrize("flood", FLOODS)
@pytest.mark.parametrize("form", DISGUISES)
def test_what_comes_after_a_flood_of_credentials_is_known_in_every_task(
    one: GatewayProcess, systems: Servers, form: str, flood: str
):
    ada = with_sdk(agent(one, systems, f"flooded-{flood}-{form}"))
    for page in FLOODS[flood]:
        ada.passes("crm", "read", page=page)
    ada.passes("crm", "read", page="word")
    disguised, there = DISGUISES[form](WORD), ["credential-chain/presentation"]
    fresh = agent(one, systems, f"flooded-{flood}-{form}")
    for task in (ada, fresh, ada.declare(), fresh.declare(goal=f"Log in with {WORD}")):
        task.held(there, "billing", "use", token=disguised)
        task.held(there, "billing", "read", query=disguised)
        task.held(there, "billing", "read", first=WORD[:9], second=WORD[9:])
        task.passes("billing", "read", query="the latest invoice of 2026-11-28, number 4711")


@requirement("history/credentials")
def test_what_comes_after_a_flood_of_credentials_goes_home(ada: Agent):
    ada.passes("crm", "read", page="environment")
    ada.passes("crm", "read", page="key")
    ada.passes("crm", "use", token=KEY)
    ada.passes("crm", "use", token=password("1099"))
    ada.held(["credential-chain/presentation"], "billing", "use", token=KEY)
    flow = ada.declare(contract={"credential_flows": [{"from": "crm", "to": "billing"}]})
    flow.held(["credential-chain/presentation"], "billing", "use", token=KEY)


@requirement("history/credentials")
def test_who_was_shown_more_than_can_be_told_apart_sends_nothing_uncommon(one: GatewayProcess, systems: Servers):
    ada = with_sdk(agent(one, systems, "deluged"))
    for number in range(3):
        ada.passes("crm", "read", page=f"deluge-{number}")
    ada.passes("crm", "read", page="word")
    fresh = with_sdk(agent(one, systems, "deluged"))
    for task in (ada, fresh, ada.declare(), fresh.declare(goal=f"Log in with {WORD}")):
        task.denied(["credential-chain/incomplete"], "billing", "use", token=WORD)
        task.denied(["credential-chain/incomplete"], "billing", "read", first=WORD[:9], second=WORD[9:])
        task.passes("billing", "read", query="the latest invoice")
        task.passes("crm", "read", query=f"try {WORD}")


@requirement("history/credentials")
def test_a_system_gets_its_own_back_in_another_task_and_a_declared_flow_is_asked_about(ada: Agent):
    ada.passes("crm", "read", page="key")
    ada.declare(goal="Work on the deployment").asked(["credential-chain/unknown"], "crm", "use", token=KEY)
    flow = ada.declare(contract={"credential_flows": [{"from": "crm", "to": "billing"}]})
    flow.held(["credential-chain/presentation"], "billing", "use", token=KEY)


@requirement("history/credentials")
def test_a_credential_in_parts_is_not_shown_to_another(ada: Agent):
    ada.passes("crm", "read", page="key")
    both = ["credential-chain/presentation", "credential-chain/egress"]
    ada.denied(both, "billing", "write", first=KEY[:15], second=KEY[15:])
    ada.denied(both, "billing", "post", parts=[KEY[:15], {"rest": KEY[15:]}])
    ada.denied(both, "billing", "write", **{KEY[:15]: KEY[15:]})
    ada.denied(both, "billing", "write", **dict.fromkeys([KEY[at : at + 6] for at in range(0, len(KEY), 6)], True))
    ada.denied(both, "billing", "write", first=KEY[:15], second=DISGUISES["base64"](KEY[15:]))
    ada.denied(both, "billing", "write", octets=[f"{letter:02x}" for letter in KEY.encode()])


def cut(text: str, size: int) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]


THERE = ["credential-chain/presentation"]


@requirement("history/credentials")
@pytest.mark.parametrize(("page", "value", "half"), [("key", KEY, 18), ("word", WORD, 9)])
@pytest.mark.parametrize("form", [form for form in DISGUISES if form not in {"Basic", "userinfo"}])
def test_two_halves_in_two_calls_are_a_credential(ada: Agent, page: str, value: str, half: int, form: str):
    ada.passes("crm", "read", page=page)
    ada.passes("billing", "read", query=DISGUISES[form](value[:half]))
    ada.held(THERE, "billing", "read", query=DISGUISES[form](value[half:]))
    ada.denied([*THERE, "credential-chain/egress"], "billing", "write", note=value[half:])
    ada.passes("billing", "read", query=value[:half])
    ada.passes("crm", "read", query=value[half:])
    ada.passes("chat", "read", query=value[half:])
    ada.held(THERE, "chat", "read", query=value[:half])


@requirement("history/credentials")
def test_halves_add_up_over_all_tasks_and_tokens_of_the_caller(one: GatewayProcess, systems: Servers):
    ada, again, bert = (agent(one, systems, name) for name in ("halved", "halved", "not-halved"))
    ada.passes("crm", "read", page="word")
    ada.passes("billing", "read", query=f"first {WORD[:9]}")
    for task in (again, again.declare(), ada.declare(goal=f"Say {WORD[9:]}"), ada.session("billing")):
        task.held(THERE, "billing", "read", query=f"and then {WORD[9:]}")
    bert.passes("billing", "read", query=f"and then {WORD[9:]}")


@requirement("history/credentials")
@pytest.mark.parametrize("size", [8, 10, 13])
def test_pieces_add_up_to_half(ada: Agent, size: int):
    ada.passes("crm", "read", page="key")
    sent = 0
    for piece in cut(KEY, size):
        answer = ada.call("billing", "read", query=f"note this: {piece}")
        if "isError" in answer.json["result"]:
            assert "credential-chain/presentation" in answer.codes
            break
        sent += len(piece)
    assert sent <= len(KEY) / 2 + size


@requirement("history/credentials")
def test_a_key_line_by_line_stops_at_half(ada: Agent):
    ada.passes("crm", "read", page="pem")
    lines = PEM.splitlines()[1:-1]
    answers = [ada.call("billing", "read", query=line) for line in lines]
    refused = [answer for answer in answers if "isError" in answer.json["result"]]
    # Each gateway knows a key by a sample of its own, so the number varies: 7 to 14 of 25 in twenty runs.
    assert len(refused) >= 5
    assert all({*THERE} <= {*answer.codes} for answer in refused)


@requirement("history/credentials")
def test_pieces_of_what_goes_through_an_aggregator_count_for_the_systems_behind(roomy: Agent):
    roomy.passes("chat", "read", page="word")
    roomy.passes("hub", "read", query=WORD[:9])
    roomy.held(THERE, "billing", "read", query=WORD[9:])


@requirement("history/credentials", "invariant/8")
def test_no_piece_of_a_credential_is_written_down(ada: Agent, one: GatewayProcess):
    ada.passes("crm", "read", page="word")
    ada.passes("billing", "read", query=WORD[:9])
    ada.held(THERE, "billing", "read", query=WORD[9:])
    first, second = entries(one.folder, "call")[-2:]
    assert first["history"]["exposed"]
    assert not any(piece in str(entry) for piece in (WORD[:9], WORD[9:]) for entry in (first, second))


@requirement("history/credentials", "history/restart")
@pytest.mark.parametrize("snapshots", [True, False])
def test_pieces_add_up_after_the_gateway_was_killed(systems: Servers, tmp_path: Path, *, snapshots: bool):
    config, port = systems.config(open_policy(tmp_path)), free_port()
    with mortal_gateway(config, tmp_path, port=port) as gateway:
        before = agent(gateway, systems, "ada")
        before.passes("crm", "read", page="word")
        before.passes("billing", "read", query=WORD[:9])
    leave(tmp_path, config, port, snapshots=snapshots)
    with mortal_gateway(config, tmp_path, port=port) as gateway:
        after = replace(before, gateway=gateway)
        after.held(THERE, "billing", "read", query=WORD[9:])
        after.declare().held(THERE, "billing", "read", query=WORD[9:])
        after.passes("chat", "read", query=WORD[9:])


@requirement("history/credentials")
def test_a_credential_is_not_shown_to_a_tool_that_only_reads_either(ada: Agent):
    ada.passes("crm", "read", page="key")
    ada.held(["credential-chain/presentation"], "billing", "read", query=KEY)


@requirement("history/credentials")
def test_a_credential_is_not_shown_to_another_as_the_signature_of_a_link(ada: Agent):
    task = ada.declare(goal="Get the file from bucket.example")
    task.passes("crm", "read", page="key")
    task.passes("crm", "read", page="signed")
    task.passes("search", "fetch", url=SIGNED)
    for value in (KEY, SIGNATURE):
        url = f"https://files.example/a?X-Amz-Signature={value}"
        task.denied(["credential-chain/presentation", "credential-chain/egress"], "search", "fetch", url=url)


@requirement("history/credentials")
def test_a_credential_goes_back_to_the_system_that_it_came_from_and_that_is_on_record(ada: Agent):
    ada.passes("crm", "read", page="key")
    ada.passes("crm", "use", token=KEY)
    recorded = entries(ada.gateway.folder, "call")[-1]
    (found,) = recorded["found"]["credentials"]
    assert (recorded["effect"], found["pointer"], found["origin"]) == ("allow", "/token", "result")
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
    task.held(["credential-chain/presentation"], "billing", "use", token=KEY)
    task.denied(["credential-chain/egress", "credential-chain/presentation"], "billing", "write", body=KEY)
    task.held(["credential-chain/presentation"], "chat", "use", token=KEY)
    other = ada.declare(contract={"credential_flows": [{"from": "billing", "to": "crm"}]})
    other.passes("crm", "read", page="key")
    other.held(["credential-chain/presentation"], "billing", "use", token=KEY)


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
    task.held(["credential-chain/presentation"], "billing", "use", token=SECOND)
    task.passes("crm", "use", token=SECOND, page="third")
    task.denied(["credential-chain/lineage"], "billing", "use", token=THIRD)
    task.denied(["credential-chain/lineage"], "crm", "mint", token=THIRD)
    task.passes("crm", "use", token=THIRD)


@requirement("history/credentials")
def test_a_login_as_somebody_else_is_asked_about(one: GatewayProcess, systems: Servers):
    mine = with_sdk(agent(one, systems, user="ada"))
    mine.passes("crm", "login", user="Ada")
    mine.asked(["credential-chain/identity-switch"], "crm", "login", user="root")
    mine.asked(["credential-chain/identity-switch"], "crm", "login", UserName="root")
    mine.asked(["credential-chain/identity-switch"], "crm", "login", **{"as": {"user": "root"}})
    mine.passes("crm", "write", user="root")
    with_sdk(agent(one, systems)).asked(["credential-chain/identity-switch"], "crm", "login", username="ada")


@requirement("history/credentials")
def test_a_credential_that_nobody_gave_is_asked_about(ada: Agent):
    nowhere = made("nowhere")
    ada.asked(["credential-chain/unknown"], "crm", "use", token=nowhere)
    ada.asked(["credential-chain/unknown"], "crm", "push", token=nowhere)
    ada.asked(["credential-chain/unknown", "credential-chain/egress"], "crm", "post", text=f"use {nowhere}")


@requirement("history/credentials")
def test_a_credential_that_the_user_gave_passes(ada: Agent):
    given = made("given")
    task = ada.declare(goal=f"Renew the subscription; the token is {given}")
    task.passes("billing", "use", token=given)
    task.passes("billing", "push", token=given)
    task.asked(["credential-chain/egress"], "billing", "write", body=given)
    task.denied(["credential-chain/egress"], "mail", "post", text=given)


@requirement("history/credentials", "invariant/8")
def test_no_credential_is_in_anything_that_the_gateway_wrote(ada: Agent, one: GatewayProcess):
    ada.passes("crm", "read", page="key")
    ada.held(["credential-chain/presentation"], "billing", "use", token=KEY)
    written = [path for path in one.folder.rglob("*") if path.is_file() and "policy" not in path.parts]
    assert any(path.suffix == ".jsonl" for path in written)
    assert [path for path in written if KEY.encode() in path.read_bytes()] == []
