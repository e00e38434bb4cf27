"""The client against a peer that says exactly what it is told to: what is sent, what is sent again, and on which
connection."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop

from gateway.wire.http import client as clients
from gateway.wire.http.client import HIGH_WATER, Client, OutboundConnection, Response
from gateway.wire.http.dial import (
    AnswerTimeout,
    ExchangeError,
    Lost,
    Malformed,
    Unsendable,
    address_of_socket,
    address_of_url,
)
from tests.unit.wire.http.peer import OK, Peer, asking, serving

CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
CUT = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}"


async def body_of(response: Response) -> bytes:
    try:
        return b"".join([piece async for piece in response])
    finally:
        response.close()


async def ask(
    client: Client, *, method: bytes = b"POST", body: bytes | None = b"{}", within: float = 20, again: bool = False
) -> bytes:
    return await body_of(await client.request(method, (), body, within=within, again=again))


async def quiet() -> None:
    """Let the loop see what the sockets have."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_request_is_written_as_it_is_and_its_answer_read():
    async with serving(OK) as peer, asking(peer.url) as client:
        response = await client.request(
            b"POST", [(b"x-a", b"1"), (b"X-B", b"")], b"[1]", within=20, target=b"/other?x=1"
        )

        assert (response.status, response.headers) == (200, ((b"content-length", b"2"),))
        assert await body_of(response) == b"{}"

    authority = peer.url.split("/")[2].encode()
    assert peer.requests == [
        b"POST /other?x=1 HTTP/1.1\r\nhost: " + authority + b"\r\ncontent-length: 3\r\nx-a: 1\r\nX-B: \r\n\r\n[1]"
    ]


async def test_a_request_without_a_body_has_no_length():
    async with serving(OK) as peer, asking(peer.url) as client:
        await ask(client, method=b"GET", body=None)

    assert peer.requests[0].startswith(b"GET /mcp HTTP/1.1\r\nhost: ")
    assert b"content-length" not in peer.requests[0]


@pytest.mark.parametrize(
    "field",
    [
        (b"x-a", b"1\r\nx-b: 2"),
        (b"x-a", b"1\nx-b: 2"),
        (b"x-a", b"1\r"),
        (b"x-a", b"1\0"),
        (b"x-a: 1\r\nx-b", b"2"),
        (b"x a", b"1"),
        (b"x-a ", b"1"),
        (b"", b"1"),
        (b"x:", b"1"),
        (b"x-\xe4", b"1"),
    ],
)
async def test_a_header_that_would_be_read_as_something_else_is_not_sent(field: tuple[bytes, bytes]):
    async with serving(OK) as peer, asking(peer.url) as client:
        with pytest.raises(Unsendable):
            await client.request(b"POST", [(b"x-ok", b"1"), field], b"{}", within=20)

    assert peer.connections == 0


@pytest.mark.parametrize(
    "first", [OK, CHUNKED, b"HTTP/1.1 204 No Content\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n" + OK]
)
async def test_a_connection_is_used_again_after_an_answer_that_ended_as_it_said(first: bytes):
    async with serving(first, OK) as peer, asking(peer.url) as client:
        await ask(client)
        assert await ask(client) == b"{}"

    assert peer.connections == 1


@pytest.mark.parametrize(
    "first",
    [
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\n{}",
        OK + b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison",
        OK + b"x",
        CHUNKED + OK,
    ],
)
async def test_a_connection_is_not_used_again_after_anything_else(first: bytes):
    async with serving(first, OK, OK) as peer, asking(peer.url) as client:
        assert await ask(client) == b"{}"
        assert await ask(client) == b"{}"

    assert peer.connections == 2


async def test_an_answer_that_comes_unasked_is_nobodys_answer():
    """Response queue poisoning: what is said before a request is not the answer to it."""
    async with serving(OK, OK) as peer, asking(peer.url) as client:
        await ask(client)
        peer.writers[0].write(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison")
        await peer.writers[0].drain()
        # The loop has not read it: only the socket knows.
        time.sleep(0.05)  # noqa: ASYNC251 - nothing may run
        assert await ask(client) == b"{}"

    assert peer.connections == 2


async def test_an_answer_that_comes_unasked_and_is_seen_ends_the_connection():
    async with serving(OK, OK) as peer, asking(peer.url) as client:
        await ask(client)
        peer.writers[0].write(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison")
        await peer.until(lambda: peer.left == 1)
        assert await ask(client) == b"{}"

    assert peer.connections == 2


async def test_a_kept_connection_that_the_peer_has_closed_is_found_out_before_it_is_used():
    async with serving(OK, OK) as peer, asking(peer.url) as client:
        await ask(client)
        peer.writers[0].get_extra_info("socket").shutdown(socket.SHUT_WR)
        time.sleep(0.05)  # noqa: ASYNC251 - nothing may run
        assert await ask(client) == b"{}"

    assert peer.connections == 2
    assert len(peer.requests) == 2


async def test_a_call_is_never_sent_twice():
    async with serving(OK, None, OK) as peer, asking(peer.url) as client:
        await ask(client)
        with pytest.raises(Lost) as lost:
            await ask(client)

    assert not lost.value.begun
    assert len(peer.requests) == 2


async def test_what_may_be_sent_again_is_sent_again_once_and_only_if_the_connection_was_kept():
    async with serving(OK, None, OK) as peer, asking(peer.url) as client:
        await ask(client)
        assert await ask(client, again=True) == b"{}"
    assert len(peer.requests) == 3

    async with serving(OK, None, None, OK) as peer, asking(peer.url) as client:
        await ask(client)
        with pytest.raises(Lost):
            await ask(client, again=True)
    assert len(peer.requests) == 3

    async with serving(None, OK) as peer, asking(peer.url) as client:
        with pytest.raises(Lost):
            await ask(client, again=True)
    assert len(peer.requests) == 1


@pytest.mark.parametrize("begin", [b"H", b"HTTP/1.1 200 OK\r\nx", b"HTTP/1.1 100 Continue\r\n\r\n"])
async def test_what_was_begun_to_be_answered_is_not_sent_again(begin: bytes):
    async with serving(OK, begin, OK) as peer, asking(peer.url) as client:
        await ask(client)
        asked = asyncio.create_task(ask(client, again=True))
        await peer.until(lambda: len(peer.requests) == 2)
        await quiet()
        peer.writers[0].close()
        with pytest.raises(Lost) as lost:
            await asked

    assert lost.value.begun
    assert len(peer.requests) == 2


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"])
async def test_an_answer_that_does_not_begin_in_time_ends_the_connection(answer: bytes):
    async with serving(answer) as peer, asking(peer.url) as client:
        with pytest.raises(AnswerTimeout):
            await ask(client, within=0.05)
        await peer.until(lambda: peer.left == 1)


async def test_the_time_for_an_answer_ends_with_its_head():
    async with serving(CUT) as peer, asking(peer.url) as client:
        response = await client.request(b"POST", (), b"{}", within=0.05)
        assert await anext(aiter(response)) == b"{}"
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await anext(aiter(response))
        peer.writers[0].write(b"1234567")
        assert await body_of(response) == b"1234567"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (CUT, Lost),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n", Lost),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\nzz\r\n", Malformed),
    ],
)
async def test_a_body_that_does_not_end_as_it_should_is_no_whole_body(answer: bytes, error: type[ExchangeError]):
    async with serving(answer, then_close=True) as peer, asking(peer.url) as client:
        response = await client.request(b"POST", (), b"{}", within=20)
        with pytest.raises(error):
            await body_of(response)


@pytest.mark.parametrize("before", [b"", b"HTTP/1.1 103 Early Hints\r\ncontent-length: 9\r\n\r\n"])
async def test_a_body_without_a_length_is_whole_when_the_peer_closes(before: bytes):
    async with serving(before + b"HTTP/1.1 200 OK\r\n\r\n{}", OK, then_close=True) as peer, asking(peer.url) as client:
        assert await ask(client) == b"{}"
        assert await ask(client) == b"{}"

    assert peer.connections == 2


async def test_a_body_without_a_length_that_is_reset_is_not_whole():
    async with serving(b"HTTP/1.1 200 OK\r\n\r\n{}") as peer, asking(peer.url) as client:
        response = await client.request(b"POST", (), b"{}", within=20)
        assert await anext(aiter(response)) == b"{}"
        # Closing at once with a linger time of zero makes the kernel send a reset.
        peer.writers[0].get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
        peer.writers[0].transport.abort()
        with pytest.raises(Lost):
            await body_of(response)


@pytest.mark.parametrize(
    "answer",
    [
        b"this is not HTTP\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n" + OK,
    ],
)
async def test_an_answer_that_is_none_ends_the_connection(answer: bytes):
    async with serving(answer) as peer, asking(peer.url) as client:
        with pytest.raises(Malformed):
            await ask(client)
        await peer.until(lambda: peer.left == 1)


async def test_an_answer_before_all_of_the_request_was_sent_is_taken_and_the_connection_is_not():
    """A server that refuses by the head alone, and does not read the body."""
    seen = asyncio.Event()

    async def early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n")
        await seen.wait()
        writer.close()

    server = await asyncio.start_server(early, "127.0.0.1", 0, limit=1024)
    async with asking(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/") as client:
        response = await client.request(b"POST", (), b"x" * 64 * 2**20, within=20)
        assert (response.status, await body_of(response)) == (413, b"")
        assert not client._kept
        seen.set()
    server.close()


async def test_a_reader_that_is_slow_makes_the_peer_wait():
    size = 64 * 2**20
    sent = 0

    async def big(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n{}")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
        while sent < size:
            writer.write(b"x" * 65536)
            sent += 65536
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(big, "127.0.0.1", 0)
    async with asking(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/") as client:
        response = await client.request(b"POST", (), b"{}", within=20)
        before = -1
        while sent != before:
            before = sent
            await asyncio.sleep(0.1)
        assert sent < size / 2
        assert isinstance(response, Response)
        assert response._parser.size <= HIGH_WATER + 2**18
        received = 0
        async for piece in response:
            received += len(piece)
        assert received == size
    server.close()


async def test_a_response_that_is_left_ends_its_connection_and_its_readers():
    async with serving(CUT) as peer, asking(peer.url) as client:
        response = await client.request(b"POST", (), b"{}", within=20)
        assert await anext(aiter(response)) == b"{}"
        reading = asyncio.create_task(body_of(response))
        await asyncio.sleep(0)
        response.close()
        response.close()
        with pytest.raises(Lost):
            await reading
        await peer.until(lambda: peer.left == 1)


async def test_a_response_that_is_closed_late_does_not_end_another_ones_exchange():
    async with serving(OK, CUT) as peer, asking(peer.url) as client:
        first = await client.request(b"POST", (), b"{}", within=20)
        second = await client.request(b"POST", (), b"{}", within=20)
        assert peer.connections == 1
        assert await anext(aiter(second)) == b"{}"
        first.close()
        peer.writers[0].write(b"1234567")
        assert await body_of(second) == b"1234567"


async def test_a_request_that_is_cancelled_ends_its_connection():
    async with serving(b"", OK) as peer, asking(peer.url) as client:
        asked = asyncio.create_task(ask(client))
        await peer.until(lambda: len(peer.requests) == 1)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        await peer.until(lambda: peer.left == 1)
        assert await ask(client) == b"{}"


@pytest.mark.parametrize("answer", [OK, CUT])
async def test_a_request_that_is_cancelled_as_its_answer_comes_harms_no_other(answer: bytes):
    async with serving(answer, OK) as peer, asking(peer.url) as client:
        asked = asyncio.create_task(ask(client))
        await peer.until(lambda: len(peer.requests) == 1)
        [connection] = client._open
        while connection._waiter is not None:
            await asyncio.sleep(0)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        assert await ask(client) == b"{}"

    assert peer.connections == (1 if answer is OK else 2)


async def test_an_unused_connection_is_closed_after_a_while(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(clients, "IDLE_SECONDS", 0.05)
    async with serving(OK, OK, OK) as peer, asking(peer.url) as client:
        await asyncio.gather(ask(client), ask(client))
        await peer.until(lambda: peer.left == 2)
        assert not client._open


async def test_a_connection_that_was_used_meanwhile_is_kept_for_longer(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(clients, "IDLE_SECONDS", 0.05)
    async with serving(OK) as peer, asking(peer.url) as client:
        await ask(client)
        [connection] = client._open
        first, connection.free_since = client._sweeping, connection.free_since + 0.2
        async with asyncio.timeout(300):
            while client._sweeping is first:
                await asyncio.sleep(0)
        assert client._open
        await peer.until(lambda: peer.left == 1)


async def test_a_connection_that_was_unused_for_too_long_is_not_used(monkeypatch: pytest.MonkeyPatch):
    async with serving(OK, OK) as peer, asking(peer.url) as client:
        await ask(client)
        monkeypatch.setattr(clients, "IDLE_SECONDS", 0.0)
        await ask(client)

    assert peer.connections == 2


async def test_closing_ends_what_is_under_way():
    async with serving(b"", CUT) as peer, asking(peer.url) as client:
        asked = asyncio.create_task(ask(client))
        await peer.until(lambda: len(peer.requests) == 1)
        response = await client.request(b"POST", (), b"{}", within=20)
        await client.aclose()
        with pytest.raises(Lost):
            await asked
        with pytest.raises(Lost):
            await body_of(response)
        with pytest.raises(ExchangeError):
            await ask(client)
    assert peer.connections == 3


async def _on_uvloop() -> None:
    """The whole way once on the loop that the gateway runs on."""
    peer: Peer
    async with serving(OK, CHUNKED, None, OK, CUT) as peer, asking(peer.url) as client:
        assert await ask(client) == b"{}"
        assert await ask(client) == b"{}"
        assert await ask(client, again=True) == b"{}"
        assert peer.connections == 2
        peer.writers[1].write(b"unasked")
        await peer.writers[1].drain()
        time.sleep(0.05)  # noqa: ASYNC251 - nothing may run
        response = await client.request(b"POST", (), b"x" * 2**20, within=20)
        assert peer.connections == 3
        assert await anext(aiter(response)) == b"{}"
        response.close()
        await peer.until(lambda: peer.left == 3)
        with pytest.raises(AnswerTimeout):
            await ask(client, within=0.05)


@pytest.mark.parametrize("over", ["tcp", "unix"])
def test_closing_does_not_wait_for_a_connection_that_nobody_waited_for(
    over: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """On uvloop: given up between being made and being used, it is closed without a word."""

    async def given_up_when_made() -> None:
        path = str(tmp_path / "s")
        async with serving() as peer, await asyncio.start_unix_server(peer, path):
            client = Client(address_of_socket(path, "opa") if over == "unix" else address_of_url(peer.url), connect=5)
            asked = asyncio.ensure_future(client.request(b"GET", (), within=20, target=b"/"))
            opened = client.opened

            def made(connection: OutboundConnection) -> None:
                opened(connection)
                asked.cancel()

            monkeypatch.setattr(client, "opened", made)
            with pytest.raises(asyncio.CancelledError):
                await asked
            async with asyncio.timeout(300):
                await client.aclose()

    uvloop.run(given_up_when_made())


def test_it_works_on_uvloop():
    work: Coroutine[Any, Any, None] = _on_uvloop()
    uvloop.run(work)
