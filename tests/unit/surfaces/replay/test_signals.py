"""Decisions under signals of identity providers: recorded, rebuilt and replayed."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

from gateway.authority.signals.register import Signal, SignalRegister
from gateway.authority.signals.subjects import SignalSubject
from gateway.calls.pipeline.revocation import Signals
from gateway.identity import anonymous
from gateway.model.call import SignalFact
from tests.unit.harness import Bench, bench, call, message, result
from tests.unit.surfaces.replay.test_rebuilt import plain, rebuilt, watched
from tests.unit.surfaces.replay.test_recorded import exported, replayed

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

FULL = "journal: {arguments: full, results: full}\n"
FACTS = (SignalFact("risk-level-change", 1_700_000_000.5, "high"), SignalFact("credential-change", 1_700_000_001.0))
SHOWN = [
    {"type": "risk-level-change", "at": "2023-11-14T22:13:20.500000Z", "level": "high"},
    {"type": "credential-change", "at": "2023-11-14T22:13:21Z"},
]


def signalled(there: Bench) -> Bench:
    """Return the bench with open signals about every caller."""
    register = SignalRegister()
    everybody = frozenset({anonymous.ISSUER})
    for fact in FACTS:
        register.put(Signal("idp", everybody, SignalSubject(), fact.type, fact.at, "note", fact.level))
    there.gateway = dataclasses.replace(there.gateway, signals=Signals(register))
    return there


async def test_calls_and_lists_are_decided_with_the_open_signals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    async with bench(tmp_path) as there:
        asked = watched(signalled(there), monkeypatch)
        listed: list[Any] = []
        visible = there.gateway.policy.visible

        async def watch(document: Any, known: Any) -> Any:
            listed.append(plain(document))
            return await visible(document, known)

        monkeypatch.setattr(there.gateway.policy, "visible", watch)
        there.upstream.script = lambda request: result(request, {"tools": [{"name": "read_file", "inputSchema": {}}]})
        await there.ask(message("tools/list"))
        await there.ask(call(path="a"))

    assert [document["context"]["signals"] for document in (*asked, *listed)] == [SHOWN, SHOWN]


async def test_the_policy_input_comes_back_with_its_signals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    async with bench(tmp_path, more=FULL) as there:
        asked = watched(there, monkeypatch)
        await there.ask(call(path="a"))
        await signalled(there).ask(call(path="b"))
        found = [plain(each.document)["context"] for each in rebuilt(there)]

    assert [context.get("signals") for context in found] == [None, SHOWN]
    assert [document["context"].get("signals") for document in asked] == [None, SHOWN]


async def test_an_exported_step_is_replayed_with_its_signals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    async with bench(tmp_path, more=FULL) as there:
        await signalled(there).ask(call(path="a"))
        file, _ = exported(tmp_path)
        asked = watched(there, monkeypatch)
        (outcome,) = await replayed(there, file)

    (step,) = json.loads(file.read_text("utf-8"))["steps"]
    assert [(one["type"], one.get("level")) for one in step["signals"]] == [
        ("risk-level-change", "high"),
        ("credential-change", None),
    ]
    assert [one["type"] for one in asked[0]["context"]["signals"]] == ["risk-level-change", "credential-change"]
    assert outcome.met
