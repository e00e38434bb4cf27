"""Derivation of keys from other keys. Pure: no I/O, no clock, no randomness."""

from __future__ import annotations

import hmac


def subkey(key: bytes, purpose: str) -> bytes:
    """Return a key for one purpose (HMAC-SHA256, FIPS 198-1). Digests under the key reveal nothing about other
    subkeys."""
    return hmac.digest(key, b"opagate journal " + purpose.encode(), "sha256")


def key_id(key: bytes) -> str:
    """Return 16 hex digits to tell keys apart; the digits say nothing about the keys."""
    return hmac.digest(key, b"id", "sha256").hex()[:16]
