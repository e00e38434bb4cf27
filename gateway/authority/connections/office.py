"""The way of a person's browser from a link to a connection: login, consent, the authorization server, and back.

Whoever opens a link has to be the user of the agent that was given it (MCP 2026-07-28, client/elicitation, "Phishing"). Nothing is
bound for another person. Each step belongs to one browser: its cookie, its state and its verifier.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Final, Literal, Protocol

from msgspec import Struct

from gateway.authority.connections import events
from gateway.authority.connections.browsers import (
    LIFE,
    Browser,
    Browsers,
    LoggedInPerson,
    PendingConsent,
    PendingLogin,
)
from gateway.authority.connections.grants import proves_user
from gateway.authority.connections.links import Links
from gateway.authority.connections.model import ConnectionLink, UserConnection
from gateway.authority.connections.server import Refused
from gateway.base.concurrency.background import to_the_end
from gateway.model import reasons
from gateway.model.decision import Reason
from gateway.model.errors import GatewayError
from gateway.wire.https_client import NoAnswer
from gateway.wire.oauth_flow import CallbackAnswer, CodeSecrets, is_same, read_answer

if TYPE_CHECKING:
    from gateway.authority.connections.connections import Connections
    from gateway.authority.connections.grants import TokenGrant
    from gateway.authority.connections.model import ConnectionOwner
    from gateway.authority.connections.server import AuthorizationServer
    from gateway.model.wire import JsonObject

_BYTES: Final = 32


class PersonLogin(Protocol):
    """The client of the identity provider. Both methods raise `IdentityUnavailable`."""

    @property
    def issuer(self) -> str: ...

    async def begin(self) -> tuple[str, object]:
        """Return the address to which a browser goes, and the login on its way."""
        ...

    async def finish(self, begun: object, query: str) -> LoggedInPerson | Reason:
        """Return the person that a provider's answer proves."""
        ...


class SentAway(Struct, frozen=True):
    """An address that the browser goes to next. `cookie` is the new name of its session."""

    url: str
    cookie: str | None = None

    def __repr__(self) -> str:
        return "SentAway(…)"


class Consent(Struct, frozen=True):
    """A question to the user, for the page. `csrf` has to come back with the answer."""

    link: ConnectionLink
    server: str
    csrf: str


class ConnectionEnd(Struct, frozen=True):
    """The end of the way: a connection was made, or the user declined."""

    link: ConnectionLink
    made: bool


class OfferedLink(Struct, frozen=True):
    """A link for a call. `is_new`: it was made for this call."""

    link: ConnectionLink
    is_new: bool


class ConnectionOffice:
    """Links, browsers and the way between. `append` writes to the journal. `link_life` is in seconds."""

    def __init__(
        self,
        connections: Connections,
        servers: Mapping[str, AuthorizationServer],
        login: PersonLogin,
        append: Callable[[str, JsonObject], Awaitable[None]],
        *,
        clock: Callable[[], float],
        link_life: float,
        find_stop: Callable[[ConnectionLink], Reason | None] = lambda _link: None,
    ) -> None:
        self._find_stop = find_stop
        self.connections = connections
        self.servers = servers
        self._login = login
        self._append = append
        self._clock = clock
        self._link_life = link_life
        self._links = Links()
        self._browsers = Browsers()
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}
        self._watchers: list[Callable[[ConnectionLink], None]] = []

    # --- for calls -------------------------------------------------------------------------------------

    def serves(self, owner: ConnectionOwner) -> bool:
        """Return whether the user can log in: the provider of the login has to be the issuer of the agent's token."""
        return owner.issuer == self._login.issuer

    def watch(self, hear: Callable[[ConnectionLink], None]) -> None:
        """Have `hear` called with each link that is closed."""
        self._watchers.append(hear)

    async def ask(
        self, owner: ConnectionOwner, place: tuple[str, str, str], *, session: str, decision: str | None
    ) -> OfferedLink | None:
        """Return the link for an owner, `None` if the user has declined lately. `place` is broker, upstream and audience.

        Raises `JournalError`.
        """
        now, (broker, upstream, audience) = self._clock(), place
        present = self._links.latest(owner.key, broker, now)
        if present is not None and present.state == "declined":
            return None
        if present is not None and present.state == "open":
            return OfferedLink(present, is_new=False)
        identifier = f"connect-{secrets.token_urlsafe(_BYTES)}"
        expires = now + self._link_life
        link = ConnectionLink(
            identifier, owner, broker, upstream, audience, self.servers[broker].terms.scopes, now, expires, session
        )
        self._links.add(link, now)
        await self._append(events.KIND, events.link_entry(link, "asked", now, decision))
        return OfferedLink(link, is_new=True)

    def find_link(self, identifier: str) -> ConnectionLink | None:
        """Return a link whose time is not over."""
        return self._links.get(identifier, self._clock())

    async def wait(self, identifier: str, seconds: float) -> None:
        """Wait until a link is open no more, at most so many seconds."""
        link = self.find_link(identifier)
        if link is None or link.state != "open" or seconds <= 0:
            return
        closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(identifier, set()).add(closed)
        try:
            await asyncio.wait([closed], timeout=min(seconds, link.expires - self._clock()))
        finally:
            left = self._waiting.get(identifier)
            if left is not None:
                left.discard(closed)
                if not left:
                    del self._waiting[identifier]

    def end_waits(self) -> None:
        """End all waits: the gateway stops."""
        for waiting in tuple(self._waiting.values()):
            _wake(waiting)

    async def decline(self, identifier: str) -> None:
        """Close a link whose user declined. Raises `JournalError`."""
        closed = self._links.close(identifier, "declined")
        if closed is not None:
            self._tell(closed)
            await self._append(events.KIND, events.link_entry(closed, "declined", self._clock()))

    # --- for browsers ----------------------------------------------------------------------------------

    async def open(self, identifier: str, cookie: str | None) -> SentAway | Consent | ConnectionEnd | Reason:
        """Open a link: log the person in, then ask for consent. Raises `IdentityUnavailable` and `JournalError`."""
        link, now = self.find_link(identifier), self._clock()
        if link is None:
            return reasons.CONNECTION_LINK.reason()
        browser = self._browsers.find(cookie, now)
        if browser is None or browser.person is None:
            return await self._send_to_login(link, browser)
        stranger = await self._check_person(link, browser)
        if stranger is not None:
            return stranger
        if link.state != "open":
            return ConnectionEnd(link, made=link.state == "made")
        return Consent(link, self.servers[link.broker].issuer, browser.csrf)

    async def finish_login(self, query: str, cookie: str | None) -> SentAway | Reason:
        """Take the provider's answer. Returns the way back to the link. Raises `IdentityUnavailable`."""
        browser = self._browsers.find(cookie, self._clock())
        pending = None if browser is None else browser.login
        if browser is None or pending is None or cookie is None:
            return reasons.CONNECTION_BROWSER.reason()
        person = await self._login.finish(pending.begun, query)
        if isinstance(person, Reason):
            return person
        if self._browsers.find(cookie, self._clock()) is not browser:
            return reasons.CONNECTION_BROWSER.reason()
        browser.login, browser.person, fresh = None, person, secrets.token_urlsafe(_BYTES)
        self._browsers.rename(cookie, fresh)
        return SentAway(f"/connect/{pending.link}", fresh)

    async def answer(
        self, identifier: str, cookie: str | None, csrf: str, answer: Literal["allow", "deny"]
    ) -> SentAway | ConnectionEnd | Reason:
        """Take the user's answer on the page. Returns the way to the authorization server after a yes."""
        link, browser = self.find_link(identifier), self._browsers.find(cookie, self._clock())
        if link is None:
            return reasons.CONNECTION_LINK.reason()
        if browser is None or browser.person is None or not is_same(browser.csrf, csrf):
            return reasons.CONNECTION_BROWSER.reason()
        stranger = await self._check_person(link, browser)
        if stranger is not None:
            return stranger
        if link.state != "open":
            return ConnectionEnd(link, made=link.state == "made")
        if answer == "deny":
            await self.decline(link.id)
            return ConnectionEnd(link, made=False)
        return await self._send_to_server(link, browser)

    async def finish(self, broker: str, query: str, cookie: str | None) -> ConnectionEnd | Reason:
        """Take the authorization server's answer, and make the connection.

        Raises `JournalError` and `StoreError`.
        """
        browser, answer = self._browsers.find(cookie, self._clock()), read_answer(query)
        if isinstance(answer, str):
            return reasons.CONNECTION_ANSWER.reason(problem=answer)
        pending = None if browser is None else browser.take(broker, answer.state)
        if browser is None or browser.person is None or pending is None or broker not in self.servers:
            return reasons.CONNECTION_BROWSER.reason()
        link = self.find_link(pending.link)
        if link is None or link.state != "open":
            return reasons.CONNECTION_LINK.reason()
        # A browser that leaves meanwhile must not leave tokens behind that nothing knows.
        made = await to_the_end(self._redeem(link, browser, pending, answer))
        if isinstance(made, Reason):
            await self._append(events.KIND, events.refused_entry(link, made.code, self._clock()))
            return made
        return ConnectionEnd(link, made=True)

    # --- steps -----------------------------------------------------------------------------------------

    async def _send_to_login(self, link: ConnectionLink, browser: Browser | None) -> SentAway:
        url, begun = await self._login.begin()
        cookie, now = None, self._clock()
        if browser is None:
            cookie, browser = secrets.token_urlsafe(_BYTES), Browser(secrets.token_urlsafe(_BYTES), now + LIFE)
            self._browsers.add(cookie, browser, now)
        browser.login = PendingLogin(link.id, begun)
        return SentAway(url, cookie)

    async def _send_to_server(self, link: ConnectionLink, browser: Browser) -> SentAway | Reason:
        server = self.servers[link.broker]
        endpoints = await server.endpoints()
        if isinstance(endpoints, Reason):
            return endpoints
        proof = await server.identify()
        if isinstance(proof, Reason):
            return proof
        code = CodeSecrets.make(partial(secrets.token_urlsafe, _BYTES))
        pending = PendingConsent(code, link.id, server.issuer, server.addresses.redirect_uri, endpoints.names_issuer)
        await self._append(events.KIND, events.link_entry(link, "agreed", self._clock()))
        browser.begin(link.broker, pending)
        return SentAway(await server.authorize(endpoints, proof, pending, link.upstream, link.scopes))

    async def _check_person(self, link: ConnectionLink, browser: Browser) -> Reason | None:
        """Refuse another person than the user of the agent, and anybody while an operator has stopped the agent or the user."""
        if (stopped := self._find_stop(link)) is not None:
            return stopped
        person = browser.person
        if person is not None and (person.issuer, person.id) == (link.owner.issuer, link.owner.user):
            return None
        if person is not None and link.id not in browser.refused:
            browser.refused.add(link.id)
            entry = events.refused_entry(
                link, reasons.CONNECTION_PERSON.code, self._clock(), (person.issuer, person.id)
            )
            await self._append(events.KIND, entry)
        return reasons.CONNECTION_PERSON.reason()

    async def _redeem(
        self, link: ConnectionLink, browser: Browser, pending: PendingConsent, answer: CallbackAnswer
    ) -> UserConnection | Reason:
        problem = _check_issuer(pending, answer) or await self._check_person(link, browser)
        if problem is not None:
            return problem
        if answer.code is None:
            return reasons.CONNECTION_REFUSED.reason()
        server = self.servers[link.broker]
        proof = await server.identify()
        if isinstance(proof, Reason):
            return proof
        grant = await server.redeem(answer.code, pending, proof, link.upstream, link.scopes)
        if isinstance(grant, NoAnswer | Refused):
            return _refuse_unredeemed(grant.problem)
        await server.drop(grant.access_token, proof)
        unusable = await self._find_problem(link, grant, proof.client_id)
        if unusable is not None or grant.refresh_token is None:
            if grant.refresh_token is not None:
                await server.tokens.revoke(grant.refresh_token, proof, "refresh_token")
            return unusable or reasons.CONNECTION_REFRESH.reason()
        try:
            return await self._make(link, grant, grant.refresh_token, proof.client_id)
        except GatewayError:
            # What cannot be recorded and kept must not live on at the server.
            await server.tokens.revoke(grant.refresh_token, proof, "refresh_token")
            raise

    async def _find_problem(self, link: ConnectionLink, grant: TokenGrant, client_id: str) -> Reason | None:
        if not await self.connections.has_room():
            return reasons.CONNECTION_ROOM.reason()
        server, now = self.servers[link.broker], self._clock()
        if server.terms.login:
            # The scopes of a login reach no upstream. Its person has to be the user: the browser may have changed accounts.
            user = link.owner.user
            if not proves_user(grant.id_token, issuer=server.issuer, client_id=client_id, user=user, now=now):
                return reasons.CONNECTION_PERSON.reason()
        elif not grant.scopes <= set(link.scopes):
            return reasons.CONNECTION_WIDER.reason()
        return None if link.state == "open" else reasons.CONNECTION_LINK.reason()

    async def _make(
        self, link: ConnectionLink, grant: TokenGrant, refresh_token: str, client_id: str
    ) -> UserConnection:
        now, server = self._clock(), self.servers[link.broker]
        connection = UserConnection(
            f"connection-{secrets.token_hex(12)}",
            link.owner,
            link.broker,
            server.issuer,
            client_id,
            tuple(name for name in link.scopes if server.terms.login or name in grant.scopes),
            now,
        )
        await self.connections.make(connection, refresh_token, link)
        closed = self._links.close(link.id, "made")
        if closed is not None:
            self._tell(closed)
        return connection

    def _tell(self, link: ConnectionLink) -> None:
        _wake(self._waiting.get(link.id, ()))
        for hear in self._watchers:
            hear(link)


def _check_issuer(pending: PendingConsent, answer: CallbackAnswer) -> Reason | None:
    """Refuse an answer of another server than the browser was sent to. Also answers with an error are checked."""
    if answer.is_of_issuer(pending.issuer, names_issuer=pending.names_issuer):
        return None
    found = reasons.CONNECTION_ISSUER_ABSENT if answer.issuer is None else reasons.CONNECTION_ISSUER
    return found.reason()


def _wake(waiting: set[asyncio.Future[None]] | tuple[()]) -> None:
    for future in waiting:
        if not future.done():
            future.set_result(None)


def _refuse_unredeemed(problem: str) -> Reason:
    return reasons.CONNECTION_REFUSED_TOKENS.reason(problem=problem)
