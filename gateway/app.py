"""The composition root: builds every part from the configuration, owns their lifetimes, and runs them.

Start order: journal, policy, identity, upstreams, catalogue, then the listening socket. A gateway that cannot record
or decide does not listen. Stop order is the reverse, after the calls in flight have ended.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import secrets
import ssl
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import asdict
from functools import partial
from importlib.metadata import version

import structlog

from gateway.binding.conversations import Conversations
from gateway.binding.ownership import Ownership
from gateway.binding.sessions import Sessions
from gateway.binding.vault import Vault
from gateway.config import Configuration
from gateway.errors import HistoryError
from gateway.history import History, Store, rebuild, restore, rewind, snapshot
from gateway.identity.identities import Identities
from gateway.inspection.credentials import ruleset
from gateway.inspection.credentials.detect import Detector, detectors
from gateway.inspection.credentials.fingerprint import Fingerprints
from gateway.inspection.credentials.origins import Origins
from gateway.inspection.inspector import Inspector
from gateway.inspection.suppressions import Suppression, Suppressions, unknown
from gateway.journal.chain import subkey
from gateway.journal.entry import pin_entry, policy_entry, start_entry
from gateway.journal.flood import Flood
from gateway.journal.keys import load_key
from gateway.journal.redaction import Spots, concealed, recorded
from gateway.journal.results import ResultRecord
from gateway.journal.storage import lock
from gateway.journal.trusted import entries
from gateway.journal.writer import Journal
from gateway.model.call import Call
from gateway.model.content import ResultContent
from gateway.model.decision import PolicyRevision
from gateway.model.facts import SessionFacts
from gateway.model.target import Target
from gateway.model.task import Contract
from gateway.model.wire import JsonObject
from gateway.pages import pages
from gateway.pipeline import handle, handle_task
from gateway.policy import Policy, PolicyEvent, PolicyStatus
from gateway.recording import append_or_log
from gateway.refusing import log_flood, refuse_early
from gateway.stopping import Stopping
from gateway.tasks.endpoints import TaskEndpoints
from gateway.tasks.keys import load_key as load_task_key
from gateway.tasks.tokens import TaskTokens
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.tracing import Tracing
from gateway.transport.concurrency import ConcurrencyLimit
from gateway.transport.edge import Edge, Handlers
from gateway.transport.server import Server, tls_context
from gateway.upstream.catalogue import Catalogue
from gateway.upstream.http import HttpUpstream
from gateway.upstream.pins import Change, Definition
from gateway.upstream.stdio import StdioUpstream
from gateway.visit import SUPPORTED_OBLIGATIONS, Gateway
from gateway.worker_thread import WorkerThread

log = structlog.get_logger("gateway")

_HOUSEKEEPING_SECONDS = 60.0
_YOUNG_OBJECTS = 10_000
"""Container objects that are made before the collector looks for cycles among them: some twenty calls' worth."""
_TURN_SECONDS = 0.001
"""How long another thread may run while the event loop waits for its turn. By default five times as long."""
_GOAL_LENGTH = 8192
"""Characters of a task's goal that the journal keeps, without what looks like a credential."""
_CUT_OFF_SECONDS = 5.0
"""How long the calls that the end of the drain cut off may take to be settled."""


@asynccontextmanager
async def assembled(configuration: Configuration, *, clock: Callable[[], float] = time.time) -> AsyncGenerator[Gateway]:
    """Every part, started, and stopped in the reverse order. Raises `GatewayError` when one cannot start."""
    async with AsyncExitStack() as stack:
        metrics = Metrics()
        tracing = _tracing(stack, configuration)
        key = load_key(configuration.state)
        journal, notes = _record(stack, configuration, key, metrics, clock)
        policy = await _policy(stack, configuration, notes, clock)
        await journal.append("start", start_entry(version("opagate"), configuration.listen, _revision(policy.status())))
        identities = await _identities(stack, configuration, clock)
        upstreams = _upstreams(stack, configuration, metrics, clock)
        catalogue = await _catalogue(stack, configuration, upstreams, notes, clock)
        flood = _flood(stack, configuration, notes, clock)
        ownership, unanswered = Ownership(clock), Ownership(clock)
        origins, vault = Origins(), Vault(secrets.token_urlsafe)
        history = _history(configuration, origins, vault, clock)
        memory = await _remembered(configuration, history, journal, key=key, clock=clock)
        stack.push_async_callback(memory)
        forget = partial(_forgotten, (ownership, unanswered), vault, history, clock)
        _keep_house(stack, memory, forget, partial(_note_flood, notes, flood))
        worker = stack.enter_context(closing(WorkerThread()))
        tokens = TaskTokens(load_task_key(configuration.state), base_url=configuration.base_url)
        inspector = _inspector(configuration, key, metrics)
        yield Gateway(
            identities=identities,
            catalogue=catalogue,
            history=history,
            policy=policy,
            journal=journal,
            flood=flood,
            upstreams=upstreams,
            sessions=Sessions(subkey(key, "sessions")),
            ownership=ownership,
            conversations=Conversations(),
            unanswered=unanswered,
            vault=vault,
            metrics=metrics,
            tracing=tracing,
            callers=ConcurrencyLimit(configuration.limits.in_flight_per_caller),
            clock=clock,
            monotonic=time.monotonic,
            new_id=lambda: secrets.token_hex(12),
            record=_recorder(configuration, journal, inspector.spots),
            tasks=_tasks(history, tokens, journal, inspector.declared),
            task_tokens=tokens,
            inspector=inspector,
            worker=worker,
            origins=origins,
            result_record=_result_record(configuration, journal, inspector.spots),
            style=configuration.errors,
        )


def _tracing(stack: AsyncExitStack, configuration: Configuration) -> Tracing:
    tracing = Tracing.build(configuration.telemetry.otlp)
    stack.callback(tracing.stop)
    return tracing


def _record(
    stack: AsyncExitStack, configuration: Configuration, key: bytes, metrics: Metrics, clock: Callable[[], float]
) -> tuple[Journal, Notes]:
    """The journal, and what is written into it beside requests."""
    stack.callback(os.close, lock(configuration.state, "gateway.lock", "uses the state folder"))
    journal = Journal.open(configuration.journal, key=key, clock=clock)
    stack.push_async_callback(journal.close)
    metrics.open_calls.set_function(lambda: journal.open_calls)
    notes = Notes(journal, metrics)
    stack.push_async_callback(notes.written)
    return journal, notes


async def _identities(stack: AsyncExitStack, configuration: Configuration, clock: Callable[[], float]) -> Identities:
    identities = Identities.build(configuration, clock=clock)
    await identities.start()
    stack.push_async_callback(identities.stop)
    return identities


async def _policy(
    stack: AsyncExitStack, configuration: Configuration, notes: Notes, clock: Callable[[], float]
) -> Policy:
    """The policy, in force, and watched by a metric."""
    policy = Policy.build(
        configuration.policy,
        supported=frozenset(SUPPORTED_OBLIGATIONS),
        clock=clock,
        on_event=partial(_policy_event, notes),
    )
    await policy.start()
    stack.push_async_callback(policy.stop)
    notes.metrics.policy_ready.set_function(lambda: float(policy.status().ready and policy.status().problem is None))
    return policy


async def _catalogue(
    stack: AsyncExitStack,
    configuration: Configuration,
    upstreams: dict[str, HttpUpstream | StdioUpstream],
    notes: Notes,
    clock: Callable[[], float],
) -> Catalogue:
    """The upstreams' tools, listed again and again, with what changes noted."""
    catalogue = Catalogue(
        configuration.upstreams,
        configuration.catalogue,
        upstreams,
        clock=clock,
        on_change=lambda change: _definition_event(notes, catalogue, change),
    )
    await catalogue.start()
    stack.push_async_callback(catalogue.stop)
    return catalogue


def _history(configuration: Configuration, origins: Origins, vault: Vault, clock: Callable[[], float]) -> History:
    hide = partial(concealed, limit=_GOAL_LENGTH)
    return History(configuration.history, clock=clock, conceal=hide, origins=origins, on_end=vault.drop)


def _upstreams(
    stack: AsyncExitStack, configuration: Configuration, metrics: Metrics, clock: Callable[[], float]
) -> dict[str, HttpUpstream | StdioUpstream]:
    found = upstream_transports(configuration, clock)
    servers = {name: transport for name, transport in found.items() if isinstance(transport, StdioUpstream)}
    metrics.observe_servers(lambda: {name: asdict(server.status()) for name, server in servers.items()})
    for transport in found.values():
        stack.push_async_callback(transport.aclose)
    return found


def _inspector(configuration: Configuration, key: bytes, metrics: Metrics) -> Inspector:
    detector = Detector(ruleset.load(*configuration.inspection.rules), Fingerprints(subkey(key, "credentials")))
    return Inspector(subkey(key, "content"), detector, _suppressions(configuration, detector, metrics))


def _suppressions(configuration: Configuration, detector: Detector, metrics: Metrics) -> Suppressions:
    """Each is counted when it is applied, and told of the first time; one that can cover nothing, at once."""
    rules, told = configuration.inspection.suppressions, set[int]()
    names = detectors(detector.ruleset)
    for number, rule in enumerate(rules):
        if (problem := unknown(rule.detector, names)) is not None:
            log.warning("credential.suppression-unused", number=number, problem=problem)

    def used(number: int, target: Target) -> None:
        metrics.suppressed.labels(target.upstream).inc()
        if number not in told:
            told.add(number)
            rule = rules[number]
            log.info("credential.suppressed", upstream=target.upstream, number=number, until=str(rule.until))

    return Suppressions(
        [Suppression(rule.upstream, rule.ends, rule.tool, rule.detector, rule.pointer) for rule in rules], used
    )


def _revision(status: PolicyStatus) -> PolicyRevision:
    return PolicyRevision(status.name, status.revision)


def _tasks(
    history: History,
    tokens: TaskTokens,
    journal: Journal,
    inspect: Callable[[str | None, Contract | None], ResultContent],
) -> TaskEndpoints:
    return TaskEndpoints(
        history, tokens, inspect=inspect, append=journal.append, new_id=lambda: f"task-{secrets.token_hex(12)}"
    )


async def run(configuration: Configuration, *, on_ready: Callable[[], None] = lambda: None) -> None:
    """Serve until SIGTERM, SIGINT or SIGHUP. Raises `GatewayError` when the gateway cannot start."""
    sys.setswitchinterval(_TURN_SECONDS)
    stopping = Stopping()

    def ready() -> None:
        stopping.started()
        on_ready()

    with stopping.heard():
        try:
            async with assembled(configuration) as gateway:
                await serve(configuration, gateway, on_ready=ready)
        except asyncio.CancelledError:
            if not stopping.told:
                raise
            log.info("stopped", problem="it was told to stop before it listened")


async def serve(configuration: Configuration, gateway: Gateway, *, on_ready: Callable[[], None]) -> None:
    """Listen, until told to stop; then let the calls in flight end."""
    draining = asyncio.Event()
    edge = Edge(
        configuration,
        Handlers(
            mcp=partial(handle, gateway),
            tasks=partial(handle_task, gateway),
            refuse=partial(refuse_early, gateway),
            pages=pages(configuration, gateway, draining=draining.is_set),
        ),
    )
    gateway.metrics.observe_in_flight(lambda: edge.in_flight)

    async def drain() -> None:
        draining.set()
        log.info("draining", in_flight=edge.in_flight)
        edge.drain()

    def ready() -> None:
        _settle_memory()
        log.info("listening", listen=configuration.listen, url=configuration.base_url)
        on_ready()

    server = Server(edge, configuration, tls=_tls(configuration), on_ready=ready, on_drain=drain)
    await server.run_until_stopped()
    await edge.ended(_CUT_OFF_SECONDS)
    log.info("stopped", journal_head=gateway.journal.head)


def _settle_memory() -> None:
    """Take what start-up made out of the garbage collector's sight. Code, configuration and policy live as long as the
    process; looking through them again and again took a tenth of every call. What start-up freed goes back to the
    system: glibc would keep it (malloc_trim(3)), others have no such call."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, *gc.get_threshold()[1:])
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


class Notes:
    """Writes journal entries of what happens beside requests: callbacks tell of it, and cannot wait for a disk."""

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
        """Returns when all that was told is written."""
        await asyncio.gather(*self._writing)

    async def _write(self, kind: str, entry: Callable[[], JsonObject]) -> None:
        await append_or_log(self, kind, entry())


def _flood(stack: AsyncExitStack, configuration: Configuration, notes: Notes, clock: Callable[[], float]) -> Flood:
    flood = Flood(configuration.journal.refusals, clock)
    stack.callback(partial(_note_flood, notes, flood, last=True))
    return flood


def _note_flood(notes: Notes, flood: Flood, *, last: bool = False) -> None:
    rest = flood.rest(last=last)
    if rest is not None:
        log_flood(rest)
        notes.write("flood", lambda: rest)


def _definition_event(notes: Notes, catalogue: Catalogue, change: Change) -> None:
    notes.metrics.definitions.labels(change.upstream, change.kind).inc()
    digest = change.new.digest if isinstance(change.new, Definition) else ""
    if change.kind == "changed":
        log.warning("catalogue.changed", upstream=change.upstream, subject=change.subject, digest=digest)
    notes.write("pin", lambda: _pin_entry(catalogue, change, digest))


def _pin_entry(catalogue: Catalogue, change: Change, digest: str) -> JsonObject:
    state = catalogue.state(change.upstream, change.subject, change.name)
    return pin_entry(change.subject, f"{change.upstream}/{change.name}", state, digest)


def _policy_event(notes: Notes, event: PolicyEvent) -> None:
    status = event.status
    notes.metrics.policy_reloads.labels(event.kind).inc()
    if event.kind == "loaded":
        notes.write("policy", lambda: policy_entry(_revision(status)))
        log.info("policy.loaded", name=status.name, revision=status.revision, engine=status.engine)
    else:
        log.error(
            "policy.broken", kind=event.kind, problem=status.problem, in_force=status.revision, exc_info=event.error
        )


def upstream_transports(
    configuration: Configuration, clock: Callable[[], float]
) -> dict[str, HttpUpstream | StdioUpstream]:
    """The way to each upstream. Nothing is connected or started before the first request; close each with `aclose`."""
    limits = configuration.limits
    return {
        name: HttpUpstream(name, settings, limits)
        if settings.url
        else StdioUpstream(name, settings, limits, clock=clock, new_id=lambda: secrets.token_urlsafe(18))
        for name, settings in configuration.upstreams.items()
    }


def _recorder(
    configuration: Configuration, journal: Journal, spots: Spots
) -> Callable[[Call, SessionFacts], JsonObject]:
    mode, key = configuration.journal.arguments, journal.fingerprint_key

    def record(call: Call, facts: SessionFacts) -> JsonObject:
        return recorded(call.arguments, mode, key=key, spots=spots, held=_held(facts))

    return record


def _held(facts: SessionFacts) -> dict[str, list[str]] | None:
    """The credentials in a call as the record marks them, by where they are."""
    if facts.credentials is None:
        return None
    held: dict[str, list[str]] = {}
    for sighting in (fact.sighting for fact in facts.credentials):
        held.setdefault(sighting.pointer, []).append(f"{sighting.detector}:{sighting.fingerprint}")
    return held


def _result_record(configuration: Configuration, journal: Journal, spots: Spots) -> Callable[[], ResultRecord | None]:
    match configuration.journal.results:
        case "none":
            return lambda: None
        case "digest":
            return partial(ResultRecord, journal.fingerprint_key)
        case "full":
            return partial(ResultRecord, journal.fingerprint_key, spots)


def _tls(configuration: Configuration) -> ssl.SSLContext | None:
    return None if configuration.tls is None else tls_context(configuration.tls)


async def _remembered(
    configuration: Configuration, history: History, journal: Journal, *, key: bytes, clock: Callable[[], float]
) -> Callable[[], Awaitable[None]]:
    """Restore history from the snapshot and the journal of the gateway before this one. Returns what writes a new snapshot.

    Raises `JournalError` for a journal that is not as it was written: a task would seem to have done less than it did.
    """
    store = Store(configuration.state / "history", subkey(key, "history"))
    restored = restore(history, store)
    if restored.problem is not None:
        log.error("history.snapshot-unused", problem=restored.problem.message)
    rebuilt = rebuild(
        history,
        entries(configuration.journal.path, key=key, journal=restored.journal, after=restored.seq),
        restored,
    )
    end = journal.entries
    if rewind(history, end):
        log.error("history.journal-cut", problem="the journal ends before the snapshots of history", entries=end)
    log.info("history.rebuilt", tasks=len(history), events=rebuilt.events)

    async def write_down() -> None:
        try:
            replaced = await snapshot(history, store, lambda: (rebuilt.journal or "", journal.entries))
            if replaced is not None:
                log.error("history.snapshot-replaced", problem=replaced.message)
            history.shed(clock())
        except HistoryError as error:
            # The journal has everything: the next start only takes longer.
            log.error("history.snapshot-failed", problem=error.message)  # noqa: TRY400 - the message says it all

    await write_down()
    return write_down


def _forgotten(owned: tuple[Ownership, ...], vault: Vault, history: History, clock: Callable[[], float]) -> None:
    """Let go of what is too old, also if nobody calls."""
    for each in owned:
        each.expire()
    vault.retain(partial(history.is_open, now=clock()))


def _keep_house(stack: AsyncExitStack, memory: Callable[[], Awaitable[None]], *chores: Callable[[], None]) -> None:
    housekeeping = asyncio.create_task(_housekeeping(memory, *chores))
    stack.callback(housekeeping.cancel)


async def _housekeeping(memory: Callable[[], Awaitable[None]], *chores: Callable[[], None]) -> None:
    while True:
        await asyncio.sleep(_HOUSEKEEPING_SECONDS)
        for chore in chores:
            chore()
        await memory()
