"""A channel without a connection: what a server hands to its handler, and what the handler does with it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

from gateway.wire.http.delivery import Channel, ClientGone
from gateway.wire.http.limits import ConnectionPlaces
from gateway.wire.http.parsers import Request

ADDRESS = ("127.0.0.1", 5)


class NoConnection:
    """A connection that notes what it is given to write."""

    is_full = False
    is_read_paused = False
    is_encrypted = False
    client_ip = ADDRESS[0]
    certificates: tuple[bytes, ...] = ()
    is_stranger = False
    serving = SimpleNamespace(is_stopping=False, places=ConnectionPlaces(1, 1))

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def write_whole(self, head: bytes, body: bytes) -> None:
        self.written += [head, body]

    def address_of(self, _end: str) -> tuple[str, int]:
        return ADDRESS

    def resume_reading(self) -> None: ...
    def finish(self, _channel: Channel) -> None: ...


class RecordedChannel(Channel):
    """A channel whose client is the test: `incoming` are messages to it as in ASGI, `sent` are messages back."""

    def __init__(self, request: Request) -> None:
        super().__init__(request, cast("Any", NoConnection()))
        self.incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.sent: list[dict[str, Any]] = []
        self.begun = asyncio.Event()

    async def read_chunk(self) -> bytes:
        while not (self.request.is_complete or self.request.body or self.is_left):
            message = await self.incoming.get()
            if message["type"] == "http.disconnect":
                raise ClientGone
            self.request.body = message.get("body", b"")
            self.request.is_complete = not message.get("more_body", False)
        return await super().read_chunk()

    async def respond(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> None:
        await super().respond(status, headers, body)
        length = () if status in {204, 304} else ((b"content-length", b"%d" % len(body)),)
        self._note({"type": "http.response.start", "status": status, "headers": (*headers, *length)})
        self._note({"type": "http.response.body", "body": body})

    def start(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        super().start(status, headers)
        self._note({"type": "http.response.start", "status": status, "headers": tuple(headers)})

    async def write(self, data: bytes) -> None:
        await super().write(data)
        self._note({"type": "http.response.body", "body": data, "more_body": True})

    def end(self) -> None:
        super().end()
        self._note({"type": "http.response.body", "body": b""})

    def _note(self, message: dict[str, Any]) -> None:
        self.sent.append(message)
        self.begun.set()


def request(
    method: str,
    path: str,
    headers: Sequence[tuple[bytes, bytes]] = (),
    body: bytes | None = None,
    *,
    version: str = "1.1",
) -> Request:
    """Return a request, with its whole body if the test gives one."""
    target, _, query = path.partition("?")
    made = Request(method, target, query.encode(), version, tuple(headers))
    if body is not None:
        made.body, made.is_complete = body, True
    return made
