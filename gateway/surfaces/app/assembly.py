"""Every part of the gateway, made from the configuration, with its lifetime.

Start order: journal, policy, identity, upstreams, catalogue. Without a record or decisions, the gateway does not
listen.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from typing import TypeAlias

import structlog
from msgspec import Struct

from gateway.authority.lending import Authority
from gateway.authority.signals.register import SignalRegister
from gateway.base.concurrency.worker_thread import WorkerThread
from gateway.base.control.operations import Control
from gateway.base.keys.key_ring import derive_ring, subkey
from gateway.base.store.engine import Claim
from gateway.base.store.records import SealedStore
from gateway.calls.binding.ownership import Ownership, Sessions
from gateway.calls.binding.vault import Vault
from gateway.calls.composition import Gateway
from gateway.calls.pipeline.context import SUPPORTED_OBLIGATIONS
from gateway.calls.pipeline.credentials import CredentialChain
from gateway.calls.pipeline.lease_review import LeaseReview
from gateway.config import Configuration
from gateway.config.keys import Keys
from gateway.config.keys import load as load_keys
from gateway.history import History
from gateway.history.tasks.tokens import TaskTokens
from gateway.identity.dpop import SharedProofs
from gateway.identity.identities import Identities
from gateway.inspection.credentials.caller_tokens import CallerTokens
from gateway.inspection.credentials.origins import KnownOrigins
from gateway.inspection.schemas import ToolSchemas
from gateway.model.caller import Principal
from gateway.model.wire import UpstreamTransport
from gateway.policy.observing import ObserveMode
from gateway.policy.plan.loading import CodeCache, PlanCaches, Plans
from gateway.policy.plan.store import PlanTrust
from gateway.policy.policy import Policy
from gateway.policy.shadow import ShadowPolicy
from gateway.policy.trials.passed_trials import PassedTrials
from gateway.record.journal.age_pruning import AgePruning
from gateway.record.journal.entry import start_entry
from gateway.record.journal.storage import has_begun, lock, require_unwritten
from gateway.record.journal.writer import Journal
from gateway.record.telemetry.metrics import Metrics
from gateway.record.telemetry.tracing import Tracing
from gateway.surfaces.app import content, effects, events, memory
from gateway.surfaces.app.authority import AuthorityParts, lend_to_listings, open_authority
from gateway.surfaces.app.connections import build_user_connections
from gateway.surfaces.app.content import open_live_values
from gateway.surfaces.app.control import OPERATIONS, open_control, open_proofs, open_token_people, recording
from gateway.surfaces.app.events import (
    DefinitionChanges,
    EventRecorder,
    note_flood,
    note_policy,
    note_policy_check,
    note_shadow_difference,
    revision,
)
from gateway.surfaces.app.keys import KeyedParts, add_operations
from gateway.surfaces.app.observing import build_observe_mode, open_observe_mode
from gateway.surfaces.app.people import DeskParts, build_registers, open_people
from gateway.surfaces.app.reloading import watch_policy, watch_upstreams
from gateway.surfaces.app.signals import Lending, SignalMemory, open_signals
from gateway.surfaces.app.stops import StopMemory, open_stops
from gateway.surfaces.stored.check import KINDS, require_no_earlier
from gateway.surfaces.stored.opening import hold_records, require_known_records
from gateway.upstreams.catalogue.catalogue import Catalogue
from gateway.upstreams.catalogue.first_use import FirstPins
from gateway.upstreams.catalogue.lockfile import PackagePins
from gateway.upstreams.catalogue.pins import PinChange
from gateway.upstreams.http import HttpUpstream
from gateway.upstreams.served import Served, ServedUpstreams
from gateway.upstreams.stdio import StdioUpstream
from gateway.upstreams.stdio.isolation.launch import build_launchers
from gateway.upstreams.stdio.isolation.launch import clean as clean_scratch
from gateway.upstreams.stdio.isolation.locked import remove_others
from gateway.upstreams.stdio.private_folder import choose_folder, clean
from gateway.upstreams.stdio.spawner import Conceal, shown_as_is
from gateway.wire.http.limits import RequestPlaces
from gateway.wire.http.tls_files import TlsWatch
from gateway.wire.protocol.replies import RefusalForm

log = structlog.get_logger("gateway")

Clock: TypeAlias = Callable[[], float]
"""Seconds since the epoch."""


@asynccontextmanager
async def open_gateway(configuration: Configuration, *, clock: Clock = time.time) -> AsyncGenerator[Gateway]:
    """Start every part, and stop all in the reverse order. Raises `GatewayError` if a part cannot start."""
    async with AsyncExitStack() as stack:
        base = await _open_base(stack, configuration, clock)
        gateway = await _open_parts(stack, configuration, base, clock)
        add_operations(base.control, KeyedParts(configuration, base.keys, base.journal, base.store, gateway.live))
        await open_control(stack, configuration, gateway)
        yield gateway


class _Base(Struct, frozen=True):
    """The parts without which the gateway does not listen: its record, its policy and the identities of callers."""

    metrics: Metrics
    tracing: Tracing
    keys: Keys
    store: SealedStore
    claim: Claim | None
    journal: Journal
    recorder: EventRecorder
    policy: Policy
    observing: ObserveMode
    shadow: ShadowPolicy | None
    signalled: SignalMemory
    stopped: StopMemory
    proofs: SharedProofs | None
    identities: Identities
    control: Control


async def _open_base(stack: AsyncExitStack, configuration: Configuration, clock: Clock) -> _Base:
    metrics, tracing = Metrics(), _tracing(stack, configuration)
    require_no_earlier(configuration.state)
    # Before the keys: those of a journal that another gateway writes lie in the other's state folder, and look lost.
    require_unwritten(configuration.journal.path)
    keys = load_keys(configuration, begun=has_begun(configuration.journal.path))
    journal, recorder = _record(stack, configuration, keys, metrics, clock)
    policy = await _policy(stack, configuration, recorder, journal, clock, keys=keys)
    observing = build_observe_mode(configuration, clock, time.monotonic)
    shadow = _shadow(stack, configuration, recorder)
    store, claim = await _open_store(stack, configuration, keys, clock)
    signalled, stopped = await SignalMemory.open(configuration, store, claim), await StopMemory.open(store)
    proofs = open_proofs(stack, configuration, store)
    identities = await _identities(stack, configuration, clock, signalled.is_ended, proofs)
    control = Control(OPERATIONS, recording(journal))
    begun = metrics, tracing, keys, store, claim, journal, recorder, policy, observing, shadow
    return _Base(*begun, signalled, stopped, proofs, identities, control)


async def _open_parts(stack: AsyncExitStack, configuration: Configuration, base: _Base, clock: Clock) -> Gateway:
    """Start the upstreams, the catalogue, and all parts beside them."""
    origins, vault, worker = KnownOrigins(), Vault(secrets.token_urlsafe), stack.enter_context(closing(WorkerThread()))
    inspector = content.inspector(configuration, base.keys.fingerprints, base.metrics)
    live = open_live_values(configuration, base.keys, inspector.detector)
    conceal = content.stderr_concealer(configuration, inspector, origins, live)
    served = _upstreams(stack, configuration, base.metrics, clock, conceal)
    history = memory.open_history(stack, configuration, (origins, inspector.detector, vault), base, clock)
    parts = DeskParts(configuration, base.keys, base.store, base.journal, history, clock, base.control, base.claim)
    lends = AuthorityParts(parts, inspector, base.metrics, served, base.signalled, live, base.stopped, base.claim)
    authority, catalogue, review = await _lending(stack, lends, base)
    flood, registers = events.flood(stack, configuration, base.recorder, clock), build_registers(parts)
    ownership, unanswered = Ownership(clock), Ownership(clock)
    forget = partial(memory.forget, (ownership, unanswered), vault, history, clock)
    await memory.keep_memory(stack, parts, registers, forget, partial(note_flood, base.recorder, flood))
    people = await open_people(stack, parts, registers, inspector.spots)
    tokens = TaskTokens(base.keys.tokens, base_url=configuration.base_url, live=live)
    return Gateway(
        identities=base.identities,
        catalogue=catalogue,
        history=history,
        policy=base.policy,
        observing=base.observing,
        shadow=base.shadow,
        journal=base.journal,
        flood=flood,
        served=served,
        sessions=Sessions(derive_ring(base.keys.sessions, "sessions")),
        ownership=ownership,
        unanswered=unanswered,
        vault=vault,
        metrics=base.metrics,
        tracing=base.tracing,
        places=_places(configuration),
        clock=clock,
        monotonic=time.monotonic,
        new_id=partial(secrets.token_hex, 12),
        arguments_form=content.arguments_form(configuration, base.journal, inspector.spots),
        tasks=memory.build_tasks(parts, tokens, inspector, (origins, live), authority),
        task_tokens=tokens,
        inspector=inspector,
        worker=worker,
        credential_chain=CredentialChain(origins, inspector.detector, worker),
        caller_tokens=CallerTokens(inspector.detector.fingerprints, live),
        result_record=content.result_record(configuration, base.journal, inspector.spots),
        refusal_form=RefusalForm(configuration.errors, configuration.decisions_url),
        people=people,
        authority=authority,
        schemas=ToolSchemas(content.find_lenient(configuration)),
        live=live,
        signals=await open_signals(stack, parts, base.signalled, base.recorder, Lending(authority, review)),
        stops=await open_stops(stack, parts, base.stopped, (base.signalled.answers, authority, people, served)),
        answers=base.signalled.answers,
        effects=await effects.open_effects(stack, parts, base.metrics),
        user_connections=build_user_connections(parts, authority, people),
        tls=_watch_tls(base, served, clock),
        control=base.control,
        token_people=await open_token_people(stack, configuration, clock, base.signalled.is_ended, base.proofs),
        store=base.store,
    )


def _enforce(policy: Policy, review: LeaseReview | None, upstreams: Collection[str]) -> None:
    """Have lists announced, and leases judged again, where observe mode has ended."""
    policy.tell_listeners()
    if review is not None:
        review.note_enforced(upstreams)


def _watch_tls(base: _Base, served: ServedUpstreams, clock: Clock) -> TlsWatch:
    """Return the watch of the TLS files on the way to other servers."""
    watch = TlsWatch(clock)
    watch_upstreams(watch, served.current.transports)
    watch_policy(watch, base.policy)
    base.metrics.observe_certificates(watch.seconds_left)
    return watch


def _places(configuration: Configuration) -> RequestPlaces:
    limits = configuration.limits
    return RequestPlaces(limits.in_flight_per_caller, limits.streams_per_caller, limits.streams)


def _tracing(stack: AsyncExitStack, configuration: Configuration) -> Tracing:
    tracing = Tracing.build(configuration.telemetry.otlp)
    stack.callback(tracing.stop)
    return tracing


def _record(
    stack: AsyncExitStack, configuration: Configuration, keys: Keys, metrics: Metrics, clock: Clock
) -> tuple[Journal, EventRecorder]:
    """Return the journal, and the recorder of events beside requests."""
    stack.callback(os.close, lock(configuration.state, "gateway.lock", "uses the state folder"))
    journal = Journal.open(configuration.journal, key=keys.chain, fingerprints=keys.fingerprints, clock=clock)
    stack.push_async_callback(journal.close)
    if configuration.journal.keep is not None:
        pruning = AgePruning(configuration.journal, configuration.journal.keep, keys.chain, clock)
        stack.push_async_callback(pruning.start().stop)
    metrics.open_calls.set_function(lambda: journal.open_calls)
    recorder = EventRecorder(journal, metrics)
    stack.push_async_callback(recorder.written)
    return journal, recorder


async def _open_store(
    stack: AsyncExitStack, configuration: Configuration, keys: Keys, clock: Clock
) -> tuple[SealedStore, Claim | None]:
    """Return the durable records until the stack ends, and the claim on them. Raises `ConfigurationError` and `StoreError`."""
    engine, claim = await stack.enter_async_context(hold_records(configuration, keys, clock))
    seals = derive_ring(keys.sealing, "records")
    await require_known_records(engine, frozenset(kind.name for kind in KINDS), seals)
    store = SealedStore(engine, seals, claim)
    if resealed := await store.reseal():
        log.info("store.resealed", records=resealed)
    return store, claim


async def _identities(
    stack: AsyncExitStack,
    configuration: Configuration,
    clock: Clock,
    is_ended: Callable[[Principal], bool] | None,
    proofs: SharedProofs | None,
) -> Identities:
    identities = Identities.build(configuration, clock=clock, is_ended=is_ended, proofs=proofs)
    await identities.start()
    stack.push_async_callback(identities.stop)
    return identities


async def _policy(
    stack: AsyncExitStack,
    configuration: Configuration,
    recorder: EventRecorder,
    journal: Journal,
    clock: Clock,
    *,
    keys: Keys,
) -> Policy:
    """Give the policy in force, watched by a metric. The record of this start names it."""
    caches = PlanCaches(
        CodeCache(configuration.state / "compiled-policy", subkey(keys.sealing.newest, "compiled policy")),
        CodeCache(configuration.state / "judged-policy", subkey(keys.sealing.newest, "judged policy")),
    )
    policy = Policy.build(
        configuration.policy,
        plans=Plans(caches, PlanTrust(configuration.policy.plan_keys)),
        try_policy=PassedTrials(
            CodeCache(configuration.state / "tried-policy", subkey(keys.sealing.newest, "tried policy"))
        ).require,
        supported=frozenset(SUPPORTED_OBLIGATIONS),
        clock=clock,
        on_event=partial(note_policy, recorder),
        on_check=partial(note_policy_check, recorder),
    )
    await policy.start()
    stack.push_async_callback(policy.stop)
    recorder.metrics.policy_ready.set_function(lambda: float(policy.status().ready and policy.status().problem is None))
    status = policy.status()
    entry = start_entry(version("opagate"), configuration.listen, revision(status), plan=status.plan)
    await journal.append("start", entry)
    return policy


def _shadow(stack: AsyncExitStack, configuration: Configuration, recorder: EventRecorder) -> ShadowPolicy | None:
    """Return the shadow policy until the stack ends, `None` without one."""
    if configuration.policy.shadow is None:
        return None
    shadow = ShadowPolicy(
        configuration.policy,
        supported=frozenset(SUPPORTED_OBLIGATIONS),
        on_difference=partial(note_shadow_difference, recorder),
        on_result=lambda result: recorder.metrics.policy_shadow.labels(result).inc(),
    )
    shadow.start()
    stack.push_async_callback(shadow.stop)
    return shadow


async def _lending(
    stack: AsyncExitStack, parts: AuthorityParts, base: _Base
) -> tuple[Authority | None, Catalogue, LeaseReview | None]:
    """Return the authority with its leases, the catalogue with its leased listings, and their review by the policy."""
    gateway = parts.gateway
    authority = await open_authority(stack, parts)
    policy, observing, register = base.policy, base.observing, parts.signals.register
    review = partial(_review, stack, authority, policy, gateway.history, observing=observing, signals=register)
    listed = lend_to_listings(parts.upstreams.current.transports, authority)
    catalogue, reviewing = await _catalogue(stack, gateway.configuration, listed, base, gateway.clock, review=review)
    open_observe_mode(stack, observing, base.recorder, time.monotonic, partial(_enforce, policy, reviewing))
    return authority, catalogue, reviewing


async def _catalogue(
    stack: AsyncExitStack,
    configuration: Configuration,
    transports: Mapping[str, UpstreamTransport],
    base: _Base,
    clock: Clock,
    *,
    review: Callable[[Catalogue], LeaseReview | None],
) -> tuple[Catalogue, LeaseReview | None]:
    """Return the catalogue of the upstreams' tools, which lists again and again, and the review of leases."""
    changes = DefinitionChanges(base.recorder, clock)

    def note(change: PinChange) -> None:
        changes.note(catalogue, change)
        if reviewing is not None:
            reviewing.note_pin(change.upstream)

    catalogue = Catalogue(
        configuration.upstreams,
        configuration.catalogue,
        transports,
        clock=clock,
        on_change=note,
        credential_of=configuration.credential_of,
        first=None if configuration.store is None else FirstPins(base.store),
    )
    reviewing = review(catalogue)
    await catalogue.start()
    stack.push_async_callback(catalogue.stop)
    return catalogue, reviewing


def _review(
    stack: AsyncExitStack,
    authority: Authority | None,
    policy: Policy,
    history: History,
    catalogue: Catalogue,
    *,
    observing: ObserveMode,
    signals: SignalRegister,
) -> LeaseReview | None:
    """Ask the policy again about open leases, until the stack ends."""
    if authority is None:
        return None
    review = LeaseReview(
        authority.leases,
        policy,
        history.tasks,
        history.ledger,
        catalogue,
        observing=observing,
        clock=authority.clock,
        open_signals=signals.facts,
    )
    stack.push_async_callback(review.start().stop)
    return review


def _upstreams(
    stack: AsyncExitStack,
    configuration: Configuration,
    metrics: Metrics,
    clock: Clock,
    conceal: Callable[[str], Conceal],
) -> ServedUpstreams:
    """Return the upstreams until the stack ends. It closes the upstreams in force then."""
    found = upstream_transports(configuration, clock, conceal)
    # A power failure may have left files of the gateway before this one.
    clean(choose_folder(configuration.state)[0])
    clean_scratch(configuration.state)
    servers = {name: transport for name, transport in found.items() if isinstance(transport, StdioUpstream)}
    for server in servers.values():
        server.require_isolation()
    installed = [
        launcher.installation.folder
        for launcher in build_launchers(configuration, PackagePins(configuration.catalogue.lock).find).values()
        if launcher.installation is not None
    ]
    remove_others(configuration.state, installed)
    held = ServedUpstreams(Served.of(configuration, found))
    metrics.observe_servers(lambda: _describe_servers(held.current))
    metrics.configuration_ready.set_function(lambda: float(held.problem is None))
    stack.push_async_callback(lambda: close_together(tuple(held.current.transports.values())))
    return held


def _describe_servers(served: Served) -> dict[str, dict[str, float]]:
    """Return the state of each stdio upstream's processes."""
    transports = served.transports.items()
    return {name: asdict(server.status()) for name, server in transports if isinstance(server, StdioUpstream)}


async def close_together(transports: tuple[HttpUpstream | StdioUpstream, ...]) -> None:
    """Close all upstreams at once: a server on stdio may take seconds to end."""
    ended = await asyncio.gather(*[transport.aclose() for transport in transports], return_exceptions=True)
    for failure in filter(None, ended):
        raise failure


def upstream_transports(
    configuration: Configuration,
    clock: Clock,
    conceal: Callable[[str], Conceal] = lambda _upstream: shown_as_is,
) -> dict[str, HttpUpstream | StdioUpstream]:
    """Return the way to each upstream. Nothing is connected or started before the first request; close each with
    `aclose`.

    `conceal` gives, for the name of a stdio upstream, the concealment of its processes' standard error.
    """
    limits = configuration.limits
    folder, _ = choose_folder(configuration.state)
    launchers = build_launchers(configuration, PackagePins(configuration.catalogue.lock).find)
    return {
        name: HttpUpstream(name, settings, limits)
        if settings.url
        else StdioUpstream(
            name,
            settings,
            limits,
            clock=clock,
            new_id=lambda: secrets.token_urlsafe(18),
            conceal=conceal(name),
            folder=folder / name,
            launcher=launchers[name],
        )
        for name, settings in configuration.upstreams.items()
    }
