from __future__ import annotations

import pytest

from gateway.record.journal.refusal_sampler import WINDOW, RefusalSampler
from tests.unit.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock(1_800_000_000.0)


@pytest.fixture
def flood(clock: Clock) -> RefusalSampler:
    return RefusalSampler(3, clock)


def test_as_many_as_the_limit_are_admitted_and_no_more(flood: RefusalSampler):
    assert [flood.admits("a/b") for _ in range(5)] == [True, True, True, False, False]


def test_what_is_only_counted_is_told_once_its_minute_is_over(flood: RefusalSampler, clock: Clock):
    for code in ("z/z", "a/a", "a/a", "z/z", "a/a", "z/z"):
        flood.admits(code)

    clock.now += WINDOW - 0.001
    assert flood.rest() is None

    clock.now += 0.001
    assert flood.rest() == {"since": "2027-01-15T08:00:00.000Z", "count": 3, "codes": {"a/a": 1, "z/z": 2}}
    assert flood.rest() is None


def test_a_new_minute_admits_again(flood: RefusalSampler, clock: Clock):
    for _ in range(9):
        flood.admits("a/b")
    clock.now += WINDOW

    assert flood.admits("a/b")


def test_at_the_end_the_rest_is_told_at_once(flood: RefusalSampler):
    for _ in range(4):
        flood.admits("a/b")

    assert flood.rest(last=True) == {"since": "2027-01-15T08:00:00.000Z", "count": 1, "codes": {"a/b": 1}}
    assert flood.rest(last=True) is None


def test_nothing_is_told_where_all_was_recorded(flood: RefusalSampler, clock: Clock):
    flood.admits("a/b")
    clock.now += WINDOW

    assert flood.rest(last=True) is None


def test_a_clock_that_was_put_back_does_not_keep_the_minute_open(flood: RefusalSampler, clock: Clock):
    for _ in range(9):
        flood.admits("a/b")
    clock.now -= 3600

    assert flood.rest() is not None
    assert flood.admits("a/b")
