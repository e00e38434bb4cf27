"""The Starlette form of the gateway's own answers, and the pages for known callers.

Identity comes before the rest of the path, the method and the body."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec
from starlette.exceptions import HTTPException
from starlette.responses import Response

from gateway.calls.composition import Gateway
from gateway.calls.pipeline.context import RequestContext
from gateway.model.caller import Principal
from gateway.model.decision import Refusal
from gateway.wire.protocol.replies import Reply

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send

    from gateway.model.wire import Headers, JsonObject
    from gateway.wire.http.exchange import Exchange
    from gateway.wire.http.limits import RequestPlace


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


_KNOWN: Final = "opagate.known_caller"


@dataclass(frozen=True, slots=True)
class KnownCaller:
    """A verified caller, and the circumstances of its request. A page calls `refuse`, `note_refusal` or `end` once."""

    gateway: Gateway
    context: RequestContext
    principal: Principal

    @property
    def arrived(self) -> float:
        """Seconds since the epoch."""
        return self.context.arrived

    async def read_body(self) -> bytes | Refusal:
        """Return the body, or the refusal of a large or slow body. Raises `ClientGone`."""
        return await self.context.exchange.body()

    async def refuse(self, refusal: Refusal) -> Response:
        """Record a refusal, and return its answer in the form of MCP."""
        return ReplyResponse(await self.gateway.pipeline.refuser.refuse(self.context, refusal, self.principal))

    async def note_refusal(self, refusal: Refusal) -> None:
        """Record a refusal with words of the page itself."""
        await self.gateway.pipeline.refuser.note_refusal(self.context, refusal, self.principal)

    def end(self) -> None:
        """End the trace of a successful request."""
        self.context.trace.end({"opagate.decision.id": self.context.id}, error=None)


def known_caller(request: Request) -> KnownCaller:
    """Return the caller of a page behind `KnownCallers`."""
    return request.scope[_KNOWN]


class KnownCallers:
    """An ASGI application for the pages behind a verified caller.

    `name` is the name of the pages in traces.
    """

    def __init__(self, pages: ASGIApp, gateway: Gateway, name: str) -> None:
        self._pages = pages
        self._gateway = gateway
        self._name = name

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        gateway, exchange = self._gateway, scope["opagate.exchange"]

        async def answer(context: RequestContext, principal: Principal, _place: RequestPlace) -> None:
            scope[_KNOWN] = KnownCaller(gateway, context, principal)
            await self._pages(scope, receive, send)

        context = gateway.pipeline.open_context(exchange, self._name)
        refused = await gateway.pipeline.for_caller(context, answer)
        if refused is not None:
            await ReplyResponse(refused)(scope, receive, send)
