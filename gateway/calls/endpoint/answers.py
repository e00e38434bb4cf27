"""Answers of one upstream at the one endpoint: passed on in the words of clients, or read whole."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec
from msgspec import Struct, structs

from gateway.calls.endpoint.messages import Outward, object_of
from gateway.calls.endpoint.names import outer_handle
from gateway.calls.response.conceal import LiveConcealer
from gateway.calls.response.frames import HOLD_LISTS, AnswerFrame, begin_frames
from gateway.calls.response.stream import ResponseStream
from gateway.model.errors import UpstreamError
from gateway.model.wire import Headers, Json, RequestId
from gateway.wire.protocol import sse
from gateway.wire.protocol.headers import SESSION
from gateway.wire.protocol.replies import Reply
from gateway.wire.protocol.reserved import without_reserved

if TYPE_CHECKING:
    from gateway.calls.response.build import AnswerParts
    from gateway.calls.response.frames import Frames

Outcome: TypeAlias = "Reply | ResponseStream"

JSON: Final[Headers] = ((b"content-type", b"application/json"),)
EVENTS: Final[Headers] = ((b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache"))
_EVENT_ID: Final = re.compile(rb"(?m)^id: ?(?=\S)")


class EventRewriter(Struct):
    """Rewrites the server-sent events of one upstream, whole events in and whole events out. `mark` stands before each event's id."""

    outward: Outward
    mark: str
    frames: Frames

    @classmethod
    def begin(cls, outward: Outward, mark: str, *, is_alone: bool = False) -> EventRewriter:
        """Return a rewriter. `is_alone`: large messages pass as sent. Otherwise a large message ends the part of its upstream."""
        return cls(outward, mark, begin_frames("events", HOLD_LISTS, may_pass_unseen=is_alone))

    def feed(self, chunk: bytes) -> bytes:
        """Return the rewritten events that are whole. Raises `UpstreamBroken`."""
        return b"".join([self._rewrite(frame) for frame in self.frames.feed(chunk)])

    def finish(self) -> bytes:
        """Return the rest at the end of the stream."""
        return b"".join([self._rewrite(frame) for frame in self.frames.finish()])

    def _rewrite(self, frame: AnswerFrame) -> bytes:
        if not frame.data:
            return self._name_event(frame.raw)
        seen = self.outward.rewrite(frame.data)
        if seen is None:
            return b""
        if seen is frame.data:
            return self._name_event(frame.raw)
        return sse.encode(
            seen, None if frame.id is None else outer_handle(self.mark, frame.id.decode("latin-1")).encode("latin-1")
        )

    def _name_event(self, raw: bytes) -> bytes:
        return _EVENT_ID.sub(b"id: " + outer_handle(self.mark, "").encode(), raw) if b"id:" in raw else raw


class OuterStream:
    """The answer of an upstream under the names of the one endpoint. The edge sends it (`wire.http.exchange.Stream`)."""

    __slots__ = (
        "_body",
        "_events",
        "_inner",
        "_is_large",
        "_outward",
        "headers",
        "idle",
        "is_events",
        "leaves",
        "status",
        "whole",
    )

    def __init__(self, inner: ResponseStream, outward: Outward, mark: str) -> None:
        self._inner = inner
        self._outward = outward
        self._events = EventRewriter.begin(outward, mark, is_alone=True) if inner.is_events else None
        self._is_large = False
        self._body = bytearray()
        self.status = inner.status
        self.headers = without_session(inner.headers)
        self.idle = inner.idle
        self.is_events = inner.is_events
        self.leaves: list[Callable[[], object]] = inner.leaves
        self.whole = False

    @property
    def announcement(self) -> bytes:
        """The events about changed lists for the reader, if any."""
        return self._inner.announcement

    def listen(self, say: Callable[[bytes], None]) -> Callable[[], None]:
        """Have `say` called with each event of the gateway for the reader. Return the end of it."""
        return listen_outward(self._inner, self._outward, say)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        while not self.whole:
            chunk = await anext(self._inner, None)
            ended = chunk is None or self._inner.whole
            passed = self._feed(chunk or b"")
            if ended:
                self.whole = True
                passed += self._finish()
            if passed:
                return passed
        raise StopAsyncIteration

    def _feed(self, chunk: bytes) -> bytes:
        if self._events is not None:
            return self._events.feed(chunk) if chunk else b""
        if self._is_large:
            return chunk
        self._body += chunk
        if len(self._body) <= HOLD_LISTS:
            return b""
        # A result of this size passes as it is. Its names lead nowhere at this endpoint.
        passed, self._body, self._is_large = bytes(self._body), bytearray(), True
        return passed

    def _finish(self) -> bytes:
        if self._events is not None:
            return self._events.finish()
        body = bytes(self._body)
        return (self._outward.rewrite(body) or b"") if body else b""

    async def close(self) -> None:
        """End the exchange with the upstream."""
        await self._inner.close()


def listen_outward(inner: ResponseStream, outward: Outward, say: Callable[[bytes], None]) -> Callable[[], None]:
    """Have `say` called with each event of the gateway for the reader of a stream. Return the end of it."""
    rewriter = EventRewriter.begin(outward, outward.upstream)
    return inner.listen(lambda events: say(rewriter.feed(events)))


def without_session(headers: Headers) -> Headers:
    """Return the headers of an answer without the session of its upstream."""
    return tuple([field for field in headers if field[0] != SESSION])


def pass_on(outcome: Outcome, outward: Outward, mark: str) -> Reply | OuterStream:
    """Return an answer of one upstream for the client."""
    if isinstance(outcome, ResponseStream):
        return OuterStream(outcome, outward, mark)
    # The gateway's own answer is for this request, whatever it says.
    own = structs.replace(outward, may_pass=None)
    return Reply(outcome.status, outcome.headers, own.rewrite(outcome.body) or b"")


# --- whole answers ---------------------------------------------------------------------------------------


class WholeAnswer(Struct, frozen=True):
    """An answer that was read to its end. `raw` is its response, `b""` without one. `is_own`: the gateway itself answered."""

    status: int
    headers: Headers
    raw: bytes
    is_own: bool

    @property
    def document(self) -> Mapping[str, Json]:
        """The response, decoded."""
        return object_of(msgspec.json.decode(self.raw)) if self.raw else {}

    @property
    def result(self) -> Mapping[str, Json] | None:
        """The result of a request that went well."""
        result = self.document.get("result")
        return object_of(result) if self.status == 200 and isinstance(result, dict) else None


async def read_whole(outcome: Outcome) -> WholeAnswer:
    """Read an answer to its end. What a server says beside its response stays unsaid."""
    if isinstance(outcome, Reply):
        return WholeAnswer(outcome.status, outcome.headers, outcome.body, is_own=True)
    chunks: list[bytes] = []
    size = 0
    try:
        async for chunk in outcome:
            chunks.append(chunk)
            size += len(chunk)
            if size > HOLD_LISTS:
                return WholeAnswer(outcome.status, outcome.headers, b"", is_own=False)
    except UpstreamError:
        chunks.clear()
    finally:
        await outcome.close()
    body = b"".join(chunks)
    raw = _find_response(body) if outcome.is_events else body
    return WholeAnswer(outcome.status, outcome.headers, raw if raw.lstrip()[:1] == b"{" else b"", is_own=False)


def _find_response(events: bytes) -> bytes:
    for data in sse.data_of(events):
        if b'"result"' in data or b'"error"' in data:
            members = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
            if "method" not in members:
                return data
    return b""


async def show_definitions(reply: Reply, parts: AnswerParts) -> Reply:
    """Return an answer made of definitions of upstreams. As in their own lists, live values and names of the gateway's own go out.
    Raises `UpstreamBroken`."""
    body, _ = await parts.worker.run(len(reply.body), partial(without_reserved, reply.body))
    concealer = LiveConcealer(parts.live, parts.inspector.detector, parts.worker)
    shown = await concealer.handle(AnswerFrame("document", body, body))
    return Reply(reply.status, reply.headers, b"" if shown is None else shown.raw)


def make_result(identifier: RequestId | None, result: Mapping[str, object], headers: Headers = ()) -> Reply:
    """Return the answer to a request with a result of the gateway's own."""
    body = msgspec.json.encode({"jsonrpc": "2.0", "id": identifier, "result": result})
    return Reply(200, (*JSON, *headers), body)
