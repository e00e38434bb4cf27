"""A session of the handshake era over several processes: each credential of its calls has a process of its own.

The client initializes once. The session greets each further process with the client's own message. The client sees one session id and
one GET stream. A process ends with its credential, and the session goes on.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from gateway.model.errors import UpstreamBroken
from gateway.model.wire import HandedCredential, Kind, Message, UpstreamReply
from gateway.upstreams.stdio import replies
from gateway.upstreams.stdio.session import EVENT_ID, STANDALONE, StdioSession
from gateway.upstreams.stdio.stream import Backlog, MessageStream

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.model.wire import Headers
    from gateway.upstreams.stdio.child import ServerProcess

STREAMS: Final = 100_000
"""Numbers of streams for one process."""
MOST_PARTS: Final = 9_999
"""Processes of one session, one after the other. The numbers of streams have nine digits."""
_INITIALIZED: Final = b'{"jsonrpc":"2.0","method":"notifications/initialized"}'


class SplitSession:
    """A session with a part for each process. `spawn` starts a process with a credential, `renew` gives a credential to
    a running process."""

    def __init__(
        self,
        key: str,
        principal: str,
        *,
        upstream: str,
        first_byte: float,
        clock: Callable[[], float],
        spawn: Callable[[HandedCredential | None], Awaitable[ServerProcess]],
        renew: Callable[[ServerProcess, HandedCredential | None], bool],
        stop: Callable[[ServerProcess], None],
    ) -> None:
        self.key = key
        self.principal = principal
        self.refused = False
        self.touched = clock()
        self._upstream = upstream
        self._first_byte = first_byte
        self._clock = clock
        self._spawn = spawn
        self._renew = renew
        self._stop = stop
        self._standalone = MessageStream(STANDALONE, Backlog(), resumable=True)
        self._parts: dict[str, list[StdioSession]] = {}
        self._greeting: Message | None = None
        self._opened = 0
        self._opening: dict[str, asyncio.Lock] = {}
        self._is_over = False

    @property
    def busy(self) -> bool:
        """Return whether a client is connected to the session."""
        return self._standalone.connection is not None or any(part.busy for part in self._all())

    @property
    def in_flight(self) -> int:
        return sum(part.in_flight for part in self._all())

    def idle_parts(self) -> list[StdioSession]:
        """Return the parts without a request: their processes may end."""
        return [part for part in self._all() if not part.busy and not part.in_flight and part.child.usable]

    def children(self) -> tuple[ServerProcess, ...]:
        return tuple(part.child for part in self._all())

    # --- from the client -------------------------------------------------------------------------------

    async def initialize(
        self, message: Message, credential: HandedCredential | None, *, prime: bool, headers: Headers
    ) -> UpstreamReply:
        """Begin the session in a first process. Raises `UpstreamError`."""
        self._greeting = message
        part = await self._open(credential)
        reply = await part.request(message, prime=prime, grace=self._first_byte, headers=headers)
        self.refused = part.refused
        return reply

    async def request(self, message: Message, credential: HandedCredential | None, *, prime: bool) -> UpstreamReply:
        """Forward a request to the process with its credential. Raises `UpstreamError`."""
        self.touched = self._clock()
        if any(part.has_in_flight(message.id) for part in self._all()):
            return replies.refusal(400, "a request with this id is in flight in this session", request=message.id)
        terms = _terms(credential)
        async with self._opening.setdefault(terms, asyncio.Lock()):
            part = await self._part(credential)
        return await part.request(message, prime=prime)

    async def tell(self, message: Message) -> UpstreamReply:
        """Forward a notification or a response to its processes. Raises `UpstreamError`."""
        self.touched = self._clock()
        parts = self._find_addressees(message)
        if message.kind is Kind.RESPONSE and len(parts) > 1:
            return replies.refusal(400, "processes of two tasks wait for a response with this id; end one of the calls")
        for part in parts:
            await part.tell(message)
        return replies.empty(202)

    def listen(self, last_event: str | None, *, prime: bool) -> UpstreamReply:
        """Answer a GET: the session's own stream, or the rest of any stream after `last_event`."""
        self.touched = self._clock()
        if last_event is None:
            return replies.open_standalone(self._standalone, prime=prime, left=self._touch)
        match = EVENT_ID.fullmatch(last_event)
        number = int(match[1]) if match else STANDALONE
        for part in self._all():
            if part.has_stream(number):
                return part.listen(last_event, prime=prime)
        if match and number == STANDALONE and self._standalone.knows(int(match[2])):
            return replies.events(self._standalone.connect(after=int(match[2]), left=self._touch))
        return replies.refusal(400, "there is no such event to resume after; it is unknown or no longer kept")

    def end(self, reason: str) -> None:
        """Fail the requests in flight and end the streams."""
        self._is_over = True
        for part in self._all():
            part.end(reason)
        self._parts.clear()
        self._standalone.finish()

    def reap(self, idle: float) -> None:
        """End the processes unused for `idle` seconds."""
        for part in self.idle_parts():
            if self._clock() - part.touched > idle:
                self._stop(part.child)

    # --- the parts -------------------------------------------------------------------------------------

    async def _part(self, credential: HandedCredential | None) -> StdioSession:
        """Return the part of the process with a credential. A further process is greeted as the first was."""
        if self._is_over:
            raise UpstreamBroken(f"the session with upstream {self._upstream} has ended", "initialize a new one")
        for part in list(self._parts.get(_terms(credential), ())):
            if part.child.usable and part.opened < STREAMS and self._renew(part.child, credential):
                return part
            if not part.in_flight:
                self._stop(part.child)
        part = await self._open(credential)
        await self._greet(part)
        return part

    async def _open(self, credential: HandedCredential | None) -> StdioSession:
        if self._opened >= MOST_PARTS:
            raise UpstreamBroken(f"the session with upstream {self._upstream} is worn out", "initialize a new one")
        child = await self._spawn(credential)
        part = StdioSession(
            self.key,
            self.principal,
            child,
            upstream=self._upstream,
            first_byte=self._first_byte,
            clock=self._clock,
            first=self._opened * STREAMS + 1,
            standalone=self._standalone,
        )
        self._opened += 1
        if self._is_over:
            self._stop(child)
            raise UpstreamBroken(f"the session with upstream {self._upstream} has ended", "initialize a new one")
        terms = _terms(credential)
        self._parts.setdefault(terms, []).append(part)
        child.attach(part.receive, lambda reason: self._note_end(terms, part, reason))
        return part

    async def _greet(self, part: StdioSession) -> None:
        """Greet a process with the client's own greeting, and take its answer."""
        assert self._greeting is not None  # noqa: S101 - the session began with it
        try:
            reply = await part.request(self._greeting, prime=False, grace=self._first_byte)
            await reply.close()
            part.child.post(_INITIALIZED)
        except BaseException:
            self._stop(part.child)
            raise
        if part.refused:
            self._stop(part.child)
            raise UpstreamBroken(
                f"a further process of upstream {self._upstream} refuses to initialize", "begin a new session"
            )

    def _find_addressees(self, message: Message) -> list[StdioSession]:
        """Return the parts for a notification or a response."""
        if message.kind is Kind.RESPONSE:
            return [part for part in self._all() if part.awaits(message.id)]
        if message.method == "notifications/cancelled":
            request = message.params.get("requestId")
            return [part for part in self._all() if _is_id(request) and part.has_in_flight(request)]
        parts = [part for part in self._all() if part.child.usable]
        if message.method == "notifications/progress" and len(parts) > 1:
            # Processes count their tokens alike.
            return []
        return parts

    def _note_end(self, terms: str, part: StdioSession, reason: str) -> None:
        part.end(reason)
        parts = [other for other in self._parts.get(terms, ()) if other is not part]
        if parts:
            self._parts[terms] = parts
        else:
            self._parts.pop(terms, None)
            lock = self._opening.get(terms)
            if lock is not None and not lock.locked():
                del self._opening[terms]

    def _all(self) -> list[StdioSession]:
        return [part for parts in self._parts.values() for part in parts]

    def _touch(self) -> None:
        self.touched = self._clock()


def _terms(credential: HandedCredential | None) -> str:
    return "" if credential is None else credential.terms


def _is_id(value: object) -> bool:
    return isinstance(value, int | str) and not isinstance(value, bool)
