"""The begin and the end of observe mode in the journal, the log and the metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import AsyncExitStack
from pathlib import Path

from structlog.testing import capture_logs

from gateway.policy.observing import ObservedUpstream, ObserveMode
from gateway.record.telemetry.metrics import Metrics
from gateway.surfaces.app.events import EventRecorder
from gateway.surfaces.app.observing import open_observe_mode
from tests.unit.clock import Clock
from tests.unit.harness import Bench, bench


async def observe(there: Bench, metrics: Metrics, clock: Clock, **ends: float) -> list[list[str]]:
    """Observe upstreams until the first of them is enforced again. Return what is told of ends."""
    mode = ObserveMode({name: ObservedUpstream(name, until) for name, until in ends.items()}, frozenset(), clock)
    recorder, ended, heard = EventRecorder(there.gateway.journal, metrics), list[list[str]](), asyncio.Event()

    def note(upstreams: Collection[str]) -> None:
        ended.append(list(upstreams))
        heard.set()

    async with AsyncExitStack() as stack:
        open_observe_mode(stack, mode, recorder, clock, note)
        await asyncio.sleep(0)
        clock.now = min(ends.values())
        await asyncio.wait_for(heard.wait(), 10)
        await recorder.written()
    return ended


async def test_the_begin_and_the_end_are_recorded_and_logged(tmp_path: Path):
    metrics = Metrics()
    async with bench(tmp_path) as there:
        with capture_logs() as logs:
            ended = await observe(there, metrics, Clock(now=999.999), files=1000.0, mail=float("inf"))
        exposed = metrics.exposition()
    begun, over = there.entries("enforcement")

    assert ended == [["files"]]
    assert (begun["event"], begun["until"]) == ("suspended", {"files": "1970-01-01T00:16:40Z", "mail": None})
    assert (over["event"], over["upstreams"]) == ("began", ["files"])
    assert [entry["event"] for entry in logs] == ["observe.on", "observe.ended"]
    assert b'opagate_observing{upstream="files"} 0.0' in exposed
    assert b'opagate_observing{upstream="mail"} 1.0' in exposed


async def test_a_gateway_that_enforces_tells_of_nothing(tmp_path: Path):
    async with bench(tmp_path) as there:
        pass

    assert there.entries("enforcement") == []


async def test_a_change_of_the_configuration_is_recorded_at_once(tmp_path: Path):
    clock, heard = Clock(now=1000.0), asyncio.Event()
    mode = ObserveMode({}, frozenset(), clock)
    async with bench(tmp_path) as there:
        recorder = EventRecorder(there.gateway.journal, Metrics())
        async with AsyncExitStack() as stack:
            open_observe_mode(stack, mode, recorder, clock, lambda _ended: heard.set())
            await asyncio.sleep(0)
            mode.adopt(ObserveMode({"files": ObservedUpstream("files", 2000.0)}, frozenset(), clock))
            for _ in range(20):
                await asyncio.sleep(0)
            mode.adopt(ObserveMode({}, frozenset({"files"}), clock))
            await asyncio.wait_for(heard.wait(), 10)
            await recorder.written()
    entries = there.entries("enforcement")

    assert [entry["event"] for entry in entries] == ["suspended", "began"]
