"""Sessions of clients at the one endpoint, each with its own sessions at the upstreams behind it.

A session at an upstream opens at its first use, with the client's own `initialize`, and is bound as on `/mcp/<upstream>`. Sessions
are in memory alone: after a restart a client begins a new one.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Final, TypeVar

from msgspec import Struct, structs

from gateway.calls.endpoint.answers import Outcome, WholeAnswer, read_whole
from gateway.calls.endpoint.messages import inner_fields
from gateway.model.caller import Principal
from gateway.model.wire import Json, RequestId
from gateway.wire.protocol.headers import SESSION, HeaderFields, value_of

if TYPE_CHECKING:
    from gateway.calls.endpoint.news import NewsStream

IDLE_SECONDS: Final = 24 * 3600.0
PER_CALLER: Final = 256
IN_ALL: Final = 16_384
LONGEST_KEPT: Final = 64 * 2**10
"""Bytes of a message that a session keeps: its `initialize`, and the level of its log."""
REMEMBERED: Final = 4_096
"""Ids of requests, and progress tokens, that one session remembers."""

_ACCEPT: Final = (b"application/json, text/event-stream",)
_INITIALIZED: Final = b'{"jsonrpc":"2.0","method":"notifications/initialized"}'

Value = TypeVar("Value")

Send = Callable[[str, bytes, HeaderFields], Awaitable[Outcome]]
"""Sends a message to an upstream for the caller of a request: its name, the body, and the headers."""


class Link(Struct, frozen=True):
    """A session at one upstream. `session` is its sealed id, `None` at an upstream without sessions. `result` is the
    greeting of the upstream, for a session that was just opened."""

    session: str | None
    version: str | None
    result: Mapping[str, Json]

    def fields(self, fields: HeaderFields, name: str | None = None) -> HeaderFields:
        """Return the headers of a client's request for this session."""
        return inner_fields(fields, session=self.session, version=self.version, name=name)


class LinkFailure(Struct, frozen=True):
    """The answer of an upstream that opened no session."""

    answer: WholeAnswer


class ClientSession:
    """The session of one client. `greeting` is its `initialize`, `level` its latest message about the level of the log."""

    def __init__(self, principal: Principal, greeting: bytes) -> None:
        self.id = secrets.token_urlsafe(24)
        self.owner = principal.key
        self.greeting = greeting
        self.level: bytes | None = None
        self.links: dict[str, Link] = {}
        self.news: set[NewsStream] = set()
        self.used = 0.0
        self._opening: dict[str, asyncio.Task[Link | LinkFailure]] = {}
        self._requests: OrderedDict[bytes, str | None] = OrderedDict()
        self._tokens: OrderedDict[bytes, str] = OrderedDict()
        self._tasks: OrderedDict[bytes, str] = OrderedDict()

    # --- sessions at upstreams ---

    async def open_link(self, upstream: str, send: Send, fields: HeaderFields) -> Link | LinkFailure:
        """Return the session at an upstream, opened now if need be. Requests at the same time share the opening, which goes on
        if they are given up."""
        link = self.links.get(upstream)
        if link is not None:
            return link
        opening = self._opening.get(upstream)
        if opening is None:
            opening = asyncio.ensure_future(self._open(upstream, send, _control_fields(fields)))
            self._opening[upstream] = opening
        return await asyncio.shield(opening)

    async def _open(self, upstream: str, send: Send, fields: HeaderFields) -> Link | LinkFailure:
        try:
            answer = await read_whole(await send(upstream, self.greeting, fields))
            result = answer.result
            if result is None:
                return LinkFailure(answer)
            version = result.get("protocolVersion")
            session = value_of(answer.headers, SESSION)
            link = Link(session, version if isinstance(version, str) else None, result)
            for body in (_INITIALIZED, self.level):
                if body is not None:
                    await read_whole(await send(upstream, body, link.fields(fields)))
            self.links[upstream] = structs.replace(link, result={})
        finally:
            self._opening.pop(upstream, None)
        for news in tuple(self.news):
            news.add(upstream)
        return link

    def forget_link(self, upstream: str, link: Link) -> None:
        """Forget a session that its upstream has ended. The next use opens another."""
        known = self.links.get(upstream)
        if known is not None and known.session == link.session:
            del self.links[upstream]

    # --- what belongs to which upstream ---

    def note_request(self, identifier: RequestId | None, upstream: str | None) -> None:
        """Note the upstream of a request; `None` for a request to several. Only that upstream may answer it later."""
        if identifier is not None:
            _remember(self._requests, identifier, upstream)

    def upstream_of(self, identifier: object) -> str | None:
        """Return the upstream of a request."""
        return self._requests.get(_digest(identifier))

    def is_asked(self, upstream: str, identifier: RequestId | None) -> bool:
        """Return whether a request went to this upstream alone."""
        return identifier is not None and self._requests.get(_digest(identifier)) == upstream

    def note_token(self, token: object, upstream: str) -> None:
        """Note the upstream that reports the progress of a request."""
        _remember(self._tokens, token, upstream)

    def owns_token(self, upstream: str, token: RequestId) -> bool:
        """Return whether an upstream was given this progress token."""
        return self._tokens.get(_digest(token)) == upstream

    def note_own_task(self, task: str, upstream: str) -> None:
        """Note a task that the client runs for an upstream."""
        _remember(self._tasks, task, upstream)

    def upstream_of_own_task(self, task: object) -> str | None:
        """Return the upstream of a task of the client's own."""
        return self._tasks.get(_digest(task))


def _remember(memory: OrderedDict[bytes, Value], name: object, value: Value) -> None:
    digest = _digest(name)
    memory[digest] = value
    memory.move_to_end(digest)
    if len(memory) > REMEMBERED:
        memory.popitem(last=False)


def _digest(name: object) -> bytes:
    """Return what stands for an id, however long the id is. 1 and "1" are different ids."""
    return hashlib.sha256(repr(name).encode("utf-8", "surrogatepass")).digest()[:16]


def _control_fields(fields: HeaderFields) -> HeaderFields:
    """Return the headers of a message that the gateway sends for a client by itself."""
    named = {name: values for name, values in fields.items() if not name.startswith(b"mcp-")}
    return {**named, b"accept": _ACCEPT, b"content-type": (b"application/json",)}


class ClientSessions:
    """The open sessions, the longest unused first. A caller with too many loses its own oldest."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._sessions: OrderedDict[str, ClientSession] = OrderedDict()
        self._count: dict[str, int] = {}

    def open(self, principal: Principal, greeting: bytes) -> ClientSession:
        """Return a new session."""
        self._expire()
        if self._count.get(principal.key, 0) >= PER_CALLER:
            self._end_oldest(principal.key)
        elif len(self._sessions) >= IN_ALL:
            self.end(next(iter(self._sessions.values())))
        session = ClientSession(principal, greeting)
        session.used = self._monotonic()
        self._sessions[session.id] = session
        self._count[principal.key] = self._count.get(principal.key, 0) + 1
        return session

    def find(self, identifier: str, principal: Principal) -> ClientSession | None:
        """Return the session of this caller with this id."""
        session = self._sessions.get(identifier)
        if session is None or session.owner != principal.key:
            return None
        session.used = self._monotonic()
        self._sessions.move_to_end(identifier)
        return session

    def end(self, session: ClientSession) -> None:
        """Forget a session, and end its streams of news."""
        if self._sessions.pop(session.id, None) is None:
            return
        self._count[session.owner] -= 1
        if not self._count[session.owner]:
            del self._count[session.owner]
        for news in tuple(session.news):
            news.end()

    def _end_oldest(self, owner: str) -> None:
        self.end(next(session for session in self._sessions.values() if session.owner == owner))

    def _expire(self) -> None:
        now = self._monotonic()
        while self._sessions and now - (oldest := next(iter(self._sessions.values()))).used > IDLE_SECONDS:
            self.end(oldest)
