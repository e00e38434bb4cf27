"""What a task can still use of the words of a call and of its result, so that nothing else is looked for. Pure: no I/O, no
clock, no randomness.

What has no room is not kept, and what goes back to the system that it came from is not spread: most tasks read of one
system after another, and much of what could be looked for would be thrown away. The facts are the same either way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.history.carried import NOTHING
from gateway.history.state import MAX_RESULTS, MAX_TOKENS, MAX_TRUSTED
from gateway.model.content import Relevance

if TYPE_CHECKING:
    from gateway.history.carried import Carried
    from gateway.history.state import TaskState
    from gateway.model.target import Target


def of_call(state: TaskState, target: Target, carried: Carried = NOTHING) -> Relevance:
    """Return the relevant words of arguments that have arrived: later readings cannot be in them."""
    if not state.sources <= {target.audience} or not carried.sources <= {target.audience}:
        words = "all"
    elif state.unkept or carried.unkept:
        words = "one"
    else:
        words = "none"
    trusted = state.trusted | carried.trusted if carried.trusted and words == "one" else state.trusted
    return Relevance(words, trusted, told=state.untrusted or carried.untrusted)


def of_result(state: TaskState, target: Target) -> bool:
    """Whether the words of a result that is still to come can be kept, or what is not kept of them is news. What is full
    stays full."""
    if target.trust == "trusted":
        return len(state.trusted) < MAX_TRUSTED
    full = len(state.tokens) >= MAX_TOKENS or len(state.results) >= MAX_RESULTS
    return not full or target.audience not in state.unkept
