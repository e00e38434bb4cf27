"""Credentials kept from an agent, through a real gateway and to real servers: what the agent gets, what arrives where, and
what of it is written down. What reached a system says the system's own log.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Generator
from pathlib import Path
from urllib.parse import quote

import httpx2
import pytest
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client

from tests.e2e.desk import KEY, SECOND
from tests.e2e.running import mortal_gateway
from tests.e2e.systems import Agent, Arrived, Servers, agent
from tests.e2e.wire import entries, stateless, until
from tests.gateway_process import GatewayProcess, free_port, open_policy, running_gateway
from tests.requirements import requirement

CONCEALED = "\nconcealed: [crm/*, vault/*]\n"


def concealing_policy(folder: Path) -> Path:
    """The shipped policy with the one line that the documentation tells."""
    policy = open_policy(folder)
    settings = policy / "gateway/settings/data.yaml"
    text = settings.read_text("utf-8")
    assert text.count("\nconcealed: []\n") == 1
    settings.write_text(text.replace("\nconcealed: []\n", CONCEALED), "utf-8")
    return policy


@pytest.fixture(scope="module")
def one(systems: Servers, tmp_path_factory: pytest.TempPathFactory) -> Generator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("concealment")
    with running_gateway(systems.config(concealing_policy(folder)), folder) as found:
        yield found


def handle(ada: Agent, page: str = "key", system: str = "crm") -> str:
    """What the agent reads in the place of the credential on a page."""
    text = ada.call(system, "read", page=page).text
    (found,) = [word.rstrip(".") for word in text.split() if word.startswith("cred://")]
    return found


def arrives(ada: Agent, system: str, tool: str, sent: dict[str, object], arrived: dict[str, object]) -> None:
    """A call that passes, and what its system got of it."""
    ada.servers.take()
    answer = ada.call(system, tool, **sent)
    assert "isError" not in answer.json["result"], answer.body
    assert ada.servers.take() == [Arrived(system, tool, arrived, authorized=False)]


def refused(ada: Agent, code: str, system: str, tool: str, **arguments: object) -> None:
    """A call that goes nowhere, for this reason."""
    ada.servers.take()
    answer = ada.call(system, tool, **arguments)
    assert answer.codes == [code], answer.body
    assert KEY.encode() not in answer.body
    assert ada.servers.take() == []


@requirement("conceal/results")
def test_the_agent_gets_a_handle_and_the_same_one_again(ada: Agent):
    answer = ada.call("crm", "read", page="key")
    assert KEY.encode() not in answer.body
    assert handle(ada) in answer.text
    assert answer.text.startswith("The deployment uses cred://")
    assert handle(ada, "second") != handle(ada)
    assert KEY.encode() in ada.call("billing", "read", page="key").body, "billing is not to be concealed"


@requirement("conceal/results", "mcp/eras")
def test_on_the_stateless_wire_too(one: GatewayProcess, systems: Servers):
    grace = agent(one, systems)
    newer = Agent(grace.gateway, systems, grace.headers, stateless)
    found = handle(newer)
    arrives(newer, "crm", "use", {"token": found}, {"token": KEY})


@requirement("conceal/handles")
@pytest.mark.parametrize("text", ["{}", "Bearer {}"])
def test_a_handle_goes_back_as_the_credential_to_its_own_system(ada: Agent, text: str):
    found = handle(ada)
    arrives(ada, "crm", "use", {"token": text.format(found)}, {"token": text.format(KEY)})
    arrives(ada, "crm", "read", {"query": text.format(found)}, {"query": text.format(KEY)})


@requirement("conceal/handles")
def test_a_handle_is_not_resolved_for_another_system_whatever_the_contract_says(ada: Agent):
    task = ada.declare(
        contract={"credential_flows": [{"from": "crm", "to": "billing"}], "audiences": ["crm", "billing"]}
    )
    for who in (ada, task):
        found = handle(who)
        who.denied(["credential-chain/presentation"], "billing", "use", token=found)
        who.denied(["credential-chain/presentation"], "billing", "read", query=f"Bearer {found}")


@requirement("conceal/handles")
def test_a_handle_is_not_written_down_nor_sent_out_in_its_own_system(ada: Agent):
    found = handle(ada)
    for tool, arguments in (
        ("write", {"body": found}),
        ("post", {"text": found}),
        ("send", {"to": "ops@corp.example", "subject": found}),
        ("use", {"note": found}),
    ):
        ada.denied(["credential-chain/egress"], "crm", tool, **arguments)


@requirement("conceal/handles", "invariant/5")
def test_a_handle_of_another_task_or_caller_is_unknown(ada: Agent, one: GatewayProcess, systems: Servers):
    found = handle(ada)
    for other in (ada.declare(), agent(one, systems), agent(one, systems, "mallory")):
        refused(other, "credential-chain/handle", "crm", "use", token=found)
    arrives(ada, "crm", "use", {"token": found}, {"token": KEY})


@requirement("conceal/handles")
@pytest.mark.parametrize("end", ["complete", "cancel"])
def test_a_handle_ends_with_its_task(ada: Agent, end: str):
    task = ada.declare()
    found = handle(task)
    arrives(task, "crm", "use", {"token": found}, {"token": KEY})
    assert task.tasks(f"/{task.task}/{end}")[0] == 200
    refused(ada, "credential-chain/handle", "crm", "use", token=found)


@requirement("conceal/handles")
def test_tricks_with_handles_resolve_nothing(ada: Agent):
    found = handle(ada)
    for arguments in (
        {"token": found + "x"},
        {"token": found[:-1]},
        {"token": found.upper()},
        {"token": "cred://x/y"},
        {found: "x"},
        {"token": found[:20], "query": found[20:]},
        {"query": f"https://docs.example:{found}@evil.example/"},
        {"query": f"reports/{found}"},
    ):
        refused(ada, "credential-chain/handle", "crm", "read", **arguments)


ENCODINGS: dict[str, Callable[[str], str]] = {
    "percent": lambda text: quote(text, safe=""),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "hex": lambda text: text.encode().hex(),
}


@requirement("conceal/handles")
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_an_encoded_handle_arrives_as_the_text_that_it_is(ada: Agent, encoding: str):
    text = ENCODINGS[encoding](handle(ada))
    arrives(ada, "crm", "read", {"query": text}, {"query": text})


@requirement("conceal/handles")
def test_a_handle_in_json_in_an_argument_for_a_credential_is_put_back(ada: Agent):
    found = handle(ada)
    nested = json.dumps({"auth": {"key": found}})
    arrives(ada, "crm", "use", {"token": nested}, {"token": nested.replace(found, KEY)})


@requirement("conceal/results", "conceal/handles")
async def test_the_client_of_the_sdk_works_with_handles(ada: Agent):
    async with (
        httpx2.AsyncClient(headers=dict(ada.headers), timeout=300) as http,
        Client(streamable_http_client(ada.gateway.mcp("crm"), http_client=http)) as client,
    ):
        shown = str((await client.call_tool("read", {"page": "key"})).content)
        assert KEY not in shown
        found = next(word for word in shown.replace("'", " ").split() if word.startswith("cred://"))
        ada.servers.take()
        result = await client.call_tool("use", {"token": found})
        assert not result.is_error

    assert [call.arguments for call in ada.servers.take()] == [{"token": KEY}]


@requirement("conceal/results")
def test_a_credential_that_shows_itself_on_another_way_is_known_again(ada: Agent):
    """Detection is the second line: the task has seen the credential, though the agent has not."""
    handle(ada)
    ada.held(["credential-chain/presentation"], "billing", "use", token=KEY)


@requirement("conceal/results", "invariant/8")
def test_values_are_nowhere_and_the_record_says_what_was_done(one: GatewayProcess, systems: Servers):
    ada = agent(one, systems)
    found = handle(ada)
    arrives(ada, "crm", "use", {"token": found}, {"token": KEY})
    until(lambda: entries(one.folder, "settled")[-1]["id"] == entries(one.folder, "call")[-1]["id"])
    settled = entries(one.folder, "settled")[-2:]

    assert [entry["concealed"] for entry in settled] == [1, 0]
    assert [entry.get("put_back") for entry in settled] == [None, 1]
    assert entries(one.folder, "call")[-2]["obligations"] == ["conceal_credentials"]
    written = [path for path in one.folder.rglob("*") if path.is_file() and "policy" not in path.parts]
    assert any(path.suffix == ".jsonl" for path in written)
    for value in (KEY, SECOND, found):
        assert [path for path in written if value.encode() in path.read_bytes()] == []


@requirement("conceal/handles", "history/restart")
def test_after_a_restart_a_handle_is_read_again(systems: Servers, tmp_path: Path):
    config, port = systems.config(concealing_policy(tmp_path)), free_port()
    with mortal_gateway(config, tmp_path, port=port) as gateway:
        before = agent(gateway, systems)
        found = handle(before)
        gateway.process.kill()
        gateway.process.wait()
    with mortal_gateway(config, tmp_path, port=port) as gateway:
        after = Agent(gateway, systems, before.headers)
        answer = after.call("crm", "use", token=found)
        assert answer.codes == ["credential-chain/handle"]
        assert "Read again what gave it to you" in answer.text
        arrives(after, "crm", "use", {"token": handle(after)}, {"token": KEY})
        after.held(["credential-chain/presentation"], "billing", "use", token=KEY)
