"""The room for tasks: a limited amount, shared by callers with any number of identities. Pure: no I/O, no clock, no
randomness.

A task is never forgotten before its end, so the gateway cannot take back a share that was too large. The last quarter is
kept for callers that have nothing. An agent counts with all its users there, and a user with all agents. Each gets a part
while it holds at most a 64th of the free amount. The last sixteenth is kept for issuers that hold at most half.
"""

from __future__ import annotations

from typing import Final, Literal

Full = Literal["caller", "shared"]
"""The limit that was reached: of the caller, or of all."""

NEWCOMERS: Final = 4
"""One part in so many is kept for callers that have nothing."""
ISSUERS: Final = 16
"""One part in so many is kept for issuers that hold less than half."""
PARTY: Final = 64
"""A party that holds more than one in so many parts of the free amount takes nothing of the newcomers' part."""


class Room:
    """An amount of places or bytes, and the parts that callers hold. `parties` are as in `Principal`."""

    def __init__(self, limit: int, per_caller: int) -> None:
        self.limit = limit
        self.per_caller = per_caller
        self.used = 0
        self._by_caller: dict[str, int] = {}
        self._by_party: dict[str, int] = {}

    def held(self, owner: str) -> int:
        """Return the amount that a caller holds."""
        return self._by_caller.get(owner, 0)

    def full(self, owner: str, parties: tuple[str, ...], amount: int) -> Full | None:
        """Return the limit that forbids a caller another amount, `None` if there is room."""
        if self.held(owner) + amount > self.per_caller:
            return "caller"
        free = self.limit - self.used
        if amount > free:
            return "shared"
        left = free - amount
        if left >= self.limit // NEWCOMERS:
            return None
        if self.held(owner) or any(self._party(party) * PARTY > free for party in parties[1:]):
            return "shared"
        if left < self.limit // ISSUERS and self._party(parties[0]) * 2 > self.limit:
            return "shared"
        return None

    def give(self, owner: str, parties: tuple[str, ...], amount: int) -> None:
        """Give a caller an amount of room, even beyond the limit. A negative amount takes room back."""
        self.used += amount
        _add(self._by_caller, owner, amount)
        for party in parties:
            _add(self._by_party, party, amount)

    def _party(self, party: str) -> int:
        return self._by_party.get(party, 0)


def _add(amounts: dict[str, int], name: str, amount: int) -> None:
    left = amounts.get(name, 0) + amount
    if left:
        amounts[name] = left
    else:
        amounts.pop(name, None)
