"""The interface between the HTTP edge and the pipeline: a request in, an answer or a stream out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol

from msgspec import Struct

from gateway.model.decision import Refusal
from gateway.model.wire import Headers


async def _no_body() -> bytes:
    return b""


class Exchange(Struct, frozen=True):
    """One HTTP request to an MCP endpoint or to `/tasks`, checked for what HTTP alone can show, its body not yet read.

    `url` is the address as the client used it, without query. `certificates` are the client's own, and those that
    vouch for it, as TLS has verified them, DER. `body` reads the request's body once, or gives the refusal for one that
    is too large or too slow.
    """

    method: str
    upstream: str
    url: str
    headers: Headers
    client_ip: str | None = None
    certificates: tuple[bytes, ...] = ()
    path: str = ""
    body: Callable[[], Awaitable[bytes | Refusal]] = _no_body


class Presence:
    """Whether the client of one connection is still there. The server tells it; whoever works for the client is told."""

    __slots__ = ("_leaving", "gone")

    def __init__(self) -> None:
        self.gone = False
        self._leaving: Callable[[], object] | None = None

    def watch(self, leaving: Callable[[], object]) -> None:
        """Have `leaving` called when the client leaves. One at a time: a connection carries one exchange at a time."""
        self._leaving = leaving

    def unwatch(self) -> None:
        self._leaving = None

    def leave(self) -> None:
        """The client has left."""
        self.gone = True
        if self._leaving is not None:
            self._leaving()


class Answer(Protocol):
    """A complete answer."""

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Headers: ...
    @property
    def body(self) -> bytes: ...


class Stream(Protocol):
    """An answer whose body is still arriving.

    It is iterated once. `close` is called in any case, whether it was read to its end or the client left before, and a
    cancellation does not cut it short. `idle`: it waits for news rather than for the result of a call; such streams are
    ended first when the gateway drains. `whole`, after a chunk: that was the last one. `announcement` are the events, if any,
    by which its reader learns that lists may show something else than before.
    """

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Headers: ...
    @property
    def idle(self) -> bool: ...
    @property
    def whole(self) -> bool: ...
    @property
    def announcement(self) -> bytes: ...

    def __aiter__(self) -> AsyncIterator[bytes]: ...
    async def __anext__(self) -> bytes: ...
    async def close(self) -> None: ...
