"""The ways of calls: how many Python functions, files and moves between files each takes. No time is measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks.gateway.call_path import MOST_GAP, MOST_MILLISECONDS, SIZES, Figures, Way, walk
from benchmarks.gateway.measured_calls import CHEAPEST, KINDS, LENT, OF_USERS, REFUSED, REFUSED_WRITE, Kind

if TYPE_CHECKING:
    from pathlib import Path

MOST = {
    CHEAPEST: (484, 83, 300),
    OF_USERS: (677, 95, 378),
    LENT: (772, 109, 421),
    REFUSED: (681, 85, 331),
    REFUSED_WRITE: (771, 86, 347),
}
"""Functions, files and moves. Lower them with each shortening of a way. The goals stand in the benchmark. Comprehensions, which
Python 3.12 inlines, do not count as functions here, and neither does the function that some keys enter by chance. Limits over
tasks take 34 functions of a read, and 105 of a write."""


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
async def test_a_call_enters_no_more_than_it_did(tmp_path: Path, kind: Kind):
    way = await walk(tmp_path, kind)
    functions, files, moves = MOST[kind]

    assert way.count_certain() <= functions
    assert way.files <= files
    assert way.moves <= moves
    assert ("calls/pipeline/pipeline.py", "Pipeline._decide_and_forward") in way.entered
    assert (("calls/pipeline/forward.py", "Forwarder.forward") in way.entered) == kind.is_allowed


def test_figures_beyond_a_goal_are_told():
    way = Way((("a.py", "f"), ("b.py", "g.<locals>.<listcomp>"), ("a.py", "f"), ("a.py", "_grams_at")))
    ways, calls = dict.fromkeys(KINDS, way), dict.fromkeys(KINDS, 0.2)
    quick = dict.fromkeys(SIZES, 0.1)

    assert (way.files, way.moves, way.count_certain()) == (2, 2, 2)
    assert Figures(ways, calls, quick, quick, MOST_GAP).is_within_goals()
    assert not Figures(ways, calls, quick, quick, MOST_GAP + 0.1).is_within_goals()
    assert not Figures(ways, calls, {**quick, 4096: MOST_MILLISECONDS[4096] + 0.1}, quick, 0.0).is_within_goals()
    assert not Figures(ways, {**calls, OF_USERS: 0.33}, quick, quick, 0.0).is_within_goals()
    assert not Figures(ways, {**calls, REFUSED: 0.25}, quick, quick, 0.0).is_within_goals()
    assert (
        "| argument and answer of 4,096 B each: processor | ≤ 0.8 ms | 0.10 ms |"
        in Figures(ways, calls, quick, quick, 0.0).table()
    )
