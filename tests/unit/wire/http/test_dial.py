"""From an address to a connection: several addresses, TLS, and what does not answer."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import time
from pathlib import Path
from typing import Any

import pytest

from gateway.wire.http import dial as dialling
from gateway.wire.http.dial import ConnectTimeout, Unconnected, Untrusted, address_of_socket, interleave, race
from tests.e2e.certificates import server as server_pair
from tests.e2e.certificates import written
from tests.unit.identity.tokens import Authority
from tests.unit.wire.http.peer import OK, Peer, asking, serving

V4, V6 = socket.AF_INET, socket.AF_INET6


def test_the_families_take_turns():
    assert interleave([(V6, 1), (V6, 2), (V6, 3), (V4, 4)]) == [(V6, 1), (V4, 4), (V6, 2), (V6, 3)]
    assert interleave([]) == []


@contextlib.contextmanager
def deaf() -> Any:
    """A listener whose queue is full: the kernel drops what would open another connection."""
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.settimeout(0)
            waiting.connect_ex(listening.getsockname())
        yield listening.getsockname()


async def test_the_next_address_is_tried_when_one_refuses(unused_tcp_port: int):
    async with serving(OK) as peer:
        good = ("127.0.0.1", int(peer.url.split(":")[2].split("/")[0]))
        with await race([(V4, ("127.0.0.1", unused_tcp_port)), (V4, good)]) as found:
            assert found.getpeername() == good


async def test_the_next_address_is_tried_beside_one_that_is_silent(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(dialling, "STAGGER", 0.05)
    async with serving(OK) as peer:
        good = ("127.0.0.1", int(peer.url.split(":")[2].split("/")[0]))
        with deaf() as silent, await race([(V4, silent), (V4, good)]) as found:
            assert found.getpeername() == good


async def test_of_two_that_connect_at_once_one_is_kept_and_the_other_closed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(dialling, "STAGGER", 0.0)
    async with serving() as peer:
        good = ("127.0.0.1", int(peer.url.split(":")[2].split("/")[0]))
        with await race([(V4, good)] * 8) as found:
            assert found.getpeername() == good
            async with asyncio.timeout(300):
                while peer.connections == 0 or peer.left < peer.connections - 1:
                    await asyncio.sleep(0)


async def test_when_no_address_answers_the_last_failure_is_told(unused_tcp_port: int):
    with pytest.raises(ConnectionRefusedError):
        await race([(V4, ("127.0.0.1", unused_tcp_port))] * 2)
    with pytest.raises(OSError, match="no address"):
        await race([])


async def test_an_address_that_is_no_use_is_unconnected(unused_tcp_port: int):
    async with asking(f"http://127.0.0.1:{unused_tcp_port}/") as client:
        with pytest.raises(Unconnected, match=r"Connection refused|Connect call failed"):
            await client.request(b"GET", (), within=20)
    async with asking("http://nothing.invalid/") as client:
        with pytest.raises(Unconnected):
            await client.request(b"GET", (), within=20)


async def test_an_address_that_is_silent_is_unconnected_in_time():
    with deaf() as (_, port):
        async with asking(f"http://127.0.0.1:{port}/", connect=0.1) as client:
            with pytest.raises(ConnectTimeout, match=r"within 0\.1 s"):
                await client.request(b"GET", (), within=20)
        async with asking(f"http://127.0.0.1:{port}/") as client:
            with pytest.raises(ConnectTimeout):
                await client.request(b"GET", (), within=0.1)


async def test_a_unix_socket_is_asked_like_a_port(tmp_path: Path):
    path = str(tmp_path / "s")
    peer = Peer([OK])
    server = await asyncio.start_unix_server(peer, path)
    async with asking(address_of_socket(path, "opa")) as client:
        response = await client.request(b"GET", (), within=20, target=b"/health")
        assert b"".join([piece async for piece in response]) == b"{}"
    server.close()

    assert peer.requests == [b"GET /health HTTP/1.1\r\nhost: opa\r\n\r\n"]


async def test_tls_is_spoken_with_who_is_trusted_and_nobody_else(tmp_path: Path):
    authority = Authority(now=time.time())
    pair = server_pair(authority, tmp_path)
    theirs = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    theirs.load_cert_chain(pair.certificate, pair.key)
    ours = ssl.create_default_context(cafile=str(written(authority, tmp_path, "ca")))
    async with serving(OK, OK, tls=theirs) as peer:
        async with asking(peer.url, tls=ours) as client:
            for _ in range(2):
                response = await client.request(b"GET", (), within=20)
                assert b"".join([piece async for piece in response]) == b"{}"
        assert peer.connections == 1
        for foreign in (ssl.create_default_context(), None):
            async with asking(peer.url, tls=foreign) as client:
                with pytest.raises(Untrusted):
                    await client.request(b"GET", (), within=20)
        async with asking(peer.url.replace("127.0.0.1", "127.0.0.2"), tls=ours) as client:
            with pytest.raises(Unconnected):
                await client.request(b"GET", (), within=20)


async def test_a_peer_that_does_not_speak_tls_is_unconnected():
    async with (
        serving(OK) as peer,
        asking(peer.url.replace("http", "https"), tls=ssl.create_default_context()) as client,
    ):
        talking = asyncio.create_task(client.request(b"GET", (), within=20))
        async with asyncio.timeout(300):
            while not peer.writers:
                await asyncio.sleep(0)
        peer.writers[0].write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        with pytest.raises(Unconnected, match="TLS failed"):
            await talking
