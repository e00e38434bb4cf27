"""Login and logout: a one-time link on this machine, or an OpenID provider.

| request | answer |
|---|---|
| `GET /console/login` | the ways to log in |
| `GET /console/login/link?token=…` | the person behind a one-time link, and a button |
| `POST /console/login/link` | a session, and the end of the link |
| `GET /console/login/start` | the way to the provider; `max_age` asks for a fresh login |
| `GET /console/login/callback` | a session, after the provider's answer |
| `POST /console/logout` | the end of the session |

The provider sends the browser back from another site, so the login on its way has a cookie of its own (`SameSite=Lax`).
The session's cookie is `SameSite=Strict`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from starlette.responses import Response
from starlette.routing import Route

from gateway.authority.approvals.model import Person
from gateway.identity.id_token import LoginFault
from gateway.identity.login import SECONDS
from gateway.model import reasons
from gateway.model.caller import canonical_groups, write_known_as
from gateway.model.decision import Reason, Refusal
from gateway.model.error_codes import UNAUTHENTICATED
from gateway.model.errors import GatewayError, StoreError
from gateway.surfaces.console.rendering import html, leave_for, own_path, see_other
from gateway.surfaces.console.sessions import Role, Visitor
from gateway.surfaces.console.visits import ConsoleVisit, action_route, find_session, read_form, record, refusal_page
from gateway.wire.http.edge import RefusedClient

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

    from gateway.authority.approvals.rules import Admission
    from gateway.config.console import ConsoleLogin
    from gateway.identity.id_token import VerifiedLogin
    from gateway.surfaces.console.visits import ConsoleParts


def login_routes(console: ConsoleParts) -> list[Route]:
    """Return the routes of login and logout."""
    routes = [
        Route("/console/login", _guard(console, _show_ways)),
        action_route(console, "/console/logout", None, _log_out),
    ]
    if console.provider is None:
        return [
            *routes,
            Route("/console/login/link", _guard(console, _show_link)),
            Route("/console/login/link", _guard(console, _use_link), methods=["POST"]),
        ]
    return [
        *routes,
        Route("/console/login/start", partial(_start, console)),
        Route("/console/login/callback", _guard(console, _finish)),
    ]


def _guard(
    console: ConsoleParts, handle: Callable[[ConsoleParts, Request], Awaitable[Response]]
) -> Callable[[Request], Awaitable[Response]]:
    """Return a handler that refuses a request whose records cannot be reached."""

    async def answer(request: Request) -> Response:
        try:
            return await handle(console, request)
        except StoreError as error:
            return refusal_page(console, reasons.reason_of(error), 503)

    return answer


async def _show_ways(console: ConsoleParts, request: Request) -> Response:
    back = own_path(request.query_params.get("back", ""))
    if await find_session(console, request) is not None:
        return see_other(back)
    issuer = None if console.provider is None else console.provider.client.issuer
    return html(console.templates.render("login.html", {"issuer": issuer, "back": back}))


async def _show_link(console: ConsoleParts, request: Request) -> Response:
    """Show the person behind a link. Only a click uses it up: a program that looks at addresses does not."""
    token = request.query_params.get("token", "")
    visitor = await console.links.find(token)
    if visitor is None:
        return await refuse_login(console, request, reasons.CONSOLE_LINK.reason())
    return html(console.templates.render("link.html", {"visitor": visitor, "token": token}))


async def _use_link(console: ConsoleParts, request: Request) -> Response:
    form = await read_form(request)
    token = "" if isinstance(form, Refusal) else form.get("token", [""])[0]
    visitor = await console.links.use(token)
    if visitor is None:
        return await refuse_login(console, request, reasons.CONSOLE_LINK.reason())
    return await _begin(console, request, visitor, see_other("/console"))


async def _start(console: ConsoleParts, request: Request) -> Response:
    assert console.provider is not None  # noqa: S101 - the route exists with a provider only
    asked = request.query_params.get("max_age", "")
    max_age = float(asked[:6]) if asked.isascii() and asked.isdecimal() else None
    try:
        url, begun = await console.provider.begin(back=own_path(request.query_params.get("back", "")), max_age=max_age)
    except GatewayError as error:
        return refusal_page(console, reasons.reason_of(error), 503)
    answer = leave_for(url)
    sealed = console.seal.seal(begun, console.gateway.clock())
    answer.set_cookie(
        console.login_cookie,
        sealed,
        max_age=SECONDS,
        path=console.cookie_path,
        secure=console.is_https,
        httponly=True,
        samesite="lax",
    )
    return answer


async def _finish(console: ConsoleParts, request: Request) -> Response:
    assert console.provider is not None  # noqa: S101 - as above
    now = console.gateway.clock()
    begun = console.seal.open(request.cookies.get(console.login_cookie, ""), now)
    if begun is None:
        return await refuse_login(console, request, reasons.CONSOLE_LOGIN_FOREIGN.reason())
    try:
        login = await console.provider.finish(begun, request.scope["query_string"].decode("latin-1"))
    except GatewayError as error:
        return refusal_page(console, reasons.reason_of(error), 503)
    except ValueError:
        login = LoginFault("the answer cannot be read")
    if isinstance(login, LoginFault):
        return await refuse_login(
            console, request, reasons.CONSOLE_LOGIN.reason(problem=reasons.sentence(login.detail))
        )
    people = console.gateway.people
    admission = None if people is None else people.admission
    visitor = visitor_of(login, console.settings.login, admission) if console.settings.login is not None else None
    if visitor is None or not visitor.roles:
        return await refuse_login(console, request, reasons.CONSOLE_ROLE_OF_GROUPS.reason())
    # The browser came from the provider, so it would keep the strict cookie back from a redirection.
    onward = html(console.templates.render("onward.html", {"to": own_path(begun.back)}))
    onward.delete_cookie(
        console.login_cookie, console.cookie_path, secure=console.is_https, httponly=True, samesite="lax"
    )
    return await _begin(console, request, visitor, onward)


def visitor_of(login: VerifiedLogin, settings: ConsoleLogin, admission: Admission | None) -> Visitor:
    """Return the visitor of a login, with the roles of the person's groups. `admission` knows the approvers."""
    groups = canonical_groups(login.groups)
    held: dict[Role, tuple[str, ...]] = {"viewer": settings.roles.viewer, "operator": settings.roles.operator}
    roles: set[Role] = {role for role, named in held.items() if groups & canonical_groups(named)}
    known_as = write_known_as(login.name, login.mail)
    way = settings.assurance, "console", login.logged_in
    person = Person(login.subject, login.issuer, login.groups, *way, known_as, login.mail or "")
    if admission is not None and not isinstance(admission.admit(person), Reason):
        roles.add("approver")
    return Visitor(person, frozenset(roles), "oidc", login.logged_in)


async def _begin(console: ConsoleParts, request: Request, visitor: Visitor, answer: Response) -> Response:
    """Begin a session, recorded before the cookie leaves. A session of the same browser ends. Raises `StoreError`."""
    cookie, session = await console.sessions.open(visitor)
    try:
        await record(console, session, "login")
    except GatewayError as error:
        await console.sessions.close(cookie)
        return refusal_page(console, reasons.reason_of(error), 503)
    await console.sessions.close(request.cookies.get(console.cookie))
    answer.set_cookie(
        console.cookie, cookie, path=console.cookie_path, secure=console.is_https, httponly=True, samesite="strict"
    )
    return answer


async def _log_out(visit: ConsoleVisit) -> Response:
    console = visit.console
    await console.sessions.close(visit.request.cookies.get(console.cookie))
    await visit.record("logout")
    answer = see_other("/console/login")
    answer.delete_cookie(console.cookie, console.cookie_path, secure=console.is_https, httponly=True, samesite="strict")
    return answer


async def refuse_login(console: ConsoleParts, request: Request, reason: Reason) -> Response:
    """Record a refused login as any refused request, and show the reason."""
    exchange = request.scope["opagate.exchange"]
    await console.gateway.pipeline.refuser.refuse_early(
        Refusal(403, reason, UNAUTHENTICATED), RefusedClient(exchange.client_ip, exchange.headers)
    )
    return refusal_page(console, reason, 403)
