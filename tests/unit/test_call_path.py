"""The way of an allowed call: how many Python functions it enters. No time is measured."""

from __future__ import annotations

from pathlib import Path

from benchmarks.gateway.call_path import MOST_GAP, MOST_MILLISECONDS, SIZES, Figures, Way, walk

MOST_ENTERED = 255
"""Lower this with each shortening of the way. The goal is `MOST_FUNCTIONS`; comprehensions, which Python 3.12 inlines, do not
count here."""


async def test_an_allowed_call_enters_no_more_functions_than_it_did(tmp_path: Path):
    way = await walk(tmp_path)

    assert way.without_comprehensions() <= MOST_ENTERED
    assert ("pipeline/pipeline.py", "Pipeline._decide_and_forward") in way.entered


def test_figures_beyond_a_goal_are_told():
    way = Way((("a.py", "f"), ("b.py", "g.<locals>.<listcomp>"), ("a.py", "f")))
    quick = dict.fromkeys(SIZES, 0.1)

    assert (way.files, way.moves, way.without_comprehensions()) == (2, 2, 2)
    assert Figures(way, quick, quick, MOST_GAP).is_within_goals()
    assert not Figures(way, quick, quick, MOST_GAP + 0.1).is_within_goals()
    assert not Figures(way, {**quick, 4096: MOST_MILLISECONDS[4096] + 0.1}, quick, 0.0).is_within_goals()
    assert "| 4,096 B, processor | ≤ 0.8 ms | 0.10 ms |" in Figures(way, quick, quick, 0.0).table()
