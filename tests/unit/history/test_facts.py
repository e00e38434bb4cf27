from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.history.events import Released, Reserved, Settled, TaskState, Touch, apply
from gateway.history.facts import facts
from gateway.model import SessionFacts

TOUCHES = st.builds(
    Touch,
    audience=st.sampled_from(["a", "b", "c"]),
    write=st.booleans(),
    tenant=st.sampled_from([None, "x", "y"]),
    environment=st.sampled_from([None, "staging", "production"]),
)


def test_the_first_call_is_in_its_own_facts():
    assert facts(TaskState(), Touch("mail", write=True, tenant="acme", environment=None)) == SessionFacts(
        calls=1,
        in_flight=1,
        audiences=frozenset({"mail"}),
        write_audiences=frozenset({"mail"}),
        tenants=frozenset({"acme"}),
        environments=frozenset(),
        denials=0,
    )


def test_open_calls_of_others_are_in_the_facts():
    state = apply(TaskState(), Reserved(Touch("files", write=False, tenant=None, environment="staging")))

    known = facts(state, Touch("mail", write=True, tenant=None, environment="production"))

    assert (known.calls, known.in_flight) == (2, 2)
    assert known.audiences == {"files", "mail"}
    assert known.write_audiences == {"mail"}
    assert known.environments == {"staging", "production"}


def test_without_a_candidate_only_what_was_is_in_the_facts():
    known = facts(TaskState())

    assert (known.calls, known.in_flight, known.audiences) == (0, 0, frozenset())


@given(st.lists(st.tuples(TOUCHES, st.sampled_from(["settle", "deny", "drop", "leave"]))), TOUCHES)
def test_facts_are_those_of_the_calls_that_were_not_taken_back(history: list[tuple[Touch, str]], candidate: Touch):
    state = TaskState()
    for call, end in history:
        state = apply(state, Reserved(call))
        if end == "settle":
            state = apply(state, Settled(call))
        elif end != "leave":
            state = apply(state, Released(call, denied=end == "deny"))

    known = facts(state, candidate)

    counted = [call for call, end in history if end in {"settle", "leave"}] + [candidate]
    assert known.calls == len(counted)
    assert known.in_flight == 1 + sum(end == "leave" for _, end in history)
    assert known.audiences == {call.audience for call in counted}
    assert known.write_audiences == {call.audience for call in counted if call.write}
    assert known.tenants == {call.tenant for call in counted} - {None}
    assert known.environments == {call.environment for call in counted} - {None}
    assert known.denials == sum(end == "deny" for _, end in history)
