"""Events that depend on earlier events: `reserved`, `observed` and `read`. Pure: no I/O, no clock, no randomness. An
event has all inputs of `fold`, so that folding the journal gives the same state. Content without room is dropped here,
and the event notes the loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import structs

from gateway.history.carried import NOTHING, is_unread, records_of
from gateway.history.events import (
    NO_DIGESTS,
    Observed,
    Reading,
    Reserved,
    ShownCredential,
    Touch,
    list_shown,
    pack,
    shared_touch,
    shown_fields,
)
from gateway.history.reach import certain_reach, find_raised_numbers
from gateway.history.returning import NONE_RETURNED, ReturnedText
from gateway.history.state import (
    CONFIDENTIAL,
    MAX_CREDENTIALS,
    MAX_DESTINATIONS,
    MAX_LINKS,
    MAX_MARKED,
    MAX_RECORDED,
    MAX_RESULT_TOKENS,
    MAX_RESULTS,
    MAX_TOKENS,
    MAX_TOLD_TO_TRUSTED,
    MAX_TOOLS,
    MAX_TRUSTED,
    MAX_UNREAD_WORDS,
    MAX_UNREAD_WORDS_IN_CALL,
    MAX_UNRECORDED,
    TaskState,
    higher,
    open_call,
    smallest,
)
from gateway.model.content import CallContent
from gateway.model.shingles import is_word_mark, mark_of, name_of
from gateway.model.target import Effect, Pin, Sensitivity

if TYPE_CHECKING:
    from gateway.history.carried import Carried
    from gateway.model.call import Call, Source
    from gateway.model.content import ResultContent
    from gateway.model.target import Target


def build_reservation(
    state: TaskState,
    call_id: str,
    call: Call,
    content: CallContent | None,
    at: float,
    *,
    depth: int | None = None,
    carried: Carried = NOTHING,
) -> Reserved:
    """Return the reservation of a call. `depth` is the delegation depth plus aggregator hops.

    Without whole content, every fact that depends on the content is unknown.
    """
    seen = _UNSEEN if content is None else content
    target, touch = call.target, touch_of(call.target)
    links = pack(link for link in {*seen.links.values()} if link in state.links) if seen.links else b""
    told_to_trusted, unrecorded = (
        _find_told(state, touch.audience, seen, carried) if seen.told_values or seen.told else (b"", b"")
    )
    outside, inside, named, destinations_overflow = _destinations(state, seen)
    unread_words, words_overflow = _find_unread_words(state, seen, carried)
    event = Reserved(
        call=call_id,
        number=state.number + 1,
        at=round(at, 3),
        audience=touch.audience,
        write=touch.write,
        tenant=touch.tenant,
        environment=touch.environment,
        behind=touch.behind,
        assumed=touch.assumed,
        mint=target.labels.effect is Effect.MINT,
        trusted=target.trust != "untrusted",
        sensitivity=target.labels.sensitivity,
        destinations=outside if seen.complete else None,
        inside=inside,
        named=named,
        destinations_overflow=destinations_overflow,
        credentials=_fingerprints(seen) if seen.sightings else (),
        source_results=_find_source_results(state, touch.audience, seen.tokens, carried) if seen.tokens else (),
        has_partial_source=_has_partial_source(state, seen, carried)
        if state.partial_sources or carried.partial_sources
        else False,
        links=links,
        own=seen.has_off_goal_text and not links,
        directed=seen.follows_goal,
        pointed=seen.pointed,
        told_to_trusted=told_to_trusted,
        unrecorded=unrecorded,
        exposed=pack(seen.exposed) if seen.exposed else b"",
        unread_words=unread_words,
        words_overflow=words_overflow,
        unnamed=_find_unnamed_systems(state, target, touch, seen, carried) if touch.write else (),
        tool=name_target(state, target),
    )
    raises = find_raised_numbers(state, event, seen, depth, carried)
    return structs.replace(event, raises=raises) if raises else event


def _find_unnamed_systems(
    state: TaskState, target: Target, touch: Touch, seen: CallContent, carried: Carried
) -> tuple[str, ...]:
    """Return the systems that foreign text may have chosen: the task never wrote to them, and goal and contract do not name them.

    A write before the first untrusted result was under no influence. Neither the text nor its author gains a system where
    all of them came from the written system itself. A sandbox of the task has no reader. Where goal or contract names each
    destination of the call, they name the place itself.
    """
    influences = state.untrusted_systems | carried.untrusted_systems
    has_named_place = bool(seen.destinations) and seen.complete and seen.destinations.keys() <= seen.named
    if not influences or has_named_place or target.labels.in_sandbox:
        return ()
    written = certain_reach(state).written
    return tuple(
        system
        for system in touch.reached
        if system not in seen.named_systems and system not in written and not influences <= {system}
    )


def name_target(state: TaskState, target: Target) -> str:
    """Return the name of a used target: `files/read` for a tool, `files/` for resources and prompts.

    Tools beyond `MAX_TOOLS` get the name of the upstream, and so do tools that no list has. A caller chose that name, and it may
    be a password. Stricter labels of the upstream still count for these.
    """
    is_named = target.type == "tool" and target.pin is not Pin.UNKNOWN
    name = f"{target.upstream}/{target.name}" if is_named else f"{target.upstream}/"
    return name if name in state.used or len(state.used) < MAX_TOOLS else f"{target.upstream}/"


def touch_of(target: Target) -> Touch:
    """Return the systems that a call of this target touches. Anything but a read may change something."""
    writes = target.labels.effect is not Effect.READ
    behind = tuple(sorted({*target.aggregates} - {target.audience})) if target.aggregates else ()
    assumed = "effect" in target.labels.assumed
    return shared_touch(target.audience, writes, target.tenant, target.environment, behind, assumed)


_UNSEEN: Final = CallContent(complete=False, has_off_goal_text=True)
"""The content of arguments of which nothing is known."""


def _destinations(state: TaskState, content: CallContent) -> tuple[bytes, bytes, bytes, bool]:
    """Return the destinations outside and inside of own domains, the named ones of both, and whether there are too many."""
    found = frozenset(content.destinations) if content.destinations and content.complete else NO_DIGESTS
    if len(state.destinations) + len(state.inside) + len(found) > MAX_DESTINATIONS:
        return b"", b"", b"", True
    if not found:
        return b"", b"", b"", False
    inside, named = found & content.inside, found & content.named
    return pack(found - inside), pack(inside), pack(named), False


def _find_told(state: TaskState, audience: str, content: CallContent, carried: Carried) -> tuple[bytes, bytes]:
    """Return the values told to a trusted system, and the values without a record. Both stay empty before the first
    untrusted result."""
    if not (state.untrusted or carried.untrusted):
        return b"", b""
    told_to_trusted = content.told_values - state.trusted - carried.trusted
    known = (*records_of(audience, state, carried), state.trusted, carried.trusted)
    fresh = frozenset(
        value
        for value, pieces in content.told.items()
        if not any(value in values for values in known) and not is_unread(state, pieces, carried)
    )
    return (
        pack(smallest(told_to_trusted, MAX_TOLD_TO_TRUSTED + 1 - len(state.told_to_trusted))),
        pack(smallest(fresh, MAX_UNRECORDED + 1 - len(state.unrecorded))),
    )


def _find_unread_words(state: TaskState, content: CallContent, carried: Carried) -> tuple[bytes, bool]:
    """Return the words of a call that the task has read nowhere, and whether there are more than are kept."""
    words = content.words
    if words is None:
        return b"", True
    # One difference for each: with several at once, each of the larger sets would be walked whole.
    for known in (state.unread_words, state.tokens, state.trusted, carried.tokens, carried.trusted):
        if words and known:
            words = words.difference(known)
    if not words:
        return b"", False
    room = max(0, min(MAX_UNREAD_WORDS_IN_CALL, MAX_UNREAD_WORDS - len(state.unread_words)))
    return pack(smallest(words, room)), len(words) > room


def _has_partial_source(state: TaskState, content: CallContent, carried: Carried) -> bool:
    """Return whether data of results that are not kept whole may be in the arguments."""
    return not (content.complete and content.tokens - carried.trusted <= state.trusted)


def build_observation(
    state: TaskState,
    call_id: str,
    content: ResultContent,
    label: Sensitivity = Sensitivity.PUBLIC,
    carried: Carried = NOTHING,
    *,
    returned: ReturnedText = NONE_RETURNED,
) -> Observed:
    """Return a part of a result, as far as it says something new. `label` can raise its sensitivity above the tool's, and so can
    `returned` text.

    Raises `ValueError` for a call that is not open.
    """
    reservation = state.open.get(call_id) or open_call(state, call_id)
    room = MAX_RESULT_TOKENS - state.kept.get(call_id, 0)
    tokens, complete, untrusted = NO_DIGESTS, content.complete, not reservation.trusted
    if returned.is_untrusted and not untrusted:
        untrusted, content = True, structs.replace(content, tokens=content.words, records=NO_DIGESTS)
    if content.tokens:
        tokens, complete = _bound_words(state, reservation.number, content, room, carried, untrusted=untrusted)
    links = NO_DIGESTS
    if content.links and reservation.directed and not state.off_goal_calls:
        links = smallest(content.links - state.links, MAX_LINKS + 1 - len(state.links))
    sensitivity = reservation.sensitivity if label is Sensitivity.PUBLIC else higher(reservation.sensitivity, label)
    fresh, whole = _fresh(state, content) if content.sightings else ((), True)
    lost = not (whole and content.complete) and reservation.audience not in state.lost
    confirmed = _find_confirmed(state, content) if content.sightings and not untrusted else ()
    waits = content.requests_code and reservation.audience not in state.code_requests
    return Observed(
        call=call_id,
        sensitivity=sensitivity,
        **shown_fields(fresh)._asdict(),
        tokens=pack(tokens),
        incomplete=not complete,
        lost=lost,
        links=pack(links),
        confirmed=confirmed,
        requested=state.number if waits else 0,
        records=pack(_find_recorded(state, reservation, content, carried)) if content.records else b"",
        sampled=content.sampled,
        returned=returned.marks,
        foreign=returned.is_untrusted,
        words=pack(returned.confidential) if returned.confidential else b"",
    )


def _find_recorded(state: TaskState, source: Reserved, content: ResultContent, carried: Carried) -> frozenset[int]:
    """Return the new values in records of a result. A value that a call told before gives no ground.

    A result of an aggregator has none: any system behind it may have written it.
    """
    if source.behind or max(len(state.unrecorded), len(carried.unrecorded)) > MAX_UNRECORDED:
        return NO_DIGESTS
    fresh = content.records.difference(
        state.records.get(source.audience, NO_DIGESTS), state.unrecorded, carried.unrecorded
    )
    return smallest(fresh, max(0, MAX_RECORDED - sum(map(len, state.records.values()))))


def lost_result(state: TaskState, call_id: str) -> Observed:
    """Return the event for the lost result of an open call: the gateway ended first. Raises `ValueError` for a closed
    call."""
    return Observed(call=call_id, incomplete=True, sensitivity=open_call(state, call_id).sensitivity)


def build_reading(
    state: TaskState,
    source: Source,
    content: ResultContent,
    at: float,
    *,
    late: bool = False,
    number: int | None = None,
    carried: Carried = NOTHING,
    returned: ReturnedText = NONE_RETURNED,
) -> Reading:
    """Return a part of a reading outside of an open call, as far as it says something new. `late` marks the result of a call
    of this task; other readings give no ground, since they may repeat anything. `number` is the number of earlier parts."""
    past_call, target, untrusted = source.past_call, source.target, source.untrusted
    if returned.is_untrusted and not untrusted:
        content = structs.replace(content, tokens=content.words)
    if past_call is not None and late:
        number = past_call.number
    elif number is None:
        number = state.number + 1
    is_foreign = untrusted or returned.is_untrusted
    room = MAX_RESULT_TOKENS if is_foreign or late else 0
    tokens, complete = _bound_words(state, number, content, room, carried, untrusted=is_foreign)
    fresh, whole = _fresh(state, content)
    touch = touch_of(target)
    return Reading(
        number=number,
        at=round(at, 3),
        audience=touch.audience,
        tenant=touch.tenant,
        environment=touch.environment,
        behind=touch.behind,
        trusted=not untrusted,
        sensitivity=source.sensitivity,
        call=None if past_call is None else past_call.call,
        late=late,
        mint=target.labels.effect is Effect.MINT,
        unknown=source.unknown,
        used=() if past_call is None else past_call.used,
        **shown_fields(fresh)._asdict(),
        tokens=pack(tokens),
        incomplete=not complete,
        lost=not (whole and content.complete) and target.audience not in state.lost,
        confirmed=() if is_foreign else _find_confirmed(state, content),
        sampled=content.sampled,
        tool=name_target(state, target),
        returned=returned.marks,
        foreign=returned.is_untrusted,
        words=pack(returned.confidential) if returned.confidential else b"",
    )


def changes_nothing(state: TaskState, event: Observed | Reading) -> bool:
    """Return whether folding the event would change nothing, so that it need not be written down."""
    if isinstance(event, Reading):
        untrusted, source, links, records, requested = not event.trusted, event.touch, b"", b"", 0
    else:
        reservation = open_call(state, event.call)
        untrusted, source = not reservation.trusted, reservation.touch
        links, records, requested = event.links, event.records, event.requested
    return not (
        event.tokens
        or event.credentials
        or event.lost
        or event.confirmed
        or event.returned
        or event.words
        or records
        or (event.sampled and not state.sampled)
        or links
        or requested
        or (untrusted and not set(source.reached) <= state.untrusted_systems)
        or (untrusted and event.incomplete and source.audience not in state.partial_sources)
        or higher(state.confidentiality, event.sensitivity) is not state.confidentiality
        or (event.sensitivity in CONFIDENTIAL and not source.systems <= state.confidential_systems)
    )


def _find_confirmed(state: TaskState, content: ResultContent) -> tuple[str, ...]:
    """Return the credentials of untrusted systems that a trusted result shows as credentials too."""
    known = {item.fingerprint: state.credentials.get(item.fingerprint) for item in content.sightings}
    return tuple(name for name, one in known.items() if one is not None and one.untrusted and not one.confirmed)


def _fresh(state: TaskState, content: ResultContent) -> tuple[tuple[ShownCredential, ...], bool]:
    """Return the credentials of a result that are new to the task, and whether all of them have room. Where a credential has
    no room, its mark has."""
    fresh: dict[str, ShownCredential] = {}
    complete = True
    for item in list_shown(content.sightings):
        marked = _reduce_to_mark(item)
        names = {item.fingerprint, item.fingerprint if marked is None else marked.fingerprint}
        if any(name in state.credentials or name in fresh for name in names):
            continue
        number = len(state.credentials) + len(fresh)
        kept = item if number < MAX_CREDENTIALS and _is_whole(item) else marked
        if kept is None or number >= MAX_CREDENTIALS + MAX_MARKED:
            complete = False
        else:
            fresh[kept.fingerprint] = kept
    return tuple(fresh.values()), complete


def _is_whole(item: ShownCredential) -> bool:
    """Return whether a credential was shown with its shingles, or is too short for any."""
    mark = mark_of(item.shingles)
    return mark is None or is_word_mark(mark) or len(item.shingles) > 1


def _reduce_to_mark(item: ShownCredential) -> ShownCredential | None:
    """Return a credential as its mark alone; `None` if it has no mark."""
    mark = mark_of(item.shingles)
    return None if mark is None else item._replace(fingerprint=name_of(mark), shingles=NO_DIGESTS)


def _fingerprints(content: CallContent) -> tuple[str, ...]:
    return tuple(dict.fromkeys(item.fingerprint for item in content.sightings))


def _find_source_results(state: TaskState, audience: str, tokens: frozenset[int], carried: Carried) -> tuple[int, ...]:
    """Return the untrusted results with data among the words; carried results have negative numbers. Data that goes back to
    its own system is not spread. Neither are words of the user or of a trusted source."""
    if state.sources <= {audience} and carried.sources <= {audience}:
        return ()
    index, earlier = state.tokens, carried.tokens
    words = tokens - state.trusted - carried.trusted
    own = {number for number in map(index.get, words) if number is not None}
    others = {number for number in map(earlier.get, words) if number is not None}
    return tuple(
        sorted(
            [number for number in own if state.results[number] != audience]
            + [-number for number in others if carried.results[number] != audience]
        )
    )


def _bound_words(
    state: TaskState, number: int, content: ResultContent, room: int, carried: Carried, *, untrusted: bool
) -> tuple[frozenset[int], bool]:
    """Return the new words of a result, as far as there is room, and whether the result held no more."""
    if not untrusted:
        fresh = content.tokens.difference(state.trusted, state.told_to_trusted, carried.told_to_trusted)
        told_apart = len(state.told_to_trusted) <= MAX_TOLD_TO_TRUSTED and not carried.told_overflow
        room = min(room, MAX_TRUSTED - len(state.trusted)) if told_apart else 0
        return smallest(fresh, room), content.complete
    fresh = content.tokens.difference(state.tokens).difference(state.trusted)
    if number not in state.results and len(state.results) >= MAX_RESULTS:
        room = 0
    kept = smallest(fresh, min(room, MAX_TOKENS - len(state.tokens)))
    return kept, content.complete and len(kept) == len(fresh)
