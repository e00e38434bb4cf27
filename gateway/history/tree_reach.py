"""Numbers of a task with all tasks below it, for the limits of a tree. Pure: no I/O, no clock, no randomness.

The states of a tree are of one job, so of one log. So calls that race at several gateways count each other, as calls of one task do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import structs

from gateway.history.carried import NOTHING
from gateway.history.reach import find_raised_numbers
from gateway.history.state import TaskState
from gateway.model.content import CallContent
from gateway.model.facts import TreeFact

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from typing import TypeVar

    from gateway.history.events import Reserved
    from gateway.model.task import Task

    Key = TypeVar("Key")

_NO_CONTENT = CallContent()


def find_tree_fact(above: Task, states: Sequence[TaskState], event: Reserved) -> TreeFact:
    """Return the numbers of a task with the tasks below it, `states` altogether, for a call that is not counted yet."""
    open_calls = sum(len(state.open) for state in states) + 1
    raises = {
        "calls": sum(state.settled for state in states) + open_calls,
        "in_flight": open_calls,
        "denials": sum(state.denials for state in states),
    }
    if not _is_reached(states, event):
        # The spread of a result and the depth of a call are numbers of one task, or of one call.
        plain = structs.replace(event, source_results=(), has_partial_source=False)
        raises |= find_raised_numbers(_merge(states), plain, _NO_CONTENT, None, NOTHING)
    limits = {} if above.contract is None else dict(above.contract.limits)
    return TreeFact(above.id, raises, limits, _find_approved(above.id, states))


def _is_reached(states: Collection[TaskState], event: Reserved) -> bool:
    """Return whether the call reaches nothing that a task of the tree has not certainly reached."""
    if event.destinations or event.inside or event.destinations_overflow or event.unnamed:
        return False
    touch = event.touch
    return any(state.touched.get(touch, 0) > state.undecided.touched.get(touch, 0) for state in states)


def _find_approved(task: str, states: Collection[TaskState]) -> dict[str, int]:
    """Return the numbers that people approved for a tree: `ID.NAME` in any task below."""
    found: dict[str, int] = {}
    for state in states:
        for named, number in state.approved.items():
            owner, _, name = named.rpartition(".")
            if owner == task:
                found[name] = max(number, found.get(name, 0))
    return found


def _merge(states: Collection[TaskState]) -> TaskState:
    """Return the reach of several tasks as if one task had made all of their calls."""
    merged = TaskState()
    for state in states:
        _add(merged.touched, state.touched)
        _add(merged.undecided.touched, state.undecided.touched)
        _add(merged.destinations, state.destinations)
        _add(merged.undecided.destinations, state.undecided.destinations)
        _add(merged.named, state.named)
        _add(merged.inside, state.inside)
        _add(merged.undecided.inside, state.undecided.inside)
        _add(merged.unnamed, state.unnamed)
        _add(merged.busy, state.busy)
        for name, at in state.last.items():
            merged.last[name] = max(at, merged.last.get(name, at))
    return merged


def _add(counts: dict[Key, int], more: Mapping[Key, int]) -> None:
    for key, number in more.items():
        counts[key] = counts.get(key, 0) + number
