"""A server that gives no sessions asks one caller something on its stream: real gateway, real server, two callers."""

from __future__ import annotations

import json
from typing import Any

from tests.e2e.systems import Agent, Servers, agent
from tests.e2e.wire import Answer, Caller, Sent, entries
from tests.gateway_process import GatewayProcess
from tests.requirements import requirement
from tests.servers.echo import Recorder

ACCEPTED = Sent(
    json.dumps({"jsonrpc": "2.0", "id": "question", "result": {"action": "accept", "content": {}}}).encode(),
    {"mcp-protocol-version": "2025-11-25"},
)


def sent_by(caller: Agent, servers: Servers) -> tuple[Answer, bool]:
    """What the caller is told when it answers, and whether its answer arrived."""
    servers.of("crm").take()
    answer = Caller(caller.gateway, "crm", caller.headers).ask(ACCEPTED)
    bodies: list[Any] = [record["body"] for record in servers.of("crm").take()]
    return answer, ACCEPTED.body.decode() in bodies


@requirement("invariant/5", "mcp/server-requests")
def test_a_question_is_answered_by_whom_it_was_asked_and_by_nobody_else(one: GatewayProcess, systems: Servers):
    ada, mallory = agent(one, systems), agent(one, systems)
    fields = {"x-show": "elicitation:none", "x-hold": "asked-without-a-session"}
    with Caller(one, "crm", ada.headers).open("GET", headers=fields) as stream:
        while b"elicitation/create" not in stream.readline():
            pass
        answer, came = sent_by(mallory, systems)
        assert (answer.status, answer.codes, came) == (400, ["session/foreign"], False)
        assert entries(one.folder, "refused")[-1]["reasons"][0]["code"] == "session/foreign"

        answer, came = sent_by(ada, systems)
        assert came, answer.body
        assert sent_by(ada, systems)[1] is False
        Recorder(systems.of("crm").origin).release("asked-without-a-session")
        stream.read()
    assert sent_by(mallory, systems)[1] is False
