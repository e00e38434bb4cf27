"""Pages that stand before an authorization server which clients of MCP cannot use by themselves, such as Microsoft Entra ID.

| request | answer |
|---|---|
| `GET /.well-known/oauth-authorization-server/oauth/sign-in` | metadata (RFC 8414) with the endpoints below |
| `POST /oauth/sign-in/register` | the client that an administrator has registered (RFC 7591) |
| `GET /oauth/sign-in/authorize` | a redirect to the server, with the configured scopes and without `resource` |
| `POST /oauth/sign-in/token` | the answer of the server to a code or a refresh token |

The gateway holds no secret of the client and keeps no token. It passes on known fields alone. The server verifies the redirect URI and the PKCE challenge.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

import structlog
from starlette.responses import Response
from starlette.routing import Route

from gateway.authority.introspection import RateLimit
from gateway.base.json import strict
from gateway.config.identities import find_sign_in
from gateway.identity.challenge import SIGN_IN
from gateway.model.decision import Refusal
from gateway.surfaces.pages.responses import ReplyResponse, exchange_of, json_response
from gateway.wire.https_client import HttpsAnswer, HttpsClient, NoAnswer, read_object
from gateway.wire.oauth_client import ClientProof, OAuthClient, describe_error
from gateway.wire.protocol.replies import Reply

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from starlette.requests import Request

    from gateway.config import Configuration
    from gateway.config.identities import JwtIdentity, SignInSettings
    from gateway.model.wire import Json

log = structlog.get_logger("gateway.identity")

_DEADLINE: Final = 10.0
"""Seconds for one request to the server."""
_LONGEST: Final = 16 * 1024
"""Bytes of a query or a form. A code of Entra ID has some two thousand."""
_MOST_FIELDS: Final = 32
_QUESTIONS_A_MINUTE: Final = 120
"""Requests from one address, beside those for metadata; beyond it: 429."""
_MOST_REDIRECTS: Final = 16
_GRANTS: Final = frozenset({"authorization_code", "refresh_token"})
_ASKED: Final = (
    *("response_type", "redirect_uri", "state", "nonce", "code_challenge", "code_challenge_method", "response_mode"),
    *("prompt", "login_hint", "domain_hint", "max_age", "ui_locales", "acr_values", "id_token_hint"),
)
"""Fields of a request for a code that go on. Others, such as `request` (RFC 9101), could replace what the gateway has checked."""
_EXCHANGED: Final = ("grant_type", "code", "redirect_uri", "code_verifier", "refresh_token")
_NO_STORE: Final = ((b"cache-control", b"no-store"),)
_OPEN: Final = ((b"cache-control", b"max-age=300"), (b"access-control-allow-origin", b"*"))


def sign_in_routes(configuration: Configuration, clock: Callable[[], float]) -> list[Route]:
    """Return the routes of the sign-in. Return no routes if no identity has the setting `sign_in`."""
    found = find_sign_in(configuration.identity)
    if found is None:
        return []
    identity, settings = found
    desk = _SignInDesk(configuration.base_url, settings, _make_client(identity, clock), clock)
    return [
        Route(f"/.well-known/oauth-authorization-server{SIGN_IN}", partial(_show_metadata, desk)),
        Route(f"{SIGN_IN}/register", partial(_register, desk), methods=["POST"]),
        Route(f"{SIGN_IN}/authorize", partial(_authorize, desk)),
        Route(f"{SIGN_IN}/token", partial(_give_token, desk), methods=["POST"]),
    ]


def _make_client(identity: JwtIdentity, clock: Callable[[], float]) -> OAuthClient:
    return OAuthClient(identity.issuer, HttpsClient(seconds=_DEADLINE, ca=identity.ca), clock)


@dataclass(frozen=True, slots=True)
class _SignInDesk:
    base_url: str
    settings: SignInSettings
    server: OAuthClient
    clock: Callable[[], float]
    questions: RateLimit = field(default_factory=lambda: RateLimit(_QUESTIONS_A_MINUTE, 60))

    @property
    def scope(self) -> str:
        return " ".join(self.settings.scopes)

    def is_over_bound(self, request: Request) -> bool:
        """Count a question of an address, and return whether it is one too many."""
        return not self.questions.admits(exchange_of(request).client_ip or "", self.clock())


async def _show_metadata(desk: _SignInDesk, _request: Request) -> Response:
    issuer = f"{desk.base_url}{SIGN_IN}"
    document: dict[str, Json] = {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/authorize",
        "token_endpoint": f"{issuer}/token",
        "registration_endpoint": f"{issuer}/register",
        "scopes_supported": list(desk.settings.scopes),
        "response_types_supported": ["code"],
        "grant_types_supported": sorted(_GRANTS),
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["none"],
    }
    return json_response(document, *_OPEN)


async def _register(desk: _SignInDesk, request: Request) -> Response:
    """Answer a registration with the client of the administrator. The server knows its redirect URIs."""
    if desk.is_over_bound(request):
        return _refuse("temporarily_unavailable", 429)
    body = await exchange_of(request).body()
    document = body if isinstance(body, Refusal) else strict.read_part(body[: _LONGEST + 1])
    if isinstance(document, Refusal | strict.UnreadableJson):
        return _refuse("invalid_client_metadata")
    redirects = document.get("redirect_uris")
    if not isinstance(redirects, list) or not 0 < len(redirects) <= _MOST_REDIRECTS:
        return _refuse("invalid_redirect_uri")
    registered: dict[str, Json] = {
        "client_id": desk.settings.client_id,
        "redirect_uris": [uri for uri in redirects if isinstance(uri, str)],
        "grant_types": sorted(_GRANTS),
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
        "scope": desk.scope,
    }
    return json_response(registered, *_NO_STORE, status=201)


async def _authorize(desk: _SignInDesk, request: Request) -> Response:
    """Send a person to the server. The gateway asks for PKCE, since the client has no secret."""
    if desk.is_over_bound(request):
        return _refuse("temporarily_unavailable", 429)
    fields = _read_fields(request.url.query)
    if (
        fields is None
        or fields.get("client_id") != desk.settings.client_id
        or fields.get("response_type") != "code"
        or fields.get("code_challenge_method") != "S256"
        or not fields.get("code_challenge")
    ):
        return _refuse("invalid_request")
    endpoints = await desk.server.endpoints()
    place = None if isinstance(endpoints, NoAnswer) else endpoints.authorization
    if place is None:
        problem = endpoints.problem if isinstance(endpoints, NoAnswer) else "its metadata names no endpoint"
        log.warning("sign-in.unavailable", issuer=desk.server.issuer, problem=problem)
        return _refuse("temporarily_unavailable", 503)
    sent = {**_keep(fields, _ASKED), "client_id": desk.settings.client_id, "scope": desk.scope}
    target = f"{place}{'&' if urlsplit(place).query else '?'}{urlencode(sent)}"
    return ReplyResponse(Reply(302, ((b"location", target.encode("ascii")), *_NO_STORE), b""))


async def _give_token(desk: _SignInDesk, request: Request) -> Response:
    """Pass a code or a refresh token on, and the server's answer back."""
    if desk.is_over_bound(request):
        return _refuse("temporarily_unavailable", 429)
    body = await exchange_of(request).body()
    fields = None if isinstance(body, Refusal) else _read_fields(body[: _LONGEST + 1].decode("latin-1"))
    if fields is None:
        return _refuse("invalid_request")
    if (problem := _find_problem(fields, desk.settings.client_id)) is not None:
        return _refuse(problem)
    endpoints = await desk.server.endpoints()
    answer: HttpsAnswer | NoAnswer = (
        endpoints
        if isinstance(endpoints, NoAnswer)
        else await desk.server.post(
            endpoints.token,
            list(_keep(fields, _EXCHANGED).items()),
            ClientProof(desk.settings.client_id, None, desk.clock),
        )
    )
    if isinstance(answer, NoAnswer):
        log.warning("sign-in.unavailable", issuer=desk.server.issuer, problem=answer.problem)
        return _refuse("temporarily_unavailable", 503)
    document = read_object(answer)
    if document is None or not (answer.status == 200 or answer.is_denial):
        log.warning("sign-in.unavailable", issuer=desk.server.issuer, problem=describe_error(answer))
        return _refuse("temporarily_unavailable", 503)
    if answer.status != 200:
        log.warning("sign-in.refused", issuer=desk.server.issuer, problem=describe_error(answer))
    return json_response(document, *_NO_STORE, status=answer.status)


def _find_problem(fields: Mapping[str, str], client_id: str) -> str | None:
    """Return the OAuth error of a form that the gateway does not pass on."""
    kind = fields.get("grant_type")
    is_unproved = kind == "authorization_code" and not fields.get("code_verifier")
    if is_unproved or fields.get("client_id", client_id) != client_id:
        return "invalid_request"
    return None if kind in _GRANTS else "unsupported_grant_type"


def _read_fields(text: str) -> dict[str, str] | None:
    """Return the fields of a query or form; `None` for a long one, or one with a repeated field."""
    if len(text) > _LONGEST:
        return None
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except ValueError:
        return None
    # `resource` may stand there several times (RFC 8707 section 2), and is not sent.
    kept = [pair for pair in pairs if pair[0] != "resource"]
    return dict(kept) if len(dict(kept)) == len(kept) else None


def _keep(fields: Mapping[str, str], names: Sequence[str]) -> dict[str, str]:
    return {name: fields[name] for name in names if name in fields}


def _refuse(error: str, status: int = 400) -> Response:
    """Return an OAuth error. Its text has nothing of the request."""
    return json_response({"error": error}, *_NO_STORE, status=status)
