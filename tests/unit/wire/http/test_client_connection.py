"""What a connection does with what a transport tells it, in an order that sockets rarely show."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.wire.http.client import HIGH_WATER, OutboundConnection
from gateway.wire.http.dial import AnswerTimeout, Lost

LATER = float("inf")
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


class Wire(asyncio.Transport):
    """A transport that only notes what is asked of it."""

    def __init__(self, peer: socket.socket) -> None:
        super().__init__()
        self.peer = peer
        self.calls: list[str] = []
        self.unsent = 0

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self.peer if name == "socket" else default

    def write(self, data: Any) -> None:
        self.calls.append("write")

    def writelines(self, list_of_data: Any) -> None:
        self.calls.append("writelines")

    def is_closing(self) -> bool:
        return "abort" in self.calls or "close" in self.calls

    def abort(self) -> None:
        self.calls.append("abort")

    def close(self) -> None:
        self.calls.append("close")

    def pause_reading(self) -> None:
        self.calls.append("pause")

    def resume_reading(self) -> None:
        self.calls.append("resume")

    def get_write_buffer_size(self) -> int:
        return self.unsent


class Owner:
    def __init__(self) -> None:
        self.told: list[str] = []

    def opened(self, connection: OutboundConnection) -> None:
        self.told.append("opened")

    def freed(self, connection: OutboundConnection) -> None:
        self.told.append("freed")

    def lost(self, connection: OutboundConnection) -> None:
        self.told.append("lost")


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


@pytest.fixture
async def wire(ends: tuple[socket.socket, socket.socket]) -> Wire:
    return Wire(ends[0])


@pytest.fixture
async def owner() -> Owner:
    return Owner()


@pytest.fixture
async def connection(wire: Wire, owner: Owner) -> OutboundConnection:
    found = OutboundConnection(owner)
    found.connection_made(wire)
    return found


async def test_it_carries_one_exchange_after_another(connection: OutboundConnection, wire: Wire, owner: Owner):
    for _ in range(2):
        waiter = connection.send(b"GET / HTTP/1.1\r\n\r\n", b"", LATER)
        connection.data_received(OK)
        assert b"".join([piece async for piece in await waiter]) == b"{}"

    assert owner.told == ["opened", "freed", "freed"]
    assert wire.calls == ["write", "write"]


async def test_a_large_body_is_not_copied_into_one_piece(connection: OutboundConnection, wire: Wire):
    connection.send(b"head", b"x" * HIGH_WATER, LATER)

    assert wire.calls == ["writelines"]


async def test_an_answer_for_somebody_who_has_gone_ends_it(connection: OutboundConnection, wire: Wire, owner: Owner):
    waiter = connection.send(b"head", b"", LATER)
    waiter.cancel()
    connection.data_received(OK)
    connection.give_up(waiter)

    assert wire.calls == ["write", "abort"]
    assert owner.told == ["opened"]


async def test_giving_up_an_exchange_that_is_over_does_not_end_the_next_one(connection: OutboundConnection, wire: Wire):
    first = connection.send(b"head", b"", LATER)
    connection.data_received(OK)
    connection.send(b"head", b"", LATER)
    connection.give_up(first)

    assert "abort" not in wire.calls


async def test_a_body_that_waits_too_long_to_be_taken_stops_the_reading(
    connection: OutboundConnection, wire: Wire, owner: Owner
):
    size = HIGH_WATER + 1
    waiter = connection.send(b"head", b"", LATER)
    connection.data_received(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (size + 1) + b"x" * size)
    response = await waiter
    assert wire.calls == ["write", "pause"]
    assert await anext(aiter(response)) == b"x" * size
    assert wire.calls == ["write", "pause", "resume"]
    connection.data_received(b"x")
    assert owner.told == ["opened", "freed"]


async def test_a_connection_that_is_free_is_read_again(connection: OutboundConnection, wire: Wire, owner: Owner):
    """Else its end would not be noticed. What was read before the pause took effect ended the answer."""
    size = HIGH_WATER + 1
    connection.send(b"head", b"", LATER)
    connection.data_received(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (size + 1) + b"x" * size)
    connection.data_received(b"x")

    assert wire.calls == ["write", "pause", "resume"]
    assert owner.told == ["opened", "freed"]


async def test_a_request_that_is_not_sent_in_full_ends_it_with_its_answer(
    connection: OutboundConnection, wire: Wire, owner: Owner
):
    waiter = connection.send(b"head", b"", LATER)
    wire.unsent = 1
    connection.data_received(OK)

    assert b"".join([piece async for piece in await waiter]) == b"{}"
    assert wire.calls == ["write", "abort"]
    assert owner.told == ["opened"]


async def test_what_is_said_unasked_ends_it(connection: OutboundConnection, wire: Wire):
    connection.data_received(b"\r\n")

    assert wire.calls == ["abort"]


async def test_a_peer_that_has_said_something_or_gone_is_not_asked(
    connection: OutboundConnection, ends: tuple[socket.socket, socket.socket]
):
    assert connection.is_usable()
    ends[1].send(b"x")
    assert not connection.is_usable()


async def test_a_request_on_a_connection_that_is_closing_is_lost_at_once(connection: OutboundConnection, wire: Wire):
    connection.close()
    with pytest.raises(Lost) as lost:
        await connection.send(b"head", b"", LATER)

    assert not lost.value.begun
    assert wire.calls == ["close"]


async def test_losing_it_without_an_exchange_tells_the_owner_alone(connection: OutboundConnection, owner: Owner):
    connection.connection_lost(None)

    assert owner.told == ["opened", "lost"]


@pytest.mark.parametrize("seconds", [(0.05, 3600.0), (3600.0, 0.05)])
async def test_the_time_of_an_exchange_is_neither_that_of_the_one_before_nor_of_none(
    seconds: tuple[float, float], connection: OutboundConnection, wire: Wire
):
    loop = asyncio.get_running_loop()
    first = connection.send(b"head", b"", loop.time() + seconds[0])
    connection.data_received(OK)
    await first
    second = connection.send(b"head", b"", loop.time() + seconds[1])
    over = loop.create_future()
    loop.call_later(0.15, over.set_result, None)
    await over
    if seconds[1] < 1:
        with pytest.raises(AnswerTimeout):
            await second
        assert wire.calls[-1] == "abort"
    else:
        assert not second.done()
    connection.connection_lost(None)
    if not second.done():
        with pytest.raises(Lost):
            await second
