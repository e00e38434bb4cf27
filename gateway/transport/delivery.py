"""One exchange on the wire: its body in, its answer out, and what happens when the client leaves.

A client that leaves is cancellation on the 2026-07-28 wire ("Cancellation" of its streamable HTTP page). On the
wires before it only ends the delivery. Either way the upstream sees what it would have seen without a gateway:
its own connection closes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Final, cast

import structlog

from gateway.config import Limits
from gateway.errors import UpstreamError
from gateway.model import Headers, Reason, Refusal
from gateway.transport.exchange import Answer, Exchange, Stream
from gateway.transport.keepalive import KeepAlive

log = structlog.get_logger("gateway.transport")

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]

BODY_SECONDS: Final = 30.0
"""How long a client may take to send a request's body: a slow one must not hold a place for ever."""


class ClientGone(Exception):
    """The client closed the connection before its request was complete."""


class Delivery:
    """Carries exchanges, and counts them."""

    def __init__(self, limits: Limits) -> None:
        self._request_bytes = limits.request_bytes
        self._keep_alive = limits.keep_alive.total_seconds()
        self._idle: set[asyncio.Task[Any]] = set()
        self._draining = False
        self._working: set[asyncio.Task[Any]] = set()

    @property
    def in_flight(self) -> int:
        return len(self._working)

    def drain(self) -> None:
        self._draining = True
        for task in self._idle:
            task.cancel()

    async def ended(self, within: float) -> None:
        """Returns when nothing is being worked on any more, or after `within` seconds."""
        if self._working:
            await asyncio.wait(self._working, timeout=within)

    async def converse(
        self, exchange: Exchange, handle: Callable[[Exchange], Awaitable[Answer | Stream]], receive: Receive, send: Send
    ) -> None:
        """Answer one exchange; stop working on it when the client leaves."""
        presence = _Presence(receive)
        worker = cast("asyncio.Task[Any]", asyncio.current_task())
        self._working.add(worker)
        try:
            if exchange.method == "POST":

                async def body() -> bytes | Refusal:
                    content = await read_body(exchange.headers, receive, self._request_bytes)
                    presence.watch()
                    return content

                exchange = replace(exchange, body=body)
            else:
                presence.watch()
            answer = await handle(exchange)
            if hasattr(answer, "body"):
                await send_answer(send, cast("Answer", answer))
            else:
                await self._send_stream(cast("Stream", answer), send)
        except asyncio.CancelledError:
            if not presence.gone:
                raise
        except ClientGone:
            return
        except Exception:
            # A defect of the gateway. Nothing more is sent: the server closes the connection, or answers 500 if
            # nothing was sent yet. It is told here because the server's own log would hold a traceback.
            log.exception("defect", method=exchange.method)
            raise
        finally:
            self._working.discard(worker)
            presence.leave()

    async def _send_stream(self, stream: Stream, send: Send) -> None:
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        if self._draining and stream.idle:
            await stream.close()
            await send({"type": "http.response.start", "status": 503, "headers": [(b"retry-after", b"1")]})
            await send({"type": "http.response.body", "body": b""})
            return
        if stream.idle:
            self._idle.add(task)
        try:
            await self._pump(stream, send)
        except asyncio.CancelledError:
            if not (self._draining and stream.idle):
                raise
            await send({"type": "http.response.body", "body": b""})
        finally:
            self._idle.discard(task)
            await stream.close()

    async def _pump(self, stream: Stream, send: Send) -> None:
        await send({"type": "http.response.start", "status": stream.status, "headers": stream.headers})
        keep_alive = KeepAlive(send, self._keep_alive) if is_event_stream(stream.headers) else None
        try:
            async for chunk in stream:
                if keep_alive is not None:
                    await keep_alive.passing(chunk)
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except UpstreamError:
            # The upstream broke off in mid-body. Returning without completing the answer makes the server
            # close the connection, which is what the client would have seen from the upstream itself.
            return
        finally:
            if keep_alive is not None:
                await keep_alive.stop()
        await send({"type": "http.response.body", "body": b""})


class _Presence:
    """Whether the client is still there. Cancels the task that works for it when it leaves."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._worker = asyncio.current_task()
        self._watcher: asyncio.Task[None] | None = None
        self.gone = False

    def watch(self) -> None:
        self._watcher = asyncio.get_running_loop().create_task(self._wait())

    async def _wait(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        if self._worker is not None:
            self._worker.cancel()

    def leave(self) -> None:
        if self._watcher is not None:
            self._watcher.cancel()


async def read_body(headers: Headers, receive: Receive, limit: int) -> bytes | Refusal:
    """The whole body, at most `limit` bytes, or the refusal to read it."""
    declared = next((value for name, value in headers if name == b"content-length"), b"0")
    if int(declared) > limit:
        return _too_large(limit)
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            more = True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientGone
                chunks.append(message.get("body", b""))
                more = message.get("more_body", False)
                size += len(chunks[-1])
                if size > limit:
                    return _too_large(limit)
    except TimeoutError:
        reason = Reason("request/slow", "The request's body did not arrive in time.", "Send it without pausing.")
        return Refusal(status=408, reason=reason, rpc_code=-32600)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _too_large(limit: int) -> Refusal:
    reason = Reason(
        "request/too-large",
        f"The request is larger than {limit} bytes.",
        "Send less, or have the operator raise limits.request_bytes.",
    )
    return Refusal(status=413, reason=reason, rpc_code=-32600)


def is_event_stream(headers: Headers) -> bool:
    return any(name == b"content-type" and value.startswith(b"text/event-stream") for name, value in headers)


async def send_answer(send: Send, answer: Answer) -> None:
    """Send a complete answer."""
    headers = [*answer.headers, (b"content-length", str(len(answer.body)).encode())]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
