"""Sessions of browsers that opened a link, as records with an end. A cookie names each; the login gives it another name.

Each has the person who logged in, the pending login and the pending authorizations. All of them are for this browser alone. A record
has the digest of its cookie for a name, so a copy of the records gives no cookie away.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from msgspec import Struct, field, structs

from gateway.base.store.engine import ABSENT
from gateway.base.store.records import RecordKind
from gateway.model.errors import StoreError
from gateway.wire.oauth_flow import CodeSecrets, is_same

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.base.store.records import SealedStore

LIFE: Final = 900.0
"""Seconds of a session, from its beginning."""
CAPACITY: Final = 4096
"""Sessions at once; beyond it the oldest go, first those without a login."""
PENDING: Final = 8
"""Authorizations that one browser has begun and not ended."""
_REFUSED: Final = 64
"""Links of other people that a session remembers."""
_ATTEMPTS: Final = 8


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
    begun: str

    def __repr__(self) -> str:
        return f"PendingLogin({self.link!r})"


class Browser(Struct, frozen=True):
    """The session of one browser. `csrf` is the secret in the forms of this session.

    `refused` are the opened links of other people. The journal has one entry for each.
    """

    csrf: str
    ends: float
    person: LoggedInPerson | None = None
    login: PendingLogin | None = None
    authorizations: dict[str, PendingConsent] = field(default_factory=dict[str, PendingConsent])
    refused: tuple[str, ...] = ()

    def begin(self, broker: str, pending: PendingConsent) -> Browser:
        """Return the session with a request to the server of a broker, in place of an earlier one."""
        others = {name: each for name, each in self.authorizations.items() if name != broker}
        kept = dict([*others.items(), (broker, pending)][-PENDING:])
        return structs.replace(self, authorizations=kept)

    def find_pending(self, broker: str, state: str) -> PendingConsent | None:
        """Return the authorization at a broker that an answer belongs to."""
        pending = self.authorizations.get(broker)
        return None if pending is None or not is_same(pending.code.state, state) else pending

    def take_out(self, broker: str, pending: PendingConsent) -> Browser | None:
        """Return the session without an authorization, `None` if it has another one or none: an answer counts once."""
        if self.authorizations.get(broker) != pending:
            return None
        left = {name: each for name, each in self.authorizations.items() if name != broker}
        return structs.replace(self, authorizations=left)

    def log_in(self, pending: PendingLogin, person: LoggedInPerson) -> Browser | None:
        """Return the session of a person, `None` if another login is on its way."""
        return structs.replace(self, login=None, person=person) if self.login == pending else None

    def refuse(self, link: str) -> Browser | None:
        """Return the session with a link of another person, `None` if it has the link already."""
        if link in self.refused:
            return None
        return structs.replace(self, refused=(*self.refused, link)[-_REFUSED:])


BROWSERS: Final = RecordKind("browser of a user who connects", Browser, "the user opens the link again")


class Browsers:
    """Sessions by the name in the cookie. Each method raises `StoreError`."""

    def __init__(self, store: SealedStore, clock: Callable[[], float], capacity: int = CAPACITY) -> None:
        self._store = store
        self._clock = clock
        self._capacity = capacity
        self._records = store.of(BROWSERS)

    async def find(self, cookie: str | None) -> Browser | None:
        """Return the session of a cookie."""
        found = None if not cookie else await self._records.get(_digest(cookie))
        return None if found is None or found.ends <= self._clock() else found

    async def add(self, cookie: str, browser: Browser) -> None:
        """Add a session under a new name."""
        await self._records.make_room(self._capacity, lambda each: (each.person is not None, each.ends))
        await self._records.add(_digest(cookie), browser, expires=browser.ends)

    async def change(
        self, cookie: str, edit: Callable[[Browser], Browser | None], *, fresh: str | None = None
    ) -> Browser | None:
        """Change the session of a cookie, and return it. Return `None` if it has ended, or if `edit` returns `None`.

        Of two changes at the same time, the second one sees the first. `fresh` is another cookie of the session from now on.
        """
        key = _digest(cookie)
        for _ in range(_ATTEMPTS):
            found = await self._records.find(key)
            changed = None if found is None or found[0].ends <= self._clock() else edit(found[0])
            if found is None or changed is None:
                return None
            version, ends = found[1], changed.ends
            if fresh is None:
                changes = (self._records.changed(key, changed, version=version, expires=ends),)
            else:
                gone = self._records.removed(key)._replace(version=version)
                changes = gone, self._records.changed(_digest(fresh), changed, version=ABSENT, expires=ends)
            if await self._store.change(*changes) is not None:
                return changed
        raise StoreError("other requests of the same browser were first again and again", "open the link again")


def _digest(cookie: str) -> str:
    return hashlib.sha256(cookie.encode("utf-8", "surrogatepass")).hexdigest()
