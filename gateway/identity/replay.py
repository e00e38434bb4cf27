"""A memory of used proofs within a time window. Pure: the time is an argument. The memory is bounded, and refuses when
full, since a forgotten proof could be replayed. A key can fill only its share, and cannot lock out others."""

from __future__ import annotations

from collections import Counter, deque
from typing import Final, Literal

CAPACITY: Final = 100_000
"""Proofs at once, of all keys."""
SHARE: Final = 10_000
"""Proofs at once, of one key."""


class ReplayMemory:
    """`window` in seconds: how long after its first use a proof could still be accepted."""

    def __init__(self, window: float, *, capacity: int = CAPACITY, share: int = SHARE) -> None:
        self._window = window
        self._capacity = capacity
        self._share = share
        self._seen: set[tuple[str, str]] = set()
        self._order: deque[tuple[float, tuple[str, str]]] = deque()
        self._per_key: Counter[str] = Counter()

    def use(self, key: str, proof: str, now: float) -> Literal["fresh", "replayed", "full"]:
        """Note a use of `proof` by `key`. Anything but `fresh` must be refused."""
        self._forget(now)
        entry = (key, proof)
        if entry in self._seen:
            return "replayed"
        if len(self._seen) >= self._capacity or self._per_key[key] >= self._share:
            return "full"
        self._seen.add(entry)
        self._order.append((now + self._window, entry))
        self._per_key[key] += 1
        return "fresh"

    def __len__(self) -> int:
        return len(self._seen)

    def _forget(self, now: float) -> None:
        while self._order and self._order[0][0] < now:
            _, entry = self._order.popleft()
            self._seen.remove(entry)
            self._per_key[entry[0]] -= 1
            if not self._per_key[entry[0]]:
                del self._per_key[entry[0]]
