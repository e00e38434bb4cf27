"""Recently verified credentials, by digest. Pure: the time is an argument. The cache keeps only verified credentials,
so strangers cannot fill it; a full cache drops the oldest. An entry counts only while its verification keys stay the
same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from gateway.identity.outcomes import Authenticator, Peer, Verified

CAPACITY: Final = 10_000

CacheKey: TypeAlias = "tuple[bytes, Peer]"
"""The SHA-256 of a credential, and the place of the peer. The credential itself is not kept."""


class VerifiedCache:
    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._entries: dict[CacheKey, tuple[Authenticator, Verified]] = {}

    def get(self, key: CacheKey, now: float) -> Verified | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        authenticator, verified = entry
        if now >= verified.until or authenticator.generation != verified.generation:
            del self._entries[key]
            return None
        return verified

    def put(self, key: CacheKey, authenticator: Authenticator, verified: Verified) -> None:
        if len(self._entries) >= self._capacity and key not in self._entries:
            del self._entries[next(iter(self._entries))]
        self._entries[key] = (authenticator, verified)

    def __len__(self) -> int:
        return len(self._entries)
