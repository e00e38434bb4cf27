"""Facts of a task for policy, and the words that can still change a fact. Pure: no I/O, no clock, no randomness.

A one-time code goes without a question to a system with an open request of this task. The code has to arrive after the
request. A planted code makes two codes, and a person is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypedDict

from msgspec import structs

from gateway.history.carried import NOTHING, is_unread, records_of
from gateway.history.reach import audiences_in_window, reach_of
from gateway.history.state import ENDLESS, MAX_LINKS, MAX_RESULTS, MAX_TOKENS, MAX_TRUSTED, higher
from gateway.model.content import Relevance
from gateway.model.facts import CredentialFact, CredentialOrigin, SessionFacts, SystemFact, TaskLabels
from gateway.model.target import Role

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from collections.abc import Set as AbstractSet
    from typing import TypeAlias

    from gateway.history.carried import Carried
    from gateway.history.state import KnownCredential, TaskState
    from gateway.model.caller import Principal
    from gateway.model.content import CallContent, Dictation, Sighting
    from gateway.model.target import Target


def is_requested(state: TaskState, sighting: Sighting, known: KnownCredential, audience: str) -> bool:
    """Return whether a call gives its system, `audience`, the one-time code of an open request.

    The code stands undisguised in an argument for a credential. Another system showed the code first, after the answer to
    the request. No other system waits, and no other code has come since. A code is good for one system, and a request for one
    code. The same code may go to its system again.
    """
    if sighting.role is not Role.CREDENTIAL or sighting.form != "raw" or known.origin != "result" or known.minted:
        return False
    if sighting.fingerprint in state.given_codes:
        return state.given_codes[sighting.fingerprint] == audience
    since = state.code_requests.get(audience)
    if since is None or not _is_after(known, since):
        return False
    return not _another_waits(state, known, audience) and not _another_came(state, sighting, known, audience, since)


def _is_after(known: KnownCredential, since: int) -> bool:
    return known.call is not None and known.call > since


def _another_waits(state: TaskState, known: KnownCredential, audience: str) -> bool:
    return any(
        other not in {audience, known.audience} and _is_after(known, since)
        for other, since in state.code_requests.items()
    )


def _another_came(state: TaskState, sighting: Sighting, known: KnownCredential, audience: str, since: int) -> bool:
    return any(
        name != sighting.fingerprint
        and other.one_time == known.one_time
        and other.audience != audience
        and name not in state.given_codes
        and _is_after(other, since)
        for name, other in state.credentials.items()
    )


if TYPE_CHECKING:
    Grounds: TypeAlias = tuple[AbstractSet[int], ...]
    """Sets of digests of values that have a source."""


def facts(
    state: TaskState,
    now: float,
    *,
    call: str | None = None,
    content: CallContent | None = None,
    depth: int | None = None,
    carried: Carried = NOTHING,
) -> SessionFacts:
    """Return the facts for a call that was just reserved, itself and all other open calls included.

    `call` is its id and `content` what its arguments hold; without them, the facts for a question about no call in
    particular. `depth` is the delegation depth plus aggregator hops, which the caller knows. What depends on content
    that was not looked at whole is unknown. `carried` is what earlier tasks have read.
    """
    whole = content if content is not None and content.complete else None
    reach = reach_of(tuple(state.touched))
    destinations, unnamed_destinations, own_destinations = _destination_counts(state)
    confidential = state.confidential_systems | carried.confidential_systems
    return SessionFacts(
        calls=state.settled + len(state.open),
        in_flight=len(state.open),
        audiences=reach.audiences,
        write_audiences=reach.written,
        assumed_write_audiences=reach.assumed,
        unnamed_systems=tuple(sorted(state.unnamed)) if state.unnamed else (),
        tenants=reach.tenants,
        environments=reach.environments,
        denials=state.denials,
        audiences_in_window=audiences_in_window(state, now),
        destinations=destinations,
        unnamed_destinations=unnamed_destinations,
        own_destinations=own_destinations,
        depth=depth,
        spread=_spread(state, carried),
        labels=TaskLabels(
            state.untrusted or carried.untrusted,
            state.confidentiality if carried is NOTHING else higher(state.confidentiality, carried.confidentiality),
        ),
        approvals_used=state.approvals,
        raises=None if call is None else dict(state.open[call].raises),
        approved=dict(state.approved),
        confidential_systems=tuple(SystemFact(*system) for system in sorted(confidential, key=repr))
        if confidential
        else (),
        **(_UNKNOWN_CONTENT if whole is None else _content_facts(state, call, whole, carried)),
    )


class _ContentFacts(TypedDict):
    """The facts that depend on the arguments of the call."""

    call_destinations: tuple[str, ...] | None
    known_destinations: tuple[str, ...]
    named_accounts: tuple[str, ...]
    credentials: tuple[CredentialFact, ...] | None
    ungrounded: tuple[str, ...] | None
    unread: tuple[str, ...]
    recorded: tuple[str, ...]
    dictated: Dictation | None
    followed: tuple[str, ...] | None
    unsourced: tuple[str, ...] | None
    call_own_destinations: int


_UNKNOWN_CONTENT: Final[_ContentFacts] = {
    "call_destinations": None,
    "known_destinations": (),
    "named_accounts": (),
    "credentials": None,
    "ungrounded": None,
    "unread": (),
    "recorded": (),
    "dictated": None,
    "followed": None,
    "unsourced": None,
    "call_own_destinations": 0,
}


def _content_facts(state: TaskState, call: str | None, whole: CallContent, carried: Carried) -> _ContentFacts:
    """Return the facts of arguments that were looked at whole. Most calls have none of the rarer contents, and enter no
    function for them."""
    credentials: tuple[CredentialFact, ...] | None = None
    if call is not None:
        credentials = _credentials(state, call, whole, carried)
    unsourced = None
    if call is not None and whole.unnamed is not None:
        unsourced = _find_unsourced(state, call, whole.unnamed, carried)
    return {
        "call_destinations": tuple(sorted(set(whole.destinations.values()))),
        "known_destinations": tuple(sorted(whole.known_destinations)),
        "named_accounts": tuple(sorted(whole.accounts)),
        "credentials": credentials,
        "ungrounded": _find_ungrounded(state, call, whole, carried) if whole.authority else (),
        "unread": _unread(state, call, whole, carried) if whole.pieces_of else (),
        "recorded": _find_recorded(state, call, whole, carried) if whole.places else (),
        "dictated": whole.dictated,
        "followed": _find_followed(state, whole) if whole.links else (),
        "unsourced": unsourced,
        "call_own_destinations": len(whole.inside - whole.named),
    }


def depth_of(principal: Principal, target: Target, above: Collection[str] = ()) -> int | None:
    """Agents and aggregators between the user and the systems that a call reaches; `None` if nobody knows how many.

    `above` are the agents of the tasks above. A task that was handed over has no chain of delegation in its token.
    """
    if target.aggregates == ():
        return None
    handed = len({*above}.difference([principal.id], [actor.id for actor in principal.delegation])) if above else 0
    return len(principal.delegation) + handed + (target.aggregates is not None) + target.is_agent


def _destination_counts(state: TaskState) -> tuple[int | None, int | None, int | None]:
    """Return the numbers of destinations outside of own domains, of the unnamed ones of these, and of those inside."""
    if state.uninspected_calls:
        return None, None, None
    if state.destinations_overflowed:
        return ENDLESS, ENDLESS, ENDLESS
    unnamed = state.destinations.keys() - state.named.keys()
    return len(state.destinations), len(unnamed), len(state.inside)


def _spread(state: TaskState, carried: Carried) -> int | None:
    """Return the width of the widest result, and for results that are not kept apart the widest possible."""
    if state.uninspected_calls:
        return None
    partial_sources = state.partial_sources | carried.partial_sources
    possible = max((len(state.partial_carried_to.keys() - {source}) for source in partial_sources), default=0)
    return max(possible, max(state.spread_histogram, default=0))


def _credentials(
    state: TaskState, call: str, content: CallContent, carried: Carried
) -> tuple[CredentialFact, ...] | None:
    """Return the facts of credentials: unknown as a whole if one that could not be kept may be in the call."""
    if content.unsure:
        return None
    number = state.open[call].number
    found: list[CredentialFact] = []
    for sighting in content.sightings:
        known = _find_known(state, sighting.fingerprint, carried)
        if sighting.handle is not None:
            found.append(_by_handle(sighting, sighting.handle, known))
        # What another system has shown first stays that system's, though it stands behind a handle of this one.
        if sighting.handle is None or (known is not None and known.audience not in {None, sighting.handle}):
            fact = _credential(sighting, known, content, state.presented.get(sighting.fingerprint, number), number)
            fact = fact if known is None else _with_kind(fact, sighting, known, state, call=call, carried=carried)
            found.append(structs.replace(fact, pointed_at=True) if _is_pointed_at(fact, known, content) else fact)
    return tuple(found)


def _with_kind(
    fact: CredentialFact, sighting: Sighting, known: KnownCredential, state: TaskState, *, call: str, carried: Carried
) -> CredentialFact:
    """Return a fact with what only some credentials are: a plain word, or a one-time code."""
    if known.one_time is not None:
        audience = state.open[call].audience
        carries_over = fact.fingerprint in carried.credentials
        fact = structs.replace(
            fact,
            one_time=True,
            requested=not carries_over and is_requested(state, sighting, known, audience),
        )
    return structs.replace(fact, plain_word=True) if _is_plain_word(state, sighting, known, carried) else fact


def _is_pointed_at(fact: CredentialFact, known: KnownCredential | None, content: CallContent) -> bool:
    """Return whether the goal names the source of a credential, or has the credential, and names the place of the call."""
    from_goal = fact.origin.kind == "user" or (known is not None and known.pointed and fact.shown_by is None)
    return content.to_named_place and from_goal


def _find_known(state: TaskState, fingerprint: str, carried: Carried) -> KnownCredential | None:
    """Return the origin of a credential. The first place seen stays, so an earlier task's goes first; the call that showed
    it is no call of this task."""
    earlier = carried.credentials.get(fingerprint)
    return state.credentials.get(fingerprint) if earlier is None else earlier._replace(call=None)


def _by_handle(sighting: Sighting, audience: str, known: KnownCredential | None) -> CredentialFact:
    """Return the credential behind a handle of this audience. For a credential without room in the history, assume the
    worst origin."""
    if known is None:
        origin = CredentialOrigin("result", audience)
        return CredentialFact.of(sighting, origin, chain_depth=ENDLESS, minted_in_task=True)
    call = known.call if known.audience == audience else None
    origin = CredentialOrigin("result", audience, call)
    return CredentialFact.of(sighting, origin, chain_depth=known.depth, minted_in_task=known.minted)


def _credential(
    sighting: Sighting, known: KnownCredential | None, content: CallContent, first: int, number: int
) -> CredentialFact:
    """Return the fact of a sighting. `first` is the number of the first call with it, `number` of the present call."""
    if sighting.shown_by is not None and (known is None or known.origin == "user"):
        # Whoever writes the goal of a task cannot make a credential of a system one of the user's by repeating it there.
        return CredentialFact.of(sighting, CredentialOrigin("result", sighting.shown_by))
    if known is None and _is_given(sighting, content):
        return CredentialFact.of(sighting, CredentialOrigin("user"))
    if known is None:
        return CredentialFact.of(sighting, CredentialOrigin("unknown", call=first if first < number else None))
    origin = CredentialOrigin(known.origin, known.audience, known.call)
    return CredentialFact.of(sighting, origin, chain_depth=known.depth, minted_in_task=known.minted)


def _is_plain_word(state: TaskState, sighting: Sighting, known: KnownCredential, carried: Carried) -> bool:
    """Return whether a value that a system named as a credential is a plain word for the task.

    The value has no secret's form, and this task did not make it. The goal has it, or another system gave it: an untrusted
    system before it was named, a trusted system at any time. Words that the task said first give no ground.
    """
    if sighting.word is None or not known.ordinary or known.origin != "result" or known.minted or known.confirmed:
        return False
    if sighting.in_goal:
        return True
    if sighting.word in state.unread_words or sighting.word in carried.unread_words:
        return False
    return (known.untrusted and sighting.word in state.trusted) or _was_read_before(
        state, sighting.word, known, carried
    )


def _was_read_before(state: TaskState, word: int, known: KnownCredential, carried: Carried) -> bool:
    """Return whether an untrusted result of another system had a word before the result that named it.

    Results after a call with more words than are kept do not count.
    """
    number = state.tokens.get(word)
    if number is None or number < 0 or known.call is None or carried.words_overflow:
        return False
    before = min(known.call, state.words_overflowed_at or known.call)
    return number < before and state.results[number] != known.audience


def _is_given(sighting: Sighting, content: CallContent) -> bool:
    """Return whether it is a whole argument for a credential, and the goal has it word for word. The use in the call
    shows that a word of the goal is a password; its form cannot."""
    return sighting.role is Role.CREDENTIAL and sighting.form == "raw" and sighting.pointer in content.grounded


def _find_ungrounded(state: TaskState, call: str | None, content: CallContent, carried: Carried) -> tuple[str, ...]:
    grounds = (state.trusted, state.endorsed, carried.trusted)
    recorded = _record_grounds(state, call, carried) if content.selects else grounds
    return tuple(
        sorted(
            pointer
            for pointer, digests in content.authority.items()
            if pointer not in content.grounded
            and not all(_is_in(recorded if pointer in content.selects else grounds, digest) for digest in digests)
        )
    )


def _record_grounds(state: TaskState, call: str | None, carried: Carried) -> Grounds:
    """Return what grounds a selected record: what grounds any value, and the records of the called system."""
    audience = None if call is None else state.open[call].audience
    return (state.trusted, state.endorsed, carried.trusted, *records_of(audience, state, carried))


def _is_in(grounds: Grounds, digest: int) -> bool:
    return any(digest in known for known in grounds)


def _find_unsourced(
    state: TaskState, call: str, unnamed: Mapping[str, frozenset[int]], carried: Carried
) -> tuple[str, ...]:
    """Return the pointers of values without a source, for a call with a declared lasting effect.

    Sources are the goal, the contract, the directory, trusted results and approvals. What the task itself made in the called
    system has one too.
    """
    grounds = (state.trusted, state.endorsed, carried.trusted)
    audience = state.open[call].audience
    return tuple(
        sorted(
            pointer
            for pointer, digests in unnamed.items()
            if not all(
                _is_in(grounds, digest) or _is_made_by_task(audience, digest, state, carried) for digest in digests
            )
        )
    )


def _is_made_by_task(audience: str, word: int, state: TaskState, carried: Carried) -> bool:
    """Return whether a system answered a change by the task with a word that the task had neither read nor said before.

    Such a word names what the task itself made. Results after a call with more words than are kept do not count.
    """
    number = state.tokens.get(word)
    if (
        number is None
        or word in state.unread_words
        or word in carried.unread_words
        or word in carried.tokens
        or carried.words_overflow
    ):
        return False
    return (
        number in state.made and state.results[number] == audience and number < (state.words_overflowed_at or ENDLESS)
    )


def _unread(state: TaskState, call: str | None, content: CallContent, carried: Carried) -> tuple[str, ...]:
    """Return the pointers of selected records of which each value stands in a record, or was certainly shown by no
    untrusted result."""
    grounds = _record_grounds(state, call, carried)
    return tuple(
        sorted(
            pointer
            for pointer, values in content.pieces_of.items()
            if all(
                value not in content.authority.get(pointer, ())
                or _is_in(grounds, value)
                or is_unread(state, pieces, carried)
                for value, pieces in values.items()
            )
        )
    )


def _find_recorded(state: TaskState, call: str | None, content: CallContent, carried: Carried) -> tuple[str, ...]:
    """Return the pointers of destinations inside the called system of which each value stands in a record."""
    grounds = _record_grounds(state, call, carried)
    return tuple(
        sorted(pointer for pointer, values in content.places.items() if all(_is_in(grounds, value) for value in values))
    )


def _find_followed(state: TaskState, content: CallContent) -> tuple[str, ...]:
    """Return the pointers of followed links. A link is followed once, whether or not the call before has ended.
    Where there are many to choose from, which one is read says something itself."""
    if len(state.links) > MAX_LINKS:
        return ()
    return tuple(sorted(pointer for pointer, link in content.links.items() if state.followed.get(link) == 1))


def relevance_of(state: TaskState, target: Target, carried: Carried = NOTHING) -> Relevance:
    """Return the words of a call by which a fact can change: only these are searched for.

    Words back to their own system are no spread, and most tasks read from one system after another. Later readings cannot
    be in arguments that have arrived.
    """
    if not state.sources <= {target.audience} or not carried.sources <= {target.audience}:
        words = "all"
    elif state.partial_sources or carried.partial_sources:
        words = "one"
    else:
        words = "none"
    trusted = state.trusted | carried.trusted if carried.trusted and words == "one" else state.trusted
    return Relevance(words, trusted, told=state.untrusted or carried.untrusted)


def keeps_words(state: TaskState, target: Target) -> bool:
    """Return whether the words of a coming result can be kept, or losing them is news. Full stays full."""
    if target.trust == "trusted":
        return len(state.trusted) < MAX_TRUSTED
    full = len(state.tokens) >= MAX_TOKENS or len(state.results) >= MAX_RESULTS
    return not full or target.audience not in state.partial_sources
