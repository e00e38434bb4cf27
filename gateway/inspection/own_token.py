"""Finds the caller's own token in what is about to be sent: it is for this gateway alone, wherever it stands. Pure.

A JWT is recognised by its signature, which nothing else contains and without which a token is worth nothing; any other
credential as a whole. It is found as it is, and in one round of base64, hex or percent encoding, as a header for another
server or a link would have it.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, cast
from urllib.parse import unquote_to_bytes

import msgspec

from gateway.model.wire import Headers

_BACKSLASH: Final = ord("\\")
_MIN: Final = 16
"""Characters below which a part of a credential is no secret, and would be found everywhere."""


def is_carried(authorization: Iterable[str], headers: Headers, body: bytes) -> bool:
    """Whether a credential of the `Authorization` values stands in headers that travel on, or in the body."""
    sent = b"\n".join([body, *(value for _, value in headers)])
    for secret in map(_secret, authorization):
        if len(secret) < _MIN:
            continue
        written = _written(secret)
        if any(form in sent for form in written):
            return True
        if b"%" in sent and secret in unquote_to_bytes(sent):
            return True
        if _BACKSLASH in body and _hidden([form.decode("latin-1") for form in written], body):
            return True
    return False


_ENOUGH: Final = 36
"""Bytes at the beginning of a secret by which it is known in other forms."""


def _written(secret: bytes) -> list[bytes]:
    """The secret itself, and what every text that has it in it has in base64 or hex: in base64 it depends on how many
    bytes stand before it, and its ends are mixed with what is around it."""
    known = secret[:_ENOUGH]
    forms = [secret, known.hex().encode(), known.hex().upper().encode()]
    for start in range(3):
        inner = known[start:]
        plain = base64.b64encode(inner[: len(inner) // 3 * 3])
        forms.append(plain)
        if b"+" in plain or b"/" in plain:
            forms.append(plain.replace(b"+", b"-").replace(b"/", b"_"))
    return forms


def _secret(authorization: str) -> bytes:
    """The part of a credential without which the rest is worth nothing: of a JWS its signature, else all of it. The
    last character of Base64 can be written in several ways, and is left out."""
    _, _, credential = authorization.strip().partition(" ")
    return credential.strip(" =").rpartition(".")[2][:-1].encode("latin-1")


def _hidden(written: Sequence[str], body: bytes) -> bool:
    """Whether one of these is written with escapes."""
    try:
        return _holds(written, msgspec.json.decode(body))
    except msgspec.DecodeError:
        return True


def _holds(written: Sequence[str], value: object) -> bool:
    if isinstance(value, str):
        return any(form in value for form in written)
    if isinstance(value, Mapping):
        members = cast("Mapping[str, object]", value)
        return any(_holds(written, part) for member in members.items() for part in member)
    return isinstance(value, Sequence) and any(_holds(written, item) for item in cast("Sequence[object]", value))
