"""What the table says that declared tasks cost."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from benchmarks.gateway import targets
from benchmarks.gateway.declarations import GOAL, SHAPES, declarations
from gateway.history.tasks.contract import Declaration, read_declaration


@pytest.mark.parametrize("shape", SHAPES)
def test_each_shape_may_be_declared(shape: str):
    goal = SHAPES[shape](Random(1))

    assert GOAL * 0.9 < len(goal) <= GOAL
    assert isinstance(read_declaration(f'{{"goal": "{goal}"}}'.encode()), Declaration)


def test_what_was_declared_is_in_the_table(tmp_path: Path):
    with targets.direct(tmp_path / "upstream") as base:
        costs = declarations(tmp_path, base.request.url, quick=True, most=3)

    assert [cost.shape for cost in costs] == list(SHAPES)
    for cost in costs:
        assert (cost.tasks, cost.callers, cost.newcomer) == (3, 1, True)
        assert cost.sent > 3 * GOAL * 0.9 / 2**20
        assert cost.journal > cost.sent
        assert cost.after >= cost.before > 10
        assert f"3 declared tasks of 1 caller, goals of {cost.shape}" in cost.row()
