"""What policy is told of a task. Pure: no I/O, no clock, no randomness."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.model import SessionFacts

if TYPE_CHECKING:
    from gateway.history.events import TaskState, Touch


def facts(state: TaskState, candidate: Touch | None = None) -> SessionFacts:
    """The facts for a call that is about to be decided, itself and all other open calls included.

    `state` is the one before the call is reserved. Without a candidate: the facts for a question about no call.
    """
    open_calls = state.open if candidate is None else (*state.open, candidate)
    touches = {*state.touched, *open_calls}
    in_flight = len(open_calls)
    return SessionFacts(
        calls=state.settled + in_flight,
        in_flight=in_flight,
        audiences=frozenset(touch.audience for touch in touches),
        write_audiences=frozenset(touch.audience for touch in touches if touch.write),
        tenants=frozenset(touch.tenant for touch in touches if touch.tenant is not None),
        environments=frozenset(touch.environment for touch in touches if touch.environment is not None),
        denials=state.denials,
    )
