"""Names of arguments that some reader takes for others."""

from __future__ import annotations

from typing import Any

import pytest
from mcp.shared.inbound import mcp_param_headers, x_mcp_header_map

from gateway.wire.protocol.classify import find_fault_of_meta, is_ambiguous, keep_declared_parameters
from gateway.wire.protocol.headers import encode

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "path": {"type": "string"},
        "user_id": {},
        "options": {"type": "object", "properties": {"force": {}}},
        "files": {"type": "array", "items": {"type": "object", "properties": {"name": {}}}},
        "env": {"type": "object", "additionalProperties": {"type": "string"}},
    },
}


@pytest.mark.parametrize(
    "arguments",
    [
        {"Path": "/etc"},
        {"path": "a", "PATH": "/etc"},
        {"pa_th": "/etc"},
        {"userId": 1},
        {"user-id": 1},
        {"u\u017fer_id": 1},
        {"options": {"Force": True}},
        {"files": [{"name": "a"}, {"Name": "b"}]},
        {"new": 1, "New": 2},
    ],
)
def test_a_name_that_differs_from_a_parameter_in_writing_alone_is_ambiguous(arguments: dict[str, Any]):
    assert is_ambiguous(arguments, SCHEMA)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"path": "a", "user_id": 1, "options": {"force": True, "other": 1}, "files": [{"name": "a"}, "b", 1]},
        {"paths": 1, "something": {"Path": 1, "path": 2}},
        {"env": {"Path": "a", "PATH": "b"}},
        {"options": "Force", "files": {"Name": 1}},
    ],
)
def test_every_other_name_is_read_as_it_is_written(arguments: dict[str, Any]):
    assert not is_ambiguous(arguments, SCHEMA)


def test_a_tool_may_have_names_of_its_own_that_differ_in_writing_alone():
    schema: dict[str, Any] = {"properties": {"id": {}, "ID": {}}}
    assert not is_ambiguous({"id": 1, "ID": 2}, schema)
    assert is_ambiguous({"id": 1, "Id": 2}, schema)


@pytest.mark.parametrize("schema", [None, True, [], {}, {"properties": []}, {"properties": {"a": 1, "b": None}}])
def test_without_a_schema_two_names_of_one_call_are_compared(schema: Any):
    assert is_ambiguous({"force": 1, "Force": 2}, schema)
    assert not is_ambiguous({"force": 1, "x": {"Force": 2, "force": 1}, "a": {"A": 1}, "b": [{}]}, schema)


REPEATED: dict[str, Any] = {
    "properties": {
        "region": {"type": "string", "x-mcp-header": "Region"},
        "count": {"type": "integer", "x-mcp-header": "count"},
        "dry": {"type": "boolean", "x-mcp-header": "Dry"},
        "where": {"properties": {"zone": {"type": "string", "x-mcp-header": "Zone"}}},
        "odd": {"x-mcp-header": 5},
        "plain": True,
    }
}
SAID: dict[str, Any] = {"region": "eu", "count": 3, "dry": True, "where": {"zone": "z\u00fc"}}


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("region", b"us"),
        ("region", b"EU"),
        ("region", b"=?base64?dXM=?="),
        ("region", b"=?base64?x?="),
        ("region", b""),
        ("count", b"4"),
        ("count", b"three"),
        ("count", b"NaN"),
        ("dry", b"false"),
        ("dry", b"1"),
        ("zone", b"z"),
    ],
)
def test_a_header_that_says_something_else_than_the_argument_contradicts_it(header: str, value: bytes):
    assert keep_declared_parameters(SAID, REPEATED, ((b"mcp-param-" + header.encode(), value),)) is None


@pytest.mark.parametrize("header", ["region", "count", "dry", "zone"])
def test_a_header_of_an_argument_that_is_not_there_contradicts_it(header: str):
    assert keep_declared_parameters({"where": 5}, REPEATED, ((b"mcp-param-" + header.encode(), b"1"),)) is None


def test_a_header_that_is_given_twice_contradicts_itself():
    assert (
        keep_declared_parameters(SAID, REPEATED, ((b"mcp-param-region", b"eu"), (b"mcp-param-region", b"eu"))) is None
    )


def test_a_header_is_read_as_the_most_tolerant_server_reads_it():
    """To servers that take `_` for `-` these are one header, and for those two values of it."""
    schema = {"properties": {"where": {"x-mcp-header": "tenant_id"}}}
    assert keep_declared_parameters({"where": "a"}, schema, ((b"mcp-param-tenant-id", b"b"),)) is None
    assert (
        keep_declared_parameters(
            {"where": "a"}, schema, ((b"mcp-param-tenant_id", b"a"), (b"mcp-param-tenant-id", b"a"))
        )
        is None
    )
    assert keep_declared_parameters({"where": "a"}, schema, ((b"mcp-param-tenant_id", b"a"),)) is not None


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("region", b"eu"),
        ("region", b"=?base64?ZXU=?="),
        ("count", b"3"),
        ("count", b"3.0"),
        ("dry", b"true"),
        ("zone", encode("z\u00fc")),
    ],
)
def test_a_header_that_says_the_same_travels_on(header: str, value: bytes):
    sent = (b"mcp-param-" + header.encode(), value)
    assert keep_declared_parameters(SAID, REPEATED, (sent, (b"x-other", b"1"))) == ((b"x-other", b"1"), sent)
    assert keep_declared_parameters(SAID, None, (sent,)) == ()


@pytest.mark.parametrize("header", ["odd", "unknown"])
def test_a_header_that_the_definition_does_not_declare_does_not_travel_on(header: str):
    assert keep_declared_parameters(SAID, REPEATED, ((b"mcp-param-" + header.encode(), b"x"),)) == ()


def test_the_headers_that_the_sdk_sends_pass():
    arguments: dict[str, Any] = {"region": "=?base64?eu?=", "count": 10**15, "dry": False, "where": {"zone": " z "}}
    sent = mcp_param_headers(x_mcp_header_map(REPEATED), arguments)
    headers = tuple((name.lower().encode(), value.encode("latin-1")) for name, value in sent.items())

    assert len(headers) == 4
    assert keep_declared_parameters(arguments, REPEATED, headers) is not None


# --- the members of `_meta` that differ in each request ---------------------------------------------------

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    "meta",
    [
        {},
        {"progressToken": 7, "traceparent": PARENT},
        {"progressToken": "a" * 128, "traceparent": PARENT, "tracestate": "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"},
        {"baggage": "userId=alice,serverNode=DF%2028,isProduction=false;p=1"},
    ],
)
def test_trace_context_and_a_progress_token_of_their_form_pass(meta: dict[str, Any]):
    assert find_fault_of_meta(meta) is None


@pytest.mark.parametrize(
    "meta",
    [
        {"progressToken": "a" * 129}, {"progressToken": {"a": 1}}, {"progressToken": True}, {"progressToken": 1.5},
        {"traceparent": PARENT.upper()}, {"traceparent": f"{PARENT} ghp_secret"}, {"traceparent": 7}, {"traceparent": "\ud800"},
        {"tracestate": "the words of a page"}, {"tracestate": {"a": "b"}}, {"tracestate": "a=" + "b" * 600},
        {"baggage": "no member"}, {"baggage": ["a=b"]}, {"baggage": "a=b\n"}, {"baggage": "a=\u00fc"},
    ],
)  # fmt: skip
def test_other_words_in_their_place_are_a_fault(meta: dict[str, Any]):
    assert find_fault_of_meta(meta) is not None
