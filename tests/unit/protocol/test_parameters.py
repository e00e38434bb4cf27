"""Names of arguments that some reader takes for others."""

from __future__ import annotations

from typing import Any

import pytest
from mcp.shared.inbound import mcp_param_headers, x_mcp_header_map

from gateway.protocol.headers import encode
from gateway.protocol.parameters import is_ambiguous, is_contradicted

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
    assert is_contradicted(SAID, REPEATED, ((b"mcp-param-" + header.encode(), value),))


@pytest.mark.parametrize("header", ["region", "count", "dry", "zone"])
def test_a_header_of_an_argument_that_is_not_there_contradicts_it(header: str):
    assert is_contradicted({"where": 5}, REPEATED, ((b"mcp-param-" + header.encode(), b"1"),))


def test_a_header_that_is_given_twice_contradicts_itself():
    assert is_contradicted(SAID, REPEATED, ((b"mcp-param-region", b"eu"), (b"mcp-param-region", b"eu")))


def test_a_header_is_read_as_the_most_tolerant_server_reads_it():
    """To servers that take `_` for `-` these are one header, and for those two values of it."""
    schema = {"properties": {"where": {"x-mcp-header": "tenant_id"}}}
    assert is_contradicted({"where": "a"}, schema, ((b"mcp-param-tenant-id", b"b"),))
    assert is_contradicted({"where": "a"}, schema, ((b"mcp-param-tenant_id", b"a"), (b"mcp-param-tenant-id", b"a")))
    assert not is_contradicted({"where": "a"}, schema, ((b"mcp-param-tenant_id", b"a"),))


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("region", b"eu"),
        ("region", b"=?base64?ZXU=?="),
        ("count", b"3"),
        ("count", b"3.0"),
        ("dry", b"true"),
        ("zone", encode("z\u00fc")),
        ("odd", b"x"),
        ("unknown", b"x"),
    ],
)
def test_a_header_that_says_the_same_and_one_that_the_definition_does_not_know_pass(header: str, value: bytes):
    assert not is_contradicted(SAID, REPEATED, ((b"mcp-param-" + header.encode(), value), (b"x-other", b"1")))
    assert not is_contradicted(SAID, None, ((b"mcp-param-" + header.encode(), value),))


def test_the_headers_that_the_sdk_sends_pass():
    arguments: dict[str, Any] = {"region": "=?base64?eu?=", "count": 10**15, "dry": False, "where": {"zone": " z "}}
    sent = mcp_param_headers(x_mcp_header_map(REPEATED), arguments)
    headers = tuple((name.lower().encode(), value.encode("latin-1")) for name, value in sent.items())

    assert len(headers) == 4
    assert not is_contradicted(arguments, REPEATED, headers)
