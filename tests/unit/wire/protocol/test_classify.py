"""Independent verifier of the ladder: every rung passed and failed, and the order of the rungs."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model.decision import Refusal
from gateway.model.wire import Disposition, Era, Headers, Kind, Message
from gateway.wire.protocol.classify import MAX_ID, classify, cursor_of, state_of, tasks_of
from gateway.wire.protocol.headers import HeaderFault, group_headers
from gateway.wire.protocol.headers import read_routing as read_headers
from gateway.wire.protocol.methods import STATELESS_VERSIONS, TABLE, VERSIONS

VERSION = "io.modelcontextprotocol/protocolVersion"
CLIENT = "io.modelcontextprotocol/clientInfo"
RELATED = "io.modelcontextprotocol/related-task"
META: dict[str, Any] = {VERSION: "2026-07-28", CLIENT: {"name": "probe", "version": "1"}}


def encoded(document: object) -> bytes:
    return json.dumps(document).encode()


def call(method: str = "tools/call", params: object = None, **more: object) -> dict[str, Any]:
    given_params = {"name": "echo", "arguments": {"text": "hi"}} if params is None else params
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": given_params, **more}


def stateless(method: str = "tools/call", params: dict[str, Any] | None = None, meta: Any = META) -> dict[str, Any]:
    given_params = {"name": "echo", "arguments": {"text": "hi"}} if params is None else params
    return call(method, {**given_params, "_meta": meta})


def routed(version: str | None = "2026-07-28", method: str | None = "tools/call", name: str | None = "echo") -> Headers:
    values = ((b"mcp-protocol-version", version), (b"mcp-method", method), (b"mcp-name", name))
    return tuple((key, value.encode()) for key, value in values if value is not None)


def accepted(document: object, headers: Headers = ()) -> Message:
    outcome = classify(encoded(document), group_headers(headers))
    assert isinstance(outcome, Message), outcome
    return outcome


def refused(document: object, headers: Headers = ()) -> Refusal:
    outcome = classify(document if isinstance(document, bytes) else encoded(document), group_headers(headers))
    assert isinstance(outcome, Refusal), outcome
    return outcome


def code(document: object, headers: Headers = ()) -> str:
    return refused(document, headers).reason.code


# --- accepted --------------------------------------------------------------------------------------


def test_a_handshake_call_is_read_with_the_bytes_that_came():
    body = b' {"params":{"arguments":{"text":"hi"},"name":"echo"},"method":"tools/call","id":"7","jsonrpc":"2.0"}\n'
    message = classify(body, {})
    assert message == Message(
        Kind.REQUEST,
        Era.HANDSHAKE,
        Disposition.DECIDE,
        body,
        "tools/call",
        "7",
        {"arguments": {"text": "hi"}, "name": "echo"},
        "echo",
    )


def test_a_stateless_call_is_read_with_the_name_of_its_client():
    message = accepted(stateless(), routed())
    assert (message.era, message.name, message.client_name) == (Era.STATELESS, "echo", "probe")


@pytest.mark.parametrize("version", [None, "2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"])
def test_without_a_version_in_the_body_the_header_says_handshake(version: str | None):
    assert accepted(call(), routed(version, None, None)).era is Era.HANDSHAKE


def test_a_stateless_notification_takes_its_era_from_the_header():
    document = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}
    message = accepted(document, routed(method=None, name=None))
    assert (message.kind, message.era, message.id) == (Kind.NOTIFICATION, Era.STATELESS, None)


def test_initialize_names_the_client_and_may_ask_for_any_version():
    params = {"protocolVersion": "2030-01-01", "capabilities": {}, "clientInfo": {"name": "x" * 500, "version": "1"}}
    message = accepted(call("initialize", params))
    assert (message.disposition, message.client_name) == (Disposition.PASS, "x" * 128)


@pytest.mark.parametrize("info", [None, [], "probe", {}, {"name": 1}])
def test_a_client_without_a_proper_name_has_none(info: object):
    assert accepted(stateless(meta={VERSION: "2026-07-28", CLIENT: info}), routed()).client_name is None


@pytest.mark.parametrize(
    ("method", "params", "name"),
    [
        ("prompts/get", {"name": "greet"}, "greet"),
        ("resources/read", {"uri": "file:///a"}, "file:///a"),
        ("tasks/get", {"taskId": "t1"}, "t1"),
        ("tasks/cancel", {"taskId": "t1"}, "t1"),
        ("tools/list", {"cursor": "c"}, None),
        ("ping", {}, None),
    ],
)
def test_the_name_is_what_the_routing_header_mirrors(method: str, params: dict[str, Any], name: str | None):
    assert accepted(call(method, params)).name == name


@pytest.mark.parametrize("id", [0, -1, 2**53 - 1, "", "a", "1", "x" * MAX_ID])
def test_a_string_or_integer_id_is_accepted(id: object):  # noqa: A002 - the field's own name
    assert accepted({**call(), "id": id}).id == id


def test_params_may_be_left_out_where_none_are_needed():
    assert accepted({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).params == {}


@pytest.mark.parametrize(
    "body", [{"result": {}}, {"result": {"action": "accept"}}, {"error": {"code": -1, "message": "no"}}]
)
def test_a_response_passes_in_the_handshake_era(body: dict[str, Any]):
    message = accepted({"jsonrpc": "2.0", "id": 3, **body})
    assert (message.kind, message.disposition, message.method, message.id) == (Kind.RESPONSE, Disposition.PASS, None, 3)


def test_an_error_without_an_id_passes():
    assert accepted({"jsonrpc": "2.0", "error": {"code": -32700, "message": "?"}}).id is None


def test_a_name_in_the_base64_sentinel_matches():
    document = stateless(params={"name": "größe", "arguments": {}})
    assert accepted(document, routed(name="=?base64?Z3LDtsOfZQ==?=")).name == "größe"


# --- rung 1: one reading -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "expected", "status"),
    [
        (b"\xff", "request/encoding", 400),
        (b"{", "request/json", 400),
        (b'{"a":NaN}', "request/number", 400),
        (b'{"method":"ping","method":"tools/call"}', "request/duplicate-key", 400),
        (b'{"method":"ping","Method":"tools/call"}', "request/ambiguous-key", 400),
        (b'{"a":' + b"[" * 70 + b"]" * 70 + b"}", "request/depth", 400),
        (b'{"a":[' + b"1," * 100_000 + b"1]}", "request/size", 413),
        (b"[]", "request/batch", 400),
        (b"1", "request/envelope", 400),
    ],
)
def test_a_body_without_one_reading_is_refused(body: bytes, expected: str, status: int):
    refusal = refused(body)
    assert (refusal.reason.code, refusal.status, refusal.id) == (expected, status, None)
    assert refusal.rpc_code in {-32700, -32600}
    assert refusal.reason.remedy


# --- rung 2: routing headers ---------------------------------------------------------------------------


def test_a_repeated_routing_header_is_refused_with_the_id():
    refusal = refused(call(), ((b"mcp-name", b"echo"), (b"mcp-name", b"delete")))
    assert (refusal.reason.code, refusal.status, refusal.rpc_code, refusal.id) == ("request/header", 400, -32020, 1)


def test_a_repeated_session_header_is_refused():
    assert code(call(), ((b"mcp-session-id", b"a"), (b"mcp-session-id", b"b"))) == "request/header"


# --- rung 3: the envelope ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "document",
    [
        {}, {"id": 1, "method": "ping"}, {**call(), "jsonrpc": "1.0"}, {**call(), "jsonrpc": 2.0}, {**call(), "jsonrpc": None},
        {**call(), "id": None}, {**call(), "id": True}, {**call(), "id": 1.0}, {**call(), "id": 1.5}, {**call(), "id": []},
        {**call(), "method": None}, {**call(), "method": 1}, {**call(), "method": ["tools/call"]},
        {**call(), "result": {}}, {**call(), "error": {}}, {**call(), "extra": 1},
        {**call(), "id": "x" * (MAX_ID + 1)},
        {**call(), "params": None}, {**call(), "params": []}, {**call(), "params": "x"}, call(params={"name": "a", "_meta": []}),
        call(params={"name": "a", "_meta": None}),
        {"jsonrpc": "2.0", "id": 1}, {"jsonrpc": "2.0", "id": 1, "params": {}}, {"jsonrpc": "2.0", "id": 1, "result": {}, "error": {}},
        {"jsonrpc": "2.0", "result": {}}, {"jsonrpc": "2.0", "id": None, "result": {}}, {"jsonrpc": "2.0", "id": 1, "result": None},
        {"jsonrpc": "2.0", "id": 1, "result": []}, {"jsonrpc": "2.0", "id": 1, "result": {}, "params": {}},
        {"jsonrpc": "2.0", "id": 1, "error": None}, {"jsonrpc": "2.0", "id": 1, "error": {"code": 1}},
        {"jsonrpc": "2.0", "id": 1, "error": {"code": True, "message": ""}}, {"jsonrpc": "2.0", "id": 1, "error": {"code": 1, "message": 2}},
    ],
)  # fmt: skip
def test_what_is_no_json_rpc_message_of_mcp_is_refused(document: object):
    refusal = refused(document)
    assert (refusal.reason.code, refusal.status, refusal.rpc_code) == ("request/envelope", 400, -32600)


@pytest.mark.parametrize(
    "method", [name for name, row in TABLE.items() if row.kind is Kind.REQUEST and row.sender != "server"]
)
def test_a_request_without_an_id_is_refused(method: str):
    """The SDK's server answers 202 to a `tools/call` without id, and another might run it."""
    era_of = Era.HANDSHAKE if Era.HANDSHAKE in TABLE[method].eras else Era.STATELESS
    document = {"jsonrpc": "2.0", "method": method, "params": {"name": "a", "uri": "a", "taskId": "a"}}
    headers = () if era_of is Era.HANDSHAKE else routed(method=None, name=None)
    assert code(document, headers) == "request/envelope"


def test_a_notification_with_an_id_is_refused():
    assert code({"jsonrpc": "2.0", "id": 1, "method": "notifications/initialized"}) == "request/envelope"


# --- rung 4: the era -----------------------------------------------------------------------------------


def test_a_version_in_the_body_without_the_header_is_refused():
    assert code(stateless(), routed(version=None)) == "request/header"


@pytest.mark.parametrize("header", ["2025-11-25", "2025-03-26", "2026-07-29", "2026-07-28 "[:-1] + "x"])
def test_eras_that_disagree_are_refused_as_a_header_mismatch(header: str):
    refusal = refused(stateless(), routed(version=header))
    assert (refusal.reason.code, refusal.rpc_code, refusal.id) == ("request/header", -32020, 1)


def test_a_stateless_header_over_a_body_without_version_is_refused():
    refusal = refused(call(), routed())
    assert (refusal.reason.code, refusal.status, refusal.rpc_code) == ("request/params", 400, -32602)


@pytest.mark.parametrize("version", [None, 1, [], {"a": 1}, True])
def test_a_version_that_is_no_string_is_refused(version: object):
    assert code(stateless(meta={VERSION: version}), routed()) == "request/params"


def test_an_unknown_version_in_the_body_is_answered_with_what_discovery_offers():
    refusal = refused(stateless(meta={VERSION: "1900-01-01"}), routed(version="1900-01-01"))
    assert (refusal.reason.code, refusal.status, refusal.rpc_code, refusal.id) == ("request/version", 400, -32022, 1)
    assert refusal.data == {"supported": list(STATELESS_VERSIONS), "requested": "1900-01-01"}


def test_an_unknown_version_in_the_header_alone_is_refused():
    refusal = refused(call(), routed("2027-01-01", None, None))
    assert (refusal.reason.code, refusal.rpc_code) == ("request/version", -32022)


def test_a_handshake_version_in_the_body_is_refused():
    """A reader of bodies takes it for stateless, a reader of headers for a session."""
    refusal = refused(stateless(meta={VERSION: "2025-11-25"}), routed(version="2025-11-25"))
    assert (refusal.reason.code, refusal.data) == (
        "request/version",
        {"supported": ["2026-07-28"], "requested": "2025-11-25"},
    )


# --- rung 5: responses ---------------------------------------------------------------------------------


def test_a_response_in_the_stateless_era_is_refused():
    refusal = refused({"jsonrpc": "2.0", "id": 1, "result": {}}, routed(method=None, name=None))
    assert (refusal.reason.code, refusal.status, refusal.id) == ("request/response", 400, None)


@pytest.mark.parametrize("headers", [routed(None, "tools/call", None), routed(None, None, "echo")])
def test_a_response_with_a_header_that_names_a_call_is_refused(headers: Headers):
    assert code({"jsonrpc": "2.0", "id": 1, "result": {}}, headers) == "request/header"


# --- rung 6: the method --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "method", ["tools/Call", "sampling/createMessage", "server/discover", "rpc.x", "", "tasks/update"]
)
def test_an_unknown_method_with_a_session_is_an_error_with_status_200(method: str):
    """404 would tell the client that its session has ended."""
    refusal = refused(call(method))
    assert (refusal.reason.code, refusal.status, refusal.rpc_code, refusal.id) == ("request/method", 200, -32601, 1)


@pytest.mark.parametrize(
    "method", ["tools/Call", "initialize", "ping", "resources/subscribe", "tasks/result", "tasks/list"]
)
def test_an_unknown_stateless_method_is_404(method: str):
    refusal = refused(stateless(method, {"taskId": "t"}), routed(method=method, name=None))
    assert (refusal.reason.code, refusal.status, refusal.rpc_code, refusal.id) == ("request/method", 404, -32601, 1)


@pytest.mark.parametrize(
    "method", ["notifications/unknown", "notifications/message", "notifications/tools/list_changed"]
)
@pytest.mark.parametrize("headers", [(), routed(method=None, name=None)])
def test_an_unknown_notification_is_400(method: str, headers: Headers):
    refusal = refused({"jsonrpc": "2.0", "method": method}, headers)
    assert (refusal.reason.code, refusal.status, refusal.id) == ("request/method", 400, None)


# --- rung 7: parameters --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("tools/call", {}), ("tools/call", {"name": ""}), ("tools/call", {"name": None}), ("tools/call", {"name": 1}),
        ("tools/call", {"name": ["a"]}), ("tools/call", {"name": "a", "arguments": None}), ("tools/call", {"name": "a", "arguments": []}),
        ("tools/call", {"name": "a", "arguments": "{}"}), ("tools/call", {"name": "a", "requestState": 1}),
        ("tools/call", {"name": "a", "inputResponses": []}), ("prompts/get", {}), ("prompts/get", {"name": "a", "arguments": []}),
        ("resources/read", {"name": "a"}), ("resources/read", {"uri": ""}), ("tasks/get", {}), ("tasks/result", {"taskId": 1}),
        ("tasks/cancel", {"taskId": ""}), ("tools/list", {"cursor": 1}), ("tools/list", {"cursor": None}),
        ("tools/call", {"name": "a", "_meta": {RELATED: "t"}}), ("tools/call", {"name": "a", "_meta": {RELATED: {}}}),
        ("completion/complete", {"argument": {"name": "a", "value": ""}}), ("completion/complete", {"ref": "a"}),
        ("completion/complete", {"ref": {"type": "ref/prompt", "name": "a"}, "argument": {"name": "a", "value": ""}, "cursor": 1}),
        ("tools/call", {"name": "a", "taskId": 1}),
        ("ping", {"notifications": []}), ("ping", {"notifications": {"taskIds": "t"}}), ("ping", {"notifications": {"taskIds": [1]}}),
    ],
)  # fmt: skip
def test_parameters_of_a_wrong_type_are_refused(method: str, params: dict[str, Any]):
    refusal = refused(call(method, params))
    assert (refusal.reason.code, refusal.status, refusal.rpc_code, refusal.id) == ("request/params", 400, -32602, 1)


# --- rung 8: header and body ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        routed(method="tools/list"), routed(method=None), routed(name="delete"), routed(name=None), routed(name="Echo"),
        routed(name="=?base64?ZGVsZXRl?="), routed(name="=?base64?ZWNobw=?="),
    ],
)  # fmt: skip
def test_a_stateless_call_whose_headers_disagree_is_refused(headers: Headers):
    refusal = refused(stateless(), headers)
    assert (refusal.reason.code, refusal.status, refusal.rpc_code, refusal.id) == ("request/header", 400, -32020, 1)


@pytest.mark.parametrize("headers", [routed(None, "tools/list", None), routed(None, None, "delete")])
def test_a_handshake_call_whose_headers_disagree_is_refused_too(headers: Headers):
    assert code(call(), headers) == "request/header"


def test_an_orphan_name_is_refused():
    document = stateless("tools/list", {})
    assert code(document, routed(method="tools/list", name="echo")) == "request/header"
    assert accepted(document, routed(method="tools/list", name=None)).name is None


# --- the order of the rungs ----------------------------------------------------------------------------


def test_the_first_failing_rung_answers():
    twice = ((b"mcp-method", b"a"), (b"mcp-method", b"b"))
    wrong: list[tuple[object, Headers, str]] = [
        (b'{"a":1,"a":2}', twice, "request/duplicate-key"),
        ({"jsonrpc": "1.0"}, twice, "request/header"),
        ({**stateless("nope"), "jsonrpc": "1.0"}, routed("1900-01-01"), "request/envelope"),
        (stateless("nope"), routed("1900-01-01"), "request/header"),
        (stateless("nope", meta={VERSION: "1900-01-01"}), routed("1900-01-01"), "request/version"),
        (stateless("nope", {"name": 1}), routed(), "request/method"),
        (stateless("tools/call", {"name": 1}), routed(name="other"), "request/params"),
    ]
    assert [code(document, headers) for document, headers, _ in wrong] == [expected for _, _, expected in wrong]


# --- what the pipeline asks ------------------------------------------------------------------------------


def test_the_state_of_a_retry():
    assert state_of(accepted(call(params={"name": "a", "requestState": "s"}))) == "s"
    assert state_of(accepted(call())) is None


def test_every_task_id_in_a_message_is_found():
    listen = stateless("subscriptions/listen", {"notifications": {"taskIds": ["a", "b"]}})
    assert tasks_of(accepted(listen, routed(method="subscriptions/listen", name=None))) == {"a", "b"}
    assert tasks_of(accepted(call("tasks/get", {"taskId": "t", "_meta": {RELATED: {"taskId": "u"}}}))) == {"t", "u"}
    assert tasks_of(accepted(call())) == frozenset()


def test_a_client_tells_of_a_task_of_its_own():
    """It made the id itself (2025-11-25, "Task Status Notification"), so no server has given it to anybody."""
    told = {"taskId": "mine", "status": "working", "_meta": {RELATED: {"taskId": "u"}}}
    message = {"jsonrpc": "2.0", "method": "notifications/tasks/status", "params": told}
    assert tasks_of(accepted(message)) == {"u"}


def test_the_page_of_a_list():
    assert cursor_of(accepted(call("tools/list", {"cursor": "c"}))) == "c"
    assert cursor_of(accepted(call("tools/list", {}))) is None


# --- properties ------------------------------------------------------------------------------------------

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**65), 2**65) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
params = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["echo", ""]) | json_values,
        "uri": json_values,
        "taskId": json_values,
        "arguments": st.dictionaries(st.text(max_size=3), json_values, max_size=3) | json_values,
        "requestState": json_values,
        "notifications": st.fixed_dictionaries({"taskIds": json_values}) | json_values,
        "_meta": st.fixed_dictionaries(
            {},
            optional={
                VERSION: st.sampled_from([*VERSIONS, "x"]) | json_values,
                CLIENT: json_values,
                RELATED: json_values,
            },
        )
        | json_values,
    },
)
documents = st.fixed_dictionaries(
    {"jsonrpc": st.just("2.0") | json_values},
    optional={
        "id": st.just(1) | json_values,
        "method": st.sampled_from([*TABLE, "x"]) | json_values,
        "params": params | json_values,
        "result": json_values,
        "error": json_values,
        "Method": st.just("x"),
    },
)
header_lists = st.lists(
    st.tuples(
        st.sampled_from([b"mcp-protocol-version", b"mcp-method", b"mcp-name", b"mcp-session-id", b"connection", b"x"]),
        st.sampled_from([*(version.encode() for version in VERSIONS), b"tools/call", b"echo"]) | st.binary(max_size=9),
    ),
    max_size=4,
).map(tuple)


@given(st.binary(max_size=100), header_lists)
def test_classification_of_bytes_never_raises(body: bytes, headers: Headers):
    assert isinstance(classify(body, group_headers(headers)), Message | Refusal)


@given(documents, header_lists)
def test_classification_never_raises_and_what_it_accepts_has_one_reading(document: dict[str, Any], headers: Headers):
    body = encoded(document)
    outcome = classify(body, group_headers(headers))
    if isinstance(outcome, Refusal):
        assert outcome.reason.code.startswith("request/")
        assert outcome.reason.remedy
        return
    again = msgspec.json.decode(body)
    assert (outcome.body, outcome.method, outcome.id) == (body, again.get("method"), again.get("id"))
    assert outcome.params == again.get("params", {})
    routing = read_headers(group_headers(headers))
    assert not isinstance(routing, HeaderFault)
    assert routing.method in {None, outcome.method}
    assert routing.name in {None, outcome.name}
    declared = again.get("params", {}).get("_meta", {}).get(VERSION)
    assert declared in {None, routing.version}
    assert (outcome.era is Era.STATELESS) == (routing.version == "2026-07-28")


@given(st.sampled_from(sorted(TABLE)), params, st.sampled_from([{}, {"id": 1}]))
def test_what_is_decided_is_always_a_request_with_an_id_and_a_name(
    method: str, given_params: dict[str, Any], identity: dict[str, int]
):
    outcome = classify(encoded({"jsonrpc": "2.0", "method": method, "params": given_params, **identity}), {})
    if isinstance(outcome, Message) and outcome.disposition is Disposition.DECIDE:
        assert (outcome.kind, outcome.id) == (Kind.REQUEST, 1)
        assert outcome.name
