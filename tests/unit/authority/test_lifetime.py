"""The end of a lease: the earliest of all limits, whatever their values."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from gateway.authority.narrowing import LeaseLimits, choose_end, name_end

NOW = 1_800_000_000.0
lives = st.floats(0.0, 86_400.0)
ends = st.floats(NOW - 3_600.0, NOW + 86_400.0)
any_ends = st.builds(
    LeaseLimits,
    default=lives,
    longest=lives,
    of_policy=st.none() | lives,
    of_sensitivity=st.none() | lives,
    of_upstream=st.none() | lives,
    task_ends=st.none() | ends,
    caller_ends=st.none() | ends,
    approval_ends=st.none() | ends,
)
LIVES = ("longest", "of_policy", "of_sensitivity", "of_upstream")
TIMES = ("task_ends", "caller_ends", "approval_ends")


@given(any_ends)
def test_a_lease_ends_with_the_earliest_of_all_limits(limits: LeaseLimits):
    given_lives = [getattr(limits, name) for name in LIVES if getattr(limits, name) is not None]
    if limits.of_policy is None:
        given_lives.append(limits.default)
    given_times = [getattr(limits, name) for name in TIMES if getattr(limits, name) is not None]

    assert choose_end(limits, NOW) == min([*(NOW + life for life in given_lives), *given_times])


@given(any_ends, st.sampled_from(("of_sensitivity", "of_upstream", *TIMES)), lives)
def test_a_further_limit_never_lengthens_a_life(limits: LeaseLimits, name: str, life: float):
    without = structs.replace(limits, **{name: None})
    value: Any = NOW + life if name in TIMES else life
    limited = structs.replace(limits, **{name: value})

    assert choose_end(limited, NOW) <= min(NOW + life, choose_end(without, NOW))


@given(any_ends, lives)
def test_policy_lengthens_no_life_beyond_the_other_limits(limits: LeaseLimits, life: float):
    """Its word replaces the default alone."""
    boundless = structs.replace(limits, of_policy=None, default=float("inf"))

    assert choose_end(structs.replace(limits, of_policy=life), NOW) <= min(NOW + life, choose_end(boundless, NOW))


@given(any_ends, st.floats(0.0, 3_600.0))
def test_time_that_passes_never_brings_an_end_nearer_than_its_limits(limits: LeaseLimits, passed: float):
    """A request that is made later ends no earlier, and by no more than the time that has passed later."""
    first, later = choose_end(limits, NOW), choose_end(limits, NOW + passed)

    assert first <= later <= first + passed + 1e-6


@pytest.mark.parametrize(
    ("limits", "cause"),
    [
        ({}, "lease-expired"),
        ({"task_ends": NOW + 30, "caller_ends": NOW + 40}, "task-expired"),
        ({"task_ends": NOW + 40, "caller_ends": NOW + 30}, "caller-expired"),
        ({"task_ends": NOW + 30, "caller_ends": NOW + 30}, "task-expired"),
        ({"caller_ends": NOW + 30, "approval_ends": NOW + 20}, "lease-expired"),
    ],
)
def test_the_limit_that_ends_a_lease_is_its_cause(limits: dict[str, float], cause: str):
    found = LeaseLimits(default=60.0, longest=900.0, **limits)

    assert name_end(found, choose_end(found, NOW)) == cause
