"""Calls reserve, raise and show what the plain rules give, on generated lives of tasks."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from gateway.config import HistorySettings
from gateway.history.events import Passed, Reserved, Touch, unpack
from gateway.history.exposure import Exposures, OriginReporter
from gateway.history.facts import facts
from gateway.history.fold import apply
from gateway.history.log import JournalAsLog
from gateway.history.new_events import build_reservation
from gateway.history.reach import WINDOW
from gateway.history.registry import TaskRegistry
from gateway.history.state import ENDLESS, MAX_UNREAD_WORDS, MAX_UNREAD_WORDS_IN_CALL, TaskState
from gateway.history.states import TaskStates
from gateway.history.task_history import TaskHistory
from gateway.model.content import CallContent
from gateway.model.task import Task
from tests.unit.history.lives import CALLS, COMPLETE, DIGEST_SETS, DIGESTS, Life, lives

if TYPE_CHECKING:
    from gateway.model.call import Call

CONTENTS = st.builds(
    CallContent,
    destinations=st.dictionaries(DIGESTS, st.just("d"), max_size=3),
    complete=COMPLETE,
    named=DIGEST_SETS,
    inside=DIGEST_SETS,
    tokens=DIGEST_SETS,
    words=st.none() | DIGEST_SETS,
)
LIVES = lives(contents=st.none() | CONTENTS)
NAMES = ("audiences", "write_audiences", "tenants", "environments")


@given(LIVES, st.lists(st.booleans(), min_size=3, max_size=3), CALLS, st.sampled_from([None, 0, 2]))
def test_a_call_raises_what_its_systems_raise_by_the_plain_rule(
    life: Life, passing: list[bool], call: Call, depth: int | None
):
    state = life.state
    for name, passes in zip(list(state.open), passing, strict=False):
        if passes:
            apply(state, Passed(name))

    event = build_reservation(
        state, "next", call, CallContent(has_off_goal_text=True, words=frozenset()), 100.0, depth=depth
    )

    expected = systems_raised(state, event)
    assert dict(event.raises) == (expected | {"depth": depth} if depth else expected)


def systems_raised(state: TaskState, event: Reserved) -> dict[str, int]:
    """Return the numbers of systems that a call raises, without a look at the usual case."""
    certain = [touch for touch, count in state.touched.items() if count > state.undecided.touched.get(touch, 0)]
    mine, sure, every = sets_of([event.touch]), sets_of(certain), sets_of(list(state.touched))
    found = {name: len(every[name] | mine[name]) for name in NAMES if not mine[name] <= sure[name]}
    if "audiences" in found:
        recent = {name for name, at in state.last.items() if event.at - at <= WINDOW}
        found["audiences_in_window"] = len({*state.busy} | recent | mine["audiences"])
    unnamed = mine["write_audiences"] - sure["write_audiences"]
    unnamed = {name for name in unnamed if state.untrusted_systems - {name}}
    if unnamed:
        found["unnamed_systems"] = len(state.unnamed.keys() | unnamed)
    return found


def sets_of(touches: list[Touch]) -> dict[str, set[str]]:
    return {
        "audiences": {name for touch in touches for name in touch.reached},
        "write_audiences": {name for touch in touches if touch.write for name in touch.reached},
        "tenants": {touch.tenant for touch in touches if touch.tenant is not None},
        "environments": {touch.environment for touch in touches if touch.environment is not None},
    }


@given(LIVES, CALLS, st.none() | CONTENTS)
def test_the_words_of_a_call_are_those_that_nothing_has(life: Life, call: Call, content: CallContent | None):
    state = life.state

    event = build_reservation(state, "next", call, content, 100.0)

    if content is None or content.words is None:
        assert (event.unread_words, event.words_overflow) == (b"", True)
        return
    known = (state.tokens, state.trusted, state.unread_words)
    fresh = sorted(word for word in content.words if not any(word in words for words in known))
    room = min(MAX_UNREAD_WORDS_IN_CALL, MAX_UNREAD_WORDS - len(state.unread_words))
    assert (unpack(event.unread_words), event.words_overflow) == (tuple(fresh[:room]), len(fresh) > room)


@given(LIVES, CALLS, st.none() | CONTENTS, st.floats(0, 300))
def test_the_facts_of_a_call_are_those_of_the_plain_rules(
    life: Life, call: Call, content: CallContent | None, now: float
):
    state = life.state
    apply(state, build_reservation(state, "next", call, content, now))

    known = facts(state, now, call="next", content=content)

    counts = (len(state.destinations), len(state.destinations.keys() - state.named.keys()), len(state.inside))
    overflow = (ENDLESS,) * 3 if state.destinations_overflowed else counts
    assert (known.destinations, known.unnamed_destinations, known.own_destinations) == (
        (None,) * 3 if state.uninspected_calls else overflow
    )
    recent = {name for name, at in state.last.items() if now - at <= WINDOW}
    assert known.audiences_in_window == {*state.busy} | recent
    unkept = max((len(state.partial_carried_to.keys() - {source}) for source in state.partial_sources), default=0)
    assert known.spread == (None if state.uninspected_calls else max(unkept, max(state.spread_histogram, default=0)))
    if content is None or not content.complete:
        assert (known.credentials, known.ungrounded, known.followed, known.unsourced) == (None,) * 4
    else:
        assert (known.credentials, known.ungrounded, known.followed, known.unsourced) == ((), (), (), None)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), max_size=12))
def test_each_implicit_task_knows_the_kept_ones_before_it(steps: list[tuple[bool, int]]):
    states = TaskStates()
    tasks = TaskRegistry(HistorySettings(), states, OriginReporter(None), Exposures(), JournalAsLog(states))
    kept: list[TaskHistory] = []
    for number, (adds, at) in enumerate(steps):
        if adds or not kept:
            task = TaskHistory(Task(f"t{number}", "implicit", float(at)), f"agent-{at % 2}", ("issuer",), 0.0)
            kept.append(task)
            tasks.admit(task)
        else:
            gone = kept.pop(at % len(kept))
            tasks.drop(gone)
            assert gone.earlier == ()
        for task in kept:
            mine = [other for other in kept if other.owner == task.owner]
            mine.sort(key=lambda other: other.task.opened)
            assert [*task.earlier] == list(reversed(mine[: mine.index(task)]))


def test_thousands_of_tasks_of_one_caller_are_linked_without_a_look_at_each():
    states = TaskStates()
    tasks = TaskRegistry(HistorySettings(), states, OriginReporter(None), Exposures(), JournalAsLog(states))
    kept = [TaskHistory(Task(f"t{at}", "implicit", float(at)), "agent", ("issuer",), 0.0) for at in range(5_000)]

    for task in kept:
        tasks.admit(task)

    assert all(later.before is earlier for earlier, later in pairwise(kept))
    assert len(kept[-1].earlier) == 4_999
