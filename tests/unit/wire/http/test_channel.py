"""Answers on the wire, and clients that wait to be told to go on."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

import pytest

from gateway.wire.http.delivery import Channel
from tests.requirements import requirement
from tests.unit.wire.http.test_server import connected
from tests.unit.wire.http.test_server_connection import GET, ask, echo, refuse, serving, stream_parts


async def test_an_answer_says_its_length_and_nothing_of_the_server():
    async with serving(echo) as (_, port):
        found = await ask(port, b"GET /x HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n")
    assert found == (b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 2\r\nconnection: close\r\n\r\n/x")


async def test_the_answer_to_head_has_no_body():
    async def stream(channel: Channel) -> None:
        if channel.request.path == "/whole":
            await echo(channel)
            return
        channel.start(200, ((b"content-length", b"5"),))
        await channel.write(b"hello")
        channel.end()

    heads = b"HEAD /whole HTTP/1.1\r\nhost: here\r\n\r\nHEAD /parts HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n"
    async with serving(stream) as (_, port):
        first, second, rest = (await ask(port, heads)).split(b"\r\n\r\n")
    assert (b"content-length: 6" in first, b"content-length: 5" in second, rest) == (True, True, b"")


async def test_parts_are_chunks_and_an_empty_one_does_not_end_them():
    async with serving(stream_parts) as (_, port):
        found = await ask(port, b"GET / HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n")
    assert found.endswith(
        b"\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"
    )


async def test_http_1_0_gets_parts_until_the_end_of_the_connection():
    """It does not know chunks (RFC 9112 section 6.1)."""
    async with serving(stream_parts) as (_, port):
        found = await ask(port, b"GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n")
    assert found == b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nconnection: close\r\n\r\nonetwo"


@pytest.mark.parametrize(
    "field", [(b"a", b"b\r\nc: d"), (b"a\r\nc", b"d"), (b"a b", b"c"), (b"a", b"b\0"), (b"", b"b"), (b"a", b"b\nc: d")]
)
async def test_a_header_that_would_be_two_is_not_sent(field: tuple[bytes, bytes]):
    async def answer(channel: Channel) -> None:
        await channel.respond(200, (field,), b"")

    async with serving(answer) as (_, port):
        found = await ask(port, GET % b"")
    assert found.startswith(b"HTTP/1.1 500 ")
    assert b"connection: close" in found


@pytest.mark.parametrize("sent", [b"123", b"12345", None])
async def test_an_answer_of_another_length_than_it_says_is_cut_off(sent: bytes | None):
    async def answer(channel: Channel) -> None:
        channel.start(200, ((b"content-length", b"4"),))
        if sent is not None:
            await channel.write(sent)
            channel.end()

    async with serving(answer) as (_, port):
        found = await ask(port, GET % b"" * 2)
    assert found.count(b"HTTP/1.1") == 1
    assert len(found.partition(b"\r\n\r\n")[2]) < 4


async def test_a_handler_without_a_coroutine_is_a_500_that_closes_and_has_no_body_for_head():
    async def serve(_channel: Channel) -> None:
        """Do nothing."""

    def fail(channel: Channel) -> Coroutine[Any, Any, None]:
        if channel.request.path == "/defect":
            raise ValueError("a defect")
        return serve(channel)

    async with serving(fail) as (_, port):
        for sent in (b"GET /defect", b"HEAD /defect", b"HEAD /silence"):
            found = await ask(port, sent + b" HTTP/1.1\r\nhost: here\r\n\r\n")
            assert found.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
            assert found.endswith(b"Internal Server Error" if sent.startswith(b"GET") else b"connection: close\r\n\r\n")


async def test_a_handler_that_fails_or_says_nothing_is_a_500_that_closes():
    async def fail(channel: Channel) -> None:
        if channel.request.path == "/fails":
            raise ZeroDivisionError

    async with serving(fail) as (_, port):
        for path in (b"fails", b"silent"):
            found = await ask(port, GET % path * 2)
            assert found.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
            assert found.count(b"HTTP/1.1") == 1


EXPECTING = b"POST / HTTP/%b\r\nhost: here\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n"


async def test_a_client_that_waits_is_told_to_go_on_when_its_body_is_read():
    async with serving(echo) as (_, port), connected(port) as (reader, writer):
        writer.write(EXPECTING % b"1.1")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"{}" + GET % b"next")
        assert (await reader.readuntil(b"/{}")).startswith(b"HTTP/1.1 200 OK")
        assert (await reader.readuntil(b"/next")).startswith(b"HTTP/1.1 200 OK")


async def test_a_client_that_did_not_wait_is_not_told_to_go_on():
    async with serving(echo) as (_, port), connected(port) as (reader, writer):
        writer.write(EXPECTING % b"1.1" + b"{}")
        assert (await reader.readuntil(b"/{}")).startswith(b"HTTP/1.1 200 OK")


async def test_http_1_0_is_not_told_to_go_on():
    """It does not know interim answers (RFC 9110 section 10.1.1)."""
    async with serving(echo) as (_, port), connected(port) as (reader, writer):
        writer.write(EXPECTING % b"1.0")
        await writer.drain()
        writer.write(b"{}")
        assert (await reader.read()).startswith(b"HTTP/1.1 200 OK")


@requirement("strangers/one-reading")
async def test_a_client_whose_waiting_body_is_refused_cannot_have_its_next_request_taken_for_that_body():
    async with serving(refuse) as (_, port):
        found = await ask(port, EXPECTING % b"1.1")
        assert found.startswith(b"HTTP/1.1 413 ")
        assert b"connection: close" in found
