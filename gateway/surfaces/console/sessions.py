"""Logins at the console: sessions behind an opaque cookie, and one-time links. Both are bounded in number and time.

They are records under digests, so a copy of the records gives no cookie away. All gateways on the same records know them. A restart of
a gateway alone ends all of them. An account may do at the console only as much as over the socket.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from msgspec import Struct, structs

from gateway.authority.approvals.model import Person
from gateway.base.control.operations import NoFields, Operation
from gateway.base.store.engine import ABSENT, Change
from gateway.model.decision import Reason
from gateway.surfaces.stored.console_logins import LOGIN_LINKS, SESSIONS, LoginLink, LoginSession, Role, Visitor

if TYPE_CHECKING:
    from gateway.authority.approvals.rules import Accounts
    from gateway.base.control.line_socket import Account
    from gateway.base.control.operations import Control
    from gateway.base.store.records import SealedStore
    from gateway.surfaces.console.visits import ConsoleParts


PER_PERSON: Final = 8
"""Sessions of one person. Beyond it the person's own oldest one ends, and none of others."""
LINKS: Final = 64
LINK_SECONDS: Final = 300.0
_BYTES: Final = 32
_UNWRITTEN: Final = 1 / 60
"""Part of the pause within which a second use of a session is not written."""
_ATTEMPTS: Final = 8
"""Attempts to write the use of a session beside other requests of the same person."""


class SessionRegister:
    """The open sessions by the digest of their cookie. `now` gives seconds since the epoch, and never goes back.

    A session under other `terms` is none: its roles came from other settings.
    Each method with a wait raises `StoreError`.
    """

    def __init__(
        self,
        store: SealedStore,
        *,
        lifetime: float,
        idle: float,
        limit: int,
        now: Callable[[], float],
        terms: str = "",
    ) -> None:
        self._store = store
        self._records = store.of(SESSIONS)
        self._lifetime = lifetime
        self._idle = idle
        self._limit = limit
        self._now = now
        self._terms = terms

    async def open(self, visitor: Visitor) -> tuple[str, LoginSession]:
        """Begin a session, and return its cookie. The oldest session ends where there are too many."""
        await self._records.expire()
        found = sorted((await self._records.load()).items(), key=lambda item: item[1].began)
        own = [key for key, one in found if _is_same(one.visitor.person, visitor.person)]
        ended = own[: max(0, len(own) - PER_PERSON + 1)]
        left = [key for key, _ in found if key not in ended]
        ended += left[: max(0, len(left) - self._limit + 1)]
        cookie, now = secrets.token_urlsafe(_BYTES), self._now()
        key = _digest(cookie)
        session = LoginSession(key[:12], visitor, secrets.token_urlsafe(_BYTES), now, now, self._terms)
        await self._store.change(*map(self._records.removed, ended), self._write(key, session, ABSENT))
        return cookie, session

    async def find(self, cookie: str | None, *, is_use: bool = True) -> LoginSession | None:
        """Return the session of a cookie, if its time is not over. `is_use`: the person did something, so the pause ends.

        A use soon after another one is not written, so a pause may end earlier by that time.
        """
        if not cookie:
            return None
        key, now = _digest(cookie), self._now()
        for _ in range(_ATTEMPTS):
            found = await self._records.find(key)
            if found is None:
                return None
            session, version = found
            if session.terms != self._terms or now >= self._find_end(session):
                return None
            if not is_use or now - session.used < self._idle * _UNWRITTEN:
                return session
            used = structs.replace(session, used=now)
            if await self._store.change(self._write(key, used, version)) is not None:
                return used
        return None

    async def close(self, cookie: str | None) -> None:
        """End a session at all gateways."""
        if cookie:
            await self._records.remove(_digest(cookie))

    async def close_all(self) -> None:
        """End all sessions."""
        await self._records.remove(*await self._records.list_versions())

    def _write(self, key: str, session: LoginSession, version: int) -> Change:
        return self._records.changed(key, session, version=version, expires=self._find_end(session))

    def _find_end(self, session: LoginSession) -> float:
        return min(session.began + self._lifetime, session.used + self._idle)


class LinkRegister:
    """One-time links for people with an account on this machine. `now` and `terms` are as for sessions.

    Each method with a wait raises `StoreError`.
    """

    def __init__(self, store: SealedStore, *, now: Callable[[], float], terms: str = "") -> None:
        self._store = store
        self._records = store.of(LOGIN_LINKS)
        self._now = now
        self._terms = terms

    async def make(self, visitor: Visitor) -> str:
        """Return the secret part of a new link. The oldest link ends where there are too many."""
        await self._records.expire()
        found = sorted((await self._records.load()).items(), key=lambda item: item[1].until)
        ended = [key for key, _ in found[: max(0, len(found) - LINKS + 1)]]
        token = secrets.token_urlsafe(_BYTES)
        link = LoginLink(visitor, self._now() + LINK_SECONDS, self._terms)
        made = self._records.changed(_digest(token), link, version=ABSENT, expires=link.until)
        await self._store.change(*map(self._records.removed, ended), made)
        return token

    async def find(self, token: str) -> Visitor | None:
        """Return the visitor of an unused link, and leave the link usable."""
        found = await self._find(token)
        return None if found is None else found[0]

    async def use(self, token: str) -> Visitor | None:
        """Return the visitor of a link that was not used yet, and end the link. Of two uses at the same time one counts."""
        found = await self._find(token)
        if found is None:
            return None
        visitor, version = found
        ended = Change(LOGIN_LINKS.name, _digest(token), None, version)
        return visitor if await self._store.change(ended) is not None else None

    async def close_all(self) -> None:
        """End all links."""
        await self._records.remove(*await self._records.list_versions())

    async def _find(self, token: str) -> tuple[Visitor, int] | None:
        found = await self._records.find(_digest(token))
        if found is None or found[0].terms != self._terms or self._now() >= found[0].until:
            return None
        return found[0].visitor, found[1]


def _is_same(one: Person, other: Person) -> bool:
    return (one.id, one.issuer) == (other.id, other.issuer)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


_OF_OPERATOR: Final[frozenset[Role]] = frozenset({"viewer", "operator"})
_OF_APPROVER: Final[frozenset[Role]] = frozenset({"approver"})


class MadeLink(Struct, frozen=True):
    """A one-time link for a person, good for so many seconds."""

    url: str
    seconds: int
    person: str
    roles: list[str]


LINK: Final = Operation(
    "logins/link", "account", "Make a link that logs the account in once.", MadeLink, "`console: {}`, without a login"
)
OPERATIONS: Final = (LINK,)


def add_operations(control: Control, console: ConsoleParts, accounts: Accounts) -> None:
    """Add the operation of links."""

    async def link(_asked: NoFields, account: Account) -> MadeLink | Reason:
        return await make_link(console, accounts, account)

    control.add({LINK: link})


async def make_link(console: ConsoleParts, accounts: Accounts, account: Account) -> MadeLink | Reason:
    """Return a one-time link for an account, or the refusal of a foreign account. Raises `StoreError`."""
    visitor = find_visitor(accounts, account, console.gateway.clock())
    if isinstance(visitor, Reason):
        return visitor
    url = console.link(await console.links.make(visitor))
    return MadeLink(url, int(LINK_SECONDS), visitor.name, sorted(visitor.roles))


def find_visitor(accounts: Accounts, account: Account, now: float) -> Visitor | Reason:
    """Return the visitor behind an account."""
    is_operator = accounts.operators.has(account)
    approver = accounts.approver(account, None, ())
    if not isinstance(approver, Reason):
        person, roles = approver.person, _OF_APPROVER | (_OF_OPERATOR if is_operator else frozenset[Role]())
    elif is_operator:
        name = accounts.operators.name_of(account)
        person, roles = Person(name.id, name.issuer), _OF_OPERATOR
    else:
        return approver
    return Visitor(structs.replace(person, channel="console"), roles, "link", now)
