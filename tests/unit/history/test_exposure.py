"""Pieces of credentials that a task, and the other tasks of its job, have carried to a system."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.base.keys.key_ring import KeyRing
from gateway.history import Restored, Store, rebuild, restore, snapshot
from gateway.history.events import Released, Settled, Touch, from_fields, to_fields
from gateway.history.exposure import Exposures
from gateway.history.fold import apply
from gateway.history.new_events import build_reservation
from gateway.history.state import MAX_EXPOSED, TaskState
from gateway.history.states import decode_state, encode_state
from gateway.model.call import Call
from gateway.model.caller import Principal, User
from gateway.model.content import CallContent, CredentialPiece, ResultContent, Sighting
from gateway.model.errors import TaskExpired
from gateway.model.target import Target
from gateway.model.task import Task
from tests.requirements import requirement
from tests.unit.history.made_events import make_exposed
from tests.unit.history.recording import AGENT, Gateway, Record, new_history

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.history.building import History

LETTERS = 20
GRAMS = [number << 16 for number in range(1, LETTERS - 4)]
SHINGLES = frozenset(digest | place for place, digest in enumerate(GRAMS))
"""A credential of twenty letters: fifteen runs of six."""
SEEN = ResultContent((Sighting("key", "jwt", shingles=SHINGLES),))


def piece(first: int, last: int, *, name: str = "key", shown_by: str | None = None) -> CredentialPiece:
    """The letters from `first` up to `last`."""
    return CredentialPiece(name, SHINGLES, frozenset(GRAMS[first : last - 5]), shown_by)


def content(*pieces: CredentialPiece) -> CallContent:
    return CallContent(pieces=pieces)


def call(audience: str, aggregates: tuple[str, ...] | None = None) -> Call:
    return Call("tools/call", Target("tool", audience, "use", audience, aggregates=aggregates), {})


def begun(history: History, task: Task, call_id: str, made: Call, *pieces: CredentialPiece) -> list[str]:
    """The forms of the credentials that are found in a call."""
    found = history.ledger.reserve(task, call_id, made, content(*pieces), 1000.0).facts.credentials
    assert found is not None
    return [fact.form for fact in found]


def shown(gateway: Gateway, audience: str = "crm", caller: Principal = AGENT) -> Task:
    """A task to which a system has shown the credential."""
    task = gateway.history.tasks.open_implicit(caller, 1000.0)
    call_id = gateway.begin(task, audience, CallContent())
    gateway.show(task, call_id, SEEN)
    gateway.settle(task, call_id)
    return task


def declared(history: History, name: str) -> Task:
    """Another task of the same caller."""
    task = Task(name, "declared", 1000.0, 2000.0)
    history.tasks.open(AGENT, task, ResultContent())
    return task


@pytest.fixture
def gateway() -> Gateway:
    return Gateway(new_history(), Record())


# --- adding up ---------------------------------------------------------------------------------------


@requirement("history/credentials")
def test_two_halves_in_two_calls_are_the_credential(gateway: Gateway):
    task, history = shown(gateway), gateway.history
    assert begun(history, task, "a", call("billing"), piece(0, 10)) == []
    history.ledger.settle(task, "a")
    assert begun(history, task, "b", call("billing"), piece(10, 20)) == ["pieces"]


@requirement("history/credentials", "invariant/9")
def test_two_halves_at_once_are_the_credential(gateway: Gateway):
    """The first is counted though nothing has become of it yet."""
    task, history = shown(gateway), gateway.history
    assert begun(history, task, "a", call("billing"), piece(0, 10)) == []
    assert begun(history, task, "b", call("billing"), piece(10, 20)) == ["pieces"]


def test_a_call_that_was_refused_has_carried_nothing(gateway: Gateway):
    task, history = shown(gateway), gateway.history
    begun(history, task, "a", call("billing"), piece(0, 10))
    begun(history, task, "b", call("billing"), piece(0, 10))
    history.ledger.release(task, "a", denied=True)
    assert begun(history, task, "c", call("billing"), piece(10, 20)) == ["pieces"]
    history.ledger.release(task, "b", denied=True)
    history.ledger.release(task, "c", denied=True)
    assert begun(history, task, "d", call("billing"), piece(10, 20)) == []


def test_the_same_piece_again_and_again_adds_nothing(gateway: Gateway):
    task, history = shown(gateway), gateway.history
    for number in range(50):
        assert begun(history, task, str(number), call("billing"), piece(0, 10)) == []
        history.ledger.settle(task, str(number))
    assert begun(history, task, "overlap", call("billing"), piece(2, 10)) == []
    assert begun(history, task, "more", call("billing"), piece(5, 12)) == ["pieces"]


def test_more_than_half_in_one_call_is_the_credential(gateway: Gateway):
    task = shown(gateway)
    assert begun(gateway.history, task, "a", call("billing"), piece(0, 11)) == ["pieces"]


def test_each_system_is_counted_by_itself_and_its_own_is_not_counted(gateway: Gateway):
    task, history = shown(gateway), gateway.history
    assert begun(history, task, "a", call("billing"), piece(0, 10)) == []
    assert begun(history, task, "b", call("chat"), piece(10, 20)) == []
    assert begun(history, task, "c", call("crm"), piece(0, 20)) == []
    assert begun(history, task, "d", call("crm"), piece(0, 10)) == []
    assert begun(history, task, "e", call("billing"), piece(0, 8)) == []


def test_a_system_behind_an_aggregator_gets_what_goes_there(gateway: Gateway):
    task, history = shown(gateway), gateway.history
    assert begun(history, task, "a", call("hub", ("billing", "chat")), piece(0, 10)) == []
    assert begun(history, task, "b", call("billing"), piece(10, 20)) == ["pieces"]
    assert begun(history, task, "c", call("hub", ("mail",)), piece(10, 20)) == ["pieces"]
    assert begun(history, task, "d", call("mail"), piece(10, 20)) == []


def test_a_credential_of_an_earlier_task_is_foreign_too():
    """After some hours the caller has a new task, in which its readings are carried on."""
    gateway = Gateway(new_history(lifetime=1_000), Record())
    first, history = shown(gateway), gateway.history
    begun(history, first, "a", call("billing"), piece(0, 10))
    history.ledger.settle(first, "a")
    assert history.tasks.open_implicit(AGENT, 1500.0) == first
    second = history.tasks.open_implicit(AGENT, 2050.0)
    assert second != first
    assert begun(history, second, "b", call("billing"), piece(10, 20)) == ["pieces"]


def test_all_tasks_of_the_caller_count_for_as_long_as_they_are_kept(gateway: Gateway):
    first, history = shown(gateway), gateway.history
    begun(history, first, "a", call("billing"), piece(0, 10))
    history.ledger.settle(first, "a")
    second = declared(history, "two")
    rest = piece(10, 20, shown_by="crm")
    assert begun(history, second, "b", call("billing"), rest) == ["pieces"]
    history.ledger.release(second, "b", denied=True)
    history.tasks.forget(10**9)
    third = history.tasks.open_implicit(AGENT, 10.0**9)
    assert begun(history, third, "c", call("billing"), rest) == []


WORKERS = [replace(AGENT, id=f"worker-{number}", user=User("ann")) for number in (1, 2)]
FOREIGN = [
    replace(AGENT, id="worker-2", user=User("bob")),
    replace(AGENT, id="worker-2", user=User("ann"), issuer="https://other.example"),
    replace(AGENT, id="worker-2", user=None),
]


@requirement("history/credentials", "invariant/9")
@pytest.mark.parametrize("is_settled", [True, False])
def test_halves_that_two_agents_of_one_user_carry_are_the_credential(gateway: Gateway, is_settled: bool):  # noqa: FBT001
    history = gateway.history
    first, second = shown(gateway, caller=WORKERS[0]), history.tasks.open_implicit(WORKERS[1], 1000.0)
    assert begun(history, first, "a", call("billing"), piece(0, 10)) == []
    if is_settled:
        history.ledger.settle(first, "a")
    assert begun(history, second, "b", call("billing"), piece(10, 20, shown_by="crm")) == ["pieces"]


@pytest.mark.parametrize("stranger", FOREIGN)
def test_agents_of_another_user_carry_pieces_of_their_own(gateway: Gateway, stranger: Principal):
    history = gateway.history
    first, second = shown(gateway, caller=WORKERS[0]), history.tasks.open_implicit(stranger, 1000.0)
    assert begun(history, first, "a", call("billing"), piece(0, 10)) == []
    assert begun(history, second, "b", call("billing"), piece(10, 20, shown_by="crm")) == []


def test_pieces_of_all_agents_share_the_room_of_their_job(gateway: Gateway):
    """So many workers do not take the room of other users."""
    exposures = Exposures(of_job=7)
    for worker, count in ((1, 0), (2, 1)):
        state = TaskState()
        found = exposures.complete(Mine(f"of-worker-{worker}"), state, call("billing").target, content(other(worker)))
        assert len(found.sightings) == count
        event = build_reservation(state, "c", call("billing"), found, 1.0)
        exposures.follow("ada", f"of-worker-{worker}", apply(state, event), event)


def test_pieces_of_what_the_user_gave_and_of_ordinary_words_mean_nothing(gateway: Gateway):
    history = gateway.history
    given = Task("d", "declared", 1000.0, 2000.0, "use it")
    history.tasks.open(AGENT, given, SEEN)
    assert begun(history, given, "a", call("billing"), piece(0, 20)) == []
    task = history.tasks.open_implicit(AGENT, 1000.0)
    call_id = gateway.begin(task, "crm", CallContent())
    gateway.show(task, call_id, ResultContent((Sighting("word", "named", shingles=SHINGLES, ordinary=True),)))
    assert begun(history, task, "b", call("billing"), piece(0, 20, name="word")) == []
    assert begun(history, task, "c", call("billing"), piece(0, 20, name="nobody's")) == []


def test_the_finding_says_who_has_shown_it(gateway: Gateway):
    task = declared(gateway.history, "two")
    rest = content(piece(0, 20, shown_by="crm"))
    found = gateway.history.ledger.reserve(task, "a", call("billing"), rest, 1000.0).facts.credentials
    assert found is not None
    (fact,) = found
    assert (fact.origin.kind, fact.origin.audience, fact.pointer) == ("result", "crm", "")


# --- bounds ------------------------------------------------------------------------------------------


class Mine:
    """A task of ada's."""

    job = "ada"

    def __init__(self, task: str) -> None:
        self.task = Task(task, "implicit", 0.0)


def other(number: int) -> CredentialPiece:
    """A piece of another credential."""
    grams = [(number * LETTERS + place + 100) << 16 for place in range(15)]
    shingles = frozenset(digest | place for place, digest in enumerate(grams))
    return CredentialPiece(f"other-{number}", shingles, frozenset(grams[:5]), "crm")


def test_a_piece_that_cannot_be_counted_stands_for_the_whole():
    exposures, state = Exposures(), TaskState()
    target = call("billing").target
    full = tuple(range(1 << 40, (1 << 40) + (MAX_EXPOSED << 16), 1 << 16))
    apply(state, make_exposed(Touch("chat", write=False, tenant=None, environment=None), full[:-3]))
    for number, count in ((1, 1), (2, 1)):
        found = exposures.complete(Mine("t"), state, target, content(other(number)))
        assert len(found.sightings) == count
        assert found.exposed == ()


@pytest.mark.parametrize("limits", [{"of_job": 7}, {"of_all": 7}])
def test_what_all_tasks_of_a_caller_and_all_callers_carry_is_bounded(limits: dict[str, int]):
    exposures, target = Exposures(**limits), call("billing").target
    for number, count in ((1, 0), (2, 1)):
        state = TaskState()
        found = exposures.complete(Mine(f"t{number}"), state, target, content(other(number)))
        assert len(found.sightings) == count
        event = build_reservation(state, "c", call("billing"), found, 1.0)
        apply(state, event)
        exposures.follow("ada", f"t{number}", state, event)
    exposures.drop("ada", "t1")
    exposures.drop("ada", "t1")
    assert exposures.complete(Mine("t3"), TaskState(), target, content(other(3))).sightings == ()


def test_several_pieces_of_one_call_share_the_room():
    exposures = Exposures(of_job=7)
    found = exposures.complete(Mine("t"), TaskState(), call("billing").target, content(other(1), other(2)))
    assert [item.fingerprint for item in found.sightings] == ["other-2"]
    assert len(found.exposed) == 5


# --- what is kept ------------------------------------------------------------------------------------


def test_events_and_states_with_pieces_are_the_same_after_they_were_written():
    touch = Touch("billing", write=True, tenant="acme", environment="test", behind=("chat",))
    event = make_exposed(touch, (1 << 16, 2**64 - 65_536))
    assert from_fields(to_fields(event)) == event
    state = apply(TaskState(), event)
    made = build_reservation(state, "c", call("billing"), CallContent(exposed=(1 << 16, 5 << 16)), 1.0)
    assert from_fields(to_fields(made)) == made
    apply(state, made)
    assert state.exposed["billing"] == {1 << 16: 2, 5 << 16: 1, 2**64 - 65_536: 1}
    assert decode_state(encode_state(state)) == state
    apply(state, Released("c", denied=False))
    assert state.exposed["billing"] == {1 << 16: 1, 2**64 - 65_536: 1}
    apply(state, build_reservation(state, "d", call("mail"), CallContent(exposed=(5 << 16,)), 1.0))
    apply(state, Released("d", denied=False))
    assert "mail" not in state.exposed


@given(st.lists(st.tuples(st.sets(st.integers(0, 14), max_size=4), st.booleans()), max_size=12))
def test_what_was_sent_is_never_taken_back(calls: list[tuple[set[int], bool]]):
    state, sent = TaskState(), set[int]()
    for number, (places, allowed) in enumerate(calls):
        grams = tuple(sorted(GRAMS[place] for place in places))
        apply(state, build_reservation(state, str(number), call("billing"), CallContent(exposed=grams), 1.0))
        apply(state, Settled(str(number)) if allowed else Released(str(number), denied=True))
        sent |= set(grams) if allowed else set()
    assert set(state.exposed.get("billing", ())) == sent


@requirement("history/credentials", "history/restart")
@pytest.mark.parametrize("snapshots", [True, False])
async def test_pieces_add_up_over_a_crash(tmp_path: Path, *, snapshots: bool):
    before = Gateway(new_history(), Record())
    task, store = shown(before), Store(tmp_path, KeyRing(b"k" * 32))
    before.history.states.attach(store)
    call_id = before.begin(task, "billing", content(piece(0, 10)))
    before.settle(task, call_id)
    if snapshots:
        await snapshot(before.history, store, lambda: (before.record.name, before.record.seq))

    after = new_history()
    rebuild(after, before.record.entries, restore(after, store) if snapshots else Restored())
    assert begun(after, after.tasks.open_implicit(AGENT, 1000.0), "x", call("billing"), piece(10, 20)) == ["pieces"]
    rest = piece(10, 20, shown_by="crm")
    assert begun(after, declared(after, "new"), "y", call("billing"), rest) == ["pieces"]


# --- beside arguments --------------------------------------------------------------------------------


def carry(gateway: Gateway, task: Task, *pieces: CredentialPiece, audience: str = "billing") -> bool:
    """Whether a message with these beside its arguments may be sent."""
    fields = gateway.history.ledger.expose(task, call(audience).target, pieces, request="r", now=1000.0)
    if isinstance(fields, frozenset):
        assert fields <= {piece.fingerprint for piece in pieces}
        return False
    gateway.record.append("exposed", fields)
    return True


@requirement("history/elsewhere", "history/restart")
def test_pieces_beside_arguments_add_up_with_those_in_them_also_over_a_crash(gateway: Gateway):
    task = gateway.history.tasks.open_implicit(AGENT, 1000.0)
    assert carry(gateway, task, piece(0, 10, shown_by="crm"))
    assert not carry(gateway, task, piece(10, 20, shown_by="crm"))
    assert carry(gateway, task, piece(10, 20, shown_by="crm"), audience="chat")

    after = new_history()
    rebuild(after, gateway.record.entries, Restored())
    for number, found in enumerate((after.tasks.open_implicit(AGENT, 1000.0), declared(after, "new"))):
        assert begun(after, found, str(number), call("billing"), piece(10, 20, shown_by="crm")) == ["pieces"]
    assert after.tasks.find(task.id) is not None


def test_a_task_that_is_no_longer_kept_carries_nothing(gateway: Gateway):
    with pytest.raises(TaskExpired):
        carry(gateway, Task("gone", "implicit", 0.0), piece(0, 10, shown_by="crm"))
