"""The features of MCP, on both wires, through a real gateway with real servers behind it."""

from __future__ import annotations

import hashlib
import http.client
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import mcp_types as types
import pytest
from mcp.client import Client

from gateway.model.error_codes import INVALID_PARAMS, MISSING_CAPABILITY
from tests import machine
from tests.e2e.wire import Caller, Sent, call, caller, entries, legacy, stateless
from tests.gateway_process import GatewayProcess
from tests.requirements import requirement
from tests.servers.echo import Recorder
from tests.servers.handles import ODD

MODES = ["legacy", "2026-07-28"]


@pytest.fixture
def anyone(gateway: GatewayProcess) -> Caller:
    return Caller(gateway)


@requirement("mcp/progress", "mcp/eras")
@pytest.mark.parametrize("mode", MODES)
async def test_progress_reaches_the_client_with_its_own_token(gateway: GatewayProcess, mode: str):
    reports: list[float] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        reports.append(progress)

    async with Client(gateway.mcp("everything"), mode=mode) as client:
        await client.call_tool("test_tool_with_progress", {}, progress_callback=note)

    assert reports == [0, 50, 100]


@requirement("mcp/logging")
async def test_log_messages_come_on_the_stream_of_their_call(gateway: GatewayProcess):
    logged: list[Any] = []

    async def note(params: types.LoggingMessageNotificationParams) -> None:
        logged.append(params.data)

    async with Client(gateway.mcp("everything"), mode="legacy", logging_callback=note) as client:
        await client.call_tool("test_tool_with_logging", {})

    assert len(logged) == 3


@requirement("mcp/server-requests")
@pytest.mark.parametrize(
    ("mode", "tool"), [("legacy", "test_sampling"), ("2026-07-28", "test_input_required_result_sampling")]
)
async def test_a_server_asks_the_clients_model(gateway: GatewayProcess, mode: str, tool: str):
    async def sample(context: Any, params: types.CreateMessageRequestParams) -> types.CreateMessageResult:
        content = types.TextContent(type="text", text="Paris")
        return types.CreateMessageResult(role="assistant", content=content, model="none")

    async with Client(gateway.mcp("everything"), mode=mode, sampling_callback=sample) as client:
        result = await client.call_tool(tool, {"prompt": "capital?"} if mode == "legacy" else {})

    assert "Paris" in str(result)


@requirement("mcp/server-requests")
@pytest.mark.parametrize(
    ("mode", "tool"), [("legacy", "test_elicitation"), ("2026-07-28", "test_input_required_result_elicitation")]
)
async def test_a_server_asks_the_user(gateway: GatewayProcess, mode: str, tool: str):
    async def elicit(context: Any, params: Any) -> types.ElicitResult:
        return types.ElicitResult(action="accept", content={"response": "Ada", "name": "Ada"})

    async with Client(gateway.mcp("everything"), mode=mode, elicitation_callback=elicit) as client:
        result = await client.call_tool(tool, {"message": "name?"} if mode == "legacy" else {})

    assert "Ada" in str(result)


@requirement("mcp/server-requests")
async def test_a_server_asks_for_roots(gateway: GatewayProcess):
    async def roots(context: Any) -> types.ListRootsResult:
        return types.ListRootsResult.model_validate({"roots": [{"uri": "file:///a"}, {"uri": "file:///b"}]})

    async with Client(gateway.mcp("everything"), mode="2026-07-28", list_roots_callback=roots) as client:
        result = await client.call_tool("test_input_required_result_list_roots", {})

    assert "2 roots" in str(result)


@requirement("mcp/input-required")
async def test_a_call_that_needs_two_rounds_of_input_ends(gateway: GatewayProcess):
    async def elicit(context: Any, params: Any) -> types.ElicitResult:
        asked_for_colour = "color" in str(params.message)
        return types.ElicitResult(action="accept", content={"color": "blue"} if asked_for_colour else {"name": "Ada"})

    async with Client(gateway.mcp("everything"), mode="2026-07-28", elicitation_callback=elicit) as client:
        result = await client.call_tool("test_input_required_result_multi_round", {})

    assert "Ada likes blue." in str(result)


@requirement("mcp/resumable")
async def test_a_client_that_loses_its_stream_takes_it_up_again(gateway: GatewayProcess):
    logged: list[Any] = []

    async def note(params: types.LoggingMessageNotificationParams) -> None:
        logged.append(params.data)

    async with Client(gateway.mcp("everything"), mode="legacy", logging_callback=note) as client:
        result = await client.call_tool("test_reconnection", {})

    assert "Reconnection test completed" in str(result)
    assert logged == ["Before disconnect", "After reconnect"]


@requirement("mcp/subscriptions")
async def test_a_subscription_hears_of_changes(gateway: GatewayProcess):
    async with (
        Client(gateway.mcp("everything"), mode="2026-07-28") as client,
        client.listen(tools_list_changed=True) as heard,
    ):
        await client.call_tool("test_trigger_tool_change", {})
        event = await anext(aiter(heard))

    assert type(event).__name__ == "ToolsListChanged"


@requirement("mcp/resources-prompts")
async def test_resources_prompts_and_completions_pass(gateway: GatewayProcess):
    async with Client(gateway.mcp("everything")) as client:
        read = await client.read_resource("test://static-text")
        prompt = await client.get_prompt("test_simple_prompt")
        reference = types.PromptReference(name="test_prompt_with_arguments")
        completion = await client.complete(reference, {"name": "arg1", "value": "par"})

    assert "static text resource" in str(read)
    assert "simple prompt" in str(prompt)
    assert completion.completion.values == ["paris", "park", "party"]


# --- the wire itself -------------------------------------------------------------------------------


@requirement("mcp/cancel-disconnect")
def test_a_stateless_client_that_leaves_cancels_the_call(anyone: Caller, recorder: Recorder):
    with anyone.open("POST", call("hold", stateless, key="leaves-stateless")) as answer:
        answer.readline()

    assert recorder.wait("disconnect", "leaves-stateless")


def test_a_stateless_client_that_leaves_before_any_answer_cancels_the_call(anyone: Caller, recorder: Recorder):
    sent = call("silent", stateless, key="leaves-silent")
    host = anyone.gateway.origin.removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=300)
    connection.request("POST", "/mcp/echo", sent.body, {"content-type": "application/json", **sent.headers})
    recorder.wait("request", "leaves-silent")
    connection.close()

    assert recorder.wait("disconnect", "leaves-silent")


@requirement("mcp/cancel-notification")
def test_a_cancellation_by_notification_reaches_the_server_as_it_was_sent(anyone: Caller, recorder: Recorder):
    sent = legacy("notifications/cancelled", None, requestId=7, reason="changed my mind")

    with anyone.open("POST", call("hold", key="taken-back")) as answer:
        recorder.wait("request", "taken-back")
        recorder.take()
        assert anyone.ask(sent).status == 202
        (record,) = recorder.requests()
        assert record["sha256"] == hashlib.sha256(sent.body).hexdigest()
        recorder.release("taken-back")
        answer.read()


@requirement("mcp/cancel-notification", "invariant/5")
def test_a_caller_takes_back_no_request_of_another(gateway: GatewayProcess, recorder: Recorder):
    """The server gives no sessions, and both callers count their requests alike."""
    alice, mallory = caller(gateway, "alice", "echo"), caller(gateway, "mallory", "echo")
    sent = legacy("notifications/cancelled", None, requestId=7)
    with alice.open("POST", call("hold", key="not-taken-back")) as answer:
        recorder.wait("request", "not-taken-back")
        recorder.take()
        assert mallory.ask(sent).status == 202
        assert recorder.requests() == []
        refused = entries(gateway.folder, "refused")[-1]
        assert (refused["reasons"][0]["code"], refused["principal"]["id"]) == ("session/not-under-way", "mallory")
        recorder.release("not-taken-back")
        answer.read()


@requirement("mcp/resumable")
def test_a_stream_of_a_session_passes_with_its_event_ids_and_ends_with_the_server(alice: Caller, received: Recorder):
    session = opened(alice)
    with alice.open("GET", headers=session | {"last-event-id": "41"}) as answer:
        assert answer.status == 200
        assert answer.readline() == b"id: 1\n"
        assert answer.readline() == b"retry: 100\n"
        received.release("get")
        rest = answer.read()

    assert b"id: 2\n" in rest
    (record,) = [record for record in received.requests() if record["method"] == "GET"]
    assert ["last-event-id", "41"] in record["headers"]
    assert ["mcp-session-id", "session-1"] in record["headers"]


@requirement("mcp/session")
def test_a_session_is_ended_with_delete(alice: Caller, received: Recorder):
    session = opened(alice)

    assert alice.ask(None, "DELETE", session).status == 200
    assert ["mcp-session-id", "session-1"] in received.requests()[-1]["headers"]


@requirement("mcp/list-filter", "mcp/caching")
def test_a_list_that_a_stream_replays_is_filtered(bob: Caller, received: Recorder):
    with bob.open("GET", headers=opened(bob)) as answer:
        lines = [answer.readline() for _ in range(7)]

    (replayed,) = [json.loads(line.removeprefix(b"data: ")) for line in lines if line.startswith(b"data: {")]
    assert [tool["name"] for tool in replayed["result"]["tools"]] == ["open_a"]
    assert replayed["result"]["cacheScope"] == "private"


@requirement("mcp/pagination", "mcp/list-filter")
@pytest.mark.parametrize("era", [legacy, stateless])
def test_pages_keep_their_cursors_however_much_is_hidden(bob: Caller, alice: Caller, received: Recorder, era: Any):
    def pages(caller: Caller) -> list[tuple[list[str], str | None]]:
        found: list[tuple[list[str], str | None]] = []
        cursor: str | None = None
        while not found or cursor is not None:
            page = caller.ask(era("tools/list", **({} if cursor is None else {"cursor": cursor}))).json["result"]
            cursor = page.get("nextCursor")
            found.append(([tool["name"] for tool in page["tools"]], cursor))
        return found

    assert pages(alice) == [
        (["open_a", "shut_b"], "two"),
        (["shut_c"], "three"),
        (["open_d", "task", "ask", "odd"], None),
    ]
    assert pages(bob) == [(["open_a"], "two"), ([], "three"), (["open_d", "task", "ask"], None)]


@requirement("mcp/result-bytes")
def test_a_result_comes_back_as_the_same_bytes(alice: Caller, received: Recorder):
    answer = alice.ask(Sent(call("odd").body.replace(b'"id": 7', b'"id": 77'), call("odd").headers))

    assert answer.body == ODD


@requirement("mcp/keep-alive")
def test_an_idle_stream_is_kept_alive_with_comments(anyone: Caller, recorder: Recorder):
    with anyone.open("POST", call("hold", stateless, key="kept-alive")) as answer:
        lines = [answer.readline() for _ in range(6)]
        recorder.release("kept-alive")
        rest = answer.read()

    assert lines.count(b": keep-alive\n") >= 1
    assert b'"released"' in rest


@machine.needs_proc
@requirement("mcp/large")
def test_forty_megabytes_stream_through_in_little_memory(anyone: Caller):
    status = Path(f"/proc/{anyone.gateway.process.pid}/status")

    def resident() -> int:
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(fields["VmHWM"].split()[0])

    anyone.call("big", mib=2)
    before, size = resident(), 0
    with anyone.open("POST", call("big", mib=40)) as answer:
        while chunk := answer.read(2**20):
            size += len(chunk)

    assert size > 40 * 2**20
    assert resident() - before < 6 * 1024


@requirement("mcp/no-session")
def test_a_legacy_session_header_means_nothing_to_the_stateless_era(alice: Caller, received: Recorder):
    answer = alice.ask(call("odd", stateless), headers={"mcp-session-id": "made-up", "last-event-id": "3"})

    assert answer.status == 200
    names = {name for name, _ in received.requests()[-1]["headers"]}
    assert names.isdisjoint({"mcp-session-id", "last-event-id"})


@requirement("mcp/subscriptions")
def test_a_listening_stream_starts_with_its_acknowledgement(alice: Caller, received: Recorder):
    with alice.open("POST", stateless("subscriptions/listen", 31, notifications={})) as answer:
        assert answer.readline() == b"event: message\n"
        told = json.loads(answer.readline().removeprefix(b"data: "))

    assert told["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"] == 31
    assert received.wait("disconnect", "subscriptions/listen")


# --- what belongs to one principal -----------------------------------------------------------------


def opened(caller: Caller) -> dict[str, str]:
    """The header of a new session."""
    sent = legacy(
        "initialize", protocolVersion="2025-11-25", capabilities={}, clientInfo={"name": "raw", "version": "1"}
    )
    return {"mcp-session-id": caller.ask(sent).headers["mcp-session-id"]}


@requirement("mcp/session", "invariant/5")
@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
def test_a_session_of_somebody_else_is_no_session(alice: Caller, mallory: Caller, received: Recorder, method: str):
    session = opened(alice)
    received.take()
    sent = call("odd") if method == "POST" else None

    answer = mallory.ask(sent, method, session)

    assert answer.status == 404
    assert answer.codes == ["session/unknown"]
    assert received.requests() == []
    assert alice.ask(call("odd"), headers=session).status == 200


@pytest.mark.parametrize("made_up", ["session-1", "session-1.", "session-1.00000000000000000000000000000000", "."])
def test_a_session_that_the_gateway_did_not_give_is_no_session(alice: Caller, received: Recorder, made_up: str):
    assert alice.ask(call("odd"), headers={"mcp-session-id": made_up}).codes == ["session/unknown"]
    assert received.requests() == []


def test_a_stream_is_not_resumed_without_its_session(alice: Caller, received: Recorder):
    assert alice.ask(None, "GET", headers={"last-event-id": "1"}).codes == ["session/missing"]
    assert received.requests() == []


TAKES_TASKS: dict[str, Any] = {
    "io.modelcontextprotocol/clientCapabilities": {"extensions": {"io.modelcontextprotocol/tasks": {}}},
}
TASK_USES = [
    legacy("tasks/get", taskId="TASK"),
    legacy("tasks/result", taskId="TASK"),
    legacy("tasks/cancel", taskId="TASK"),
    stateless("tasks/get", taskId="TASK"),
    stateless("tasks/cancel", taskId="TASK"),
    stateless("tasks/update", taskId="TASK", inputResponses={}),
    stateless("subscriptions/listen", notifications={"taskIds": ["TASK"]}),
]


@requirement("mcp/tasks", "invariant/5")
@pytest.mark.parametrize("use", TASK_USES, ids=lambda use: f"{json.loads(use.body)['method']}")
def test_a_task_of_somebody_else_is_no_task(alice: Caller, mallory: Caller, received: Recorder, use: Sent):
    name = f"task-{hashlib.sha256(use.body).hexdigest()[:8]}"
    era = stateless if b"_meta" in use.body else legacy
    named = Sent(use.body.replace(b"TASK", name.encode()), {k: v.replace("TASK", name) for k, v in use.headers.items()})
    assert alice.ask(call("task", era, id=name)).status == 200
    received.take()

    answer = mallory.ask(named)

    assert (answer.status, answer.codes) == (400, ["session/foreign"])
    assert received.requests() == []
    with alice.open("POST", named) as own:
        assert own.status == 200


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (legacy("tasks/get", taskId="guessed"), INVALID_PARAMS),
        (stateless("tasks/get", taskId="guessed", _meta=TAKES_TASKS), INVALID_PARAMS),
        (stateless("tasks/get", taskId="guessed"), MISSING_CAPABILITY),
    ],
)
def test_a_task_that_nobody_was_given_is_no_task(alice: Caller, received: Recorder, asked: Sent, code: int):
    answer = alice.ask(asked)

    assert (answer.codes, answer.json["error"]["code"]) == (["session/foreign"], code)
    assert received.requests() == []


@requirement("mcp/tasks")
def test_a_client_tells_the_server_of_its_session_of_a_task_that_it_runs_itself(alice: Caller, received: Recorder):
    """A server may ask a client for a sample as a task (2025-11-25): the client makes the id, and says how it goes on."""
    session = opened(alice)
    told = legacy("notifications/tasks/status", None, taskId="made-by-the-client", status="completed")
    received.take()

    assert alice.ask(told, headers=session).status < 300
    assert [record["body"] for record in received.requests()] == [told.body.decode()]


@requirement("mcp/input-required", "invariant/5")
def test_a_state_of_somebody_else_resumes_nothing(alice: Caller, mallory: Caller, received: Recorder):
    asked = call("ask", stateless, state="state-of-alice")
    assert alice.ask(asked).json["result"]["requestState"] == "state-of-alice"
    received.take()
    retry = stateless("tools/call", 8, name="ask", arguments={}, requestState="state-of-alice", inputResponses={})

    assert mallory.ask(retry).codes == ["session/foreign"]
    assert received.requests() == []
    assert alice.ask(retry).text == "resumed state-of-alice"


def test_a_state_that_was_made_up_resumes_nothing(alice: Caller, received: Recorder):
    retry = stateless("tools/call", name="ask", arguments={}, requestState="made-up", inputResponses={})

    assert alice.ask(retry).codes == ["session/foreign"]
    assert received.requests() == []


@requirement("mcp/input-required")
def test_each_retry_is_decided_anew(alice: Caller, bob: Caller, received: Recorder):
    """A state that was got with an allowed tool does not carry over to one that is not."""
    bob.ask(call("ask", stateless, state="state-of-bob"))
    received.take()
    retry = stateless("tools/call", name="odd", arguments={}, requestState="state-of-bob", inputResponses={})

    assert bob.ask(retry).codes == ["tool/not-granted"]
    assert received.requests() == []


def test_nothing_is_shared_between_a_user_and_the_same_agent_for_another_user(
    gateway: GatewayProcess, received: Recorder
):
    ann, ben = (caller(gateway, "alice", "handles", user=user) for user in ("ann", "ben"))
    session = opened(ann)

    assert ben.ask(call("odd"), headers=session).codes == ["session/unknown"]
    assert replace(ann, upstream="echo").ask(call("echo"), headers=session).codes == ["session/unknown"]
