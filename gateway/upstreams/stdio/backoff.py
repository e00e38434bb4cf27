"""Delays before a repeatedly failing server may start again. Pure: the time is an argument."""

from __future__ import annotations

from typing import Final

FIRST_DELAY: Final = 0.5
LONGEST_DELAY: Final = 30.0
STEADY_LIFE: Final = 60.0
"""Seconds after which a process counts as one that had started well."""


class Backoff:
    """Counts failures in a row. Times in seconds of one clock, comparable with each other."""

    def __init__(self) -> None:
        self.failures = 0
        self._failed_at = float("-inf")

    def failed(self, *, started: float, now: float) -> None:
        """Note that a process started at `started` ended at `now` by itself. Processes running together before the last
        failure count as a single failure."""
        if now - started >= STEADY_LIFE:
            self.failures = 0
        if started >= self._failed_at or self.failures == 0:
            self.failures += 1
        self._failed_at = now

    def wait(self, now: float) -> float:
        """Return the seconds until the next allowed start; 0 for now, or for a clock set back."""
        since = now - self._failed_at
        return max(0.0, self._delay() - since) if since >= 0 else 0.0

    def forgettable(self, now: float) -> bool:
        """Return whether its record no longer matters."""
        return now - self._failed_at > STEADY_LIFE

    def _delay(self) -> float:
        return min(FIRST_DELAY * 2.0 ** min(self.failures - 1, 16), LONGEST_DELAY)
