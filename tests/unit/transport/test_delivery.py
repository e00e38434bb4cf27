"""One exchange on the wire: bodies, streams, and clients that leave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.config import Limits
from gateway.errors import UpstreamBroken
from gateway.model import Headers, Refusal
from gateway.transport import delivery
from gateway.transport.delivery import Delivery, read_body
from gateway.transport.exchange import Exchange

EVENTS: Headers = ((b"content-type", b"text/event-stream"),)


class Stream:
    """A stream of chunks; an event is waited for, an error is raised."""

    status = 200

    def __init__(self, *chunks: bytes | asyncio.Event | Exception, idle: bool = False, headers: Headers = ()) -> None:
        self.chunks = list(chunks)
        self.idle = idle
        self.headers = headers
        self.closed = 0

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        while self.chunks:
            chunk = self.chunks.pop(0)
            if isinstance(chunk, bytes):
                return chunk
            if isinstance(chunk, Exception):
                raise chunk
            await chunk.wait()
        raise StopAsyncIteration

    async def close(self) -> None:
        self.closed += 1


class Wire:
    """The two ends that a server hands to an application."""

    def __init__(self, *received: dict[str, Any]) -> None:
        self.incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        for message in received:
            self.incoming.put_nowait(message)
        self.sent: list[dict[str, Any]] = []
        self.begun = asyncio.Event()

    async def send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)
        self.begun.set()

    @property
    def complete(self) -> bool:
        return self.sent[-1]["type"] == "http.response.body" and not self.sent[-1].get("more_body", False)

    async def converse(self, found: Delivery, stream: Any, method: str = "GET") -> None:
        async def handle(exchange: Exchange) -> Any:
            if method == "POST":
                await exchange.body()
            if isinstance(stream, Exception):
                raise stream
            return stream

        exchange = Exchange(method, "files", "http://127.0.0.1/mcp/files", ())
        await found.converse(exchange, handle, self.incoming.get, self.send)


def fresh(**limits: str) -> Delivery:
    return Delivery(Limits.model_validate(limits))


async def test_a_stream_is_sent_chunk_by_chunk_and_closed():
    wire, stream = Wire(), Stream(b"a", b"b")
    await wire.converse(fresh(), stream)

    assert [message.get("body") for message in wire.sent] == [None, b"a", b"b", b""]
    assert stream.closed == 1


async def test_a_stream_that_breaks_off_is_not_completed():
    wire, stream = Wire(), Stream(b"a", UpstreamBroken("it died"), headers=EVENTS)
    await wire.converse(fresh(), stream)

    assert wire.sent[-1] == {"type": "http.response.body", "body": b"a", "more_body": True}
    assert stream.closed == 1


async def test_a_client_that_leaves_ends_the_work_for_it():
    wire, stream, found = Wire(), Stream(b"a", asyncio.Event()), fresh()
    working = asyncio.create_task(wire.converse(found, stream))
    await wire.begun.wait()
    assert found.in_flight == 1
    wire.incoming.put_nowait({"type": "http.disconnect"})
    await working

    assert stream.closed == 1
    assert found.in_flight == 0


async def test_a_client_that_leaves_in_the_middle_of_its_body_is_no_error():
    wire = Wire({"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"})
    await wire.converse(fresh(), Stream(), "POST")

    assert wire.sent == []


async def test_a_cancellation_that_is_not_the_clients_is_passed_on_after_the_stream_is_closed():
    wire, stream = Wire(), Stream(b"a", asyncio.Event())
    working = asyncio.create_task(wire.converse(fresh(), stream))
    await wire.begun.wait()
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working

    assert stream.closed == 1


async def test_a_defect_is_told_without_what_the_caller_sent(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(RuntimeError):
        await Wire().converse(fresh(), RuntimeError("a defect"))

    assert "defect" in capsys.readouterr().out


async def test_a_drain_ends_idle_streams_whole_and_leaves_calls_alone():
    found, release = fresh(), asyncio.Event()
    idle, call = Wire(), Wire()
    waiting = asyncio.create_task(idle.converse(found, Stream(b"a", asyncio.Event(), idle=True)))
    calling = asyncio.create_task(call.converse(found, Stream(b"a", release)))
    await asyncio.gather(idle.begun.wait(), call.begun.wait())
    found.drain()
    await waiting
    await found.ended(0.01)
    assert idle.complete
    assert not calling.done()
    release.set()
    await found.ended(20)
    await calling
    assert call.complete
    await found.ended(20)


async def test_an_idle_stream_that_begins_while_draining_is_refused():
    found, wire, stream = fresh(), Wire(), Stream(b"a", idle=True)
    found.drain()
    await wire.converse(found, stream)

    assert wire.sent[0]["status"] == 503
    assert stream.closed == 1


async def test_a_body_that_does_not_arrive_in_time_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(delivery, "BODY_SECONDS", 0.01)
    found = await read_body((), Wire({"type": "http.request", "body": b"{", "more_body": True}).incoming.get, 100)

    assert isinstance(found, Refusal)
    assert (found.status, found.reason.code) == (408, "request/slow")
