"""The interface between the HTTP edge and the pipeline: a request in, an answer or a stream out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol

from msgspec import Struct

from gateway.model.decision import Refusal
from gateway.model.wire import Headers
from gateway.wire.protocol.headers import HeaderFields


async def _no_body() -> bytes:
    return b""


def _do_nothing() -> None:
    """Do nothing."""


class Exchange(Struct, frozen=True):
    """A request to an MCP endpoint or to `/tasks`, checked as far as HTTP alone goes, before its body is read.

    `url` is the address that the client used, without query. `certificates` are DER, verified by TLS: the client's own first, then its
    authorities. `fields` are the headers by name. `body` reads the body once, or returns the refusal of a large or slow body. `become_stream` tells the edge that the request waits for news from now on.
    """

    method: str
    upstream: str
    url: str
    headers: Headers
    fields: HeaderFields
    client_ip: str | None = None
    certificates: tuple[bytes, ...] = ()
    path: str = ""
    body: Callable[[], Awaitable[bytes | Refusal]] = _no_body
    become_stream: Callable[[], None] = _do_nothing


class Answer(Protocol):
    """A complete answer."""

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Headers: ...
    @property
    def body(self) -> bytes: ...


class Stream(Protocol):
    """An answer with a body still arriving, iterated once. `close` is called in any case, after its end or the client's
    departure, and a cancellation does not cut it short. `idle`: it waits for news, not for the result of a call;
    draining ends such streams first. `is_events`: its messages are server-sent events. `whole`, after a chunk: that was the last one. `announcement` are the events that
    tell the reader of changed lists, if any. `listen` has a callable called with each event of the gateway's own for the
    reader, and returns the end of it."""

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Headers: ...
    @property
    def idle(self) -> bool: ...
    @property
    def is_events(self) -> bool: ...
    @property
    def whole(self) -> bool: ...
    @property
    def announcement(self) -> bytes: ...

    def listen(self, say: Callable[[bytes], None], /) -> Callable[[], None]: ...
    def __aiter__(self) -> AsyncIterator[bytes]: ...
    async def __anext__(self) -> bytes: ...
    async def close(self) -> None: ...
