"""Finds credentials in the columns of a table whose header names one. Pure.

A table has columns of a terminal, or tabs, commas, semicolons or bars between its cells. HTML and lists in brackets have
tables too: JSON's `columns` and `rows`, and the statement `INSERT`. A header is a row of short names. Its rows end where a line has another
shape.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, groupby
from typing import Final, NamedTuple, TypeAlias

from gateway.base.json.walk import Leaf, Leaves
from gateway.inspection.credentials.finding import Hit, SignedSearch
from gateway.inspection.credentials.forms import string
from gateway.inspection.credentials.named import (
    NAMES,
    SHORT_NAMES,
    Strength,
    hit_of,
    is_plausible,
    kept_strength,
    strength,
)
from gateway.inspection.credentials.ordinary import is_ordinary
from gateway.inspection.credentials.ruleset import compiled

_Span: TypeAlias = tuple[int, int]
_Row: TypeAlias = Sequence[_Span]

_MOST_HEADERS: Final = 4
_LONGEST_NAME: Final = 40
_MOST_WORDS: Final = 4
_MOST_CELLS: Final = 64
_LONGEST_LINE: Final = 4_096
_BARS: Final = "|│┃║"
_AROUND: Final = b" \t\r\n\"'`*"

_CREDENTIAL: Final = rf"[\w .#-]*(?:{NAMES}|{SHORT_NAMES})\w*[\"'\x60* ]*"
_EDGE: Final = rf"[\t,;{_BARS}]"
_APART: Final = rf"(?:{_EDGE}|  )"
_OPENING: Final = r"[:\[(=]\s*[\"'\x60]+"
"""The beginning of a text in quotes: a table in JSON begins there."""
_HEADER: Final = rf"(?i)(?:^|[\n\x00]|{_OPENING})[\"'\x60* ]*{_CREDENTIAL}{_APART}|{_APART}[\"'\x60* ]*{_CREDENTIAL}(?:{_APART}|\r?\n)"
_LISTED: Final = (
    rf"(?i)[\[(][^\[\](){{}}\n]*[\"'\x60,(\[ ]{_CREDENTIAL}[^\[\](){{}}\n]*[\])]\s*(?:,|values|\]|[\"'\w]+\s*:)"
)
_HEAD_CELL: Final = rf"(?i)<th[^<>]*>\s*(?:<[^<>]*>\s*)*{_CREDENTIAL}\s*<"
_HEADERS: Final = compiled(_HEADER, groups=False)
_LISTS: Final = compiled(_LISTED, groups=False)

_OPENED: Final = re.compile(_OPENING.encode())
_CLOSED: Final = re.compile(rb"[\"'`]\s*[}\])]")
"""The end of a text in quotes, and of the object around it."""
_END_OF_LINE: Final = re.compile(rb"[\n\x00]")
_BAR: Final = re.compile("|".join(map(re.escape, _BARS)).encode())
_COLUMN: Final = re.compile(rb"\S+(?: \S+)*")
_RULE: Final = re.compile("(?:[-+=|:* \\t\\r]|[─━═│┃║┼╪╬├┤┝┥╞╡╟╢┌┐└┘╔╗╚╝╭╮╰╯┬┴┏┓┗┛┠┨┯┷]){3,}".encode())
"""A line between rows."""
_LIST: Final = re.compile(rb"[\[(]([^\[\](){}]{1,4096})[\])]")
_HTML_ROW: Final = re.compile(rb"<tr[\s>](.*?)(?=</tr|<tr[\s>]|\Z)", re.DOTALL | re.IGNORECASE)
_HTML_CELL: Final = re.compile(
    rb"<t[hd][^<>]*>((?:\s|<(?!/?t[hdr])[^<>]*>)*)(.*?)(?=</t[hd]|<t[hd][\s>]|\Z)", re.DOTALL | re.IGNORECASE
)
_NAME: Final = re.compile(r"[^\W\d][\w .#/()-]*")


class _Header(NamedTuple):
    """The columns of a table that have credentials."""

    cells: _Row
    kinds: dict[int, Strength]


_Under: TypeAlias = Callable[[_Header, _Row], _Row]
"""Given a header and a row: the cells of the row by the columns of the header, none if it has another shape."""


def _header(text: bytes, cells: _Row) -> _Header | None:
    """Return a row as a header; `None` if its cells are no names, or name no credential."""
    if not 0 < len(cells) <= _MOST_CELLS:
        return None
    names = [string(text[slice(*cell)]) for cell in cells]
    # Lists of names in programs end their lines with a comma.
    if not any(names[1:]) or not names[-1]:
        return None
    if not all(not name or _is_name(name) for name in names):
        return None
    kinds: dict[int, Strength] = {at: kind for at, name in enumerate(names) if (kind := strength(name)) is not None}
    return _Header(cells, kinds) if kinds else None


def _is_name(text: str) -> bool:
    return len(text) <= _LONGEST_NAME and len(text.split()) <= _MOST_WORDS and _NAME.fullmatch(text) is not None


def _find(text: bytes, rows: Iterable[_Row], under: _Under) -> Iterator[Hit]:
    """Yield the credentials of rows. A row that is another header hides nothing: earlier headers stay."""
    headers: deque[_Header] = deque(maxlen=_MOST_HEADERS)
    for row in rows:
        for header in tuple(headers):
            cells = under(header, row)
            if not cells:
                headers.remove(header)
            yield from (hit for at, kind in header.kinds.items() if cells and (hit := _hit(text, cells[at], kind)))
        if (header := _header(text, row)) is not None:
            headers.append(header)


def _hit(text: bytes, cell: _Span, kind: Strength) -> Hit | None:
    value = string(text[slice(*cell)])
    return hit_of(kind, *cell, value) if _is_credential(value, kind) else None


def _by_number(header: _Header, row: _Row) -> _Row:
    return row if len(row) == len(header.cells) else ()


def _if_as_many(header: _Header, row: _Row) -> _Row:
    """Return a row as `_by_number`. A row of another shape, such as a title, does not end the table."""
    return _by_number(header, row) or [(0, 0)] * len(header.cells)


def _is_credential(value: str, kind: Strength) -> bool:
    """Return whether a cell has a credential. Tables of a grammar or a usage have columns of tokens too."""
    if kind in {"code", "pin"}:
        return False
    return is_plausible(value, kind, structured=False) and (kind == "password" or not is_ordinary(value))


def _trim(text: bytes, start: int, end: int, offset: int) -> _Span:
    """Return the place of a cell without white space, quotes and emphasis around it, after `offset` more bytes."""
    cell = text[start:end]
    inner = cell.strip(_AROUND)
    begin = offset + start + (len(cell) - len(cell.lstrip(_AROUND)) if inner else 0)
    return begin, begin + len(inner)


# --- lines -------------------------------------------------------------------------------------------


def _in_lines(text: bytes) -> Iterator[Hit]:
    """Yield the credentials below the lines that are headers."""
    read = 0
    for match in _HEADERS.finditer(text):
        if match.start() < read:
            continue
        lines = _Lines(text, _begin(text, match.start(), match.end()))
        rows = lines.rows()
        first = next(rows, ())
        if _header(text, first) is not None:
            yield from _find(text, chain((first,), rows), lines.under)
        read = lines.end


def _begin(text: bytes, start: int, end: int) -> int:
    """Return the beginning of the line, or of the text in quotes, in which a name stands that ends at `end`."""
    start += text[start] in b"\n\0"
    line = max(text.rfind(b"\n", 0, start), text.rfind(b"\0", 0, start)) + 1
    openings = [found.end() for found in _OPENED.finditer(text, max(line, end - _LONGEST_LINE), end)]
    return max([line, *openings])


def _end_of_line(text: bytes, at: int) -> int:
    found = _END_OF_LINE.search(text, at)
    return len(text) if found is None else found.start()


class _Lines:
    """The lines of a table from its header on, up to a line of another shape."""

    __slots__ = ("_columns", "_mark", "_text", "end")

    def __init__(self, text: bytes, start: int) -> None:
        self._text = text
        self._mark = _mark_of(text[start : _end_of_line(text, start)])
        self._columns: dict[_Span, _Span] = {}
        self.end = start

    def rows(self) -> Iterator[_Row]:
        """Yield the cells of each line. `end` is the end of the last one."""
        size = None
        while self.end < len(self._text):
            start = self.end
            end = _end_of_line(self._text, start)
            self.end = end + 1
            line = self._text[start:end]
            if _RULE.fullmatch(line) is not None:
                continue
            closed = _CLOSED.search(line)
            end = end if closed is None else start + closed.start()
            row = self._cells(start, end) if line.strip() and len(line) <= _LONGEST_LINE else ()
            if not row or (self._mark and len(row) != (size or len(row))):
                return
            size = len(row)
            yield row
            if self._text[end : end + 1] != b"\n":
                return

    def under(self, header: _Header, row: _Row) -> _Row:
        """Return the cells of a row by the columns of a header."""
        if self._mark or len(row) == len(header.cells):
            return _by_number(header, row)
        return [self._below(name, row) for name in header.cells]

    def _below(self, name: _Span, row: _Row) -> _Span:
        """Return the single cell below a name; an empty cell without a single one."""
        left, right = self._columns[name]
        below = [cell for cell in row if self._columns[cell][0] < right and left < self._columns[cell][1]]
        return below[0] if len(below) == 1 else (0, 0)

    def _cells(self, start: int, end: int) -> _Row:
        line = self._text[start:end]
        if not self._mark:
            row = [(start + found.start(), start + found.end()) for found in _COLUMN.finditer(line)]
            self._columns.update(
                {(one, other): (_width(line[: one - start]), _width(line[: other - start])) for one, other in row}
            )
            return row
        if self._mark == b"|":
            cells = list(_between_bars(line, start))
            # The bars at both ends have nothing outside of them.
            return cells[_is_empty(cells[0]) : len(cells) - _is_empty(cells[-1])]
        return list(_separated(line, start, self._mark))


def _is_empty(cell: _Span) -> bool:
    return cell[0] == cell[1]


def _width(text: bytes) -> int:
    """Return the characters of a text."""
    return len(text) if text.isascii() else len(string(text))


def _mark_of(line: bytes) -> bytes:
    """Return the mark between the cells of a line; none for columns."""
    if b"\t" in line:
        return b"\t"
    if _BAR.search(line) is not None:
        return b"|"
    return b";" if b";" in line else b"," if b"," in line else b""


def _between_bars(line: bytes, offset: int) -> Iterator[_Span]:
    at = 0
    for bar in _BAR.finditer(line):
        yield _trim(line, at, bar.start(), offset)
        at = bar.end()
    yield _trim(line, at, len(line), offset)


def _separated(line: bytes, offset: int, mark: bytes) -> Iterator[_Span]:
    """Yield the cells between marks. A cell in quotes may have marks."""
    at = 0
    while at <= len(line):
        cell = _cell(line, at)
        end = cell[1] if cell is not None and line[cell[1] : cell[1] + 1] in {mark, b""} else line.find(mark, at)
        end = len(line) if end < 0 else end
        yield _trim(line, at, end, offset)
        at = end + 1


def _cell(line: bytes, at: int) -> _Span | None:
    """Return the place of a cell in quotes."""
    if line[at : at + 1] != b'"':
        return None
    end = line.find(b'"', at + 1)
    while end >= 0 and line[end + 1 : end + 2] == b'"':
        end = line.find(b'"', end + 2)
    return None if end < 0 else (at, end + 1)


# --- lists and HTML ----------------------------------------------------------------------------------


def _in_lists(text: bytes) -> Iterator[Hit]:
    """Yield the credentials in lists after a list of names."""
    first = _LISTS.search(text)
    lists = () if first is None else _LIST.finditer(text, first.start())
    yield from _find(text, (list(_separated(found[1], found.start(1), b",")) for found in lists), _by_number)


def _in_html(text: bytes) -> Iterator[Hit]:
    """Yield the credentials below the header cells of tables in HTML."""
    yield from _find(text, map(_html_row, _HTML_ROW.finditer(text)), _if_as_many)


def _html_row(row: re.Match[bytes]) -> _Row:
    return [_inner(row[1], cell, row.start(1)) for cell in _HTML_CELL.finditer(row[1])]


def _inner(row: bytes, cell: re.Match[bytes], offset: int) -> _Span:
    """Return the place of the text of a cell, without tags around it."""
    start, end = cell.span(2)
    tag = row.find(b"<", start, end)
    return _trim(row, start, end if tag < 0 else tag, offset)


# --- arguments ---------------------------------------------------------------------------------------


def is_name_in_list(leaf: Leaf) -> bool:
    """Return whether an item of a list is the name of a credential: the list may be the header of a table."""
    return not leaf.member and len(leaf.text) <= _LONGEST_NAME and kept_strength(string(leaf.text)) is not None


def columns_of(walked: Leaves) -> dict[str, Strength]:
    """Return the places of leaves below a credential's name: `{"columns": ["user", "password"], "rows": [["ada", …]]}`."""
    found: dict[str, Strength] = {}
    headers: dict[int, dict[int, Strength]] = {}
    for _, items in groupby((leaf for leaf in walked.found if not leaf.member), key=_list_of):
        row = list(items)
        if any(map(is_name_in_list, row)):
            kinds: dict[int, Strength] = {
                at: kind for at, leaf in enumerate(row) if (kind := strength(string(leaf.text))) is not None
            }
            headers.setdefault(len(row), {}).update(kinds)
        elif row[0].name.lower() in _ROWS:
            found.update((row[at].pointer, kind) for at, kind in headers.get(len(row), {}).items())
    return found


def _list_of(leaf: Leaf) -> str:
    return leaf.pointer.rpartition("/")[0]


_ROWS: Final = frozenset({"rows", "values", "data", "records", "items", "cells", "table", "entries", "lines", "body"})
"""Names of lists of rows."""
SEARCHES: Final = (
    SignedSearch(_HEADER, _in_lines),
    SignedSearch(_LISTED, _in_lists),
    SignedSearch(_HEAD_CELL, _in_html),
)
