"""The fold of declared facts. Pure: no I/O, no clock, no randomness.

A call puts a mark on each fact that counts it. The mark goes into the event of the call with all that its fold needs, so a
journal is folded alike under any later declaration. A table holds one fact: its keys, each with the calls that are open, and the
closed calls in parts of the window. Beyond a bound a table is incomplete; it never counts less.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from decimal import Context, Decimal
from itertools import chain
from math import floor
from typing import Final, NamedTuple, TypeAlias

from msgspec import Struct, field

MAX_MEMBERS: Final = 1_024
"""Different values of one key in one part of a window. With more, the fact is incomplete."""
PARTS: Final = 60
_EXACT: Final = Context(prec=80)
_ZERO: Final = Decimal(0)


class Mark(Struct, frozen=True, array_like=True):
    """One call as one fact counts it.

    `table` is the fact with the digest of its declaration, and `owner` the account that holds it, empty for the task. `key` is a
    keyed digest, empty for a call whose key could not be read. `ends` are the states in which the call counts. `width` is the
    length of a part of the window in seconds, 0 without a window. `number` and `members` are what the call adds. `begins`: the
    call only begins the fact anew.
    """

    table: str
    owner: str
    key: str
    ends: tuple[str, ...]
    width: float
    most: int
    number: str = "0"
    members: tuple[str, ...] = ()
    unreadable: bool = False
    begins: bool = False


class Amount(Struct, array_like=True):
    """Sum of some calls. `first` and `last` are the times of these calls."""

    first: float
    last: float
    calls: int = 1
    total: Decimal = _ZERO
    members: set[str] = field(default_factory=set[str])
    unreadable: bool = False

    def add(self, other: Amount) -> None:
        """Add another amount to this one."""
        self.first, self.last = min(self.first, other.first), max(self.last, other.last)
        self.calls += other.calls
        self.total = _EXACT.add(self.total, other.total)
        self.members |= other.members
        self.unreadable |= other.unreadable or len(self.members) > MAX_MEMBERS
        if len(self.members) > MAX_MEMBERS:
            self.members.clear()


class Cell(Struct, array_like=True):
    """One key of a fact: its open calls by id, and its closed calls by the part of the window."""

    open: dict[str, Amount] = field(default_factory=dict[str, Amount])
    closed: dict[int, Amount] = field(default_factory=dict[int, Amount])


class Table(Struct, array_like=True):
    """One fact. `lost` is the last time at which a call could not be kept, `None` for never."""

    width: float
    cells: dict[str, Cell] = field(default_factory=dict[str, Cell])
    lost: float | None = None

    def is_incomplete(self, now: float) -> bool:
        """Return whether a call within the window was not kept."""
        return self.lost is not None and (not self.width or now - self.lost <= self.width * (PARTS + 1))


Tables: TypeAlias = dict[str, Table]


def of_owner(marks: Iterable[Mark], owner: str) -> list[Mark]:
    """Return the marks whose facts an account holds; of the task with an empty owner."""
    return [mark for mark in marks if mark.owner == owner]


def reserve(tables: Tables, call: str, at: float, marks: Iterable[Mark]) -> None:
    """Count a call as open."""
    for mark in marks:
        if mark.begins:
            continue
        table = tables.get(mark.table)
        if table is None:
            table = tables[mark.table] = Table(mark.width)
        if not mark.key:
            continue
        cell = table.cells.get(mark.key)
        if cell is None:
            if len(table.cells) >= mark.most and not _make_room(table, at):
                continue
            cell = table.cells[mark.key] = Cell()
        cell.open[call] = _amount(mark, at)


def close(tables: Tables, call: str, at: float, marks: Iterable[Mark], ends: Collection[str]) -> None:
    """End an open call. `at` is its beginning, and `ends` says how it ended: it counts if its mark has any of these."""
    for mark in marks:
        counts = any(end in mark.ends for end in ends)
        table = tables.get(mark.table)
        cell = None if table is None else table.cells.get(mark.key)
        if mark.begins:
            if counts and cell is not None:
                cell.closed.clear()
        elif cell is None or cell.open.pop(call, None) is None:
            if counts:
                # There was no room for its key, or its key could not be read.
                tables.setdefault(mark.table, Table(mark.width)).lost = at
        elif counts:
            _keep(cell, mark, at)
        if table is not None and cell is not None and not cell.open and not cell.closed:
            del table.cells[mark.key]


def _amount(mark: Mark, at: float) -> Amount:
    return Amount(at, at, 1, Decimal(mark.number), set(mark.members), mark.unreadable)


def _keep(cell: Cell, mark: Mark, at: float) -> None:
    """Add a closed call to its part of the window, and drop parts that are over."""
    part = floor(at / mark.width) if mark.width else 0
    amount = cell.closed.get(part)
    if amount is None:
        for old in [old for old in cell.closed if old < part - PARTS]:
            del cell.closed[old]
        cell.closed[part] = _amount(mark, at)
    else:
        amount.add(_amount(mark, at))


def _make_room(table: Table, now: float) -> bool:
    """Drop the keys whose window is over. Return whether there is room for another."""
    if not table.width:
        return False
    before, earliest = len(table.cells), floor(now / table.width) - PARTS
    over = [key for key, cell in table.cells.items() if not cell.open and max(cell.closed, default=0) < earliest]
    for key in over:
        del table.cells[key]
    return len(table.cells) < before


def sweep(tables: Tables, now: float) -> None:
    """Drop keys whose window is over, and tables without any."""
    for name, table in tuple(tables.items()):
        _make_room(table, now)
        if not table.cells and not table.is_incomplete(now):
            del tables[name]


class Reading(NamedTuple):
    """The amounts of one key: of all counted calls, and of those before the call under decision. `None`: there are none."""

    after: Amount | None = None
    before: Amount | None = None
    incomplete: bool = False


NOTHING: Final = Reading()


def read(table: Table, key: str, now: float, ends: Collection[str], own: str | None) -> Reading:
    """Return the amounts of a key. `own` is the call under decision, which counts as open."""
    cell = table.cells.get(key)
    if cell is None:
        return NOTHING._replace(incomplete=table.is_incomplete(now))
    earliest = floor(now / table.width) - PARTS if table.width else 0
    closed = (amount for part, amount in cell.closed.items() if part >= earliest)
    is_open = "open" in ends
    others = (amount for call, amount in cell.open.items() if call != own) if is_open else ()
    before = _joined(chain(closed, others))
    mine = cell.open.get(own) if is_open and own is not None else None
    after = before if mine is None else _joined([mine] if before is None else [before, mine])
    incomplete = table.is_incomplete(now) or (after is not None and after.unreadable)
    return Reading(after, before, incomplete)


def _joined(amounts: Iterable[Amount]) -> Amount | None:
    """Return some amounts as one; `None` for none."""
    each: Iterator[Amount] = iter(amounts)
    first = next(each, None)
    if first is None:
        return None
    joined = Amount(first.first, first.last, first.calls, first.total, set(first.members), first.unreadable)
    for amount in each:
        joined.add(amount)
    return joined
