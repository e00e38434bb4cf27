"""The HTTP upstream against a socket that answers with exactly these bytes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from gateway.config import Limits, Upstream
from gateway.model.caller import AuthMethod, Principal
from gateway.model.errors import ConfigurationError, UpstreamBroken, UpstreamError, UpstreamTimeout, UpstreamUnreachable
from gateway.model.wire import Disposition, Era, Headers, Kind, Message, UpstreamRequest
from gateway.upstreams.http import HttpUpstream
from tests.e2e.certificates import server as server_pair
from tests.e2e.certificates import written
from tests.requirements import requirement
from tests.unit.identity.tokens import Authority

WHO = Principal("a", "i", AuthMethod.ANONYMOUS)
OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"


@dataclass
class Peer:
    """Answers each request with `answer`, then closes if it says so. Keeps what it received."""

    answer: bytes | None
    close: bool = False
    received: list[bytes] = field(default_factory=list[bytes])
    left: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                self.received.append(data)
                if self.answer is not None:
                    writer.write(self.answer)
                    await writer.drain()
                if self.close:
                    break
        except ConnectionError:
            pass
        finally:
            self.left.set()
            writer.close()


@asynccontextmanager
async def upstream(peer: Peer, **settings: object) -> AsyncGenerator[HttpUpstream]:
    server = await asyncio.start_server(peer, "127.0.0.1", 0)
    peer.port = server.sockets[0].getsockname()[1]
    found = HttpUpstream("files", configured(f"http://127.0.0.1:{peer.port}/mcp", **settings), limits())
    try:
        yield found
    finally:
        await found.aclose()
        server.close()
        await server.wait_closed()


def configured(url: str, **settings: object) -> Upstream:
    return Upstream.model_validate({"url": url, "audience": "files", **settings}, context={"base": Path()})


def limits() -> Limits:
    return Limits.model_validate({"first_byte": "500ms", "connect": "500ms", "idle_answer": "500ms"})


def request(*headers: tuple[bytes, bytes], session: str | None = None) -> UpstreamRequest:
    message = Message(Kind.REQUEST, Era.HANDSHAKE, Disposition.PASS, b'{"a": 1}', method="ping", id=1)
    found: Headers = headers
    return UpstreamRequest("POST", found, WHO, message, session)


async def test_bytes_go_out_and_come_back_as_they_are():
    peer = Peer(OK)
    async with upstream(peer) as there:
        reply = await there.send(request((b"content-type", b"application/json"), (b"x-a", b"1"), session="s"))
        body = b"".join([chunk async for chunk in reply.chunks])
        await reply.close()
        again = await there.send(request())
        await again.close()

    assert (reply.status, body) == (200, b"{}")
    assert (b"content-type", b"application/json") in reply.headers
    sent = b"".join(peer.received)
    assert sent.startswith(b"POST /mcp HTTP/1.1\r\n")
    assert b"mcp-session-id: s\r\n" in sent
    assert b'\r\n\r\n{"a": 1}' in sent
    assert b"User-Agent" not in sent


@pytest.mark.parametrize("name", [b"x-api-key", b"x_api_key"])
async def test_the_caller_cannot_speak_in_the_place_of_the_gateways_credential(
    monkeypatch: pytest.MonkeyPatch, name: bytes
):
    monkeypatch.setenv("FILES_KEY", "the-gateways")
    peer = Peer(OK)
    credential = {"kind": "header", "name": "X-Api-Key", "value": "${FILES_KEY}"}
    async with upstream(peer, credential=credential) as there:
        await (await there.send(request((name, b"the-callers")))).close()

    assert b"the-callers" not in b"".join(peer.received)
    assert b"X-Api-Key: the-gateways\r\n" in b"".join(peer.received)


@pytest.mark.parametrize(
    ("answer", "close", "error"),
    [
        (None, False, UpstreamTimeout),
        (None, True, UpstreamBroken),
        (b"", True, UpstreamBroken),
        (b"this is not HTTP\r\n\r\n", True, UpstreamBroken),
        (
            b"HTTP/1.1 302 Found\r\nlocation: http://elsewhere.invalid/\r\ncontent-length: 0\r\n\r\n",
            False,
            UpstreamBroken,
        ),
    ],
)
async def test_an_upstream_that_does_not_answer_properly_is_told_as_what_it_did(
    answer: bytes | None,
    close: bool,  # noqa: FBT001 - a parameter of pytest
    error: type[UpstreamError],
):
    async with upstream(Peer(answer, close)) as there:
        with pytest.raises(error, match="upstream files"):
            await there.send(request())


async def test_a_header_that_cannot_be_sent_is_no_defect():
    async with upstream(Peer(OK)) as there:
        with pytest.raises(UpstreamBroken):
            await there.send(request((b"x-a", b"1\r\nx-b: 2")))


async def test_an_answer_that_breaks_off_says_so_and_closes():
    cut = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{}"
    async with upstream(Peer(cut, close=True)) as there:
        reply = await there.send(request())
        with pytest.raises(UpstreamBroken, match="in the middle of its answer"):
            [chunk async for chunk in reply.chunks]
        await reply.close()


STALLED = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n9\r\n: hello\n\n\r\n"
)


@requirement("fault/stall")
async def test_an_answer_that_stalls_ends_and_says_so():
    peer = Peer(STALLED)
    async with upstream(peer) as there:
        reply = await there.send(request())
        chunks = aiter(reply.chunks)
        assert await anext(chunks) == b": hello\n\n"
        with pytest.raises(UpstreamTimeout, match=r"sent nothing for 0\.5 s in the middle"):
            await anext(chunks)
        await peer.left.wait()
        await reply.close()


@requirement("fault/stall")
async def test_each_byte_of_an_answer_begins_its_time_anew():
    """Each byte comes well within the time, and all of them together take longer."""

    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        loop, begun = asyncio.get_running_loop(), asyncio.get_running_loop().time()
        writer.write(STALLED)
        while loop.time() - begun < 1.2:
            writer.write(b"1\r\n:\r\n")
            await asyncio.wait([asyncio.ensure_future(reader.read(1))], timeout=0.05)
        writer.write(b"0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(trickle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    there = HttpUpstream("files", configured(f"http://127.0.0.1:{port}/mcp"), limits())
    reply = await there.send(request())
    assert len(b"".join([chunk async for chunk in reply.chunks])) > 10
    await there.aclose()
    server.close()


async def test_a_stream_that_waits_for_news_may_be_silent():
    async with upstream(Peer(STALLED)) as there:
        reply = await there.send(UpstreamRequest("GET", (), request().principal, session="s"))
        chunks = aiter(reply.chunks)
        assert await anext(chunks) == b": hello\n\n"
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await anext(chunks)
        await reply.close()


async def test_an_answer_that_is_left_closes_the_connection():
    endless = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n: hello\n\n"
    peer = Peer(endless)
    async with upstream(peer) as there:
        reply = await there.send(request())
        await anext(aiter(reply.chunks))
        await reply.close()
        async with asyncio.timeout(300):
            await peer.left.wait()


async def test_a_port_at_which_nobody_listens_is_unreachable(unused_tcp_port: int):
    there = HttpUpstream("files", configured(f"http://127.0.0.1:{unused_tcp_port}/mcp"), limits())
    with pytest.raises(UpstreamUnreachable, match=r"Connection refused|Connect call failed"):
        await there.send(request())
    await there.aclose()
    await there.aclose()


async def test_a_port_that_takes_no_connection_is_unreachable_and_not_late():
    """A listener whose queue is full: the kernel drops what would open another connection."""
    with contextlib.ExitStack() as stack:
        deaf = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.settimeout(0)
            waiting.connect_ex(deaf.getsockname())
        there = HttpUpstream(
            "files",
            configured(f"http://127.0.0.1:{deaf.getsockname()[1]}/mcp"),
            Limits.model_validate({"first_byte": "30s", "connect": "200ms"}),
        )
        with pytest.raises(UpstreamUnreachable, match=r"no connection within 0\.2 s"):
            await there.send(request())
        await there.aclose()


async def test_a_certificate_of_nobody_known_is_told_as_that(tmp_path: Path):
    authority = Authority(now=time.time())
    pair = server_pair(authority, tmp_path)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(pair.certificate, pair.key)
    server = await asyncio.start_server(Peer(OK), "127.0.0.1", 0, ssl=tls)
    url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/mcp"
    stranger = HttpUpstream("files", configured(url), limits())
    friend = HttpUpstream("files", configured(url, ca=str(written(authority, tmp_path, "ca"))), limits())
    with pytest.raises(UpstreamUnreachable, match="its certificate is not trusted"):
        await stranger.send(request())
    reply = await friend.send(request())
    await reply.close()
    await stranger.aclose()
    await friend.aclose()
    server.close()

    assert reply.status == 200


def test_authorities_that_cannot_be_read_are_a_fault_of_the_configuration(tmp_path: Path):
    (tmp_path / "ca.pem").write_text("not a certificate", "utf-8")
    with pytest.raises(ConfigurationError, match=r"upstreams\.files\.ca"):
        HttpUpstream("files", configured("https://files.example/mcp", ca=str(tmp_path / "ca.pem")), limits())


def test_a_user_in_the_url_is_a_fault_of_the_configuration_and_is_not_repeated():
    with pytest.raises(ConfigurationError, match=r"upstreams\.files\.url cannot be used: it names a user") as raised:
        HttpUpstream("files", configured("https://user:s3cret@files.example/mcp"), limits())

    assert "s3cret" not in raised.value.message + raised.value.remedy


@pytest.mark.parametrize("method", ["GET", "DELETE", "POST"])
async def test_only_a_call_is_never_sent_twice(method: Literal["GET", "DELETE", "POST"]):
    """A kept connection that the upstream closes as the next request comes."""
    peer = Peer(OK)
    async with upstream(peer) as there:
        reply = await there.send(request())
        assert b"".join([chunk async for chunk in reply.chunks]) == b"{}"
        peer.answer, peer.close = None, True
        asking = asyncio.create_task(
            there.send(UpstreamRequest(method, (), WHO, request().message if method == "POST" else None))
        )
        while len(peer.received) < 2:
            await asyncio.sleep(0)
        peer.answer, peer.close = OK, False
        if method == "POST":
            with pytest.raises(UpstreamBroken):
                await asking
        else:
            await (await asking).close()

    assert len(peer.received) == (2 if method == "POST" else 3)


async def test_an_answer_that_waits_for_somebody_at_the_client_may_be_silent_for_longer():
    """The peer is silent for twice the time of an answer that stalls."""

    async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(STALLED)
        await asyncio.wait([asyncio.ensure_future(reader.read(1))], timeout=1.0)
        writer.write(b"1\r\n:\r\n0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(ask, "127.0.0.1", 0)
    there = HttpUpstream("files", configured(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/mcp"), limits())
    reply = await there.send(request())
    chunks = aiter(reply.chunks)
    await anext(chunks)
    reply.be_patient()
    assert await anext(chunks) == b":"
    await reply.close()
    await there.aclose()
    server.close()
