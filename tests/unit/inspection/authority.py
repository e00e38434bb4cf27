"""What `CallContent.authority` holds of an argument."""

from __future__ import annotations

from gateway.inspection.words.words import digests, encoded, value_words
from gateway.model.target import Role
from gateway.model.wire import Json


def value_digests(value: Json, role: Role, key: bytes, *, limit: int = 1_000) -> frozenset[int]:
    """Equal to a digest of `mentions` where a text has the same value."""
    return digests((encoded(word) for word in value_words(value, role, limit)), key)
