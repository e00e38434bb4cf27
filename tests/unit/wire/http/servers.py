"""Servers that run in the test's own process."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

from gateway import config
from gateway.wire.http.edge import Send, run_application
from gateway.wire.http.server import Server
from gateway.wire.http.server_connection import Connection


def nothing() -> None:
    """Do nothing."""


def make_server(
    app: Any,
    configuration: config.Configuration,
    *,
    is_handler: bool = False,
    tls: ssl.SSLContext | None = None,
    on_ready: Callable[[], None] = nothing,
    on_stop: Callable[[], None] = nothing,
    on_drain: Callable[[], None] = nothing,
) -> Server:
    """Return a server of an ASGI application, or of a handler. Nobody needs its news, but for those that are asked for."""
    handler = app if is_handler else partial(run_application, app)
    return Server(handler, configuration, tls=tls, on_ready=on_ready, on_stop=on_stop, on_drain=on_drain)


@asynccontextmanager
async def running_server(app: Any, settings: str = "", **more: Any) -> AsyncGenerator[tuple[Server, int]]:
    """Run a server, for as long as the block lasts, with its port."""
    ready = asyncio.Event()
    configuration = config.parse(f"listen: 127.0.0.1:0\n{settings}", base=Path())
    server = make_server(app, configuration, on_ready=ready.set, **more)
    port = server._listener.getsockname()[1]
    running = asyncio.create_task(server.run_until_stopped())
    try:
        await ready.wait()
        yield server, port
    finally:
        server.stop()
        await running


class _LaterLoop:
    """An event loop whose clock is so many seconds ahead."""

    def __init__(self, loop: Any, seconds: float) -> None:
        self._loop, self._seconds = loop, seconds

    def time(self) -> float:
        return self._loop.time() + self._seconds

    def call_at(self, when: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        return self._loop.call_at(when - self._seconds, callback)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)


def let_pass(connection: Connection, seconds: float) -> None:
    """Let seconds pass for one connection, at once."""
    connection._loop = cast("asyncio.AbstractEventLoop", _LaterLoop(connection._loop, seconds))
    if connection._timer is not None:
        connection._timer.cancel()
        connection._look_at_time()


async def send_whole(send: Send, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> None:
    """Send an answer with a whole body, as an application of ASGI does."""
    headers = (*headers, (b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
