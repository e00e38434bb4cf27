"""The fold over the events of a task. Pure: no I/O, no clock, no randomness.

`apply` changes the state that it is given, and returns it: a copy for each event would cost more than the event. Each
event takes time in proportion to its own size, whatever the length of the task.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec import structs

from gateway.history.declared import tables
from gateway.history.events import (
    NO_DIGESTS,
    UNTRUSTED,
    Confirmed,
    Endorsed,
    Event,
    Exposed,
    JobMark,
    NewLabels,
    Observed,
    Passed,
    Reading,
    Relabelled,
    Released,
    Reserved,
    Settled,
    ShownCredential,
    TaskEnded,
    TaskOpened,
    Touch,
    list_ends,
    shared_touch,
    shown_in,
    unpack,
)
from gateway.history.state import (
    CONFIDENTIAL,
    ENDLESS,
    MAX_CREDENTIALS,
    MAX_ENDORSED,
    MAX_MARKED,
    MAX_PRESENTED,
    MAX_READS,
    MAX_TRUSTED,
    MAX_UNKNOWN,
    Key,
    KnownCredential,
    LazySet,
    TaskState,
    UnknownCall,
    UntrustedRead,
    higher,
    open_call,
    smallest,
)
from gateway.model.target import Sensitivity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


def apply(state: TaskState, event: Event) -> TaskState:
    """Return the state after an event: the same object, changed. Raises `ValueError`, and changes nothing, for a
    call that is reserved twice, and for what happens to a call that is not open."""
    _FOLDS[type(event)](state, event)
    return state


def _let_pass(state: TaskState, event: Passed) -> None:
    """Fold that an open call may go on. Raises `ValueError` for any other call."""
    passed = open_call(state, event.call)
    if event.call in state.undecided.calls:
        _end_decision(state, passed)
    if passed.credentials:
        _give_codes(state, passed)


def _give_codes(state: TaskState, passed: Reserved) -> None:
    """Note the one-time codes in a call for its system, and end the request of the system."""
    audience = passed.audience
    for fingerprint in passed.credentials:
        known = state.credentials.get(fingerprint)
        if known is None or known.one_time is None or known.audience in {None, audience}:
            continue
        if fingerprint not in state.given_codes:
            state.given_codes[fingerprint] = audience
            state.code_requests.pop(audience, None)


def _endorse(state: TaskState, event: Endorsed) -> None:
    state.approvals += 1
    for name, number in event.limits.items():
        state.approved[name] = max(number, state.approved.get(name, 0))
    values = smallest(frozenset(unpack(event.values)) - state.endorsed, MAX_ENDORSED - len(state.endorsed))
    state.endorsed = _grown(state.endorsed, values)


def _open(state: TaskState, event: TaskOpened) -> None:
    for shows in shown_in(event):
        _keep_credential(state, shows, KnownCredential("user"))
    known = smallest(frozenset(unpack(event.known)) - state.trusted, MAX_TRUSTED - len(state.trusted))
    state.trusted = _grown(state.trusted, known)


def _reserve(state: TaskState, event: Reserved) -> None:
    """Fold the reservation of a call. Raises `ValueError` for a call that is open already."""
    if event.call in state.open:
        raise ValueError(f"the call {event.call} is open already")
    audience, undecided = event.audience, state.undecided
    touch = event.touch
    state.open[event.call] = event
    undecided.calls[event.call] = None
    _shift(undecided.touched, (touch,), 1)
    state.number = max(state.number, event.number)
    _shift(state.touched, (touch,), 1)
    if event.tool:
        _shift(state.used.setdefault(event.tool, {}), (touch,), 1)
    _shift(state.busy, (audience, *event.behind), 1)
    state.uninspected_calls += event.destinations is None
    state.destinations_overflowed += event.destinations_overflow
    state.off_goal_calls += event.own
    _count_reach(state, event, 1)
    _count_undecided(state, event, 1)
    _count_words(state, event, 1)
    if event.unnamed:
        _shift(state.unnamed, event.unnamed, 1)
    if event.words_overflow:
        state.words_overflowed_at = min(state.words_overflowed_at or event.number, event.number)
    if event.exposed:
        _count_exposed(state, touch, event.exposed, 1)
    if event.credentials:
        _present(state, event)
    if event.inherited:
        _inherit(state, event.inherited)
    if event.facts:
        tables.reserve(state.declared, event.call, event.at, tables.of_owner(event.facts, ""))


def _inherit(state: TaskState, marks: Iterable[JobMark]) -> None:
    """Label the task by readings of another task of the job, or of the writer of returning text. A refusal takes no mark back."""
    for mark in marks:
        is_untrusted = mark.label == UNTRUSTED
        touch = shared_touch(mark.audience, False, mark.tenant, mark.environment)  # noqa: FBT003 - cached by position
        _label(state, touch, Sensitivity.PUBLIC if is_untrusted else Sensitivity(mark.label), untrusted=is_untrusted)
    state.inherited += marks


def _release(state: TaskState, event: Released) -> None:
    """Take back the marks of a reserved call: all that `_reserve` counted, with the other sign."""
    taken = _close(state, event)
    _shift(state.touched, (taken.touch,), -1)
    if taken.tool:
        _forget_use(state, taken)
    state.uninspected_calls -= taken.destinations is None
    state.destinations_overflowed -= taken.destinations_overflow
    state.off_goal_calls -= taken.own
    _count_reach(state, taken, -1)
    _count_words(state, taken, -1)
    if taken.unnamed:
        _shift(state.unnamed, taken.unnamed, -1)
    if taken.exposed:
        _count_exposed(state, taken.touch, taken.exposed, -1)
    state.denials += event.denied


def _forget_use(state: TaskState, taken: Reserved) -> None:
    """Take back the use of a target by a refused call."""
    touches = state.used[taken.tool]
    _shift(touches, (taken.touch,), -1)
    if not touches:
        del state.used[taken.tool]


def _count_reach(state: TaskState, event: Reserved, step: int) -> None:
    """Count the destinations of a call, the results in its arguments, and the links that it follows."""
    if event.destinations:
        _shift(state.destinations, unpack(event.destinations), step)
        _shift(state.named, event.named_outside, step)
    if event.inside:
        _shift(state.inside, event.unnamed_inside, step)
    if event.links:
        _shift(state.followed, unpack(event.links), step)
    if event.has_partial_source:
        _shift(state.partial_carried_to, (event.audience,), step)
    for number in event.source_results:
        _count_spread(state, number, event.audience, step)


def _count_spread(state: TaskState, number: int, audience: str, step: int) -> None:
    """Count that a call carried data of a result to a system."""
    reached = state.carried_to.setdefault(number, {})
    before = len(reached)
    _shift(reached, (audience,), step)
    after = len(reached)
    if before != after:
        _shift(state.spread_histogram, (before,) if before else (), -1)
        _shift(state.spread_histogram, (after,) if after else (), 1)
    if not reached:
        del state.carried_to[number]


def _count_words(state: TaskState, event: Reserved, step: int) -> None:
    """Count the values and words that a call told."""
    for counts, words in (
        (state.told_to_trusted, event.told_to_trusted),
        (state.unrecorded, event.unrecorded),
        (state.unread_words, event.unread_words),
    ):
        if words:
            _shift(counts, unpack(words), step)


def _count_exposed(state: TaskState, touch: Touch, grams: bytes, step: int) -> None:
    """Count the grams of foreign credentials that a message carried to each of its systems."""
    for system in touch.reached if grams else ():
        counts = state.exposed.setdefault(system, {})
        _shift(counts, unpack(grams), step)
        if not counts:
            del state.exposed[system]


def _count_undecided(state: TaskState, event: Reserved, step: int) -> None:
    """Count the destinations and the results of a call under decision. Most calls reach nothing but their systems."""
    undecided, audience = state.undecided, event.audience
    if event.destinations:
        _shift(undecided.destinations, unpack(event.destinations), step)
    if event.inside:
        _shift(undecided.inside, event.unnamed_inside, step)
    if event.source_results:
        _shift(undecided.carried_to, [(number, audience) for number in event.source_results], step)
    if event.has_partial_source:
        _shift(undecided.partial_carried_to, (audience,), step)


def _end_decision(state: TaskState, event: Reserved) -> None:
    """Stop counting a call as under decision: it passed or ended."""
    undecided = state.undecided
    del undecided.calls[event.call]
    _shift(undecided.touched, (event.touch,), -1)
    _count_undecided(state, event, -1)


def _present(state: TaskState, event: Reserved) -> None:
    """Note the first call with each credential."""
    for fingerprint in event.credentials:
        first = state.presented.get(fingerprint, event.number)
        if fingerprint in state.presented or len(state.presented) < MAX_PRESENTED:
            state.presented[fingerprint] = min(first, event.number)


def _settle(state: TaskState, event: Settled) -> None:
    """Fold the end of an open call. Raises `ValueError` for any other call."""
    done = _close(state, event)
    state.settled += 1
    if event.end == "unknown":
        state.unknown[event.call] = UnknownCall(done.at, done.facts)
        if len(state.unknown) > MAX_UNKNOWN:
            del state.unknown[next(iter(state.unknown))]
    at, audience = done.at, done.audience
    state.last[audience] = max(state.last.get(audience, at), at)
    for system in done.behind:
        state.last[system] = max(state.last.get(system, at), at)
    _label(state, done.touch, done.sensitivity, untrusted=not done.trusted)
    if not done.trusted:
        _note_read(state, done.number, UntrustedRead(done.call, done.tool, audience, at))


def _note_read(state: TaskState, number: int, read: UntrustedRead) -> None:
    """Keep the call of an untrusted result for people, among the latest of them."""
    reads = state.reads
    reads.setdefault(number, read)
    if len(reads) > MAX_READS:
        del reads[next(iter(reads))]


def _confirm_end(state: TaskState, event: Confirmed) -> None:
    """Fold how a call with an unknown outcome ended after all. Raises `ValueError` for any other call."""
    if (call := state.unknown.pop(event.call, None)) is None:
        raise ValueError(f"no call {event.call} with an unknown outcome")
    tables.correct(state.declared, event.call, call.at, tables.of_owner(call.facts, ""), event.end)


def _observe(state: TaskState, event: Observed) -> None:
    """Fold a part of an open call's result. Raises `ValueError` for any other call."""
    source = open_call(state, event.call)
    audience, untrusted = source.audience, event.foreign or not source.trusted
    _label(state, source.touch, event.sensitivity, untrusted=not source.trusted)
    _inherit(state, event.returned)
    for shows in shown_in(event) if event.credentials else ():
        depth = _depth(state, source.credentials, shows.fingerprint)
        known = KnownCredential("result", audience, source.number, depth, source.mint, shows.ordinary, untrusted)
        _keep_credential(state, shows, known._replace(one_time=shows.one_time, pointed=source.pointed))
    _confirm(state, event.confirmed)
    if event.requested:
        state.code_requests.setdefault(audience, event.requested)
    if event.lost:
        _lose(state, audience)
    state.kept[event.call] = state.kept.get(event.call, 0) + len(event.tokens) // 8
    state.links = _grown(state.links, frozenset(unpack(event.links)))
    if source.write and untrusted and event.tokens:
        state.made = _grown(state.made, frozenset({source.number}))
    if event.records:
        state.records.setdefault(audience, set()).update(unpack(event.records))
    _keep_words(state, source.number, audience, event, untrusted=untrusted)


def _read(state: TaskState, event: Reading) -> None:
    """Fold a reading. For a forgotten call, assume the worst: the call made the credential, after any others."""
    state.number = max(state.number, event.number)
    untrusted = event.foreign or not event.trusted
    if event.tool:
        state.used.setdefault(event.tool, {}).setdefault(event.touch, 0)
    _label(state, event.touch, event.sensitivity, untrusted=not event.trusted)
    _inherit(state, event.returned)
    if not event.trusted:
        _note_read(state, event.number, UntrustedRead(event.call, event.tool, event.audience, event.at))
    for shows in shown_in(event) if event.credentials else ():
        depth = ENDLESS if event.unknown else _depth(state, event.used, shows.fingerprint)
        call = event.number if event.late else None
        minted = event.mint or event.unknown
        known = KnownCredential("result", event.audience, call, depth, minted, shows.ordinary, untrusted)
        _keep_credential(state, shows, known._replace(one_time=shows.one_time))
    _confirm(state, event.confirmed)
    if event.lost:
        _lose(state, event.audience)
    _keep_words(state, event.number, event.audience, event, untrusted=untrusted)


def _keep_words(state: TaskState, number: int, audience: str, event: Observed | Reading, *, untrusted: bool) -> None:
    tokens = frozenset(unpack(event.tokens))
    state.sampled |= event.sampled
    if untrusted and event.incomplete:
        state.partial_sources = _grown(state.partial_sources, frozenset({audience}))
    if not untrusted:
        state.trusted = _grown(state.trusted, tokens)
        return
    if tokens:
        state.results[number] = audience
        if audience not in state.sources:
            state.sources = _grown(state.sources, frozenset({audience}))
    for token in tokens:
        state.tokens.setdefault(token, number)


def _keep_credential(state: TaskState, shows: ShownCredential, known: KnownCredential) -> None:
    """Keep a credential; the first place seen stays."""
    if shows.fingerprint in state.credentials:
        return
    if len(state.credentials) < MAX_CREDENTIALS + MAX_MARKED:
        state.credentials[shows.fingerprint] = known
        state.shingles[shows.fingerprint] = shows.shingles
    elif known.audience is not None:
        _lose(state, known.audience)


def _lose(state: TaskState, audience: str) -> None:
    if audience not in state.lost:
        state.lost = _grown(state.lost, frozenset({audience}))


def _confirm(state: TaskState, fingerprints: tuple[str, ...]) -> None:
    for fingerprint in fingerprints:
        if (known := state.credentials.get(fingerprint)) is not None:
            state.credentials[fingerprint] = known._replace(confirmed=True)


def _depth(state: TaskState, used: tuple[str, ...], revealed: str) -> int:
    """Return the greatest depth of the used credentials plus one. A credential of unknown origin begins a chain."""
    others = (state.credentials.get(fingerprint) for fingerprint in used if fingerprint != revealed)
    return max((min(known.depth + 1, ENDLESS) if known is not None else 1 for known in others), default=0)


def _label(state: TaskState, source: Touch, sensitivity: Sensitivity, *, untrusted: bool) -> None:
    if untrusted:
        state.untrusted_systems = _grown(state.untrusted_systems, frozenset(source.reached))
    state.confidentiality = higher(state.confidentiality, sensitivity)
    if sensitivity in CONFIDENTIAL:
        state.confidential_systems = _grown(state.confidential_systems, source.systems)


# --- labels that change ------------------------------------------------------------------------------


def _relabel(state: TaskState, event: Relabelled) -> None:
    """Judge anew what the task did with relabelled targets. A second fold of the same event changes nothing."""
    for tool, labels in event.tools.items():
        touches = state.used.get(tool)
        if touches is None:
            continue
        for touch in tuple(touches):
            if labels.untrusted or labels.sensitivity is not Sensitivity.PUBLIC:
                _label(state, touch, labels.sensitivity, untrusted=labels.untrusted)
            if labels.untrusted:
                _distrust(state, touch)
        _relabel_open(state, tool, labels)
        if labels.write is not None:
            _move_touches(state, touches, write=labels.write, assumed=labels.assumed)
    written = {system for touch in state.touched if touch.write for system in touch.reached}
    state.unnamed = {system: calls for system, calls in state.unnamed.items() if system in written}


def _distrust(state: TaskState, touch: Touch) -> None:
    """Take all known words for words of untrusted results: the state does not say where each word stood."""
    state.trusted = NO_DIGESTS
    state.partial_sources = _grown(state.partial_sources, frozenset({touch.audience}))


def _move_touches(state: TaskState, touches: dict[Touch, int], *, write: bool, assumed: bool) -> None:
    """Count the calls of a target as writes, or as reads."""
    for touch, calls in tuple(touches.items()):
        moved = touch._replace(write=write, assumed=assumed)
        if moved == touch:
            continue
        del touches[touch]
        touches[moved] = touches.get(moved, 0) + calls
        if calls:
            _shift(state.touched, (touch,), -calls)
            _shift(state.touched, (moved,), calls)


def _relabel_open(state: TaskState, tool: str, labels: NewLabels) -> None:
    """Give the open calls of a target its new labels: their results count by these."""
    for call, before in tuple(state.open.items()):
        if before.tool != tool:
            continue
        after = structs.replace(
            before,
            sensitivity=higher(before.sensitivity, labels.sensitivity),
            trusted=before.trusted and not labels.untrusted,
        )
        if labels.write is not None:
            after = structs.replace(after, write=labels.write, assumed=labels.assumed)
        if call in state.undecided.calls and after.touch != before.touch:
            _shift(state.undecided.touched, (before.touch,), -1)
            _shift(state.undecided.touched, (after.touch,), 1)
        if before.unnamed and not after.write:
            _shift(state.unnamed, before.unnamed, -1)
            after = structs.replace(after, unnamed=())
        state.open[call] = after


def _grown(have: LazySet[Key], more: frozenset[Key]) -> LazySet[Key]:
    """Add members to a set, and return the set. A frozen set is copied once, since a copy for each event would cost more than the event."""
    if not more:
        return have
    if isinstance(have, set):
        have |= more
        return have
    return set(have | more)


def _close(state: TaskState, event: Released | Settled) -> Reserved:
    call, reservation = event.call, open_call(state, event.call)
    del state.open[call]
    if call in state.undecided.calls:
        _end_decision(state, reservation)
    state.kept.pop(call, None)
    _shift(state.busy, (reservation.audience, *reservation.behind), -1)
    if reservation.facts:
        own = tables.of_owner(reservation.facts, "")
        tables.close(state.declared, call, reservation.at, own, list_ends(event))
    return reservation


def _shift(counts: dict[Key, int], keys: Iterable[Key], step: int) -> None:
    """Count keys in (1) or out (-1). A count that falls to zero leaves nothing behind."""
    for key in keys:
        left = counts.get(key, 0) + step
        if left > 0:
            counts[key] = left
        else:
            del counts[key]


def _expose(state: TaskState, event: Exposed) -> None:
    _count_exposed(state, event.touch, event.exposed, 1)


def _end(state: TaskState, event: TaskEnded) -> None:
    state.ended = event.how


_FOLDS: Final[Mapping[type[Event], Callable[[TaskState, Any], None]]] = {
    Reserved: _reserve,
    Passed: _let_pass,
    Settled: _settle,
    Confirmed: _confirm_end,
    Released: _release,
    Exposed: _expose,
    Observed: _observe,
    Reading: _read,
    TaskOpened: _open,
    Relabelled: _relabel,
    Endorsed: _endorse,
    TaskEnded: _end,
}
