"""Keeps the tokens of each caller, so that none of them leaves, under itself or under another. Pure: the time is an argument.

Clients refresh their tokens, and an old token is valid until it expires. The secret parts are kept in memory alone. They are
forgotten at their expiry, and when the gateway stops.
"""

from __future__ import annotations

import base64
import binascii
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from gateway.base.json.lex import unescape
from gateway.inspection.credentials.calls import CredentialIndex
from gateway.inspection.credentials.fingerprint import Fingerprints
from gateway.inspection.credentials.live_values import LiveValue, LiveValues
from gateway.inspection.credentials.own_token import OF_THE_GATEWAY, TokenSearch, read_values, secret_of
from gateway.inspection.credentials.signs import signs_of
from gateway.model.wire import Headers

MAX_OF_CALLER: Final = 4
"""Tokens of one caller that are searched for, the latest."""
MAX_CALLERS: Final = 20_000
MAX_SEARCHES: Final = 64
"""Searches that are kept: 75 to 110 KB each, and up to 420 KB after much varied text. A new one takes 1.0 to 1.6 milliseconds,
and only a message near the token needs one."""
_CLOSE: Final = 16 * 2**10
"""Bytes of a message up to which a look is a close one. A longer message is searched for each token of its caller."""
LIFETIME: Final = 3_600.0
"""Seconds for which a token without a readable expiry is kept after its last use."""


MAX_INDEXES: Final = 256
"""Callers whose tokens are kept as an index. A new one takes 0.6 milliseconds."""


class _Claims(msgspec.Struct):
    exp: float = 0.0


class Look(NamedTuple):
    """The live values that a message may have. A short message without an encoding is plain: it has no other value."""

    near: tuple[LiveValue, ...]
    is_plain: bool


def look_through(live: LiveValues, headers: Headers, body: bytes, *, has_tokens: bool) -> Look:
    """Look once at the letters of a message for all live values. `has_tokens`: its caller has tokens, which may be split."""
    sent = b"\n".join([unescape(body), *[part for field in headers for part in field]])
    values = read_values(body) if has_tokens else b""
    signs, is_short = signs_of(sent), len(sent) <= _CLOSE
    near = live.find_by_signs(sent, signs, beside=values or b"", closely=is_short)
    is_plain = signs is None or not (signs.encoded or signs.rare or signs.split)
    return Look(near, is_plain=is_plain and is_short and values is not None)


class CallerTokens:
    """The tokens of each caller that have not expired."""

    def __init__(self, fingerprints: Fingerprints, live: LiveValues) -> None:
        self._fingerprints = fingerprints
        self._live = live
        self._callers: OrderedDict[str, OrderedDict[bytes, float]] = OrderedDict()
        self._searches: OrderedDict[bytes, TokenSearch] = OrderedDict()
        self._indexes: OrderedDict[str, tuple[tuple[str, ...], CredentialIndex]] = OrderedDict()

    def take(self, owner: str, authorization: Sequence[str], now: float) -> bool:
        """Take in the tokens of a request. Return whether the caller has any.

        `owner` is the caller's `Principal.key`, `now` in seconds since the epoch.
        """
        used = {secret: value for value in authorization if (secret := secret_of(value))}
        if not used:
            return False
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
        return True

    def searches(self, owner: str, look: Look) -> list[TokenSearch]:
        """Return the searches for the tokens of a caller that a message may have, by a look at it."""
        return [self._search(secret) for secret in self._callers.get(owner, ()) if self._may_have(look, owner, secret)]

    def _may_have(self, look: Look, owner: str, secret: bytes) -> bool:
        """Return whether a message may have a token. A token that the registry cannot tell from other text may be in each."""
        if not look.is_plain or not self._live.holds(secret.decode("latin-1")):
            return True
        holder = _holder(owner, secret)
        return any(holder in value.holders for value in look.near)

    def index(self, owner: str, authorization: tuple[str, ...]) -> CredentialIndex:
        """Return the tokens of a request as known credentials, and the signature of a JWT apart: no other token has it.

        Earlier tokens of the caller are live values.
        """
        kept = self._indexes.get(owner)
        if kept is None or kept[0] != authorization:
            kept = self._indexes[owner] = authorization, self._build_index(authorization)
            while len(self._indexes) > MAX_INDEXES:
                self._indexes.popitem(last=False)
        self._indexes.move_to_end(owner)
        return kept[1]

    def _build_index(self, authorization: tuple[str, ...]) -> CredentialIndex:
        of = self._fingerprints
        credentials = [value.strip().rpartition(" ")[2] for value in authorization]
        parts = {part for credential in credentials for part in (credential, credential.rpartition(".")[2]) if part}
        return CredentialIndex({of.of(part): of.shingles(part) for part in parts})

    def _forget(self, owner: str, known: OrderedDict[bytes, float], secret: bytes) -> None:
        del known[secret]
        self._indexes.pop(owner, None)
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
