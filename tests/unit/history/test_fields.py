from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import given
from msgspec import structs

from gateway.history.events import (
    Confirmed,
    Endorsed,
    Event,
    Observed,
    Reading,
    Released,
    Reserved,
    Settled,
    ShownCredential,
    TaskEnded,
    TaskOpened,
    Touch,
    from_fields,
    make_opening,
    pack,
    to_fields,
    unpack,
)
from gateway.history.facts import facts
from gateway.history.fold import apply
from gateway.history.state import TaskState
from gateway.model.target import Sensitivity
from tests.unit.history.lives import Life, lives
from tests.unit.history.made_events import make_observed, make_read, make_reserved

if TYPE_CHECKING:
    from gateway.model.facts import SessionFacts

WRITTEN: Final = Path(__file__).with_name("written_events.jsonl")
"""Fields of each event, as gateways wrote them when a function for each event did so by hand."""
TOUCH = Touch("a", write=True, tenant="acme", environment="staging")
RESERVED = make_reserved(
    "c", 3, 12.345, TOUCH, mint=True, trusted=True, sensitivity=Sensitivity.RESTRICTED, destinations=(1, 2**64 - 1),
    credentials=("fp:1",), source_results=(1, 2), has_partial_source=True,
    links=(7,), own=True, directed=True,
)  # fmt: skip
EVENTS: tuple[Event, ...] = (
    TaskOpened(),
    make_opening({1, 2}, (ShownCredential("fp:1", frozenset({3})),)),
    RESERVED,
    structs.replace(RESERVED, destinations=None),
    structs.replace(RESERVED, destinations=b"", destinations_overflow=True),
    make_reserved("c", 1, 0.0, Touch("a", write=False, tenant=None, environment=None), destinations=()),
    make_reserved("c", 1, 0.0, Touch("hub", write=False, tenant=None, environment=None, behind=("a", "b"))),
    Released("c", denied=True),
    Released("c", denied=False),
    Settled("c"),
    Settled("c", "unknown"),
    Confirmed("c", "failed"),
    make_observed("c"),
    make_observed(
        "c",
        (ShownCredential("fp:1"), ShownCredential("fp:2", frozenset({9})), ShownCredential("fp:3", ordinary=True)),
        tokens=frozenset({0, 2**64 - 1}),
        incomplete=True,
        sensitivity=Sensitivity.CONFIDENTIAL,
        lost=True,
        links=frozenset({3, 2**64 - 1}),
    ),
    make_read(4, 12.5, Touch("a", write=False, tenant=None, environment=None)),
    make_read(
        4,
        12.5,
        Touch("hub", write=False, tenant="acme", environment="staging", behind=("a", "b")),
        trusted=True,
        sensitivity=Sensitivity.CONFIDENTIAL,
        call="c",
        late=True,
        mint=True,
        unknown=True,
        used=("fp:1",),
        credentials=(ShownCredential("fp:2", frozenset({9})), ShownCredential("fp:3", ordinary=True)),
        tokens=frozenset({0, 2**64 - 1}),
        incomplete=True,
        lost=True,
    ),
    Endorsed(),
    Endorsed(pack({5})),
    TaskEnded("completed"),
    TaskEnded("cancelled"),
)


def _through_json(event: Event) -> Any:
    return json.loads(json.dumps(to_fields(event)))


@pytest.mark.parametrize("event", EVENTS, ids=repr)
def test_an_event_is_read_as_it_was_written(event: Event):
    assert from_fields(_through_json(event)) == event


@pytest.mark.parametrize("line", WRITTEN.read_text("utf-8").splitlines())
def test_the_fields_of_journals_written_before_are_read_and_written_alike(line: str):
    fields = json.loads(line)

    assert json.loads(json.dumps(to_fields(from_fields(fields)))) == fields


def test_digests_are_eight_bytes_each_in_ascending_order():
    event = Endorsed(pack({2**64 - 1, 1}))

    assert to_fields(event)["values"] == "AQAAAAAAAAD//////////w=="
    assert unpack(event.values) == (1, 2**64 - 1)


def test_an_ordinary_call_takes_little_room():
    event = make_reserved("c" * 24, 3, 1764000000.123, Touch("github", write=False, tenant=None, environment=None))

    assert len(json.dumps(to_fields(structs.replace(event, destinations=b"")))) < 200


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"event": "other"}, "event 'other' are damaged"),
        ({"event": 5}, "event 5 are damaged"),
        ({"call": None}, r"str.*call"),
        ({"number": "1"}, r"int.*number"),
        ({"number": True}, r"int.*number"),
        ({"at": "now"}, r"float.*at"),
        ({"at": True}, r"float.*at"),
        ({"audience": 1}, r"str.*audience"),
        ({"tenant": 1}, r"str.*tenant"),
        ({"sensitivity": "high"}, "high"),
        ({"destinations": 5}, r"bytes.*destinations"),
        ({"destinations": "AQ=="}, "eight bytes"),
        ({"links": "AQ=="}, "eight bytes"),
        ({"destinations": "*"}, "base64"),
        ({"credentials": "fp:1"}, r"array.*credentials"),
        ({"credentials": [1]}, r"str.*credentials"),
        ({"fed": ["1"]}, r"int.*fed"),
        ({"fed": 5}, r"array.*fed"),
    ],
)
def test_damaged_fields_are_an_error(change: dict[str, Any], problem: str):
    with pytest.raises(ValueError, match=problem):
        from_fields({**_through_json(RESERVED), **change})


def test_names_in_the_journal_are_those_of_earlier_entries():
    digest = pack((7,))
    event = structs.replace(
        RESERVED, destinations_overflow=True, told_to_trusted=digest, unread_words=digest, words_overflow=True
    )

    assert {"crowded", "said", "uttered", "wordy", "told", "fed", "flooded"} <= _through_json(
        structs.replace(event, unrecorded=digest, source_results=(1,), has_partial_source=True)
    ).keys()
    assert _through_json(Reading(number=1, at=0.0, sensitivity=Sensitivity.PUBLIC, audience="a"))["event"] == "read"


def test_a_missing_field_is_an_error():
    fields = _through_json(RESERVED)
    del fields["audience"]

    with pytest.raises(ValueError, match=r"'reserved' are damaged: .*audience"):
        from_fields(fields)


def test_a_task_ends_only_in_known_ways():
    with pytest.raises(ValueError, match=r"'ended' are damaged: .*'well'"):
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
