"""The fold over the events of a task. Pure: no I/O, no clock, no randomness.

`apply` changes the state that it is given, and returns it: a copy for each event would cost more than the event. Each
event takes time in proportion to its own size, whatever the length of the task.
"""

from __future__ import annotations

from gateway.history.events import (
    Ended,
    Endorsed,
    Event,
    Exposed,
    Observed,
    Opened,
    Passed,
    Read,
    Released,
    Reserved,
    Settled,
    Shown,
    Touch,
    shown_in,
    unpack,
)
from gateway.history.reach import ENDLESS
from gateway.history.state import (
    CONFIDENTIAL,
    MAX_CREDENTIALS,
    MAX_ENDORSED,
    MAX_MARKED,
    MAX_PRESENTED,
    MAX_TRUSTED,
    Grown,
    Key,
    KnownCredential,
    TaskState,
    higher,
    open_call,
    smallest,
)
from gateway.model.target import Sensitivity


def apply(state: TaskState, event: Event) -> TaskState:
    """The state after an event: the same object, changed. Raises `ValueError`, and changes nothing, for a call that is
    reserved twice, and for what happens to a call that is not open."""
    match event:
        case Reserved():
            reserve(state, event)
        case Passed() | Settled() | Released():
            _decide(state, event)
        case Exposed():
            _expose(state, event.touch, unpack(event.exposed))
        case Observed():
            observe(state, event)
        case Read():
            _read(state, event)
        case Opened():
            _open(state, event)
        case Endorsed():
            _endorse(state, event)
        case Ended():
            state.ended = event.how
    return state


def _decide(state: TaskState, event: Passed | Settled | Released) -> None:
    match event:
        case Passed():
            let_pass(state, event.call)
        case Settled():
            settle(state, event.call)
        case Released():
            _release(state, event)


def let_pass(state: TaskState, call: str) -> None:
    """Fold that an open call may go on. Raises `ValueError` for any other call."""
    passed = state.open.get(call) or open_call(state, call)
    state.undecided.end(passed)
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


def _open(state: TaskState, event: Opened) -> None:
    for shows in shown_in(event):
        _keep_credential(state, shows, KnownCredential("user"))
    known = smallest(frozenset(unpack(event.known)) - state.trusted, MAX_TRUSTED - len(state.trusted))
    state.trusted = _grown(state.trusted, known)


def reserve(state: TaskState, event: Reserved) -> None:
    """Fold the reservation of a call. Raises `ValueError` for a call that is open already."""
    if event.call in state.open:
        raise ValueError(f"the call {event.call} is open already")
    touch, audience = event.touch, event.audience
    state.open[event.call] = event
    state.undecided.begin(event, touch)
    state.number = max(state.number, event.number)
    state.touched[touch] = state.touched.get(touch, 0) + 1
    state.busy[audience] = state.busy.get(audience, 0) + 1
    for system in touch.behind:
        _add(state.busy, system)
    state.uninspected_calls += event.destinations is None
    state.destinations_overflowed += event.crowded
    state.off_goal_calls += event.own
    # Each of these is rare, so that a call without them enters no function for them.
    if event.destinations or event.inside or event.fed or event.flooded or event.links:
        _reach(state, event)
    if event.said or event.told or event.uttered or event.wordy:
        _say(state, event)
    if event.exposed or event.credentials:
        _present(state, event)


def _reach(state: TaskState, event: Reserved) -> None:
    """Count the destinations of a call, the results in its arguments, and the links that it follows."""
    for counts, digests in _counted_destinations(state, event):
        for digest in digests:
            _add(counts, digest)
    for number in event.fed:
        _feed(state, number, event.audience)
    if event.flooded:
        _add(state.flood, event.audience)
    for link in unpack(event.links):
        _add(state.followed, link)


def _present(state: TaskState, event: Reserved) -> None:
    """Count the credentials in a call, and the grams of foreign ones."""
    _expose(state, event.touch, unpack(event.exposed))
    for fingerprint in event.credentials:
        first = state.presented.get(fingerprint, event.number)
        if fingerprint in state.presented or len(state.presented) < MAX_PRESENTED:
            state.presented[fingerprint] = min(first, event.number)


def _counted_destinations(state: TaskState, event: Reserved) -> tuple[tuple[dict[int, int], tuple[int, ...]], ...]:
    outside = unpack(event.destinations or b"")
    return (state.destinations, outside), (state.named, event.named_outside), (state.inside, event.unnamed_inside)


def _say(state: TaskState, event: Reserved) -> None:
    for value in unpack(event.said):
        _add(state.said, value)
    for value in unpack(event.told):
        _add(state.told, value)
    for word in unpack(event.uttered):
        _add(state.uttered, word)
    if event.wordy:
        state.wordy = min(state.wordy or event.number, event.number)


def _release(state: TaskState, event: Released) -> None:
    taken = _close(state, event.call)
    audience, touch = taken.audience, taken.touch
    _take(state.touched, touch)
    state.uninspected_calls -= taken.destinations is None
    state.destinations_overflowed -= taken.crowded
    for counts, digests in _counted_destinations(state, taken):
        for digest in digests:
            _take(counts, digest)
    for number in taken.fed:
        _unfeed(state, number, audience)
    if taken.flooded:
        _take(state.flood, audience)
    state.off_goal_calls -= taken.own
    for link in unpack(taken.links):
        _take(state.followed, link)
    for value in unpack(taken.said):
        _take(state.said, value)
    for value in unpack(taken.told):
        _take(state.told, value)
    for word in unpack(taken.uttered):
        _take(state.uttered, word)
    _conceal(state, touch, unpack(taken.exposed))
    state.denials += event.denied


def _conceal(state: TaskState, touch: Touch, grams: tuple[int, ...]) -> None:
    """Take back what `_expose` noted."""
    for system in touch.reached if grams else ():
        counts = state.exposed[system]
        for digest in grams:
            _take(counts, digest)
        if not counts:
            del state.exposed[system]


def _expose(state: TaskState, touch: Touch, grams: tuple[int, ...]) -> None:
    for system in touch.reached if grams else ():
        counts = state.exposed.setdefault(system, {})
        for digest in grams:
            _add(counts, digest)


def settle(state: TaskState, call: str) -> None:
    """Fold the end of an open call. Raises `ValueError` for any other call."""
    done = _close(state, call)
    state.settled += 1
    at, audience = done.at, done.audience
    state.last[audience] = max(state.last.get(audience, at), at)
    for system in done.behind:
        state.last[system] = max(state.last.get(system, at), at)
    is_labelled = done.sensitivity is state.confidentiality and done.sensitivity not in CONFIDENTIAL
    if not is_labelled or not (done.trusted or state.untrusted):
        _label(state, done.touch, done.sensitivity, untrusted=not done.trusted)


def observe(state: TaskState, event: Observed) -> None:
    """Fold a part of an open call's result. Raises `ValueError` for any other call."""
    source = state.open.get(event.call) or open_call(state, event.call)
    audience, untrusted = source.audience, not source.trusted
    _label(state, source.touch, event.sensitivity, untrusted=untrusted)
    for shows in shown_in(event) if event.credentials else ():
        depth = _depth(state, source.credentials, shows.fingerprint)
        known = KnownCredential("result", audience, source.number, depth, source.mint, shows.ordinary, untrusted)
        _keep_credential(state, shows, known._replace(one_time=shows.one_time, pointed=source.pointed))
    _confirm(state, event.confirmed)
    if event.requested:
        state.code_requests.setdefault(audience, event.requested)
    if event.lost:
        _lose(state, audience)
    tokens = frozenset(unpack(event.tokens))
    state.kept[event.call] = state.kept.get(event.call, 0) + len(tokens)
    state.links = _grown(state.links, frozenset(unpack(event.links)))
    if source.write and untrusted and tokens:
        state.made = _grown(state.made, frozenset({source.number}))
    if event.records:
        state.records.setdefault(audience, set()).update(unpack(event.records))
    state.sampled |= event.sampled
    _keep_words(state, source.number, audience, tokens, untrusted=untrusted)
    if untrusted and event.incomplete:
        state.unkept = _grown(state.unkept, frozenset({audience}))


def _read(state: TaskState, event: Read) -> None:
    """Fold a reading. For a forgotten call, assume the worst: the call made the credential, after any others."""
    state.number = max(state.number, event.number)
    untrusted = not event.trusted
    _label(state, event.touch, event.sensitivity, untrusted=untrusted)
    for shows in shown_in(event) if event.credentials else ():
        depth = ENDLESS if event.unknown else _depth(state, event.used, shows.fingerprint)
        call = event.number if event.late else None
        minted = event.mint or event.unknown
        known = KnownCredential("result", event.audience, call, depth, minted, shows.ordinary, untrusted)
        _keep_credential(state, shows, known._replace(one_time=shows.one_time))
    _confirm(state, event.confirmed)
    if event.lost:
        _lose(state, event.audience)
    state.sampled |= event.sampled
    _keep_words(state, event.number, event.audience, frozenset(unpack(event.tokens)), untrusted=untrusted)
    if untrusted and event.incomplete:
        state.unkept = _grown(state.unkept, frozenset({event.audience}))


def _keep_words(state: TaskState, number: int, audience: str, tokens: frozenset[int], *, untrusted: bool) -> None:
    if not untrusted:
        state.trusted = _grown(state.trusted, tokens)
        return
    if tokens:
        state.results[number] = audience
        if audience not in state.sources:
            state.sources = _grown(state.sources, frozenset({audience}))
    for token in tokens:
        state.tokens.setdefault(token, number)


def _keep_credential(state: TaskState, shows: Shown, known: KnownCredential) -> None:
    """The first place seen stays."""
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
    state.untrusted |= untrusted
    state.confidentiality = higher(state.confidentiality, sensitivity)
    if sensitivity in CONFIDENTIAL:
        state.confidential_systems = _grown(state.confidential_systems, source.systems)


def _grown(have: Grown[Key], more: frozenset[Key]) -> Grown[Key]:
    """Add members to a set, and return the set. A frozen set is copied once, since a copy for each event would cost more than the event."""
    if not more:
        return have
    if isinstance(have, set):
        have |= more
        return have
    return set(have | more)


def _close(state: TaskState, call: str) -> Reserved:
    reservation = state.open.get(call) or open_call(state, call)
    del state.open[call]
    if call in state.undecided.calls:
        state.undecided.end(reservation)
    state.kept.pop(call, None)
    # As `_take` does, in place: this runs for each call.
    busy, audience = state.busy, reservation.audience
    left = busy[audience] - 1
    if left:
        busy[audience] = left
    else:
        del busy[audience]
    for system in reservation.behind:
        _take(state.busy, system)
    return reservation


def _feed(state: TaskState, number: int, audience: str) -> None:
    fed = state.carried_to.setdefault(number, {})
    before = len(fed)
    _add(fed, audience)
    _widen(state, before, len(fed))


def _unfeed(state: TaskState, number: int, audience: str) -> None:
    fed = state.carried_to[number]
    before = len(fed)
    _take(fed, audience)
    _widen(state, before, len(fed))
    if not fed:
        del state.carried_to[number]


def _widen(state: TaskState, before: int, after: int) -> None:
    if before == after:
        return
    if before:
        _take(state.spread_histogram, before)
    if after:
        _add(state.spread_histogram, after)


def _add(counts: dict[Key, int], key: Key) -> None:
    counts[key] = counts.get(key, 0) + 1


def _take(counts: dict[Key, int], key: Key) -> None:
    left = counts[key] - 1
    if left:
        counts[key] = left
    else:
        del counts[key]
