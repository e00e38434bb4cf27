"""A digest for a JSON value, independent of its spelling."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final, cast

import rfc8785

from gateway.model.wire import Json

_WIDE: Final = b"\x00wide\x00"
"""Sets the digests of documents with wide integers apart: no RFC 8785 text starts with NUL."""


def digest(value: Json) -> str:
    """Return `sha256:` and 64 hex digits over the RFC 8785 (JCS) form of `value`. RFC 8785 has no form for integers
    beyond ±(2**53 - 1), because readers round them. An approval is bound to this digest, so such integers must still
    differ. A document with a wide integer is digested in a tagged form. Every string value gets the prefix `s`, every
    wide integer becomes a string with the prefix `i`. A tag absent from all JCS texts begins the text. Equal values
    have equal digests, and different values different digests. Raises `ValueError` for NaN, infinities and lone
    surrogates, none of these is JSON."""
    try:
        text = rfc8785.dumps(cast("Any", value))
    except rfc8785.IntegerDomainError:
        text = _WIDE + rfc8785.dumps(_tag(value))
    return "sha256:" + hashlib.sha256(text).hexdigest()


def _tag(value: Json) -> Any:
    if isinstance(value, str):
        return "s" + value
    if isinstance(value, bool) or value is None or isinstance(value, float):
        return value
    if isinstance(value, int):
        return value if abs(value) < 2**53 else f"i{value}"
    if isinstance(value, Mapping):
        return {key: _tag(item) for key, item in value.items()}
    return [_tag(item) for item in value]
