"""`POST /ssf/{name}`: events pushed by an identity provider (RFC 8935).

| answer | means |
|---|---|
| 202 | the event is recorded |
| 400 `{"err", "description"}` | the event is refused, and nothing has changed |
| 503 | the event cannot be verified or recorded now; the transmitter sends the event again |
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

from starlette.responses import Response
from starlette.routing import Route

from gateway.authority.introspection import RateLimit
from gateway.authority.signals.set import SetFault
from gateway.calls.pipeline.revocation import take_token
from gateway.model import reasons
from gateway.model.decision import Refusal
from gateway.model.error_codes import INVALID_REQUEST
from gateway.model.errors import GatewayError
from gateway.surfaces.pages.responses import ReplyResponse, exchange_of, json_response
from gateway.wire.http.edge import RefusedClient
from gateway.wire.protocol.headers import texts_of
from gateway.wire.protocol.replies import Reply

if TYPE_CHECKING:
    from starlette.requests import Request

    from gateway.authority.signals.receiver import SignalReceiver
    from gateway.calls.composition import Gateway
    from gateway.calls.pipeline.revocation import VerifiedStream
    from gateway.wire.http.exchange import Exchange

_REFUSALS_A_MINUTE: Final = 600
"""Refused events from one address; beyond it: 429. A signature costs more to verify than to make up."""
_TYPE: Final = "application/secevent+jwt"
_HEADERS: Final = ((b"cache-control", b"no-store"), (b"content-language", b"en"))


def signal_routes(gateway: Gateway) -> list[Route]:
    """Return the route of each pushed stream. Other names have no page."""
    receiver = gateway.signals.receiver
    if receiver is None:
        return []
    pushed = [source for source in gateway.signals.sources if source.is_pushed]
    limit = RateLimit(_REFUSALS_A_MINUTE, 60)
    pages = {source.stream.name: _Page(gateway, receiver, source, limit) for source in pushed}
    return [Route(f"/ssf/{name}", partial(_receive, page), methods=["POST"]) for name, page in pages.items()]


@dataclass(frozen=True, slots=True)
class _Page:
    gateway: Gateway
    receiver: SignalReceiver
    source: VerifiedStream
    refused: RateLimit = field(repr=False)


async def _receive(page: _Page, request: Request) -> Response:
    exchange = exchange_of(request)
    fault = _check_request(page.source, exchange)
    if fault is None:
        body = await exchange.body()
        if isinstance(body, Refusal):
            fault = SetFault("invalid_request", "the event is too large, or did not come in time")
        else:
            try:
                fault = await take_token(page.receiver, page.source, body.strip(), page.gateway.clock)
            except GatewayError as error:
                return await _fail(page, exchange, error)
    return _accept() if fault is None else await _refuse(page, exchange, fault)


def _check_request(source: VerifiedStream, exchange: Exchange) -> SetFault | None:
    types = texts_of(exchange.fields, b"content-type")
    if len(types) != 1 or types[0].partition(";")[0].strip().lower() != _TYPE:
        return SetFault("invalid_request", f"the body is not declared as {_TYPE}")
    if source.authorization is None:
        return None
    named = texts_of(exchange.fields, b"authorization")
    given = named[0].strip() if len(named) == 1 else ""
    if not hmac.compare_digest(given.encode(), source.authorization.encode()):
        return SetFault("authentication_failed", "the Authorization header is not the one of this stream")
    return None


async def _refuse(page: _Page, exchange: Exchange, fault: SetFault) -> Response:
    """Record a refused event, and answer by RFC 8935 section 2.3."""
    if not page.refused.admits(exchange.client_ip or "", page.gateway.clock()):
        return ReplyResponse(Reply(429, (*_HEADERS, (b"retry-after", b"60")), b""))
    refusal = reasons.SIGNAL_REFUSED.refusal(
        fault=fault.err.replace("_", "-"), stream=page.source.stream.name, problem=fault.description
    )
    await page.gateway.pipeline.refuser.refuse_early(refusal, RefusedClient(exchange.client_ip, exchange.headers))
    return json_response({"err": fault.err, "description": fault.description}, *_HEADERS, status=400)


async def _fail(page: _Page, exchange: Exchange, error: GatewayError) -> Response:
    reason = reasons.reason_of(error)
    await page.gateway.pipeline.refuser.refuse_early(
        Refusal(503, reason, INVALID_REQUEST), RefusedClient(exchange.client_ip, exchange.headers)
    )
    return ReplyResponse(Reply(503, (*_HEADERS, (b"retry-after", b"5")), b""))


def _accept() -> Response:
    return ReplyResponse(Reply(202, (), b""))
