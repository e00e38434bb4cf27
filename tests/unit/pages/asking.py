"""Requests to the pages of a whole gateway: through its real edge, as a server would hand them over."""

from __future__ import annotations

from typing import Any

from gateway.app.serving import build_edge
from gateway.transport.edge import Edge
from gateway.transport.exchange import Presence
from tests.unit.harness import JSON, Answer, Bench

HOST = (b"host", b"127.0.0.1:8080")


async def ask_page(
    there: Bench,
    method: str,
    path: str,
    *headers: tuple[bytes, bytes],
    body: bytes = b"",
    host: bytes = HOST[1],
    is_draining: bool = False,
    edge: Edge | None = None,
    is_json: bool = True,
) -> Answer:
    """Ask for a page, of a new edge unless the test has one. Without `is_json`, the test declares the body itself."""
    edge = edge or build_edge(there.configuration, there.gateway, lambda: is_draining)
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await edge(scope_of(method, path, *headers, host=host, is_json=is_json), receive, send)
    content = b"".join(message.get("body", b"") for message in sent[1:])
    return Answer(sent[0]["status"], tuple(sent[0]["headers"]), content)


def scope_of(
    method: str, path: str, *headers: tuple[bytes, bytes], host: bytes = HOST[1], is_json: bool = True
) -> dict[str, Any]:
    """Return the ASGI scope of a request, as a server makes it."""
    return {
        "type": "http",
        "method": method,
        "http_version": "1.1",
        "raw_path": path.partition("?")[0].encode(),
        "path": "/routed/by/its/raw/path",
        "query_string": path.partition("?")[2].encode(),
        "client": ("127.0.0.1", 5),
        "headers": ((b"host", host), *(JSON if method == "POST" and is_json else ()), *headers),
        "opagate.presence": Presence(),
    }
