"""Generated lives of a task: calls that begin, show things and end, in any order that can be."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from gateway.history.events import Endorsed, Event, Released, Reserved, Settled, ShownCredential, make_opening, pack
from gateway.history.fold import apply
from gateway.history.new_events import build_observation, build_reading, build_reservation
from gateway.history.state import TaskState
from gateway.model.call import Call, PastCall, Source
from gateway.model.content import CallContent, ResultContent, Sighting
from gateway.model.target import Effect, Labels, Sensitivity, Target
from gateway.model.task import Task

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hypothesis.strategies import DrawFn, SearchStrategy

DIGESTS = st.integers(0, 12) | st.integers(2**64 - 3, 2**64 - 1)
DIGEST_SETS = st.frozensets(DIGESTS, max_size=4)
NAMES = st.sampled_from(["s1", "s2", "s3"])
SIGHTINGS = st.lists(
    st.builds(Sighting, NAMES, st.just("jwt"), shingles=st.frozensets(st.integers(0, 3))), max_size=2
).map(tuple)
COMPLETE = st.sampled_from([True, True, True, False])
CONTENTS = st.builds(
    CallContent,
    destinations=st.dictionaries(DIGESTS, st.just("d"), max_size=3),
    sightings=SIGHTINGS,
    authority=st.dictionaries(st.sampled_from(["/to", "/cc"]), DIGEST_SETS, max_size=2),
    tokens=DIGEST_SETS,
    complete=COMPLETE,
    links=st.dictionaries(st.just("/url"), DIGESTS, max_size=1),
    has_off_goal_text=st.booleans(),
    follows_goal=st.booleans(),
    told_values=DIGEST_SETS,
    exposed=DIGEST_SETS.map(lambda digests: tuple(sorted(digests))),
    selects=st.frozensets(st.sampled_from(["/to", "/cc"])),
    told=st.dictionaries(DIGESTS, st.none() | DIGEST_SETS, max_size=4),
)
MAYBE_CONTENTS: SearchStrategy[CallContent | None] = st.none() | CONTENTS
RESULTS = st.builds(
    ResultContent,
    SIGHTINGS,
    DIGEST_SETS,
    COMPLETE,
    DIGEST_SETS,
    requests_code=st.booleans(),
    records=DIGEST_SETS,
    sampled=st.booleans(),
)
CALLS = st.builds(
    Target,
    st.just("tool"),
    st.just("upstream"),
    st.just("use"),
    audience=st.sampled_from(["a", "b", "c"]),
    tenant=st.sampled_from([None, "x"]),
    environment=st.sampled_from([None, "staging"]),
    trust=st.sampled_from(["trusted", "untrusted"]),
    labels=st.builds(Labels, st.sampled_from(Effect), sensitivity=st.sampled_from(Sensitivity)),
    aggregates=st.sampled_from([None, None, ("b", "d"), ()]),
).map(lambda target: Call("tools/call", target, {}))
OPENED = st.builds(
    make_opening, DIGEST_SETS, st.lists(st.builds(ShownCredential, NAMES, DIGEST_SETS), max_size=1).map(tuple)
)
STEPS = st.lists(
    st.sampled_from(["begin", "begin", "show", "show", "settle", "deny", "drop", "endorse", "read"]),
    min_size=1,
    max_size=25,
)
TASK = Task("t", "implicit", 0.0)


@dataclass
class Life:
    """The events of a task as they were made, the state that they folded to, and what was seen on the way."""

    events: list[Event] = field(default_factory=list[Event])
    state: TaskState = field(default_factory=TaskState)
    seen: list[object] = field(default_factory=list[object])

    def take(self, event: Event, watch: Callable[[TaskState], object] | None) -> None:
        apply(self.state, event)
        self.events.append(event)
        if watch is not None:
            self.seen.append(watch(self.state))


def lives(
    watch: Callable[[TaskState], object] | None = None,
    contents: SearchStrategy[CallContent | None] = MAYBE_CONTENTS,
) -> SearchStrategy[Life]:
    """`watch` is asked after each event, and its answers are `seen`."""

    @st.composite
    def life(draw: DrawFn) -> Life:
        past_call = Life()
        past_call.take(draw(OPENED), watch)
        for number, step in enumerate(draw(STEPS)):
            event = _event(draw, past_call, step, number, contents)
            if event is not None:
                past_call.take(event, watch)
        return past_call

    return life()


@st.composite
def sources(draw: DrawFn, calls: Sequence[Reserved] = ()) -> Source:
    """Something that is read, perhaps as the late result of one of these calls."""
    target = draw(CALLS).target
    late = draw(st.none() | st.sampled_from(calls)) if calls else None
    past_call = None
    if late is not None:
        target = replace(target, audience=late.audience)
        past_call = PastCall(TASK, late.call, late.number, target, late.sensitivity, late.credentials)
    return Source(target, draw(st.booleans()), draw(st.sampled_from(Sensitivity)), past_call, draw(st.booleans()))


def _settled(events: Sequence[Event]) -> list[Reserved]:
    ended = {event.call for event in events if isinstance(event, Settled)}
    return [event for event in events if isinstance(event, Reserved) and event.call in ended]


def _event(
    draw: DrawFn, life: Life, step: str, number: int, contents: SearchStrategy[CallContent | None]
) -> Event | None:
    state = life.state
    if step == "read":
        source = draw(sources(_settled(life.events)))
        return build_reading(
            state, source, draw(RESULTS), number * 7.5, late=source.past_call is not None and draw(st.booleans())
        )
    if step == "begin":
        return build_reservation(state, f"c{number}", draw(CALLS), draw(contents), number * 7.5)
    if step == "endorse":
        return Endorsed(pack(draw(DIGEST_SETS)))
    if not state.open:
        return None
    call = draw(st.sampled_from(sorted(state.open)))
    if step == "show":
        return build_observation(state, call, draw(RESULTS), draw(st.sampled_from(Sensitivity)))
    return Settled(call) if step == "settle" else Released(call, denied=step == "deny")
