"""Sessions of browsers that opened a link, in memory. Pure. A cookie names each; the login gives it another name.

Each has the person who logged in, the pending login and the pending authorizations. All of them are for this browser alone.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct, field

from gateway.wire.oauth_flow import CodeSecrets, is_same

LIFE: Final = 900.0
"""Seconds of a session, from its beginning."""
CAPACITY: Final = 4096
"""Sessions at once; beyond it the oldest goes."""
PENDING: Final = 8
"""Authorizations that one browser has begun and not ended."""


class LoggedInPerson(Struct, frozen=True):
    """A person who logged in: the provider and its name for the person."""

    issuer: str
    id: str


class PendingConsent(Struct, frozen=True):
    """A request on its way through a browser. Only the answer of `issuer` counts, at `redirect_uri` alone.

    `names_issuer`: the answer has to name the server (RFC 9207).
    """

    code: CodeSecrets
    link: str
    issuer: str
    redirect_uri: str
    names_issuer: bool

    def __repr__(self) -> str:
        return f"Pending({self.link!r})"


class PendingLogin(Struct, frozen=True):
    """A login on its way through a browser. Only the identity provider's client reads `begun`."""

    link: str
    begun: object

    def __repr__(self) -> str:
        return f"PendingLogin({self.link!r})"


class Browser(Struct):
    """The session of one browser. `csrf` is the secret in the forms of this session.

    `refused` are the opened links of other people. The journal has one entry for each.
    """

    csrf: str
    ends: float
    person: LoggedInPerson | None = None
    login: PendingLogin | None = None
    authorizations: dict[str, PendingConsent] = field(default_factory=dict[str, PendingConsent])
    refused: set[str] = field(default_factory=set[str])

    def begin(self, broker: str, pending: PendingConsent) -> None:
        """Note a request to the server of a broker, in place of an earlier one."""
        self.authorizations.pop(broker, None)
        self.authorizations[broker] = pending
        while len(self.authorizations) > PENDING:
            del self.authorizations[next(iter(self.authorizations))]

    def take(self, broker: str, state: str) -> PendingConsent | None:
        """Take out the authorization at a broker that an answer belongs to. An answer counts once."""
        pending = self.authorizations.get(broker)
        if pending is None or not is_same(pending.code.state, state):
            return None
        return self.authorizations.pop(broker)


class Browsers:
    """Sessions by the name in the cookie."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._sessions: dict[str, Browser] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def find(self, name: str | None, now: float) -> Browser | None:
        """Return the session of a cookie."""
        found = None if name is None else self._sessions.get(name)
        return None if found is None or found.ends <= now else found

    def add(self, name: str, browser: Browser, now: float) -> None:
        """Add a session under a new name."""
        while self._sessions and next(iter(self._sessions.values())).ends <= now:
            del self._sessions[next(iter(self._sessions))]
        if len(self._sessions) >= self._capacity:
            del self._sessions[next(iter(self._sessions))]
        self._sessions[name] = browser

    def rename(self, name: str, fresh: str) -> None:
        """Give a session a fresh name: the name of before the login proves nothing any more."""
        self._sessions[fresh] = self._sessions.pop(name)
