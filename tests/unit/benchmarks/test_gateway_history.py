from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from pathlib import Path
from random import Random

import pytest

from benchmarks.gateway import history, targets
from benchmarks.gateway.history import KINDS, Rig, Row, Times, measure, table
from benchmarks.gateway.ways import WAYS, ways
from gateway.model.call import Call
from gateway.surfaces.app import open_gateway


@pytest.fixture
async def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Rig]:
    monkeypatch.setattr(history, "POOL", 6)
    with targets.direct(tmp_path / "upstream") as base:
        configuration = history.configured(tmp_path, base.request.url)
        async with open_gateway(configuration) as gateway:
            for upstream in configuration.upstreams:
                await gateway.catalogue.ensure(upstream)
            yield Rig(gateway, configuration, Random(1))


async def test_a_task_has_as_many_calls_behind_it_as_the_table_says(rig: Rig):
    caller = await rig.caller()

    rig.live(caller, ["echo", "other"], 25)

    facts = rig.gateway.history.ledger.facts(rig.task(caller), time.time())
    assert facts.calls == 25
    assert facts.in_flight == 0
    assert facts.labels is not None
    assert facts.labels.untrusted
    assert facts.audiences == {"echo", "other"}


async def test_each_caller_has_a_task_of_its_own(rig: Rig):
    one, other = await rig.caller(), await rig.caller()

    rig.live(one, ["echo"], 2)

    assert rig.gateway.history.ledger.facts(rig.task(other), time.time()).calls == 0


async def test_without_history_nothing_is_counted_and_with_it_every_call_is(rig: Rig):
    idle, caller = await rig.caller(), await rig.caller()
    gateways = ways(rig.gateway, history._first(rig, idle, "house"))
    calls: dict[str, int] = {}
    for way in WAYS:
        await rig.one(gateways[way], caller, "house", Times())
        calls[way] = rig.gateway.history.ledger.facts(rig.task(caller), time.time()).calls

    assert calls == {"neither": 0, "history": 1, "both": 2}


async def test_only_the_whole_gateway_looks_for_credentials(rig: Rig):
    idle = await rig.caller()
    task = rig.task(idle)
    gateways = ways(rig.gateway, history._first(rig, idle, "echo"))
    call = Call(
        "tools/call",
        rig.gateway.catalogue.target("echo", "tool", "echo"),
        {"text": "password=hunter2xyz Zanzibarian"},
    )

    found = {way: gateways[way].inspector.call(call, task, {}) for way in WAYS}

    assert [bool(found[way].tokens) for way in WAYS] == [False, True, True]
    assert [bool(found[way].sightings) for way in WAYS] == [False, False, True]


async def test_each_way_is_measured_as_often_for_either_kind_of_result(rig: Rig):
    rows = await measure(rig, (3, 20), 3)

    assert [(row.kind, row.length) for row in rows] == [(kind, length) for kind in KINDS for length in (3, 20)]
    assert all(len(row.times[way].wall) == len(row.times[way].cpu) == 3 for row in rows for way in WAYS)


def test_the_table_says_what_is_added_to_the_median():
    times = {
        "neither": Times([0.001, 0.002, 0.009], [0.001, 0.001, 0.001]),
        "history": Times([0.0025, 0.0025, 0.02], [0.0012, 0.0012, 0.0012]),
        "both": Times([0.003, 0.003, 0.003], [0.0015, 0.0015, 0.0015]),
    }

    assert table([Row("trusted", 100_000, times)]).splitlines()[-1] == (
        "| trusted | 100,000 | 2.00 | 2.50 | 0.50 | 0.20 | 3.00 | 1.00 | 0.50 |"
    )
