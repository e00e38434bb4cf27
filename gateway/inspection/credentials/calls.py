"""Credentials in the arguments of a call, with their place and form. Pure. All strings are searched together first,
which settles nearly every call. A finding is then narrowed down to its string. A known credential spread over several
strings has no pointer."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Final, NamedTuple

from gateway.base.json.strict import fold
from gateway.base.json.walk import Leaves, unescape
from gateway.base.text_cache import SHORT, short_text_cache
from gateway.inspection.credentials.decoders import without_fillers
from gateway.inspection.credentials.finding import NOTHING, Finding, Hit, Inspection, StandIn
from gateway.inspection.credentials.fingerprint import Fingerprints, grams_of_digests, letters
from gateway.inspection.credentials.forms import Budget, Form, decode_hex, forms, string, whole
from gateway.inspection.credentials.index import CredentialIndex, pieces_of
from gateway.inspection.credentials.members import may_have_value, may_name
from gateway.inspection.credentials.named import DETECTOR_OF, Strength, is_placeholder, is_plausible, strength
from gateway.inspection.credentials.surroundings import bare
from gateway.inspection.credentials.tables import columns_of
from gateway.model.content import CredentialPiece
from gateway.model.shingles import GRAM, mark_of, word_mark
from gateway.model.target import Role

MAX_FINDINGS: Final = 256
MAX_WORDS: Final = 20_000
"""Words of one call whose fingerprints are compared with those of short credentials."""

MAX_NEAR: Final = 256
"""Credentials whose pieces are looked for in one text."""
MAX_PIECES: Final = 24
"""Arguments, and names of members, of which each is tried as the continuation of each other."""
_PIECE: Final = 64
"""Bytes of a text that may be no more than a piece of what was encoded before it was cut up."""
_REACH: Final = GRAM - 1
"""Letters on either side of a cut that are in a shingle with one on the other side."""

_PARTED: Final = re.compile(rb"[^\s\"'`\x00]+")
_FINER: Final = re.compile(rb"[^\s\"'`\x00=:,;&?/<>(){}\[\]|@#%!.\\]+")
_SHORTEST: Final = 4
_LONGEST_SHORT: Final = 96
BY_ROLE: Final = "credential-role"
"""The detector of what is a credential for its role alone."""
_HANDLE: Final = b"<placeholder>"
"""What stands in the place of a handle where credentials are looked for: no rule takes it for one."""

Look = Callable[[bytes], list[Hit]]


class _RoledLeaf(NamedTuple):
    """A leaf of the arguments (`json.walk`) with the role of its place."""

    pointer: str
    name: str
    text: bytes
    is_text: bool
    member: bytes
    role: Role | None


def inspect(
    walked: Leaves,
    roles: Mapping[str, Role],
    index: CredentialIndex,
    fingerprints: Fingerprints,
    *,
    look: Look | None,
    handles: Mapping[str, StandIn],
    unnamed: bool = False,
) -> Inspection:
    """See `Detector.inspect`. `look` finds credentials by form; without it only known ones are looked for. `unnamed`: there are
    neither known credentials, nor handles, nor leaves that are credentials by name or role."""
    search = _CredentialSearch(index, fingerprints, look, walked.size)
    first = search.read_text(walked.data) if unnamed else None
    if first is not None and not first.has_credential:
        return Inspection(incomplete=True) if search.incomplete or not walked.complete else NOTHING
    steps = _steps(roles) if roles else []
    leaves = [_RoledLeaf(*leaf, _role(_path(leaf.pointer), steps) if steps else None) for leaf in walked.found]
    if handles:
        leaves = [search.take_handles(leaf, handles) for leaf in leaves]
    if look is not None:
        beside = kinds_beside(walked)
        for leaf in leaves:
            search.note_by_place(leaf, beside.get(leaf.pointer))
    search.search_leaves(leaves, first)
    search.search_joined(leaves)
    return Inspection(tuple(search.found.values()), search.incomplete or not walked.complete, search.pieces())


def kinds_beside(walked: Leaves) -> dict[str, Strength]:
    """Return the places of leaves that another leaf names: a member of the same object, or the header of a column."""
    objects: dict[str, Strength] = {
        _object_of(leaf.pointer): kind
        for leaf in walked.found
        if leaf.member
        and len(leaf.text) <= SHORT
        and may_name(leaf.name)
        and (kind := strength(string(leaf.text))) is not None
    }
    found = columns_of(walked)
    for leaf in walked.found if objects else ():
        kind = objects.get(_object_of(leaf.pointer))
        if kind is not None and leaf.member and may_have_value(leaf.name):
            found[leaf.pointer] = kind
    return found


def _object_of(pointer: str) -> str:
    """Return the pointer of the object that has a member."""
    return pointer.rpartition("/")[0]


class _ReadText(NamedTuple):
    """The readings of a text, and the known credentials in each by the name of the form."""

    readings: tuple[Form, ...]
    known: Mapping[str, set[str]]
    has_credential: bool


class _CredentialSearch:
    def __init__(self, index: CredentialIndex, fingerprints: Fingerprints, look: Look | None, size: int) -> None:
        self._index = index
        self._fingerprints = fingerprints
        self._look = look
        self._looked: dict[bytes, list[Hit]] = {}
        self._budget = Budget(size)
        self._words = MAX_WORDS
        self._full = False
        self._matched: set[int] = set()
        self._pieces: dict[str, set[int]] = {}
        self.found: dict[tuple[str, str], Finding] = {}

    @property
    def incomplete(self) -> bool:
        return self._budget.incomplete or self._full

    def take_handles(self, leaf: _RoledLeaf, handles: Mapping[str, StandIn]) -> _RoledLeaf:
        """Note the credentials behind the handles here, and return the leaf without handles, which are no credentials
        themselves."""
        text = leaf.text
        for handle, held in handles.items():
            if handle.encode() in text:
                text = text.replace(handle.encode(), _HANDLE)
                for name, detector in held.credentials:
                    found = Finding(name, detector, "seen", leaf.pointer, leaf.role, "handle", handle=held.audience)
                    self._keep(found)
        return leaf if text is leaf.text else leaf._replace(text=text)

    def note_by_place(self, leaf: _RoledLeaf, beside: Strength | None) -> None:
        """Note the leaf as a credential by its name or role, unless its value is known to be another thing. `beside` is the
        strength of a name that is the value of another leaf."""
        kind = strength(leaf.name) if leaf.name else None
        is_beside = kind is None and beside is not None
        kind = beside if is_beside else kind
        if kind is None and leaf.role is not Role.CREDENTIAL:
            return
        value = string(leaf.text)
        by_role = leaf.role is Role.CREDENTIAL and len(value) >= _SHORTEST and not is_placeholder(value)
        by_name = (
            kind is not None
            and (leaf.is_text or kind in {"code", "key", "pin"})
            and is_plausible(value, kind, structured=not is_beside)
        )
        if not by_role and not by_name:
            return
        if self._hits(leaf.text):
            return
        detector = DETECTOR_OF[kind] if kind is not None and by_name else BY_ROLE
        value = bare(value)
        hit = Hit(detector, "code" if by_name and kind in {"code", "pin"} else "named", 0, len(leaf.text), value)
        self._add(leaf, hit, "raw")

    def read_text(self, text: bytes) -> _ReadText:
        """Return the readings of a text, searched."""
        readings = forms(text, self._budget, rare=bool(self._index)).readings
        known = {reading.name: names for reading in readings if (names := self._find_known(reading.text))}
        return _ReadText(readings, known, bool(known) or any(self._hits(reading.text) for reading in readings))

    def _hits(self, text: bytes) -> list[Hit]:
        """Return the credentials of a text by their form. A text is looked at once for all that ask."""
        if self._look is None:
            return []
        found = self._looked.get(text)
        if found is None:
            found = self._looked[text] = self._look(text)
        return found

    def search_leaves(self, leaves: list[_RoledLeaf], read: _ReadText | None = None) -> None:
        """Note the credentials in these leaves, narrowed down by halves. `read` is the text of all of them, if it was read."""
        readings, known, has_credential = self.read_text(_join_values(leaves)) if read is None else read
        if not has_credential:
            return
        if self._full:
            return
        if len(leaves) == 1:
            self._settle(leaves[0], readings, known)
            return
        middle = len(leaves) // 2
        self.search_leaves(leaves[:middle])
        self.search_leaves(leaves[middle:])
        alone = {finding.fingerprint for finding in self.found.values()}
        for form, names in known.items():
            for name in sorted(names - alone):
                self._keep(Finding(name, "seen", "seen", form="split" if form == "raw" else f"{form}+split"))

    def search_joined(self, leaves: list[_RoledLeaf]) -> None:
        """Note the known credentials that appear only in all readings together. Such a credential is cut into pieces,
        in another order or with other arguments between the pieces. It may also be encoded in part, or encoded first
        and then cut."""
        if not self._index:
            return
        texts, members = [leaf.text for leaf in leaves if leaf.text], [leaf.member for leaf in leaves if leaf.member]
        parts = [*texts, *members] if len(texts) + len(members) <= MAX_PIECES else texts
        self._match_grams(_join_ends(parts))
        unfilled = without_fillers(b"\0".join(parts))
        for reading in (unfilled, *decode_hex(unfilled)):
            self._match_grams(reading)
        for glued in (_glue(texts), _glue(members)):
            for reading in self._find_encoded(glued):
                self._match_grams(reading.text)
        alone = {finding.fingerprint for finding in self.found.values()}
        for name in sorted(self._index.find_covered(self._matched) - alone):
            self._keep(Finding(name, "seen", "seen", form="split"))

    def _find_encoded(self, glued: bytes) -> tuple[Form, ...]:
        budget = Budget(len(glued))
        readings = forms(glued, budget).readings[1:]
        self._full = self._full or budget.incomplete
        return readings

    def _settle(self, leaf: _RoledLeaf, readings: tuple[Form, ...], known: Mapping[str, set[str]]) -> None:
        for reading in readings:
            for hit in self._hits(reading.text)[: MAX_FINDINGS + 1]:
                self._add(leaf, hit, reading.name)
        for reading in readings:
            for name in sorted(known.get(reading.name, ())):
                form = reading.name if name in self._whole(reading.text) else _in_pieces(reading.name)
                self._keep(Finding(name, "seen", "seen", leaf.pointer, leaf.role, form))

    def _find_known(self, text: bytes) -> set[str]:
        if not self._index:
            return set()
        found = self._index.find_covered(self._match_grams(text)) | self._index.find_covered(
            self._match_grams(text[::-1])
        )
        if self._index.has_windows:
            found |= self._index.find_by_marks(self._fingerprints.windows(text))
        return found | self._index.find_by_marks(map(word_mark, self._whole(text))) if self._index.has_words else found

    def _match_grams(self, text: bytes) -> set[int]:
        """Return the grams of a text that occur in any known credential, and note those of pieces."""
        digests = self._fingerprints.gram_digests(text)
        matched = self._index.find_grams(digests)
        if not matched:
            return matched
        grams = grams_of_digests(digests)
        self._matched |= matched
        near, counted = self._index.find_sharing(matched), letters(text)
        if len(near) > MAX_NEAR:
            self._full = True
        for name in islice(near, MAX_NEAR):
            if here := pieces_of(counted, grams, near[name]):
                self._pieces.setdefault(name, set()).update(here)
        return matched

    def pieces(self) -> tuple[CredentialPiece, ...]:
        """Return the pieces of credentials that were not found whole."""
        whole = {finding.fingerprint for finding in self.found.values()}
        near = self._index.find_sharing(self._matched)
        return tuple(
            CredentialPiece(name, frozenset(near[name]), frozenset(grams))
            for name, grams in self._pieces.items()
            if name not in whole and name in near
        )

    def _whole(self, text: bytes) -> set[str]:
        """Return the fingerprints of the words of a text and of their decodings."""
        words = {*_PARTED.findall(text), *_FINER.findall(text), *text.split(b"\0")}
        values = {word for word in words if _SHORTEST <= len(word) <= 4 * _LONGEST_SHORT}
        values |= {decoded for word in values if len(word) <= _LONGEST_SHORT for decoded in whole(word)}
        if len(values) > self._words:
            self._full = True
            values = set(sorted(values)[: self._words])
        self._words -= len(values)
        return {self._fingerprints.of(string(value)) for value in values}

    def _add(self, leaf: _RoledLeaf, hit: Hit, form: str) -> None:
        of = self._fingerprints
        name = of.of(hit.value, hit.host)
        shingles = of.shingles(hit.value, hit.user, in_lines=hit.kind == "private-key")
        if self._index.has_marks and hit.host is None:
            mark = mark_of(shingles)
            name = min(self._index.find_by_marks(() if mark is None else (mark,)), default=name)
        self._keep(Finding(name, hit.detector, hit.kind, leaf.pointer, leaf.role, form, shingles, hit.host))

    def _keep(self, finding: Finding) -> None:
        if len(self.found) >= MAX_FINDINGS:
            self._full = True
            return
        pointer = self._showable(finding.pointer)
        self.found.setdefault((finding.fingerprint, pointer), replace(finding, pointer=pointer))

    def _showable(self, pointer: str) -> str:
        """Return the part of a pointer without a credential: the name of a member can be one."""
        while pointer:
            text = pointer.encode("utf-8", "surrogatepass")
            if not self._hits(text) and not self._find_known(text):
                break
            pointer = pointer.rpartition("/")[0]
        return pointer


def words_of(text: str) -> Iterator[str]:
    """Yield the words of a text by which short credentials are known, each once."""
    data = text.encode("utf-8", "surrogatepass")
    yield from map(string, dict.fromkeys((data, *_PARTED.findall(data), *_FINER.findall(data))))


def _in_pieces(form: str) -> str:
    return "split" if form == "raw" else f"{form}+split"


def _join_ends(pieces: list[bytes]) -> bytes:
    """Return each meeting of the end of one piece with the beginning of another, for few pieces."""
    if not 2 < len(pieces) <= MAX_PIECES:
        return b""
    ends = [(text[:_REACH], text[-_REACH:]) for piece in pieces if (text := letters(piece))]
    return b"".join(
        [tail + head for one, (_, tail) in enumerate(ends) for other, (head, _) in enumerate(ends) if one != other]
    )


def _glue(texts: list[bytes]) -> bytes:
    """Join the short texts."""
    short = [text for text in texts if len(text) <= _PIECE]
    return b"".join(short) if len(short) > 1 else b""


def _join_values(leaves: list[_RoledLeaf]) -> bytes:
    """Return the values, then the names, joined with zero bytes. Pieces of a split credential so follow each other."""
    return b"\0".join([leaf.text for leaf in leaves] + [leaf.member for leaf in leaves if leaf.member])


# --- roles -----------------------------------------------------------------------------------------


def _steps(roles: Mapping[str, Role]) -> list[tuple[tuple[str, ...], Role]]:
    return [(_path(pointer), role) for pointer, role in roles.items()]


def _path(pointer: str) -> tuple[str, ...]:
    return tuple(map(_fold_name, pointer.split("/")[1:]))


def role_at(path: Sequence[str | int], roles: Mapping[str, Role]) -> Role | None:
    """Return the role of a place in the arguments."""
    steps = _steps(roles)
    return _role(tuple(fold(str(step)) for step in path), steps)


@short_text_cache(4_096)
def _fold_name(step: str) -> str:
    """Return the name of an argument as its most tolerant reader takes it."""
    return fold(unescape(step))


def _role(path: tuple[str, ...], steps: list[tuple[tuple[str, ...], Role]]) -> Role | None:
    """Return the role of the longest pointer to this place or to one of its parents."""
    best: tuple[int, Role | None] = (-1, None)
    for pattern, role in steps:
        if best[0] < len(pattern) <= len(path) and all(
            step in {"*", there} for step, there in zip(pattern, path, strict=False)
        ):
            best = (len(pattern), role)
    return best[1]
