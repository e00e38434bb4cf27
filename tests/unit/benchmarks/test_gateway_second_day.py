from __future__ import annotations

import re

import pytest

from benchmarks.authority.figures import Figure
from benchmarks.gateway.second_day import Count, Found, describe

GOOD, SLOW = Count("renewed certificates", 0, 1_000, "4 renewals"), Figure("SIGTERM → exit", (2.5,), "s", 2.0)


@pytest.mark.parametrize("failed", [0, 1])
def test_one_failed_call_is_beyond_the_goal(failed: int):
    assert Found((Count("keys", failed, 1_000, ""), GOOD), ()).is_within_goals() == (not failed)


def test_a_measurement_without_calls_is_beyond_the_goal():
    assert not Count("keys", 0, 0, "").is_within_goal()


def test_a_slow_stop_is_beyond_the_goal():
    assert not Found((GOOD,), (SLOW,)).is_within_goals()


def test_the_page_has_each_figure_and_the_size_that_the_installation_tells():
    text = describe(Found((GOOD,), (SLOW,)), quick=True)

    assert "| renewed certificates | 0 | 0 of 1,000 | 4 renewals |" in text
    assert "| SIGTERM → exit | ≤ 2 s | 1 | 2.50 s | 2.50 s |" in text
    assert re.search(r"^\| size that the image adds to its base \| \d+ MB \|", text, re.MULTILINE)
