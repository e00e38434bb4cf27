"""What a caller's earlier implicit tasks have read counts in the present one, until they were unused for the idle limit."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from gateway.config import HistorySettings
from gateway.history import History, Restored, Store, build_history, rebuild, restore, snapshot
from gateway.history.registry import MAX_IMPLICIT
from gateway.history.state import MAX_TOLD_TO_TRUSTED
from gateway.model.call import Call
from gateway.model.content import CallContent, ResultContent, Sighting
from gateway.model.facts import SessionFacts
from gateway.model.target import Effect, Labels, Sensitivity, Target
from gateway.model.task import Task
from tests.unit.clock import Clock
from tests.unit.history.recording import AGENT, Gateway, Record, new_history, stream

LIFETIME = 3600.0
IDLE = 600.0
WARM = 4 * 3600.0
EMPTY = CallContent()
SECRET = Sighting("fp:1", "jwt", "/x", shingles=frozenset({1, 2, 3}))


@pytest.fixture
def clock() -> Clock:
    return Clock(now=0.0)


@pytest.fixture
def history(clock: Clock) -> History:
    return new_history(lambda: clock.now, IDLE, LIFETIME)


class Caller:
    """Calls in the present implicit task of a caller, at a time."""

    def __init__(self, history: History, clock: Clock) -> None:
        self.history = history
        self._clock = clock
        self._numbers = itertools.count(1)

    def at(self, now: float) -> Caller:
        self._clock.now = now
        return self

    @property
    def task(self) -> Task:
        return self.history.tasks.open_implicit(AGENT, self._clock.now)

    def begin(self, audience: str, content: CallContent = EMPTY, **more: Any) -> tuple[str, SessionFacts]:
        call_id = f"c{next(self._numbers)}"
        sensitivity = more.pop("sensitivity", Sensitivity.PUBLIC)
        labels = Labels(more.pop("effect", Effect.READ), sensitivity=sensitivity)
        target = Target("tool", audience, "use", audience, labels=labels, **more)
        reserved = self.history.ledger.reserve(
            self.task, call_id, Call("tools/call", target, {}), content, self._clock.now, depth=0
        )
        return call_id, reserved.facts

    def call(self, audience: str, content: CallContent = EMPTY, *shown: ResultContent, **more: Any) -> SessionFacts:
        task = self.task
        call_id, facts = self.begin(audience, content, **more)
        for part in shown:
            self.history.ledger.observe(task, call_id, part)
        self.history.ledger.settle(task, call_id)
        return facts


@pytest.fixture
def caller(history: History, clock: Clock) -> Caller:
    return Caller(history, clock)


def never_pausing(caller: Caller, until: float, begun: float = 0.0) -> None:
    """Use the task often enough that it is never idle."""
    for now in range(int(begun), int(until), int(IDLE / 2)):
        assert caller.at(now).task


def words(*digests: int, complete: bool = True) -> ResultContent:
    return ResultContent(tokens=frozenset(digests), complete=complete)


def says(*digests: int, **more: Any) -> CallContent:
    return CallContent(tokens=frozenset(digests), **more)


# --- when a task ends ------------------------------------------------------------------------------------------


def test_a_task_ends_after_its_lifetime_however_much_it_is_used(caller: Caller):
    first = caller.task
    never_pausing(caller, LIFETIME)

    assert caller.at(LIFETIME - 1).task == first
    assert caller.at(LIFETIME).task != first


def test_a_lifetime_that_is_shorter_than_a_pause_is_as_long(clock: Clock):
    history = build_history(HistorySettings(idle=timedelta(days=1)), clock=lambda: clock.now)
    first = history.tasks.open_implicit(AGENT, 0.0)

    assert history.tasks.open_implicit(AGENT, 86_399.0) == first
    assert history.tasks.open_implicit(AGENT, 86_400.0) != first


def test_the_next_task_has_reached_nothing(caller: Caller):
    for system in "abcde":
        caller.call(system, CallContent({ord(system): system}), effect=Effect.WRITE)
    never_pausing(caller, LIFETIME)

    facts = caller.at(LIFETIME).call("f")

    assert (facts.audiences, facts.write_audiences, facts.destinations, facts.calls) == ({"f"}, frozenset(), 0, 1)


def test_calls_that_are_open_go_on_in_the_task_that_has_ended(caller: Caller):
    first = caller.task
    call_id, _ = caller.begin("a")
    second = caller.at(LIFETIME).task

    caller.history.ledger.observe(first, call_id, words(1))
    caller.history.ledger.settle(first, call_id)

    assert second != first
    assert caller.task == second
    assert caller.history.ledger.facts(first, LIFETIME).calls == 1


def test_a_clock_that_is_set_back_ends_no_task(caller: Caller):
    first = caller.at(LIFETIME).task

    assert caller.at(0.0).task == first


# --- what is carried on ------------------------------------------------------------------------------------------


@pytest.fixture
def next_task(caller: Caller) -> Callable[..., Caller]:
    """The caller, in its next task, after it has made these calls in the first."""

    def make(*calls: Callable[[Caller], object]) -> Caller:
        never_pausing(caller, LIFETIME)
        caller.at(LIFETIME - 1)
        for call in calls:
            call(caller)
        return caller.at(LIFETIME)

    return make


def says_everywhere(*systems: str, digest: int) -> Callable[[Caller], object]:
    def make(caller: Caller) -> None:
        for system in systems:
            caller.call(system, says(digest))

    return make


def tells(*digests: int) -> Callable[[Caller], object]:
    """Say values to a trusted system."""

    def make(caller: Caller) -> None:
        caller.call("wiki", says(told_values=frozenset(digests)), trust="trusted")

    return make


def reads(audience: str, *shown: ResultContent, **more: Any) -> Callable[[Caller], object]:
    return partial(_reads, audience=audience, shown=shown, more=more)


def _reads(caller: Caller, audience: str, shown: tuple[ResultContent, ...], more: dict[str, Any]) -> None:
    caller.call(audience, CallContent(), *shown, **more)


def test_labels_are_carried_on(next_task: Callable[..., Caller]):
    later = next_task(reads("a", sensitivity=Sensitivity.RESTRICTED))

    facts = later.call("b", trust="trusted")

    assert facts.labels is not None
    assert (facts.labels.untrusted, facts.labels.confidentiality) == (True, Sensitivity.RESTRICTED)


def test_what_is_carried_on_ends_when_the_earlier_task_was_unused_for_the_idle_limit(next_task: Callable[..., Caller]):
    later = next_task(reads("a", ResultContent((SECRET,)), sensitivity=Sensitivity.RESTRICTED))
    task = later.task
    later.at(LIFETIME + IDLE - 1).call("b", trust="trusted")
    assert later.history.tasks.readings_of(task) == (task.id, "task-" + str(int(task.id[5:]) - 1))

    facts = later.at(LIFETIME + IDLE).call("b", CallContent(sightings=(SECRET,)), trust="trusted")

    assert facts.labels is not None
    assert (facts.labels.untrusted, facts.labels.confidentiality) == (True, Sensitivity.RESTRICTED), "the job's marks"
    assert facts.credentials is not None
    assert facts.credentials[0].origin.kind == "unknown"
    assert later.history.tasks.readings_of(task) == (task.id,)


def test_a_caller_that_pauses_until_its_job_is_cold_begins_anew(caller: Caller):
    caller.call("a", CallContent(), words(1), sensitivity=Sensitivity.RESTRICTED)

    facts = caller.at(WARM + 61).call("b", trust="trusted")

    assert facts.labels is not None
    assert (facts.labels.untrusted, facts.labels.confidentiality) == (False, Sensitivity.PUBLIC)


def test_a_credential_stays_the_system_s_that_showed_it_first(next_task: Callable[..., Caller]):
    later = next_task(reads("a", ResultContent((SECRET,)), effect=Effect.MINT))
    assert later.history.ledger.seen(later.task) == {"fp:1": {1, 2, 3}}
    later.call("b", CallContent(), ResultContent((SECRET,)))

    facts = later.call("b", CallContent(sightings=(SECRET,)))

    assert facts.credentials is not None
    (fact,) = facts.credentials
    assert (fact.origin.kind, fact.origin.audience, fact.origin.call, fact.minted_in_task) == (
        "result",
        "a",
        None,
        True,
    )


def test_the_credentials_that_the_present_task_is_shown_are_found_beside_them(next_task: Callable[..., Caller]):
    later = next_task(reads("a", ResultContent((SECRET,))))
    seen = later.history.ledger.seen(later.task)

    later.call("b", CallContent(), ResultContent((Sighting("fp:2", "jwt"),)))

    assert set(seen) == {"fp:1", "fp:2"}


def test_words_are_followed_where_they_go(next_task: Callable[..., Caller]):
    later = next_task(reads("a", words(1)), reads("b", words(2)))

    assert later.call("a", says(1)).spread == 0
    assert later.call("c", says(1)).spread == 1
    assert later.call("d", says(2)).spread == 1
    assert later.call("d", says(1)).spread == 2


def test_how_far_words_went_before_is_not_carried_on(next_task: Callable[..., Caller]):
    later = next_task(reads("a", words(1)), says_everywhere("b", "c", digest=1))

    assert later.call("d", says(1)).spread == 1


def test_words_of_both_tasks_are_told_apart(next_task: Callable[..., Caller]):
    later = next_task(reads("a", words(1)))
    later.call("b", CallContent(), words(2))

    facts = [later.call(system, says(digest)).spread for digest, system in ((1, "c"), (2, "d"), (2, "e"))]

    assert facts == [1, 1, 2]


def test_a_refused_call_has_carried_nothing(next_task: Callable[..., Caller]):
    later = next_task(reads("a", words(1)))
    call_id, facts = later.begin("b", says(1))
    later.history.ledger.release(later.task, call_id, denied=True)

    assert facts.spread == 1
    assert later.history.ledger.facts(later.task, LIFETIME).spread == 0


def test_after_a_result_that_was_not_kept_whole_any_words_may_be_of_it(next_task: Callable[..., Caller]):
    later = next_task(reads("a", words(1, complete=False)))

    assert later.call("b", says(9)).spread == 1
    assert later.call("a", says(9)).spread == 1
    assert later.call("c", says(9)).spread == 2


def test_which_words_matter_is_known(next_task: Callable[..., Caller]):
    def asked(*calls: Callable[[Caller], object]) -> tuple[str, str, bool]:
        later = next_task(*calls)
        near, far = (later.history.ledger.relevance(later.task, Target("tool", name, "use", name)) for name in "ab")
        return near.words, far.words, near.told

    assert asked(reads("a", words(1))) == ("none", "all", True)


def test_of_a_task_that_lost_words_one_is_enough(next_task: Callable[..., Caller]):
    later = next_task(reads("a", words(complete=False)), reads("wiki", words(7), trust="trusted"))
    later.call("wiki", CallContent(), words(8), trust="trusted")

    relevance = later.history.ledger.relevance(later.task, Target("tool", "b", "use", "b"))

    assert (relevance.words, relevance.trusted) == ("one", {7, 8})


def test_ground_is_carried_on(next_task: Callable[..., Caller]):
    later = next_task(reads("wiki", words(7), trust="trusted"), reads("a", words(1)))
    content = CallContent(authority={"/to": frozenset({7}), "/cc": frozenset({8})})

    assert later.call("b", content).ungrounded == ("/cc",)


def test_a_trusted_system_that_repeats_what_it_was_told_in_the_task_before_gives_no_ground(
    next_task: Callable[..., Caller],
):
    later = next_task(reads("a", words(8)), tells(8))
    later.call("wiki", CallContent(), words(8), trust="trusted")

    assert later.call("b", CallContent(authority={"/to": frozenset({8})})).ungrounded == ("/to",)


def test_after_too_much_was_told_in_the_task_before_nothing_gives_ground(next_task: Callable[..., Caller]):
    later = next_task(
        reads("a", words(8)),
        tells(*range(100, 102 + MAX_TOLD_TO_TRUSTED)),
    )
    later.call("wiki", CallContent(), words(9), trust="trusted")

    assert later.call("b", CallContent(authority={"/to": frozenset({9})})).ungrounded == ("/to",)


def test_what_is_told_counts_after_something_untrusted_was_read_in_the_task_before(next_task: Callable[..., Caller]):
    later = next_task(reads("a", words(8)))
    later.call("wiki", says(told_values=frozenset({8})), trust="trusted")
    later.call("wiki", CallContent(), words(8), trust="trusted")

    assert later.call("b", CallContent(authority={"/to": frozenset({8})})).ungrounded == ("/to",)


def test_a_late_answer_to_a_call_of_the_task_before_counts_at_once(caller: Caller):
    never_pausing(caller, LIFETIME)
    first = caller.at(LIFETIME - 1).task
    call_id, _ = caller.begin("a", sensitivity=Sensitivity.RESTRICTED)
    later = caller.at(LIFETIME)
    before = later.call("b", trust="trusted").labels
    assert before is not None
    assert before.confidentiality is Sensitivity.PUBLIC

    later.history.ledger.observe(first, call_id, ResultContent((SECRET,), frozenset({1})))
    facts = later.call("b", CallContent(sightings=(SECRET,), tokens=frozenset({1})), trust="trusted")

    assert facts.labels is not None
    assert (facts.labels.untrusted, facts.labels.confidentiality, facts.spread) == (True, Sensitivity.RESTRICTED, 1)
    assert facts.credentials is not None
    assert facts.credentials[0].origin.audience == "a"


def test_a_call_that_is_open_over_two_ends_is_carried_on_beside_the_task_between(caller: Caller):
    call_id, _ = caller.begin("a", sensitivity=Sensitivity.RESTRICTED)
    first = caller.task
    never_pausing(caller, 2 * LIFETIME)
    second = caller.at(2 * LIFETIME - 1).task
    caller.call("b", CallContent(), words(2), ResultContent((Sighting("fp:2", "jwt"),)))
    third = caller.at(2 * LIFETIME).task
    caller.history.ledger.observe(first, call_id, ResultContent((SECRET,), frozenset({1})))

    assert caller.history.tasks.readings_of(third) == (third.id, second.id, first.id)
    assert set(caller.history.ledger.seen(third)) == {"fp:1", "fp:2"}
    assert caller.call("c", says(1)).spread == 1
    assert caller.call("d", says(2)).spread == 1
    facts = caller.call("d", says(1, sightings=(SECRET,)))
    assert facts.spread == 2
    assert facts.credentials is not None
    assert facts.credentials[0].origin.audience == "a"
    assert facts.labels is not None
    assert facts.labels.confidentiality is Sensitivity.RESTRICTED


def test_calls_that_never_end_make_no_endless_row_of_tasks(caller: Caller):
    """The readings of each would be looked through at every call."""
    tasks: list[Task] = []
    for number in range(20):
        caller.at(number * LIFETIME)
        tasks.append(caller.task)
        caller.begin(f"system-{number}")

    assert len({task.id for task in tasks}) == MAX_IMPLICIT
    assert len(caller.history.tasks.readings_of(tasks[-1])) == MAX_IMPLICIT
    assert len(caller.history.ledger.facts(tasks[-1], 20 * LIFETIME).audiences) == 20 - MAX_IMPLICIT + 1


def test_a_declared_task_begins_with_nothing_read(caller: Caller):
    caller.call("a", CallContent(), words(1), sensitivity=Sensitivity.RESTRICTED)
    declared = Task("d", "declared", 1.0, 100.0)
    caller.history.tasks.open(AGENT, declared, ResultContent())

    facts = caller.history.ledger.facts(declared, 1.0)

    assert facts.labels is not None
    assert (facts.labels.untrusted, caller.history.tasks.readings_of(declared)) == (False, ("d",))


# --- after a restart ---------------------------------------------------------------------------------------------


def begun_twice(gateway: Gateway) -> tuple[Task, Task]:
    """A task with readings, and the caller's next one."""
    first = gateway.history.tasks.open_implicit(AGENT, 1000.0)
    call_id = gateway.begin(first, "a", at=999.0 + LIFETIME)
    gateway.show(first, call_id, ResultContent((SECRET,), frozenset({1})))
    gateway.settle(first, call_id)
    gateway.read(first, stream("b"), words(2), 999.0 + LIFETIME)
    second = gateway.history.tasks.open_implicit(AGENT, 1000.0 + LIFETIME)
    call_id = gateway.begin(second, "c", CallContent(tokens=frozenset({1})), at=1000.0 + LIFETIME)
    gateway.settle(second, call_id)
    return first, second


def known(history: History, task: Task) -> tuple[SessionFacts, dict[str, frozenset[int]], tuple[str, ...]]:
    return (
        history.ledger.facts(task, 1000.0 + LIFETIME),
        dict(history.ledger.seen(task)),
        history.tasks.readings_of(task),
    )


@pytest.mark.parametrize("snapshots", [True, False])
async def test_it_is_carried_on_after_a_restart(store: Store, *, snapshots: bool):
    before = Gateway(new_history(lambda: 1000.0 + LIFETIME, IDLE, LIFETIME), Record())
    before.history.states.attach(store)
    first, second = begun_twice(before)
    if snapshots:
        await snapshot(before.history, store, before.record.position)

    after = new_history(lambda: 1000.0 + LIFETIME, IDLE, LIFETIME)
    restored = restore(after, store) if snapshots else Restored()
    rebuild(after, before.record.entries, restored)

    assert known(after, second) == known(before.history, second)
    assert known(after, second)[2] == (second.id, first.id)
    assert after.tasks.open_implicit(AGENT, 1000.0 + LIFETIME + 1) == second


async def test_a_state_that_has_left_memory_is_carried_on(store: Store):
    gateway = Gateway(new_history(lambda: 1000.0 + LIFETIME, IDLE, LIFETIME), Record())
    gateway.history.states.attach(store)
    _, second = begun_twice(gateway)
    before = known(gateway.history, second)
    await snapshot(gateway.history, store, gateway.record.position)

    assert gateway.history.states.shed(10**9) == 2
    assert known(gateway.history, second) == before


def test_the_record_of_a_decision_names_the_tasks_that_it_rests_on_too():
    gateway = Gateway(new_history(lambda: 1000.0 + LIFETIME, IDLE, LIFETIME), Record())
    first, _ = begun_twice(gateway)

    calls: list[Any] = [entry["history"] for entry in gateway.record.entries if entry["kind"] == "call"]

    assert [entry.get("carried") for entry in calls] == [None, [first.id]]
