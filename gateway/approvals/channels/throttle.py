"""The pace of messages about one caller's questions: a few at once, then one at a time with a pause. Pure."""

from __future__ import annotations

from typing import Final

BURST: Final = 3
"""Messages at once. Further news of the same caller are gathered in a digest."""
SECONDS: Final = 20.0
"""Between messages after that."""


class CallerThrottle:
    """A token bucket for each caller. Callers with a full bucket take no memory."""

    def __init__(self) -> None:
        self._full_at: dict[str, float] = {}

    def take(self, caller: str, now: float) -> float:
        """Take the right to one message, and return 0; or return the seconds until the next right."""
        full_at = max(self._full_at.get(caller, now), now)
        missing = full_at + SECONDS - now - BURST * SECONDS
        if missing > 0:
            return missing
        self._full_at[caller] = full_at + SECONDS
        if len(self._full_at) > _SWEPT:
            self._full_at = {name: at for name, at in self._full_at.items() if at > now}
        return 0.0


_SWEPT: Final = 1_000
"""Callers from which on those with a full bucket are forgotten."""
