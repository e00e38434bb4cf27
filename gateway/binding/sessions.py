"""Session ids that only their owner can use. Pure: the key comes in as an argument.

The id that a client gets is the upstream's own, followed by a MAC over the upstream, the principal and the id. It needs
no table, survives a restart, and holds on every replica that shares the key. MCP 2025-11-25, security best practices,
"Session Hijacking": a session id must not be a means of authentication.
"""

from __future__ import annotations

import hashlib
import hmac

from gateway.model.caller import Principal

_MAC_BYTES = 16


class Sessions:
    """Seals and opens session ids with one key."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def seal(self, session: str, *, upstream: str, principal: Principal) -> str:
        """Return the id that the client gets for the upstream's."""
        return f"{session}.{self._mac(session, upstream, principal)}"

    def open(self, sealed: str, *, upstream: str, principal: Principal) -> str | None:
        """Return the upstream's id, or `None` if this principal did not get `sealed` from this upstream."""
        session, _, mac = sealed.rpartition(".")
        expected = self._mac(session, upstream, principal)
        return session if hmac.compare_digest(mac.encode(), expected.encode()) else None

    def _mac(self, session: str, upstream: str, principal: Principal) -> str:
        message = f"{upstream}\0{principal.key}\0{session}".encode()
        return hmac.digest(self._key, message, hashlib.sha256)[:_MAC_BYTES].hex()
