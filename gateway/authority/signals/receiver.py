"""The receiver of signals: each event is recorded and on disk before the transmitter hears that it was taken.

An end of a login counts in the turn of the event loop in which it is read, and also if it cannot be recorded. The transmitter then
hears of the failure, and sends the event again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, Literal

import structlog
from msgspec import Struct

from gateway.authority.signals.register import Signal
from gateway.authority.signals.set import (
    CaepSignal,
    Meaning,
    OtherEvent,
    SetFault,
    SetRules,
    StreamUpdate,
    StreamVerification,
    read_meaning,
)
from gateway.authority.signals.store import StoredEvent, StreamSign
from gateway.authority.signals.subjects import SignalSubject, digest_subject, issuers_named, may_name, read_subject
from gateway.base.concurrency.background import to_the_end
from gateway.model.errors import GatewayError, StoreError

if TYPE_CHECKING:
    from gateway.authority.signals.register import Effect, SignalRegister
    from gateway.authority.signals.set import SecurityEvent
    from gateway.authority.signals.store import SignalStore
    from gateway.authority.signals.watch import StreamWatch
    from gateway.model.call import SignalType
    from gateway.model.wire import JsonObject

log = structlog.get_logger("gateway.signals")

KIND: Final = "signal"
"""Of entries in the journal."""
Action = Literal["ended", "noted", "closed", "unjudged", "ignored", "verified", "status"]


class SignalStream(Struct, frozen=True):
    """One configured stream. The transmitter may speak about callers of `issuers`."""

    name: str
    rules: SetRules
    issuers: frozenset[str]
    effects: Mapping[SignalType, Effect | Literal["ignore"]]
    watch: StreamWatch


class _EventOutcome(Struct, frozen=True):
    action: Action
    signal: Signal | None = None
    subject: SignalSubject | None = None
    level: str | None = None


class SignalReceiver:
    """The events of all streams. `on_end` ends what callers have, and `on_note` asks the policy about it. `on_action` counts."""

    def __init__(
        self,
        register: SignalRegister,
        store: SignalStore,
        append: Callable[[str, JsonObject], Awaitable[None]],
        clock: Callable[[], float],
        *,
        on_end: Callable[[Signal], None],
        on_note: Callable[[Signal], None] = lambda _signal: None,
        on_action: Callable[[str, str], None] = lambda _stream, _action: None,
    ) -> None:
        self.register = register
        self._store = store
        self._append = append
        self._clock = clock
        self._on_end = on_end
        self._on_note = on_note
        self._on_action = on_action
        self._open: dict[str, asyncio.Future[SetFault | None]] = {}

    async def take(self, stream: SignalStream, event: SecurityEvent, token: bytes) -> SetFault | None:
        """Take an event of a verified `token`. Return `None` once the event is recorded.

        A repeated event has no effect: its transmitter may have lost the answer. Raises `GatewayError` without a record."""
        digest = sha256(f"{stream.rules.issuer}\n{event.jti}".encode()).hexdigest()
        known = StoredEvent(digest, sha256(token).hexdigest())
        while (other := self._open.get(digest)) is not None:
            # Another token may have the same `jti`. It is compared with the recorded one.
            await asyncio.wait([other])
        taking = self._open[digest] = asyncio.ensure_future(self._take(stream, event, known))
        taking.add_done_callback(lambda done: self._close(digest, done))
        return await asyncio.shield(taking)

    def _close(self, digest: str, done: asyncio.Future[SetFault | None]) -> None:
        del self._open[digest]
        if not done.cancelled():
            # The transmitter may have left, so that nobody else looks at a failure.
            done.exception()

    async def _take(self, stream: SignalStream, event: SecurityEvent, known: StoredEvent) -> SetFault | None:
        before = await self._store.content_of(known.digest)
        if before is not None:
            return None if before == known.content else _REUSED
        now = self._clock()
        outcome = self._weigh(stream, event, read_meaning(event, now), now)
        if isinstance(outcome, SetFault):
            return outcome
        await self._carry_out(stream, event, known, outcome, now)
        self._on_action(stream.name, outcome.action)
        return None

    def _weigh(
        self, stream: SignalStream, event: SecurityEvent, meaning: Meaning, now: float
    ) -> _EventOutcome | SetFault:
        """Return the outcome of an event, before anything is changed."""
        match meaning:
            case StreamVerification(state):
                self._note_verified(stream, state, now)
                return _EventOutcome("verified")
            case StreamUpdate(status):
                stream.watch.status = status
                log.warning("signals.stream-updated", stream=stream.name, status=status)
                return _EventOutcome("status")
            case OtherEvent():
                return _EventOutcome("ignored")
            case CaepSignal():
                return _weigh_signal(stream, event, meaning)

    def _note_verified(self, stream: SignalStream, state: str | None, now: float) -> None:
        seconds = stream.watch.note_verified(state, now)
        log.info("signals.verified", stream=stream.name, seconds=None if seconds is None else round(seconds, 3))

    async def _carry_out(
        self, stream: SignalStream, event: SecurityEvent, known: StoredEvent, outcome: _EventOutcome, now: float
    ) -> None:
        signal, put = outcome.signal, None
        if stream.watch.note_event(now):
            log.warning("signals.heard-again", stream=stream.name)
        if signal is not None:
            if not self.register.has_room(signal):
                raise StoreError("too many signals are in force", "see `opagate credentials signals status`")
            put = self.register.put(signal)
        try:
            if outcome.action != "verified":
                await self._append(KIND, _entry(stream, event, outcome, now))
            watch = stream.watch
            sign = StreamSign(now, watch.last_verified, watch.last_state, watch.status)
            await self._store.note(known, now, put=put, sign=(stream.name, sign))
        finally:
            # After the answer to the transmitter, which waits for a second only.
            if signal is not None and outcome.action == "ended":
                asyncio.get_running_loop().call_soon(self._on_end, signal)
            elif signal is not None and signal.is_open:
                asyncio.get_running_loop().call_soon(self._on_note, signal)
        log.info("signals.taken", stream=stream.name, type=event.type, action=outcome.action, jti=event.jti)

    async def end_all_of(self, stream: SignalStream) -> None:
        """End the logins of all callers of a stream's issuers: the stream is silent, so any of them may have ended."""
        now = self._clock()
        signal = self.register.put(Signal(stream.name, stream.issuers, SignalSubject(), "session-revoked", now, "end"))
        self._on_end(signal)
        known = StoredEvent(sha256(f"silence\n{stream.name}\n{now}".encode()).hexdigest(), "")
        entry = {"issuer": stream.rules.issuer, "stream": stream.name, "type": "silence", "at": now, "action": "ended"}
        await to_the_end(self._record_silence(known, now, signal, entry))

    async def _record_silence(self, known: StoredEvent, now: float, signal: Signal, entry: JsonObject) -> None:
        try:
            await self._append(KIND, entry)
            await self._store.note(known, now, put=signal)
        except GatewayError as error:
            log.critical("signals.unsaved", stream=signal.transmitter, problem=error.message)

    async def follow(self) -> None:
        """Take over the signals that other gateways on the same records took or forgot. Raises `GatewayError`."""
        known = frozenset(self.register.signals)
        changed, gone = await self._store.look()
        for identifier, signal in changed.items():
            before = self.register.get(identifier)
            # A signal that is known no more was forgotten while the records were read.
            if before == signal or (before is None and identifier in known):
                continue
            if self.register.put(signal) is signal:
                (self._on_end if signal.effect == "end" else self._on_note)(signal)
        for identifier in gone:
            self.register.remove(identifier)

    async def follow_streams(self, streams: Mapping[str, SignalStream]) -> None:
        """Take over the signs of life that other gateways had of streams. Raises `GatewayError`."""
        for name, sign in (await self._store.look_at_signs()).items():
            if name in streams and streams[name].watch.hear(sign.event, sign.verified, sign.state, sign.status):
                log.warning("signals.heard-again", stream=name)

    async def forget(self, identifier: str) -> Signal | None:
        """Take a signal out of force, on the word of an operator. Return it, or `None` if there is none."""
        signal = self.register.get(identifier)
        if signal is None:
            return None
        entry = {"stream": signal.transmitter, "type": signal.type, "id": signal.id, "action": "forgotten"}
        await self._append(KIND, {**entry, "at": self._clock()})
        await self._store.remove([identifier])
        return self.register.remove(identifier)

    async def sweep(self) -> None:
        """Forget signals and events that are too old to count."""
        now = self._clock()
        old = self.register.expired(now)
        await self._store.remove(old)
        for identifier in old:
            self.register.remove(identifier)
        await self._store.forget()


def _weigh_signal(stream: SignalStream, event: SecurityEvent, told: CaepSignal) -> _EventOutcome | SetFault:
    subject = None if event.subject is None else read_subject(event.subject)
    if subject is None:
        return SetFault("invalid_request", "sub_id is missing or malformed")
    if issuers_named(subject) - stream.issuers:
        return SetFault("access_denied", "the transmitter may not speak about users of this issuer")
    effect = stream.effects[told.type]
    if effect == "ignore":
        return _EventOutcome("ignored", subject=subject, level=told.level)
    if not may_name(subject):
        log.warning("signals.unjudged", stream=stream.name, type=told.type)
        return _EventOutcome("unjudged", subject=subject, level=told.level)
    signal = Signal(
        stream.name,
        stream.issuers,
        subject,
        told.type,
        told.at,
        "note" if told.is_benign else effect,
        told.level,
        is_open=not told.is_benign,
    )
    action = "closed" if told.is_benign else "ended" if effect == "end" else "noted"
    return _EventOutcome(action, signal, subject, told.level)


def _entry(stream: SignalStream, event: SecurityEvent, outcome: _EventOutcome, now: float) -> JsonObject:
    """Return the fields of a `signal` entry. A digest stands for the subject, which may be an address of mail."""
    signal = outcome.signal
    fields: dict[str, Any] = {
        "jti": event.jti,
        "issuer": stream.rules.issuer,
        "stream": stream.name,
        "type": event.type,
        "action": outcome.action,
        "at": now,
        "subject": None if outcome.subject is None else digest_subject(outcome.subject),
        "level": outcome.level,
        "occurred": None if signal is None else signal.at,
        "id": None if signal is None else signal.id,
    }
    return {name: value for name, value in fields.items() if value is not None}


_REUSED: Final = SetFault("invalid_request", "another event with this jti came before")
