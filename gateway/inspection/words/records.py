"""Values that stand in a record with a word of the goal. Pure.

A record is an element of a list in a result, or the whole result, with everything below it. A value is a field of its own.
Prose holds no values. So the writer of one field cannot name a value in the fields beside it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from heapq import nsmallest
from types import MappingProxyType
from typing import Final, NamedTuple, cast

import msgspec

from gateway.inspection.credentials.ordinary import COMMON
from gateway.inspection.destinations.find import texts
from gateway.inspection.destinations.normalise import fold_text
from gateway.inspection.words import words as text_words
from gateway.inspection.words.grounds import NAME_NOBODY, Grounds
from gateway.inspection.words.words import MAX_VALUE, digest, encoded, parts_of
from gateway.model.content import Pieces
from gateway.model.wire import Json, JsonObject
from gateway.wire.protocol import sse

MAX_BYTES: Final = 65_536
"""Bytes of a result. A larger result has no records."""
MAX_RECORDED: Final = 2_048
"""Values of one result that are kept: the journal writes them down."""
MAX_TOLD: Final = 256
"""Values of one call that are told apart."""
TOO_MANY: Final = MappingProxyType(dict.fromkeys(range(8_192)))
"""More values than history keeps apart."""
_SHORTEST: Final = 4
"""Letters of a word that tells one record from another. A digit counts twice."""
_SHORTEST_PART: Final = 5
"""Characters of a word in a result that `words.distinctive` keeps."""
_LONGEST_TOLD: Final = 24
"""Characters of a told value whose parts are looked for: each argument of each call is told."""
MAX_PIECED: Final = 32
"""Values of one argument whose parts are looked for."""
_COMMON: Final = frozenset(word.encode() for word in NAME_NOBODY) | COMMON
_DIGIT: Final = re.compile(rb"[0-9]")


def words_of(parts: frozenset[bytes]) -> frozenset[bytes]:
    """Return the uncommon parts of a goal. These can name a record."""
    return frozenset(part for part in parts - _COMMON if len(part) + bool(_DIGIT.search(part)) >= _SHORTEST)


class ResultRecords:
    """The records of one result. They are looked for when the result is whole.

    `made`: the task itself made the record by a change, so it needs no word of the goal.
    """

    __slots__ = ("_data", "_goal", "_key", "_made", "_size")

    def __init__(self, key: bytes, given: Grounds, *, made: bool = False) -> None:
        self._key = key
        self._goal = words_of(given.parts)
        self._made = made
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> None:
        """Keep a chunk until the result is whole."""
        self._size += len(chunk)
        if self._size <= MAX_BYTES:
            self._data.append(chunk)
        else:
            self._data.clear()

    def finish(self, chunk: bytes = b"") -> frozenset[int]:
        """Return the digests of the values in records that have a word of the goal."""
        self.feed(chunk)
        data, self._data = b"".join(self._data), []
        if not self._goal and not self._made:
            return frozenset()
        found = {value for result in _results(data) for value in values_of(result, self._goal, made=self._made)}
        return frozenset(nsmallest(MAX_RECORDED, text_words.digests(map(encoded, found), self._key)))


class _Part(NamedTuple):
    """A record. `about`: it, or a record around it, has a word of the goal. `names`: its key in a table of records."""

    value: Json
    about: bool = False
    names: tuple[str, ...] = ()


def values_of(result: Json, goal: frozenset[bytes], *, made: bool = False) -> Iterator[str]:
    """Yield the values of all records that have a word of the goal, in the spelling of `words.value_words`."""
    waiting = [_Part(result, made)]
    while waiting:
        part = waiting.pop()
        fields, inner = _open_record(part)
        about = part.about or any(not goal.isdisjoint(parts_of(text)) for text in fields)
        if about:
            yield from map(fold_text, fields)
        waiting.extend(item._replace(about=about) for item in inner)


def _open_record(part: _Part) -> tuple[list[str], list[_Part]]:
    """Return the fields of a record, and the records in it. Keys with a digit are fields: tables have ids as keys."""
    fields = [name for name in part.names if len(name) <= MAX_VALUE]
    inner: list[_Part] = []
    waiting = [part.value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, Mapping):
            if item and all(isinstance(member, Mapping) for member in item.values()):
                inner.extend(_Part(member, names=(name,)) for name, member in item.items())
                continue
            fields.extend(name for name in item if len(name) <= MAX_VALUE and _DIGIT.search(encoded(name)))
            waiting.extend(item.values())
        elif isinstance(item, list | tuple):
            inner.extend(map(_Part, item))
        elif item is not None and not isinstance(item, bool):
            fields.extend(text for text in texts(item) if len(text) <= MAX_VALUE)
    return fields, inner


def told_values(arguments: JsonObject, given: Grounds, key: bytes) -> Mapping[int, frozenset[int] | None]:
    """Return the short values of a call, without values of the goal: digest → parts, as from `pieces_of`.

    A system may repeat each value.
    """
    found = {fold_text(text) for text in texts(arguments) if len(text) <= MAX_VALUE and not given.names(text)}
    if len(found) > MAX_TOLD:
        return TOO_MANY
    few = len(found) <= MAX_PIECED
    return {digest(text, key): pieces_of([text], key) if few and len(text) <= _LONGEST_TOLD else None for text in found}


def record_pieces(values: list[Json], key: bytes) -> Pieces:
    """Return the parts of each selected value. Of more values than are told apart none is known again."""
    words = {fold_text(text) for text in texts(values)}
    few = len(words) <= MAX_PIECED
    return {digest(word, key): pieces_of([word], key) if few else None for word in words}


def pieces_of(values: list[Json], key: bytes) -> frozenset[int] | None:
    """Return the digests of all parts of values with a digit, as a result would have them as words.

    `None` if a value has no digit, is short or long, or if there are too many values.
    """
    words = {fold_text(text) for text in texts(values)}
    if len(words) > MAX_PIECED or not all(_is_known_again(word) for word in words):
        return None
    parts = {encoded(part) for word in words for part in _parts(word)}
    return text_words.digests(parts, key)


def _is_known_again(word: str) -> bool:
    """Return whether a result that shows a value has a part of it among its words. Words have no spaces."""
    return _SHORTEST_PART <= len(word) <= MAX_VALUE and " " not in word and _DIGIT.search(encoded(word)) is not None


def _parts(word: str) -> Iterator[str]:
    for start in range(len(word) - _SHORTEST_PART + 1):
        for end in range(start + _SHORTEST_PART, len(word) + 1):
            if _DIGIT.search(encoded(word[start:end])):
                yield word[start:end]


def _results(data: bytes) -> Iterator[Json]:
    """Yield the documents in the answers of a body, which is one message or a stream of events."""
    for message in _messages(data):
        result = message.get("result") if isinstance(message, Mapping) else None
        if not isinstance(result, Mapping):
            continue
        if (structured := result.get("structuredContent")) is not None:
            yield structured
            continue
        content = result.get("content")
        for block in content if isinstance(content, list) else ():
            text = block.get("text") if isinstance(block, Mapping) else None
            if isinstance(text, str):
                yield _document(text)


def _messages(data: bytes) -> Iterator[Json]:
    if data.lstrip()[:1] == b"{":
        yield _parse(data)
        return
    yield from map(_parse, sse.data_of(data))


def _document(text: str) -> Json:
    """Parse a JSON text. Return a short line as one value, and `None` for other text."""
    if text.lstrip()[:1] in {"{", "["}:
        return _parse(text)
    return text.strip() if len(text) <= MAX_VALUE and "\n" not in text.strip() else None


def _parse(data: bytes | str) -> Json:
    try:
        return cast("Json", msgspec.json.decode(data))
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
