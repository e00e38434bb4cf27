"""The Starlette form of the gateway's own answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from starlette.exceptions import HTTPException
from starlette.responses import Response

from gateway.wire.protocol.replies import Reply

if TYPE_CHECKING:
    from starlette.requests import Request

    from gateway.model.wire import Headers, JsonObject
    from gateway.wire.http.exchange import Exchange


class ReplyResponse(Response):
    """An answer of the gateway with its headers unchanged, and its length after these."""

    def __init__(self, reply: Reply, *headers: tuple[bytes, bytes]) -> None:
        super().__init__(reply.body, reply.status)
        self.raw_headers = [*reply.headers, *headers, *self.raw_headers]


def json_response(body: JsonObject, *headers: tuple[bytes, bytes], status: int = 200) -> ReplyResponse:
    """Return a body as JSON."""
    fields: Headers = ((b"content-type", b"application/json"), *headers)
    return ReplyResponse(Reply(status, fields, msgspec.json.encode(body)))


def exchange_of(request: Request) -> Exchange:
    """Return a request as checked by the edge."""
    return request.scope["opagate.exchange"]


def allowed_methods(error: Exception) -> tuple[bytes, bytes]:
    """Return the `Allow` field of a refused method (RFC 9110 section 15.5.6). Starlette keeps the methods in a set."""
    named = (error.headers or {}).get("Allow", "") if isinstance(error, HTTPException) else ""
    return (b"allow", ", ".join(sorted(named.split(", "))).encode("ascii"))
