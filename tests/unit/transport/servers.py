"""Servers that run in the test's own process."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from gateway import config
from gateway.transport.server import Server


def nothing() -> None:
    """Do nothing."""


def make_server(
    app: Any,
    configuration: config.Configuration,
    *,
    tls: ssl.SSLContext | None = None,
    on_ready: Callable[[], None] = nothing,
    on_stop: Callable[[], None] = nothing,
    on_drain: Callable[[], None] = nothing,
) -> Server:
    """Return a server whose news nobody needs, but for those that are asked for."""
    return Server(app, configuration, tls=tls, on_ready=on_ready, on_stop=on_stop, on_drain=on_drain)


@asynccontextmanager
async def running_server(app: Any, settings: str = "", **more: Any) -> AsyncGenerator[tuple[Server, int]]:
    """Run a server, for as long as the block lasts, with its port."""
    ready = asyncio.Event()
    configuration = config.parse(f"listen: 127.0.0.1:0\n{settings}", base=Path())
    server = make_server(app, configuration, on_ready=ready.set, **more)
    running = asyncio.create_task(server.run_until_stopped())
    port = server._listener.getsockname()[1]
    try:
        await ready.wait()
        yield server, port
    finally:
        server.should_exit = True
        await running
