"""A credential that one system has shown reaches no other beside the arguments of a call either: not in a header, not in
`_meta`, an id or a cursor, and not in messages that no policy decides. To the system that showed it, it may go.

Real gateway, real servers; whether a message arrived is read from the server's own log.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import httpx2
import pytest
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

from tests.e2e.desk import KEY, WORD, made
from tests.e2e.running import leave, mortal_gateway
from tests.e2e.systems import Agent, Servers, agent
from tests.e2e.wire import META, Answer, Caller, Sent, call, entries, legacy, stateless
from tests.gateway_process import TRACEBACK, GatewayProcess, free_port, open_policy
from tests.requirements import requirement

OUTSIDE: Final = ["credential-chain/outside-arguments"]


@pytest.fixture
def ada(one: GatewayProcess, systems: Servers, request: pytest.FixtureRequest) -> Agent:
    """A caller of its own, whom `crm` has shown a credential."""
    found = agent(one, systems, f"ada-{abs(hash(request.node.nodeid))}")
    found.passes("crm", "read", page="key")
    return found


def reply(**members: Any) -> Sent:
    """A client's answer to a question of a server."""
    document = {"jsonrpc": "2.0", "id": 4, **members}
    return Sent(json.dumps(document).encode(), {"mcp-protocol-version": "2025-11-25"})


def beside(sent: Sent, **headers: str) -> Sent:
    return replace(sent, headers={**sent.headers, **{name.replace("_", "-"): value for name, value in headers.items()}})


def with_meta(method: str, meta: Mapping[str, Any], **params: Any) -> Sent:
    """A stateless request with more in its `_meta`."""
    sent = stateless(method, **params)
    document = json.loads(sent.body)
    document["params"]["_meta"] = {**META, **meta}
    return replace(sent, body=json.dumps(document).encode())


def with_id(sent: Sent, identifier: str) -> Sent:
    return replace(sent, body=json.dumps({**json.loads(sent.body), "id": identifier}).encode())


Place = Callable[[str], Sent]
READ: Final[Mapping[str, Any]] = {"name": "read", "arguments": {}}
COMPLETION: Final[Mapping[str, Any]] = {
    "ref": {"type": "ref/prompt", "name": "p"},
    "argument": {"name": "a", "value": ""},
}


HANDSHAKE: Final[dict[str, Place]] = {
    "_meta of a call": lambda key: legacy("tools/call", **READ, _meta={"vendor/note": {"deep": [key]}}),
    "a name in _meta": lambda key: legacy("tools/call", **READ, _meta={key: 1}),
    "progress token": lambda key: legacy("tools/call", **READ, _meta={"progressToken": key}),
    "unknown member": lambda key: legacy("tools/call", **READ, more=key),
    "name of a tool": lambda key: legacy("tools/call", name=key, arguments={}),
    "id of a call": lambda key: with_id(call("read"), key),
    "_meta of a resource": lambda key: legacy("resources/read", uri="test://page", _meta={"note": key}),
    "_meta of a prompt": lambda key: legacy("prompts/get", name="hello", arguments={}, _meta={"note": key}),
    "client info": lambda key: legacy(
        "initialize", protocolVersion="2025-11-25", capabilities={}, clientInfo={"name": "c", "version": key}
    ),
    "capabilities": lambda key: legacy(
        "initialize", protocolVersion="2025-11-25", capabilities={"experimental": {key: {}}}, clientInfo={"name": "c"}
    ),
    "arguments of what is no call": lambda key: legacy("ping", arguments={"token": key}),
    "cursor": lambda key: legacy("tools/list", cursor=key),
    "cursor of resources": lambda key: legacy("resources/list", cursor=key),
    "ping": lambda key: legacy("ping", _meta={"note": key}),
    "_meta of a completion": lambda key: legacy("completion/complete", **COMPLETION, _meta={"note": key}),
    "context of a completion": lambda key: legacy("completion/complete", **COMPLETION, context={"more": key}),
    "subscription": lambda key: legacy("resources/subscribe", uri=f"https://pages.example/?k={key}"),
    "logging": lambda key: legacy("logging/setLevel", level="debug", logger=key),
    "progress": lambda key: legacy("notifications/progress", None, progressToken="1", progress=1, message=key),
    "cancellation": lambda key: legacy("notifications/cancelled", None, requestId="x", reason=key),
    "sampled text": lambda key: reply(
        result={"role": "assistant", "model": "m", "content": {"type": "text", "text": f"use {key}"}}
    ),
    "elicited text": lambda key: reply(result={"action": "accept", "content": {"token": key}}),
    "roots": lambda key: reply(result={"roots": [{"uri": f"file:///{key}"}]}),
    "error": lambda key: reply(error={"code": -1, "message": key}),
    "id of an answer": lambda key: with_id(reply(result={}), key),
    "user agent": lambda key: beside(call("read"), user_agent=f"agent/{key}"),
    "own header": lambda key: beside(call("read"), x_note=f"Bearer {key}"),
    "parameter header": lambda key: beside(call("read"), mcp_param_note=key),
    "header of a ping": lambda key: beside(legacy("ping"), x_note=key),
}
STATELESS: Final[dict[str, Place]] = {
    "_meta of a call": lambda key: with_meta("tools/call", {"vendor/note": key}, **READ),
    "client info": lambda key: with_meta(
        "tools/call", {"io.modelcontextprotocol/clientInfo": {"name": "c", "version": key}}, **READ
    ),
    "answers to a question": lambda key: stateless(
        "tools/call", **READ, inputResponses={"q": {"action": "accept", "content": {"token": key}}}
    ),
    "discovery": lambda key: with_meta("server/discover", {"note": key}),
    "cursor": lambda key: stateless("tools/list", cursor=key),
    "subscription": lambda key: stateless("subscriptions/listen", notifications={"resourceSubscriptions": [key]}),
    "completion": lambda key: stateless("completion/complete", **COMPLETION, more=key),
    "parameter header": lambda key: beside(
        stateless("tools/call", **READ), mcp_param_note=f"=?base64?{base64.b64encode(key.encode()).decode()}?="
    ),
    "trace in _meta": lambda key: with_meta("tools/call", {"baggage": f"k={key}"}, **READ),
}
OF_A_SESSION: Final = ("cancellation", "sampled text", "elicited text", "roots", "error", "id of an answer")
"""Without a session they go nowhere."""
PLACES: Final = [("handshake", name) for name in HANDSHAKE] + [("stateless", name) for name in STATELESS]


def place(era: str, name: str) -> Place:
    return (HANDSHAKE if era == "handshake" else STATELESS)[name]


def arrived(servers: Servers, sent: Sent) -> bool:
    """Whether a server has logged this very body since the last time."""
    records = [record for recorder in servers.recorders for record in recorder.take()]
    return any(record["body"] == sent.body.decode() for record in records if record["event"] == "request")


def post(ada: Agent, system: str, sent: Sent) -> tuple[Answer, bool]:
    """What is answered, and whether the message arrived."""
    ada.servers.take()
    answer = Caller(ada.gateway, system, ada.headers).ask(sent)
    return answer, arrived(ada.servers, sent)


def refused(ada: Agent, system: str, sent: Sent) -> Answer:
    answer, came = post(ada, system, sent)
    assert (answer.status, answer.codes, came) == (400, OUTSIDE, False), answer.body
    return answer


def passes(ada: Agent, system: str, sent: Sent) -> None:
    answer, came = post(ada, system, sent)
    assert came, answer.body
    assert b"credential-chain" not in answer.body


@requirement("history/credentials", "history/elsewhere")
@pytest.mark.parametrize(("era", "name"), PLACES)
def test_what_one_system_has_shown_reaches_no_other_in_any_place(ada: Agent, era: str, name: str):
    made_there = place(era, name)
    billing, crm = (ada.session(system) if name in OF_A_SESSION else ada for system in ("billing", "crm"))
    refused(billing, "billing", made_there(KEY))
    if name != "name of a tool":
        passes(billing, "billing", made_there("nothing-in-particular"))
        passes(crm, "crm", made_there(KEY))


TRACE: Final = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
STAY: Final[dict[str, Callable[[str], dict[str, str]]]] = {
    "baggage": lambda key: {"traceparent": TRACE, "baggage": f"user=ada,note={key}"},
    "trace state": lambda key: {"traceparent": TRACE, "tracestate": f"vendor={key}"},
    "name of a header": lambda key: {key: "1"},
    "another header": lambda key: {"x-foo": key, "x_note": key, "cookie": key, "referer": key, "accept-language": key},
    "accepted types": lambda key: {"accept": f"application/json, text/event-stream, x/{key}"},
}


@requirement("history/elsewhere")
@pytest.mark.parametrize("name", STAY)
def test_no_other_header_carries_a_credential_to_an_upstream(ada: Agent, name: str):
    """What a caller writes there stays at the gateway, so the call goes on without it."""
    ada.servers.take()
    answer = Caller(ada.gateway, "billing", ada.headers).ask(call("read"), headers=STAY[name](KEY))
    logged = [record for recorder in ada.servers.recorders for record in recorder.take()]
    assert "tools/call" in str(logged), answer.body
    assert KEY not in str(logged)


def each_byte(text: str, form: str) -> str:
    return "".join(form.format(byte) for byte in text.encode())


DISGUISES: dict[str, Callable[[str], str]] = {
    "in a sentence": lambda key: f"please use {key}, thanks",
    "in capitals": str.upper,
    "spaced": " ".join,
    "base64": lambda key: base64.b64encode(key.encode()).decode(),
    "base64 twice": lambda key: base64.b64encode(base64.b64encode(key.encode())).decode(),
    "base64url": lambda key: base64.urlsafe_b64encode(f"user:{key}".encode()).decode().rstrip("="),
    "hex": lambda key: key.encode().hex(),
    "percent twice": lambda key: quote(each_byte(key, "%{:02X}")),
    "Basic": lambda key: "Basic " + base64.b64encode(f"ada:{key}".encode()).decode(),
    "userinfo": lambda key: f"https://ada:{key}@git.example/repo",
}


@requirement("history/elsewhere")
@pytest.mark.parametrize("form", DISGUISES)
def test_a_disguise_hides_nothing(ada: Agent, form: str):
    disguised = DISGUISES[form](KEY)
    refused(ada, "billing", legacy("ping", _meta={"note": disguised}))
    refused(ada, "billing", beside(legacy("tools/list"), x_note=disguised))


@requirement("history/elsewhere")
def test_a_credential_in_parts_is_found(ada: Agent):
    first, second = KEY[:15], KEY[15:]
    refused(ada, "billing", beside(call("read"), x_note=first, x_device=second))
    refused(ada, "billing", beside(legacy("ping", _meta={"note": second}), x_a=first))
    refused(ada, "billing", legacy("ping", _meta={"a": first, "b": [1, second]}))
    refused(ada, "billing", legacy("ping", _meta={first: second}))


@requirement("history/elsewhere")
@pytest.mark.parametrize(
    ("first", "second"),
    [
        (beside(call("read"), x_note=KEY[:18]), beside(call("read"), x_note=KEY[18:])),
        (legacy("ping", _meta={"note": KEY[:18]}), legacy("tools/list", cursor=KEY[18:])),
        (call("read", query=KEY[:18]), legacy("ping", _meta={"note": KEY[18:]})),
        (call("read", query=KEY[:18]), beside(call("read"), user_agent=KEY[18:])),
        (with_id(call("read"), KEY[18:]), with_id(call("read"), KEY[:18])),
    ],
)
def test_halves_in_two_messages_are_a_credential(ada: Agent, first: Sent, second: Sent):
    passes(ada, "billing", first)
    refused(ada.declare(), "billing", second)
    refused(ada, "billing", second)
    passes(ada, "billing", first)
    passes(ada, "chat", second)
    passes(ada, "crm", second)


@requirement("history/elsewhere")
def test_half_beside_arguments_and_half_in_them_are_a_credential(ada: Agent):
    sent = beside(call("read", query=KEY[18:]), x_note=KEY[:18])
    answer, came = post(ada, "billing", sent)
    assert (answer.codes, came) == (["credential-chain/presentation", "approval/unavailable"], False)
    ada.held(["credential-chain/presentation"], "billing", "read", query=KEY[18:])
    refused(ada, "billing", beside(call("read"), x_note=KEY[18:]))


@requirement("history/elsewhere", "invariant/7")
def test_a_piece_is_recorded_before_it_is_sent(ada: Agent, one: GatewayProcess):
    passes(ada, "billing", legacy("ping", _meta={"note": KEY[:18]}))
    (entry,) = [entry for entry in entries(one.folder, "exposed") if entry["audience"] == "billing"][-1:]
    assert entry["exposed"]
    assert KEY[:18] not in json.dumps(entry)


def listing(page: str) -> Sent:
    """A list of tools in which a hostile server says more than it has tools."""
    return beside(legacy("tools/list"), x_page=page)


def reading(page: str) -> Sent:
    return call("read", page=page)


@requirement("history/elsewhere")
@pytest.mark.parametrize("flood", [listing, reading])
def test_a_flood_of_credentials_hides_none_beside_arguments(
    one: GatewayProcess, systems: Servers, flood: Callable[[str], Sent]
):
    """Also one in a list of tools that nobody called."""
    ada = agent(one, systems, f"flooded-{flood.__name__}")
    assert post(ada, "crm", flood("environment"))[0].status == 200
    ada.passes("chat", "read", page="word")
    fresh = agent(one, systems, f"flooded-{flood.__name__}")
    for task in (ada, fresh, fresh.declare()):
        for disguised in (WORD, " ".join(WORD), base64.b64encode(WORD.encode()).decode(), WORD.upper()):
            refused(task, "billing", beside(call("read"), x_note=disguised))
            refused(task, "billing", legacy("ping", _meta={"note": f"use {disguised} there"}))
        passes(task, "billing", beside(call("read"), x_note="nothing of note", user_agent="agent/2.11 (x86_64; Linux)"))
        passes(task, "chat", beside(call("read"), x_note=WORD))
        task.held(["credential-chain/presentation"], "billing", "read", query=f"try {WORD}")


@requirement("history/elsewhere")
def test_who_was_shown_more_than_can_be_told_apart_sends_nothing_uncommon_beside_arguments(
    one: GatewayProcess, systems: Servers
):
    ada = agent(one, systems, "deluged-elsewhere")
    for number in range(3):
        ada.passes("crm", "read", page=f"deluge-{number}")
    ada.passes("crm", "read", page="word")
    fresh = agent(one, systems, "deluged-elsewhere")
    for task in (ada, fresh, fresh.declare()):
        for sent in (beside(call("read"), x_note=WORD), legacy("ping", _meta={"note": WORD.replace("-", " ")})):
            answer, came = post(task, "billing", sent)
            assert (answer.status, answer.codes, came) == (400, ["credential-chain/incomplete"], False), answer.body
        passes(task, "crm", beside(call("read"), x_note=WORD))
        passes(task, "billing", legacy("ping", _meta={"note": "the latest invoice"}))


@requirement("history/elsewhere")
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_requests_without_a_body_are_looked_at_too(ada: Agent, method: str):
    caller = Caller(ada.gateway, "billing", ada.headers)
    ada.servers.take()
    answer = caller.ask(None, method, {"x-note": KEY})
    assert (answer.status, answer.codes) == (400, OUTSIDE)
    logged = [record for recorder in ada.servers.recorders for record in recorder.take()]
    assert [record for record in logged if record["method"] == method] == []
    assert caller.ask(None, method, {"x-note": "nothing"}).status == 405


@requirement("history/elsewhere")
def test_an_answer_to_a_server_is_refused_without_an_id(ada: Agent):
    """The server's question has the id; the gateway's error must not be taken for an answer to anything."""
    asked = ada.session("billing")
    answer = refused(asked, "billing", reply(result={"action": "accept", "content": {"token": KEY}}))
    assert "id" not in answer.json


@requirement("history/elsewhere", "mcp/tasks")
def test_what_a_task_is_answered_is_looked_at(ada: Agent):
    """No policy decides on `tasks/update`."""

    def answering(system: str, text: str) -> Sent:
        responses = {"which": {"action": "accept", "content": {"token": text}}}
        return stateless("tasks/update", taskId=f"asking-{system}", inputResponses=responses)

    for system in ("billing", "crm"):
        assert post(ada, system, call("read", stateless, later=f"asking-{system}"))[0].status == 200
        passes(ada, system, answering(system, "nothing-in-particular"))
    refused(ada, "billing", answering("billing", KEY))
    passes(ada, "crm", answering("crm", KEY))


@requirement("history/elsewhere")
def test_every_task_of_the_caller_counts_but_not_those_of_another(ada: Agent, one: GatewayProcess, systems: Servers):
    refused(ada.declare(), "billing", legacy("ping", _meta={"note": KEY}))
    declared = ada.declare()
    declared.passes("vault", "read", page="second")
    refused(ada, "billing", legacy("ping", _meta={"note": made("second")}))
    assert declared.tasks(f"/{declared.task}/complete")[0] == 200
    refused(ada, "billing", legacy("ping", _meta={"note": made("second")}))
    passes(agent(one, systems, "bert"), "billing", legacy("ping", _meta={"note": KEY}))


@requirement("history/elsewhere")
def test_a_declared_flow_goes_through_arguments_only(ada: Agent):
    task = ada.declare(contract={"credential_flows": [{"from": "crm", "to": "billing"}]})
    task.passes("crm", "read", page="key")
    task.held(["credential-chain/presentation"], "billing", "use", token=KEY)
    refused(task, "billing", legacy("tools/call", name="use", arguments={}, _meta={"token": KEY}))


@requirement("history/elsewhere")
def test_what_a_header_repeats_of_the_arguments_is_for_policy_to_decide(ada: Agent):
    sent = stateless("tools/call", name="use", arguments={"token": KEY})
    answer, came = post(ada, "billing", beside(sent, mcp_param_token=KEY))
    assert (answer.codes, came) == (["credential-chain/presentation", "approval/unavailable"], False)
    passes(ada, "crm", beside(sent, mcp_param_token=KEY))


@requirement("history/elsewhere")
def test_what_nobody_has_shown_and_what_a_protocol_needs_passes(ada: Agent):
    """A client's own key for a system, a trace, a UUID as progress token, and a long opaque cursor."""
    passes(ada, "billing", beside(call("read"), x_note=made("the user's own for billing")))
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    passes(ada, "billing", beside(call("read"), traceparent=trace, tracestate="congo=t61rcWkgMzE"))
    passes(
        ada, "billing", legacy("tools/call", **READ, _meta={"progressToken": "0f8e4c1a-58f4-4a0b-9b6e-6c9d3f0f3f11"})
    )
    passes(ada, "billing", legacy("tools/list", cursor=base64.b64encode(b'{"after":"9f8e7d6c5b4a","n":50}').decode()))


@requirement("history/elsewhere")
def test_a_system_cannot_make_a_word_of_the_client_a_credential(one: GatewayProcess, systems: Servers):
    """Else an upstream could lock its callers out of all others, by calling their user agent a password."""
    caller = agent(one, systems, "poisoned")
    headed = {"user-agent": "Mozilla/5.0 (X11; Linux x86_64)", "x-device": "dev-7f3c9a1e5b2d48"}
    shown = Caller(one, "crm", {**caller.headers, **headed}).ask(call("read", page="poison"))
    assert "Mozilla" in shown.text
    for system in ("billing", "chat"):
        about = {"name": "claude-code"}
        initialize = legacy("initialize", protocolVersion="2025-11-25", capabilities={}, clientInfo=about)
        for sent in (call("read"), initialize):
            passes(caller, system, replace(sent, headers={**sent.headers, **headed}))


@requirement("history/elsewhere", "invariant/7", "invariant/8")
def test_the_refusal_is_recorded_without_the_credential(ada: Agent, one: GatewayProcess):
    answer = refused(ada, "billing", beside(call("read"), x_note=KEY))
    (entry,) = [entry for entry in entries(one.folder, "refused") if entry["id"] == answer.decision]
    assert [reason["code"] for reason in entry["reasons"]] == OUTSIDE
    written = [path for path in one.folder.rglob("*") if path.is_file() and "policy" not in path.parts]
    assert [path for path in written if KEY.encode() in path.read_bytes()] == []


@requirement("history/elsewhere")
def test_more_than_can_be_looked_at_is_refused(ada: Agent):
    sent = reply(result={"role": "assistant", "model": "m", "content": {"type": "text", "text": "word " * 60_000}})
    answer, came = post(ada.session("billing"), "billing", sent)
    assert (answer.status, answer.codes, came) == (400, ["request/length"], False)


@requirement("history/elsewhere", "history/restart")
@pytest.mark.parametrize("snapshots", [True, False])
def test_it_holds_after_the_gateway_was_killed(systems: Servers, tmp_path: Path, *, snapshots: bool):
    config, port = systems.config(open_policy(tmp_path)), free_port()
    with mortal_gateway(config, tmp_path, port=port) as gateway:
        before = agent(gateway, systems, "ada")
        before.passes("crm", "read", page="key")
    leave(tmp_path, config, port, snapshots=snapshots)
    with mortal_gateway(config, tmp_path, port=port) as gateway:
        after = replace(before, gateway=gateway)
        refused(after, "billing", legacy("ping", _meta={"note": KEY}))
        passes(after, "crm", legacy("ping", _meta={"note": KEY}))
    assert TRACEBACK not in gateway.printed()


@requirement("history/elsewhere")
@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
async def test_the_client_of_the_sdk_is_told(ada: Agent, mode: str):
    async with (
        httpx2.AsyncClient(headers=dict(ada.headers), timeout=300) as http,
        Client(streamable_http_client(ada.gateway.mcp("billing"), http_client=http), mode=mode) as client,
    ):
        ada.servers.take()
        with pytest.raises(MCPError, match="outside the arguments"):
            await client.call_tool("read", {}, meta={"vendor/note": KEY})
        with pytest.raises(MCPError, match="outside the arguments"):
            await client.list_tools(cursor=KEY)
        logged = [record for recorder in ada.servers.recorders for record in recorder.take()]
        assert [record for record in logged if KEY in record["body"]] == []
        assert not (await client.call_tool("read", {}, meta={"vendor/note": "none"})).is_error
