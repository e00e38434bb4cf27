"""Which requests reach an upstream, and in what form."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.model.error_codes import INVALID_PARAMS, MISSING_CAPABILITY
from tests.requirements import requirement
from tests.unit.harness import Answer, Bench, call, message, modern, result

CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
TASKS = "io.modelcontextprotocol/tasks"
DECLARED: dict[str, Any] = {CAPABILITIES: {"extensions": {TASKS: {}}}}
NAMES_A_TASK: list[tuple[str, dict[str, Any]]] = [
    ("tasks/get", {"taskId": "t"}),
    ("tasks/update", {"taskId": "t", "inputResponses": {}}),
    ("tasks/cancel", {"taskId": "t"}),
    ("subscriptions/listen", {"notifications": {"taskIds": ["t"]}}),
]


async def test_a_session_is_sealed_for_its_caller_and_opened_for_the_upstream(there: Bench):
    there.upstream.script = lambda request: result(request, {}, session="s-1")
    opening = message(
        "initialize", protocolVersion="2025-11-25", capabilities={}, clientInfo={"name": "a", "version": "1"}
    )
    sealed = dict((await there.ask(opening)).headers)[b"mcp-session-id"]
    assert sealed.startswith(b"s-1.")

    again = await there.ask(message("ping"), (b"mcp-session-id", sealed))
    assert there.upstream.sent[-1].session == "s-1"
    assert dict(again.headers)[b"mcp-session-id"] == sealed
    assert (await there.ask(message("ping"), (b"mcp-session-id", b"s-1"))).codes == ["session/unknown"]
    assert (await there.ask(None, (b"last-event-id", b"1"))).codes == ["session/missing"]


async def test_the_stateless_era_ignores_the_headers_of_sessions(there: Bench):
    body, *headers = modern("tools/call", name="read_file", arguments={})
    answer = await there.ask(body, *headers, (b"mcp-session-id", b"made-up"), (b"last-event-id", b"1"))

    assert answer.status == 200
    assert there.upstream.sent[0].session is None
    assert b"last-event-id" not in dict(there.upstream.sent[0].headers)


async def test_a_state_belongs_to_the_one_to_whom_it_was_given(there: Bench):
    body, *headers = modern("tools/call", name="read_file", arguments={}, requestState="s", inputResponses={})
    answer = await there.ask(body, *headers)
    assert answer.codes == ["session/foreign"]
    assert error(answer) == (400, INVALID_PARAMS)
    there.upstream.script = lambda request: result(request, {"resultType": "input_required", "requestState": "s"})
    asked, *first = modern("tools/call", name="read_file", arguments={})
    await there.ask(asked, *first)

    assert (await there.ask(body, *headers)).status == 200


@requirement("mcp/tasks")
@pytest.mark.parametrize(("method", "params"), NAMES_A_TASK)
async def test_a_task_of_somebody_else_is_answered_as_one_that_there_is_not(
    there: Bench, method: str, params: dict[str, Any]
):
    body, *headers = modern(method, **params, meta=DECLARED)
    answer = await there.ask(body, *headers)

    assert answer.codes == ["session/foreign"]
    assert error(answer) == (400, INVALID_PARAMS)
    assert there.upstream.sent == []


@requirement("mcp/tasks")
@pytest.mark.parametrize(("method", "params"), NAMES_A_TASK)
@pytest.mark.parametrize("capabilities", [None, {}, 1, {"extensions": [TASKS]}, {"extensions": {"other": {}}}])
async def test_to_a_client_that_takes_no_tasks_it_is_answered_so(
    there: Bench, method: str, params: dict[str, Any], capabilities: Any
):
    """SEP-2663, "Protocol Errors": as a server would, which comes to that before it looks for the task."""
    body, *headers = modern(method, **params, meta={CAPABILITIES: capabilities})
    answer = await there.ask(body, *headers)

    assert answer.codes == ["session/foreign"]
    assert error(answer) == (400, MISSING_CAPABILITY)
    assert answer.json["error"]["data"]["requiredCapabilities"] == {"extensions": {TASKS: {}}}
    assert there.upstream.sent == []


@pytest.mark.parametrize("method", ["tasks/get", "tasks/result", "tasks/cancel"])
async def test_the_handshake_era_knows_no_such_declaration(there: Bench, method: str):
    answer = await there.ask(message(method, taskId="t"))

    assert answer.codes == ["session/foreign"]
    assert error(answer) == (400, INVALID_PARAMS)


@pytest.mark.parametrize("meta", [{}, DECLARED])
async def test_ones_own_task_is_the_servers_to_answer_for(there: Bench, meta: dict[str, Any]):
    there.upstream.script = lambda request: result(request, {"resultType": "task", "taskId": "t"})
    body, *headers = modern("tools/call", name="read_file", arguments={})
    await there.ask(body, *headers)
    for method, params in NAMES_A_TASK:
        body, *headers = modern(method, **params, meta=meta)
        assert (await there.ask(body, *headers)).status == 200

    assert [request.message and request.message.method for request in there.upstream.sent[1:]] == [
        method for method, _ in NAMES_A_TASK
    ]


def error(answer: Answer) -> tuple[int, int]:
    """The status, and the code of JSON-RPC."""
    return answer.status, answer.json["error"]["code"]


async def test_a_trace_is_joined_and_passed_on(there: Bench):
    parent = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await there.ask(call(), (b"traceparent", parent), (b"traceparent", b"another"))

    assert [value for name, value in there.upstream.sent[0].headers if name == b"traceparent"] == [parent]
    assert there.entries("call")[0]["trace_id"] == parent.split(b"-")[1].decode()
