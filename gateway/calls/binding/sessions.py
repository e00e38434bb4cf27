"""Session ids for their owner alone. Pure: the key comes in as an argument.

The client's id is the upstream's own and a MAC. The MAC is over the upstream, the principal, the id, and one capability
of the client. Such an id needs no table, survives a restart, and holds on every replica with the same key. MCP
2025-11-25, security best practices, "Session Hijacking": a session id must not be a means of authentication.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

from msgspec import Struct

from gateway.model.caller import Principal

_MAC_BYTES: Final = 16
_OPENS_URLS: Final = "u"
"""Stands before the MAC of a session whose client opens URLs. No MAC begins with this letter."""


class Session(Struct, frozen=True):
    """A session of a caller. `id` is the upstream's own. `opens_urls`: the client declared URL elicitation in `initialize`."""

    id: str
    opens_urls: bool = False


class Sessions:
    """Seals and opens session ids with a key."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def seal(self, session: Session, *, upstream: str, principal: Principal) -> str:
        """Return the client's id for the upstream's."""
        return f"{session.id}.{self._tag(session, upstream, principal)}"

    def open(self, sealed: str, *, upstream: str, principal: Principal) -> Session | None:
        """Return the session, or `None` if this principal did not get `sealed` from this upstream."""
        identifier, _, tag = sealed.rpartition(".")
        session = Session(identifier, tag.startswith(_OPENS_URLS))
        expected = self._tag(session, upstream, principal)
        return session if hmac.compare_digest(tag.encode(), expected.encode()) else None

    def _tag(self, session: Session, upstream: str, principal: Principal) -> str:
        # Only the text of a session whose client opens URLs begins with a NUL, since an upstream has a name.
        mark, first = (_OPENS_URLS, "\0") if session.opens_urls else ("", "")
        message = f"{first}{upstream}\0{principal.key}\0{session.id}".encode()
        return mark + hmac.digest(self._key, message, hashlib.sha256)[:_MAC_BYTES].hex()
