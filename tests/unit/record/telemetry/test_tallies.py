"""Counters and histograms of each call say what prometheus_client's own would say."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest

from gateway.record.telemetry.metrics import CallCounter, CallHistogram

disable_created_metrics()  # as `gateway.record.telemetry.metrics` does
BOUNDS = (0.5, 1.0, 2.5)
NAMES = st.sampled_from(["files", 'a "quoted" one', "new\nline"])
VALUES = st.sampled_from([0.0, 0.5, 0.75, 1.0, 2.5, 3.0]) | st.floats(0, 10)


@given(st.lists(st.tuples(NAMES, NAMES, st.integers(0, 10**6)), max_size=8))
def test_a_counter_says_the_same(steps: list[tuple[str, str, int]]):
    registry, library = CollectorRegistry(), CollectorRegistry()
    mine, its = (
        CallCounter("x_calls", "Calls.", ("one", "other")),
        Counter("x_calls", "Calls.", ("one", "other"), registry=library),
    )
    registry.register(mine)
    for one, other, amount in steps:
        mine.counts[one, other] = mine.counts.get((one, other), 0) + amount
        its.labels(one, other).inc(amount)

    assert generate_latest(registry) == generate_latest(library)


@given(st.lists(st.tuples(NAMES, VALUES), max_size=12))
def test_a_histogram_says_the_same(steps: list[tuple[str, float]]):
    registry, library = CollectorRegistry(), CollectorRegistry()
    mine = CallHistogram("x_seconds", "Seconds.", ("one",), BOUNDS)
    its = Histogram("x_seconds", "Seconds.", ("one",), buckets=BOUNDS, registry=library)
    registry.register(mine)
    for one, value in steps:
        mine.observe((one,), value)
        its.labels(one).observe(value)

    assert generate_latest(registry) == generate_latest(library)


@given(st.lists(VALUES, max_size=12))
def test_a_histogram_without_labels_is_there_from_the_beginning(values: list[float]):
    registry, library = CollectorRegistry(), CollectorRegistry()
    mine = CallHistogram("x_seconds", "Seconds.", (), BOUNDS)
    its = Histogram("x_seconds", "Seconds.", buckets=BOUNDS, registry=library)
    registry.register(mine)
    for value in values:
        mine.observe((), value)
        its.observe(value)

    assert generate_latest(registry) == generate_latest(library)
