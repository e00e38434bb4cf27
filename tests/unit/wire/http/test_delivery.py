"""One exchange on the wire: bodies, streams, and clients that leave."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import pytest
import uvloop
from msgspec import structs

from gateway.config import Limits
from gateway.model.decision import Refusal
from gateway.model.errors import UpstreamBroken
from gateway.model.wire import Headers
from gateway.wire.http import edge as bodies
from gateway.wire.http.delivery import Channel, Delivery
from gateway.wire.http.edge import read_body
from gateway.wire.http.exchange import Exchange
from tests.requirements import requirement
from tests.unit.exchanges import new_exchange
from tests.unit.wire.http.channels import RecordedChannel, request
from tests.unit.wire.http.servers import running_server

EVENTS: Headers = ((b"content-type", b"text/event-stream"),)


class Stream:
    """A stream of chunks; an event is waited for, an error is raised."""

    status = 200

    def __init__(self, *chunks: bytes | asyncio.Event | Exception, idle: bool = False, headers: Headers = ()) -> None:
        self.chunks = list(chunks)
        self.idle = idle
        self.headers = headers
        self.is_events = headers == EVENTS
        self.closed = 0
        self.whole = False
        self.announcement = b""
        self.listeners: list[Callable[[bytes], None]] = []

    def listen(self, say: Callable[[bytes], None]) -> Callable[[], None]:
        self.listeners.append(say)
        return partial(self.listeners.remove, say)

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


class Whole(Stream):
    """A stream that knows when it has given its last chunk."""

    async def __anext__(self) -> bytes:
        chunk = await super().__anext__()
        self.whole = not self.chunks
        return chunk


class Wire(RecordedChannel):
    """What a server hands to its handler."""

    def __init__(self, *received: dict[str, Any], headers: Headers = (), body: bytes | None = None) -> None:
        super().__init__(request("POST", "/mcp/files", headers, body))
        for message in received:
            self.incoming.put_nowait(message)

    @property
    def complete(self) -> bool:
        return self.sent[-1]["type"] == "http.response.body" and not self.sent[-1].get("more_body", False)

    async def converse(self, found: Delivery, stream: Any, method: str = "GET") -> None:
        async def handle(exchange: Exchange) -> Any:
            await exchange.body()
            if isinstance(stream, Exception):
                raise stream
            return stream

        exchange = new_exchange(method, "files", "http://127.0.0.1/mcp/files", ())
        if method == "POST":
            exchange = structs.replace(exchange, body=partial(read_body, self, 100))
        await found.converse(exchange, handle, self)


def fresh(**limits: str) -> Delivery:
    return Delivery(Limits.model_validate(limits))


async def test_a_stream_is_sent_chunk_by_chunk_and_closed():
    wire, stream = Wire(), Stream(b"a", b"b")
    await wire.converse(fresh(), stream)

    assert [message.get("body") for message in wire.sent] == [None, b"a", b"b", b""]
    assert stream.closed == 1


@pytest.mark.parametrize("chunks", [(b"ab",), ()])
async def test_an_answer_that_is_there_at_once_is_sent_with_its_length(chunks: tuple[bytes, ...]):
    wire, stream = Wire(), Whole(*chunks)
    stream.whole = not chunks
    await wire.converse(fresh(), stream)

    body = b"".join(chunks)
    assert wire.sent == [
        {"type": "http.response.start", "status": 200, "headers": ((b"content-length", b"%d" % len(body)),)},
        {"type": "http.response.body", "body": body},
    ]
    assert stream.closed == 1


@pytest.mark.parametrize("status", [204, 304])
async def test_an_answer_without_a_body_by_its_status_has_no_length(status: int):
    wire, stream = Wire(), Whole()
    stream.status, stream.whole = status, True
    await wire.converse(fresh(), stream)

    assert wire.sent[0]["headers"] == ()


async def test_events_are_never_sent_with_a_length_and_their_head_does_not_wait():
    wire, stream = Wire(), Whole(asyncio.Event(), headers=EVENTS)
    working = asyncio.create_task(wire.converse(fresh(), stream))
    await wire.begun.wait()
    assert wire.sent == [{"type": "http.response.start", "status": 200, "headers": EVENTS}]
    wire.leave()
    await working

    assert stream.closed == 1


@pytest.mark.parametrize("headers", [EVENTS, ()])
async def test_a_stream_that_breaks_off_before_its_body_is_not_completed(headers: Headers):
    wire, stream = Wire(), Stream(UpstreamBroken("it died"), headers=headers)
    await wire.converse(fresh(), stream)

    assert [message["type"] for message in wire.sent] == ["http.response.start"]


@pytest.mark.parametrize("headers", [EVENTS, ()])
async def test_a_stream_that_breaks_off_within_its_body_is_not_completed(headers: Headers):
    wire, stream = Wire(), Stream(b"a", UpstreamBroken("it died"), headers=headers)
    await wire.converse(fresh(), stream)

    assert wire.sent[-1] == {"type": "http.response.body", "body": b"a", "more_body": True}
    assert stream.closed == 1


async def test_a_client_that_leaves_ends_the_work_for_it():
    wire, stream, found = Wire(), Stream(b"a", asyncio.Event()), fresh()
    working = asyncio.create_task(wire.converse(found, stream))
    await wire.begun.wait()
    assert found.in_flight == 1
    wire.leave()
    await working

    assert stream.closed == 1
    assert found.in_flight == 0


async def test_a_client_that_has_left_already_gets_no_work_done():
    wire, stream = Wire(), Stream(b"a")
    wire.leave()
    await wire.converse(fresh(), stream)

    assert (wire.sent, stream.closed) == ([], 0)


async def test_a_client_that_leaves_after_its_answer_disturbs_nothing():
    wire = Wire()
    await wire.converse(fresh(), Stream(b"a"))
    wire.leave()
    await asyncio.sleep(0)

    assert wire.complete


async def test_a_client_that_leaves_while_its_body_is_read_is_no_error():
    wire = Wire({"type": "http.request", "body": b"{", "more_body": True})
    working = asyncio.create_task(wire.converse(fresh(), Stream(), "POST"))
    await asyncio.sleep(0)
    wire.leave()
    await working

    assert wire.sent == []


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
    assert (idle.sent[0]["status"], idle.complete) == (200, True)
    assert not calling.done()
    late = Wire()
    await late.converse(found, Stream(b"a"))
    assert (late.sent[0]["status"], late.complete) == (200, True)
    release.set()
    await found.ended(20)
    assert calling.done()
    assert call.complete
    await found.ended(20)


async def test_a_drain_leaves_a_call_alone_that_follows_an_idle_stream_on_its_connection():
    found, release = fresh(), asyncio.Event()
    idle, call = Wire(), Wire()

    async def both() -> None:
        await idle.converse(found, Stream(b"a", idle=True))
        await call.converse(found, Stream(b"a", release))

    working = asyncio.create_task(both())
    await call.begun.wait()
    found.drain()
    release.set()
    await working

    assert call.complete


@pytest.mark.parametrize(("idle", "draining"), [(True, False), (False, True)])
async def test_an_answer_that_is_cancelled_is_not_sent_as_if_it_were_whole(*, idle: bool, draining: bool):
    found, wire = fresh(), Wire()
    working = asyncio.create_task(wire.converse(found, Stream(b"a", asyncio.Event(), idle=idle)))
    await wire.begun.wait()
    if draining:
        found.drain()
    working.cancel()

    with pytest.raises(asyncio.CancelledError):
        await working
    assert not wire.complete


async def test_nothing_is_sent_after_the_end_of_a_stream():
    wire = Wire()
    await wire.converse(fresh(keep_alive="10ms"), Stream(b"data: 1\n\n", headers=EVENTS))
    sent = len(wire.sent)
    await asyncio.sleep(0.03)

    assert wire.complete
    assert len(wire.sent) == sent


async def test_the_reader_of_an_idle_stream_gets_notices_until_its_end():
    found, end = fresh(), asyncio.Event()
    ears, others = Wire(), Wire()
    listening, working = Stream(end, idle=True, headers=EVENTS), Stream(end, headers=EVENTS)
    conversing = asyncio.gather(ears.converse(found, listening), others.converse(found, working))
    await asyncio.gather(ears.begun.wait(), others.begun.wait())
    ears.begun.clear()
    (say,) = listening.listeners
    say(b"data: notice\n\n")
    await asyncio.wait_for(ears.begun.wait(), 300)
    end.set()
    await conversing

    assert [message.get("body") for message in ears.sent] == [None, b"data: notice\n\n", b""]
    assert working.listeners == listening.listeners == []


async def test_those_who_listen_are_told_of_changed_lists_and_others_are_not():
    found, end = fresh(), asyncio.Event()
    ears, others = Wire(), Wire()
    listening, working = Stream(end, idle=True, headers=EVENTS), Stream(end, headers=EVENTS)
    listening.announcement = b"data: lists\n\n"
    conversing = asyncio.gather(ears.converse(found, listening), others.converse(found, working))
    await asyncio.gather(ears.begun.wait(), others.begun.wait())
    ears.begun.clear()

    found.announce_changed_lists()
    await asyncio.wait_for(ears.begun.wait(), 300)
    end.set()
    await conversing
    found.announce_changed_lists()

    assert [message.get("body") for message in ears.sent] == [None, b"data: lists\n\n", b""]
    assert [message.get("body") for message in others.sent] == [None, b""]


async def test_an_idle_stream_that_begins_while_draining_is_refused():
    found, wire, stream = fresh(), Wire(), Stream(b"a", idle=True)
    found.drain()
    await wire.converse(found, stream)

    assert wire.sent[0] == {"type": "http.response.start", "status": 503, "headers": ((b"retry-after", b"1"),)}
    assert wire.complete
    assert stream.closed == 1


@requirement("strangers/body")
async def test_a_body_that_does_not_arrive_in_time_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bodies, "BODY_SECONDS", 0.01)
    found = await read_body(Wire({"type": "http.request", "body": b"{", "more_body": True}), 100)

    assert isinstance(found, Refusal)
    assert (found.status, found.reason.code) == (408, "request/slow")


@requirement("strangers/body")
async def test_the_time_for_a_body_ends_with_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bodies, "BODY_SECONDS", 0)
    wire = Wire({"type": "http.request", "body": b"{}", "more_body": False})
    assert await read_body(wire, 100) == b"{}"
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_body_may_be_as_large_as_the_limit():
    for headers in ((), ((b"content-length", b"100"),)):
        for size, whole in ((100, True), (101, False)):
            wire = Wire({"type": "http.request", "body": b"x" * size, "more_body": False}, headers=headers)
            found = await read_body(wire, 100)
            assert (found == b"x" * size) is whole
            if not whole:
                assert isinstance(found, Refusal)
                assert (found.status, found.reason.code) == (413, "request/too-large")


async def test_a_reader_that_is_cancelled_is_not_told_that_its_body_was_slow():
    reading = asyncio.create_task(read_body(Wire(), 100))
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading


class Settling(Whole):
    """A stream that is settled when its client has the answer and has sent its next request, and not before."""

    def __init__(self, sent: threading.Event, order: list[str]) -> None:
        super().__init__(b"an answer")
        self._sent = sent
        self._order = order

    async def close(self) -> None:
        self._order.append("settled" if self._sent.wait(10) else "settled before its client had it")


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_an_answer_is_with_its_client_before_it_is_settled_and_settled_before_the_next_request(
    run: Callable[[Any], Any],
):
    order: list[str] = []
    sent = threading.Event()

    async def answer(channel: Channel) -> None:
        async def handle(_exchange: Exchange) -> Any:
            order.append(channel.request.path)
            return Settling(sent, order)

        await found.converse(new_exchange("GET", "files", "", ()), handle, channel)

    def ask(port: int) -> None:
        with socket.create_connection(("127.0.0.1", port), timeout=300) as client:
            client.sendall(b"GET /first HTTP/1.1\r\nhost: here\r\n\r\n")
            assert client.recv(1_000).endswith(b"an answer")
            client.sendall(b"GET /second HTTP/1.1\r\nhost: here\r\n\r\n")
            sent.set()
            assert client.recv(1_000).endswith(b"an answer")

    async def main() -> None:
        async with running_server(answer, is_handler=True) as (_, port):
            await asyncio.to_thread(ask, port)

    found = fresh()
    run(main())

    assert order == ["/first", "settled", "/second", "settled"]


async def test_a_stream_that_waits_for_news_is_counted_apart_from_requests():
    found, release, wire = fresh(), asyncio.Event(), Wire()

    async def handle(_exchange: Exchange) -> Stream:
        assert (found.in_flight, found.streams) == (1, 0)
        found.become_stream()
        return Stream(b"a", release, idle=True)

    conversing = asyncio.create_task(
        found.converse(new_exchange("GET", "files", "http://x/mcp/files", ()), handle, wire)
    )
    await wire.begun.wait()
    assert (found.in_flight, found.streams) == (0, 1)
    release.set()
    await conversing

    assert (found.in_flight, found.streams) == (0, 0)
