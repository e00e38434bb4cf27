"""Active tokens, and introspection by upstreams (RFC 7662). Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
import heapq
import hmac
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, unquote_plus

import msgspec
from msgspec import Struct

from gateway.authority.minting import MAX_TOKEN, read_minted

if TYPE_CHECKING:
    from gateway.authority.minting import MintedToken


CAPACITY: Final = 100_000
"""Tokens at once."""
_SLACK: Final = 1_024


class ActiveTokens:
    """The active tokens of this gateway, in memory. The register is bounded, and forgets a token at its expiry.

    `on_end` hears of each token that ends.
    """

    def __init__(self, capacity: int = CAPACITY, on_end: Callable[[str], None] = lambda _jti: None) -> None:
        self._capacity = capacity
        self._on_end = on_end
        self._tokens: dict[str, MintedToken] = {}
        self._of_task: dict[str, set[str]] = {}
        self._expiries: list[tuple[float, str]] = []

    def __len__(self) -> int:
        return len(self._tokens)

    def add(self, token: MintedToken, now: float) -> bool:
        """Make a token active. Return `False` if there is no room, the token has expired, or its `jti` is known."""
        self._forget_expired(now)
        if len(self._tokens) >= self._capacity or token.expires <= now or token.jti in self._tokens:
            return False
        self._tokens[token.jti] = token
        heapq.heappush(self._expiries, (token.expires, token.jti))
        if token.task is not None:
            self._of_task.setdefault(token.task, set()).add(token.jti)
        return True

    def find(self, jti: str, now: float) -> MintedToken | None:
        """Return an active token."""
        token = self._tokens.get(jti)
        return None if token is None or token.expires <= now else token

    def end(self, jti: str) -> bool:
        """Make a token inactive for ever. Return whether the register had it."""
        token = self._tokens.pop(jti, None)
        if token is None:
            return False
        if token.task is not None:
            others = self._of_task[token.task]
            others.discard(jti)
            if not others:
                del self._of_task[token.task]
        self._compact()
        self._on_end(jti)
        return True

    def end_task(self, task: str) -> int:
        """Make all tokens of a task inactive for ever. Return their number."""
        return sum(self.end(jti) for jti in tuple(self._of_task.get(task, ())))

    def list_tasks(self) -> frozenset[str]:
        """Return the tasks with an active token."""
        return frozenset(self._of_task)

    def _forget_expired(self, now: float) -> None:
        while self._expiries and self._expiries[0][0] <= now:
            expires, jti = heapq.heappop(self._expiries)
            token = self._tokens.get(jti)
            if token is not None and token.expires == expires:
                self.end(jti)

    def _compact(self) -> None:
        """Drop the expiries of ended tokens before they outnumber the active ones."""
        if len(self._expiries) > 2 * len(self._tokens) + _SLACK:
            self._expiries = [(token.expires, token.jti) for token in self._tokens.values()]
            heapq.heapify(self._expiries)


INACTIVE: Final = b'{"active":false}'
MAX_FORM: Final = 2 * MAX_TOKEN
"""Bytes of a question."""


class IntrospectingUpstream(Struct, frozen=True):
    """An upstream with a secret of its own, and the audiences of its tokens."""

    id: str
    secret_digest: bytes
    audiences: frozenset[str]


class Introspector:
    """Answers to the questions of upstreams."""

    def __init__(self, clients: Iterable[IntrospectingUpstream], tokens: ActiveTokens) -> None:
        self._clients: Mapping[str, IntrospectingUpstream] = {client.id: client for client in clients}
        self._tokens = tokens

    def authenticate(self, authorization: Iterable[str]) -> IntrospectingUpstream | None:
        """Return the client of HTTP Basic credentials (RFC 6749 section 2.3.1)."""
        named = tuple(authorization)
        pair = _read_basic(named[0]) if len(named) == 1 else None
        name, secret = pair or ("", "")
        client = self._clients.get(name, _NO_CLIENT)
        is_right = hmac.compare_digest(digest_secret(secret), client.secret_digest)
        return client if is_right and client is not _NO_CLIENT else None

    def introspect(self, client: IntrospectingUpstream, token: str, now: float) -> bytes:
        """Return the answer to a question about a token of this gateway."""
        return describe_token(client, self.find(token, now))

    def find(self, token: str, now: float) -> MintedToken | None:
        """Return an active token of this gateway. The whole text is compared: a forged signature over the same claims is another
        token."""
        asked = read_minted(token, "")
        found = None if asked is None else self._tokens.find(asked.jti, now)
        return found if found is not None and hmac.compare_digest(found.value.encode(), token.encode()) else None


def describe_token(client: IntrospectingUpstream, found: MintedToken | None) -> bytes:
    """Return the answer about a token, as JSON: all claims of an active token for this client."""
    if found is None or found.audience not in client.audiences:
        return INACTIVE
    return msgspec.json.encode({"active": True, "token_type": "Bearer", **msgspec.json.decode(found.claims)})


class RateLimit:
    """A bound on events of each key in fixed windows of time. With too many keys, new keys are over the bound."""

    def __init__(self, most: int, seconds: float, *, keys: int = 10_000) -> None:
        self._most = most
        self._seconds = seconds
        self._keys = keys
        self._begun = 0.0
        self._counts: dict[str, int] = {}

    def admits(self, key: str, now: float) -> bool:
        """Count an event. Return `False` for one over the bound."""
        if not 0 <= now - self._begun < self._seconds:
            self._begun = now
            self._counts.clear()
        if key not in self._counts and len(self._counts) >= self._keys:
            return False
        self._counts[key] = self._counts.get(key, 0) + 1
        return self._counts[key] <= self._most


def digest_secret(secret: str) -> bytes:
    """Return a digest of fixed length, so that a comparison takes the same time for each secret."""
    return hashlib.sha256(secret.encode()).digest()


def read_token(body: bytes) -> str | None:
    """Return the token of a form. A form with another number of tokens has none."""
    if len(body) > MAX_FORM or not body.isascii():
        return None
    try:
        tokens = parse_qs(body.decode("ascii"), max_num_fields=8).get("token", [])
    except ValueError:
        return None
    return tokens[0] if len(tokens) == 1 else None


def _read_basic(value: str) -> tuple[str, str] | None:
    scheme, _, encoded = value.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, colon, secret = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return None
    return (unquote_plus(name), unquote_plus(secret)) if colon else None


_NO_CLIENT: Final = IntrospectingUpstream("", digest_secret(""), frozenset())
