from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from msgspec import structs

from gateway.history.events import (
    Ended,
    Endorsed,
    Event,
    Observed,
    Opened,
    Read,
    Released,
    Reserved,
    Settled,
    Shown,
    Touch,
)
from gateway.history.facts import facts
from gateway.history.fields import from_fields, pack, to_fields, unpack
from gateway.history.fold import apply
from gateway.history.state import TaskState
from gateway.model.target import Sensitivity
from tests.unit.history.lives import Life, lives

if TYPE_CHECKING:
    from gateway.model.facts import SessionFacts

TOUCH = Touch("a", write=True, tenant="acme", environment="staging")
RESERVED = Reserved(
    "c", 3, 12.345, TOUCH, mint=True, untrusted=False, sensitivity=Sensitivity.RESTRICTED, destinations=(1, 2**64 - 1),
    credentials=("fp:1",), fed=(1, 2), flooded=True,
    links=(7,), own=True, directed=True,
)  # fmt: skip
EVENTS: tuple[Event, ...] = (
    Opened(),
    Opened(frozenset({1, 2}), (Shown("fp:1", frozenset({3})),)),
    RESERVED,
    structs.replace(RESERVED, destinations=None),
    structs.replace(RESERVED, destinations=(), crowded=True),
    Reserved("c", 1, 0.0, Touch("a", write=False, tenant=None, environment=None), destinations=()),
    Reserved("c", 1, 0.0, Touch("hub", write=False, tenant=None, environment=None, behind=("a", "b"))),
    Released("c", denied=True),
    Released("c", denied=False),
    Settled("c"),
    Observed("c"),
    Observed(
        "c",
        (Shown("fp:1"), Shown("fp:2", frozenset({9})), Shown("fp:3", ordinary=True)),
        frozenset({0, 2**64 - 1}),
        complete=False,
        sensitivity=Sensitivity.CONFIDENTIAL,
        lost=True,
        links=frozenset({3, 2**64 - 1}),
    ),
    Read(4, 12.5, Touch("a", write=False, tenant=None, environment=None)),
    Read(
        4,
        12.5,
        Touch("hub", write=False, tenant="acme", environment="staging", behind=("a", "b")),
        untrusted=False,
        sensitivity=Sensitivity.CONFIDENTIAL,
        call="c",
        late=True,
        mint=True,
        unknown=True,
        used=("fp:1",),
        credentials=(Shown("fp:2", frozenset({9})), Shown("fp:3", ordinary=True)),
        tokens=frozenset({0, 2**64 - 1}),
        complete=False,
        lost=True,
    ),
    Endorsed(),
    Endorsed(frozenset({5})),
    Ended("completed"),
    Ended("cancelled"),
)


def _through_json(event: Event) -> Any:
    return json.loads(json.dumps(to_fields(event)))


@pytest.mark.parametrize("event", EVENTS, ids=repr)
def test_an_event_is_read_as_it_was_written(event: Event):
    assert from_fields(_through_json(event)) == event


def test_digests_are_eight_bytes_each_in_ascending_order():
    assert pack({2**64 - 1, 1}) == "AQAAAAAAAAD//////////w=="
    assert unpack("AQAAAAAAAAD//////////w==") == (1, 2**64 - 1)


def test_an_ordinary_call_takes_little_room():
    event = Reserved("c" * 24, 3, 1764000000.123, Touch("github", write=False, tenant=None, environment=None))

    assert len(json.dumps(to_fields(structs.replace(event, destinations=())))) < 200


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"event": "other"}, "no event 'other'"),
        ({"event": 5}, "no event 5"),
        ({"call": None}, "call is no text"),
        ({"number": "1"}, "no integer"),
        ({"number": True}, "no integer"),
        ({"at": "now"}, "no number"),
        ({"at": True}, "no number"),
        ({"audience": 1}, "audience is no text"),
        ({"tenant": 1}, "tenant is no text"),
        ({"sensitivity": "high"}, "high"),
        ({"destinations": 5}, "base64"),
        ({"destinations": "AQ=="}, "eight bytes"),
        ({"destinations": "*"}, "base64|Only|Incorrect"),
        ({"credentials": "fp:1"}, "no list"),
        ({"credentials": [1]}, "no list of texts"),
        ({"fed": ["1"]}, "no integer"),
        ({"fed": 5}, "damaged"),
    ],
)
def test_damaged_fields_are_an_error(change: dict[str, Any], problem: str):
    with pytest.raises(ValueError, match=problem):
        from_fields({**_through_json(RESERVED), **change})


def test_a_missing_field_is_an_error():
    fields = _through_json(RESERVED)
    del fields["audience"]

    with pytest.raises(ValueError, match="'reserved' are damaged: 'audience'"):
        from_fields(fields)


def test_a_task_ends_only_in_known_ways():
    with pytest.raises(ValueError, match="does not end 'well'"):
        from_fields({"event": "ended", "how": "well"})


@pytest.mark.parametrize("credentials", [["fp:1"], "fp:1", {"fp:1": 5}, {"fp:1": "AQ=="}])
def test_damaged_credentials_are_an_error(credentials: Any):
    with pytest.raises(ValueError):
        from_fields({"event": "opened", "credentials": credentials})


def test_unknown_fields_are_ignored():
    assert from_fields({"event": "settled", "call": "c", "later": 1}) == Settled("c")


@given(lives())
def test_folding_what_was_written_gives_the_state_that_was(life: Life):
    again = TaskState()
    for event in life.events:
        apply(again, from_fields(_through_json(event)))

    assert again == life.state


def _seen(state: TaskState) -> SessionFacts:
    return facts(state, 0)


@given(lives(_seen))
def test_facts_shrink_only_when_a_call_is_taken_back(life: Life):
    """What is in flight, and the window, shrink by declaration; here the clock stands still."""
    for event, before, after in zip(life.events[1:], life.seen, life.seen[1:], strict=False):
        assert isinstance(before, type(after))
        if not isinstance(event, Released):
            _grown(before, after)  # type: ignore[arg-type] - facts, as `_seen` gives them


def _grown(before: SessionFacts, after: SessionFacts) -> None:
    assert after.calls >= before.calls
    assert after.denials >= before.denials
    assert after.audiences >= before.audiences
    assert after.write_audiences >= before.write_audiences
    assert after.tenants >= before.tenants
    assert after.environments >= before.environments
    assert after.destinations is None or (before.destinations is not None and after.destinations >= before.destinations)
    assert after.spread is None or (before.spread is not None and after.spread >= before.spread)
    assert before.labels is not None
    assert after.labels is not None
    assert after.labels.untrusted >= before.labels.untrusted
    ranks = list(Sensitivity)
    assert ranks.index(after.labels.confidentiality) >= ranks.index(before.labels.confidentiality)
    assert (after.approvals_used or 0) >= (before.approvals_used or 0)


@given(lives())
def test_a_call_that_was_taken_back_leaves_what_it_would_be_without_it(life: Life):
    """But for the denial, the numbers that were given, and who presented an unknown credential first."""
    shown = {event.call for event in life.events if isinstance(event, Observed)}
    dropped = {event.call for event in life.events if isinstance(event, Released)} - shown
    without = TaskState()
    for event in life.events:
        if getattr(event, "call", None) not in dropped:
            apply(without, event)

    assert facts(without, 500) == structs.replace(facts(life.state, 500), denials=without.denials)


@given(lives())
def test_the_order_in_which_decisions_are_recorded_does_not_matter(life: Life):
    """The journal has a call when it was decided, which may be after results that it was reserved before: each
    reservation is moved to just before the first thing that happens to its call."""
    moved: list[Event] = []
    waiting: dict[str, Reserved] = {}
    for event in life.events:
        if isinstance(event, Reserved):
            waiting[event.call] = event
            continue
        if isinstance(event, Settled | Released | Observed) and event.call in waiting:
            moved.append(waiting.pop(event.call))
        moved.append(event)
    again = TaskState()
    for event in [*moved, *reversed(waiting.values())]:
        apply(again, event)

    assert again == life.state
