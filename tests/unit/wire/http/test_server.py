"""TLS, the listening socket, and what a signal does."""

from __future__ import annotations

import asyncio
import signal
import socket
import ssl
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import uvloop

from gateway import config
from gateway.config import TlsSettings
from gateway.model.errors import ConfigurationError
from gateway.wire.http.edge import Receive, Send
from gateway.wire.http.parsers import HEAD_BYTES, WAITING
from gateway.wire.http.server import ACCEPTED, Server, listen
from gateway.wire.http.server_connection import Connection
from gateway.wire.http.tls_files import tls_context
from tests.e2e import certificates
from tests.requirements import requirement
from tests.unit.identity.tokens import Authority
from tests.unit.wire.http.servers import let_pass, make_server, running_server, send_whole


def settings(tmp_path: Path, authority: Authority, *, client_ca: bool = False) -> TlsSettings:
    pair = certificates.server(authority, tmp_path)
    ca = certificates.written(authority, tmp_path, "ca") if client_ca else None
    return TlsSettings(certificate=pair.certificate, key=pair.key, client_ca=ca)


@pytest.fixture
def authority() -> Authority:
    return Authority(now=time.time())


def test_clients_are_asked_for_certificates_only_where_an_authority_is_named(tmp_path: Path, authority: Authority):
    assert tls_context(settings(tmp_path, authority)).verify_mode is ssl.CERT_NONE
    assert tls_context(settings(tmp_path, authority, client_ca=True)).verify_mode is ssl.CERT_OPTIONAL
    pem = certificates.written(authority, tmp_path, "other").read_text("utf-8")
    context = tls_context(settings(tmp_path, authority), pem)
    assert context.verify_mode is ssl.CERT_OPTIONAL
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_a_session_with_a_client_certificate_is_not_taken_up_again(tmp_path: Path, authority: Authority):
    """It would not know what vouches for the certificate, and the caller would be nobody."""
    context = tls_context(settings(tmp_path, authority, client_ca=True))
    assert (context.num_tickets, bool(context.options & ssl.OP_NO_TICKET)) == (0, True)


def test_files_that_cannot_be_used_are_a_fault_of_the_configuration(tmp_path: Path, authority: Authority):
    found = settings(tmp_path, authority)
    found.key.write_text("not a key", "utf-8")
    with pytest.raises(ConfigurationError, match="the TLS files cannot be used"):
        tls_context(found)


def configured(listening: str) -> config.Configuration:
    return config.parse(f"listen: '{listening}'\n", base=Path())


def test_an_address_that_is_taken_is_a_fault_of_the_configuration():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"cannot listen on 127.0.0.1:{port}"):
            listen(configured(f"127.0.0.1:{port}"))


@pytest.mark.parametrize(("listening", "family"), [("127.0.0.1:0", socket.AF_INET), ("[::1]:0", socket.AF_INET6)])
def test_it_listens_on_either_family(listening: str, family: socket.AddressFamily):
    with listen(configured(listening)) as found:
        assert found.family is family


async def test_the_first_signal_drains_and_a_second_interrupt_does_not_wait():
    server = make_server(None, configured("127.0.0.1:0"))
    server.hear_signal(signal.SIGTERM)
    server.hear_signal(signal.SIGTERM)
    assert (server.is_told, server.is_hurried) == (True, False)
    server.hear_signal(signal.SIGINT)
    assert server.is_hurried
    server._listener.close()


# --- what a stranger can hold open -------------------------------------------------------------------

SOON = "limits: {request_head: 200ms}\n"
PATIENT = "limits: {request_head: 1h}\n"
GET = b"GET / HTTP/1.1\r\nhost: here\r\n"


PIECES = 32
"""Of a MiB each: more than the system takes before anybody reads."""


async def answers(scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
    """Answers before it has read the body; at `/long` it answers when the body is there."""
    if scope["path"] == "/long":
        while (await receive()).get("more_body"):
            pass
    if scope["path"] == "/body":
        body = b""
        more = True
        while more:
            part = await receive()
            body, more = body + part["body"], part["more_body"]
        assert dict(scope["headers"]).keys() <= {b"host", b"connection", b"content-length"}
        await send_whole(send, 200, (), body)
        return
    if scope["path"] in {"/waits", "/begins", "/pieces"}:
        await slowly(scope["path"], receive, send)
        return
    if scope["path"] == "/host":
        await send_whole(send, 200, (), b",".join(value for name, value in scope["headers"] if name == b"host"))
        return
    assert b"late" not in dict(scope["headers"])
    await send_whole(send, 200, (), b"x" * 2**26 if scope["path"] == "/huge" else b"here")


async def slowly(path: str, receive: Receive, send: Send) -> None:
    """Answers in pieces, or begins to, or waits until the client has left."""
    if path != "/waits":
        headers = [(b"content-length", b"9")] if path == "/begins" else []
        await send({"type": "http.response.start", "status": 200, "headers": headers})
    if path == "/pieces":
        for number in range(PIECES):
            await send({"type": "http.response.body", "body": b"%07d\n" % number * 2**17, "more_body": True})
        await send({"type": "http.response.body", "body": b"end"})
        return
    if path == "/begins":
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})
    while (await receive())["type"] != "http.disconnect":
        pass


@asynccontextmanager
async def serving(settings: str, servers: list[Server] | None = None) -> AsyncGenerator[int]:
    """The port of a server that runs."""
    async with running_server(answers, settings) as (server, port):
        if servers is not None:
            servers.append(server)
        yield port


@asynccontextmanager
async def connected(port: int) -> AsyncGenerator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(300):
            yield reader, writer
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def answered(reader: asyncio.StreamReader) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert await reader.readexactly(4) == b"here"


async def test_requests_that_do_not_wait_for_their_answers_get_them_in_order():
    bodies = [b"%d" % number for number in range(9)]
    sent = [b"POST /body HTTP/1.1\r\nhost: here\r\ncontent-length: 1\r\n\r\n" + body for body in bodies]
    async with serving(PATIENT) as port, connected(port) as (reader, writer):
        writer.write(b"".join(sent))
        for body in bodies:
            assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
            assert await reader.readexactly(1) == body


async def test_an_answer_waits_for_a_slow_reader_and_goes_on_when_it_reads(monkeypatch: pytest.MonkeyPatch):
    drain, paused = Connection.drain, list[Connection]()

    async def noted(connection: Connection) -> None:
        paused.append(connection)
        await drain(connection)

    monkeypatch.setattr(Connection, "drain", noted)
    async with serving(PATIENT) as port, connected(port) as (reader, writer):
        writer.write(b"GET /pieces HTTP/1.1\r\nhost: here\r\n\r\n")
        while not paused:
            await asyncio.sleep(0.01)
        await reader.readuntil(b"\r\n\r\n")
        for number in range(PIECES):
            assert int(await reader.readuntil(b"\r\n"), 16) == 2**20
            assert await reader.readexactly(2**20 + 2) == b"%07d\n" % number * 2**17 + b"\r\n"
        assert await reader.readuntil(b"\r\n\r\n") == b"3\r\nend\r\n0\r\n\r\n"


@requirement("strangers/waiting")
async def test_so_many_requests_wait_for_the_answer_before_them_and_no_more():
    """Each costs some kilobytes, and 5,000 of them come in one piece: 50 connections took 600 MB."""
    get = b"GET / HTTP/1.1\r\nhost: here\r\n\r\n"
    async with serving(PATIENT) as port:
        async with connected(port) as (reader, writer):
            writer.write(get * (1 + WAITING))
            for _ in range(1 + WAITING):
                await answered(reader)
        async with connected(port) as (reader, writer):
            writer.write(b"GET /waits HTTP/1.1\r\nhost: here\r\n\r\n" + get * (1 + WAITING))
            with suppress(ConnectionError):
                assert await reader.read() == b""


@requirement("strangers/head")
@pytest.mark.parametrize("sent", [b"", b"G", GET, b"\r\n"])
async def test_a_connection_on_which_no_whole_head_comes_is_closed(sent: bytes):
    async with serving(SOON) as port, connected(port) as (reader, writer):
        writer.write(sent)
        assert (await reader.read()).startswith(b"HTTP/1.1 408 Request Timeout\r\n")


@requirement("strangers/head")
async def test_a_head_that_trickles_has_no_more_time_than_another():
    async with serving(SOON) as port, connected(port) as (reader, writer):
        ended = asyncio.create_task(reader.read())
        writer.write(GET)
        while not ended.done():
            writer.write(b"a: b\r\n")
            await asyncio.wait([ended], timeout=0.02)
        # What is sent to a connection that has just been closed resets it, sometimes before its answer was read.
        assert ended.exception() is not None or ended.result().startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("sent", [b"\r\n", GET], ids=["empty line", "half a head"])
async def test_a_next_request_has_as_long_from_its_first_byte(sent: bytes):
    running: list[Server] = []
    async with serving(PATIENT, running) as port, connected(port) as (reader, writer):
        for _ in range(2):
            writer.write(GET + b"\r\n")
            await answered(reader)
        (connection,) = running[0].serving.connections
        writer.write(sent)
        while not connection._awaits_head:
            await asyncio.sleep(0)
        let_pass(connection, 3500)
        assert not connection._transport.is_closing()
        let_pass(connection, 100)
        assert (await reader.read()).startswith(b"HTTP/1.1 408 ")


async def test_a_body_that_goes_on_after_its_answer_does_not_hold_the_connection():
    async with serving(SOON) as port, connected(port) as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nhost: here\r\ncontent-length: 1000000\r\n\r\n")
        await answered(reader)
        ended = asyncio.create_task(reader.read())
        while not ended.done():
            writer.write(b"x")
            await asyncio.wait([ended], timeout=0.02)
        # As above.
        assert ended.exception() is not None or ended.result().startswith(b"HTTP/1.1 408 ")


async def test_a_body_that_is_waited_for_is_not_the_heads_time():
    running: list[Server] = []
    async with serving(PATIENT, running) as port, connected(port) as (reader, writer):
        writer.write(b"POST /long HTTP/1.1\r\nhost: here\r\ncontent-length: 2\r\n\r\n")
        while not any(found._channel for found in running[0].serving.connections):
            await asyncio.sleep(0)
        (connection,) = running[0].serving.connections
        let_pass(connection, 3 * 3600)
        assert not connection._transport.is_closing()
        writer.write(b"{}")
        await answered(reader)


@requirement("strangers/head")
async def test_a_head_without_an_end_is_not_kept():
    async with serving(PATIENT) as port, connected(port) as (reader, writer):
        ended = asyncio.create_task(reader.read())
        writer.write(GET + b"a: ")
        with suppress(ConnectionError):
            while not ended.done():
                writer.write(b"x" * 16384)
                await writer.drain()
                await asyncio.wait([ended], timeout=0.01)
        assert ended.exception() is not None or ended.result().startswith(b"HTTP/1.1 431 ")


def head_of(size: int, filler: str) -> bytes:
    """A whole head of so many bytes."""
    if filler == "target":
        return b"GET /?" + b"x" * (size - 31) + b" HTTP/1.1\r\nhost: here\r\n\r\n"
    if filler == "fields":
        many = b"a: b\r\n" * ((size - len(GET) - 64) // 6)
        return many_fields(size, GET + many)
    return many_fields(size, GET, b" " if filler == "spaces" else b"x")


def many_fields(size: int, begun: bytes, byte: bytes = b"x") -> bytes:
    rest = size - len(begun) - len(b"a: y\r\n\r\n")
    return begun + b"a: " + byte * rest + b"y\r\n\r\n"


@requirement("strangers/head")
@pytest.mark.parametrize("filler", ["field", "fields", "spaces", "target"])
@pytest.mark.parametrize("before", [b"", GET + b"\r\n"], ids=["first", "second"])
@pytest.mark.parametrize("apart", [False, True], ids=["at once", "in two pieces"])
async def test_a_head_of_64_kib_is_read_and_one_byte_more_is_not(filler: str, before: bytes, *, apart: bool):
    """Also where it arrives in one piece, for which the socket has room."""
    async with serving(PATIENT) as port:
        for size, status in ((HEAD_BYTES, b"200"), (HEAD_BYTES + 1, b"431")):
            head = head_of(size, filler)
            assert len(head) == size
            async with connected(port) as (reader, writer):
                if before:
                    writer.write(before)
                    await answered(reader)
                for piece in (head[:5000], head[5000:]) if apart else (head,):
                    writer.write(piece)
                    await writer.drain()
                assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 %b " % status)


async def test_a_head_that_follows_another_request_at_once_is_bounded_too():
    async with serving(PATIENT) as port, connected(port) as (reader, writer):
        writer.write(GET + b"\r\n" + head_of(HEAD_BYTES + 1, "spaces"))
        everything = b""
        with suppress(ConnectionError):
            everything = await reader.read()
        assert everything.count(b"HTTP/1.1 200 ") <= 1


async def test_fields_without_an_end_after_a_body_are_not_kept():
    async with serving(PATIENT) as port, connected(port) as (reader, writer):
        writer.write(b"POST /long HTTP/1.1\r\nhost: here\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\na: ")
        ended = asyncio.create_task(reader.read())
        with suppress(ConnectionError):
            while not ended.done():
                writer.write(b"x" * 16384)
                await writer.drain()
                await asyncio.wait([ended], timeout=0.01)
        assert ended.exception() is not None or ended.result() == b""


async def test_a_field_after_a_body_is_no_header():
    async with serving(PATIENT) as port, connected(port) as (reader, writer):
        writer.write(b"POST /long HTTP/1.1\r\nhost: here\r\ntransfer-encoding: chunked\r\n\r\n0\r\nlate: 1\r\n\r\n")
        await answered(reader)


OFFER = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nhost: here\r\n\r\n"


@pytest.mark.parametrize("offer", [OFFER, b"upgrade: websocket\r\nconnection: upgrade\r\n"])
@pytest.mark.parametrize("apart", [True, False])
async def test_the_body_of_a_request_that_offers_another_protocol_is_its_body(offer: bytes, *, apart: bool):
    """Java's HTTP client offers one with each first request. The parser would take the body for the next request."""
    head = b"POST /body HTTP/1.1\r\nhost: here\r\n" + offer + b"content-length: %d\r\n\r\n" % len(SMUGGLED)
    async with serving(PATIENT) as port, connected(port) as (reader, writer):
        writer.write(GET + b"\r\n")
        await answered(reader)
        writer.write(head if apart else head + SMUGGLED)
        if apart:
            await writer.drain()
            writer.write(SMUGGLED)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        assert await reader.readexactly(len(SMUGGLED)) == SMUGGLED
        writer.write(GET + b"\r\n")
        await answered(reader)


@pytest.mark.parametrize(
    ("version", "coding"), [(b"1.1", b"gzip, chunked"), (b"1.1", b"identity, chunked"), (b"1.0", b"chunked")]
)
async def test_a_body_that_is_read_in_two_ways_is_not_read(version: bytes, coding: bytes):
    head = b"POST /body HTTP/" + version + b"\r\nhost: here\r\ntransfer-encoding: " + coding + b"\r\n\r\n"
    async with serving(PATIENT) as port, connected(port) as (reader, writer):
        writer.write(head + b"1\r\nx\r\n0\r\n\r\n" + SMUGGLED)
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert answer.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize(
    ("target", "named"),
    [(b"/host", b"here"), (b"http://evil:8/host", b"evil:8"), (b"HTTPS://[::1]:9/host?x=http://a/", b"[::1]:9")],
)
async def test_a_target_that_names_its_host_says_which_one_is_meant(target: bytes, named: bytes):
    async with serving(PATIENT) as port, connected(port) as (reader, writer):
        writer.write(b"GET " + target + b" HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n")
        assert (await reader.read()).endswith(b"\r\n\r\n" + named)


@pytest.mark.parametrize(
    ("target", "version"),
    [
        (b"ftp://here/host", b"1.1"),
        (b"http://a@here/host", b"1.1"),
        (b"http://here", b"1.1"),
        (b"http:///host", b"1.1"),
        (b"/host#here", b"1.1"),
        (b"http://here#/host", b"1.1"),
        (b"/host", b"2.0"),
        (b"/host", b"0.9"),
    ],
)
async def test_a_target_or_version_that_is_none_of_http_1_is_no_request(target: bytes, version: bytes):
    async with serving(PATIENT) as port, connected(port) as (reader, writer):
        writer.write(b"GET " + target + b" HTTP/" + version + b"\r\nhost: here\r\n\r\n" + SMUGGLED)
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert answer.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize("target", [b"/waits", b"/begins"])
async def test_the_refusal_of_what_follows_a_request_is_no_answer_to_it(target: bytes):
    """A client would take it for one, or for a part of one that has begun."""
    async with serving(PATIENT) as port, connected(port) as (reader, writer):
        writer.write(b"GET " + target + b" HTTP/1.1\r\nhost: here\r\n\r\n")
        begun = await reader.readuntil(b"\r\n\r\nbegun") if target == b"/begins" else b""
        writer.write(b"nonsense\r\n\r\n")
        rest = b""
        with suppress(ConnectionError):
            rest = await reader.read()
        assert b"400" not in begun + rest


async def test_a_tunnel_is_no_request():
    async with serving(PATIENT) as port, connected(port) as (reader, writer):
        writer.write(b"CONNECT here:1 HTTP/1.1\r\nhost: here\r\n\r\n" + SMUGGLED)
        assert (await reader.read()).startswith(b"HTTP/1.1 400 ")


async def test_a_large_body_is_no_head():
    size = 8 * HEAD_BYTES
    async with serving(PATIENT) as port, connected(port) as (reader, writer):
        writer.write(b"POST /long HTTP/1.1\r\nhost: here\r\ncontent-length: %d\r\n\r\n" % size + b"x" * size)
        await answered(reader)


@requirement("strangers/connections")
async def test_a_client_has_so_many_connections_and_no_more():
    async with serving("limits: {connections: 1}\n") as port:
        async with connected(port) as (reader, writer):
            writer.write(GET + b"\r\n")
            await answered(reader)
            with suppress(ConnectionError):
                async with connected(port) as (other, _):
                    assert await other.read() == b""
            writer.write(GET + b"\r\n")
            await answered(reader)
            writer.write(GET + b"connection: close\r\n\r\n")
            await answered(reader)
            assert await reader.read() == b""
        async with connected(port) as (reader, writer):
            writer.write(GET + b"\r\n")
            await answered(reader)


async def turns_until_connected(connections: int) -> int:
    """How many turns of the event loop it takes until so many clients, who have connected by then, are served."""
    running: list[Server] = []
    async with serving("", running) as port:
        clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(connections)]
        turns = 0
        while len(running[0].serving.connections) < connections:
            await asyncio.sleep(0)
            turns += 1
        for client in clients:
            client.close()
        return turns


def test_those_who_connect_do_not_wait_for_a_turn_each():
    """In a busy gateway a turn takes as long as all the calls that it works on do."""
    assert uvloop.run(turns_until_connected(8 * ACCEPTED)) <= 2 * ACCEPTED


async def test_what_a_client_does_not_read_does_not_keep_its_connection():
    running: list[Server] = []
    async with serving(PATIENT, running) as port, connected(port) as (reader, writer):
        writer.write(b"GET /huge HTTP/1.1\r\nhost: here\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        connections = running[0].serving.connections
        (connection,) = connections
        writer.write(b"\r\n")
        while connection._channel is not None or not connection._awaits_head:
            await asyncio.sleep(0)
        let_pass(connection, 2 * 3600)
        while connections:
            await asyncio.sleep(0)
        async with asyncio.timeout(300):
            while connections:
                await asyncio.sleep(0.01)
