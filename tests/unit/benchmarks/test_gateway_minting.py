from __future__ import annotations

from benchmarks.gateway.minting import MOST_MICROSECONDS, Costs, minting


def test_a_short_run_gives_all_figures():
    costs = minting(calls=20, batches=1)

    assert min(costs.mint, costs.introspect, costs.verify) > 0
    assert f"≤ {MOST_MICROSECONDS:.0f}" in costs.table()


def test_a_cost_beyond_the_goal_is_told():
    assert Costs(60, 1, 1).is_within_goals()
    assert not Costs(60.1, 1, 1).is_within_goals()
