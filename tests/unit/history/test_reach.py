"""Which numbers a call raises: what no call before it has reached for certain."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from gateway.history.events import Endorsed, Passed, Released, Settled, from_fields, pack, to_fields
from gateway.history.facts import facts
from gateway.history.fold import apply
from gateway.history.new_events import build_reservation
from gateway.history.reach import WINDOW
from gateway.history.state import TaskState
from gateway.history.states import decode_state, encode_state
from gateway.history.tasks.contract import LIMITS
from gateway.model.call import Call
from gateway.model.content import CallContent
from gateway.model.target import Effect, Labels, Target

PLAIN = CallContent()
OF_ALL_CALLS = {"approvals_used", "calls", "denials", "in_flight"}
"""The limits on how much a task does. Each call counts, wherever it goes."""


def reserve(
    state: TaskState,
    call: str,
    audience: str,
    content: CallContent = PLAIN,
    *,
    effect: Effect = Effect.READ,
    at: float = 0,
) -> dict[str, int]:
    """Reserve a call, and return the numbers that it raises."""
    target = Target("tool", audience, "use", audience, labels=Labels(effect), tenant="t", environment="e")
    event = build_reservation(state, call, Call("tools/call", target, {}), content, at, depth=0)
    assert from_fields(to_fields(event)) == event
    apply(state, event)
    assert facts(state, at, call=call, content=content).raises == dict(event.raises)
    return dict(event.raises)


def make(
    state: TaskState, call: str, audience: str, content: CallContent = PLAIN, **more: Effect | float
) -> dict[str, int]:
    """Make a call that passes and ends, and return the numbers that it raised."""
    raises = reserve(state, call, audience, content, **more)  # pyright: ignore[reportArgumentType]
    apply(state, Passed(call))
    apply(state, Settled(call))
    return raises


def to(*destinations: int, named: tuple[int, ...] = (), inside: tuple[int, ...] = ()) -> CallContent:
    """Return the content of a call to destinations."""
    told = {digest: str(digest) for digest in destinations}
    return CallContent(destinations=told, named=frozenset(named), inside=frozenset(inside))


def test_a_first_call_raises_all_that_it_reaches():
    assert make(TaskState(), "a", "crm", effect=Effect.WRITE) == {
        "audiences": 1,
        "write_audiences": 1,
        "tenants": 1,
        "environments": 1,
        "audiences_in_window": 1,
    }


def test_each_limit_on_reach_is_a_number_that_a_call_raises():
    """A limit without such a number would never refuse."""
    state = TaskState(tokens={7: 1}, results={1: "web"}, sources={"web"}, untrusted_systems={"web"}, number=1)
    content = structs.replace(to(1, 2, 3, named=(2,), inside=(3,)), tokens=frozenset({7}))
    target = Target("tool", "crm", "use", "crm", labels=Labels(Effect.WRITE), tenant="t", environment="e")
    event = build_reservation(state, "a", Call("tools/call", target, {}), content, 0, depth=1)

    assert set(LIMITS) - OF_ALL_CALLS <= event.raises.keys()


def test_a_call_to_what_was_reached_raises_nothing():
    state = TaskState()
    for number, name in enumerate(("crm", "mail", "files", "wiki", "chat", "vault")):
        make(state, f"c{number}", name)

    assert make(state, "again", "crm") == {}
    assert make(state, "later", "crm", at=WINDOW * 9) == {}


def test_the_first_change_of_a_system_raises_one_number():
    state = TaskState()
    make(state, "a", "crm")

    assert make(state, "b", "crm", effect=Effect.WRITE) == {"write_audiences": 1}
    assert make(state, "c", "crm", effect=Effect.WRITE) == {}


def test_a_refused_call_raises_no_number_for_later_calls():
    state = TaskState()
    make(state, "a", "crm")
    reserve(state, "b", "mail", to(1, 2, inside=(2,)))
    apply(state, Released("b", denied=True))
    known = facts(state, 0)

    assert (known.audiences, known.destinations, known.own_destinations) == (frozenset({"crm"}), 0, 0)
    assert reserve(state, "c", "files")["audiences"] == 2


def test_a_call_under_decision_makes_nothing_known_for_another():
    state = TaskState()
    first = reserve(state, "a", "crm", to(1))
    second = reserve(state, "b", "crm", to(1))
    assert first == second

    apply(state, Passed("a"))
    assert "audiences" not in reserve(state, "c", "crm", to(1))


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.booleans()), max_size=40), st.integers(1, 5))
def test_no_order_of_verdicts_passes_a_limit(calls: list[tuple[str, bool]], limit: int):
    """Calls are decided in another order than they are counted in, as in a race."""
    state, waiting, passed = TaskState(), list[tuple[str, str, dict[str, int]]](), set[str]()
    for number, (audience, decide) in enumerate(calls):
        call = f"c{number}"
        waiting.append((call, audience, reserve(state, call, audience)))
        if decide:
            decided, system, raises = waiting.pop(0)
            fits = raises.get("audiences", 0) <= limit
            apply(state, Passed(decided) if fits else Released(decided, denied=True))
            passed |= {system} if fits else set()
    for decided, system, raises in reversed(waiting):
        fits = raises.get("audiences", 0) <= limit
        apply(state, Passed(decided) if fits else Released(decided, denied=True))
        passed |= {system} if fits else set()

    assert len(passed) <= limit
    assert facts(state, 0).audiences == passed


def test_destinations_count_by_who_named_them():
    state = TaskState()
    raises = make(state, "a", "mail", to(1, 2, 3, 4, named=(2, 4), inside=(3, 4)))

    assert (raises["destinations"], raises["unnamed_destinations"], raises["own_destinations"]) == (2, 1, 1)
    assert (raises["call_destinations"], raises["call_unnamed_destinations"], raises["call_own_destinations"]) == (
        2,
        1,
        1,
    )
    known = facts(state, 0)
    assert (known.destinations, known.unnamed_destinations, known.own_destinations) == (2, 1, 1)
    named = make(state, "b", "mail", to(5, named=(5,)))
    assert named == {"destinations": 3, "call_destinations": 1}


def test_the_spread_that_a_call_raises_is_that_of_its_own_words():
    state = TaskState(tokens={7: 1, 8: 2}, results={1: "web", 2: "web"}, sources={"web"}, number=2)
    assert make(state, "a", "crm", CallContent(tokens=frozenset({7})))["spread"] == 1
    assert make(state, "b", "mail", CallContent(tokens=frozenset({7})))["spread"] == 2
    assert "spread" not in make(state, "c", "mail", CallContent(tokens=frozenset({7})))
    assert make(state, "d", "mail", CallContent(tokens=frozenset({8})))["spread"] == 1


def test_an_approved_number_holds_for_the_task_and_never_shrinks():
    state = TaskState()
    event = Endorsed(pack({1}), {"audiences": 4})
    assert from_fields(to_fields(event)) == event
    apply(state, event)
    apply(state, Endorsed(limits={"audiences": 3, "spread": 2}))

    assert facts(state, 0).approved == {"audiences": 4, "spread": 2}
    assert facts(state, 0).approvals_used == 2
    assert decode_state(encode_state(state)).approved == {"audiences": 4, "spread": 2}


def test_a_snapshot_keeps_which_calls_are_under_decision():
    state = TaskState()
    reserve(state, "a", "crm", to(1, 2, named=(1,), inside=(2,)))
    reserve(state, "b", "mail")
    apply(state, Passed("b"))

    again = decode_state(encode_state(state))
    assert again == state
    assert reserve(again, "c", "crm") == reserve(state, "c", "crm")
    assert "audiences" not in reserve(again, "d", "mail")


@pytest.mark.parametrize("end", [Passed("a"), Released("a", denied=False), Settled("a")])
def test_nothing_is_left_of_a_decided_call(end: Passed | Released | Settled):
    state = TaskState()
    reserve(state, "a", "crm", to(1, 2, inside=(2,)))
    apply(state, end)

    undecided = state.undecided
    left = (
        undecided.calls,
        undecided.touched,
        undecided.destinations,
        undecided.inside,
        undecided.carried_to,
        undecided.partial_carried_to,
    )
    assert not any(left)
