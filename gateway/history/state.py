"""The fold over the events of a task. Pure: no I/O, no clock, no randomness.

`reserved`, `observed` and `read` make the events that depend on what was before; `apply` folds them, those and all others.
An event says all that the fold needs, so that folding the journal gives the state that was. `apply` changes the state
that it is given, and returns it: a copy for each event would cost more than the event.

Each event takes time in proportion to its own size, whatever the length of the task. What is kept is bounded; beyond a
bound a fact becomes unknown, or counts too much. It never forgets:

- A word belongs to the first untrusted result that held it. When no more words or results can be kept apart, each later
  call counts as fed by the rest (`flood`).
- More destinations than `MAX_DESTINATIONS` count as `ENDLESS`.
- When a credential that a result revealed cannot be kept, or was not told apart from others (`lost`), the origin of those not kept is unknown as a fact.
- Words of trusted results and endorsements beyond the bound are not kept: more is asked, not less.

The sets of systems, tenants and environments need no bound: there are no more than the configuration has.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from heapq import nsmallest
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias, TypeVar

from gateway.history.events import (
    NO_DIGESTS,
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
    shown,
    touch,
)
from gateway.model.target import Effect, Sensitivity

if TYPE_CHECKING:
    from gateway.model.call import Call, Source
    from gateway.model.content import CallContent, ResultContent

MAX_TOKENS: Final = 32_768
"""Words of untrusted results kept apart: some eighty results of 4 KB. Each takes about 130 bytes."""
MAX_RESULTS: Final = 4_096
"""Untrusted results kept apart."""
MAX_RESULT_TOKENS: Final = 2_048
"""Words of one result: the journal writes them down, and this makes a line of 22 KB."""
MAX_TRUSTED: Final = 16_384
"""Words of trusted results, of the goal and of the contract."""
MAX_SAID: Final = 4_096
"""Values told to trusted systems that are kept apart. One more says that there are too many."""
MAX_ENDORSED: Final = 4_096
"""A person would have to approve as many calls."""
MAX_DESTINATIONS: Final = 1_024
"""Far above each limit that a policy can mean."""
ENDLESS: Final = 2**53 - 1
"""The largest whole number that each JSON reader reads alike (RFC 8259 section 6): above any limit."""
MAX_CREDENTIALS: Final = 1_024
"""Each takes up to 7 KB in memory, with 64 shingles, and 700 bytes in the journal."""
MAX_LINKS: Final = 6
"""Links that a task may be pointed at before none of them is followed any more. Which of them are read, each once, in which
order and with which of two schemes, is one of 75,973 ways: 16 bits, less than a code of six digits."""
MAX_PRESENTED: Final = 1_024
"""Credentials of unknown origin. For those beyond it only the call that first had them is not known."""

_RANK: Final = {sensitivity: rank for rank, sensitivity in enumerate(Sensitivity)}
_Key = TypeVar("_Key")
Grown: TypeAlias = set[_Key] | frozenset[_Key]
"""A set that is made when it first has something in it: most tasks never need one, and an empty one takes 216 bytes."""


class Known(NamedTuple):
    """A credential whose origin is known: where it was first seen. `depth` is fixed then: in a graph with cycles a
    longest path would grow with each round. `ordinary`: ordinary text may have the same value in it."""

    origin: Literal["result", "user"]
    audience: str | None = None
    call: int | None = None
    depth: int = 0
    minted: bool = False
    ordinary: bool = False


@dataclass(slots=True)
class TaskState:
    """Counters are counts of the calls, open or settled, that have what they count. Read by `facts`."""

    number: int = 0
    """The highest number of a call or a reading so far."""
    settled: int = 0
    denials: int = 0
    approvals: int = 0
    ended: Literal["completed", "cancelled"] | None = None

    open: dict[str, Reserved] = field(default_factory=dict[str, Reserved])
    touched: dict[Touch, int] = field(default_factory=dict[Touch, int])
    busy: dict[str, int] = field(default_factory=dict[str, int])
    """Audience → open calls."""
    last: dict[str, float] = field(default_factory=dict[str, float])
    """Audience → when the last settled call to it began."""

    destinations: dict[int, int] = field(default_factory=dict[int, int])
    crowded: int = 0
    blind: int = 0
    """Calls whose arguments were not looked at whole."""

    credentials: dict[str, Known] = field(default_factory=dict[str, Known])
    shingles: dict[str, frozenset[int]] = field(default_factory=dict[str, frozenset[int]])
    """Known credential → digests of its parts."""
    lost: bool = False
    presented: dict[str, int] = field(default_factory=dict[str, int])
    """Credential of unknown origin → the first call that had it."""

    trusted: Grown[int] = NO_DIGESTS
    said: dict[int, int] = field(default_factory=dict[int, int])
    """Value → calls that told it to a trusted system after something untrusted was read: who repeats it gives no ground."""
    endorsed: Grown[int] = NO_DIGESTS
    tokens: dict[int, int] = field(default_factory=dict[int, int])
    """Word → the first untrusted result that held it."""
    results: dict[int, str] = field(default_factory=dict[int, str])
    """Untrusted result with words in `tokens` → its audience."""
    kept: dict[str, int] = field(default_factory=dict[str, int])
    """Open call → words of its result kept so far."""
    fed: dict[int, dict[str, int]] = field(default_factory=dict[int, dict[str, int]])
    """Untrusted result → audience that its data went to → calls."""
    widths: dict[int, int] = field(default_factory=dict[int, int])
    """Number of audiences → results that went to so many."""
    flood: dict[str, int] = field(default_factory=dict[str, int])
    """Audience → calls after a result that is not kept whole."""
    unkept: Grown[str] = frozenset()
    """Audiences of the results that are not kept whole."""

    links: Grown[int] = NO_DIGESTS
    """Links in untrusted results that the goal pointed at, while the task had said nothing of its own that could have come
    back; one more than `MAX_LINKS` says that there are too many."""
    followed: dict[int, int] = field(default_factory=dict[int, int])
    """Link → calls that follow it."""
    spoken: int = 0
    """Calls that said something which the goal does not."""

    untrusted: bool = False
    confidentiality: Sensitivity = Sensitivity.PUBLIC


# --- events that depend on what was before -----------------------------------------------------------


def reserved(state: TaskState, call_id: str, call: Call, content: CallContent | None, at: float) -> Reserved:
    """The reservation of a call. Without content, or with incomplete content, what depends on it becomes unknown."""
    target = call.target
    touched = touch(call)
    whole = content is not None and content.complete
    digests = tuple(sorted(content.destinations)) if content is not None and whole else None
    links = () if content is None else tuple(sorted(state.links.intersection(content.links.values())))
    said = NO_DIGESTS if content is None or not state.untrusted else content.said - state.trusted
    crowded = digests is not None and len(state.destinations) + len(digests) > MAX_DESTINATIONS
    return Reserved(
        call=call_id,
        number=state.number + 1,
        at=round(at, 3),
        touch=touched,
        mint=target.labels.effect is Effect.MINT,
        untrusted=target.trust == "untrusted",
        sensitivity=target.labels.sensitivity,
        destinations=() if crowded else digests,
        crowded=crowded,
        credentials=_fingerprints(content),
        fed=_fed(state, touched.audience, content.tokens if content is not None else NO_DIGESTS),
        flooded=bool(state.unkept) and not (content is not None and whole and content.tokens <= state.trusted),
        links=links,
        own=(content is None or content.own) and not links,
        directed=content is not None and content.directed,
        said=tuple(sorted(_smallest(said, MAX_SAID + 1 - len(state.said)))),
    )


def observed(
    state: TaskState, call_id: str, content: ResultContent, label: Sensitivity = Sensitivity.PUBLIC
) -> Observed:
    """A part of a result, as far as it says something new. `label` can raise its sensitivity above the tool's.

    Raises `ValueError` for a call that is not open.
    """
    reservation = _open(state, call_id)
    room = MAX_RESULT_TOKENS - state.kept.get(call_id, 0)
    tokens, complete = _bounded(state, reservation.number, content, room, untrusted=reservation.untrusted)
    links = content.links - state.links if reservation.directed and not state.spoken else NO_DIGESTS
    links = _smallest(links, MAX_LINKS + 1 - len(state.links))
    sensitivity = _higher(reservation.sensitivity, label)
    lost = not content.complete and not state.lost
    return Observed(call_id, _fresh(state, content), tokens, complete, sensitivity, lost=lost, links=links)


def read(
    state: TaskState,
    source: Source,
    content: ResultContent,
    at: float,
    *,
    late: bool = False,
    number: int | None = None,
) -> Read:
    """A part of what is read outside of an open call, as far as it says something new. `late`: it is the result of a call
    of this task; nothing else gives ground, since it may repeat anything. `number` is that of the parts before."""
    made, target, untrusted = source.made, source.target, source.untrusted
    if made is not None and late:
        number = made.number
    elif number is None:
        number = state.number + 1
    room = MAX_RESULT_TOKENS if untrusted or late else 0
    tokens, complete = _bounded(state, number, content, room, untrusted=untrusted)
    return Read(
        number,
        round(at, 3),
        target.audience,
        untrusted,
        source.sensitivity,
        call=None if made is None else made.call,
        late=late,
        mint=target.labels.effect is Effect.MINT,
        unknown=source.unknown,
        used=() if made is None else made.used,
        credentials=_fresh(state, content),
        tokens=tokens,
        complete=complete,
        lost=not content.complete and not state.lost,
    )


def says_nothing(state: TaskState, event: Observed | Read) -> bool:
    """Whether folding the event would change nothing, so that it need not be written down."""
    if isinstance(event, Read):
        untrusted, audience, links = event.untrusted, event.audience, NO_DIGESTS
    else:
        reservation = _open(state, event.call)
        untrusted, audience, links = reservation.untrusted, reservation.touch.audience, event.links
    return not (
        event.tokens
        or event.credentials
        or event.lost
        or links
        or (untrusted and not (state.untrusted and (event.complete or audience in state.unkept)))
        or _RANK[event.sensitivity] > _RANK[state.confidentiality]
    )


def _fresh(state: TaskState, content: ResultContent) -> tuple[Shown, ...]:
    fresh = tuple(item for item in shown(content.sightings) if item.fingerprint not in state.credentials)
    return fresh[: MAX_CREDENTIALS - len(state.credentials) + 1]  # one too many says that not all could be kept


def _fingerprints(content: CallContent | None) -> tuple[str, ...]:
    if content is None or not content.sightings:
        return ()
    return tuple(dict.fromkeys(item.fingerprint for item in content.sightings))


def _fed(state: TaskState, audience: str, tokens: frozenset[int]) -> tuple[int, ...]:
    """The untrusted results whose data is among the words. Data that goes back to where it came from is not spread,
    nor are words that the user or a trusted source wrote too."""
    index, trusted = state.tokens, state.trusted
    numbers = {index[token] for token in index.keys() & tokens if token not in trusted}
    return tuple(sorted(number for number in numbers if state.results[number] != audience))


def _bounded(
    state: TaskState, number: int, content: ResultContent, room: int, *, untrusted: bool
) -> tuple[frozenset[int], bool]:
    """The new words of a result for which there is room, and whether that is all that it held."""
    if not untrusted:
        fresh = content.tokens.difference(state.trusted, state.said)
        room = min(room, MAX_TRUSTED - len(state.trusted)) if len(state.said) <= MAX_SAID else 0
        return _smallest(fresh, room), content.complete
    fresh = content.tokens.difference(state.tokens).difference(state.trusted)
    if number not in state.results and len(state.results) >= MAX_RESULTS:
        room = 0
    kept = _smallest(fresh, min(room, MAX_TOKENS - len(state.tokens)))
    return kept, content.complete and len(kept) == len(fresh)


def _grown(have: Grown[_Key], more: frozenset[_Key]) -> Grown[_Key]:
    """With more in it: the same set, unless it was none yet. A copy for each event would cost more than the event."""
    if not more:
        return have
    if isinstance(have, set):
        have |= more
        return have
    return set(have | more)


def _smallest(tokens: frozenset[int], room: int) -> frozenset[int]:
    return tokens if len(tokens) <= room else frozenset(nsmallest(room, tokens))


# --- the fold ----------------------------------------------------------------------------------------


def apply(state: TaskState, event: Event) -> TaskState:
    """The state after an event: the same object, changed. Raises `ValueError`, and changes nothing, for a call that is
    reserved twice, and for what happens to a call that is not open."""
    match event:
        case Reserved():
            _reserve(state, event)
        case Observed():
            _observe(state, event)
        case Read():
            _read(state, event)
        case Settled():
            _settle(state, event)
        case Released():
            _release(state, event)
        case Opened():
            for shows in event.credentials:
                _keep_credential(state, shows, Known("user"))
            known = _smallest(event.known - state.trusted, MAX_TRUSTED - len(state.trusted))
            state.trusted = _grown(state.trusted, known)
        case Endorsed():
            state.approvals += 1
            values = _smallest(event.values - state.endorsed, MAX_ENDORSED - len(state.endorsed))
            state.endorsed = _grown(state.endorsed, values)
        case Ended():
            state.ended = event.how
    return state


def _reserve(state: TaskState, event: Reserved) -> None:
    if event.call in state.open:
        raise ValueError(f"the call {event.call} is open already")
    audience = event.touch.audience
    state.open[event.call] = event
    state.number = max(state.number, event.number)
    _add(state.touched, event.touch)
    _add(state.busy, audience)
    state.blind += event.destinations is None
    state.crowded += event.crowded
    for digest in event.destinations or ():
        _add(state.destinations, digest)
    for number in event.fed:
        _feed(state, number, audience)
    if event.flooded:
        _add(state.flood, audience)
    state.spoken += event.own
    for link in event.links:
        _add(state.followed, link)
    for value in event.said:
        _add(state.said, value)
    for fingerprint in event.credentials:
        first = state.presented.get(fingerprint, event.number)
        if fingerprint in state.presented or len(state.presented) < MAX_PRESENTED:
            state.presented[fingerprint] = min(first, event.number)


def _release(state: TaskState, event: Released) -> None:
    taken = _close(state, event.call)
    audience = taken.touch.audience
    _take(state.touched, taken.touch)
    state.blind -= taken.destinations is None
    state.crowded -= taken.crowded
    for digest in taken.destinations or ():
        _take(state.destinations, digest)
    for number in taken.fed:
        _unfeed(state, number, audience)
    if taken.flooded:
        _take(state.flood, audience)
    state.spoken -= taken.own
    for link in taken.links:
        _take(state.followed, link)
    for value in taken.said:
        _take(state.said, value)
    state.denials += event.denied


def _settle(state: TaskState, event: Settled) -> None:
    done = _close(state, event.call)
    audience = done.touch.audience
    state.settled += 1
    state.last[audience] = max(state.last.get(audience, done.at), done.at)
    _label(state, done.sensitivity, untrusted=done.untrusted)


def _observe(state: TaskState, event: Observed) -> None:
    source = _open(state, event.call)
    audience = source.touch.audience
    _label(state, event.sensitivity, untrusted=source.untrusted)
    for shows in event.credentials:
        depth = _depth(state, source.credentials, shows.fingerprint)
        known = Known("result", audience, source.number, depth, source.mint, shows.ordinary)
        _keep_credential(state, shows, known)
    state.lost |= event.lost
    state.kept[event.call] = state.kept.get(event.call, 0) + len(event.tokens)
    state.links = _grown(state.links, event.links)
    _keep_words(state, source.number, audience, event, untrusted=source.untrusted)


def _read(state: TaskState, event: Read) -> None:
    """Of a call that nobody remembers the worst is assumed: that it made the credential, with any others before it."""
    state.number = max(state.number, event.number)
    _label(state, event.sensitivity, untrusted=event.untrusted)
    for shows in event.credentials:
        depth = ENDLESS if event.unknown else _depth(state, event.used, shows.fingerprint)
        call = event.number if event.late else None
        known = Known("result", event.audience, call, depth, event.mint or event.unknown, shows.ordinary)
        _keep_credential(state, shows, known)
    state.lost |= event.lost
    _keep_words(state, event.number, event.audience, event, untrusted=event.untrusted)


def _keep_words(state: TaskState, number: int, audience: str, event: Observed | Read, *, untrusted: bool) -> None:
    if not untrusted:
        state.trusted = _grown(state.trusted, event.tokens)
        return
    if event.tokens:
        state.results[number] = audience
    for token in event.tokens:
        state.tokens.setdefault(token, number)
    if not event.complete:
        state.unkept = _grown(state.unkept, frozenset({audience}))


def _keep_credential(state: TaskState, shows: Shown, known: Known) -> None:
    """The first place seen stays."""
    if shows.fingerprint in state.credentials:
        return
    if len(state.credentials) < MAX_CREDENTIALS:
        state.credentials[shows.fingerprint] = known
        state.shingles[shows.fingerprint] = shows.shingles
    else:
        state.lost = True


def _depth(state: TaskState, used: tuple[str, ...], revealed: str) -> int:
    """One more than that of any other credential that was used to get it. One of unknown origin begins a chain."""
    others = (state.credentials.get(fingerprint) for fingerprint in used if fingerprint != revealed)
    return max((min(known.depth + 1, ENDLESS) if known is not None else 1 for known in others), default=0)


def _label(state: TaskState, sensitivity: Sensitivity, *, untrusted: bool) -> None:
    state.untrusted |= untrusted
    state.confidentiality = _higher(state.confidentiality, sensitivity)


def _higher(one: Sensitivity, other: Sensitivity) -> Sensitivity:
    return one if _RANK[one] >= _RANK[other] else other


def _open(state: TaskState, call: str) -> Reserved:
    try:
        return state.open[call]
    except KeyError:
        raise ValueError(f"no open call {call}") from None


def _close(state: TaskState, call: str) -> Reserved:
    reservation = _open(state, call)
    del state.open[call]
    state.kept.pop(call, None)
    _take(state.busy, reservation.touch.audience)
    return reservation


def _feed(state: TaskState, number: int, audience: str) -> None:
    fed = state.fed.setdefault(number, {})
    before = len(fed)
    _add(fed, audience)
    _widen(state, before, len(fed))


def _unfeed(state: TaskState, number: int, audience: str) -> None:
    fed = state.fed[number]
    before = len(fed)
    _take(fed, audience)
    _widen(state, before, len(fed))
    if not fed:
        del state.fed[number]


def _widen(state: TaskState, before: int, after: int) -> None:
    if before == after:
        return
    if before:
        _take(state.widths, before)
    if after:
        _add(state.widths, after)


def _add(counts: dict[_Key, int], key: _Key) -> None:
    counts[key] = counts.get(key, 0) + 1


def _take(counts: dict[_Key, int], key: _Key) -> None:
    left = counts[key] - 1
    if left:
        counts[key] = left
    else:
        del counts[key]
