"""Pages about the gateway's tokens: their keys, introspection (RFC 7662) and revocation (RFC 7009).

| request | answer |
|---|---|
| `GET /.well-known/jwks.json` | the public key of access tokens |
| `POST /oauth/introspect` | all claims of an active token for the asking upstream; else `{"active":false}` |
| `POST /oauth/revoke` | ends a token of the upstream, or of the caller's own task; 200 in any case |

There is no authorization server metadata (RFC 8414): MCP clients would take the gateway for their issuer of tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.authority.introspection import (
    INACTIVE,
    IntrospectingUpstream,
    Introspector,
    RateLimit,
    describe_token,
    digest_secret,
    read_token,
)
from gateway.authority.shared_tokens import find_token
from gateway.model import reasons
from gateway.model.decision import Refusal
from gateway.model.errors import StoreError
from gateway.surfaces.pages.responses import KnownCallers, ReplyResponse, exchange_of, json_response, known_caller
from gateway.wire.http.edge import RefusedClient as Origin
from gateway.wire.protocol.headers import texts_of
from gateway.wire.protocol.replies import Reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Receive, Scope, Send

    from gateway.authority.lending import Authority
    from gateway.authority.minting import MintedToken
    from gateway.calls.composition import Gateway
    from gateway.config import Configuration

_FAILURES_A_MINUTE: Final = 60
"""Questions with wrong credentials from one address; beyond it: 429."""
_QUESTIONS_A_SECOND: Final = 1_000
"""Questions of one upstream; beyond it: 429."""
_KEYS: Final = ((b"cache-control", b"max-age=300"),)
_JSON: Final = ((b"content-type", b"application/json"), (b"cache-control", b"no-store"))


def token_routes(configuration: Configuration, gateway: Gateway) -> list[Route]:
    """Return the routes. Without an upstream with leased credentials, there are no keys and no questions."""
    authority = gateway.authority
    routes = [Route("/.well-known/jwks.json", partial(_show_keys, authority))]
    if authority is None:
        return routes
    clients = [
        IntrospectingUpstream(each.id, digest_secret(each.secret.get_secret_value()), frozenset(each.audiences))
        for each in configuration.authority.introspection.clients
    ]
    desk = _TokenDesk(gateway, authority, Introspector(clients, authority.tokens))
    return [
        *routes,
        Route("/oauth/introspect", partial(_introspect, desk), methods=["POST"]),
        Route("/oauth/revoke", _Revocation(desk)),
    ]


@dataclass(frozen=True, slots=True)
class _TokenDesk:
    gateway: Gateway
    authority: Authority
    introspector: Introspector
    failures: RateLimit = field(default_factory=lambda: RateLimit(_FAILURES_A_MINUTE, 60))
    questions: RateLimit = field(default_factory=lambda: RateLimit(_QUESTIONS_A_SECOND, 1))

    async def identify(self, request: Request) -> IntrospectingUpstream | Response:
        """Return the asking upstream, or the answer of a question over its bound. Strangers get the answer of an
        inactive token."""
        exchange, now = exchange_of(request), self.authority.clock()
        client = self.introspector.authenticate(texts_of(exchange.fields, b"authorization"))
        if client is not None:
            return client if self.questions.admits(client.id, now) else _too_many()
        if not self.failures.admits(exchange.client_ip or "", now):
            return _too_many()
        # The record tells of a wrong secret; the answer does not.
        await self.gateway.pipeline.refuser.refuse_early(
            reasons.REQUEST_INTROSPECTION.refusal(), Origin(exchange.client_ip, exchange.headers)
        )
        return _inactive()

    async def find(self, token: str | None) -> MintedToken | None:
        """Return an active token of any gateway. Raises `StoreError`."""
        authority = self.authority
        return (
            None if token is None else await find_token(self.introspector, authority.shared, token, authority.clock())
        )

    async def end(self, token: MintedToken) -> None:
        """End a token of any gateway, and its lease. No call carries it from now on. Raises `StoreError`."""
        self.authority.tokens.end(token.jti)
        await self.authority.fleet.end(lambda lease: lease.id == token.jti, "revoked")
        if self.authority.shared is not None:
            await self.authority.shared.revoke(token.jti)


async def _show_keys(authority: Authority | None, _request: Request) -> Response:
    return json_response({"keys": []} if authority is None else authority.mint.jwks(), *_KEYS)


async def _introspect(desk: _TokenDesk, request: Request) -> Response:
    client = await desk.identify(request)
    if isinstance(client, Response):
        return client
    token = await _token_of(request)
    if isinstance(token, Response):
        return token
    try:
        found = await desk.find(token)
    except StoreError:
        return _unavailable()
    return ReplyResponse(Reply(200, _JSON, describe_token(client, found)))


class _Revocation:
    """An ASGI application: HTTP Basic is the upstream of the token, and any other credentials are of a caller of the gateway."""

    def __init__(self, desk: _TokenDesk) -> None:
        self._desk = desk
        self._for_callers = KnownCallers(self._answer_caller, desk.gateway, "revocation")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        if request.method != "POST":
            raise HTTPException(405, headers={"Allow": "POST"})
        named = texts_of(exchange_of(request).fields, b"authorization")
        if any(value.lower().startswith("basic ") for value in named):
            await (await self._answer_upstream(request))(scope, receive, send)
        else:
            await self._for_callers(scope, receive, send)

    async def _answer_upstream(self, request: Request) -> Response:
        client = await self._desk.identify(request)
        if isinstance(client, Response):
            return client if client.status_code == 429 else _done()
        token = await _token_of(request)
        if isinstance(token, Response):
            return token
        return await self._end(token, lambda found: found.audience in client.audiences)

    async def _answer_caller(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        caller = known_caller(request)
        token = await _token_of(request)
        answer = (
            token
            if isinstance(token, Response)
            else await self._end(token, lambda found: found.owner == caller.principal.key)
        )
        caller.end()
        await answer(scope, receive, send)

    async def _end(self, token: str | None, may_end: Callable[[MintedToken], bool]) -> Response:
        """End a token that the asker may end. The answer is the same for every token."""
        try:
            found = await self._desk.find(token)
            if found is not None and may_end(found):
                await self._desk.end(found)
        except StoreError:
            return _unavailable()
        return _done()


async def _token_of(request: Request) -> str | Response | None:
    body = await exchange_of(request).body()
    if isinstance(body, Refusal):
        return json_response({"error": "invalid_request"}, *_JSON[1:], status=body.status)
    return read_token(body)


def _inactive() -> Response:
    return ReplyResponse(Reply(200, _JSON, INACTIVE))


def _done() -> Response:
    return ReplyResponse(Reply(200, _JSON[1:], b""))


def _unavailable() -> Response:
    """Return the answer while the records are away: no word about the token."""
    return json_response({"error": "temporarily_unavailable"}, *_JSON[1:], status=503)


def _too_many() -> Response:
    return ReplyResponse(Reply(429, (*_JSON, (b"retry-after", b"60")), INACTIVE))
