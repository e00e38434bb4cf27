"""A call runs no code of Starlette or anyio, nor of the pages and jobs that use them."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import Any

import anyio
import starlette

from gateway import background, pages
from gateway.app.serving import build_edge
from gateway.transport.edge import Edge
from gateway.transport.exchange import Presence
from tests.unit.harness import JSON, Bench, call
from tests.unit.pages.asking import HOST, ask_page

OFF_THE_PATH = {"starlette": starlette, "anyio": anyio, "pages": pages, "background": background}


async def run_code(work: Callable[[], Awaitable[Any]]) -> set[str]:
    """Return the parts off the path of which work runs code."""
    files: set[str] = set()

    def note(frame: FrameType, _event: str, _argument: object) -> None:
        files.add(frame.f_code.co_filename)

    sys.setprofile(note)
    try:
        await work()
    finally:
        sys.setprofile(None)
    places = {name: str(module.__file__).removesuffix("__init__.py") for name, module in OFF_THE_PATH.items()}
    return {name for name, place in places.items() if any(file.startswith(place) for file in files)}


async def ask_upstream(edge: Edge) -> None:
    """Have the edge carry an allowed call."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": call(path="a"), "more_body": False}

    async def send(event: dict[str, Any]) -> None:
        sent.append(event)

    scope = {"type": "http", "method": "POST", "http_version": "1.1", "raw_path": b"/mcp/files", "query_string": b""}
    scope |= {"client": ("127.0.0.1", 5), "headers": (HOST, *JSON), "opagate.presence": Presence()}
    await edge(scope, receive, send)
    assert sent[0]["status"] == 200, sent


async def test_a_call_runs_no_code_of_starlette_or_anyio(there: Bench):
    edge = build_edge(there.configuration, there.gateway, lambda: False)
    await ask_upstream(edge)

    assert await run_code(lambda: ask_upstream(edge)) == set()
    assert len(there.upstream.sent) == 2
    assert await run_code(lambda: ask_page(there, "GET", "/healthz")) == {"starlette", "pages"}
