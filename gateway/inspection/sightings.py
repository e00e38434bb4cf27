"""The credentials in the arguments of a call, for history: each once, without its value. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final, NamedTuple, Protocol

from gateway.base.json.walk import Leaves
from gateway.inspection.credentials.calls import CredentialIndex
from gateway.inspection.credentials.finding import Finding, Inspection, Known
from gateway.inspection.credentials.ordinary import is_ordinary
from gateway.inspection.destinations.normalise import fold_text, normalise
from gateway.inspection.role_values import at
from gateway.inspection.words.grounds import Grounds
from gateway.inspection.words.words import digest
from gateway.model.call import Call
from gateway.model.content import CredentialPiece, Sighting
from gateway.model.target import Role
from gateway.model.wire import JsonObject

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
        self, walked: Leaves, roles: Mapping[str, Role], known: Known | CredentialIndex | None = None, /
    ) -> Inspection:
        """Return the credentials in arguments."""
        ...


class ShownCredentials(NamedTuple):
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
