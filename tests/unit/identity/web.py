"""A real HTTP server on loopback whose answers a test sets."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


@dataclass
class Answer:
    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict[str, str])
    gate: asyncio.Event | None = None
    """When given, the answer waits for it."""


@dataclass
class Site:
    url: str = ""
    answers: dict[str, Answer] = field(default_factory=dict[str, Answer])
    asked: list[str] = field(default_factory=list[str])
    tokens: list[str] = field(default_factory=list[str])
    """The `Authorization` of each request."""
    demanded: str | None = None
    """The only `Authorization` that is let in."""
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        self.tokens.append(request.headers.get("authorization", ""))
        self.arrived.set()
        if self.demanded is not None and self.tokens[-1] != self.demanded:
            return web.Response(status=401)
        answer = self.answers.get(request.path, Answer(status=404))
        if answer.gate is not None:
            await answer.gate.wait()
        return web.Response(body=answer.body, status=answer.status, headers=answer.headers)


@asynccontextmanager
async def serving(tls: ssl.SSLContext | None = None) -> AsyncGenerator[Site]:
    site = Site()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", site.answer)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        site.url = f"{'https' if tls else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
        yield site
    finally:
        await runner.cleanup()
