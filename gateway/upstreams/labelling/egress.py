"""Proposals of the label `egress`: from words, hints and the roles of arguments. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from gateway.model.target import Effect, Role
from gateway.upstreams.labelling.argument_roles import ArgumentRole, takes_text
from gateway.upstreams.labelling.saying import Proposed, Saying
from gateway.upstreams.labelling.words import plain_words_of, word_list

_VERBS: Final = word_list("egress", "verbs")
_THINGS: Final = word_list("egress", "things")
_FIRST: Final = word_list("egress", "first")
_SHARED: Final = word_list("egress", "shared")
_PLACES: Final = word_list("egress", "places")
_OWNERS: Final = word_list("egress", "owners")
_ACCESS: Final = word_list("egress", "access")
_TOLD: Final = word_list("egress", "told")
_HANDS: Final = word_list("egress", "hands")
_GOES: Final = word_list("egress", "goes")
_ACTS: Final = word_list("egress", "acts")
_COMMITS: Final = word_list("records", "verbs")


def sends(saying: Saying) -> str | None:
    """Return the word that says that a tool sends something, such as `mail`, also for several; `None` without such a word.

    A deletion of a message sends nothing.
    """
    if saying.is_deletion:
        return None
    clear = saying.clear_verbs
    known = _VERBS | (_THINGS if not clear or any(verb.adds for verb in clear) else frozenset[str]())
    if saying.words and saying.words[0] in _FIRST:
        return saying.words[0]
    reads = bool(clear) and clear[0].effect is Effect.READ
    # `list_comments` reads what others said, and `create_comments` says several things.
    said = saying.words if reads else [word if word in known else word.removesuffix("s") for word in saying.words]
    return next((word for word in said if word in known), None)


def commits(saying: Saying) -> bool:
    """Return whether the name commits money or people, or changes a record."""
    first = saying.verbs[0] if saying.verbs else None
    return (first is None or first.effect is not Effect.READ) and not _COMMITS.isdisjoint(saying.words)


def propose_egress(saying: Saying, effect: Effect, roles: Mapping[str, ArgumentRole]) -> Proposed[bool]:
    """Return whether data leaves, with the first reason for it."""
    if reached := next((found for found in roles.values() if found.reaches), None):
        return Proposed(value=True, because=f"{reached.because}, and a place gets what its address carries")
    if effect is Effect.READ and _goes_to_a_page(saying):
        return Proposed(value=True, because="a browser goes to another page")
    if effect is Effect.READ:
        return Proposed(value=False, because="it reads, and names no place")
    if effect is Effect.EXEC:
        return Proposed(value=True, because="code may send anything anywhere")
    if because := next(_ways_out(saying, roles), None):
        return Proposed(value=True, because=because)
    return Proposed(value=False, because="it names no receiver, and no place that outsiders read")


def _goes_to_a_page(saying: Saying) -> bool:
    words = {*saying.words, *plain_words_of(saying.description)}
    return not _HANDS.isdisjoint(words) and not _GOES.isdisjoint(words)


def _ways_out(saying: Saying, roles: Mapping[str, ArgumentRole]) -> Iterator[str]:
    """Yield each reason why data leaves by a tool that changes something."""
    if (verb := sends(saying)) is not None:
        yield f"the name has `{verb}`"
    yield from (found.because for found in roles.values() if found.gets_data)
    if shared := next((word for word in saying.words if word in _SHARED), None):
        yield f"participants are told of the `{shared}`"
    if hands := min(_HANDS.intersection(saying.words), default=None):
        yield f"`{hands}` acts on pages of others"
    if saying.verb is not None and saying.verb.word in _ACTS:
        yield f"to `{saying.verb.word}` acts on a page of others"
    if saying.is_deletion or not takes_text(saying.schema):
        return
    yield from _places(saying, roles)
    if told := next((name for name in saying.arguments if name in _TOLD), None):
        yield f"people are told of `{told}`"
    is_opaque = saying.verb is None or saying.verb.is_umbrella
    opens = saying.hints.get("openWorldHint")
    if opens is True and ("openWorldHint" not in saying.uniform or is_opaque):
        yield "annotation openWorldHint: true"
    if opens is not False and is_opaque and saying.first_verb_of_description in {None, saying.verb}:
        yield "no known verb says that the data stays"


def _places(saying: Saying, roles: Mapping[str, ArgumentRole]) -> Iterator[str]:
    """Yield each reason why outsiders may read the place that the tool changes."""
    writes = not roles or any(found.role is Role.CONTENT for found in roles.values())
    if writes and (place := min(_PLACES & {*saying.words, *plain_words_of(saying.description)}, default=None)):
        yield f"outsiders may read `{place}`"
    if owner := next((name for name in saying.arguments if name in _OWNERS), None):
        yield f"`{owner}` may be somebody else"
    if access := min(_ACCESS.intersection(saying.words), default=None):
        yield f"who may read changes by `{access}`"
