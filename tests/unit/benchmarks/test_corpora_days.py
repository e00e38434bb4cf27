"""What a user does in a day, and the limits over tasks that follow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.corpora.corpus import Corpus
from benchmarks.corpora.days import LIMITS, TASKS, propose, read_days, report, shipped
from tests.unit.benchmarks.test_corpora_limits import READ, SUITE, TOOLS, send, task

if TYPE_CHECKING:
    from pathlib import Path

DAY: dict[str, float] = dict.fromkeys(LIMITS, 1.0)
BUSY: dict[str, float] = dict.fromkeys(LIMITS, 5.4)


async def test_the_numbers_of_a_day_are_of_all_its_tasks(tmp_path: Path):
    office = Corpus(
        "office",
        [
            SUITE,
            task(0, "Write to Eve", READ, send(["eve@else.example"])),
            task(1, "Write to Bob", send(["bob@else.example"])),
        ],
        TOOLS,
    )

    (day,) = await read_days(office, tmp_path, 1)

    assert day["writes"] == TASKS
    assert TASKS < day["calls"] < 2 * TASKS
    assert (day["systems"], day["destinations"], day["amount"]) == (1, 2, 0)
    assert day["repeats"] >= TASKS / 2
    assert [day] == await read_days(office, tmp_path, 1), "the same corpus has the same days"


def test_the_widest_corpus_decides():
    days = {"narrow": [DAY] * 9, "wide": [BUSY] * 9}

    assert propose(days) == dict.fromkeys(LIMITS, 5)
    assert "| `calls` | 1 · 1 · 1 · 1 | 5 · 5 · 5 · 5 | 5 |" in report(days)
    assert shipped().keys() == {*LIMITS}
