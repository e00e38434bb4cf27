"""What the gateway says on a stream: between events, and never inside one, nor before what has to come first."""

from __future__ import annotations

import asyncio

import pytest

from gateway.wire.http.exchange import COMMENT, KeepAlive

EVENTS = b"data: something else\n\n"


class Wire:
    """What a client gets, while it reads."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.reads = asyncio.Event()
        self.reads.set()
        self._changed = asyncio.Condition()

    async def send(self, data: bytes) -> None:
        await self.reads.wait()
        async with self._changed:
            self.sent.append(data)
            self._changed.notify_all()

    async def got(self, body: bytes) -> None:
        async with self._changed:
            await asyncio.wait_for(self._changed.wait_for(lambda: body in self.sent), 300)


async def for_a_while() -> None:
    """Longer than the intervals here."""
    ticked = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(0.2, ticked.set_result, None)
    await ticked


async def until_it_says_something(keep_alive: KeepAlive) -> None:
    async with asyncio.timeout(300):
        while keep_alive._sending is None:
            await asyncio.sleep(0.01)


async def test_an_idle_stream_gets_a_comment_and_goes_on():
    wire = Wire()
    keep_alive = KeepAlive(wire.send, 0.01)
    await wire.got(b": keep-alive\n\n")
    await keep_alive.stop()


async def test_an_idle_stream_keeps_nothing_of_what_was_said_on_it():
    """A task that has ended takes half a kilobyte, and a stream may be idle for hours."""
    wire = Wire()
    wire.reads.clear()
    keep_alive = KeepAlive(wire.send, 0.01)
    await until_it_says_something(keep_alive)
    keep_alive._timer.cancel()
    wire.reads.set()
    await wire.got(COMMENT)
    await asyncio.sleep(0)
    assert keep_alive._sending is None
    await keep_alive.stop()


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r"])
async def test_an_event_may_end_in_any_of_the_line_ends(end: bytes):
    wire, chunks = Wire(), [b"data: 1", end[:1], end[1:]]
    keep_alive = KeepAlive(wire.send, 0.01)
    for chunk in chunks:
        await keep_alive.pass_on(chunk)
    await wire.got(COMMENT)
    await keep_alive.stop()

    assert wire.sent[:4] == [*chunks, COMMENT]


async def test_no_comment_is_put_inside_an_event():
    wire = Wire()
    keep_alive = KeepAlive(wire.send, 0.01)
    await keep_alive.pass_on(b"data: half an ev")
    await for_a_while()
    assert wire.sent == [b"data: half an ev"]
    await keep_alive.pass_on(b"ent\n")
    await keep_alive.pass_on(b"\n")
    await wire.got(COMMENT)
    await keep_alive.stop()

    assert wire.sent[:4] == [b"data: half an ev", b"ent\n", b"\n", COMMENT]


async def test_a_chunk_waits_for_the_comment_that_is_being_sent():
    wire = Wire()
    wire.reads.clear()
    keep_alive = KeepAlive(wire.send, 0.01)
    await until_it_says_something(keep_alive)
    passing = asyncio.create_task(keep_alive.pass_on(b"data: x\n\n"))
    await asyncio.sleep(0)
    assert not passing.done()
    wire.reads.set()
    await passing
    await keep_alive.stop()

    assert wire.sent[:2] == [COMMENT, b"data: x\n\n"]


async def test_stopping_cancels_a_comment_that_cannot_be_sent():
    wire = Wire()
    wire.reads.clear()
    keep_alive = KeepAlive(wire.send, 0.01)
    await until_it_says_something(keep_alive)
    await keep_alive.stop()

    assert keep_alive._sending is not None
    assert keep_alive._sending.cancelled()


async def test_an_announcement_is_made_at_once_and_once():
    wire = Wire()
    keep_alive = KeepAlive(wire.send, 60)
    keep_alive.announce(EVENTS)
    keep_alive.announce(EVENTS)
    await wire.got(EVENTS)
    await keep_alive.pass_on(b"data: 1\n\n")
    await keep_alive.stop()

    assert wire.sent == [EVENTS, b"data: 1\n\n"]


async def test_each_notice_is_said_once_and_in_order_beside_an_announcement():
    wire = Wire()
    keep_alive = KeepAlive(wire.send, 60)
    await keep_alive.pass_on(b"data: half an ev")
    keep_alive.notify(b"data: n1\n\n")
    keep_alive.announce(EVENTS)
    keep_alive.notify(b"data: n1\n\n")
    await keep_alive.pass_on(b"ent\n\n")
    said = EVENTS + b"data: n1\n\ndata: n1\n\n"
    await wire.got(said)
    keep_alive.notify(b"data: n2\n\n")
    await wire.got(b"data: n2\n\n")
    await keep_alive.stop()

    assert wire.sent[2:] == [said, b"data: n2\n\n"]


async def test_an_announcement_waits_for_the_end_of_an_event():
    wire = Wire()
    keep_alive = KeepAlive(wire.send, 60)
    await keep_alive.pass_on(b"data: half an ev")
    keep_alive.announce(EVENTS)
    await for_a_while()
    assert wire.sent == [b"data: half an ev"]
    await keep_alive.pass_on(b"ent\n\n")
    await wire.got(EVENTS)
    await keep_alive.stop()

    assert wire.sent == [b"data: half an ev", b"ent\n\n", EVENTS]


async def test_an_announcement_does_not_come_into_an_event_whose_beginning_a_slow_client_has_no_room_for():
    wire = Wire()
    wire.reads.clear()
    keep_alive = KeepAlive(wire.send, 60)
    passing = asyncio.create_task(keep_alive.pass_on(b"data: half an ev"))
    await asyncio.sleep(0)
    keep_alive.announce(EVENTS)

    assert keep_alive._sending is None
    wire.reads.set()
    await passing
    await keep_alive.pass_on(b"ent\n\n")
    await wire.got(EVENTS)
    await keep_alive.stop()
    assert wire.sent == [b"data: half an ev", b"ent\n\n", EVENTS]


async def test_an_announcement_does_not_overtake_the_end_of_an_event_that_a_slow_client_has_no_room_for():
    wire = Wire()
    keep_alive = KeepAlive(wire.send, 60)
    await keep_alive.pass_on(b"data: half an ev")
    wire.reads.clear()
    passing = asyncio.create_task(keep_alive.pass_on(b"ent\n\n"))
    await asyncio.sleep(0)
    keep_alive.announce(EVENTS)

    assert keep_alive._sending is None
    wire.reads.set()
    await passing
    await wire.got(EVENTS)
    await keep_alive.stop()
    assert wire.sent == [b"data: half an ev", b"ent\n\n", EVENTS]


async def test_an_announcement_waits_for_the_comment_that_is_being_sent():
    wire = Wire()
    wire.reads.clear()
    keep_alive = KeepAlive(wire.send, 0.01)
    await until_it_says_something(keep_alive)
    keep_alive.announce(EVENTS)
    wire.reads.set()
    await wire.got(EVENTS)
    await keep_alive.pass_on(b"data: x\n\n")
    await keep_alive.stop()

    assert wire.sent[0] == COMMENT
    assert wire.sent.count(EVENTS) == 1
