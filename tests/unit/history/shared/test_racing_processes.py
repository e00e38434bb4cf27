"""Processes race with calls of one task over one database. One of them is killed in the middle, or has a defect."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.unit.base.store.engines import open_store
from tests.unit.history.recording import AGENT
from tests.unit.history.shared.races import is_linearizable, race, reached
from tests.unit.history.shared.racing_gateway import AT_ONCE
from tests.unit.history.shared.replicas import LIMIT, Replica

if TYPE_CHECKING:
    from pathlib import Path

CALLS = 300
"""Calls of each process."""
MIDDLE = 40
"""Answers after which one process is killed."""


async def test_a_task_reaches_no_more_systems_than_its_limit_when_one_gateway_is_killed(
    schema_url: str, porcupine_path: Path
):
    answers = await race([[schema_url, "a", str(CALLS)], [schema_url, "b", str(CALLS)]], kill_after=MIDDLE)

    assert MIDDLE <= len(answers[0]) < CALLS
    assert len(answers[1]) == CALLS
    assert not [call for calls in answers for call in calls if call["answer"] == "unknown"]
    assert len(reached(answers)) == LIMIT
    assert is_linearizable(porcupine_path, answers, lost=AT_ONCE)

    survivor = Replica("c", open_store(schema_url, time.time), time.time)
    survivor.living = {"b", "c"}
    task = await survivor.enter()
    await survivor.log.confirm(AGENT.job)
    # A call under decision at the killed process counts as sent, since nobody knows.
    audiences = survivor.history.ledger.facts(task, time.time()).audiences
    assert reached(answers) <= audiences
    assert len(audiences) <= LIMIT + AT_ONCE
    assert (await survivor.facts())["in_flight"] == 0
    await survivor.close()


async def test_calls_over_three_gateways_are_linearizable_and_none_is_refused_for_the_race(
    schema_url: str, porcupine_path: Path
):
    answers = await race([[schema_url, name, "150"] for name in "abc"])

    assert not [call for calls in answers for call in calls if call["answer"] == "unknown"]
    assert len(reached(answers)) == LIMIT
    assert is_linearizable(porcupine_path, answers)


async def test_a_gateway_that_ignores_versions_is_found(schema_url: str, porcupine_path: Path):
    answers = await race([[schema_url, "a", "100"], [schema_url, "b", "100", "30", "--blind"]])

    assert not is_linearizable(porcupine_path, answers)
