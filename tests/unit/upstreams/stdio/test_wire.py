"""What is read of a child's lines, and the lines that the gateway writes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.model.wire import Kind
from gateway.upstreams.stdio import wire


def line(**members: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", **members}).encode()


@pytest.mark.parametrize("request_id", [0, -1, 2**70, "", "a", "1"])
def test_a_response_is_known_by_its_id_in_its_own_type(request_id: int | str):
    message = wire.read_line(line(id=request_id, result={}))

    assert message is not None
    assert (message.kind, message.id, message.error) == (Kind.RESPONSE, request_id, None)
    assert type(message.id) is type(request_id)


@pytest.mark.parametrize(
    ("error", "code"),
    [({"code": -32601, "message": "no"}, -32601), ({"message": "no"}, -32603), (None, -32603), ({"code": "x"}, -32603)],
)
def test_an_error_response_gives_its_code_or_an_internal_error(error: object, code: int):
    message = wire.read_line(line(id=1, error=error))

    assert message is not None
    assert message.error == code


def test_a_result_that_is_null_is_a_response():
    assert wire.read_line(b'{"jsonrpc":"2.0","id":1,"result":null}') is not None


@pytest.mark.parametrize("request_id", [7, "seven"])
def test_a_request_of_the_server_has_a_method_and_an_id(request_id: int | str):
    message = wire.read_line(line(id=request_id, method="sampling/createMessage", params={}))

    assert message is not None
    assert (message.kind, message.id, message.method) == (Kind.REQUEST, request_id, "sampling/createMessage")


def test_only_a_cancellation_is_about_a_request():
    message = wire.read_line(line(method="notifications/message", params={"requestId": 7}))

    assert message is not None
    assert (message.kind, message.about, message.method) == (Kind.NOTIFICATION, None, "notifications/message")


@pytest.mark.parametrize("token", [5, "five"])
def test_progress_gives_its_token(token: int | str):
    message = wire.read_line(line(method="notifications/progress", params={"progressToken": token, "progress": 0.5}))

    assert message is not None
    assert (message.kind, message.token) == (Kind.NOTIFICATION, token)


@pytest.mark.parametrize("params", [None, [], {}, {"progressToken": 1.5}, {"progressToken": None}, {"_meta": 1}])
def test_a_notification_with_unexpected_params_is_kept_without_a_token(params: object):
    message = wire.read_line(line(method="notifications/progress", params=params))

    assert message is not None
    assert (message.token, message.subscription) == (None, None)


def test_a_token_in_another_notification_is_not_read_as_progress():
    message = wire.read_line(line(method="notifications/message", params={"progressToken": 1}))

    assert message is not None
    assert message.token is None


def test_a_notification_gives_its_subscription():
    message = wire.read_line(
        line(method="notifications/tools/list_changed", params={"_meta": {"io.modelcontextprotocol/subscriptionId": 3}})
    )

    assert message is not None
    assert message.subscription == 3


def test_a_cancellation_names_its_request():
    message = wire.read_line(line(method="notifications/cancelled", params={"requestId": "r"}))

    assert message is not None
    assert message.about == "r"


def test_a_cancellation_that_names_nothing_is_kept():
    message = wire.read_line(line(method="notifications/cancelled", params={}))

    assert message is not None
    assert message.about is None


@pytest.mark.parametrize(
    "junk",
    [
        b"hello",
        b'{"jsonrpc":"2.0","id":1,"result":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"jsonrpc":"2.0","id":1,"result":"\\ud83d',
        b"[]",
        b"{}",
        b"1",
        b'{"jsonrpc":"1.0","id":1,"result":{}}',
        b'{"id":1,"result":{}}',
        b'{"jsonrpc":"2.0","id":1}',
        b'{"jsonrpc":"2.0","id":1,"result":{},"error":{}}',
        b'{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"parse error"}}',
        b'{"jsonrpc":"2.0","result":{}}',
        b'{"jsonrpc":"2.0","id":true,"result":{}}',
        b'{"jsonrpc":"2.0","id":1.5,"result":{}}',
        b'{"jsonrpc":"2.0","id":null,"method":"ping"}',
        b'{"jsonrpc":"2.0","id":1,"result":{}} trailing',
        b'{"jsonrpc":"2.0","id":1,"result":"\xff"}',
        b'[{"jsonrpc":"2.0","id":1,"result":{}}]',
        b'\xef\xbb\xbf{"jsonrpc":"2.0","id":1,"result":{}}',
    ],
)
def test_what_is_no_message_is_none(junk: bytes):
    assert wire.read_line(junk) is None


def test_a_line_is_kept_byte_for_byte():
    text = '{ "jsonrpc":"2.0", "id":1, "result":{"a":1.0,"a":2,"é":"\\r\\n\\ud83d","x":[ ]} }'.encode()

    message = wire.read_line(text)

    assert message is not None
    assert message.line == text


@pytest.mark.parametrize("text", ["cut \\ud83d", "\\uDE00 first", "\\\\ud83d is no escape", "\\ud83d\\ude00 is a pair"])
def test_a_character_that_was_cut_in_half_loses_no_response(text: str):
    body = ('{"jsonrpc":"2.0","id":"é","result":{"text":"' + text + '"}}').encode()

    message = wire.read_line(body)

    assert message is not None
    assert (message.id, message.line) == ("é", body)


def test_a_carriage_return_between_tokens_becomes_a_space_since_it_would_end_an_sse_line():
    message = wire.read_line(b'{"jsonrpc":"2.0",\r"id":1,\r"result":{}}')

    assert message is not None
    assert message.line == b'{"jsonrpc":"2.0", "id":1, "result":{}}'


def test_a_message_on_many_lines_is_put_on_one_and_means_the_same():
    body = json.dumps({"a": ["x\r\ny", 1]}, indent=2).replace("\n", "\r\n").encode()

    one = wire.one_line(body)

    assert b"\n" not in one
    assert b"\r" not in one
    assert len(one) == len(body)
    assert json.loads(one) == json.loads(body)


@pytest.mark.parametrize(
    ("params", "token"),
    [
        ({}, None),
        ({"_meta": None}, None),
        ({"_meta": {}}, None),
        ({"_meta": {"progressToken": True}}, None),
        ({"_meta": {"progressToken": 1.5}}, None),
        ({"_meta": {"progressToken": 0}}, 0),
        ({"_meta": {"progressToken": "t"}}, "t"),
        ({"_meta": {"progressToken": "t" * wire.MAX_TOKEN}}, "t" * wire.MAX_TOKEN),
        ({"_meta": {"progressToken": "t" * (wire.MAX_TOKEN + 1)}}, None),
    ],
)
def test_a_clients_progress_token_is_read_from_meta(params: dict[str, Any], token: object):
    assert wire.progress_token(params) == token


def test_a_client_asks_for_logs_in_meta():
    assert wire.wants_logs({"_meta": {"io.modelcontextprotocol/logLevel": "info"}})
    assert not wire.wants_logs({"_meta": {}})
    assert not wire.wants_logs({})


def test_a_cancellation_is_written_with_the_id_in_its_type():
    assert json.loads(wire.cancelled_line("1", "gone")) == {
        "jsonrpc": "2.0",
        "method": "notifications/cancelled",
        "params": {"requestId": "1", "reason": "gone"},
    }


def test_an_error_without_a_request_has_no_id():
    assert json.loads(wire.error(None, -32600, "no")) == {"jsonrpc": "2.0", "error": {"code": -32600, "message": "no"}}


def test_an_error_says_nothing_that_only_the_gateway_could_say():
    """It stands where messages of the program do: a client could not tell the two apart."""
    assert json.loads(wire.error(0, -32603, "no")) == {
        "jsonrpc": "2.0",
        "id": 0,
        "error": {"code": -32603, "message": "no"},
    }
