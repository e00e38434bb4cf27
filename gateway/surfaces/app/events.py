"""Events beside requests: recorded, counted and logged."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import Final

import structlog

from gateway.calls.pipeline.record import append_or_log
from gateway.calls.pipeline.refuse import log_flood
from gateway.config import Configuration
from gateway.model.decision import PolicyRevision
from gateway.model.wire import JsonObject
from gateway.policy.opa.here import PolicyCheck
from gateway.policy.policy import PolicyEvent, PolicyStatus
from gateway.policy.shadow import ShadowDifference
from gateway.record.journal.entry import pin_entry, policy_entry, shadow_entry
from gateway.record.journal.refusal_sampler import RefusalSampler
from gateway.record.journal.writer import Journal
from gateway.record.telemetry.metrics import Metrics
from gateway.upstreams.catalogue.catalogue import Catalogue
from gateway.upstreams.catalogue.pins import Definition, PinChange

log = structlog.get_logger("gateway")

_CHANGES: Final = 10_000
"""Changes of one upstream within an hour that are recorded one by one: some more than it may have definitions."""
_CHANGES_SECONDS: Final = 3600.0


class EventRecorder:
    """Writes journal entries about events beside requests. Callbacks report the events, and cannot wait for a disk."""

    def __init__(self, journal: Journal, metrics: Metrics) -> None:
        self.journal = journal
        self.metrics = metrics
        self._writing: set[asyncio.Task[None]] = set()

    def write(self, kind: str, entry: Callable[[], JsonObject]) -> None:
        """Write an entry soon; `entry` is called then."""
        task = asyncio.get_running_loop().create_task(self._write(kind, entry))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def written(self) -> None:
        """Wait until all reported events are written."""
        await asyncio.gather(*self._writing)

    async def _write(self, kind: str, entry: Callable[[], JsonObject]) -> None:
        await append_or_log(self, kind, entry())


def flood(
    stack: AsyncExitStack, configuration: Configuration, recorder: EventRecorder, clock: Callable[[], float]
) -> RefusalSampler:
    """Return the counter of refusals of unknown callers. Record its last counts when the stack ends."""
    counted = RefusalSampler(configuration.journal.refusals, clock)
    stack.callback(partial(note_flood, recorder, counted, last=True))
    return counted


def note_flood(recorder: EventRecorder, flood: RefusalSampler, *, last: bool = False) -> None:
    rest = flood.rest(last=last)
    if rest is not None:
        log_flood(rest)
        recorder.write("flood", lambda: rest)


class DefinitionChanges:
    """Records changes of the definitions of upstreams. Every change is counted; a bounded number an hour is recorded
    and logged. Without the bound, an upstream that changes its tools at each listing could fill the disk, and stop all
    calls.
    """

    def __init__(self, recorder: EventRecorder, clock: Callable[[], float]) -> None:
        self._recorder = recorder
        self._clock = clock
        self._noted: dict[str, tuple[float, int]] = {}

    def note(self, catalogue: Catalogue, change: PinChange) -> None:
        self._recorder.metrics.definitions.labels(change.upstream, change.kind).inc()
        number = self._number(change.upstream)
        if number == _CHANGES + 1:
            log.error("catalogue.flood", upstream=change.upstream, changes=_CHANGES)
        if number > _CHANGES:
            return
        digest = change.new.digest if isinstance(change.new, Definition) else ""
        if change.kind == "changed":
            log.warning("catalogue.changed", upstream=change.upstream, subject=change.subject, digest=digest)
        self._recorder.write("pin", lambda: _pin_entry(catalogue, change, digest))

    def _number(self, upstream: str) -> int:
        """Return the number of a change among the upstream's changes within the hour."""
        now = self._clock()
        since, count = self._noted.get(upstream, (now, 0))
        if not 0 <= now - since < _CHANGES_SECONDS:
            # Also when the clock was set back: nobody is to be silent until it has caught up.
            since, count = now, 0
        self._noted[upstream] = since, count + 1
        return count + 1


def _pin_entry(catalogue: Catalogue, change: PinChange, digest: str) -> JsonObject:
    state = catalogue.state(change.upstream, change.subject, change.name)
    return pin_entry(change.subject, f"{change.upstream}/{change.name}", state, digest)


def note_policy(recorder: EventRecorder, event: PolicyEvent) -> None:
    status = event.status
    is_in_force = event.kind in {"started", "loaded"}
    recorder.metrics.policy_reloads.labels("loaded" if is_in_force else event.kind).inc()
    if event.kind == "loaded":
        # The `start` entry names the first policy.
        facts = event.facts._asdict()
        recorder.write("policy", lambda: policy_entry(revision(status), plan=status.plan, facts=facts))
        if any(facts.values()):
            log.warning("policy.facts-changed", **facts)
    if is_in_force:
        engine = {"engine": status.engine, "plan": status.plan}
        log.info("policy.loaded", name=status.name, revision=status.revision, **engine)
    elif event.kind == "mended":
        log.info("policy.mended", name=status.name, revision=status.revision, engine=status.engine)
    elif event.kind == "stale":
        log.error("policy.stale", problem=status.problem, in_force=status.revision)
    else:
        log.error(
            "policy.broken", kind=event.kind, problem=status.problem, in_force=status.revision, exc_info=event.error
        )


def note_policy_check(recorder: EventRecorder, check: PolicyCheck) -> None:
    """Count a decision that was put to OPA as well. Record and log a difference."""
    recorder.metrics.policy_checks.labels(check.result).inc()
    if check.result != "differed":
        return
    log.error("policy.differed", revision=check.revision, plan=check.plan)
    described = PolicyRevision("", check.revision)
    recorder.write("policy", lambda: policy_entry(described, plan=check.plan, has_differed=True))


def note_shadow_difference(recorder: EventRecorder, found: ShadowDifference) -> None:
    """Record a call that the shadow policy decides otherwise."""
    recorder.write("shadow", lambda: shadow_entry(found.call, found.enforced, found.shadow, found.name, found.revision))


def revision(status: PolicyStatus) -> PolicyRevision:
    return PolicyRevision(status.name, status.revision)
