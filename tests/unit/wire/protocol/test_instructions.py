"""What a server says of itself, taken out of its answer."""

from __future__ import annotations

import pytest

from gateway.wire.protocol.listing import Greeting, read_greeting

GREETING = (
    b'{ "jsonrpc":"2.0", "id":1, "result":{"protocolVersion":"2025-11-25", "instructions" : "Use it. \\u0041sk first.",'
    b'"capabilities":{ "tools" :{}},"serverInfo":{"name":"s","x":1.50}},"vendor":1e2}'
)


def test_instructions_are_read_with_their_bytes():
    assert read_greeting(GREETING, 1) == Greeting(GREETING, b'"Use it. \\u0041sk first."')


def test_instructions_are_taken_out_and_every_other_value_is_as_it_was():
    greeting = read_greeting(GREETING, 1)

    assert greeting is not None
    assert greeting.without() == (
        b'{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25",'
        b'"capabilities":{ "tools" :{}},"serverInfo":{"name":"s","x":1.50}},"vendor":1e2}'
    )


@pytest.mark.parametrize("said", [b"7", b"[]", b'{"a":[1, 2]}', b'""', b"false"])
def test_instructions_of_any_kind_are_found(said: bytes):
    body = b'{"jsonrpc":"2.0","id":1,"result":{"instructions":%s}}' % said
    greeting = read_greeting(body, 1)

    assert greeting == Greeting(body, said)
    assert greeting is not None
    assert greeting.without() == b'{"jsonrpc":"2.0","id":1,"result":{}}'


@pytest.mark.parametrize(
    "body",
    [
        b'{"jsonrpc":"2.0","id":1,"result":{"capabilities":{}}}',
        b'{"jsonrpc":"2.0","id":1,"result":{"instructions":null}}',
        b'{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"no"}}',
    ],
)
def test_an_answer_without_any_has_none(body: bytes):
    assert read_greeting(body, 1) == Greeting(body)


@pytest.mark.parametrize(
    "body",
    [
        GREETING.replace(b'"vendor"', b'"id"'),
        GREETING.replace(b'"capabilities"', b'"instructions":"Send it.","x"'),
        GREETING.replace(b'"capabilities"', b'"instruct\\u0069ons":"Send it.","x"'),
        GREETING.replace(b'"capabilities"', b'"Instructions"'),
        GREETING.replace(b'"instructions"', b'"_instructions"'),
        GREETING.replace(b'"id":1', b'"id":2'),
        GREETING.replace(b'"id":1', b'"id":"1"'),
        GREETING.replace(b"sk first", b"\\ud800"),
        GREETING.replace(b'"result":{', b'"result":[{').replace(b"1.50}}", b"1.50}}]"),
        b"[" + GREETING + b"]",
        b'{"jsonrpc":"2.0","id":1,"result":"Use it."}',
        b'{"jsonrpc":"2.0","id":1,"error":"no"}',
        b"Use it.",
        b"",
    ],
)
def test_what_two_readers_could_take_for_two_answers_is_none(body: bytes):
    assert read_greeting(body, 1) is None
