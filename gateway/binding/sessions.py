"""Session ids that only their owner can use. Pure: the key comes in as an argument.

The id that a client gets is the upstream's own, followed by the mark of the token with which the session began, and by
a MAC over the upstream, the principal and both. It needs no table, survives a restart, and holds on every replica that
shares the key. MCP 2025-11-25, security best practices, "Session Hijacking": a session id must not be a means of
authentication.

The mark says to which task the session's calls belong. Each upstream gives sessions of its own, so a session says
nothing of what its client does at the others; the token with which all of them began does, also when it was renewed.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

from gateway.model.caller import Principal

_MAC_BYTES = 16


@dataclass(frozen=True, slots=True)
class Session:
    """`id` is the upstream's own; `began` the mark of the token with which it began (`Principal.token_mark`)."""

    id: str
    began: str


class Sessions:
    """Seals and opens session ids with one key."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def seal(self, session: Session, *, upstream: str, principal: Principal) -> str:
        """The id that the client gets for the upstream's."""
        return f"{session.id}.{session.began}.{self._mac(session, upstream, principal)}"

    def open(self, sealed: str, *, upstream: str, principal: Principal) -> Session | None:
        """The session, or `None` if this principal did not get `sealed` from this upstream."""
        marked, _, mac = sealed.rpartition(".")
        identifier, _, began = marked.rpartition(".")
        session = Session(identifier, began)
        return session if hmac.compare_digest(mac.encode(), self._mac(session, upstream, principal).encode()) else None

    def _mac(self, session: Session, upstream: str, principal: Principal) -> str:
        message = f"{upstream}\0{principal.key}\0{session.began}\0{session.id}".encode()
        return hmac.digest(self._key, message, hashlib.sha256)[:_MAC_BYTES].hex()
