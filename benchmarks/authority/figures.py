"""Figures and their table. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

UNITS: Final = {"µs": 1e6, "ms": 1e3, "s": 1.0}
COLUMNS: Final = "| from → to | goal for p99 | runs | median | p99 |\n|---|---|---|---|---|"


@dataclass(frozen=True, slots=True)
class Figure:
    """Seconds of all runs of one measurement. `goal` is the most for the p99; `None` is a figure without a goal."""

    what: str
    seconds: tuple[float, ...]
    unit: str
    goal: float | None = None

    @property
    def p99(self) -> float:
        return quantile(self.seconds, 0.99)

    def is_within_goal(self) -> bool:
        return self.goal is None or self.p99 <= self.goal

    def row(self) -> str:
        """Return the figure as a row of a Markdown table."""
        goal = "" if self.goal is None else f"≤ {self._written(self.goal, exact=True)}"
        median = self._written(quantile(self.seconds, 0.5))
        return f"| {self.what} | {goal} | {len(self.seconds)} | {median} | {self._written(self.p99)} |"

    def _written(self, seconds: float, *, exact: bool = False) -> str:
        value = seconds * UNITS[self.unit]
        digits = 0 if exact or value >= 100 else 1 if value >= 10 else 2
        return f"{value:.{digits}f} {self.unit}"


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value that a share of the values does not exceed."""
    return sorted(values)[min(int(share * len(values)), len(values) - 1)]


def table(figures: Sequence[Figure]) -> str:
    """Return the figures as a Markdown table."""
    return "\n".join([COLUMNS, *(figure.row() for figure in figures)])
