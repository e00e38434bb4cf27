"""HTTP answers of the gateway on behalf of a server with pipes alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Final

from gateway.model.error_codes import (
    HEADER_MISMATCH,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    MISSING_CAPABILITY,
    UNSUPPORTED_VERSION,
)
from gateway.model.errors import UpstreamError, UpstreamTimeout
from gateway.model.wire import Headers, RequestId, UpstreamReply
from gateway.upstreams.stdio import wire
from gateway.upstreams.stdio.stream import MessageStream, StreamResponse

GRACE: Final = 5.0
"""Seconds in which a response that comes alone is answered as one JSON document, with the HTTP status that fits it.
After that an event stream is opened, so that the client sees headers and keep-alive comments, and can resume."""

_JSON: Final = (b"content-type", b"application/json")
_EVENTS: Final = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
)
_STATUS: Final = {METHOD_NOT_FOUND: 404, HEADER_MISMATCH: 400, MISSING_CAPABILITY: 400, UNSUPPORTED_VERSION: 400}


def stateless_status(error: int | None) -> int:
    """Return the HTTP status of a sole response (MCP 2026-07-28, streamable HTTP, "Protocol Version Header", "Server
    Validation"). In the handshake era the status is always 200."""
    return 200 if error is None else _STATUS.get(error, 200)


def document(status: int, body: bytes, headers: Headers = ()) -> UpstreamReply:
    """Return an answer of a JSON document."""
    return _whole(status, body, (_JSON, (b"content-length", b"%d" % len(body)), *headers))


def empty(status: int) -> UpstreamReply:
    return _whole(status, b"", ((b"content-length", b"0"),))


def refusal(status: int, message: str, *, request: RequestId | None = None) -> UpstreamReply:
    """Return a JSON-RPC error for a fault of the client."""
    return document(status, wire.error(request, INVALID_REQUEST, message))


def events(connection: StreamResponse, headers: Headers = ()) -> UpstreamReply:
    """Return an event stream."""
    return UpstreamReply(200, (*_EVENTS, *headers), connection, connection.close, connection.be_patient)


def open_standalone(stream: MessageStream, *, prime: bool, left: Callable[[], None]) -> UpstreamReply:
    """Open the stream of a session that belongs to no request. Refuse a second connection to it."""
    if stream.connection is not None:
        return refusal(409, "this session already has a stream open with GET; there can be one")
    return events(stream.connect(prime=prime, left=left))


async def answer(
    stream: MessageStream,
    *,
    upstream: str,
    first_byte: float,
    grace: float,
    late: Callable[[UpstreamError], None],
    left: Callable[[], None],
    prime: bool = False,
    status: Callable[[int | None], int] = lambda _: 200,
    headers: Headers = (),
) -> UpstreamReply:
    """Wait for the beginning of the answer, and return it in the needed form.

    `late` is called if no data comes within `first_byte` seconds, and must end the stream. `left` is called if the
    client leaves an unfinished event stream. Raises the error of a stream ended before the answer.
    """
    begun = await stream.begun(min(grace, first_byte))
    if (response := stream.sole_response()) is not None:
        body, error = response
        return document(status(error), body, headers)
    if not begun:
        failure = UpstreamTimeout(
            f"upstream {upstream} did not begin to answer within {first_byte:g} s",
            "try again, or have the operator raise limits.first_byte",
        )
        if first_byte <= grace:
            late(failure)
            raise failure
        asyncio.get_running_loop().call_later(first_byte - grace, _check, stream, late, failure)
    return events(stream.connect(prime=prime, left=left), headers)


def _check(stream: MessageStream, late: Callable[[UpstreamError], None], failure: UpstreamError) -> None:
    if stream.silent:
        late(failure)


def _whole(status: int, body: bytes, headers: Headers) -> UpstreamReply:
    async def chunks() -> AsyncIterator[bytes]:
        if body:
            yield body

    async def close() -> None:
        """Close nothing."""

    return UpstreamReply(status, headers, chunks(), close)
