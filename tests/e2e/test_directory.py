"""A gateway with an operator's directory, after its caller has read something untrusted."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from tests.e2e.systems import Agent, Servers, agent
from tests.gateway_process import GatewayProcess, open_policy, running_gateway
from tests.requirements import requirement


@pytest.fixture(scope="module")
def knowing(systems: Servers, tmp_path_factory: pytest.TempPathFactory) -> Generator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("knowing")
    people = folder / "people.csv"
    people.write_text("Name,Email\nAda Lovelace,ada@corp.example\n", "utf-8")
    more = f"directory: {{entries: ['*@partner.example'], files: ['{people}']}}\n"
    with running_gateway(systems.config(open_policy(folder), more), folder) as found:
        yield found


@pytest.fixture
def reader(knowing: GatewayProcess, systems: Servers) -> Agent:
    task = agent(knowing, systems).declare(goal="Answer the mail of today")
    task.passes("chat", "read")
    return task


@requirement("directory/grounds")
def test_known_people_are_written_to_without_a_question(reader: Agent):
    reader.passes("mail", "send", to="Ada Lovelace <ADA@corp.example>", body="hello")
    reader.passes("mail", "send", to="bob@partner.example", body="hello")
    reader.asked(["toxic-flow/ungrounded"], "mail", "send", to="eve@evil.example", body="hello")
    reader.asked(
        ["toxic-flow/ungrounded"], "mail", "send", to="bob@partner.example", cc="eve@evil.example", body="hello"
    )


@requirement("directory/trusted")
def test_confidential_data_goes_to_known_people_with_an_approval_alone(reader: Agent):
    reader.passes("chat", "confidential")
    reader.asked(["toxic-flow/exfiltration"], "mail", "send", to="ada@corp.example", body="hello")
    reader.asked(
        ["toxic-flow/exfiltration", "toxic-flow/ungrounded"], "mail", "send", to="eve@evil.example", body="hello"
    )
