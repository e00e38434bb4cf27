"""One connection: clients that wait, leave, flood or trickle, and the memory of idle ones."""

from __future__ import annotations

import asyncio
import gc
import socket
import struct
import tracemalloc
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from gateway.wire.http import server_connection as connections
from gateway.wire.http.delivery import Channel, ClientGone
from gateway.wire.http.limits import ConnectionPlaces
from gateway.wire.http.parsers import WAITING
from gateway.wire.http.server import Server
from gateway.wire.http.server_connection import BODY_BYTES, Connection, Serving
from tests.requirements import requirement
from tests.unit.wire.http.servers import let_pass, running_server
from tests.unit.wire.http.test_server import PATIENT, connected

GET = b"GET /%b HTTP/1.1\r\nhost: here\r\n\r\n"
HEAD_SECONDS = 10.0
TEXT = ((b"content-type", b"text/plain"),)

Handler = Callable[[Channel], Coroutine[Any, Any, None]]


@asynccontextmanager
async def serving(handler: Handler, settings: str = PATIENT) -> AsyncGenerator[tuple[Server, int]]:
    async with running_server(handler, settings, is_handler=True) as running:
        yield running


async def echo(channel: Channel) -> None:
    """Answer with the path and the body."""
    body = channel.request.path.encode()
    while piece := await channel.read_chunk():
        body += piece
    await channel.respond(200, TEXT, body)


async def refuse(channel: Channel) -> None:
    """Answer before the body is read."""
    await channel.respond(413, TEXT, b"too large")


async def stream_parts(channel: Channel) -> None:
    channel.start(200, TEXT)
    await channel.write(b"one")
    await channel.write(b"")
    await channel.write(b"two")
    channel.end()


class Waiting:
    """A handler that waits until its client leaves, and notes so."""

    def __init__(self) -> None:
        self.begun, self.ended = asyncio.Event(), asyncio.Event()

    async def __call__(self, channel: Channel) -> None:
        channel.on_leave = self.ended.set
        self.begun.set()
        await self.ended.wait()


async def ask(port: int, sent: bytes) -> bytes:
    """Return all that comes back until the server closes."""
    async with connected(port) as (reader, writer):
        writer.write(sent)
        return await reader.read()


class Wire(asyncio.Transport):
    """A transport that notes each write."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.ended = ""
        self.is_read_on = True

    def pause_reading(self) -> None:
        self.is_read_on = False

    def resume_reading(self) -> None:
        self.is_read_on = True

    def write(self, data: Any) -> None:
        if self.ended:
            raise RuntimeError("uvloop writes to no handle that is closed")
        self.writes.append(bytes(data))

    def close(self) -> None:
        self.ended = self.ended or "closed"

    def abort(self) -> None:
        self.ended = "aborted"

    def is_closing(self) -> bool:
        return bool(self.ended)

    def get_write_buffer_size(self) -> int:
        return 0


def made(handler: Handler) -> tuple[Connection, Wire]:
    """Return a connection on a transport of the test."""
    wire = Wire()
    connection = Connection(Serving(handler, ConnectionPlaces(10, 10), HEAD_SECONDS))
    connection.connection_made(wire)
    return connection, wire


@pytest.mark.parametrize("handler", [echo, stream_parts])
async def test_an_answer_is_one_write(handler: Handler):
    connection, wire = made(handler)
    connection.data_received(GET % b"")
    for _ in range(5):
        await asyncio.sleep(0)
    connection.connection_lost(None)
    assert len(wire.writes) == 1


async def test_bytes_beyond_a_bound_are_not_held_for_the_end_of_the_turn():
    async def answer(channel: Channel) -> None:
        channel.start(200, ())
        for _ in range(3):
            await channel.write(b"x" * 40_000)
        sizes.append(sum(map(len, wire.writes)))
        channel.end()

    sizes = list[int]()
    connection, wire = made(answer)
    connection.data_received(GET % b"")
    for _ in range(5):
        await asyncio.sleep(0)
    connection.connection_lost(None)
    assert sizes[0] > 80_000
    assert b"".join(wire.writes).count(b"x") == 120_000


@pytest.mark.parametrize("handler", [echo, stream_parts])
@pytest.mark.parametrize("is_told", [True, False])
async def test_an_aborted_connection_writes_nothing_more(handler: Handler, *, is_told: bool):
    """The event loop tells of the end in a later turn."""
    errors = list[Exception]()

    async def noted(channel: Channel) -> None:
        try:
            await handler(channel)
        except RuntimeError as error:
            errors.append(error)

    connection, wire = made(noted)
    connection.data_received(GET % b"")
    wire.abort()
    if is_told:
        connection.connection_lost(None)
    for _ in range(5):
        await asyncio.sleep(0)
    connection.connection_lost(None)
    assert (wire.writes, wire.ended, errors) == ([], "aborted", [])


# --- bodies ------------------------------------------------------------------------------------------


async def test_the_rest_of_a_body_that_was_refused_is_no_request():
    async with serving(refuse) as (_, port), connected(port) as (reader, writer):
        size = 4 * BODY_BYTES
        writer.write(b"POST / HTTP/1.1\r\nhost: here\r\ncontent-length: %d\r\n\r\n" % size + b"x")
        await reader.readuntil(b"too large")
        writer.write(GET % b"" * 2 + b"x" * (size - 1 - 2 * len(GET % b"")) + GET % b"")
        assert (await reader.readuntil(b"too large")).count(b"HTTP/1.1") == 1


async def test_a_client_waits_while_its_body_is_not_read():
    proceed = asyncio.Event()

    async def slow(channel: Channel) -> None:
        await proceed.wait()
        size = 0
        while piece := await channel.read_chunk():
            size += len(piece)
        await channel.respond(200, (), b"%d" % size)

    size = 2**25
    async with serving(slow) as (server, port), connected(port) as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nhost: here\r\ncontent-length: %d\r\n\r\n" % size)
        writer.write(b"x" * size)
        while not server.serving.connections:
            await asyncio.sleep(0.01)
        (connection,) = server.serving.connections
        while not connection.is_read_paused:
            await asyncio.sleep(0.01)
        assert len(connection._parser.requests[0].body) <= BODY_BYTES + 2**18
        proceed.set()
        await reader.readuntil(b"\r\n\r\n%d" % size)


@pytest.mark.parametrize("sent", [b"zz\r\n", b"1\r\nxy"])
async def test_a_body_at_fault_is_a_400_and_ends_the_work(sent: bytes):
    handled = list[type[BaseException]]()

    async def note(channel: Channel) -> None:
        try:
            await echo(channel)
        except ClientGone as error:
            handled.append(type(error))

    async with serving(note) as (_, port):
        found = await ask(
            port, b"POST / HTTP/1.1\r\nhost: here\r\ntransfer-encoding: chunked\r\n\r\n" + b"1\r\na\r\n" + sent
        )
        assert found.startswith(b"HTTP/1.1 400 ")
        assert found.count(b"HTTP/1.1") == 1
    assert handled in ([ClientGone], [])


# --- clients that leave ------------------------------------------------------------------------------


def reset(client: socket.socket) -> None:
    """Close a connection with a reset."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def half_close(client: socket.socket) -> None:
    """Send nothing more, and read on."""
    client.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("leave", [socket.socket.close, reset, half_close])
async def test_a_client_that_leaves_is_noticed_while_its_call_runs(leave: Callable[[socket.socket], None]):
    waiting = Waiting()
    async with serving(waiting) as (server, port):
        client = socket.create_connection(("127.0.0.1", port))
        client.sendall(GET % b"")
        await waiting.begun.wait()
        leave(client)
        async with asyncio.timeout(300):
            await waiting.ended.wait()
            while server.serving.connections or server.serving.tasks:
                await asyncio.sleep(0.01)
        client.close()


async def test_a_reset_within_a_body_ends_the_reading_and_frees_the_place():
    handled = asyncio.Event()

    async def read(channel: Channel) -> None:
        with suppress(ClientGone):
            while True:
                await channel.read_chunk()
        handled.set()

    async with serving(read, "limits: {connections: 1}\n") as (server, port):
        for _ in range(3):
            handled.clear()
            client = socket.create_connection(("127.0.0.1", port))
            client.sendall(b"POST / HTTP/1.1\r\nhost: here\r\ncontent-length: 100\r\n\r\nhalf")
            while not server.serving.tasks:
                await asyncio.sleep(0.01)
            reset(client)
            async with asyncio.timeout(300):
                await handled.wait()
                while server.serving.connections or server.serving.tasks:
                    await asyncio.sleep(0.01)


async def test_a_client_that_leaves_is_noticed_while_the_exchange_before_is_still_settled():
    """The end of the first exchange must not end the watch over the second."""
    settled, waiting = asyncio.Event(), Waiting()

    async def handle(channel: Channel) -> None:
        if channel.request.path == "/second":
            await waiting(channel)
            return
        channel.on_leave = pytest.fail
        await channel.respond(200, (), b"first")
        await settled.wait()
        channel.on_leave = None

    async with serving(handle) as (_, port):
        async with connected(port) as (reader, writer):
            writer.write(GET % b"first")
            await reader.readuntil(b"first")
            writer.write(GET % b"second")
            await waiting.begun.wait()
            settled.set()
            await asyncio.sleep(0)
        async with asyncio.timeout(300):
            await waiting.ended.wait()


async def test_a_handler_that_answers_after_its_client_has_left_does_no_harm():
    proceed, ended = asyncio.Event(), asyncio.Event()

    async def late(channel: Channel) -> None:
        await proceed.wait()
        channel.start(200, ())
        await channel.write(b"nobody")
        channel.end()
        with pytest.raises(ClientGone):
            await channel.read_chunk()
        ended.set()

    async with serving(late) as (server, port):
        async with connected(port) as (_, writer):
            writer.write(GET % b"")
            while not server.serving.tasks:
                await asyncio.sleep(0.01)
        while server.serving.connections:
            await asyncio.sleep(0.01)
        proceed.set()
        await ended.wait()


# --- floods and slow clients -------------------------------------------------------------------------


@requirement("strangers/waiting")
async def test_a_flood_of_requests_ends_each_connection_that_sends_it():
    async def flood(port: int) -> bytes:
        found = b""
        async with connected(port) as (reader, writer):
            with suppress(ConnectionError):
                writer.write(GET % b"" * 5_000)
                found = await reader.read()
        return found

    async with serving(echo) as (server, port):
        answers = await asyncio.gather(*[flood(port) for _ in range(20)])
        while server.serving.connections:
            await asyncio.sleep(0.01)
    assert max(answer.count(b"HTTP/1.1 200") for answer in answers) <= 1 + WAITING


async def test_a_client_that_leaves_is_noticed_while_its_next_request_waits():
    waiting = Waiting()
    async with serving(waiting) as (_, port):
        async with connected(port) as (_, writer):
            writer.write(GET % b"" * 2)
            await waiting.begun.wait()
        async with asyncio.timeout(300):
            await waiting.ended.wait()


async def test_the_bodies_of_waiting_requests_are_bounded_together():
    waiting = Waiting()
    post = b"POST / HTTP/1.1\r\nhost: here\r\ncontent-length: 60000\r\n\r\n" + b"x" * 60_000
    connection, wire = made(waiting)
    connection.data_received(post)
    assert wire.is_read_on
    connection.data_received(post)
    assert not wire.is_read_on
    connection.connection_lost(None)
    await asyncio.sleep(0)


async def finished(connection: Connection) -> None:
    """Let the work on all requests end."""
    while connection.serving.tasks:
        await asyncio.sleep(0)


@requirement("strangers/head")
async def test_half_a_head_behind_a_request_has_no_longer_than_another():
    connection, wire = made(echo)
    connection.data_received(GET % b"first" + b"GET / HTTP/1.1\r\n")
    await finished(connection)
    let_pass(connection, HEAD_SECONDS - 1)
    assert len(wire.writes) == 1
    let_pass(connection, 1)
    assert [sent[:13] for sent in wire.writes] == [b"HTTP/1.1 200 ", b"HTTP/1.1 408 "]
    assert wire.ended == "closed"


async def test_a_connection_without_a_request_is_closed_some_day():
    connection, wire = made(echo)
    connection.data_received(GET % b"first")
    await finished(connection)
    let_pass(connection, connections.KEEP_ALIVE_SECONDS - 1)
    assert not wire.ended
    let_pass(connection, 1)
    assert (len(wire.writes), wire.ended) == (1, "closed")


async def test_a_request_ends_the_time_for_the_next_one():
    proceed = asyncio.Event()

    async def handle(channel: Channel) -> None:
        if channel.request.path == "/held":
            await proceed.wait()
        await echo(channel)

    connection, wire = made(handle)
    connection.data_received(GET % b"first")
    await finished(connection)
    connection.data_received(GET % b"held")
    let_pass(connection, 10 * connections.KEEP_ALIVE_SECONDS)
    assert not wire.ended
    proceed.set()
    await finished(connection)
    assert wire.writes[-1].endswith(b"/held")
    let_pass(connection, connections.KEEP_ALIVE_SECONDS - 1)
    assert not wire.ended
    let_pass(connection, 1)
    assert wire.ended == "closed"


async def test_a_thousand_idle_connections_take_little_memory():
    """Of Python's own. The event loop's part and the system's come on top, and are measured in `benchmarks`."""
    count = 1_000
    serving = Serving(echo, ConnectionPlaces(count, count), 10.0)
    wires, made_of = [Wire() for _ in range(count)], list[Connection]()
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for wire in wires:
            connection = Connection(serving)
            made_of.append(connection)
            connection.connection_made(wire)
            connection.data_received(GET % b"")
        while serving.tasks:
            await asyncio.sleep(0)
        for wire in wires:
            wire.writes.clear()
        gc.collect()
        used = (tracemalloc.get_traced_memory()[0] - before) / count
    finally:
        tracemalloc.stop()
    for connection in made_of:
        connection.connection_lost(None)
    assert used < 3_000
