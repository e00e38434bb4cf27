"""The content of a call's arguments and of a result, with keyed digests in the place of values."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple, TypeAlias

from msgspec import Struct

from gateway.model.target import Role

OneTime: TypeAlias = Literal["code", "link"]
Dictation: TypeAlias = Literal["quotes", "words"]
"""How the goal has all that a call says: contents between quotation marks, or each value anywhere."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """A credential in arguments or in a result, without its value.

    `fingerprint` is keyed, per deployment. `pointer` is the place in the arguments (RFC 6901), empty for a result. `form` is
    `raw`, or names the decodings (`base64`, `percent+base64`, `split`, …). `shingles` are keyed digests of pieces, for
    finding a cut value again. `ordinary`: other text may have the same value, so a match beside arguments proves nothing.
    `handle`: the argument has a handle of this audience for the credential. `shown_by`: a result of this audience has
    shown the credential to another task of the caller. `word` is the keyed digest of an undisguised ordinary value.
    `in_goal`: the goal has this word.
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
    word: int | None = field(default=None, compare=False)
    in_goal: bool = field(default=False, compare=False)


ONE_TIME: Final[Mapping[str, OneTime]] = {"one-time-code": "code", "magic-link": "link"}
"""Detectors of credentials that are good for one login."""


class CredentialPiece(NamedTuple):
    """A part of a known credential in a call: its fingerprint, all its shingles, and the grams found here. `shown_by`
    is a system that has shown the credential to another task of the caller, if the called system has not."""

    fingerprint: str
    shingles: frozenset[int]
    grams: frozenset[int]
    shown_by: str | None = None


Pieces: TypeAlias = Mapping[int, frozenset[int] | None]
"""Digest of a value → digests of the parts by which it would be known in a result; `None` if it is too common for that."""


class CallContent(Struct, frozen=True):
    """The content of a call's arguments for history, with keyed digests in the place of values."""

    destinations: Mapping[int, str] = {}
    """Digest of each normalised destination → the destination itself, which is used for this decision only."""
    sightings: tuple[Sighting, ...] = ()
    authority: Mapping[str, frozenset[int]] = {}
    """Pointer of each destination, command, credential and amount argument → digests of its values; pointer of each
    content argument with links → digests of their hosts."""
    grounded: frozenset[str] = frozenset()
    """The pointers in `authority` whose values stand in the task's goal or contract, or in the operator's directory."""
    known_destinations: frozenset[str] = frozenset()
    """Those of `destinations` that the operator's directory has."""
    accounts: frozenset[str] = frozenset()
    """Names in the arguments of accounts that the task's goal gives to log in as, in lower case."""
    tokens: frozenset[int] = frozenset()
    """Digests of the distinctive words in all arguments, as far as they are wanted (`Relevance.words`)."""
    complete: bool = True
    """False when the arguments were too much to be looked at whole."""
    links: Mapping[str, int] = {}
    """Pointer of the call's only argument → digest of the web address that it is, if it is one that may be followed."""
    has_off_goal_text: bool = False
    """Whether the call may change something, or has a text that the goal does not name."""
    pointed: bool = False
    """Whether the call only reads, by texts that the goal names."""
    to_named_place: bool = False
    """Whether the call has a credential, and the goal names each record that the call selects."""
    follows_goal: bool = False
    """Whether the call reads something untrusted by what the goal names."""
    words: frozenset[int] | None = None
    """Digests of the distinctive words in all arguments; `None` for more than are kept."""
    told_values: frozenset[int] = frozenset()
    """Digests of the values that the call tells a trusted system, as a result of that system would give them."""
    unsure: bool = False
    """Whether the arguments may hold a credential of another system that could not be kept."""
    pieces: tuple[CredentialPiece, ...] = ()
    """Parts of credentials that are not here whole."""
    exposed: tuple[int, ...] = ()
    """The grams of foreign credentials that the call would carry to its system, in ascending order."""
    named: frozenset[int] = frozenset()
    """Those of `destinations` that the goal or the contract names."""
    named_systems: frozenset[str] = frozenset()
    """The called system and those behind it, as far as the goal or the contract names them. Reads name none."""
    inside: frozenset[int] = frozenset()
    """Those of `destinations` in the operator's own domains."""
    unnamed: Mapping[str, frozenset[int]] | None = None
    """Pointer of each argument without a role of authority → digests of its values that neither goal, contract nor
    directory name; `None` for a call whose effect the contract does not declare."""
    selects: frozenset[str] = frozenset()
    """The pointers in `authority` that name records."""
    pieces_of: Mapping[str, Pieces] = {}
    """Pointer in `selects` → digest of each of its values → its parts."""
    places: Mapping[str, frozenset[int]] = {}
    """Pointer in `authority` of each destination inside the called system → digests of its values as a record has them."""
    dictated: Dictation | None = None
    """How the goal has all values of the call; `None` if it lacks some."""
    told: Pieces = {}
    """Digest of each value in the arguments that the goal does not name → its parts; if records matter."""


class Relevance(NamedTuple):
    """The words of a call of use to its task; no others are searched for. `words`: all of them, words outside of
    `trusted`, or none. `told`: whether the values sent to a trusted system are of use. `trusted` may grow during the
    inspection."""

    words: Literal["all", "one", "none"] = "all"
    trusted: AbstractSet[int] = frozenset()
    told: bool = True


EVERYTHING = Relevance()
"""Of a task of which nothing is known."""


class ResultContent(Struct, frozen=True):
    """Findings of a part of a result, folded before the part reaches the caller.

    `complete` is false for a part with too many findings to tell apart. `links` are digests of the whole web addresses
    in the part. `requests_code`: the system has sent a one-time code. `records` are the digests of values in records
    with a word of the goal. `sampled`: an untrusted result had too many words to keep. `words` are the distinctive words of
    all parts so far, where text may return. `confidential`: an agent labels its answer so.
    """

    sightings: tuple[Sighting, ...] = ()
    tokens: frozenset[int] = frozenset()
    complete: bool = True
    links: frozenset[int] = frozenset()
    requests_code: bool = False
    records: frozenset[int] = frozenset()
    sampled: bool = False
    words: frozenset[int] = frozenset()
    confidential: bool = False
