"""How a server stops: no request that has arrived is lost."""

from __future__ import annotations

import asyncio
import errno
import os
import select
import signal
import socket
import ssl
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import uvloop

from gateway.config import TlsSettings
from gateway.wire.http import server_connection
from gateway.wire.http.edge import Receive, Send
from gateway.wire.http.server_connection import accept_waiting
from gateway.wire.http.tls_files import tls_context
from tests.e2e import certificates
from tests.requirements import requirement
from tests.unit.identity.tokens import Authority
from tests.unit.wire.http.servers import make_server, running_server, send_whole
from tests.unit.wire.http.test_server import GET, answered, configured, connected

LONG = "limits: {drain_delay: 1h, drain: 1h}\n"
SHORT = "limits:\n  drain_delay: 0s\n  drain: 200ms\n"


class Application:
    """Answers `here`; at `/held` when the test lets it, at `/begun` it begins to and ends when the test lets it."""

    def __init__(self) -> None:
        self.arrived, self.proceed = asyncio.Event(), asyncio.Event()
        self.told: list[str] = []
        self.stopped, self.drained = asyncio.Event(), asyncio.Event()

    def on_stop(self) -> None:
        self.told.append("stop")
        self.stopped.set()

    def on_drain(self) -> None:
        self.told.append("drain")
        self.drained.set()

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["path"] == "/begun":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
            await send({"type": "http.response.body", "body": b"he", "more_body": True})
        if scope["path"] != "/":
            self.arrived.set()
            await self.proceed.wait()
        if scope["path"] == "/begun":
            await send({"type": "http.response.body", "body": b"re"})
            return
        while (await receive()).get("more_body"):
            pass
        await send_whole(send, 200, (), b"here")


def stopping(application: Application) -> dict[str, Any]:
    return {"on_stop": application.on_stop, "on_drain": application.on_drain}


def get(path: str) -> bytes:
    return b"GET %b HTTP/1.1\r\nhost: here\r\n\r\n" % path.encode()


async def head_of(reader: asyncio.StreamReader) -> bytes:
    """Return the head of the next answer, whose body is read too."""
    head = await reader.readuntil(b"\r\n\r\n")
    assert await reader.readexactly(4) == b"here"
    return head


@pytest.fixture
def application() -> Application:
    return Application()


@requirement("fault/drain")
async def test_for_a_while_it_serves_on_and_each_answer_closes_its_connection(application: Application):
    async with (
        running_server(application, LONG, **stopping(application)) as (server, port),
        connected(port) as (old, writer),
    ):
        writer.write(get("/"))
        assert b"connection: close" not in await head_of(old)
        server.stop()
        await application.stopped.wait()
        writer.write(get("/"))
        assert b"connection: close" in await head_of(old)
        assert await old.read() == b""
        async with connected(port) as (new, sender):
            sender.write(get("/"))
            assert b"connection: close" in await head_of(new)
            assert await new.read() == b""
        assert application.told == ["stop"]
        server.hear_signal(signal.SIGINT)
    assert application.told == ["stop", "drain"]


@requirement("fault/drain")
@pytest.mark.parametrize("path", ["/held", "/begun"])
async def test_an_answer_in_progress_ends_and_the_next_one_closes_the_connection(application: Application, path: str):
    async with (
        running_server(application, LONG, **stopping(application)) as (server, port),
        connected(port) as (reader, writer),
    ):
        writer.write(get(path))
        await application.arrived.wait()
        server.stop()
        await application.stopped.wait()
        application.proceed.set()
        closes = [b"connection: close" in await head_of(reader)]
        if path == "/begun":
            writer.write(get("/"))
            closes.append(b"connection: close" in await head_of(reader))
        assert await reader.read() == b""
        server.hear_signal(signal.SIGINT)
    assert closes == ([False, True] if path == "/begun" else [True])


@requirement("fault/drain")
@pytest.mark.parametrize("before", [0, 2], ids=["sent-after", "sent-before"])
async def test_requests_that_wait_in_a_row_are_all_answered_and_the_last_closes(application: Application, before: int):
    async with (
        running_server(application, LONG, **stopping(application)) as (server, port),
        connected(port) as (reader, writer),
    ):
        writer.write(get("/held") + get("/") * before)
        await application.arrived.wait()
        server.stop()
        await application.stopped.wait()
        (connection,) = server.serving.connections
        if not before:
            writer.write(get("/"))
            while len(connection._parser.requests) < 2:
                await asyncio.sleep(0)
        application.proceed.set()
        heads = [await head_of(reader) for _ in range(1 + (before or 1))]
        assert await reader.read() == b""
        server.hear_signal(signal.SIGINT)
    assert [b"connection: close" in head for head in heads] == [*[False] * (before or 1), True]


@requirement("fault/drain")
async def test_a_request_whose_head_has_begun_is_read_and_answered(
    application: Application, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(server_connection, "QUIET", 0)
    async with (
        running_server(application, "", **stopping(application)) as (server, port),
        connected(port) as (reader, writer),
    ):
        writer.write(get("/"))
        await head_of(reader)
        writer.write(GET)
        while not next(iter(server.serving.connections))._parser.in_head:
            await asyncio.sleep(0)
        server.stop()
        await application.drained.wait()
        writer.write(b"\r\n")
        assert b"connection: close" in await head_of(reader)
        assert await reader.read() == b""


async def test_a_head_that_does_not_come_holds_up_the_end_for_the_drain_alone(application: Application):
    """The head has an hour: without the bound of the drain the server would not end."""
    async with asyncio.timeout(300):
        async with (
            running_server(application, f"{SHORT}  request_head: 1h\n", **stopping(application)) as (server, port),
            connected(port) as (_, writer),
        ):
            writer.write(GET)
            while not any(connection._parser.in_head for connection in server.serving.connections):
                await asyncio.sleep(0)


@requirement("fault/drain")
async def test_a_connection_that_was_just_made_or_just_used_may_still_send_a_request(application: Application):
    async with (
        running_server(application, "", **stopping(application)) as (server, port),
        connected(port) as (used, sender),
        connected(port) as (new, writer),
    ):
        sender.write(get("/"))
        await head_of(used)
        server.stop()
        await application.drained.wait()
        sender.write(get("/"))
        writer.write(get("/"))
        for reader in (used, new):
            assert b"connection: close" in await head_of(reader)
            assert await reader.read() == b""


@requirement("fault/drain")
async def test_quiet_connections_are_closed(application: Application, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(server_connection, "QUIET", 0)
    async with (
        running_server(application, LONG, **stopping(application)) as (server, port),
        connected(port) as (used, sender),
        connected(port) as (new, _),
    ):
        sender.write(get("/"))
        await head_of(used)
        server.hear_signal(signal.SIGINT)
        assert (await used.read(), await new.read()) == (b"", b"")


@requirement("fault/drain")
async def test_a_connection_with_a_request_that_nobody_has_read_yet_is_not_quiet(
    application: Application, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(server_connection, "QUIET", 0)
    async with running_server(application, "", **stopping(application)) as (server, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(get("/"))
        await head_of(reader)
        (connection,) = server.serving.connections
        # Past the event loop, which would read it in the same turn.
        os.write(writer.get_extra_info("socket").fileno(), get("/"))
        connection.close_if_quiet()
        await answered(reader)
        writer.close()


@requirement("fault/drain")
def test_connections_that_wait_to_be_accepted_are_accepted():
    listener = socket.create_server(("127.0.0.1", 0), backlog=server_connection.BACKLOG)
    clients = [socket.create_connection(listener.getsockname()) for _ in range(20)]
    accepted = accept_waiting(listener)
    listener.close()

    for client, (connection, _) in zip(clients, accepted, strict=True):
        connection.settimeout(None)
        connection.send(b"x")
        assert client.recv(1) == b"x"
        client.close()
        connection.close()


@requirement("fault/drain")
@pytest.mark.skipif(sys.platform != "linux", reason="the filter of new connections is Linux's")
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_connection_that_arrives_after_the_last_look_is_refused_and_not_reset(host: str):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listener, socket.socket(family) as late:
        with socket.create_connection(listener.getsockname()[:2]) as early:
            ((accepted, _),) = accept_waiting(listener)
            late.settimeout(0)
            assert late.connect_ex(listener.getsockname()) == errno.EINPROGRESS
            with pytest.raises(BlockingIOError):
                listener.accept()
            listener.close()
            accepted.settimeout(30)
            early.sendall(b"still")
            assert accepted.recv(5) == b"still"
            accepted.close()
        # The system of the client asks again after a second.
        assert select.select([], [late], [], 30)[1] == [late]
        assert late.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED


@requirement("fault/drain")
@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_those_that_have_connected_before_it_listens_no_more_are_served(run: Any):
    async def main() -> list[bytes]:
        application = Application()
        async with running_server(application, "", **stopping(application)) as (server, port):
            clients, stop = list[socket.socket](), server._stop_listening

            def connect_and_stop() -> None:
                # Nothing is awaited in here, so that nobody accepts them before.
                clients.extend(socket.create_connection(("127.0.0.1", port)) for _ in range(20))
                stop()

            server._stop_listening = connect_and_stop  # type: ignore[method-assign]
            server.stop()
            await application.drained.wait()
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port))
            return [await asyncio.to_thread(ask, client) for client in clients]

    assert all(b"connection: close" in head for head in run(main()))


def ask(client: socket.socket) -> bytes:
    with client:
        client.sendall(get("/"))
        answer = b""
        while part := client.recv(1_000):
            answer += part
    return answer


@requirement("fault/drain")
async def test_a_handshake_that_goes_on_when_it_is_told_to_stop_is_waited_for(tmp_path: Path):
    application, authority = Application(), Authority(now=time.time())
    pair = certificates.server(authority, tmp_path)
    tls = tls_context(TlsSettings(certificate=pair.certificate, key=pair.key))
    async with running_server(application, "", tls=tls, **stopping(application)) as (server, port):
        raw = await asyncio.to_thread(socket.create_connection, ("127.0.0.1", port))
        server.stop()
        await application.drained.wait()
        trusting = ssl.create_default_context(cafile=certificates.written(authority, tmp_path, "ca"))
        with await asyncio.to_thread(trusting.wrap_socket, raw, server_hostname="127.0.0.1") as client:
            answer = await asyncio.to_thread(ask, client)
    assert b"connection: close" in answer


async def test_an_interrupt_does_not_wait_for_the_delay(application: Application):
    server = make_server(application, configured("127.0.0.1:0"))
    server._delay = 60.0
    server.hear_signal(signal.SIGTERM)
    server.hear_signal(signal.SIGTERM)
    assert (server._delay, server.is_hurried) == (60.0, False)
    server.hear_signal(signal.SIGINT)
    assert (server._delay, server.is_hurried) == (0.0, True)
    server._listener.close()
