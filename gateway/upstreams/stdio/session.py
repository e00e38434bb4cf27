"""A session of the handshake era (2025-03-26 to 2025-11-25): one client, one child. Standard output has no streams, so
a message's content selects its stream: a response by its id, progress by its token. Log messages, list changes and the
server's own requests have neither. Such messages go to the only request in flight, else to the stream of a GET. Without
a GET they go to the latest request, or wait for a GET."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable
from typing import Final

import structlog

from gateway.model.errors import UpstreamBroken, UpstreamError, UpstreamUnreachable
from gateway.model.wire import Headers, JsonObject, Kind, Message, RequestId, UpstreamReply
from gateway.upstreams.stdio import replies, wire
from gateway.upstreams.stdio.child import ServerProcess, is_power_of_two
from gateway.upstreams.stdio.stream import Backlog, MessageStream

log = structlog.get_logger("gateway.upstream.stdio")

STANDALONE: Final = 0
_INITIALIZE: Final = 1
EVENT_ID: Final = re.compile(r"([0-9]{1,9})-([0-9]{1,9})", re.ASCII)
_PRUNE_EVERY: Final = 32
MAX_IN_FLIGHT: Final = 1024
"""Requests without an answer, those whose client has gone included: in this era they go on."""


class StdioSession:
    """`key` is the session id. `principal` is the `Principal.key` of the session's only caller. `refused`: the server
    has answered `initialize` with an error. As a part of a `SplitSession`, a session counts its streams from `first`,
    and shares `standalone`.
    """

    def __init__(
        self,
        key: str,
        principal: str,
        child: ServerProcess,
        *,
        upstream: str,
        first_byte: float,
        clock: Callable[[], float],
        first: int = _INITIALIZE,
        standalone: MessageStream | None = None,
    ) -> None:
        self.key = key
        self.principal = principal
        self.child = child
        self.refused = False
        self.touched = clock()
        self._upstream = upstream
        self._first_byte = first_byte
        self._clock = clock
        self._backlog = Backlog()
        self._is_part = standalone is not None
        self._standalone = standalone or MessageStream(STANDALONE, self._backlog, resumable=True)
        self._streams = {STANDALONE: self._standalone}
        self._in_flight: dict[RequestId, MessageStream] = {}
        self._tokens: dict[RequestId, MessageStream] = {}
        self._first = first
        self._number = first - 1
        self._unknown = 0
        self._asked: set[RequestId] = set()

    @property
    def busy(self) -> bool:
        """Return whether a client is connected to the session."""
        if not self._is_part and self._standalone.connection is not None:
            return True
        return any(stream.listening for stream in self._in_flight.values())

    @property
    def in_flight(self) -> int:
        return len(self._in_flight)

    def awaits(self, request: RequestId | None) -> bool:
        """Return whether the server waits for the client's response to a request of its own."""
        return request in self._asked

    def children(self) -> tuple[ServerProcess, ...]:
        return (self.child,)

    @property
    def opened(self) -> int:
        """Return the number of opened streams."""
        return self._number - self._first + 1

    def has_stream(self, number: int) -> bool:
        """Return whether a stream of a request is kept."""
        return number != STANDALONE and number in self._streams

    def has_in_flight(self, request: object) -> bool:
        """Return whether a request of the client is in flight."""
        return request in self._in_flight

    # --- from the client -------------------------------------------------------------------------------

    async def request(
        self, message: Message, *, prime: bool, grace: float | None = None, headers: Headers = ()
    ) -> UpstreamReply:
        """Forward a request, and return its answer. Raises `UpstreamError`.

        If the caller is cancelled the request goes on: in this era a lost connection does not cancel.
        """
        self.touched = self._clock()
        request = message.id
        if request is None or request in self._in_flight:
            return replies.refusal(400, "a request with this id is in flight in this session", request=request)
        if len(self._in_flight) >= MAX_IN_FLIGHT:
            raise UpstreamUnreachable(
                f"upstream {self._upstream} has not answered {MAX_IN_FLIGHT} requests of this session",
                "wait for answers, or end the session (DELETE) and begin another",
            )
        stream = self._open(request, wire.progress_token(message.params))
        try:
            await self.child.write(wire.one_line(message.body), self._first_byte)
            return await replies.answer(
                stream,
                upstream=self._upstream,
                first_byte=self._first_byte,
                grace=replies.GRACE if grace is None else grace,
                late=lambda failure: self._give_up(request, stream, failure),
                left=self._touch,
                prime=prime,
                headers=headers,
            )
        except asyncio.CancelledError:
            stream.abandon()
            raise
        except UpstreamError:
            self._close(stream)
            stream.abandon()
            raise
        finally:
            if stream.abandoned:
                self._streams.pop(stream.number, None)

    async def tell(self, message: Message) -> UpstreamReply:
        """Forward a notification, or the client's response to a request of the server. Raises `UpstreamError`."""
        self.touched = self._clock()
        if message.kind is Kind.RESPONSE and message.id is not None:
            self._asked.discard(message.id)
        await self.child.write(wire.one_line(message.body), self._first_byte)
        if message.method == "notifications/cancelled":
            self._cancel_request(message.params)
        return replies.empty(202)

    def listen(self, last_event: str | None, *, prime: bool) -> UpstreamReply:
        """Answer a GET: the session's own stream, or the rest of any stream after `last_event`."""
        self.touched = self._clock()
        if last_event is None:
            return replies.open_standalone(self._standalone, prime=prime, left=self._touch)
        match = EVENT_ID.fullmatch(last_event)
        stream = self._streams.get(int(match[1])) if match else None
        if match is None or stream is None or not stream.knows(int(match[2])):
            return replies.refusal(400, "there is no such event to resume after; it is unknown or no longer kept")
        return replies.events(stream.connect(after=int(match[2]), left=self._touch))

    def end(self, reason: str) -> None:
        """Fail the requests in flight and end the streams."""
        failure = UpstreamBroken(
            f"upstream {self._upstream} {reason}", "begin a new session; whether the call was carried out is not known"
        )
        for stream in list(self._in_flight.values()):
            stream.fail(failure)
        self._in_flight.clear()
        self._tokens.clear()
        if not self._is_part:
            self._standalone.finish()

    # --- from the child --------------------------------------------------------------------------------

    def receive(self, message: wire.Inbound) -> None:
        """Publish a message of the child on its stream."""
        if message.kind is not Kind.RESPONSE:
            if message.kind is Kind.REQUEST and message.id is not None and len(self._asked) < MAX_IN_FLIGHT:
                self._asked.add(message.id)
            stream = self._route(message)
            if self._is_part and stream is self._standalone and self._shows_credential(message):
                log.warning("upstream.credential-withheld", upstream=self._upstream)
                return
            stream.publish(message.line)
            return
        stream = self._in_flight.get(message.id) if message.id is not None else None
        if stream is None:
            self._unknown += 1
            if is_power_of_two(self._unknown):
                log.warning("upstream.unknown-response", upstream=self._upstream, so_far=self._unknown)
            return
        self.refused = self.refused or (stream.number == self._first and message.error is not None)
        stream.publish(message.line, last=True, error=message.error)
        self._close(stream)

    def _shows_credential(self, message: wire.Inbound) -> bool:
        """Return whether a message without a request has the credential of its process. Its stream began before the credential."""
        return self.child.handed is not None and self.child.handed.is_in(message.line)

    def _route(self, message: wire.Inbound) -> MessageStream:
        if message.token is not None and message.token in self._tokens:
            return self._tokens[message.token]
        listening = [stream for stream in self._in_flight.values() if stream.listening]
        if len(listening) == 1:
            return listening[0]
        if self._standalone.connection is None and listening:
            return listening[-1]
        return self._standalone

    # --- streams ---------------------------------------------------------------------------------------

    def _open(self, request: RequestId, token: RequestId | None) -> MessageStream:
        self._number += 1
        if self._number % _PRUNE_EVERY == 0:
            self._streams = {n: s for n, s in self._streams.items() if n == STANDALONE or not s.spent}
        stream = MessageStream(self._number, self._backlog, resumable=True, request=request)
        self._streams[self._number] = self._in_flight[request] = stream
        if token is not None:
            self._tokens[token] = stream
        return stream

    def _close(self, stream: MessageStream) -> None:
        """End a request; its stream may still have to be delivered."""
        self._in_flight = {key: value for key, value in self._in_flight.items() if value is not stream}
        self._tokens = {key: value for key, value in self._tokens.items() if value is not stream}

    def _give_up(self, request: RequestId, stream: MessageStream, failure: UpstreamError) -> None:
        self._close(stream)
        with contextlib.suppress(UpstreamError):
            self.child.post(wire.cancelled_line(request, "no answer in time"))
        stream.fail(failure)

    def _cancel_request(self, params: JsonObject) -> None:
        """Close a request taken back by the client; the server sends no response any more."""
        request = params.get("requestId")
        if isinstance(request, bool) or not isinstance(request, int | str):
            return
        if (stream := self._in_flight.get(request)) is not None:
            text = wire.error(request, wire.CANCELLED, "the client cancelled the request")
            stream.publish(text, last=True, error=wire.CANCELLED)
            self._close(stream)

    def _touch(self) -> None:
        self.touched = self._clock()
