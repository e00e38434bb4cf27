"""The fold of listings and pins: no order of events lets a changed definition pass without a person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from gateway.model.target import Pin
from gateway.upstreams.catalogue.fold import CatalogueEvent, InstructionsSeen, ListingRead, PinsAdopted
from gateway.upstreams.catalogue.pins import Pinned, UnpinnableDefinition, is_view_of
from tests.unit.upstreams.catalogue.folding import Case, defined
from tests.unit.upstreams.catalogue.scripted import tool

if TYPE_CHECKING:
    from gateway.upstreams.catalogue.definitions import Definitions

NAMES = ("read", "send")
TIMES = ("2026-11-25T00:00:00Z", "2026-11-26T00:00:00Z")


def versions(name: str) -> list[Any]:
    """Return two definitions, a view of the first for earlier clients, and an unreadable definition."""
    whole = defined(tool(name, "Does it.", title="It"))
    return [whole, defined(tool(name, "Does it.")), defined(tool(name, "Sends it.")), UnpinnableDefinition("bad", name)]


SEEN = {name: versions(name) for name in NAMES}
found = st.fixed_dictionaries({}, optional={name: st.sampled_from(SEEN[name]) for name in NAMES})
pinned = st.fixed_dictionaries(
    {},
    optional={
        name: st.tuples(st.sampled_from(SEEN[name][:3]), st.sampled_from(TIMES)).map(lambda pin: Pinned(*pin))
        for name in NAMES
    },
)
listings = st.tuples(found, st.sampled_from(TIMES), st.booleans(), st.booleans()).map(
    lambda given: ListingRead(given[0], (), *given[1:])
)
adoptions = st.tuples(pinned, st.frozensets(st.sampled_from(NAMES))).map(lambda given: PinsAdopted(*given))
histories = st.lists(st.one_of(listings, listings, adoptions), max_size=12)


def differs(seen: Any, trusted: Any) -> bool:
    """Return whether a seen definition is not the trusted one, seen whole or by an earlier client."""
    return isinstance(seen, UnpinnableDefinition) or (trusted is not None and not is_view_of(seen, trusted))


def completes(seen: Any, shown: Any) -> bool:
    """Return whether an own listing has the whole of a definition that a client was shown first."""
    return shown is not None and not isinstance(seen, UnpinnableDefinition) and is_view_of(shown, seen)


class Maps(NamedTuple):
    fresh: Any
    seen: Any
    suspects: Any
    passing: Any
    targets: Any


def copy(definitions: Definitions) -> Maps:
    return Maps(*(dict(getattr(definitions, name)) for name in Maps._fields))


@given(histories, st.booleans())
def test_a_target_matches_only_a_definition_that_is_as_it_was_trusted(events: list[CatalogueEvent], first_use: bool):  # noqa: FBT001 - given by Hypothesis
    case = Case(first_use=first_use)
    for event in events:
        case.fold(event)
        for name in NAMES:
            target = case.definitions.target(name)
            if target.pin is not Pin.MATCH:
                assert target.definition is None
                continue
            trusted, seen = case.definitions.known(name), case.definitions.seen[name]
            assert case.definitions.listed
            assert trusted is not None
            assert first_use or name in case.definitions.pins
            assert not isinstance(seen, UnpinnableDefinition)
            assert is_view_of(seen, trusted)
            assert target.definition == trusted.digest


@given(histories, st.booleans())
def test_a_definition_seen_otherwise_than_pinned_stays_changed_until_a_person_pins(
    events: list[CatalogueEvent],
    first_use: bool,  # noqa: FBT001 - given by Hypothesis
):
    case, doubted = Case(first_use=first_use), set[str]()
    for event in events:
        trusted, before = {name: case.definitions.known(name) for name in NAMES}, case.definitions.pinned()
        shown = case.definitions.passing
        case.fold(event)
        if isinstance(event, PinsAdopted):
            after = case.definitions.pinned()
            doubted -= event.cleared | {name for name in NAMES if before.get(name) != after.get(name)}
        elif isinstance(event, ListingRead):
            doubted |= {
                name
                for name, seen in event.found.items()
                if differs(seen, trusted[name]) and not (event.own and completes(seen, shown.get(name)))
            }
        assert {name for name in doubted if case.definitions.target(name).pin is Pin.MATCH} == set()


@given(histories)
def test_an_event_leaves_the_definitions_before_it_as_they_were(events: list[CatalogueEvent]):
    case = Case()
    for event in [*events, InstructionsSeen(UnpinnableDefinition("bad", "instructions"))]:
        before = case.definitions
        held = copy(before)
        case.fold(event)
        assert copy(before) == held


@given(histories)
def test_pins_read_again_at_a_restart_let_nothing_pass_that_they_do_not_name(events: list[CatalogueEvent]):
    """A process that was killed comes back with the lock file, which has the pins of people and of first use."""
    case = Case()
    for event in events:
        case.fold(event)
    again = Case(first_use=False)
    again.adopt(case.definitions.pinned())
    again.fold(ListingRead({name: SEEN[name][2] for name in NAMES}, (), TIMES[0], complete=True, own=True))

    for name in NAMES:
        pin = case.definitions.pinned().get(name)
        matches = pin is not None and pin.definition == SEEN[name][2]
        assert (again.definitions.target(name).pin is Pin.MATCH) is matches
