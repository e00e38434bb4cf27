"""The gateway's own `requestState`: `oga1.` and a sealed ticket of a waiting caller (MCP 2026-07-28, multi round-trip requests).

A client may change, keep or lend a state. So the ticket is sealed with AES-256-GCM (NIST SP 800-38D) and names its caller and call.
"""

from __future__ import annotations

import base64
import binascii
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec import Struct

if TYPE_CHECKING:
    from gateway.base.keys.key_ring import KeyRing

PREFIX: Final = "oga1."
_NONCE: Final = 12
_LONGEST: Final = 2**20
"""Characters of a state that is opened."""


class StateTicket(Struct, frozen=True):
    """Contents of a state. `round` counts the answers with a wait for the client. `state` and `responses` are the
    upstream's own, for the upstream, as in the first request. `connection` is the link shown to the user, if the caller
    waits for a connection and not for an approval."""

    approval: str
    call: str
    principal: str
    round: int
    expires: float
    state: str | None = None
    responses: dict[str, Any] | None = None
    connection: str | None = None


class TicketSeal:
    """The seal of tickets: the newest key seals, and every key opens. `nonce(size)` returns fresh random bytes."""

    def __init__(self, keys: KeyRing[bytes], nonce: Any) -> None:
        self._ciphers = keys.map(AESGCM)
        self._nonce = nonce

    def seal(self, ticket: StateTicket) -> str:
        """Return the state for the client."""
        nonce = self._nonce(_NONCE)
        sealed = self._ciphers.newest.encrypt(nonce, msgspec.json.encode(ticket), PREFIX.encode("ascii"))
        return PREFIX + base64.urlsafe_b64encode(nonce + sealed).decode("ascii").rstrip("=")

    def open(self, state: str, principal: str, now: float) -> StateTicket | None:
        """Return the ticket, `None` for a foreign ticket, or for an expired one."""
        if not state.startswith(PREFIX) or len(state) > _LONGEST:
            return None
        text = state.removeprefix(PREFIX)
        try:
            data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
            sealed = self._decrypt(data)
            ticket = None if sealed is None else msgspec.json.decode(sealed, type=StateTicket)
        except (binascii.Error, ValueError, msgspec.MsgspecError):
            return None
        return ticket if ticket is not None and ticket.principal == principal and now < ticket.expires else None

    def _decrypt(self, data: bytes) -> bytes | None:
        for cipher in self._ciphers.keys:
            with suppress(InvalidTag):
                return cipher.decrypt(data[:_NONCE], data[_NONCE:], PREFIX.encode("ascii"))
        return None
