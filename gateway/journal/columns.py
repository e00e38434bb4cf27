"""The columns of a segment's index: for each line its place, its kind, and digests of the names that pages search for. Pure.

A digest finds lines and proves nothing. A reader checks the line of a row, and compares the names there.
A line that cannot be read has a row that fits every search, so an edit hides no line.
"""

from __future__ import annotations

import heapq
import hmac
import struct
from collections.abc import Collection, Iterator, Mapping
from hashlib import blake2b
from typing import Final, Literal, NamedTuple, TypeAlias, get_args

import msgspec

from gateway.journal.chain import Chain
from gateway.subkeys import subkey

Column: TypeAlias = Literal["id", "task", "agent", "user", "upstream"]
_COLUMNS: Final[tuple[Column, ...]] = get_args(Column)

OTHER: Final = 0
ALLOWED: Final = 1
ASKED: Final = 2
DENIED: Final = 3
REFUSED: Final = 4
ENDED: Final = 5
"""The outcome of a call."""
UNREADABLE: Final = 255
CALLS: Final = frozenset({ALLOWED, ASKED, DENIED})
EFFECTS: Final[Mapping[str, int]] = {"allow": ALLOWED, "ask": ASKED, "deny": DENIED, "refused": REFUSED}

_VERSION: Final = 1
_WIDTH: Final = 8
_NONE: Final = bytes(_WIDTH)
_MAC: Final = 32
_ROW: Final = struct.Struct("<I")
_TASK: Final = struct.Struct("<8sIIIII")
_MOST_KNOWN: Final = 4096
"""Digests that are kept while an index grows."""


class Search(NamedTuple):
    """The values that a row has to have. `kinds` are the kinds of lines; empty: all."""

    values: Mapping[Column, str] = {}
    code: str | None = None
    kinds: frozenset[int] = frozenset()


class TaskRows(NamedTuple):
    """The calls of a task in a segment. `task` is a digest, and `first` and `last` are the rows of the first and the last call."""

    task: bytes
    first: int
    last: int
    calls: int = 0
    asked: int = 0
    stopped: int = 0

    def add(self, row: int, kind: int) -> TaskRows:
        """Return the rows with a further call."""
        return self._replace(
            last=row,
            calls=self.calls + 1,
            asked=self.asked + (kind == ASKED),
            stopped=self.stopped + (kind == DENIED),
        )


class _IndexedPart(msgspec.Struct, frozen=True):
    id: str | None = None
    upstream: str | None = None
    user: str | None = None


class _Coded(msgspec.Struct, frozen=True):
    code: str


class _IndexedHeading(msgspec.Struct, frozen=True):
    """The parts of a line that searches look at. Some kinds of entries have texts in the places of objects."""

    kind: str
    time: str = ""
    id: str | None = None
    effect: str | None = None
    task: _IndexedPart | str | None = None
    principal: _IndexedPart | str | None = None
    target: _IndexedPart | str | None = None
    reasons: tuple[_Coded, ...] = ()


_HEADINGS: Final = msgspec.json.Decoder(_IndexedHeading)


class _StoredColumns(msgspec.Struct, array_like=True, frozen=True):
    """An index in its file."""

    version: int
    segment: int
    size: int
    link: str
    begun: str
    broken: int
    kinds: bytes
    offsets: bytes
    columns: dict[str, bytes]
    codes: bytes
    code_rows: bytes
    tasks: bytes


class SegmentColumns:
    """The rows of one segment, in the order of its lines. `size` counts the covered bytes.

    `begun` is the time of the first line, and `link` the link of the last line. `broken` counts edited lines, and lines whose
    predecessor is missing.
    """

    def __init__(self, segment: int, key: bytes) -> None:
        self.segment = segment
        self.size = 0
        self.link = ""
        self.begun = ""
        self.broken = 0
        self._key = subkey(key, "index")
        self._kinds = bytearray()
        self._offsets = bytearray()
        self._columns = {name: bytearray() for name in _COLUMNS}
        self._codes = bytearray()
        self._code_rows = bytearray()
        self._tasks: dict[bytes, TaskRows] = {}
        self._known: dict[str, bytes] = {}

    def __len__(self) -> int:
        return len(self._kinds)

    @property
    def weight(self) -> int:
        """Return about how many bytes of memory the index takes."""
        return len(self) * (1 + _WIDTH + _WIDTH * len(_COLUMNS)) + 2 * len(self._codes) + 300 * len(self._tasks)

    def add(self, line: bytes, chain: Chain) -> None:
        """Add the next line of the segment, without its newline."""
        link = chain.checked(line)
        if link is None or (self.link and not chain.follows(line, self.link)):
            self.broken += 1
        heading = None if link is None else _read_heading(line)
        self.link = link or ""
        self._offsets += self.size.to_bytes(_WIDTH, "little")
        self.size += len(line) + 1
        self._add_row(heading)

    def _add_row(self, heading: _IndexedHeading | None) -> None:
        row, kind = len(self._kinds), UNREADABLE if heading is None else _kind_of(heading)
        values = {} if heading is None else _values_of(heading)
        self.begun = self.begun or ("" if heading is None else heading.time)
        digests = {name: self._digest_new(name, values.get(name)) for name in _COLUMNS}
        for name in _COLUMNS:
            self._columns[name] += digests[name]
        for code in {reason.code for reason in heading.reasons} if heading is not None else ():
            self._codes += self._digest_new("code", code)
            self._code_rows += _ROW.pack(row)
        if kind in CALLS:
            task = digests["task"]
            self._tasks[task] = self._tasks.get(task, TaskRows(task, row, row)).add(row, kind)
        self._kinds.append(kind)

    def _digest_new(self, name: str, value: str | None) -> bytes:
        """Return the digest of a value of a new row. Few agents, upstreams and codes stand in many rows."""
        if value is None:
            return _NONE
        if name == "id":
            return self._digest(value)
        found = self._known.get(value)
        if found is None:
            found = self._digest(value)
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[value] = found
        return found

    def _digest(self, value: str) -> bytes:
        return blake2b(value.encode("utf-8", "surrogatepass"), digest_size=_WIDTH, key=self._key).digest()

    def offset(self, row: int) -> int:
        """Return the offset of a row's line in the segment."""
        return int.from_bytes(self._offsets[row * _WIDTH : (row + 1) * _WIDTH], "little")

    def row_at(self, offset: int) -> int:
        """Return the number of rows whose lines begin before an offset."""
        low, high = 0, len(self)
        while low < high:
            middle = (low + high) // 2
            low, high = (middle + 1, high) if self.offset(middle) < offset else (low, middle)
        return low

    def find(self, search: Search, end: int) -> Iterator[int]:
        """Yield the rows before `end` with the searched values, and the rows of unreadable lines, in falling order."""
        unreadable = self._rows_of_kind(UNREADABLE, end)
        return heapq.merge(self._fitting(search, end), unreadable, reverse=True)

    def _fitting(self, search: Search, end: int) -> Iterator[int]:
        wanted: dict[Column, bytes] = {name: self._digest(value) for name, value in search.values.items()}
        for row in self._first_rows(search, wanted, end):
            kind = self._kinds[row]
            if kind == UNREADABLE or (search.kinds and kind not in search.kinds):
                continue
            if all(self._value(name, row) == value for name, value in wanted.items()):
                yield row

    def _first_rows(self, search: Search, wanted: Mapping[Column, bytes], end: int) -> Iterator[int]:
        """Yield the rows with one of the wanted values, without a look at each row."""
        if wanted:
            # An id has the fewest rows, and an upstream the most.
            name = min(wanted, key=_COLUMNS.index)
            if name in {"id", "task"} or search.code is None:
                rows = _find_rows(self._columns[name], wanted[name], end)
                return rows if search.code is None else self._with_code(rows, search.code, end)
        if search.code is not None:
            return self._rows_of_code(search.code, end)
        if len(search.kinds) == 1:
            return self._rows_of_kind(next(iter(search.kinds)), end)
        return iter(range(end - 1, -1, -1))

    def _with_code(self, rows: Iterator[int], code: str, end: int) -> Iterator[int]:
        coded = frozenset(self._rows_of_code(code, end))
        return (row for row in rows if row in coded)

    def _rows_of_kind(self, kind: int, end: int) -> Iterator[int]:
        mark, at = bytes((kind,)), end
        while (at := self._kinds.rfind(mark, 0, at)) >= 0:
            yield at

    def _rows_of_code(self, code: str, end: int) -> Iterator[int]:
        for place in _find_rows(self._codes, self._digest(code), len(self._codes) // _WIDTH):
            (row,) = _ROW.unpack_from(self._code_rows, place * _ROW.size)
            if row < end:
                yield row

    def _value(self, name: Column, row: int) -> bytes:
        return bytes(self._columns[name][row * _WIDTH : (row + 1) * _WIDTH])

    def has_values(self, row: int, values: Mapping[Column, str]) -> bool:
        """Return whether a row has these values."""
        return all(self._value(name, row) == self._digest(value) for name, value in values.items())

    def find_ends(self, calls: Collection[str], end: int) -> Iterator[int]:
        """Yield the rows before row `end` with outcomes of the given calls, newest first."""
        wanted = frozenset(map(self._digest, calls))
        return (row for row in self._rows_of_kind(ENDED, end) if self._value("id", row) in wanted)

    @property
    def tasks(self) -> Mapping[bytes, TaskRows]:
        """Return the tasks with calls in the segment, by the digest of their id."""
        return self._tasks

    def dump(self) -> bytes:
        """Return the bytes of the index's file, with their MAC."""
        data = msgspec.msgpack.encode(
            _StoredColumns(
                _VERSION,
                self.segment,
                self.size,
                self.link,
                self.begun,
                self.broken,
                bytes(self._kinds),
                bytes(self._offsets),
                {name: bytes(column) for name, column in self._columns.items()},
                bytes(self._codes),
                bytes(self._code_rows),
                b"".join(_TASK.pack(*task) for task in self._tasks.values()),
            )
        )
        return data + hmac.digest(self._key, data, "sha256")

    @classmethod
    def load(cls, data: bytes, segment: int, key: bytes) -> SegmentColumns | None:
        """Return the index of a file; `None` if the file is not as it was written, or for another segment."""
        made = cls(segment, key)
        content, mac = data[:-_MAC], data[-_MAC:]
        if not hmac.compare_digest(mac, hmac.digest(made._key, content, "sha256")):
            return None
        try:
            stored = msgspec.msgpack.decode(content, type=_StoredColumns)
        except msgspec.MsgspecError:
            return None
        if (stored.version, stored.segment, set(stored.columns)) != (_VERSION, segment, set(_COLUMNS)):
            return None
        made.size, made.link, made.begun, made.broken = stored.size, stored.link, stored.begun, stored.broken
        made._kinds, made._offsets = bytearray(stored.kinds), bytearray(stored.offsets)
        made._columns = {name: bytearray(stored.columns[name]) for name in _COLUMNS}
        made._codes, made._code_rows = bytearray(stored.codes), bytearray(stored.code_rows)
        made._tasks = {task[0]: TaskRows(*task) for task in _TASK.iter_unpack(stored.tasks)}
        return made


def _find_rows(column: bytearray, value: bytes, end: int) -> Iterator[int]:
    """Yield the rows with a value in a column, the last one first."""
    at = end * _WIDTH
    while (at := column.rfind(value, 0, at)) >= 0:
        row, rest = divmod(at, _WIDTH)
        if rest:
            at += _WIDTH - 1  # the value lies across two rows; the next one may overlap it
        else:
            yield row


def _read_heading(line: bytes) -> _IndexedHeading | None:
    try:
        return _HEADINGS.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _kind_of(heading: _IndexedHeading) -> int:
    match heading.kind:
        case "call":
            return EFFECTS.get(heading.effect or "", UNREADABLE)
        case "refused":
            return REFUSED
        case "settled" | "abandoned":
            return ENDED
        case _:
            return OTHER


def _values_of(heading: _IndexedHeading) -> dict[Column, str | None]:
    task, principal, target = heading.task, heading.principal, heading.target
    return {
        "id": heading.id,
        "task": task.id if isinstance(task, _IndexedPart) else task,
        "agent": principal.id if isinstance(principal, _IndexedPart) else None,
        "user": principal.user if isinstance(principal, _IndexedPart) else None,
        "upstream": target.upstream if isinstance(target, _IndexedPart) else None,
    }
