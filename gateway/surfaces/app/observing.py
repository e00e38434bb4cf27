"""Observe mode of a running gateway: its clock, its begin and end in the journal, and the reminder in the log."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from contextlib import AsyncExitStack
from typing import Final

import structlog

from gateway.base.concurrency.background import Job, Pause
from gateway.base.steady_clock import SteadyClock
from gateway.config import Configuration
from gateway.model.wire import JsonObject
from gateway.policy.observing import ObservedUpstream, ObserveMode, describe_ends
from gateway.surfaces.app.events import EventRecorder

log = structlog.get_logger("gateway")

_REMINDER_SECONDS: Final = 3600.0
_LOOK_SECONDS: Final = 2.0
"""Between two looks, since the wall clock may be set forward, and the configuration may change."""
_SHORTEST_WAIT: Final = 0.01


def build_observe_mode(
    configuration: Configuration, clock: Callable[[], float], elapsed: Callable[[], float]
) -> ObserveMode:
    """Return the observe mode of the configuration. A clock that is set back prolongs nothing."""
    observed, upstreams = configuration.observed, configuration.upstreams
    return ObserveMode(
        {
            name: ObservedUpstream(upstreams[name].audience, until, upstreams[name].aggregates or ())
            for name, until in observed.items()
        },
        frozenset(upstream.audience for name, upstream in upstreams.items() if name not in observed),
        SteadyClock(clock, elapsed).now,
    )


def open_observe_mode(
    stack: AsyncExitStack,
    mode: ObserveMode,
    recorder: EventRecorder,
    elapsed: Callable[[], float],
    on_end: Callable[[Collection[str]], object],
) -> None:
    """Tell the log, the journal and the metrics of observe mode until the stack ends. Call `on_end` with the upstreams that are
    enforced again."""
    recorder.metrics.observe_observing(lambda: tuple(mode.upstreams), mode.find_open)
    pause = Pause()
    mode.tell = pause.end

    async def watch() -> None:
        known, told = dict[str, float](), elapsed()
        while True:
            still = mode.find_open()
            if ended := sorted(known.keys() - still):
                _tell_end(recorder, ended)
                on_end(ended)
            if begun := {name: until for name, until in still.items() if known.get(name) != until}:
                _tell_begin(recorder, begun)
            elif still and elapsed() - told >= _REMINDER_SECONDS:
                told = elapsed()
                log.warning("observe.on", **_describe(still))
            known = still
            left = min(known.values(), default=math.inf) - mode.clock()
            await pause.rest(max(_SHORTEST_WAIT, min(left, _LOOK_SECONDS)))

    stack.push_async_callback(Job(watch, "observe-mode").stop)


def _tell_begin(recorder: EventRecorder, observed: Mapping[str, float]) -> None:
    log.warning("observe.on", **_describe(observed), told="calls that policy would refuse pass")
    entry: JsonObject = {"event": "suspended", **_describe(observed)}
    recorder.write("enforcement", lambda: entry)


def _tell_end(recorder: EventRecorder, ended: list[str]) -> None:
    log.warning("observe.ended", upstreams=ended, told="policy is enforced from now on")
    entry: JsonObject = {"event": "began", "upstreams": list(ended)}
    recorder.write("enforcement", lambda: entry)


def _describe(observed: Mapping[str, float]) -> JsonObject:
    return {"upstreams": sorted(observed), "until": describe_ends(observed)}
