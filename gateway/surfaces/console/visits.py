"""The parts of a console, and a request behind its login.

A visit has the session, the role, the form with its CSRF token, and the page in answer.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import parse_qs, quote

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.base.concurrency.background import in_thread
from gateway.model import reasons
from gateway.model.caller import AuthMethod, Principal, User
from gateway.model.decision import Reason, Refusal
from gateway.model.errors import GatewayError, StoreError
from gateway.policy.observing import describe_ends
from gateway.surfaces.console.rendering import html, see_other
from gateway.surfaces.console.sessions import LoginSession, Role

if TYPE_CHECKING:
    from gateway.calls.composition import Gateway
    from gateway.config import Configuration
    from gateway.config.console import ConsoleSettings
    from gateway.identity.login import LoginProvider, LoginSeal
    from gateway.surfaces.console.feed import Feed
    from gateway.surfaces.console.journals import ConsoleJournals
    from gateway.surfaces.console.rendering import Templates
    from gateway.surfaces.console.sessions import LinkRegister, Role, SessionRegister
    from gateway.wire.http.exchange import Exchange


Result = TypeVar("Result")

_READERS: Final = 2
ODD_LINES: Final = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, OSError, RecursionError)
"""Errors from lines of any form, as a journal without a key may have them."""


@dataclass(frozen=True, slots=True)
class NavigationEntry:
    """A page of the console in the navigation, for people with a role; `None`: for all."""

    path: str
    title: str
    role: Role | None


@dataclass(frozen=True, slots=True)
class ConsoleParts:
    """The console of one gateway. Without a `provider`, people log in by links."""

    settings: ConsoleSettings
    gateway: Gateway
    sessions: SessionRegister
    links: LinkRegister
    templates: Templates
    seal: LoginSeal
    provider: LoginProvider | None
    navigation: tuple[NavigationEntry, ...]
    feed: Feed
    journals: ConsoleJournals
    readers: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_READERS))

    async def read_journal(self, work: Callable[[], Result]) -> Result:
        """Do work that reads the journal in a thread. Few do so at once: a large journal takes time from the calls."""
        async with self.readers:
            return await in_thread(work)

    @property
    def configuration(self) -> Configuration:
        """Return the configuration in force."""
        return self.gateway.served.current.configuration

    @property
    def is_https(self) -> bool:
        """Return whether browsers reach the console over TLS."""
        return self.configuration.base_url.startswith("https://")

    @property
    def cookie(self) -> str:
        """Return the name of the session's cookie. The prefix binds it to this host and to https (RFC 6265bis).

        Browsers send a cookie to all ports of a host, so the name without https has the port.
        """
        return f"__Host-{_COOKIE}" if self.is_https else f"{_COOKIE}-{self.configuration.port}"

    @property
    def cookie_path(self) -> str:
        """Return the paths that get the cookies. The prefix `__Host-` demands all."""
        return "/" if self.is_https else "/console"

    @property
    def login_cookie(self) -> str:
        """Return the name of the cookie for a login on its way."""
        return f"{self.cookie}-login"

    def link(self, token: str) -> str:
        """Return the address of a one-time link."""
        return f"{self.configuration.base_url}/console/login/link?token={token}"


_COOKIE: Final = "opagate-console"


_FORM_BYTES: Final = 64 * 2**10
_FORM_FIELDS: Final = 64
_LONGEST_REASON: Final = 500


@dataclass(frozen=True, slots=True)
class ConsoleVisit:
    """A request of a person with a session. `form` has the fields of a posted form."""

    console: ConsoleParts
    request: Request
    session: LoginSession
    form: Mapping[str, list[str]] = field(default_factory=dict[str, list[str]])

    def value(self, name: str) -> str:
        """Return a field of the form; empty without it."""
        return self.form.get(name, [""])[0]

    def is_fresh(self) -> bool:
        """Return whether the login is fresh enough for a dangerous action."""
        return self.console.gateway.clock() - self.session.visitor.logged_in <= self._fresh

    @property
    def _fresh(self) -> int:
        return int(self.console.settings.fresh.total_seconds())

    def page(self, template: str, *, status: int = 200, **context: Any) -> Response:
        """Return a page of the console."""
        return html(self.console.templates.render(template, {**self._common(), **context}), status)

    def refuse(self, reason: Reason, status: int | None = None) -> Response:
        """Return the page of a refused request."""
        needs_login = reason.code == reasons.CONSOLE_FRESH.code and self.console.provider is not None
        again = f"/console/login/start?max_age={self._fresh}&back=/console" if needs_login else None
        return self.page("refused.html", status=status or reasons.status_of(reason.code), reason=reason, again=again)

    async def record(self, event: str, **details: Any) -> None:
        """Record an action of the person in the journal. Raises `JournalError`."""
        await record(self.console, self.session, event, **details)

    def _common(self) -> dict[str, Any]:
        visitor = self.session.visitor
        return {
            "visitor": visitor,
            "csrf": self.session.csrf,
            "path": self.request.scope["path"],
            "observing": describe_ends(self.console.gateway.observing.find_open()),
            "here": quote(_address(self.request), safe="/"),
            "pages": [page for page in self.console.navigation if page.role is None or visitor.has_role(page.role)],
            "unchecked": self.console.journals.unchecked,
        }


async def record(console: ConsoleParts, session: LoginSession, event: str, **details: Any) -> None:
    """Record an action at the console: the person, the way of the login, and the session. Raises `JournalError`."""
    visitor = session.visitor
    by = {
        "id": visitor.person.id,
        "issuer": visitor.person.issuer,
        "roles": sorted(visitor.roles),
        "login": visitor.login,
        "logged_in": visitor.logged_in,
    }
    await console.gateway.journal.append("console", {"event": event, "by": by, "session": session.id, **details})


Handler = Callable[[ConsoleVisit], Awaitable[Response]]


def page_route(console: ConsoleParts, path: str, role: Role | None, handler: Handler) -> Route:
    """Return the route of a page that people with a role read; `None`: all people with a login."""
    return Route(path, partial(_read, console, role, handler))


def action_route(console: ConsoleParts, path: str, role: Role | None, handler: Handler) -> Route:
    """Return the route of a form that people with a role send; `None`: all people with a login."""
    return Route(path, partial(_act, console, role, handler), methods=["POST"])


async def _read(console: ConsoleParts, role: Role | None, handler: Handler, request: Request) -> Response:
    # A page that a script loads again is nothing that the person did.
    try:
        session = await find_session(console, request, is_use=request.headers.get("sec-fetch-dest") != "empty")
    except StoreError as error:
        return refusal_page(console, reasons.reason_of(error), 503)
    if session is None:
        return _send_to_login(console, request)
    return await _answer(ConsoleVisit(console, request, session), role, handler)


async def _act(console: ConsoleParts, role: Role | None, handler: Handler, request: Request) -> Response:
    try:
        session = await find_session(console, request)
    except StoreError as error:
        return refusal_page(console, reasons.reason_of(error), 503)
    if session is None:
        return html(console.templates.render("ended.html", {}), 401)
    form = await read_form(request)
    visit = ConsoleVisit(console, request, session, form if isinstance(form, Mapping) else {})
    if isinstance(form, Refusal):
        return visit.refuse(form.reason, form.status)
    if not secrets.compare_digest(visit.value("csrf").encode(), session.csrf.encode()):
        return visit.refuse(reasons.CONSOLE_CSRF.reason())
    return await _answer(visit, role, handler)


async def _answer(visit: ConsoleVisit, role: Role | None, handler: Handler) -> Response:
    if role is not None and not visit.session.visitor.has_role(role):
        return visit.refuse(reasons.CONSOLE_ROLE.reason(role=role))
    try:
        return await handler(visit)
    except GatewayError as error:
        return visit.refuse(reasons.reason_of(error), 503)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        # Only lines of the journal are decoded on the way of a page.
        return visit.refuse(reasons.JOURNAL_DAMAGED.reason())
    except ODD_LINES:
        # Lines of a journal without a key may have any form. Any other journal has what was written.
        if not visit.console.journals.unchecked:
            raise
        return visit.refuse(reasons.JOURNAL_DAMAGED.reason())


async def find_session(console: ConsoleParts, request: Request, *, is_use: bool = True) -> LoginSession | None:
    """Return the session of a request, `None` without one. A signal of the identity provider ends the sessions of a login.

    Raises `StoreError`.
    """
    cookie = request.cookies.get(console.cookie)
    session = await console.sessions.find(cookie, is_use=is_use)
    if session is not None and _has_ended(console, session):
        await console.sessions.close(cookie)
        return None
    return session


def refusal_page(console: ConsoleParts, reason: Reason, status: int) -> Response:
    """Return the page of a request without a session that is refused."""
    return html(console.templates.render("login_refused.html", {"reason": reason}), status)


def _has_ended(console: ConsoleParts, session: LoginSession) -> bool:
    visitor = session.visitor
    if visitor.login != "oidc":
        return False
    person = visitor.person
    named = Principal(
        person.id,
        person.issuer,
        AuthMethod.JWT,
        user=User(person.id, person.groups),
        logged_in=visitor.logged_in,
        email=person.mail or None,
    )
    return console.gateway.signals.register.is_ended(named)


def _send_to_login(console: ConsoleParts, request: Request) -> Response:
    """Send a person without a session to the login.

    A browser that follows a link of another site keeps a strict cookie back. So it is sent here again, from here.
    """
    address = _address(request)
    if request.headers.get("sec-fetch-site") == "cross-site":
        return html(console.templates.render("onward.html", {"to": address}))
    return see_other(f"/console/login?back={quote(address, safe='/')}")


def _address(request: Request) -> str:
    query = request.scope["query_string"].decode("latin-1")
    return f"{request.scope['path']}?{query}" if query else request.scope["path"]


async def read_form(request: Request) -> Mapping[str, list[str]] | Refusal:
    """Return the fields of a posted form, or the refusal of one that cannot be read."""
    exchange: Exchange = request.scope["opagate.exchange"]
    body = await exchange.body()
    if isinstance(body, Refusal):
        return body
    try:
        if len(body) > _FORM_BYTES:
            raise ValueError  # noqa: TRY301 - one answer for all forms that cannot be read
        return parse_qs(body.decode("utf-8"), keep_blank_values=True, max_num_fields=_FORM_FIELDS)
    except ValueError:
        return reasons.CONSOLE_FORM.refusal()


def read_reason(visit: ConsoleVisit) -> str | Reason:
    """Return the person's reason for a dangerous action, or the refusal of a login that is too old or of a form without a reason."""
    if not visit.is_fresh():
        return reasons.CONSOLE_FRESH.reason()
    reason = visit.value("reason").strip()
    return reason if 0 < len(reason) <= _LONGEST_REASON else reasons.CONSOLE_REASON.reason()
