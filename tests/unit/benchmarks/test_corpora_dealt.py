"""A task that several agents of one user share is as safe as the task of one agent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks.corpora.corpus import Corpus
from benchmarks.corpora.dealt import DAY, measure_dealt, one_a_system, reader_and_actor, round_robin, strangers
from benchmarks.corpora.measure import PLAIN, measure
from tests.unit.benchmarks.test_corpora_measure import READ, RECORDINGS, TOOLS, recording, send

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.corpora.traces import Deal


@pytest.mark.parametrize("deal", [round_robin, reader_and_actor, one_a_system], ids=lambda deal: deal.__name__)
async def test_agents_of_one_user_are_stopped_where_one_agent_is(tmp_path: Path, deal: Deal):
    alone = await measure(RECORDINGS, TOOLS, new_folder(tmp_path, "alone"), PLAIN)
    dealt = await measure(RECORDINGS, TOOLS, new_folder(tmp_path, "dealt"), PLAIN, deal=deal)

    assert [bool(verdict.stops) for verdict in dealt.attacks] == [bool(verdict.stops) for verdict in alone.attacks]
    assert dealt.questions == alone.questions


async def test_agents_of_several_users_share_nothing(tmp_path: Path):
    dealt = await measure(RECORDINGS, TOOLS, tmp_path, PLAIN, deal=strangers)

    assert [bool(verdict.stops) for verdict in dealt.attacks] == [False, False, True]


async def test_a_day_of_one_user_has_the_benign_tasks_in_one_job(tmp_path: Path):
    writes = recording("benign", 2, send("user", "carol@corp.example"))
    reads = [recording("benign", number, READ) for number in range(3, 3 + DAY)]
    recordings = [RECORDINGS[0], writes, *reads]

    alone = await measure(recordings, TOOLS, new_folder(tmp_path, "alone"), PLAIN, day=1)
    day = await measure(recordings, TOOLS, new_folder(tmp_path, "day"), PLAIN, day=2 * DAY)

    assert (len(alone.benign), len(alone.attacks)) == (DAY + 1, 0)
    assert (alone.questions, day.questions) == (0, 1), "another task has read what others write"


def new_folder(folder: Path, name: str) -> Path:
    (folder / name).mkdir()
    return folder / name


def test_the_table_compares_each_way_with_one_agent(tmp_path: Path):
    lines = measure_dealt([Corpus("office", RECORDINGS, TOOLS)], tmp_path).splitlines()

    assert lines[2].startswith("office, labels alone, one agent | 2 of 3 | 3 | 1.00 |")
    assert lines[6].startswith("office, labels alone, strangers | 1 of 3 | 0 | 0.00 |")
    assert "20 tasks of one user" in lines[8]
    assert "users of one tenant" in lines[9]
