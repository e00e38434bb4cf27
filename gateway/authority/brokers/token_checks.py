"""Checks of an authorization server's token against the request. Pure.

No signature is verified here. The token came from the token endpoint over TLS (OpenID Connect Core 1.0 section 3.1.3.7,
item 6). The upstream verifies the signature.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Final, TypeGuard

from msgspec import Struct

from gateway.base.json import strict

if TYPE_CHECKING:
    from collections.abc import Collection

    from gateway.model.wire import Json, JsonObject

MAX_TOKEN: Final = 16 * 1024
SKEW: Final = 30.0
"""Seconds by which the clocks of the gateway and of an issuer may differ."""
_FARTHEST: Final = 2**40
"""Seconds since the epoch: beyond each date that can be written."""


class TokenBounds(Struct, frozen=True):
    """Bounds of a token. With `actor`, the token names this `sub` as its actor. Without `user`, any user is right.

    The token names one of `audiences` at least, and `introspector` perhaps.
    """

    issuer: str
    audiences: frozenset[str]
    introspector: str | None
    scopes: frozenset[str]
    user_claim: str
    user: str | None
    actor: str | None


def read_claims(token: str) -> JsonObject | None:
    """Return the claims of a signed JWT, `None` for an opaque or encrypted token."""
    return _read_part(token, 1)


def read_header(token: str) -> JsonObject | None:
    """Return the JOSE header of a signed JWT."""
    return _read_part(token, 0)


def find_excess(asked: TokenBounds, claims: JsonObject, granted: str | None) -> str | None:
    """Return how a token differs from the request, `None` if it is no wider. `granted` is the answer's own `scope`.

    The sentences repeat nothing of the token.
    """
    if claims.get("iss", asked.issuer) != asked.issuer:
        return "it names another issuer"
    audiences = _texts(claims.get("aud")) - {asked.introspector}
    if not audiences or not audiences <= asked.audiences:
        return "its audience is not the upstream's alone"
    if not read_scopes(granted, claims) <= asked.scopes:
        return "it has scopes that were not asked for"
    if asked.user is not None and claims.get(asked.user_claim) != asked.user:
        return "it is for another user"
    if asked.actor is not None and read_actor(claims) != asked.actor:
        return "it does not name the actor"
    return None


def names_only(claims: JsonObject, audiences: Collection[str]) -> bool:
    """Return whether a token's audience is among these names. A token without an audience names nothing else."""
    return _texts(claims.get("aud")) <= set(audiences)


def read_scopes(granted: str | None, claims: JsonObject) -> frozenset[str]:
    """Return each scope that the answer or the token names. Some servers write `scp`, some a list."""
    found = frozenset((granted or "").split())
    for name in ("scope", "scp"):
        value = claims.get(name)
        found |= frozenset(value.split()) if isinstance(value, str) else _texts(value)
    return found


def read_seconds(value: Json) -> float | None:
    """Return a positive number of seconds that a clock can reach; a truth value is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 < value < _FARTHEST else None


def latest_expiry(expiry: Json, expires_in: Json, now: float) -> float | None:
    """Return the later of a token's `exp` and of the answer's `expires_in`, `None` if one that is there is unusable."""
    given = [(value, start) for value, start in ((expiry, 0.0), (expires_in, now)) if value is not None]
    found = [start + seconds for value, start in given if (seconds := read_seconds(value)) is not None]
    return max(found) if found and len(found) == len(given) else None


def read_subject(token: str) -> str | None:
    """Return the `sub` of a JWT."""
    sub = (read_claims(token) or {}).get("sub")
    return sub if isinstance(sub, str) else None


def read_actor(claims: JsonObject) -> str | None:
    """Return the `sub` of the present actor (RFC 8693 section 4.1)."""
    act = claims.get("act")
    sub = act.get("sub") if isinstance(act, dict) else None
    return sub if isinstance(sub, str) else None


def is_token(value: Json) -> TypeGuard[str]:
    """Return whether a value is a token that a header can carry."""
    return (
        isinstance(value, str)
        and 0 < len(value) <= MAX_TOKEN
        and value.isascii()
        and value.isprintable()
        and " " not in value
    )


def _read_part(token: str, place: int) -> JsonObject | None:
    parts = token.split(".")
    if len(parts) != 3 or len(token) > MAX_TOKEN:
        return None
    try:
        data = base64.b64decode(parts[place] + "=" * (-len(parts[place]) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        return None
    found = strict.read_part(data)
    return None if isinstance(found, strict.UnreadableJson) else found


def _texts(value: Json) -> frozenset[str]:
    """Return a text or the texts of a list. Another kind of value counts as a text that nobody asked for."""
    if value is None:
        return frozenset()
    if isinstance(value, str):
        return frozenset({value})
    items: Collection[Json] = value if isinstance(value, list) else (value,)
    return frozenset(item if isinstance(item, str) else "\0" for item in items)
