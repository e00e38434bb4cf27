"""Counters and histograms of each call, as collectors of prometheus_client.

An increment changes a dictionary. The library's own increment enters five functions under a lock. Only the event loop
counts.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class CallCounter(Collector):
    """A counter for each combination of labels. `Metrics` increments `counts` in place."""

    def __init__(self, name: str, says: str, labels: Sequence[str]) -> None:
        self._name, self._says, self._labelnames = name, says, tuple(labels)
        self.counts: dict[tuple[str, ...], int] = {}

    def describe(self) -> Iterator[CounterMetricFamily]:
        """Yield the counter without its numbers, for its name."""
        yield CounterMetricFamily(self._name, self._says, labels=self._labelnames)

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Yield the counter as it is now."""
        (family,) = self.describe()
        for labels, count in self.counts.copy().items():
            family.add_metric(labels, count)
        yield family


class CallHistogram(Collector):
    """A histogram for each combination of labels. `bounds` ascend. Without labels it is there from the beginning."""

    def __init__(self, name: str, says: str, labels: Sequence[str], bounds: Sequence[float]) -> None:
        self._name, self._says, self._labelnames = name, says, tuple(labels)
        self._bounds = tuple(bounds)
        self._counts: dict[tuple[str, ...], list[int]] = {}
        self._sums: dict[tuple[str, ...], float] = {}
        if not labels:
            self._begin(())

    def observe(self, labels: tuple[str, ...], value: float) -> None:
        """Count a value in the first bucket whose bound is no less."""
        counts = self._counts.get(labels) or self._begin(labels)
        counts[bisect_left(self._bounds, value)] += 1
        self._sums[labels] += value

    def describe(self) -> Iterator[HistogramMetricFamily]:
        """Yield the histogram without its numbers, for its name."""
        yield HistogramMetricFamily(self._name, self._says, labels=self._labelnames)

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Yield the histogram as it is now. Each bucket of the format counts the buckets below it too."""
        (family,) = self.describe()
        marks = [*map(repr, self._bounds), "+Inf"]
        for labels, counts in self._counts.copy().items():
            total = 0
            buckets: list[tuple[str, float]] = []
            for mark, count in zip(marks, counts, strict=True):
                total += count
                buckets.append((mark, total))
            family.add_metric(labels, buckets, self._sums[labels])
        yield family

    def _begin(self, labels: tuple[str, ...]) -> list[int]:
        self._sums[labels] = 0.0
        self._counts[labels] = counts = [0] * (len(self._bounds) + 1)
        return counts
