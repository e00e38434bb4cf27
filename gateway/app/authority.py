"""The authority of the gateway, made from the configuration: its brokers, its leases, and their clockwork."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog

from gateway.authority.active import ActiveTokens
from gateway.authority.brokers.minted import MintedBroker
from gateway.authority.ending import Ender, LeaseRecord
from gateway.authority.leases import LeaseHooks, Leases
from gateway.authority.lending import CATALOGUE, MESSAGES, Authority, Lives, UpstreamTerms
from gateway.authority.minting import Mint
from gateway.authority.model import Credential, Lease
from gateway.authority.operators import LeaseOperators
from gateway.authority.register import LeaseRegister
from gateway.authority.store import LeaseStore
from gateway.background import Job
from gateway.config.authority import GatewayCredential
from gateway.line_socket import LineSocket, own_uid
from gateway.steps.issuing import ListingTransport
from gateway.subkeys import subkey

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.app.people import DeskParts
    from gateway.authority.broker import Broker
    from gateway.config import Configuration
    from gateway.inspection.credentials.fingerprint import Fingerprints
    from gateway.inspection.credentials.origins import Origins
    from gateway.model.task import TaskEnd
    from gateway.model.wire import UpstreamTransport

log = structlog.get_logger("gateway")

GATEWAY: Final = "gateway"
"""The name of the broker that signs tokens itself. No configured broker can have it."""
_SWEEP_SECONDS: Final = 1.0
_DRAIN_SECONDS: Final = 10.0


class OnIssued(NamedTuple):
    """Functions for an issued value: its name, and the note of its origin."""

    fingerprint: Callable[[str], str]
    note: Callable[[Lease, Credential], None]


async def open_authority(
    stack: AsyncExitStack,
    parts: DeskParts,
    origins: Origins,
    fingerprints: Fingerprints,
    ends: list[Callable[[str, TaskEnd], None]],
) -> Authority | None:
    """Return the authority until the stack ends. `None`: no upstream has a leased credential, and none was left behind.

    A start ends the leases of the gateway before this one. The end of the stack ends all leases. The authority adds itself to `ends`,
    so that it hears of the end of each task.
    """
    configuration = parts.configuration
    store = LeaseStore(configuration.state / "leases", subkey(parts.keys.chain, "leases"))
    terms = _terms(configuration)
    tokens, mint = ActiveTokens(), _mint(parts)
    minted = MintedBroker(mint, tokens, new_jti=partial(secrets.token_hex, 12), clock=parts.clock, name=GATEWAY)
    brokers: dict[str, Broker] = {GATEWAY: minted}
    leases = _leases(parts, store, brokers, _note_in(origins, fingerprints))
    restored = await leases.restore(store)
    if restored:
        log.info("lease.restored", leases=restored)
    if not terms and not restored:
        store.close()
        return None
    stack.callback(store.close)
    stack.push_async_callback(_drain, leases)
    _keep_time(stack, leases, parts)
    operators = LeaseOperators(leases, own_uid())
    await LineSocket(configuration.state / "leases.sock", "leases", operators.answer, mode=0o600).start(stack)
    settings = configuration.authority.ttl
    lives = Lives(
        _seconds(settings.default),
        _seconds(settings.max),
        {sensitivity: _seconds(life) for sensitivity, life in settings.by_sensitivity.items()},
    )
    authority = Authority(leases, mint, tokens, terms, lives, parts.clock, _new_id)
    ends.append(authority.end_task)
    return authority


def lend_to_listings(
    transports: Mapping[str, UpstreamTransport], authority: Authority | None
) -> Mapping[str, UpstreamTransport]:
    """Return the transports of the gateway's own listings: with a credential for each upstream that has leased ones."""
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
        if isinstance(credential, GatewayCredential):
            longest = None if credential.ttl is None else _seconds(credential.ttl)
            found[name] = UpstreamTerms(
                GATEWAY, credential.kind, upstream.audience, credential.scopes, credential.bind, longest
            )
    return found


def _mint(parts: DeskParts) -> Mint:
    configuration = parts.configuration
    return Mint(parts.keys.access, configuration.authority.issuer or configuration.base_url)


def _note_in(origins: Origins, fingerprints: Fingerprints) -> OnIssued:
    """Return the hook that makes an issued value known: in an argument it is the upstream's credential, for no other system."""

    def note(lease: Lease, credential: Credential) -> None:
        for value in credential.secrets():
            origins.note(lease.owner, lease.task, lease.audience, fingerprints.of(value), fingerprints.shingles(value))

    return OnIssued(fingerprints.of, note)


def _leases(parts: DeskParts, store: LeaseStore, brokers: Mapping[str, Broker], issued: OnIssued) -> Leases:
    register, record = LeaseRegister(), LeaseRecord(store, parts.journal.append)
    stuck_after = _seconds(parts.configuration.authority.stuck_after)

    def is_open(task: str, now: float) -> bool:
        return task.startswith(MESSAGES) or task == CATALOGUE or parts.history.is_open(task, now)

    hooks = LeaseHooks(clock=parts.clock, is_open=is_open, fingerprint=issued.fingerprint, on_issued=issued.note)

    def ender(now: Callable[[], float]) -> Ender:
        return Ender(register, brokers, record, now=now, stuck_after=stuck_after)

    return Leases(register, brokers, record, ender, hooks)


def _keep_time(stack: AsyncExitStack, leases: Leases, parts: DeskParts) -> None:
    """Sweep the leases every second. End all of them when the journal has failed for too long: their use is not on record."""
    outage, down_since = _seconds(parts.configuration.authority.journal_outage), list[float]()

    async def sweep() -> None:
        await asyncio.sleep(_SWEEP_SECONDS)
        parts.history.forget(parts.clock())
        leases.sweep()
        if parts.journal.problem() is None:
            down_since.clear()
            return
        down_since.append(leases.now())
        del down_since[1:]
        if leases.now() - down_since[0] >= outage:
            leases.end_all(lambda _lease: True, "journal-outage")

    stack.push_async_callback(Job.repeating(sweep, "leases").stop)


async def _drain(leases: Leases) -> None:
    """End all leases. The next start goes on with those whose end is not proven by then."""
    left = await leases.drain(_DRAIN_SECONDS)
    for lease in left:
        log.error(
            "lease.open-at-stop", id=lease.id, broker=lease.broker, upstream=lease.upstream, problem=lease.problem
        )


def _seconds(duration: timedelta) -> float:
    return duration.total_seconds()


def _new_id() -> str:
    return f"lease-{secrets.token_hex(12)}"
