"""Keep-alive comments: between events, when idle, and never inside an event."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.transport.keepalive import COMMENT, KeepAlive


class Wire:
    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.something = asyncio.Event()

    async def send(self, message: Any) -> None:
        self.sent.append(message["body"])
        self.something.set()


async def test_an_idle_stream_gets_a_comment_and_goes_on():
    sent: list[Any] = []
    something = asyncio.Event()

    async def send(message: Any) -> None:
        sent.append(message)
        something.set()

    keep_alive = KeepAlive(send, 0.01)
    await asyncio.wait_for(something.wait(), 5)
    await keep_alive.stop()

    assert sent[0] == {"type": "http.response.body", "body": b": keep-alive\n\n", "more_body": True}


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r"])
async def test_an_event_may_end_in_any_of_the_line_ends(end: bytes):
    wire = Wire()
    keep_alive = KeepAlive(wire.send, 0.01)
    for chunk in (b"data: 1", end[:1], end[1:]):
        await keep_alive.passing(chunk)
    await asyncio.wait_for(wire.something.wait(), 5)
    await keep_alive.stop()

    assert set(wire.sent) == {COMMENT}


async def test_no_comment_is_put_inside_an_event():
    wire = Wire()
    keep_alive = KeepAlive(wire.send, 0.01)
    await keep_alive.passing(b"data: half an ev")
    ticked = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(0.2, ticked.set_result, None)
    await ticked
    assert wire.sent == []
    await keep_alive.passing(b"ent\n")
    await keep_alive.passing(b"\n")
    await asyncio.wait_for(wire.something.wait(), 5)
    await keep_alive.stop()

    assert set(wire.sent) == {COMMENT}


async def test_a_chunk_waits_for_the_comment_that_is_being_sent():
    released = asyncio.Event()
    order: list[bytes] = []

    async def slow(message: Any) -> None:
        await released.wait()
        order.append(message["body"])

    keep_alive = KeepAlive(slow, 0.01)
    while keep_alive._sending is None:
        await asyncio.sleep(0.01)
    passing = asyncio.create_task(keep_alive.passing(b"data: x\n\n"))
    await asyncio.sleep(0)
    assert not passing.done()
    released.set()
    await passing
    await keep_alive.stop()

    assert order[0] == COMMENT


async def test_stopping_cancels_a_comment_that_cannot_be_sent():
    async def stuck(_message: Any) -> None:
        await asyncio.Event().wait()

    keep_alive = KeepAlive(stuck, 0.01)
    while keep_alive._sending is None:
        await asyncio.sleep(0.01)
    await keep_alive.stop()

    assert keep_alive._sending.cancelled()


EVENTS = b"data: something else\n\n"


async def test_an_announcement_is_made_at_once_and_once():
    wire = Wire()
    keep_alive = KeepAlive(wire.send, 60)
    keep_alive.announce(EVENTS)
    keep_alive.announce(EVENTS)
    await asyncio.wait_for(wire.something.wait(), 5)
    await keep_alive.passing(b"data: 1\n\n")
    await keep_alive.stop()

    assert wire.sent == [EVENTS]


async def test_an_announcement_waits_for_the_end_of_an_event():
    wire = Wire()
    keep_alive = KeepAlive(wire.send, 60)
    await keep_alive.passing(b"data: half an ev")
    keep_alive.announce(EVENTS)
    ticked = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(0.2, ticked.set_result, None)
    await ticked
    assert wire.sent == []
    await keep_alive.passing(b"ent\n\n")
    await asyncio.wait_for(wire.something.wait(), 5)
    await keep_alive.stop()

    assert wire.sent == [EVENTS]


async def test_an_announcement_waits_for_the_comment_that_is_being_sent():
    released = asyncio.Event()
    order: list[bytes] = []

    async def slow(message: Any) -> None:
        await released.wait()
        order.append(message["body"])

    keep_alive = KeepAlive(slow, 0.01)
    while keep_alive._sending is None:
        await asyncio.sleep(0.01)
    keep_alive.announce(EVENTS)
    released.set()
    while EVENTS not in order:
        await asyncio.sleep(0.01)
    await keep_alive.passing(b"data: x\n\n")
    await keep_alive.stop()

    assert order[0] == COMMENT
    assert order.count(EVENTS) == 1
