"""The content of a call's arguments for history: destinations, authority-bearing values, and carried data. Pure. Limits
below bound its time and memory for any arguments."""

from __future__ import annotations

import heapq
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations, permutations
from typing import Final, NamedTuple, Protocol, cast

from gateway.credentials.calls import CredentialIndex
from gateway.credentials.encoded_text import decoded
from gateway.credentials.finding import NOTHING, Finding, Inspection, Known
from gateway.credentials.ordinary import is_ordinary
from gateway.destinations import links as followable_links
from gateway.destinations.directory import EMPTY, Directory
from gateway.destinations.find import MAX_TEXT, links, listed, texts
from gateway.destinations.normalise import Destination, folded, normalise
from gateway.destinations.own_domains import is_inside
from gateway.inspection.role_values import at
from gateway.json.walk import Leaves, leaves
from gateway.model.call import Call
from gateway.model.caller import Principal
from gateway.model.content import EVERYTHING, CallContent, CredentialPiece, Pieces, Relevance, Sighting
from gateway.model.target import Effect, Labels, Role
from gateway.model.task import Contract
from gateway.model.wire import Json, JsonObject
from gateway.text_cache import short_text_cache
from gateway.words import words as text_words
from gateway.words.declared_effects import unnamed_values
from gateway.words.dictation import dictation
from gateway.words.grounds import Grounds, grounds
from gateway.words.own_words import OwnParts, foreign, identity_of, parts_of_texts
from gateway.words.records import record_pieces, told_values
from gateway.words.words import digest, encoded, mentions, value_words

MAX_DESTINATIONS: Final = 1_000
"""Destinations of one call that are told apart: far above any limit on them."""
MAX_VALUES: Final = 1_000
"""Values of one argument that are looked up in a goal."""
MAX_CHARACTERS: Final = 262_144
"""Characters of all arguments whose words are compared with results."""
MAX_WORDS: Final = 4_096
"""Characters of arguments whose words are looked for whatever is wanted of them."""
_SHORTEST_WORD: Final = 6
"""Characters of a named value. Shorter ones are codes."""
MAX_TOKENS: Final = 1_024
"""Words of one call that are kept: those with the smallest digests, so that nobody without the key can choose which,
and so that two texts with the same words keep the same."""
BEGINNINGS: Final = (64, 256)
"""Characters in which a word is looked for first, and then, where one is enough."""
MAX_LOOKED_UP: Final = 32
"""Values of a call for which it is asked whether the goal names them all."""
_MEMBER: Final = re.compile(r"[A-Za-z_-]{1,32}")
"""The name of a parameter. Any other may be a text that somebody chose."""

_LONGEST_PART: Final = 256
"""Characters of one part of a name that stands in two arguments."""
_PARTED: Final = 6
"""Arguments that are tried as parts of one name, each with each."""
_AUTHORITY: Final = frozenset({Role.DESTINATION, Role.COMMAND, Role.CREDENTIAL, Role.AMOUNT, Role.CONTENT, Role.RECORD})
MAX_SAID: Final = 65_536
"""Characters that are looked through for the values which a call tells a trusted system: a few tenths of a second."""
_TOO_MANY_VALUES: Final = range(8_192)
"""More values than history keeps apart: they stand for all that there are."""
_TOO_MANY: Final = "\0 more links than are told apart"
"""Stands for them. Nothing that is trusted has this word."""


_NONE: Final[frozenset[int]] = frozenset()


class ArgumentDetector(Protocol):
    """A detector of credentials: by their form, and, given the credentials that a task has seen, these again in any disguise."""

    def word_of(self, fingerprint: str, text: str, /) -> str | None:
        """Return the word of a text that has a fingerprint."""
        ...

    def inspect_leaves(
        self, walked: Leaves, roles: Mapping[str, Role], known: Known | CredentialIndex | None = None, /
    ) -> Inspection:
        """Return the credentials in arguments."""
        ...


class _ShownCredentials(NamedTuple):
    """The credentials in a call. `complete` is false if the search ended early."""

    sightings: tuple[Sighting, ...] = ()
    complete: bool = True
    pieces: tuple[CredentialPiece, ...] = ()


class _Words(NamedTuple):
    """Digests of a call's foreign words, of all words if the call is short, and of words told to a trusted system."""

    tokens: frozenset[int]
    words: frozenset[int] | None
    said: frozenset[int]


def analyse(
    call: Call,
    *,
    key: bytes,
    goal: str | None,
    contract: Contract | None,
    detector: ArgumentDetector | None = None,
    known: Known | CredentialIndex | None = None,
    relevance: Relevance = EVERYTHING,
    directory: Directory = EMPTY,
    caller: Principal | None = None,
    own_domains: tuple[str, ...] = (),
    records: bool = False,
) -> CallContent:
    """Return the content of `call`.

    All digests have the deployment's `key`. `goal` and `contract` are of the task. `known` has the credentials that the
    task has seen, or `None` for none. `relevance` says which words matter. `directory` and `own_domains` are the
    operator's. `caller` makes the call. `records`: the deployment has tools that select records.
    """
    given = grounds(goal, None if contract is None else contract.destinations, directory)
    labels, walked = call.target.labels, leaves(call.arguments)
    shown = _NO_CREDENTIALS
    if detector is not None and (found := detector.inspect_leaves(walked, labels.roles, known)) is not NOTHING:
        shown = _shown(call, found, detector, given, key)
    authority = _authority(call, given, key, own_domains) if labels.roles else _NO_AUTHORITY
    selects = _with_role(Role.RECORD, authority, labels) if authority.digests else frozenset[str]()
    link = followable_links.sole_argument(call) if labels.roles else None
    named: bool | None = False
    if labels.effect is Effect.READ and (given.caseless or not walked.found or not walked.found[0].is_text):
        named = _named(call.arguments, given)
    text, whole = ("\n".join(walked.texts), True) if walked.complete else _text(call.arguments)
    own = () if relevance.words == "none" else _own_parts(given, directory, caller, own_domains)
    words = _words(text, relevance, key, own, tells=relevance.told and call.target.trust == "trusted")
    return CallContent(
        destinations=authority.destinations,
        sightings=shown.sightings,
        authority=authority.digests,
        grounded=frozenset(authority.grounded),
        known_destinations=frozenset(authority.known),
        accounts=_accounts(given, text) if given.accounts else given.accounts,
        tokens=words.tokens,
        complete=authority.complete and whole and shown.complete,
        links={} if link is None else {link[0]: digest(link[1], key)},
        has_off_goal_text=named is False,
        pointed=named is True,
        to_named_place=bool(shown.sightings) and _names_place(call, given),
        follows_goal=named is True and followable_links.may_be_followed(call, goal),
        words=words.words,
        told_values=words.said,
        pieces=shown.pieces,
        named=frozenset(authority.named),
        inside=frozenset(authority.inside),
        unnamed=None if contract is None else unnamed_values(call, contract, given, key),
        selects=selects,
        pieces_of=_pieces_of(call, selects - authority.grounded, key) if selects else {},
        places=_places(call, authority, given, key) if authority.digests else {},
        dictated=None if goal is None or labels.effect is Effect.READ else dictation(call, given),
        told=told_values(call.arguments, given, key) if records and relevance.told else {},
    )


def _pieces_of(call: Call, pointers: frozenset[str], key: bytes) -> Mapping[str, Pieces]:
    return {pointer: record_pieces(at(call.arguments, pointer), key) for pointer in pointers}


def _own_parts(
    given: Grounds, directory: Directory, caller: Principal | None, own_domains: tuple[str, ...]
) -> OwnParts:
    """Return the parts of words that the user, the caller's identity and the operator gave."""
    identity = parts_of_texts((*own_domains, *(() if caller is None else identity_of(caller))))
    return (given.parts, identity, directory.parts)


def _places(call: Call, authority: _AuthorityValues, given: Grounds, key: bytes) -> Mapping[str, frozenset[int]]:
    """Return the destinations of a call by which nothing leaves, in the spelling of records."""
    labels = call.target.labels
    if labels.egress is not False or labels.effect not in {Effect.WRITE, Effect.DESTRUCTIVE} or not authority.complete:
        return {}
    found: dict[str, frozenset[int]] = {}
    for pointer in _with_role(Role.DESTINATION, authority, labels) - authority.grounded:
        values = {text for text in texts(at(call.arguments, pointer)) if text.strip()}
        unnamed = [folded(text) for text in values if not given.grounds_value(text, Role.DESTINATION, MAX_VALUES)]
        found[pointer] = text_words.digests(map(encoded, unnamed), key)
    return found


def _with_role(role: Role, authority: _AuthorityValues, labels: Labels) -> frozenset[str]:
    """Return the pointers of authority-bearing values with a role of their own."""
    return frozenset(pointer for pointer in authority.digests if labels.roles.get(pointer) is role)


def _shown(call: Call, found: Inspection, detector: ArgumentDetector, given: Grounds, key: bytes) -> _ShownCredentials:
    if not found.findings:
        return _ShownCredentials((), not found.incomplete, found.pieces)
    told = _sightings(found.findings, call.arguments)
    sightings = tuple(_with_word(item, call.arguments, detector, given, key) for item in told)
    return _ShownCredentials(sightings, not found.incomplete, found.pieces)


def _words(text: str, relevance: Relevance, key: bytes, own: OwnParts, *, tells: bool) -> _Words:
    tokens = _NONE if relevance.words == "none" else _enough(text, relevance, key, own)
    encoded = decoded(text) if tokens is None or tells else ""
    said: set[bytes] | None = None
    if tokens is None or len(text) <= MAX_WORDS:
        said = text_words.distinctive(text)
        if encoded:
            said |= text_words.distinctive(encoded)
    if tokens is None:
        tokens = sampled(text_words.digests(foreign(said or (), own), key))
    words = None if said is None else text_words.digests(said, key)
    return _Words(tokens, words, _said(text, encoded, key) if tells else _NONE)


def _accounts(given: Grounds, text: str) -> frozenset[str]:
    """Return the accounts that the goal gives to log in as, as far as a text has them."""
    lowered = folded(text)
    return frozenset(account for account in given.accounts if account in lowered)


def _enough(text: str, relevance: Relevance, key: bytes, own: OwnParts) -> frozenset[int] | None:
    """Return the foreign words of a text if its beginning has enough of them, else `None`."""
    if relevance.words == "one":
        # Where one of these marks stands, no word and no number goes on, so that the beginning has no word of its own.
        for most in BEGINNINGS:
            end = max(text.rfind('"', 0, most), text.rfind(",", 0, most), text.rfind("\n", 0, most)) + 1
            found = text_words.digests(foreign(text_words.distinctive(text[:end]), own), key) if end else _NONE
            if not found <= relevance.trusted:
                return found
    return None


def _said(text: str, encoded: str, key: bytes) -> frozenset[int]:
    """The values that a call tells its system. Of more text than is looked through, more than anybody keeps apart."""
    told = text_words.digests(mentions(text[:MAX_SAID]) | mentions(encoded[:MAX_SAID]), key)
    return told if max(len(text), len(encoded)) <= MAX_SAID else told.union(_TOO_MANY_VALUES)


def _sightings(found: Sequence[Finding], arguments: JsonObject) -> tuple[Sighting, ...]:
    """Return each credential once, even if found both by form and as known. A link shown only to its signing host is
    not a credential."""
    home = {(item.fingerprint, item.pointer) for item in found if _goes_home(item, arguments)}
    seen = {
        (item.fingerprint, item.pointer, item.form): Sighting(
            item.fingerprint,
            item.detector,
            item.pointer,
            item.role,
            item.form,
            item.shingles,
            handle=item.handle,
        )
        for item in reversed(found)
        if (item.fingerprint, item.pointer) not in home
    }
    return tuple(reversed(seen.values()))


def _goes_home(item: Finding, arguments: JsonObject) -> bool:
    """A signed link, and nothing beside it, in the place that says where the call goes."""
    if item.kind != "presigned" or item.role is not Role.DESTINATION:
        return False
    values = at(arguments, item.pointer)
    link = values[0] if len(values) == 1 else None
    return isinstance(link, str) and link.startswith("https://") and normalise(link).value == item.host


def _with_word(
    item: Sighting, arguments: JsonObject, detector: ArgumentDetector, given: Grounds, key: bytes
) -> Sighting:
    """Return a sighting with its word, if the argument has the value undisguised and the value has no secret's form."""
    if item.form != "raw" or item.handle is not None or not item.pointer:
        return item
    values = at(arguments, item.pointer)
    text = values[0] if len(values) == 1 else None
    word = detector.word_of(item.fingerprint, text[:MAX_WORDS]) if isinstance(text, str) else None
    if word is None or len(word) < _SHORTEST_WORD or not is_ordinary(word):
        return item
    return replace(item, word=digest(folded(word), key), in_goal=given.names(word))


def sampled(tokens: frozenset[int]) -> frozenset[int]:
    """At most `MAX_TOKENS` of them, the smallest."""
    return tokens if len(tokens) <= MAX_TOKENS else frozenset(heapq.nsmallest(MAX_TOKENS, tokens))


def _roles_of_authority(labels: Labels) -> Mapping[str, Role]:
    """Return the roles by which values need grounds. Of code in a sandbox only the links do, for nothing else leads out."""
    if not labels.in_sandbox or Role.COMMAND not in labels.roles.values():
        return labels.roles
    return {pointer: Role.CONTENT if role is Role.COMMAND else role for pointer, role in labels.roles.items()}


class _AuthorityValues:
    """The authority-bearing values of a call, collected pointer by pointer."""

    def __init__(self, key: bytes, given: Grounds, own_domains: tuple[str, ...]) -> None:
        self._key = key
        self._given = given
        self._own_domains = own_domains
        self._left = 20 * MAX_DESTINATIONS
        self.destinations: dict[int, str] = {}
        self.named: set[int] = set()
        self.inside: set[int] = set()
        self.digests: dict[str, frozenset[int]] = {}
        self.grounded: set[str] = set()
        self.known: set[str] = set()
        self.complete = True

    def add_all(self, arguments: JsonObject, roles: Mapping[str, Role]) -> None:
        """The values of all arguments with a role."""
        for pointer, role in roles.items():
            if role in _AUTHORITY and (values := at(arguments, pointer)):
                self.add(pointer, role, values)
        if len(self.digests) > len(self.grounded):
            self.grounded |= _grounded_in_parts(arguments, roles, self, self._given)

    def add(self, pointer: str, role: Role, values: list[Json]) -> None:
        """Add the values at `pointer`. A pointer without values gives nothing, and needs no grounds."""
        if role is Role.DESTINATION:
            found = self._listed(values)
            words, given = {destination.word.lower() for destination in found}, self._given.grounds_destination
            held = all(map(given, found))
            self.known.update(destination.value for destination in found if self._given.knows(destination))
        elif role is Role.CONTENT:
            # What a text leads its readers to: a link, or an image that is loaded when it is shown.
            words, held = self._links(values)
        else:
            words = set(value_words(values, role, MAX_VALUES))
            held = self._given.grounds_value(values, role, MAX_VALUES)
            if role is Role.RECORD and not held:
                # One list may have items of the goal and items of a record.
                words = {word for word in words if not self._given.grounds_value(word, role, 1)} or words
        if words:
            digests_of = _digests_of_hosts if role is Role.CONTENT else _digests
            self.digests[pointer] = digests_of(words, self._key)
            if held and self.complete:
                self.grounded.add(pointer)

    def _links(self, values: list[Json]) -> tuple[set[str], bool]:
        """The hosts that the links of these texts name, and whether all of them are given."""
        words: set[str] = set()
        seen: set[str] = set()
        held, left = True, MAX_CHARACTERS
        for text in texts(values):
            for link in links(text[:left]):
                if link.value in seen:
                    continue
                seen.add(link.value)
                words.add(link.word.lower())
                held = held and self._given.grounds_destination(link)
                if len(words) > MAX_DESTINATIONS:
                    return {*words, _TOO_MANY}, False
            left -= len(text)
            if left < 0:
                return {*words, _TOO_MANY}, False
        return words, held

    def _listed(self, values: list[Json]) -> list[Destination]:
        """The distinct destinations of these values, until the call has too many."""
        found: dict[str, Destination] = {}
        for text in texts(values):
            self.complete = self.complete and len(text) <= MAX_TEXT
            for destination in listed(text):
                self._left -= 1
                if self._left < 0 or len(self.destinations) + len(found) >= MAX_DESTINATIONS:
                    self.complete = False
                    break
                found.setdefault(destination.value, destination)
            if self._left < 0:
                break
        for value, destination in found.items():
            self._note(digest(value, self._key), destination)
        return list(found.values())

    def _note(self, found: int, destination: Destination) -> None:
        self.destinations[found] = destination.value
        if self._given.names_destination(destination):
            self.named.add(found)
        if is_inside(destination, self._own_domains):
            self.inside.add(found)


def _authority(call: Call, given: Grounds, key: bytes, own_domains: tuple[str, ...]) -> _AuthorityValues:
    """Return the authority-bearing values of all arguments with a role."""
    found = _AuthorityValues(key, given, own_domains)
    found.add_all(call.arguments, _roles_of_authority(call.target.labels))
    return found


_NO_AUTHORITY: Final = _AuthorityValues(b"", grounds(None, None), ())
"""The values of a call of a tool without roles. Nothing is added to it."""
_NO_CREDENTIALS: Final = _ShownCredentials()

_digest: Final = short_text_cache(4_096)(digest)
_FEW: Final = 4
"""Words whose digests together cost more than asking what they were before."""


def _digests(words: set[str], key: bytes) -> frozenset[int]:
    return text_words.digests(map(encoded, words), key)


def _digests_of_hosts(words: set[str], key: bytes) -> frozenset[int]:
    """The texts of a task link to the same few hosts again and again."""
    return frozenset([_digest(word, key) for word in words]) if len(words) <= _FEW else _digests(words, key)


def _grounded_in_parts(
    arguments: JsonObject, roles: Mapping[str, Role], found: _AuthorityValues, given: Grounds
) -> frozenset[str]:
    """Return the pointers of destinations that are the two parts of one given name, such as `owner` and `repo`.

    The parts stand in the order of the tool's labels. A name beside a known address may stand before or after it.
    """
    if not found.complete:
        return frozenset()
    texts = {
        pointer: values[0]
        for pointer in found.digests
        if roles[pointer] is Role.DESTINATION and len(values := at(arguments, pointer)) == 1
    }
    single = {pointer: text for pointer, text in texts.items() if isinstance(text, str) and len(text) <= _LONGEST_PART}
    parts = list(single)[:_PARTED]
    joined = {
        pointer
        for pair in combinations(parts, 2)
        if given.reach_parts(*(single[pointer] for pointer in pair))
        for pointer in pair
    }
    named = {one for one, other in permutations(list(single)[:_PARTED], 2) if given.name_of(single[one], single[other])}
    return frozenset(joined | named)


def _named(arguments: JsonObject, given: Grounds) -> bool | None:
    """Return whether the goal names each text of the arguments; `None` without texts."""
    found: bool | None = None
    waiting: list[Json] = [arguments]
    left = MAX_LOOKED_UP
    while waiting:
        item = waiting.pop()
        left -= 1
        if isinstance(item, Mapping):
            waiting.extend(item.values())
            if not all(map(_MEMBER.fullmatch, item)):
                return False
        elif isinstance(item, list | tuple):
            waiting.extend(item)
        elif isinstance(item, str):
            if not given.caseless or not given.names(followable_links.followable(item) or item):
                return False
            found = True
        if left < 0:
            return False
    return found


def _names_place(call: Call, given: Grounds) -> bool:
    """Return whether the goal names each record that a call selects, or the system of a call that selects nothing.

    Destinations have a rule of their own (`CallContent.grounded`).
    """
    roles = call.target.labels.roles
    selectors = [pointer for pointer, role in roles.items() if role is Role.SELECTOR]
    values = [text for pointer in selectors for text in texts(at(call.arguments, pointer))]
    if values:
        return len(values) <= MAX_LOOKED_UP and all(map(given.names_record, values))
    systems = (call.target.upstream, call.target.audience)
    return Role.DESTINATION in roles.values() or any(map(given.names, systems))


def _text(arguments: JsonObject) -> tuple[str, bool]:
    """Return the texts of large arguments, names of members included, as one text, and whether it is complete.

    It is of characters where leaves are of bytes, and ends within a text.
    """
    parts: list[str] = []
    left = MAX_CHARACTERS
    waiting: list[Json] = [arguments]
    while waiting:
        item = waiting.pop()
        kind = type(item)
        if kind is str:
            item = cast("str", item)
            if len(item) > left:
                return "\n".join([*parts, item[:left]]), False
            left -= len(item) + 1
            parts.append(item)
        elif kind is int or kind is float:
            parts.append(repr(item))
        elif isinstance(item, Mapping):
            waiting.extend(item.keys())
            waiting.extend(item.values())
        elif isinstance(item, list | tuple):
            waiting.extend(item)
    return "\n".join(parts), True
