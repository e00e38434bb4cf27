"""The time of a wall clock that may be set at any moment, beside the time that has really passed. Pure: both are arguments.

A clock that is set back lengthens no life: an end is reached by the wall clock, or after the time that was left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class SteadyClock:
    """`wall` gives seconds since the epoch, `elapsed` gives seconds that no setting of the clock changes."""

    def __init__(self, wall: Callable[[], float], elapsed: Callable[[], float]) -> None:
        self._wall = wall
        self._elapsed = elapsed
        self._latest = 0.0
        self._seen = elapsed()

    def now(self) -> float:
        """Return a time that never goes back, and goes on while the wall clock is behind it."""
        elapsed = self._elapsed()
        self._latest = max(self._latest + elapsed - self._seen, self._wall())
        self._seen = elapsed
        return self._latest

    def note(self, *times: float) -> None:
        """Note times of the record: the wall clock may have been set back since."""
        self._latest = max(self._latest, *times)

    def deadline(self, end: float) -> float:
        """Return the elapsed time of an end that is far off by the wall clock as it stands."""
        return self._elapsed() + end - self._wall()

    def is_over(self, end: float, deadline: float, margin: float) -> bool:
        """Return whether either clock has come to an end, less a margin."""
        return self._wall() >= end - margin or self._elapsed() >= deadline - margin
