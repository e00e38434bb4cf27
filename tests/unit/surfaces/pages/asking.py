"""Requests to the pages of a whole gateway: through its real edge, as a server would hand them over."""

from __future__ import annotations

from gateway.surfaces.app.serving import build_edge
from gateway.wire.http.edge import Edge
from gateway.wire.http.parsers import Request
from tests.unit.harness import JSON, Answer, Bench
from tests.unit.wire.http.channels import RecordedChannel, request

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
    channel = RecordedChannel(request_of(method, path, *headers, host=host, is_json=is_json))
    channel.incoming.put_nowait({"type": "http.request", "body": body})
    await edge(channel)
    sent = channel.sent
    content = b"".join(message.get("body", b"") for message in sent[1:])
    return Answer(sent[0]["status"], tuple(sent[0]["headers"]), content)


def request_of(
    method: str, path: str, *headers: tuple[bytes, bytes], host: bytes = HOST[1], is_json: bool = True
) -> Request:
    """Return a request, as a server makes it."""
    declared = JSON if method == "POST" and is_json else ()
    return request(method, path, ((b"host", host), *declared, *headers))
