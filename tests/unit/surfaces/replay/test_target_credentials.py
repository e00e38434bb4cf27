"""Decisions at upstreams with credentials: recorded, rebuilt and replayed with the kind of credential."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

from gateway.model.target import Target, TargetCredential
from gateway.upstreams.catalogue.catalogue import TargetType
from tests.unit.harness import Bench, bench, call, retarget
from tests.unit.surfaces.replay.test_rebuilt import plain, rebuilt, watched
from tests.unit.surfaces.replay.test_recorded import exported, replayed

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

FULL = "journal: {arguments: full, results: full}\n"
SHOWN = {"kind": "exchange", "revocable": "after_ttl", "min_ttl_seconds": 1}


def credentialed(there: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the upstream have a lent credential that ends with its time."""
    found = there.gateway.catalogue.target

    def target(upstream: str, kind: TargetType, name: str) -> Target:
        return dataclasses.replace(
            found(upstream, kind, name),
            credential=TargetCredential("exchange", "after_ttl", 1),
        )

    retarget(monkeypatch, there.gateway.catalogue, target)


async def test_the_policy_input_comes_back_with_the_credential(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    async with bench(tmp_path, more=FULL) as there:
        credentialed(there, monkeypatch)
        asked = watched(there, monkeypatch)
        await there.ask(call(path="a"))
        (again,) = [plain(each.document) for each in rebuilt(there)]

    assert asked[0]["resource"]["properties"]["credential"] == SHOWN
    assert again["resource"]["properties"]["credential"] == SHOWN


async def test_an_exported_trace_has_the_kind_of_credential(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    async with bench(tmp_path, more=FULL) as there:
        credentialed(there, monkeypatch)
        await there.ask(call(path="a"))
        file, _ = exported(tmp_path)
        asked = watched(there, monkeypatch)
        (outcome,) = await replayed(there, file)

    assert json.loads(file.read_text("utf-8"))["upstreams"]["files"]["credential"] == "exchange"
    assert asked[0]["resource"]["properties"]["credential"]["kind"] == "exchange"
    assert outcome.met


async def test_an_agent_behind_a_tool_stays_a_step_of_the_delegation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    async with bench(tmp_path, more=FULL) as there:
        found = there.gateway.catalogue.target
        retarget(
            monkeypatch,
            there.gateway.catalogue,
            lambda upstream, kind, name: dataclasses.replace(found(upstream, kind, name), is_agent=True),
        )
        asked = watched(there, monkeypatch)
        await there.ask(call(path="a"))
        (again,) = [plain(each.document) for each in rebuilt(there)]
        file, _ = exported(tmp_path)
        (outcome,) = await replayed(there, file)

    assert asked[0]["session"]["depth"] == again["session"]["depth"] == 1
    assert json.loads(file.read_text("utf-8"))["upstreams"]["files"]["agent"] is True
    assert outcome.met
