"""The authority of the gateway, made from the configuration: its brokers, its leases, and their clockwork."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog

from gateway.authority.brokers.id_jag import PRESENTED, PresentedAssertions
from gateway.authority.brokers.minted import MintedBroker
from gateway.authority.ending import LeaseEnder, LeaseRecord
from gateway.authority.fleet import Fleet
from gateway.authority.introspection import ActiveTokens
from gateway.authority.leases import LeaseFunctions, Leases
from gateway.authority.lending import Authority, Lives, UpstreamTerms
from gateway.authority.minting import Mint
from gateway.authority.model import CATALOGUE, MESSAGES, Credential, Lease
from gateway.authority.operators import add_operations
from gateway.authority.register import LeaseRegister
from gateway.authority.shared_tokens import SharedTokens
from gateway.authority.store import LeaseStore
from gateway.base.concurrency.background import Job
from gateway.base.store.engine import OnlyReplica
from gateway.calls.pipeline.issue import ListingTransport
from gateway.config.authority import GatewayCredential, LeasedCredential
from gateway.config.brokers import OWN
from gateway.model.errors import GatewayError, LeasesLeftOpen
from gateway.model.reasons import policy_codes
from gateway.surfaces.app.connections import build_brokers, open_connections
from gateway.upstreams.stdio import StdioUpstream

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.authority.broker import Broker
    from gateway.authority.connections.model import UserConnection
    from gateway.authority.model import LeaseRequest
    from gateway.base.store.engine import Claim
    from gateway.config import Configuration
    from gateway.history import History
    from gateway.inspection.credentials.live_values import LiveValues
    from gateway.inspection.inspector import Inspector
    from gateway.model.wire import UpstreamTransport
    from gateway.record.telemetry.metrics import Metrics
    from gateway.surfaces.app.people import DeskParts
    from gateway.surfaces.app.signals import SignalMemory
    from gateway.surfaces.app.stops import StopMemory
    from gateway.upstreams.served import ServedUpstreams

log = structlog.get_logger("gateway")

_SWEEP_SECONDS: Final = 1.0
_DRAIN_SECONDS: Final = 10.0
_LOOK_SECONDS: Final = 0.5
"""Between two looks for what other gateways did."""
_REST: Final = 10
"""Times as long as a look is the least pause after it."""
SPENT: Final = frozenset({policy_codes.BUDGET_CALLS, policy_codes.BUDGET_DENIALS})
"""Reasons after which a task changes nothing any more. Those of other budgets pass."""


class AuthorityParts(NamedTuple):
    """The parts of the gateway for its authority."""

    gateway: DeskParts
    inspector: Inspector
    metrics: Metrics
    upstreams: ServedUpstreams
    signals: SignalMemory
    live: LiveValues
    stops: StopMemory
    claim: Claim | None


async def open_authority(stack: AsyncExitStack, parts: AuthorityParts) -> Authority | None:
    """Return the authority until the stack ends. `None`: no upstream has a leased credential, and no credential was
    left behind.

    A start ends the leases of the gateway before this one. The end of the stack ends all leases.
    """
    gateway = parts.gateway
    configuration, clock = gateway.configuration, gateway.clock
    store, replica = LeaseStore(gateway.store), parts.claim or OnlyReplica(secrets.token_hex(16))
    terms = _terms(configuration)
    others = LeaseRegister()
    shared = _shared_tokens(parts, store, others)
    tokens = ActiveTokens() if shared is None else ActiveTokens(on_end=shared.end)
    mint = _mint(gateway)
    minted = MintedBroker(mint, tokens, clock=clock, name=OWN)
    connected = await open_connections(stack, gateway, parts.live, parts.stops.register)
    of_users = {} if connected is None else connected.brokers
    brokers: dict[str, Broker] = {**_build_brokers(gateway), **of_users, OWN: minted}
    for broker in brokers.values():
        stack.push_async_callback(broker.aclose)
    leases = _leases(parts, store, brokers, replica.id, others=others)
    fleet = Fleet(leases, store, replica.id, replica.list_living)
    await store.drop_values()
    restored = await fleet.look()
    if not terms and not restored:
        return None
    stack.push_async_callback(_drain, leases)
    _keep_time(stack, leases, parts)
    add_operations(gateway.control, leases, fleet)
    parts.metrics.observe_leases(lambda: Counter(lease.state for lease in leases.own()))
    office = None if connected is None else connected.office
    if office is not None:
        office.connections.watch(partial(_end_connection, leases))
        office.connections.end_elsewhere = partial(_end_connections, fleet)
    given = leases, fleet, mint, tokens, terms, _lives(configuration), clock, _new_id, office
    authority = Authority(*given, shared=shared, live=parts.live)
    if configuration.store is not None:
        _follow(stack, authority, gateway.history)
    gateway.history.tasks.subscribe(authority.end_task)
    gateway.history.ledger.on_denied = partial(_end_if_spent, authority)
    gateway.history.tasks.subscribe(parts.signals.answers.end_task)
    return authority


def _end_if_spent(authority: Authority, task: str, codes: tuple[str, ...]) -> None:
    """End the leases of a task that a gateway denied a call because of its budget."""
    if not SPENT.isdisjoint(codes):
        authority.end_spent(task)


def _end_connection(leases: Leases, connection: UserConnection) -> None:
    """End the leases of a removed connection. No call carries their tokens from now on."""
    owner, broker = connection.owner.key, connection.broker
    leases.end_all(lambda lease: lease.owner == owner and lease.broker == broker, "connection-removed")


async def _end_connections(fleet: Fleet, removed: Sequence[UserConnection]) -> None:
    """End the leases of removed connections at all gateways. Raises `StoreError`."""
    places = {(connection.owner.key, connection.broker) for connection in removed}
    await fleet.end(lambda lease: (lease.owner, lease.broker) in places, "connection-removed")


def _lives(configuration: Configuration) -> Lives:
    settings = configuration.authority.ttl
    by_sensitivity = {sensitivity: _seconds(life) for sensitivity, life in settings.by_sensitivity.items()}
    return Lives(_seconds(settings.default), _seconds(settings.max), by_sensitivity)


def lend_to_listings(
    transports: Mapping[str, UpstreamTransport], authority: Authority | None
) -> Mapping[str, UpstreamTransport]:
    """Return the transports of the gateway's own listings: with a credential for each upstream with leased
    credentials."""
    if authority is None:
        return transports
    return {
        name: ListingTransport(transport, authority, name) if name in authority.terms else transport
        for name, transport in transports.items()
    }


def _terms(configuration: Configuration) -> dict[str, UpstreamTerms]:
    found: dict[str, UpstreamTerms] = {}
    for name, upstream in configuration.upstreams.items():
        credential = upstream.credential
        if not isinstance(credential, LeasedCredential):
            continue
        is_minted = isinstance(credential, GatewayCredential)
        found[name] = UpstreamTerms(
            broker=OWN if is_minted else credential.broker,
            kind=credential.kind,
            audience=upstream.audience,
            scopes=credential.scopes,
            tool_scopes=credential.tool_scopes,
            bind=credential.bind if is_minted else "task",
            longest=None if credential.ttl is None else _seconds(credential.ttl),
            hands_over=credential.hand_over is not None,
        )
    return found


def _build_brokers(parts: DeskParts) -> dict[str, Broker]:
    return build_brokers(parts.configuration, parts.clock, PresentedAssertions(parts.store.of(PRESENTED)))


def _mint(parts: DeskParts) -> Mint:
    configuration = parts.configuration
    return Mint(parts.keys.access, configuration.authority.issuer or configuration.base_url)


def _leases(
    parts: AuthorityParts, store: LeaseStore, brokers: Mapping[str, Broker], replica: str, *, others: LeaseRegister
) -> Leases:
    gateway, fingerprints = parts.gateway, parts.inspector.detector.fingerprints
    keeps_values = gateway.configuration.authority.leases.keep == "sealed"
    register, record = LeaseRegister(), LeaseRecord(store, gateway.journal.append, keeps_values=keeps_values)
    stuck_after = _seconds(gateway.configuration.authority.stuck_after)

    def is_open(task: str, now: float) -> bool:
        return task.startswith(MESSAGES) or task == CATALOGUE or gateway.history.tasks.is_open(task, now)

    def hold(lease: Lease, credential: Credential) -> None:
        parts.live.hold(lease.id, credential.secrets(), lease.audience)

    def note_end(lease: Lease, seconds: float) -> None:
        parts.live.release(lease.id)
        parts.metrics.lease_ended(lease.broker, lease.state, seconds)

    async def withdraw(lease: Lease) -> bool | None:
        server = parts.upstreams.current.transports.get(lease.upstream)
        return await server.withdraw(lease.id) if isinstance(server, StdioUpstream) else None

    def ender(now: Callable[[], float]) -> LeaseEnder:
        return LeaseEnder(
            register, brokers, record, now=now, stuck_after=stuck_after, on_end=note_end, withdraw=withdraw
        )

    hooks = LeaseFunctions(
        clock=gateway.clock,
        is_open=is_open,
        fingerprint=fingerprints.of,
        on_issued=hold,
        on_ending=parts.signals.answers.end_lease,
        is_barred=partial(_is_barred, parts),
        catch_up=partial(_catch_up, gateway.history),
        replica=replica,
    )
    return Leases(register, brokers, record, ender, hooks, others=others)


def _is_barred(parts: AuthorityParts, request: LeaseRequest) -> bool:
    """Return whether nothing may be lent for a request: its login was ended, or an operator has stopped it."""
    kept = parts.gateway.history.tasks.find(request.task)
    above = () if kept is None or kept.task.parent is None else kept.task.parent.path
    find = partial(parts.stops.register.find, request.principal, request.upstream)
    is_stopped = any(find(task) is not None for task in (request.task, *above))
    return is_stopped or parts.signals.register.is_ended(request.principal)


def _keep_time(stack: AsyncExitStack, leases: Leases, parts: AuthorityParts) -> None:
    """Sweep the leases every second. End all of them when the journal has failed for too long."""
    gateway = parts.gateway
    outage = _seconds(gateway.configuration.authority.journal_outage)
    down_since = list[float]()

    async def sweep() -> None:
        await asyncio.sleep(_SWEEP_SECONDS)
        gateway.history.tasks.forget(gateway.clock())
        parts.live.forget()
        await leases.sweep()
        if gateway.journal.problem() is None:
            down_since.clear()
            await leases.catch_up()
            return
        down_since[:] = [*down_since, leases.now()][:1]
        if leases.now() - down_since[0] >= outage:
            leases.end_all(lambda _lease: True, "journal-outage")

    stack.push_async_callback(Job.begin_repeating(sweep, "leases").stop)


async def _catch_up(history: History, *tasks: str) -> None:
    """Take in what other gateways did with tasks. Raises `HistoryError`."""
    jobs = {kept.job for task in tasks if (kept := history.tasks.find(task)) is not None}
    await asyncio.gather(*map(history.ledger.log.catch_up, jobs))


def _follow(stack: AsyncExitStack, authority: Authority, history: History) -> None:
    """Take in what other gateways did, again and again, until the stack ends. Many leases take more time between two looks."""

    async def follow_tasks() -> None:
        await _catch_up(history, *(authority.leases.list_tasks() | authority.tokens.list_tasks()))

    looks = [authority.fleet.look, follow_tasks, *([] if authority.shared is None else [authority.shared.flush])]

    async def follow() -> None:
        began = time.monotonic()
        for look in looks:
            try:
                await look()
            except GatewayError as error:
                log.warning("lease.unfollowed", problem=error.message)
        await asyncio.sleep(max(_LOOK_SECONDS, _REST * (time.monotonic() - began)))

    stack.push_async_callback(Job.begin_repeating(follow, "leases of other gateways").stop)


def _shared_tokens(parts: AuthorityParts, leases: LeaseStore, others: LeaseRegister) -> SharedTokens | None:
    """Return the tokens of all gateways of a database; `None` without one, or without an upstream that asks about tokens."""
    if parts.claim is None or not parts.gateway.configuration.authority.introspection.clients:
        return None
    return SharedTokens(
        parts.gateway.store,
        leases,
        parts.claim.id,
        list_living=parts.claim.list_living,
        fingerprint=parts.inspector.detector.fingerprints.of,
        others=others,
    )


async def _drain(leases: Leases) -> None:
    """End all leases. The next start goes on with the rest. Raises `LeasesLeftOpen` if an issuer owes a proof."""
    left = [lease for lease in await leases.drain(_DRAIN_SECONDS) if not lease.waits]
    for lease in left:
        log.error(
            "lease.open-at-stop", id=lease.id, broker=lease.broker, upstream=lease.upstream, problem=lease.problem
        )
    if left:
        brokers = ", ".join(sorted({lease.broker for lease in left}))
        count = "1 lease is" if len(left) == 1 else f"{len(left)} leases are"
        raise LeasesLeftOpen(
            f"the gateway has stopped, and {count} not proven to have ended (brokers: {brokers})",
            "start it again when they answer: it goes on to end them; the log names each as lease.open-at-stop",
        )


def _seconds(duration: timedelta) -> float:
    return duration.total_seconds()


def _new_id() -> str:
    return f"lease-{secrets.token_hex(12)}"
