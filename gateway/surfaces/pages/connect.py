"""Pages for a user's connection of an agent to another system, and the documents for its authorization server.

| request | answer |
|---|---|
| `GET /connect/{id}` | the login, then the page for consent |
| `POST /connect/{id}` | the answer of this page: `csrf`, `answer` (`allow`, `deny`) |
| `GET /oauth/login` | the way back from the identity provider |
| `GET /oauth/callback/{broker}` | the way back from the authorization server of a broker |
| `GET /.well-known/oauth-client/{broker}` | the gateway as a client (OAuth Client ID Metadata Document) |

The id of a link is a random name. The name opens nothing by itself: the person has to log in as the user of the agent.
"""

from __future__ import annotations

from functools import partial
from html import escape
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

from starlette.responses import Response
from starlette.routing import Route

from gateway.authority.connections.office import ConnectionEnd, Consent, SentAway
from gateway.model import reasons
from gateway.model.caller import describe_person
from gateway.model.decision import Reason, Refusal
from gateway.model.errors import GatewayError
from gateway.surfaces.pages.responses import ReplyResponse, exchange_of, json_response
from gateway.surfaces.pages.styled import STYLE_SOURCE, write_page, write_text
from gateway.wire.protocol.replies import Reply

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

    from gateway.authority.connections.office import ConnectionOffice
    from gateway.calls.composition import Gateway
    from gateway.config import Configuration

_COOKIE: Final = "opagate-connect"
_COOKIE_LIFE: Final = 900
_FIELDS: Final = 8


def connect_routes(configuration: Configuration, gateway: Gateway) -> list[Route]:
    """Return the routes: none without a broker that users connect to."""
    office = None if gateway.authority is None else gateway.authority.office
    if office is None:
        return []
    pages = _Pages(office, is_secure=configuration.base_url.startswith("https://"))
    callbacks = [Route(f"/oauth/callback/{name}", pages.safely(partial(pages.finish, name))) for name in office.servers]
    documents = [
        Route(f"/.well-known/oauth-client/{name}", partial(_show_document, office, name))
        for name, server in office.servers.items()
        if server.terms.client.cimd
    ]
    return [
        Route("/connect/{id}", pages.safely(pages.open)),
        Route("/connect/{id}", pages.safely(pages.answer), methods=["POST"]),
        Route("/oauth/login", pages.safely(pages.finish_login)),
        *callbacks,
        *documents,
    ]


async def _show_document(office: ConnectionOffice, broker: str, _request: Request) -> Response:
    return json_response(office.servers[broker].document(), (b"cache-control", b"max-age=300"))


class _Pages:
    """The pages over an office. `is_secure`: browsers send the cookie over https alone."""

    def __init__(self, office: ConnectionOffice, *, is_secure: bool) -> None:
        self._office = office
        self._cookie = f"__Host-{_COOKIE}" if is_secure else _COOKIE
        self._attributes = f"; Path=/; HttpOnly; SameSite=Lax; Max-Age={_COOKIE_LIFE}" + (
            "; Secure" if is_secure else ""
        )

    def safely(self, page: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        """Return a page with a failure of the journal or the disk in words."""

        async def answer(request: Request) -> Response:
            try:
                return await page(request)
            except GatewayError as error:
                return _refuse(reasons.reason_of(error), 503)

        return answer

    async def open(self, request: Request) -> Response:
        found = await self._office.open(request.path_params["id"], self._name(request))
        if isinstance(found, Consent):
            return _page(200, f"Connect {found.link.upstream}?", _consent(found))
        return self._show(found)

    async def answer(self, request: Request) -> Response:
        body = await exchange_of(request).body()
        if isinstance(body, Refusal):
            return _refuse(body.reason, body.status)
        fields = _read_form(body)
        answer = fields.get("answer")
        if answer not in {"allow", "deny"}:
            return _refuse(reasons.CONNECTION_FORM.reason())
        is_allowed = "allow" if answer == "allow" else "deny"
        found = await self._office.answer(
            request.path_params["id"], self._name(request), fields.get("csrf", ""), is_allowed
        )
        if isinstance(found, SentAway):
            # Browsers apply `form-action` to each redirect after a form. A page with a link has no such chain.
            return _page(200, "Go on at the other system", _onward(found.url), refresh=found.url)
        return self._show(found)

    async def finish_login(self, request: Request) -> Response:
        return self._show(await self._office.finish_login(_query(request), self._name(request)))

    async def finish(self, broker: str, request: Request) -> Response:
        return self._show(await self._office.finish(broker, _query(request), self._name(request)))

    def _show(self, found: SentAway | ConnectionEnd | Reason) -> Response:
        if isinstance(found, Reason):
            return _refuse(found)
        if isinstance(found, ConnectionEnd):
            return _page(200, *_describe_end(found))
        headers = [(b"location", found.url.encode("ascii")), *_HEADERS]
        if found.cookie is not None:
            headers.append((b"set-cookie", f"{self._cookie}={found.cookie}{self._attributes}".encode("ascii")))
        return ReplyResponse(Reply(303, tuple(headers), b""))

    def _name(self, request: Request) -> str | None:
        return request.cookies.get(self._cookie)


def _query(request: Request) -> str:
    return request.scope["query_string"].decode("latin-1")


def _read_form(body: bytes) -> dict[str, str]:
    """Return the fields of a form, none for an unreadable form, or a field given twice."""
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=_FIELDS)
    except ValueError:
        return {}
    fields = dict(pairs)
    return fields if len(fields) == len(pairs) else {}


def _consent(asked: Consent) -> str:
    link, owner = asked.link, asked.link.owner
    through = "".join(f", through {_strong(agent)}" for agent in owner.through)
    scopes = "".join(f"<li><code>{write_text(name)}</code></li>" for name in link.scopes)
    wanted = f"<p>It asks for:</p><ul>{scopes}</ul>" if scopes else "<p>It names no scopes: the server decides.</p>"
    return (
        f"<p>The agent {_strong(owner.agent)}{through} asks to use {_strong(link.upstream)} ({write_text(link.audience)}) as you,"
        f" {_strong(describe_person(owner.user, owner.known_as))}. The next page is of {_strong(asked.server)}.</p>{wanted}"
        "<p>Agree only if you have just given this agent work that needs it. An operator can end the connection at any time.</p>"
        f'<form method="post" action="/connect/{escape(link.id)}">'
        f'<input type="hidden" name="csrf" value="{escape(asked.csrf)}">'
        '<button name="answer" value="allow">Connect</button> <button class="quiet" name="answer" value="deny">Do not connect</button>'
        "</form>"
    )


def _onward(url: str) -> str:
    return f'<p><a href="{escape(url)}" class="button" rel="noreferrer">Go on</a>, if nothing happens by itself.</p>'


def _describe_end(told: ConnectionEnd) -> tuple[str, str]:
    agent, upstream = _strong(told.link.owner.agent), _strong(told.link.upstream)
    if told.made:
        return "Connected", f"<p>The agent {agent} may use {upstream} for you now. You can close this page.</p>"
    return "Not connected", f"<p>Nothing was connected. The agent {agent} is told that you declined.</p>"


def _refuse(reason: Reason, status: int | None = None) -> Response:
    remedy = f"<p>{write_text(reason.remedy)}</p>" if reason.remedy else ""
    content = f"<p>{write_text(reason.message)}</p>{remedy}<p><code>{write_text(reason.code)}</code></p>"
    return _page(status or reasons.status_of(reason.code), "Nothing was connected", content)


def _page(status: int, title: str, content: str, *, refresh: str | None = None) -> Response:
    onward = "" if refresh is None else f'<meta http-equiv="refresh" content="0;url={escape(refresh)}">'
    kind = (b"content-type", b"text/html; charset=utf-8")
    return ReplyResponse(Reply(status, (kind, *_HEADERS), write_page(title, content, head=onward)))


def _strong(text: str) -> str:
    return f"<strong>{write_text(text)}</strong>"


_HEADERS: Final = (
    (
        b"content-security-policy",
        f"default-src 'none'; style-src {STYLE_SOURCE}; form-action 'self'; base-uri 'none'; frame-ancestors 'none'".encode(),
    ),
    # Other sites get no referrer. With `no-referrer`, the form of the page would come with `Origin: null`.
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
)
