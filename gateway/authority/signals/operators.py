"""Signals as operations of the control interface, for operators: `opagate credentials signals`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, NotRequired, TypedDict, cast

from msgspec import Struct

from gateway.authority.signals.subjects import digest_subject
from gateway.base.control.operations import NoFields, Operation
from gateway.model import reasons
from gateway.model.decision import Reason

if TYPE_CHECKING:
    from gateway.authority.signals.polling import Verifier
    from gateway.authority.signals.receiver import SignalReceiver, SignalStream
    from gateway.authority.signals.register import Signal
    from gateway.base.control.operations import Control, OperatorName

PATIENCE: Final = 20.0
"""Seconds for a verification event."""
_LOOK: Final = 0.05
_SHOWN: Final = 1_000
"""Signals in one answer."""
_NEED: Final = "`signals:`"


class StreamInfo(Struct, frozen=True):
    """A stream for operators. `verifier` asks questions, `None` without access to the stream. `has_keys`: events can be verified."""

    stream: SignalStream
    delivery: str
    verifier: Verifier | None
    has_keys: Callable[[], bool]


class StreamName(Struct, frozen=True, forbid_unknown_fields=True):
    """The name of a stream."""

    stream: str


class SignalName(Struct, frozen=True, forbid_unknown_fields=True):
    """The id of a signal."""

    id: str


class ListedStream(TypedDict):
    """A stream as operators see it. Times are in seconds since the epoch."""

    name: str
    transmitter: str
    delivery: str
    status: str
    is_silent: bool
    has_keys: bool
    last_event: NotRequired[float]
    last_verified: NotRequired[float]
    problem: NotRequired[str]


class ListedSignal(TypedDict):
    """A signal in force, with the digest of its subject."""

    id: str
    stream: str
    type: str
    effect: str
    level: NotRequired[str]
    at: float
    subject: str


class SignalStatus(Struct, frozen=True):
    """The streams, and the latest signals in force."""

    streams: list[ListedStream]
    signals: list[ListedSignal]


class TriedStream(Struct, frozen=True):
    """A stream whose verification event came after so many seconds."""

    stream: str
    seconds: float


STATUS: Final = Operation(
    "signals/status",
    "operator",
    "Show the streams and the signals in force.",
    SignalStatus,
    _NEED,
    route=("GET", "/api/signals"),
)
TEST: Final = Operation(
    "signals/test",
    "operator",
    "Ask for a verification event, and wait.",
    TriedStream,
    _NEED,
    StreamName,
    ("POST", "/api/signals/streams/{stream}/test"),
)
FORGET: Final = Operation(
    "signals/forget",
    "operator",
    "Take a signal out of force.",
    ListedSignal,
    _NEED,
    SignalName,
    ("POST", "/api/signals/{id}/forget"),
    is_recorded=True,
)
OPERATIONS: Final = (STATUS, TEST, FORGET)


class SignalOperators:
    """The operations of signals."""

    def __init__(
        self,
        receiver: SignalReceiver,
        streams: Mapping[str, StreamInfo],
        *,
        monotonic: Callable[[], float],
        new_state: Callable[[], str],
    ) -> None:
        self._receiver = receiver
        self._streams = streams
        self._monotonic = monotonic
        self._new_state = new_state

    def add_operations(self, control: Control) -> None:
        """Add the operations."""
        control.add({STATUS: self._show_status, TEST: self._test, FORGET: self._forget})

    async def _show_status(self, _asked: NoFields, _by: OperatorName) -> SignalStatus:
        signals = sorted(self._receiver.register, key=lambda signal: signal.at, reverse=True)
        return SignalStatus(
            [_describe_stream(info) for info in self._streams.values()],
            [_describe_signal(signal) for signal in signals[:_SHOWN] if signal.is_open],
        )

    async def _forget(self, asked: SignalName, _by: OperatorName) -> ListedSignal | Reason:
        signal = await self._receiver.forget(asked.id)
        return reasons.SIGNAL_UNKNOWN.reason() if signal is None else _describe_signal(signal)

    async def _test(self, asked: StreamName, _by: OperatorName) -> TriedStream | Reason:
        """Ask a transmitter for a verification event, and wait for it."""
        name = asked.stream
        info = self._streams.get(name)
        if info is None:
            return reasons.SIGNAL_STREAM.reason(name=name)
        if info.verifier is None:
            return reasons.SIGNAL_ACCESS.reason()
        state, began = self._new_state(), self._monotonic()
        problem = await info.verifier.ask(state)
        if problem is not None:
            return reasons.SIGNAL_TRANSMITTER.reason(problem=problem)
        while info.stream.watch.is_waiting(state):
            if self._monotonic() - began > PATIENCE:
                return reasons.SIGNAL_SILENT.reason(seconds=PATIENCE)
            await asyncio.sleep(_LOOK)
        return TriedStream(name, round(self._monotonic() - began, 3))


def _describe_stream(info: StreamInfo) -> ListedStream:
    stream, watch = info.stream, info.stream.watch
    described: dict[str, Any] = {
        "name": stream.name,
        "transmitter": stream.rules.issuer,
        "delivery": info.delivery,
        "status": watch.status,
        "is_silent": watch.is_silent,
        "has_keys": info.has_keys(),
        "last_event": watch.last_event,
        "last_verified": watch.last_verified,
        "problem": watch.problem,
    }
    return cast("ListedStream", {name: value for name, value in described.items() if value is not None})


def _describe_signal(signal: Signal) -> ListedSignal:
    """Return a signal without its subject, whose digest is in the journal too."""
    described: dict[str, Any] = {
        "id": signal.id,
        "stream": signal.transmitter,
        "type": signal.type,
        "effect": signal.effect,
        "level": signal.level,
        "at": signal.at,
        "subject": digest_subject(signal.subject),
    }
    return cast("ListedSignal", {name: value for name, value in described.items() if value is not None})
