"""Edits of JSON text in place: all bytes beside an edit stay the same. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from gateway.base.json.lex import CLOSING, COLON, COMMA, OBJECT, OPENING, QUOTE, TOKEN


@dataclass(frozen=True, slots=True)
class Edit:
    """Bytes in the place of the bytes from `start` to `end`."""

    start: int
    end: int
    instead: bytes


def apply_edits(document: bytes, edits: Iterable[Edit]) -> bytes:
    """Return the document with the edits made. The edits are in order, and none reaches into another."""
    parts: list[bytes] = []
    position = 0
    for edit in edits:
        parts += [document[position : edit.start], edit.instead]
        position = edit.end
    return b"".join([*parts, document[position:]])


def move_edits(edits: Iterable[Edit], place: Callable[[int], int]) -> list[Edit]:
    """Return edits for a text around the document. `place` maps a place in the document to its place in that text."""
    return [Edit(place(edit.start), place(edit.end), edit.instead) for edit in edits]


# --- members to take out, and scalars to replace -----------------------------------------------------


class Choose(Protocol):
    """Choice of the members and scalars to edit."""

    longest_path: int
    """Names on the longest path of a scalar that may be replaced."""

    def is_cut(self, document: bytes, start: int, /) -> bool:
        """Return whether the member whose name begins at `start` is taken out, with its value."""
        ...

    def replacement(self, path: tuple[str, ...], token: bytes, /) -> bytes | None:
        """Return the new bytes of a scalar, `None` for no change. `path` has the names above the scalar in the spelling of
        `fold_name`, and an empty name for each list."""
        ...

    def fold_name(self, token: bytes, /) -> str:
        """Return a name in the spelling of paths."""
        ...


def choose_edits(document: bytes, choice: Choose) -> list[Edit]:
    """Return the edits for a choice, in order. Each member is cut with one comma, so the rest stays JSON. Invalid JSON gets edits
    without a meaning."""
    search = _EditSearch(document, choice)
    for match in TOKEN.finditer(document):
        search.take(*match.span())
    return search.finish()


@dataclass(slots=True)
class _Level:
    """An open object or array. `comma` is the place of the comma after the last kept member."""

    is_object: bool
    is_naming: bool
    name: str = ""
    comma: int = -1


@dataclass(slots=True)
class _Cut:
    """A member to take out: the start of its name, the end of its value so far, and the depth of the value."""

    start: int
    end: int
    nested: int = 0


class _EditSearch:
    """The edits of a document, found token by token."""

    __slots__ = ("_choice", "_cut", "_document", "_edits", "_levels")

    def __init__(self, document: bytes, choice: Choose) -> None:
        self._document = document
        self._choice = choice
        self._levels: list[_Level] = []
        self._cut: _Cut | None = None
        self._edits: list[Edit] = []

    def finish(self) -> list[Edit]:
        """Return all edits, in order. A document may have been cut off within a member."""
        if self._cut is not None:
            self._edits.append(Edit(self._cut.start, self._cut.end, b""))
            self._cut = None
        return self._edits

    def take(self, start: int, end: int) -> None:
        """Read the next token."""
        mark = self._document[start]
        if self._cut is not None and not self._ends_cut(self._cut, mark, end):
            return
        if mark in OPENING:
            self._levels.append(_Level(mark == OBJECT, mark == OBJECT))
        elif mark in CLOSING:
            del self._levels[-1:]
        elif self._levels and mark == COMMA:
            level = self._levels[-1]
            level.is_naming, level.comma = level.is_object, start
        elif self._levels and mark != COLON:
            self._take_scalar(self._levels[-1], start, end)

    def _ends_cut(self, cut: _Cut, mark: int, end: int) -> bool:
        """Go on with the member to take out. Return whether the member has ended before this token."""
        if cut.nested == 0 and mark in CLOSING:
            # The last member: the comma before it goes as well, with all members that were taken out after that.
            comma = self._levels[-1].comma
            begin = cut.start if comma < 0 else comma
            while self._edits and self._edits[-1].start >= begin:
                self._edits.pop()
            self._edits.append(Edit(begin, cut.end, b""))
            self._cut = None
            return True
        if cut.nested == 0 and mark == COMMA:
            self._edits.append(Edit(cut.start, end, b""))
            self._cut = None
            self._levels[-1].is_naming = True
            return False
        cut.nested += (mark in OPENING) - (mark in CLOSING)
        cut.end = end
        return False

    def _take_scalar(self, level: _Level, start: int, end: int) -> None:
        is_near = len(self._levels) <= self._choice.longest_path
        if level.is_naming and self._document[start] == QUOTE:
            level.is_naming = False
            if self._choice.is_cut(self._document, start):
                self._cut = _Cut(start, end)
            elif is_near:
                level.name = self._choice.fold_name(self._document[start:end])
        elif is_near:
            path = tuple([level.name if level.is_object else "" for level in self._levels])
            instead = self._choice.replacement(path, self._document[start:end])
            if instead is not None:
                self._edits.append(Edit(start, end, instead))
