"""Signals for operators: `opagate signals` on the Unix socket `<state>/signals.sock`.

| request | answer |
|---|---|
| `{"do": "status"}` | `{"ok": {"streams": [stream, …], "signals": [signal, …]}}` |
| `{"do": "test", "stream": …}` | `{"ok": {"stream", "seconds"}}` once the verification event has come |
| `{"do": "forget", "id": …}` | `{"ok": signal}`: it is no longer in force |

A refused request is answered with `{"error": {"code", "message", "remedy"}}`. `OperatorAccounts` names the operators.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal

from msgspec import Struct

from gateway import reasons
from gateway.authority.signals.subjects import digest_subject
from gateway.errors import GatewayError
from gateway.model.decision import Reason
from gateway.operators import OperatorAccounts, OperatorName, Operators

if TYPE_CHECKING:
    from gateway.authority.signals.polling import Verifier
    from gateway.authority.signals.receiver import SignalReceiver, SignalStream
    from gateway.authority.signals.register import Signal

PATIENCE: Final = 20.0
"""Seconds for a verification event."""
_LOOK: Final = 0.05
_SHOWN: Final = 1_000
"""Signals in one answer."""


class StreamInfo(Struct, frozen=True):
    """A stream for operators. `verifier` asks questions, `None` without access to the stream. `has_keys`: events can be verified."""

    stream: SignalStream
    delivery: str
    verifier: Verifier | None
    has_keys: Callable[[], bool]


class SignalOperation(Struct, frozen=True, forbid_unknown_fields=True):
    """One request of an operator."""

    do: Literal["status", "test", "forget"]
    stream: str = ""
    id: str = ""


class SignalOperators(Operators[SignalOperation]):
    """Answers to operators about signals."""

    def __init__(
        self,
        receiver: SignalReceiver,
        streams: Mapping[str, StreamInfo],
        accounts: OperatorAccounts,
        *,
        monotonic: Callable[[], float],
        new_state: Callable[[], str],
    ) -> None:
        super().__init__(SignalOperation, "signal", accounts)
        self._receiver = receiver
        self._streams = streams
        self._monotonic = monotonic
        self._new_state = new_state

    async def _do(self, request: SignalOperation, _by: OperatorName, /) -> Any:
        match request.do:
            case "status":
                signals = sorted(self._receiver.register, key=lambda signal: signal.at, reverse=True)
                return {
                    "streams": [_describe_stream(info) for info in self._streams.values()],
                    "signals": [_describe_signal(signal) for signal in signals[:_SHOWN] if signal.is_open],
                }
            case "test":
                return await self._test(request.stream)
            case "forget":
                try:
                    signal = await self._receiver.forget(request.id)
                except GatewayError as error:
                    return reasons.reason_of(error)
                return reasons.SIGNAL_UNKNOWN.reason() if signal is None else _describe_signal(signal)

    async def _test(self, name: str) -> dict[str, Any] | Reason:
        """Ask a transmitter for a verification event, and wait for it."""
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
        return {"stream": name, "seconds": round(self._monotonic() - began, 3)}


def _describe_stream(info: StreamInfo) -> dict[str, Any]:
    stream, watch = info.stream, info.stream.watch
    described = {
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
    return {name: value for name, value in described.items() if value is not None}


def _describe_signal(signal: Signal) -> dict[str, Any]:
    """Return a signal without its subject, whose digest is in the journal too."""
    described = {
        "id": signal.id,
        "stream": signal.transmitter,
        "type": signal.type,
        "effect": signal.effect,
        "level": signal.level,
        "at": signal.at,
        "subject": digest_subject(signal.subject),
    }
    return {name: value for name, value in described.items() if value is not None}
