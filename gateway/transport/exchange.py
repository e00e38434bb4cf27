"""What the edge hands inwards, and what it takes back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from gateway.model import Headers, Refusal


async def _no_body() -> bytes:
    return b""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One HTTP request to an MCP endpoint or to `/tasks`, checked for what HTTP alone can show, its body not yet read.

    `url` is the address as the client used it, without query. `certificate` is the client's, DER, verified by
    TLS. `body` reads the request's body once, or gives the refusal for one that is too large or too slow.
    """

    method: str
    upstream: str
    url: str
    headers: Headers
    client_ip: str | None = None
    certificate: bytes | None = None
    path: str = ""
    body: Callable[[], Awaitable[bytes | Refusal]] = _no_body


class Answer(Protocol):
    """A complete answer."""

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Headers: ...
    @property
    def body(self) -> bytes: ...


class Stream(Protocol):
    """An answer whose body is still arriving. It is iterated once, and `close` is called in any case, whether it
    was read to its end or the client left before; a cancellation does not cut `close` short. `idle` tells that it waits for news rather than for the result of
    a call: such streams are ended first when the gateway drains."""

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Headers: ...
    @property
    def idle(self) -> bool: ...

    def __aiter__(self) -> AsyncIterator[bytes]: ...
    async def close(self) -> None: ...
