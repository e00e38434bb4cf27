"""The events of a task, and the fold over them. Pure: no I/O, no clock, no randomness.

A call is counted when it is reserved, before policy decides, so that calls in parallel cannot race a limit. A call that
was refused is then taken back and leaves a denial; one that went on leaves its marks for good.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from gateway.model import Effect

if TYPE_CHECKING:
    from gateway.model import Call

_NONE: frozenset[Touch] = frozenset()


@dataclass(frozen=True, slots=True)
class Touch:
    """What a call touches: the system, whether it may change it, and where the system belongs."""

    audience: str
    write: bool
    tenant: str | None
    environment: str | None


@dataclass(frozen=True, slots=True)
class Reserved:
    """A call is about to be decided."""

    touch: Touch


@dataclass(frozen=True, slots=True)
class Released:
    """A reserved call did not go on; `denied` if policy refused it."""

    touch: Touch
    denied: bool


@dataclass(frozen=True, slots=True)
class Settled:
    """A reserved call went on and has ended, in whatever way."""

    touch: Touch


Event: TypeAlias = Reserved | Released | Settled


@dataclass(frozen=True, slots=True)
class TaskState:
    """`open` holds the reserved calls; `settled` and `touched` what those that ended were, in number and kind."""

    settled: int = 0
    denials: int = 0
    open: tuple[Touch, ...] = ()
    touched: frozenset[Touch] = _NONE


def touch(call: Call) -> Touch:
    """What a call counts as. Anything but a read may change something."""
    target = call.target
    return Touch(target.audience, target.labels.effect is not Effect.READ, target.tenant, target.environment)


def apply(state: TaskState, event: Event) -> TaskState:
    """The state after an event. Raises `ValueError` for the end of a call that was not reserved."""
    if isinstance(event, Reserved):
        return replace(state, open=(*state.open, event.touch))
    rest = _without(state.open, event.touch)
    if isinstance(event, Released):
        return replace(state, open=rest, denials=state.denials + event.denied)
    touched = state.touched if event.touch in state.touched else state.touched | {event.touch}
    return replace(state, open=rest, settled=state.settled + 1, touched=touched)


def _without(touches: tuple[Touch, ...], ended: Touch) -> tuple[Touch, ...]:
    if ended not in touches:
        raise ValueError(f"no open call to {ended.audience!r}")
    at = touches.index(ended)
    return touches[:at] + touches[at + 1 :]
