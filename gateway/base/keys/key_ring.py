"""Keys of one purpose, several at once: the newest one writes, and each of them reads. Pure: no I/O, no clock.

A running gateway takes over a new key without a restart. Parts keep the ring and never its keys."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from joserfc.jwk import ECKey


def subkey(key: bytes, purpose: str) -> bytes:
    """Return a key for one purpose (HMAC-SHA256, FIPS 198-1). Digests under the key reveal nothing about other
    subkeys."""
    return hmac.digest(key, b"opagate journal " + purpose.encode(), "sha256")


def key_id(key: bytes) -> str:
    """Return 16 hex digits to tell keys apart; the digits say nothing about the keys."""
    return hmac.digest(key, b"id", "sha256").hex()[:16]


Key = TypeVar("Key")
Other = TypeVar("Other")


class KeyRing(Generic[Key]):
    """The keys of one purpose, the newest first. Rings made from this one get its new keys too."""

    def __init__(self, *keys: Key) -> None:
        self.keys = keys
        self._made: list[tuple[KeyRing[Any], Callable[[Key], Any]]] = []

    @property
    def newest(self) -> Key:
        """Return the key that writes."""
        return self.keys[0]

    def renew(self, keys: tuple[Key, ...]) -> None:
        """Replace the keys of this ring, and with them the keys of all rings made from it."""
        self.keys = keys
        for ring, change in self._made:
            ring.renew(tuple(map(change, keys)))

    def map(self, change: Callable[[Key], Other]) -> KeyRing[Other]:
        """Return a ring that holds `change(key)` for each key, also after `renew`."""
        made = KeyRing(*map(change, self.keys))
        self._made.append((made, change))
        return made


def derive_ring(ring: KeyRing[bytes], purpose: str) -> KeyRing[bytes]:
    """Return the ring with the keys of one purpose, each derived from a key of this ring."""
    return ring.map(lambda key: subkey(key, purpose))


@dataclass(frozen=True, slots=True, repr=False)
class SigningKey:
    """A key of signatures. `since` is its first second as a signer, since the epoch. Verifiers learn of the key before."""

    key: ECKey
    since: float = 0.0
    kid: str = field(init=False)
    """The name of the key in a token (RFC 7638)."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "kid", self.key.thumbprint())


class DatedKey(Protocol):
    """A key that signs from the time `since` on."""

    @property
    def since(self) -> float: ...


AnyDatedKey = TypeVar("AnyDatedKey", bound=DatedKey)


def find_signer(ring: KeyRing[AnyDatedKey], now: float) -> AnyDatedKey:
    """Return the newest key that may sign now. The only key of a ring signs from its first moment on."""
    return next((each for each in ring.keys if each.since <= now), ring.keys[-1])
