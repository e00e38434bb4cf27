"""The way of a person's browser from a link to a connection: login, consent, the authorization server, and back.

Whoever opens a link has to be the user of the agent that was given it (MCP 2026-07-28, client/elicitation, "Phishing"). Nothing is
bound for another person. Each step belongs to one browser: its cookie, its state and its verifier.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, Protocol

import structlog
from msgspec import Struct, structs

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
from gateway.model.errors import GatewayError, StoreError
from gateway.wire.https_client import NoAnswer
from gateway.wire.oauth_flow import CallbackAnswer, CodeSecrets, is_same, read_answer

if TYPE_CHECKING:
    from gateway.authority.connections.connections import Connections
    from gateway.authority.connections.grants import TokenGrant
    from gateway.authority.connections.model import ConnectionOwner
    from gateway.authority.connections.server import AuthorizationServer
    from gateway.base.store.records import SealedStore
    from gateway.model.wire import JsonObject

log = structlog.get_logger("gateway.connections")

_BYTES: Final = 32


class PersonLogin(Protocol):
    """The client of the identity provider. Both methods raise `IdentityUnavailable`."""

    @property
    def issuer(self) -> str: ...

    async def begin(self) -> tuple[str, str]:
        """Return the address to which a browser goes, and the login on its way as text. The text is secret."""
        ...

    async def finish(self, begun: str, query: str) -> LoggedInPerson | Reason:
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


class _Answered(NamedTuple):
    """The answer of an authorization server, with the browser that brought it."""

    browser: Browser
    cookie: str
    pending: PendingConsent
    answer: CallbackAnswer


class ConnectionOffice:
    """Links, browsers and the way between, over the records of all gateways: each step may be at another gateway.

    `append` writes to the journal. `link_life` is in seconds.
    """

    def __init__(
        self,
        store: SealedStore,
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
        self._links = Links(store, clock)
        self._browsers = Browsers(store, clock)
        self._looking = asyncio.Lock()
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

        Raises `JournalError` and `StoreError`.
        """
        now, (broker, upstream, audience) = self._clock(), place
        scopes, expires = self.servers[broker].terms.scopes, now + self._link_life

        def make(identifier: str) -> ConnectionLink:
            return ConnectionLink(identifier, owner, broker, upstream, audience, scopes, now, expires, session)

        link, is_new = await self._links.offer(owner.key, broker, make)
        if is_new:
            await self._append(events.KIND, events.link_entry(link, "asked", now, decision))
        return None if link.state == "declined" else OfferedLink(link, is_new)

    async def find_link(self, identifier: str) -> ConnectionLink | None:
        """Return a link to a broker of this configuration. Raises `StoreError`.

        Links that have ended are left out. Another configuration may have made a link to another broker.
        """
        link = await self._links.get(identifier)
        return None if link is None or link.broker not in self.servers else link

    async def load(self) -> None:
        """Read the present links: `look` tells of later changes. Raises `StoreError`."""
        await self._links.load()

    async def look(self) -> None:
        """Tell waiting calls and sessions of each link closed at any gateway. Raises `StoreError`."""
        async with self._looking:
            for link in await self._links.look():
                if link.state != "open":
                    self._tell(link)

    async def wait(self, identifier: str, seconds: float) -> None:
        """Wait until a link is open no more, at most so many seconds. Raises `StoreError`."""
        closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(identifier, set()).add(closed)
        try:
            link = await self.find_link(identifier)
            if link is not None and link.state == "open" and seconds > 0:
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
        """Close a link whose user declined. Raises `JournalError` and `StoreError`."""
        link = await self.find_link(identifier)
        if link is not None and await self._links.close(identifier, "declined"):
            await self._announce()
            await self._append(events.KIND, events.link_entry(link, "declined", self._clock()))

    # --- for browsers ----------------------------------------------------------------------------------

    async def open(self, identifier: str, cookie: str | None) -> SentAway | Consent | ConnectionEnd | Reason:
        """Open a link: log the person in, then ask for consent. Raises `GatewayError`."""
        link = await self.find_link(identifier)
        if link is None:
            return reasons.CONNECTION_LINK.reason()
        browser = await self._browsers.find(cookie)
        if cookie is None or browser is None or browser.person is None:
            return await self._send_to_login(link, None if browser is None else cookie)
        stranger = await self._check_person(link, browser, cookie)
        if stranger is not None:
            return stranger
        if link.state != "open":
            return ConnectionEnd(link, made=link.state == "made")
        return Consent(link, self.servers[link.broker].issuer, browser.csrf)

    async def finish_login(self, query: str, cookie: str | None) -> SentAway | Reason:
        """Take the provider's answer. Returns the way back to the link. Raises `GatewayError`."""
        browser = await self._browsers.find(cookie)
        pending = None if browser is None else browser.login
        if browser is None or pending is None or cookie is None:
            return reasons.CONNECTION_BROWSER.reason()
        person = await self._login.finish(pending.begun, query)
        if isinstance(person, Reason):
            return person
        # The name of before the login proves nothing any more.
        fresh = secrets.token_urlsafe(_BYTES)
        if await self._browsers.change(cookie, lambda each: each.log_in(pending, person), fresh=fresh) is None:
            return reasons.CONNECTION_BROWSER.reason()
        return SentAway(f"/connect/{pending.link}", fresh)

    async def answer(
        self, identifier: str, cookie: str | None, csrf: str, answer: Literal["allow", "deny"]
    ) -> SentAway | ConnectionEnd | Reason:
        """Take the user's answer on the page. Returns the way to the authorization server after a yes. Raises `GatewayError`."""
        link, browser = await self.find_link(identifier), await self._browsers.find(cookie)
        if link is None:
            return reasons.CONNECTION_LINK.reason()
        if cookie is None or browser is None or browser.person is None or not is_same(browser.csrf, csrf):
            return reasons.CONNECTION_BROWSER.reason()
        stranger = await self._check_person(link, browser, cookie)
        if stranger is not None:
            return stranger
        if link.state != "open":
            return ConnectionEnd(link, made=link.state == "made")
        if answer == "deny":
            await self.decline(link.id)
            return ConnectionEnd(link, made=False)
        return await self._send_to_server(link, cookie)

    async def finish(self, broker: str, query: str, cookie: str | None) -> ConnectionEnd | Reason:
        """Take the authorization server's answer, and make the connection.

        Raises `JournalError` and `StoreError`.
        """
        browser, answer = await self._browsers.find(cookie), read_answer(query)
        if isinstance(answer, str):
            return reasons.CONNECTION_ANSWER.reason(problem=answer)
        pending = None if browser is None else browser.find_pending(broker, answer.state)
        if cookie is None or pending is None or broker not in self.servers:
            return reasons.CONNECTION_BROWSER.reason()
        browser = await self._browsers.change(cookie, lambda each: each.take_out(broker, pending))
        if browser is None or browser.person is None:
            return reasons.CONNECTION_BROWSER.reason()
        # A browser that leaves meanwhile must not leave tokens behind that nothing knows.
        return await to_the_end(self._finish(_Answered(browser, cookie, pending, answer)))

    async def _finish(self, answered: _Answered) -> ConnectionEnd | Reason:
        """Make the connection of a link in its turn: of two browsers at two gateways, one does."""
        identifier = answered.pending.link
        async with self.connections.connecting(identifier):
            link = await self.find_link(identifier)
            if link is None or link.state != "open":
                return reasons.CONNECTION_LINK.reason()
            made = await self._redeem(link, answered)
            if isinstance(made, Reason):
                await self._append(events.KIND, events.refused_entry(link, made.code, self._clock()))
                return made
            if await self._links.close(identifier, "made"):
                await self._announce()
            return ConnectionEnd(link, made=True)

    # --- steps -----------------------------------------------------------------------------------------

    async def _send_to_login(self, link: ConnectionLink, cookie: str | None) -> SentAway:
        """Send a browser to the identity provider. `cookie` names its session, `None` for a browser without one."""
        url, begun = await self._login.begin()
        login = PendingLogin(link.id, begun)
        if cookie is not None and await self._browsers.change(cookie, lambda each: structs.replace(each, login=login)):
            return SentAway(url)
        cookie, csrf = secrets.token_urlsafe(_BYTES), secrets.token_urlsafe(_BYTES)
        await self._browsers.add(cookie, Browser(csrf, self._clock() + LIFE, login=login))
        return SentAway(url, cookie)

    async def _send_to_server(self, link: ConnectionLink, cookie: str) -> SentAway | Reason:
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
        if await self._browsers.change(cookie, lambda each: each.begin(link.broker, pending)) is None:
            return reasons.CONNECTION_BROWSER.reason()
        return SentAway(await server.authorize(endpoints, proof, pending, link.upstream, link.scopes))

    async def _check_person(self, link: ConnectionLink, browser: Browser, cookie: str) -> Reason | None:
        """Refuse another person than the user of the agent, and anybody while an operator has stopped the agent or the user."""
        if (stopped := self._find_stop(link)) is not None:
            return stopped
        person = browser.person
        if person is not None and (person.issuer, person.id) == (link.owner.issuer, link.owner.user):
            return None
        if person is not None and await self._browsers.change(cookie, lambda each: each.refuse(link.id)):
            entry = events.refused_entry(
                link, reasons.CONNECTION_PERSON.code, self._clock(), (person.issuer, person.id)
            )
            await self._append(events.KIND, entry)
        return reasons.CONNECTION_PERSON.reason()

    async def _redeem(self, link: ConnectionLink, answered: _Answered) -> UserConnection | Reason:
        browser, cookie, pending, answer = answered
        server = self.servers[link.broker]
        problem = _check_issuer(pending, answer, server) or await self._check_person(link, browser, cookie)
        if problem is not None:
            return problem
        if answer.code is None:
            return reasons.CONNECTION_REFUSED.reason()
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
        return None

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
        return connection

    async def _announce(self) -> None:
        """Tell of a closed link at once. After a failure, the next look tells of it."""
        try:
            await self.look()
        except StoreError as error:
            log.warning("connection.link-untold", problem=error.message)

    def _tell(self, link: ConnectionLink) -> None:
        _wake(self._waiting.get(link.id, ()))
        for hear in self._watchers:
            hear(link)


def _check_issuer(pending: PendingConsent, answer: CallbackAnswer, server: AuthorizationServer) -> Reason | None:
    """Refuse an answer of another server than the browser was sent to. Also answers with an error are checked.

    A gateway with another configuration may have sent the browser: its code goes to no server of this one.
    """
    if pending.issuer != server.issuer:
        return reasons.CONNECTION_ISSUER.reason()
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
