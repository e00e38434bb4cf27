from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.base.json.strict import RELATED_TASK
from gateway.calls.response import server_messages
from gateway.calls.response.server_messages import (
    UNREAD,
    ServerMessage,
    is_empty_response,
    read_large_message,
    read_message,
)
from gateway.wire.protocol.methods import TABLE
from tests.requirements import requirement


def message(**members: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", **members}).encode()


@pytest.mark.parametrize(
    "data",
    [
        b'{"jsonrpc":"2.0","id":1,"result":{}}',
        b'{"jsonrpc": "2.0", "id": 12, "result": {}}\n',
        b'data: {"jsonrpc":"2.0","id":1,"result":{}}\n\n',
        b'event: message\r\ndata: {"jsonrpc":"2.0","id":1,"result":{}}\r\n\r\n',
    ],
)
def test_a_response_that_says_nothing_is_empty(data: bytes):
    assert is_empty_response(data)


@pytest.mark.parametrize(
    "data",
    [
        b'{"jsonrpc":"2.0","id":1,"result":{"a":1}}',
        b'{"jsonrpc":"2.0","id":1,"result":{},"note":"x"}',
        b'{"jsonrpc":"2.0","id":"glpat","result":{}}',
        b'{"jsonrpc":"2.0","id":123456789012,"result":{}}',
        b'{"jsonrpc":"2.0","id":1,"result":{}} x',
        b'id: 1\ndata: {"jsonrpc":"2.0","id":1,"result":{}}\n\n',
        b'event: other\ndata: {"jsonrpc":"2.0","id":1,"result":{}}\n\n',
        b'data: {"jsonrpc":"2.0","id":1,"result":{}}\nid: 1\n\n',
        b"",
    ],
)
def test_whatever_says_something_is_not(data: bytes):
    assert not is_empty_response(data)


@requirement("history/read-elsewhere")
@pytest.mark.parametrize("asked", ["initialize", "server/discover", "tools/list", "resources/list", "ping"])
def test_what_every_client_gets_before_it_does_anything_is_no_reading(asked: str):
    assert read_message(message(id=1, result={"instructions": "x"}), asked) == ServerMessage(is_read=False, answers=1)
    assert read_message(message(id=1, error={"code": 1, "message": "x"}), asked) == ServerMessage(
        is_read=False, answers=1
    )


@requirement("history/read-elsewhere")
@pytest.mark.parametrize("asked", ["tasks/get", "tasks/result", "tasks/list", "completion/complete", None])
def test_every_other_answer_is_one(asked: str | None):
    assert read_message(message(id=1, result={}), asked).is_read


@requirement("history/read-elsewhere", "invariant/4")
@pytest.mark.parametrize("asked", ["ping", "tools/list", None])
def test_what_a_server_says_of_itself_counts_by_its_method(asked: str | None):
    """Also on the stream of a request whose answer is none."""
    for method in ("notifications/message", "sampling/createMessage", "elicitation/create", "notifications/tasks"):
        assert read_message(message(method=method, params={}), asked) == ServerMessage(is_read=True, method=method)
    for method in ("notifications/tools/list_changed", "ping", "roots/list", "tasks/get"):
        assert read_message(message(id=1, method=method), asked) == ServerMessage(is_read=False, method=method)


@pytest.mark.parametrize(
    "data",
    [
        message(method="vendor/secret"),
        message(method=5),
        message(method=["ping"]),
        message(method={"ping": 1}),
        message(),
        message(id=1, method="ping", result={}),
    ],
)
def test_what_the_protocol_does_not_know_is_a_reading(data: bytes):
    assert read_message(data, "ping").is_read
    assert read_message(data, "ping").method is None


@pytest.mark.parametrize("data", [b"[]", b"sorry", b"\xff", b'{"jsonrpc"', b'{"taskId": ' + b"[" * 5_000])
def test_what_is_no_message_is_a_reading(data: bytes):
    assert read_message(data, "ping") == UNREAD


def test_an_event_without_data_is_none():
    assert read_message(b"", None) == ServerMessage(is_read=False)


@pytest.mark.parametrize(
    "members",
    [
        {"params": {"taskId": "t"}},
        {"params": {"_meta": {RELATED_TASK: {"taskId": "t"}}}},
        {"result": {"taskId": "t"}},
        {"result": {"task": {"taskId": "t"}}},
        {"result": {"_meta": {RELATED_TASK: {"taskId": "t"}}}},
        {"result": {"tasks": [{"taskId": "t"}, 5]}},
    ],
)
def test_every_place_of_a_task_is_read(members: dict[str, Any]):
    assert read_message(message(**members), None).tasks == {"t"}


def test_a_name_that_is_written_with_escapes_is_one():
    assert read_message(b'{"params": {"task\\u0049d": "\\u0074"}}', None).tasks == {"t"}


@pytest.mark.parametrize(
    "members", [{"result": {"taskId": 5}}, {"params": ["taskId"]}, {"result": {"x": {"taskId": "t"}}}]
)
def test_no_other_is(members: dict[str, Any]):
    assert read_message(message(**members), None).tasks == frozenset()


@pytest.mark.parametrize(("identifier", "read"), [(7, 7), ("7", "7"), (None, None), (1.5, None), (True, None)])
def test_the_request_that_is_answered_is_told(identifier: object, read: object):
    assert read_message(message(id=identifier, result={}), None).answers == read


@pytest.mark.parametrize("value", [b"1e999", b"9" * 5000])
def test_a_number_beyond_all_bounds_is_no_id_and_names_no_task(value: bytes):
    found = read_message(b'{"id": ' + value + b', "result": {"taskId": ' + value + b', "task": {"taskId": "t"}}}', None)
    assert found == ServerMessage(is_read=True, tasks=frozenset({"t"}))


def test_a_part_of_an_answer_counts_by_what_was_asked_for():
    assert not read_large_message("initialize").is_read
    for asked in ("tasks/result", "subscriptions/listen", None):
        assert read_large_message(asked) == UNREAD


def test_the_methods_are_those_of_the_protocol():
    assert TABLE.keys() >= server_messages._CONFIRMING | server_messages._SILENT
