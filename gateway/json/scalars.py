"""Places of the names, strings and other scalars of a JSON document, in bytes, for the change of a single scalar. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

TOKEN: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\],:]|[^\s{}\[\],:"]+', re.DOTALL)
"""A token of JSON. Whatever is none is taken for some token all the same."""

Step = str | int


@dataclass(frozen=True, slots=True)
class ScalarSpan:
    """A scalar, from `start` to `end`, quotes included. `path` has the names and numbers on the way to the scalar. For
    a name, these are the path of its object and the name itself."""

    start: int
    end: int
    kind: Literal["name", "string", "other"]
    path: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Edit:
    """Bytes in the place of the bytes from `start` to `end`."""

    start: int
    end: int
    instead: bytes


def scalars(document: bytes) -> Iterator[ScalarSpan]:
    """Yield all scalars of a document, in order. `document` is valid JSON in UTF-8; for anything else the result means
    nothing."""
    above: list[Step] = []
    naming = False
    for match in TOKEN.finditer(document):
        start, end = match.span()
        mark = document[start]
        if mark in _OPEN:
            naming = mark == _OBJECT
            above.append("" if naming else 0)
        elif mark in _CLOSE:
            del above[-1:]
            naming = False
        elif mark == _COMMA:
            naming = bool(above) and isinstance(above[-1], str)
            if above and isinstance(above[-1], int):
                above[-1] += 1
        elif mark == _QUOTE and naming:
            above[-1] = text_of(document[start:end])
            naming = False
            yield ScalarSpan(start, end, "name", tuple(above))
        elif mark != _COLON:
            yield ScalarSpan(start, end, "string" if mark == _QUOTE else "other", tuple(above))


def text_of(token: bytes) -> str:
    """The text of a JSON string with its quotes."""
    if b"\\" not in token:
        return token[1:-1].decode()
    found: str = json.loads(token)
    return found


def apply_edits(document: bytes, edits: Iterable[Edit]) -> bytes:
    """Return the document with the edits made. The edits are in order, and none reaches into another."""
    parts: list[bytes] = []
    position = 0
    for edit in edits:
        parts += [document[position : edit.start], edit.instead]
        position = edit.end
    return b"".join([*parts, document[position:]])


_OBJECT, _QUOTE, _COMMA, _COLON = b'{",:'
_OPEN: Final = frozenset(b"{[")
_CLOSE: Final = frozenset(b"}]")
