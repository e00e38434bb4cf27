"""Recorded calls with an approval, or with values that recur: rebuilt, replayed and explained."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gateway.authority.approvals.model import Person
from gateway.authority.approvals.state import read_fact
from gateway.config import keys
from gateway.history.provenance import Provenance
from gateway.policy.document import timestamp
from gateway.record.journal import reader
from gateway.surfaces.cli import explain
from gateway.surfaces.replay.engine import inspector_of
from gateway.surfaces.replay.rebuilt import rebuild_input
from tests.unit.harness import Bench
from tests.unit.recurring import BOSS, KIND, endorse, recurring_bench, task_of_kind
from tests.unit.surfaces.replay.test_rebuilt import plain, watched
from tests.unit.surfaces.replay.test_recorded import exported, replayed

MORE = "approvals: {hold: 20ms}\njournal: {arguments: full, results: full}\n"
CAROL = Person("carol", "https://idp.example", ("sre",), "mfa", "test")


async def played(there: Bench) -> dict[str, Any]:
    """Approve a call with the scope `recurring`, and let a later task use it. Returns the entry of the last call."""
    await endorse(there, CAROL, to=BOSS)
    assert await (await task_of_kind(there)).passes(to=BOSS)
    return there.entries("call")[-1]


def rebuilt(there: Bench, entry: dict[str, Any]) -> tuple[Any, tuple[str, ...]]:
    key, journal = keys.read_chain(there.configuration), there.folder / "state/journal"
    provenance = Provenance(entry)
    for other in reader.tasks(journal, provenance.tasks, key=key):
        if not provenance.take(other):
            break
    named = entry.get("approval")
    approval = None if named is None else read_fact(reader.find(journal, named, key=key), timestamp)
    found = rebuild_input(entry, provenance.explanation(), inspector_of(there.configuration), approval)
    return plain(found.document), found.missing


async def test_the_policy_inputs_come_back_with_approval_and_endorsement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    async with recurring_bench(tmp_path, more=MORE) as there:
        asked = watched(there, monkeypatch)
        await played(there)
        calls = there.entries("call")
        found = [rebuilt(there, entry)[0]["context"] for entry in calls]

    assert [context["approval"] for context in found] == [document["context"]["approval"] for document in asked]
    assert sum(context["approval"] is not None for context in found) == 1
    endorsed = [context.get("endorsement") for context in found]
    assert endorsed == [document["context"].get("endorsement") for document in asked]
    assert endorsed[-1]["approvers"][0]["id"] == "carol"
    assert [context["task"].get("declared_kind") for context in found] == [KIND] * len(calls)


async def test_what_was_endorsed_replays_to_the_same_decisions(tmp_path: Path):
    async with recurring_bench(tmp_path, more=MORE) as there:
        await played(there)
        file, _ = exported(tmp_path)
        outcomes = await replayed(there, file)

    traces = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    assert [trace["task"]["kind"] for trace in traces] == [KIND, KIND]
    assert traces[0]["steps"][-1]["approve"]["scopes"] == ["once", "recurring"]
    endorsed = traces[1]["steps"][-1]["endorsed"]
    assert (endorsed["facts"], endorsed["approvers"][0]["id"]) == (["/arguments/to"], "carol")
    assert all(outcome.decision.effect in (outcome.expect.effects if outcome.expect else ()) for outcome in outcomes)

    del traces[1]["steps"][-1]["endorsed"]
    file.write_text("\n".join(map(json.dumps, traces)), "utf-8")
    async with recurring_bench(tmp_path, more=MORE) as there:
        assert (await replayed(there, file))[-1].decision.effect == "ask"


async def test_explain_names_the_persons_and_what_they_answered(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    async with recurring_bench(tmp_path, more=MORE) as there:
        last = await played(there)
        (approved,) = [entry for entry in there.entries("call") if "approval" in entry]
        path = tmp_path / "gateway.yaml"
        path.write_text("state: state\npolicy: {path: rego, grants: grants.yaml}\nupstreams: {}\n", "utf-8")
        capfd.readouterr()
        await asyncio.to_thread(partial(explain.explain, approved["id"], config=path))
        first = " ".join(capfd.readouterr().out.split())
        await asyncio.to_thread(partial(explain.explain, last["id"], config=path))
        second = " ".join(capfd.readouterr().out.split())

    assert "approved by carol (https://idp.example, mfa), at " in first
    assert ", for once and recurring" in first
    assert f"answers toxic-flow/ungrounded, in the question {approved['approval']}" in first
    assert "endorsed by carol (https://idp.example, mfa), at " in second
    assert f"for tasks of the kind {KIND}" in second
    assert f"values /arguments/to, in the endorsement {last['endorsement']['id']}" in second


def test_an_approval_without_its_entries_is_told():
    rows = dict(explain._people({"approval": "q1"}))
    assert rows == {"approved": "in the question q1, whose entries are not in this journal"}
    assert read_fact([{"kind": "approval", "event": "asked", "id": "q1"}], timestamp) is None
