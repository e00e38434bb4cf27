"""The arguments of a call by their roles: authority-bearing values with their grounds, and credentials without their value.

Pure. Limits bound time and memory for any arguments."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations, permutations
from typing import Final, Protocol, cast

from msgspec import Struct, structs

from gateway.base.json.strict import fold
from gateway.base.json.walk import Leaves, item_number, split_pointer
from gateway.base.text_cache import short_text_cache
from gateway.inspection.credentials.finding import Finding, Inspection, KnownShingles
from gateway.inspection.credentials.index import CredentialIndex
from gateway.inspection.credentials.ordinary import is_ordinary
from gateway.inspection.destinations.find import MAX_TEXT, find_sole_link, links, listed, texts
from gateway.inspection.destinations.normalise import Destination, fold_text, is_inside, normalise
from gateway.inspection.words import words as text_words
from gateway.inspection.words.grounds import Grounds
from gateway.inspection.words.records import record_pieces
from gateway.inspection.words.words import digest, encoded, value_words
from gateway.model.call import Call
from gateway.model.content import CallContent, CredentialPiece, Pieces, Sighting
from gateway.model.target import Effect, Labels, Role
from gateway.model.wire import Json, JsonObject

# --- values at a role --------------------------------------------------------------------------------


def at(arguments: Json, pointer: str) -> list[Json]:
    """Return the values at a role's pointer (RFC 6901), each with its whole content.

    The step `*` is every item or member. A step also matches a member whose name differs in letter case, `_` or `-`
    alone, since some servers read it so. A step into a text with JSON goes into that JSON. A text that is invalid JSON
    stands for itself, and so does a single value in the place of a list.
    """
    values: list[Json] = [arguments]
    for name in split_pointer(pointer):
        values = [member for value in values for member in _members(value, name)]
    return values


def _members(value: Json, name: str) -> Iterator[Json]:
    if isinstance(value, str) and value.lstrip()[:1] in {"{", "["}:
        read = _parse(value)
        yield from [value] if read is None else _members_of(read, name)
    else:
        yield from _members_of(value, name)


def _members_of(value: Json, name: str) -> Iterator[Json]:
    if isinstance(value, Mapping):
        if name == "*":
            yield from value.values()
            return
        wanted = _folded(name)
        for member, item in value.items():
            if member == name or _folded(member) == wanted:
                yield item
    elif isinstance(value, list | tuple):
        if name == "*":
            yield from value
        elif (number := item_number(name, len(value))) is not None:
            yield value[number]
    elif value is not None and name == "*":
        yield value


_folded: Final = short_text_cache(4_096)(fold)


def _parse(text: str) -> Json:
    if len(text) > MAX_TEXT:
        return None
    try:
        return cast("Json", json.loads(text))
    except (ValueError, RecursionError):
        return None


# --- authority-bearing values ------------------------------------------------------------------------

MAX_DESTINATIONS: Final = 1_000
"""Destinations of one call that are told apart: far above any limit on them."""
MAX_VALUES: Final = 1_000
"""Values of one argument that are looked up in a goal."""
MAX_CHARACTERS: Final = 262_144
"""Characters of one argument that are searched for links."""
_LONGEST_PART: Final = 256
"""Characters of one part of a name that stands in two arguments."""
_PARTED: Final = 6
"""Arguments that are tried as parts of one name, each with each."""
_AUTHORITY: Final = frozenset({Role.DESTINATION, Role.COMMAND, Role.CREDENTIAL, Role.AMOUNT, Role.CONTENT, Role.RECORD})
_TOO_MANY: Final = "\0 more links than are told apart"
"""Stands for them. Nothing that is trusted has this word."""


def add_authority(
    content: CallContent, call: Call, given: Grounds, key: bytes, own_domains: tuple[str, ...]
) -> CallContent:
    """Return the content of a call with the values of its arguments with a role."""
    labels = call.target.labels
    values = _AuthorityValues(key, given, own_domains)
    values.add_all(call.arguments, _roles_of_authority(labels))
    link = find_sole_link(call)
    links = {} if link is None else {link[0]: digest(link[1], key)}
    grounded, selects = frozenset(values.grounded), _with_role(Role.RECORD, values, labels)
    return structs.replace(
        content,
        destinations=values.destinations,
        authority=values.digests,
        grounded=grounded,
        known_destinations=frozenset(values.known),
        named=frozenset(values.named),
        inside=frozenset(values.inside),
        complete=content.complete and values.complete,
        links=links,
        selects=selects,
        pieces_of=_pieces_of(call, selects - grounded, key),
        places=_places(call, values, given, key),
    )


def _pieces_of(call: Call, pointers: frozenset[str], key: bytes) -> Mapping[str, Pieces]:
    return {pointer: record_pieces(at(call.arguments, pointer), key) for pointer in pointers}


def _places(call: Call, authority: _AuthorityValues, given: Grounds, key: bytes) -> Mapping[str, frozenset[int]]:
    """Return the destinations of a call by which nothing leaves, in the spelling of records."""
    labels = call.target.labels
    if labels.egress is not False or labels.effect not in {Effect.WRITE, Effect.DESTRUCTIVE} or not authority.complete:
        return {}
    found: dict[str, frozenset[int]] = {}
    for pointer in _with_role(Role.DESTINATION, authority, labels) - authority.grounded:
        values = {text for text in texts(at(call.arguments, pointer)) if text.strip()}
        unnamed = [fold_text(text) for text in values if not given.grounds_value(text, Role.DESTINATION, MAX_VALUES)]
        found[pointer] = text_words.digests(map(encoded, unnamed), key)
    return found


def _with_role(role: Role, authority: _AuthorityValues, labels: Labels) -> frozenset[str]:
    """Return the pointers of authority-bearing values with a role of their own."""
    return frozenset(pointer for pointer in authority.digests if labels.roles.get(pointer) is role)


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
        """Return the values of all arguments with a role."""
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
        """Return the hosts that the links of these texts name, and whether all of them are given."""
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
        """Return the distinct destinations of these values, until the call has too many."""
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


_digest: Final = short_text_cache(4_096)(digest)
_FEW: Final = 4
"""Words whose digests together cost more than asking what they were before."""


def _digests(words: set[str], key: bytes) -> frozenset[int]:
    return text_words.digests(map(encoded, words), key)


def _digests_of_hosts(words: set[str], key: bytes) -> frozenset[int]:
    """Return the texts of a task link to the same few hosts again and again."""
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


# --- credentials -------------------------------------------------------------------------------------

_MAX_WORDS: Final = 4_096
"""Characters of an argument in which the word of a credential is looked for."""
_SHORTEST_WORD: Final = 6
"""Characters of a named value. Shorter ones are codes."""


class ArgumentDetector(Protocol):
    """A detector of credentials: by their form, and, given the credentials that a task has seen, these again in any disguise."""

    def word_of(self, fingerprint: str, text: str, /) -> str | None:
        """Return the word of a text that has a fingerprint."""
        ...

    def inspect_leaves(
        self, walked: Leaves, roles: Mapping[str, Role], known: KnownShingles | CredentialIndex | None = None, /
    ) -> Inspection:
        """Return the credentials in arguments."""
        ...


class ShownCredentials(Struct, frozen=True):
    """The credentials in a call. `complete` is false if the search ended early."""

    sightings: tuple[Sighting, ...] = ()
    complete: bool = True
    pieces: tuple[CredentialPiece, ...] = ()


def show_credentials(
    call: Call, found: Inspection, detector: ArgumentDetector, given: Grounds, key: bytes
) -> ShownCredentials:
    """Return the credentials that an inspection found in a call."""
    if not found.findings:
        return ShownCredentials((), not found.incomplete, found.pieces)
    told = _sightings(found.findings, call.arguments)
    sightings = tuple(_with_word(item, call.arguments, detector, given, key) for item in told)
    return ShownCredentials(sightings, not found.incomplete, found.pieces)


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
    """Return a signed link, and nothing beside it, in the place that says where the call goes."""
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
    word = detector.word_of(item.fingerprint, text[:_MAX_WORDS]) if isinstance(text, str) else None
    if word is None or len(word) < _SHORTEST_WORD or not is_ordinary(word):
        return item
    return replace(item, word=digest(fold_text(word), key), in_goal=given.names(word))


NO_CREDENTIALS: Final = ShownCredentials()
