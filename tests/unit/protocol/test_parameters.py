"""Names of arguments that some reader takes for others."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.protocol.parameters import ambiguous

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
    assert ambiguous(arguments, SCHEMA)


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
    assert not ambiguous(arguments, SCHEMA)


def test_a_tool_may_have_names_of_its_own_that_differ_in_writing_alone():
    schema: dict[str, Any] = {"properties": {"id": {}, "ID": {}}}
    assert not ambiguous({"id": 1, "ID": 2}, schema)
    assert ambiguous({"id": 1, "Id": 2}, schema)


@pytest.mark.parametrize("schema", [None, True, [], {}, {"properties": []}, {"properties": {"a": 1, "b": None}}])
def test_without_a_schema_two_names_of_one_call_are_compared(schema: Any):
    assert ambiguous({"force": 1, "Force": 2}, schema)
    assert not ambiguous({"force": 1, "x": {"Force": 2, "force": 1}, "a": {"A": 1}, "b": [{}]}, schema)
