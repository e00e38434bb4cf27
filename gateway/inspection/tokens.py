"""The caller's token is for this gateway alone: it must not travel on in another header or inside a call either.

A token is found by its signature, which nothing else contains: whoever has a token without it has nothing. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, cast

import msgspec

from gateway.model import Headers

_BACKSLASH: Final = ord("\\")
_MIN: Final = 16
"""Characters below which a part of a credential is no secret, and would be found everywhere."""


def shows(authorization: Iterable[str], headers: Headers, body: bytes) -> bool:
    """Whether a credential of the `Authorization` values stands in headers that travel on, or in the body."""
    secrets = tuple(_secret(value) for value in authorization)
    for secret in secrets:
        if len(secret) < _MIN:
            continue
        if secret in body or secret in b"\n".join([value for _, value in headers]):
            return True
        if _BACKSLASH in body and _hidden(secret.decode("latin-1"), body):
            return True
    return False


def _secret(authorization: str) -> bytes:
    """The part of a credential without which the rest is worth nothing: of a JWS its signature, else all of it. The
    last character of Base64 can be written in several ways, and is left out."""
    _, _, credential = authorization.strip().partition(" ")
    return credential.strip(" =").rpartition(".")[2][:-1].encode("latin-1")


def _hidden(secret: str, body: bytes) -> bool:
    """Whether the secret is written with escapes."""
    try:
        return _holds(secret, msgspec.json.decode(body))
    except msgspec.DecodeError:
        return True


def _holds(secret: str, value: object) -> bool:
    if isinstance(value, str):
        return secret in value
    if isinstance(value, Mapping):
        members = cast("Mapping[str, object]", value)
        return any(_holds(secret, part) for member in members.items() for part in member)
    return isinstance(value, Sequence) and any(_holds(secret, item) for item in cast("Sequence[object]", value))
