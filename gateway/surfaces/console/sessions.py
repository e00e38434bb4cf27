"""Logins at the console: sessions behind an opaque cookie, and one-time links. Both are bounded in number and time.

The registers keep digests, so that a copy of the memory gives no cookie away. A restart ends all of them. An account may do
at the console only as much as over the socket.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from msgspec import Struct, structs

from gateway.authority.approvals.model import Person
from gateway.base.control.operations import NoFields, Operation
from gateway.model.decision import Reason

if TYPE_CHECKING:
    from gateway.authority.approvals.rules import Accounts
    from gateway.base.control.line_socket import Account
    from gateway.base.control.operations import Control
    from gateway.surfaces.console.visits import ConsoleParts


Role: TypeAlias = Literal["viewer", "approver", "operator"]

PER_PERSON: Final = 8
"""Sessions of one person. Beyond it the person's own oldest one ends, and none of others."""
LINKS: Final = 64
LINK_SECONDS: Final = 300.0
_BYTES: Final = 32


class Visitor(Struct, frozen=True):
    """A person at the console. `login` names the way in. `logged_in` is the time of the login, in seconds since the epoch.

    `person` is the same person before the desk of approvals.
    """

    person: Person
    roles: frozenset[Role]
    login: Literal["link", "oidc"]
    logged_in: float

    @property
    def name(self) -> str:
        """Return the words for the person: the display name and the mail, or the id alone."""
        return self.person.known_as or self.person.id

    def has_role(self, role: Role) -> bool:
        """Return whether the person has a role. Operators see all that viewers see."""
        return role in self.roles or (role == "viewer" and "operator" in self.roles)


class LoginSession(Struct, frozen=True):
    """A login of a visitor. `id` names it in the journal. `began` and `used` are in seconds of the monotonic clock."""

    id: str
    visitor: Visitor
    csrf: str
    began: float
    used: float


class SessionRegister:
    """The open sessions by the digest of their cookie. `monotonic` gives seconds that nobody sets."""

    def __init__(self, *, lifetime: float, idle: float, limit: int, monotonic: Callable[[], float]) -> None:
        self._lifetime = lifetime
        self._idle = idle
        self._limit = limit
        self._monotonic = monotonic
        self._open: dict[str, LoginSession] = {}

    def __len__(self) -> int:
        self._forget_old()
        return len(self._open)

    def open(self, visitor: Visitor) -> tuple[str, LoginSession]:
        """Begin a session, and return its cookie. The oldest session ends where there are too many."""
        self._forget_old()
        person = visitor.person
        own = [key for key, one in self._open.items() if _is_same(one.visitor.person, person)]
        for key in own[: max(0, len(own) - PER_PERSON + 1)]:
            del self._open[key]
        while len(self._open) >= self._limit:
            del self._open[next(iter(self._open))]
        cookie, now = secrets.token_urlsafe(_BYTES), self._monotonic()
        key = _digest(cookie)
        session = LoginSession(key[:12], visitor, secrets.token_urlsafe(_BYTES), now, now)
        self._open[key] = session
        return cookie, session

    def find(self, cookie: str | None, *, is_use: bool = True) -> LoginSession | None:
        """Return the session of a cookie, if its time is not over. `is_use`: the person did something, so the pause ends."""
        key = "" if cookie is None else _digest(cookie)
        session, now = self._open.get(key), self._monotonic()
        if session is None:
            return None
        if self._is_over(session, now):
            del self._open[key]
            return None
        if is_use:
            # The place in the order stays: the oldest login is the one that ends first.
            session = structs.replace(session, used=now)
            self._open[key] = session
        return session

    def close(self, cookie: str | None) -> None:
        """End a session."""
        if cookie is not None:
            self._open.pop(_digest(cookie), None)

    def _forget_old(self) -> None:
        now = self._monotonic()
        self._open = {key: one for key, one in self._open.items() if not self._is_over(one, now)}

    def _is_over(self, session: LoginSession, now: float) -> bool:
        return now >= session.began + self._lifetime or now >= session.used + self._idle


class LinkRegister:
    """One-time links for people with an account on this machine."""

    def __init__(self, *, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._open: dict[str, tuple[Visitor, float]] = {}

    def make(self, visitor: Visitor) -> str:
        """Return the secret part of a new link. The oldest link ends where there are too many."""
        now = self._monotonic()
        self._open = {key: one for key, one in self._open.items() if now < one[1]}
        while len(self._open) >= LINKS:
            del self._open[next(iter(self._open))]
        token = secrets.token_urlsafe(_BYTES)
        self._open[_digest(token)] = (visitor, now + LINK_SECONDS)
        return token

    def find(self, token: str) -> Visitor | None:
        """Return the visitor of an unused link, and leave the link usable."""
        visitor, until = self._open.get(_digest(token), (None, 0.0))
        return visitor if self._monotonic() < until else None

    def use(self, token: str) -> Visitor | None:
        """Return the visitor of a link that was not used yet, and end the link."""
        visitor = self.find(token)
        self._open.pop(_digest(token), None)
        return visitor


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
        return make_link(console, accounts, account)

    control.add({LINK: link})


def make_link(console: ConsoleParts, accounts: Accounts, account: Account) -> MadeLink | Reason:
    """Return a one-time link for an account, or the refusal of a foreign account."""
    visitor = find_visitor(accounts, account, console.gateway.clock())
    if isinstance(visitor, Reason):
        return visitor
    url = console.link(console.links.make(visitor))
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
