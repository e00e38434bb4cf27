"""What a task has read outside of an open call: on streams, in late results, in what passes without a decision."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from gateway.base.keys.key_ring import KeyRing
from gateway.history import Restored, Store, rebuild, restore, snapshot
from gateway.history import state as bounds
from gateway.history.building import History
from gateway.history.facts import facts
from gateway.history.fold import apply
from gateway.history.new_events import build_reading, build_reservation, changes_nothing
from gateway.history.state import ENDLESS, TaskState
from gateway.model.call import Call, PastCall
from gateway.model.content import CallContent, ResultContent, Sighting
from gateway.model.errors import TaskExpired
from gateway.model.target import Effect, Labels, Sensitivity, Target
from tests.requirements import requirement
from tests.unit.history.lives import CALLS, CONTENTS, RESULTS, sources
from tests.unit.history.recording import AGENT, DECLARED, Gateway, Record, new_history, stream

if TYPE_CHECKING:
    from pathlib import Path

    from hypothesis.strategies import DataObject

    from gateway.model.call import Source
    from gateway.model.facts import CredentialFact
    from gateway.model.task import Task

KEY = Sighting("s", "jwt")
SHOWN = ResultContent((KEY,))


def target(effect: Effect = Effect.READ) -> Target:
    return Target("tool", "a", "use", "a", labels=Labels(effect, sensitivity=Sensitivity.CONFIDENTIAL))


def past_call(task: Task = DECLARED, number: int = 1, effect: Effect = Effect.READ, *used: str) -> PastCall:
    return PastCall(task, "c1", number, target(effect), Sensitivity.CONFIDENTIAL, used)


def late(of: PastCall) -> Source:
    return replace(stream(), target=of.target, sensitivity=of.sensitivity, past_call=of)


def take(
    state: TaskState, source: Source, content: ResultContent, *, late: bool = False, number: int | None = None
) -> int:
    event = build_reading(state, source, content, 5.0, late=late, number=number)
    apply(state, event)
    return event.number


def presented(state: TaskState, audience: str = "b") -> CredentialFact:
    """What is known of the credential when it is carried to another system."""
    call, content = Call("tools/call", Target("tool", audience, "use", audience), {}), CallContent(sightings=(KEY,))
    apply(state, build_reservation(state, "carried", call, content, 9.0))
    found = facts(state, 9.0, call="carried", content=content).credentials
    assert found is not None
    return found[0]


@requirement("history/read-elsewhere")
def test_a_credential_that_was_read_is_of_its_system_and_of_no_call():
    state = TaskState()
    take(state, stream("crm"), SHOWN)

    fact = presented(state)
    assert (fact.origin.kind, fact.origin.audience, fact.origin.call) == ("result", "crm", None)
    assert (fact.chain_depth, fact.minted_in_task) == (0, False)


@requirement("history/read-elsewhere")
def test_a_late_result_is_one_of_its_call():
    state = TaskState()
    content = CallContent(sightings=(Sighting("mine", "jwt"),))
    apply(state, build_reservation(state, "c1", Call("tools/call", target(Effect.MINT), {}), content, 1.0))
    take(state, late(past_call(DECLARED, 1, Effect.MINT, "mine")), SHOWN, late=True)

    fact = presented(state)
    assert (fact.origin.audience, fact.origin.call, fact.chain_depth, fact.minted_in_task) == ("a", 1, 1, True)


@requirement("history/read-elsewhere")
def test_in_another_task_it_is_of_no_call_and_as_long_a_chain():
    state = TaskState()
    number = take(state, late(past_call(DECLARED, 7, Effect.MINT, "mine")), SHOWN)

    assert number == 1
    fact = presented(state)
    assert (fact.origin.audience, fact.origin.call, fact.chain_depth, fact.minted_in_task) == ("a", None, 1, True)


@requirement("history/read-elsewhere", "invariant/6")
def test_of_a_call_that_nobody_remembers_the_worst_is_assumed():
    state = TaskState()
    take(state, stream(unknown=True), SHOWN)

    fact = presented(state)
    assert (fact.chain_depth, fact.minted_in_task) == (ENDLESS, True)


def test_no_chain_is_longer_than_endless():
    state = TaskState()
    take(state, stream(unknown=True), ResultContent((Sighting("first", "jwt"),)))
    take(state, late(past_call(DECLARED, 7, Effect.READ, "first")), SHOWN)

    assert presented(state).chain_depth == ENDLESS


@requirement("history/read-elsewhere", "invariant/6")
def test_after_a_reading_that_was_not_looked_through_whole_nobody_knows_where_a_credential_is_from():
    state = TaskState()
    call, content = Call("tools/call", target(), {}), CallContent(sightings=(KEY,))
    take(state, stream(untrusted=False), ResultContent())
    apply(state, build_reservation(state, "before", call, content, 9.0))
    assert facts(state, 9.0, call="before", content=content).credentials

    take(state, stream(untrusted=False), ResultContent(complete=False))
    unsure = structs.replace(content, unsure=True)
    apply(state, build_reservation(state, "after", call, unsure, 9.0))
    assert state.lost == {"a"}
    assert facts(state, 9.0, call="after", content=unsure).credentials is None


@requirement("history/read-elsewhere", "history/toxic-flow")
def test_a_reading_is_untrusted_and_confidential_as_its_source_is():
    state = TaskState()
    take(state, stream(untrusted=False, sensitivity=Sensitivity.PUBLIC), ResultContent())
    assert (state.untrusted, state.confidentiality) == (False, Sensitivity.PUBLIC)

    take(state, stream(sensitivity=Sensitivity.RESTRICTED), ResultContent())
    assert (state.untrusted, state.confidentiality) == (True, Sensitivity.RESTRICTED)


@requirement("history/read-elsewhere", "history/fan-out")
def test_words_of_a_reading_are_followed_where_they_go():
    state = TaskState()
    take(state, stream("crm"), ResultContent(tokens=frozenset({1})))
    take(state, stream("crm"), ResultContent(tokens=frozenset({2})))
    for number, (system, word) in enumerate((("b", 1), ("c", 1), ("d", 2), ("crm", 1))):
        call, content = (
            Call("tools/call", Target("tool", system, "use", system), {}),
            CallContent(tokens=frozenset({word})),
        )
        apply(state, build_reservation(state, f"c{number}", call, content, 9.0))

    assert facts(state, 9.0).spread == 2


def test_words_of_a_trusted_reading_are_ground_if_a_call_of_the_task_was_answered():
    """What else a trusted system says may repeat whatever it was told, as completions do."""
    state, content = TaskState(), CallContent(authority={"/to": frozenset({1})})
    take(state, stream(untrusted=False), ResultContent(tokens=frozenset({1})))
    assert facts(state, 9.0, content=content).ungrounded == ("/to",)

    take(state, stream(untrusted=False), ResultContent(tokens=frozenset({1})), late=True, number=1)
    assert facts(state, 9.0, content=content).ungrounded == ()


def test_the_parts_of_a_reading_have_one_number_and_others_have_their_own():
    state = TaskState()
    first = take(state, stream(), ResultContent(tokens=frozenset({1})))
    again = take(state, stream(), ResultContent(tokens=frozenset({2})), number=first)
    other = take(state, stream(), ResultContent(tokens=frozenset({3})))

    assert (first, again, other) == (1, 1, 2)
    call = Call("tools/call", target(), {})
    assert build_reservation(state, "c", call, CallContent(), 9.0).number == 3


def test_a_reading_that_says_nothing_new_need_not_be_written_down():
    state = TaskState()
    assert not changes_nothing(state, build_reading(state, stream(), SHOWN, 1.0))
    take(state, stream(), SHOWN)
    assert changes_nothing(state, build_reading(state, stream(), SHOWN, 1.0))
    assert not changes_nothing(state, build_reading(state, stream(), ResultContent(complete=False), 1.0))
    assert not changes_nothing(state, build_reading(state, stream(), ResultContent(tokens=frozenset({1})), 1.0))
    assert not changes_nothing(state, build_reading(state, stream(sensitivity=Sensitivity.RESTRICTED), SHOWN, 1.0))
    take(state, stream(), ResultContent(complete=False))
    assert changes_nothing(state, build_reading(state, stream(), ResultContent(complete=False), 1.0))


def test_what_is_kept_of_readings_is_bounded():
    state = TaskState()
    many = tuple(Sighting(f"s{number}", "jwt") for number in range(bounds.MAX_CREDENTIALS + 5))
    take(state, stream(), ResultContent(many, frozenset(range(bounds.MAX_RESULT_TOKENS + 5))))

    assert (len(state.credentials), state.lost) == (bounds.MAX_CREDENTIALS, {"a"})
    assert (len(state.tokens), state.partial_sources) == (bounds.MAX_RESULT_TOKENS, {"a"})


def test_credentials_beyond_those_that_are_kept_are_news_once():
    """A server that shows new ones without end would fill the record, and then nobody's calls pass."""
    state = TaskState()
    take(
        state, stream(), ResultContent(tuple(Sighting(f"s{number}", "jwt") for number in range(bounds.MAX_CREDENTIALS)))
    )
    more = build_reading(state, stream(), ResultContent((Sighting("one more", "jwt"),)), 1.0)
    assert not changes_nothing(state, more)
    apply(state, more)

    assert state.lost
    assert changes_nothing(state, build_reading(state, stream(), ResultContent((Sighting("another", "jwt"),)), 2.0))


# --- a history ---------------------------------------------------------------------------------------


def test_what_is_remembered_of_a_call_is_what_it_was_reserved_with():
    gateway = Gateway(new_history(), Record())
    task = gateway.history.tasks.open_implicit(AGENT, 1000.0)
    call_id = gateway.begin(task, "a", CallContent(sightings=(KEY,)))

    found = gateway.history.ledger.past_call(task, call_id, target(), Sensitivity.RESTRICTED)
    assert (found.task, found.call, found.number, found.used) == (task, call_id, 1, ("s",))
    assert found.sensitivity is Sensitivity.RESTRICTED
    gateway.settle(task, call_id)
    with pytest.raises(ValueError, match="no open call"):
        gateway.history.ledger.past_call(task, call_id, target(), Sensitivity.PUBLIC)


def test_a_task_that_is_no_longer_kept_reads_nothing():
    gateway = Gateway(new_history(), Record())
    with pytest.raises(TaskExpired):
        gateway.read(DECLARED, stream(), SHOWN)


@requirement("history/read-elsewhere", "history/restart")
def test_an_implicit_task_that_has_only_read_begins_again_with_its_reading():
    before = Gateway(new_history(), Record())
    task = before.history.tasks.open_implicit(AGENT, 1000.0)
    before.read(task, stream(), SHOWN)

    after = new_history()
    rebuild(after, before.record.entries, Restored())

    assert after.tasks.open_implicit(AGENT, 1000.0) == task
    assert set(after.ledger.seen(task)) == {"s"}


async def test_a_reading_that_a_snapshot_knows_already_changes_nothing(tmp_path: Path):
    """It is folded before it is written down, so a snapshot can be between the two."""
    store = Store(tmp_path, KeyRing(b"k" * 32))
    before = Gateway(new_history(), Record())
    before.history.states.attach(store)
    task = before.history.tasks.open_implicit(AGENT, 1000.0)
    before.read(task, stream(), ResultContent(tokens=frozenset({1})))
    seq = before.record.seq
    before.read(task, stream(), SHOWN)
    await snapshot(before.history, store, lambda: (before.record.name, seq))

    after = new_history()
    rebuild(after, before.record.after(seq), restore(after, store))
    assert state_of(after, task) == state_of(before.history, task)


def state_of(history: History, task: Task) -> TaskState:
    kept = history.tasks.find(task.id)
    assert kept is not None
    return history.states.load(kept)


def _step(data: DataObject, gateway: Gateway, task: Task, opened: list[str], ended: list[PastCall]) -> None:
    match data.draw(st.sampled_from(["begin", "begin", "show", "settle", "deny", "read", "read"])):
        case "begin":
            call = data.draw(CALLS)
            opened.append(gateway.begin(task, call.target.audience, data.draw(CONTENTS)))
        case "deny":
            gateway.begin(task, "a", data.draw(CONTENTS), effect="deny")
        case "show" if opened:
            gateway.show(task, data.draw(st.sampled_from(opened)), data.draw(RESULTS))
        case "settle" if opened:
            call_id = opened.pop()
            ended.append(gateway.history.ledger.past_call(task, call_id, target(), Sensitivity.PUBLIC))
            gateway.settle(task, call_id)
        case "read":
            source = data.draw(sources())
            of = data.draw(st.none() | st.sampled_from(ended)) if ended else None
            gateway.read(task, replace(source, past_call=of), data.draw(RESULTS))
        case _:
            pass


@requirement("history/read-elsewhere", "history/restart")
@given(st.data())
def test_a_state_that_is_folded_again_from_the_record_is_the_one_that_was(data: DataObject):
    before = Gateway(new_history(), Record())
    before.open()
    tasks = (DECLARED, before.history.tasks.open_implicit(AGENT, 1000.0))
    opened: dict[str, list[str]] = {task.id: [] for task in tasks}
    ended: list[PastCall] = []
    for _ in range(data.draw(st.integers(1, 20))):
        task = data.draw(st.sampled_from(tasks))
        _step(data, before, task, opened[task.id], ended)
    for task in tasks:
        for call_id in opened[task.id]:
            before.settle(task, call_id)

    after = new_history()
    rebuild(after, before.record.entries, Restored())
    for task in tasks:
        if (kept := after.tasks.find(task.id)) is not None:
            assert after.states.load(kept) == state_of(before.history, task)
        else:
            assert state_of(before.history, task) == TaskState()


def test_a_late_answer_that_an_agent_labels_is_confidential():
    history = new_history(lambda: 5.0)
    task = history.tasks.open_implicit(AGENT, 5.0)

    told = history.ledger.add_reading(task, "r1", stream(), ResultContent(confidential=True), 5.0)

    assert told is not None
    assert told["sensitivity"] == "confidential"
    kept = history.tasks.require(task)
    assert history.states.load(kept).confidentiality is Sensitivity.CONFIDENTIAL
