"""The figures of approvals against their goals."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.gateway.approvals import Costs, Spent, quantile
from gateway.calls.pipeline.approve import CallApproval

GOOD = Costs(1.0, 4.9, (*(4.0,) * 99, 99.0), 22.0, 0.5, 10_000)


def test_each_figure_has_a_goal():
    assert GOOD.is_within_goals()
    for worse in (
        replace(GOOD, idle=5.1),
        replace(GOOD, beside_questions=5.1),
        replace(GOOD, clicks=(21.0,) * 100),
        replace(GOOD, clicks=(*(4.0,) * 98, 101.0, 101.0)),
        replace(GOOD, mib=50.1),
        replace(GOOD, restart=1.1),
    ):
        assert not worse.is_within_goals()
    assert "| click to answer, median | ≤ 20 ms | 4.0 ms |" in GOOD.table()


def test_a_quantile_is_a_value_that_was_measured():
    assert [quantile((3.0, 1.0, 2.0, 4.0), share) for share in (0.0, 0.5, 0.99)] == [1.0, 3.0, 4.0]


def test_the_measured_functions_get_back_to_their_places():
    before = dict(vars(CallApproval))
    with Spent().counted():
        assert CallApproval.open_hold is not before["open_hold"]
    assert dict(vars(CallApproval)) == before
