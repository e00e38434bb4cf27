"""What is found in the arguments of a call, and in a result. Keyed digests in the place of values."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import msgspec
from msgspec import Struct

from gateway.model.target import Role


@dataclass(frozen=True, slots=True)
class Sighting:
    """A credential seen in arguments or in a result: which one, never what it is.

    `fingerprint` is keyed, per deployment. `pointer` is where in the arguments (RFC 6901), empty for a result. `form` is
    how it was written: `raw`, or the decodings it took (`base64`, `percent+base64`, `split`, …). `shingles` are keyed
    digests of its pieces, by which it is known again when it is cut up. `ordinary`: ordinary text may have the same value
    in it, so that meeting it beside arguments proves nothing. `handle`: a handle stands for it, which is of this
    audience. `shown_by`: a result of this audience has shown it to another task of the caller.
    """

    fingerprint: str
    detector: str
    pointer: str = ""
    role: Role | None = None
    form: str = "raw"
    shingles: frozenset[int] = field(default=frozenset(), repr=False, compare=False)
    ordinary: bool = field(default=False, compare=False)
    handle: str | None = None
    shown_by: str | None = None


class CallContent(Struct, frozen=True):
    """What the arguments of a call hold, as history keeps it: keyed digests in the place of values."""

    destinations: Mapping[int, str] = msgspec.field(default_factory=dict[int, str])
    """Digest of each normalised destination → the destination itself, which is used for this decision only."""
    sightings: tuple[Sighting, ...] = ()
    authority: Mapping[str, frozenset[int]] = msgspec.field(default_factory=dict[str, frozenset[int]])
    """Pointer of each destination, command, credential and amount argument → digests of its values; pointer of each
    content argument with links → digests of their hosts."""
    grounded: frozenset[str] = frozenset()
    """The pointers in `authority` whose values stand in the task's goal or contract."""
    tokens: frozenset[int] = frozenset()
    """Digests of the distinctive words in all arguments, as far as they are wanted (`Relevance.words`)."""
    complete: bool = True
    """False when the arguments were too much to be looked at whole."""
    links: Mapping[str, int] = msgspec.field(default_factory=dict[str, int])
    """Pointer of the call's only argument → digest of the web address that it is, if it is one that may be followed."""
    own: bool = False
    """Whether the call may change something, or has a text that the goal does not name."""
    directed: bool = False
    """Whether the call reads something untrusted by what the goal names."""
    said: frozenset[int] = frozenset()
    """Digests of the values that the call tells a trusted system, as a result of that system would give them."""
    unsure: bool = False
    """Whether the arguments may hold a credential of another system that could not be kept."""


class Relevance(NamedTuple):
    """Which words of a call its task has a use for; the others need not be looked for.

    `words`: all of them, one that is not in `trusted` if there is one, or none. `told`: whether the values that the call
    tells a trusted system are of use. `trusted` may grow while the call is looked at.
    """

    words: Literal["all", "one", "none"] = "all"
    trusted: AbstractSet[int] = frozenset()
    told: bool = True


EVERYTHING = Relevance()
"""Of a task of which nothing is known."""


class ResultContent(Struct, frozen=True):
    """What a part of a result held. Folded before that part reaches the caller. `complete` is false when there was more
    in it than could be told apart; `links` are the digests of the web addresses that stand in it whole."""

    sightings: tuple[Sighting, ...] = ()
    tokens: frozenset[int] = frozenset()
    complete: bool = True
    links: frozenset[int] = frozenset()
