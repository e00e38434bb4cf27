"""Keeps the tokens of each caller, so that none of them leaves, under itself or under another. Pure: the time is an argument.

Clients refresh their tokens, and an old token is valid until it expires. The secret parts are kept in memory alone. They are
forgotten at their expiry, and when the gateway stops.
"""

from __future__ import annotations

import base64
import binascii
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

import msgspec

from gateway.credentials.fingerprint import Fingerprints
from gateway.credentials.live_values import LiveValues
from gateway.credentials.own_token import OF_THE_GATEWAY, TokenSearch, secret_of

MAX_OF_CALLER: Final = 4
"""Tokens of one caller that are searched for, the latest."""
MAX_CALLERS: Final = 20_000
MAX_SEARCHES: Final = 256
"""Searches that are kept: 75 to 110 KB each, and up to 420 KB after much varied text. A new one takes 1.0 to 1.6 milliseconds."""
LIFETIME: Final = 3_600.0
"""Seconds for which a token without a readable expiry is kept after its last use."""


class _Claims(msgspec.Struct):
    exp: float = 0.0


class CallerTokens:
    """The tokens of each caller that have not expired."""

    def __init__(self, fingerprints: Fingerprints, live: LiveValues) -> None:
        self._fingerprints = fingerprints
        self._live = live
        self._callers: OrderedDict[str, OrderedDict[bytes, float]] = OrderedDict()
        self._searches: OrderedDict[bytes, TokenSearch] = OrderedDict()

    def searches(self, owner: str, authorization: Sequence[str], now: float) -> list[TokenSearch]:
        """Take in the tokens of a request, and return the searches for them and for the caller's other tokens.

        `owner` is the caller's `Principal.key`, `now` in seconds since the epoch.
        """
        if not authorization:
            return []
        used = {secret: value for value in authorization if (secret := secret_of(value))}
        if not used:
            return []
        known = self._callers.setdefault(owner, OrderedDict())
        self._callers.move_to_end(owner)
        for secret in [secret for secret, ends in known.items() if ends <= now]:
            self._forget(owner, known, secret)
        for secret, value in used.items():
            if secret not in known:
                self._live.hold(_holder(owner, secret), [secret.decode("latin-1")], OF_THE_GATEWAY)
                known[secret] = expiry(value) or now + LIFETIME
            known.move_to_end(secret)
        while len(known) > max(MAX_OF_CALLER, len(used)):
            self._forget(owner, known, next(iter(known)))
        while len(self._callers) > MAX_CALLERS:
            oldest, theirs = self._callers.popitem(last=False)
            for secret in tuple(theirs):
                self._forget(oldest, theirs, secret)
        return [self._search(secret) for secret in known]

    def known(self, owner: str) -> dict[str, frozenset[int]]:
        """Return the tokens of a caller as known credentials: fingerprint → shingles."""
        searches = map(self._search, self._callers.get(owner, ()))
        return {search.name: search.shingles for search in searches}

    def _forget(self, owner: str, known: OrderedDict[bytes, float], secret: bytes) -> None:
        del known[secret]
        self._live.release(_holder(owner, secret))
        self._searches.pop(secret, None)

    def _search(self, secret: bytes) -> TokenSearch:
        search = self._searches.get(secret)
        if search is None:
            search = self._searches[secret] = TokenSearch(secret, self._fingerprints)
            while len(self._searches) > MAX_SEARCHES:
                self._searches.popitem(last=False)
        self._searches.move_to_end(secret)
        return search


def _holder(owner: str, secret: bytes) -> str:
    """Return the name under which a token of a caller is held: two callers may present the same."""
    return f"caller {owner} {secret.decode('latin-1')}"


def expiry(authorization: str) -> float:
    """Return when a JWT expires, in seconds since the epoch; zero for any other credential. Its issuer was verified before."""
    parts = authorization.rpartition(" ")[2].split(".")
    if len(parts) != 3:
        return 0.0
    try:
        payload = base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))
        return msgspec.json.decode(payload, type=_Claims).exp
    except (binascii.Error, msgspec.MsgspecError, ValueError):
        return 0.0
