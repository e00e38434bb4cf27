"""The receiver of signals, made from the configuration, with its polls, its watch over silence, and the ends of leases
and tasks."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog

from gateway.authority.signals.operators import SignalOperators, StreamInfo
from gateway.authority.signals.polling import TICK, Poller, Verifier
from gateway.authority.signals.receiver import SignalReceiver, SignalStream
from gateway.authority.signals.register import SignalRegister
from gateway.authority.signals.set import SetRules
from gateway.authority.signals.store import SignalStore
from gateway.authority.signals.transmitter import Transmitter
from gateway.authority.signals.watch import StreamWatch
from gateway.base.concurrency.background import Job
from gateway.calls.pipeline.revocation import EndedLogins, SeenCallers, Signals, VerifiedStream, take_token
from gateway.calls.response.open_answers import OpenAnswers
from gateway.identity.assembly import transmitter_keys
from gateway.model.call import SIGNAL_TYPES
from gateway.model.errors import GatewayError, StoreError
from gateway.record.telemetry.metrics import SignalCounts

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from contextlib import AsyncExitStack

    from gateway.authority.lending import Authority
    from gateway.authority.signals.register import Signal
    from gateway.authority.signals.set import SetFault
    from gateway.base.store.engine import Claim
    from gateway.base.store.records import SealedStore
    from gateway.calls.pipeline.lease_review import LeaseReview
    from gateway.config import Configuration
    from gateway.config.signals import SsfSignals
    from gateway.model.caller import Principal
    from gateway.surfaces.app.events import EventRecorder
    from gateway.surfaces.app.people import DeskParts

log = structlog.get_logger("gateway.signals")

_SWEEP_SECONDS: Final = 600.0
_LOOK_SECONDS: Final = 0.5
"""Between two looks for signals of other gateways."""
_REST: Final = 10
"""Times as long as a look is the least pause after it."""


class Lending(NamedTuple):
    """The leases to end by a signal, and their review under an open fact; `None` without leased credentials."""

    authority: Authority | None
    review: LeaseReview | None


class SignalMemory:
    """The signals in force and the callers, before the receiver: identities need both first."""

    def __init__(self, configuration: Configuration, store: SealedStore, claim: Claim | None) -> None:
        self.claim = claim
        self.register = SignalRegister()
        self.seen = SeenCallers()
        leases, grace = configuration.authority.leases, configuration.limits.drain.total_seconds()
        self.answers = OpenAnswers(on_signal=leases.on_signal, on_completed=leases.on_completed, grace=grace)
        self.store = SignalStore(store)
        self.is_ended: Callable[[Principal], bool] | None = self._note_or_end if configuration.signals else None
        """Tells whether the login behind a caller was ended; `None` without signals."""

    @classmethod
    async def open(cls, configuration: Configuration, store: SealedStore, claim: Claim | None) -> SignalMemory:
        """Take over the signals of the gateway before this one, if any are configured. Raises `StoreError`."""
        memory = cls(configuration, store, claim)
        if configuration.signals:
            await memory.load()
        return memory

    async def load(self) -> None:
        """Put the stored signals into force. Raises `StoreError`."""
        for signal in await self.store.load():
            self.register.put(signal)

    def _note_or_end(self, principal: Principal) -> bool:
        """Return whether the login behind a caller was ended. Note the login of any other caller."""
        if self.register.is_ended(principal):
            return True
        self.seen.note(principal)
        return False


async def open_signals(
    stack: AsyncExitStack, parts: DeskParts, memory: SignalMemory, recorder: EventRecorder, lending: Lending
) -> Signals:
    """Receive signals until the stack ends, if any are configured. Raises `ConfigurationError`."""
    configuration, clock = parts.configuration, parts.clock
    if not configuration.signals:
        return Signals(memory.register)
    ended = EndedLogins(
        parts.history.tasks,
        recorder,
        lending.authority,
        memory.seen,
        is_ended=memory.register.is_ended,
        clock=clock,
        end_answers=memory.answers.end_callers,
    )
    stack.push_async_callback(ended.written)
    ended.end_restored(memory.register)
    receiver = SignalReceiver(
        memory.register,
        memory.store,
        parts.journal.append,
        clock,
        on_end=ended.end,
        on_note=partial(_review_leases, lending.review),
        on_action=recorder.metrics.signal_taken,
    )
    sources: list[VerifiedStream] = []
    infos: dict[str, StreamInfo] = {}
    for settings in configuration.signals:
        source = await _open_source(stack, settings, configuration, clock)
        verifier = _open_stream(stack, settings, source, receiver, clock, claim=memory.claim)
        sources.append(source)
        name = source.stream.name
        infos[name] = StreamInfo(source.stream, settings.delivery, verifier, partial(_has_keys, source))
    recorder.metrics.observe_signals(partial(_count, receiver, infos))
    _sweep(stack, receiver)
    if configuration.store is not None:
        _follow(stack, receiver, {name: info.stream for name, info in infos.items()})
    operators = SignalOperators(receiver, infos, monotonic=parts.monotonic, new_state=_new_state)
    operators.add_operations(parts.control)
    return Signals(memory.register, receiver, tuple(sources))


async def _open_source(
    stack: AsyncExitStack, settings: SsfSignals, configuration: Configuration, clock: Callable[[], float]
) -> VerifiedStream:
    """Return a stream with the keys of its transmitter, kept fresh until the stack ends."""
    keys = transmitter_keys(settings.transmitter, settings.jwks, clock=clock)
    await keys.start()
    stack.push_async_callback(keys.stop)
    every = None if settings.verify_every is None else settings.verify_every.total_seconds()
    audience = settings.audience or f"{configuration.base_url}/ssf/{settings.label}"
    stream = SignalStream(
        settings.label,
        SetRules(settings.transmitter, frozenset({audience})),
        frozenset(settings.issuers) or frozenset({settings.transmitter}),
        {kind: settings.effect(kind) for kind in SIGNAL_TYPES},
        StreamWatch(every, clock()),
    )
    secret = settings.authorization
    return VerifiedStream(
        stream,
        keys,
        frozenset(settings.algorithms),
        is_pushed=settings.delivery == "push",
        authorization=None if secret is None else secret.get_secret_value(),
    )


def _open_stream(
    stack: AsyncExitStack,
    settings: SsfSignals,
    source: VerifiedStream,
    receiver: SignalReceiver,
    clock: Callable[[], float],
    *,
    claim: Claim | None,
) -> Verifier | None:
    """Poll and watch a stream until the stack ends, while this is the first of the gateways with a claim. Return the verifier
    of the stream, `None` without access to the stream."""
    if settings.stream is None:
        return None
    stream, name = source.stream, source.stream.name
    transmitter = Transmitter(settings, settings.stream, clock)
    stack.push_async_callback(transmitter.aclose)

    async def take(token: bytes) -> SetFault | None:
        return await take_token(receiver, source, token, clock)

    async def end_all() -> None:
        if settings.silent == "revoke":
            await receiver.end_all_of(stream)

    verifier = Verifier(transmitter, name, stream.watch, clock=clock, new_state=_new_state, on_silence=end_all)
    if settings.delivery == "poll":
        poller = Poller(transmitter, name, take, stream.watch, time.monotonic)
        step = partial(step_if_first, claim, poller.step)
        stack.push_async_callback(Job.begin_repeating(step, f"poll of {name}").stop)
    if settings.verify_every is not None:
        step = partial(step_if_first, claim, verifier.step)
        stack.push_async_callback(Job.begin_repeating(step, f"watch over {name}").stop)
    return verifier


async def step_if_first(claim: Claim | None, step: Callable[[], Awaitable[None]]) -> None:
    """Do a step, if no other gateway does: the one with the first id of all gateways that have not ended.

    During a change of gateways two may do a step. An event that comes twice has no further effect.
    """
    if claim is not None:
        try:
            is_first = claim.id == min(await claim.list_living(), default="")
        except StoreError:
            is_first = False
        if not is_first:
            await asyncio.sleep(TICK)
            return
    await step()


def _review_leases(review: LeaseReview | None, signal: Signal) -> None:
    """Ask the policy soon whether the callers of a fact keep their leases."""
    if review is None:
        return

    async def ask() -> None:
        await review.review(lambda _lease, grounds: signal.covers(grounds.principal), "signal")

    Job(ask, "signal review")


def _sweep(stack: AsyncExitStack, receiver: SignalReceiver) -> None:
    """Forget old signals again and again, until the stack ends."""

    async def sweep() -> None:
        await asyncio.sleep(_SWEEP_SECONDS)
        try:
            await receiver.sweep()
        except GatewayError as error:
            log.warning("signals.unswept", problem=error.message)

    stack.push_async_callback(Job.begin_repeating(sweep, "signals").stop)


def _follow(stack: AsyncExitStack, receiver: SignalReceiver, streams: Mapping[str, SignalStream]) -> None:
    """Take over the signals of other gateways again and again, until the stack ends. Many signals take more time between two looks."""

    async def follow() -> None:
        began = time.monotonic()
        try:
            await receiver.follow()
            await receiver.follow_streams(streams)
        except GatewayError as error:
            log.warning("signals.unfollowed", problem=error.message)
        await asyncio.sleep(max(_LOOK_SECONDS, _REST * (time.monotonic() - began)))

    stack.push_async_callback(Job.begin_repeating(follow, "signals of other gateways").stop)


def _count(receiver: SignalReceiver, infos: Mapping[str, StreamInfo]) -> SignalCounts:
    """Return the numbers of signals in force, and the silent streams."""
    effects = Counter(signal.effect for signal in receiver.register if signal.is_open)
    silent = {name: info.stream.watch.is_silent for name, info in infos.items()}
    return SignalCounts(effects["end"], effects["note"], silent)


def _has_keys(source: VerifiedStream) -> bool:
    return source.keys.status().ready


def _new_state() -> str:
    return secrets.token_urlsafe(18)
