"""The fold of declared facts. Pure: no I/O, no clock, no randomness.

A call puts a mark on each fact that counts it. The mark goes into the event of the call with all that its fold needs, so a
journal is folded alike under any later declaration. A table holds one fact: its keys, each with the calls that are open, and the
closed calls in parts of the window. Beyond a bound a table is incomplete; it never counts less.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from decimal import Context, Decimal
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
    """One key of a fact: its open calls by id, and its closed calls by the part of the window. `joined` are all of `closed` as
    one, `None` if nobody has asked since a part was over."""

    open: dict[str, Amount] = field(default_factory=dict[str, Amount])
    closed: dict[int, Amount] = field(default_factory=dict[int, Amount])
    joined: Amount | None = None

    def join(self, earliest: int) -> Amount | None:
        """Return the closed calls from a part of the window on, and drop earlier parts."""
        over = [part for part in self.closed if part < earliest] if self.closed else ()
        for part in over:
            del self.closed[part]
        if self.joined is None or over:
            self.joined = _joined(self.closed.values())
        return self.joined


class Table(Struct, array_like=True):
    """One fact. `lost` is the last time at which a call could not be kept, `None` for never. `unkept` are open calls whose keys
    found no room. `swept` is the earliest part of the window at the last search for room."""

    width: float
    cells: dict[str, Cell] = field(default_factory=dict[str, Cell])
    lost: float | None = None
    unkept: set[str] = field(default_factory=set[str])
    swept: int | None = None

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
                table.unkept.add(call)
                continue
            cell = table.cells[mark.key] = Cell()
        cell.open[call] = _amount(mark, at)


def close(tables: Tables, call: str, at: float, marks: Iterable[Mark], ends: Collection[str]) -> None:
    """End an open call. `at` is its beginning, and `ends` says how it ended: it counts if its mark has any of these."""
    wanted = frozenset(ends)
    for mark in marks:
        counts = not wanted.isdisjoint(mark.ends)
        table = tables.get(mark.table)
        cell = None if table is None else table.cells.get(mark.key)
        if table is not None:
            table.unkept.discard(call)
        amount = None if cell is None or mark.begins else cell.open.pop(call, None)
        if mark.begins and counts and cell is not None:
            cell.closed.clear()
            cell.joined = None
        elif counts and cell is not None and amount is not None:
            _keep(cell, amount, mark.width)
        elif counts and amount is None and not mark.begins:
            # There was no room for its key, or its key could not be read.
            tables.setdefault(mark.table, Table(mark.width)).lost = at
        if table is not None and cell is not None and not cell.open and not cell.closed:
            del table.cells[mark.key]


def _amount(mark: Mark, at: float) -> Amount:
    number = _ZERO if mark.number == "0" else Decimal(mark.number)
    return Amount(at, at, 1, number, set(mark.members), mark.unreadable)


def _keep(cell: Cell, amount: Amount, width: float) -> None:
    """Add a closed call to its part of the window."""
    part = floor(amount.first / width) if width else 0
    if cell.joined is not None:
        cell.joined.add(amount)
    held = cell.closed.get(part)
    if held is None:
        cell.closed[part] = amount
    else:
        held.add(amount)


def _make_room(table: Table, now: float) -> bool:
    """Drop the keys whose window is over. Return whether there is room for another.

    A full table is searched once in a part of the window, so calls with further keys hold up no others.
    """
    if not table.width:
        return False
    before, earliest = len(table.cells), floor(now / table.width) - PARTS
    if table.swept == earliest:
        return False
    table.swept = earliest
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
    """The amounts of one key: of all counted calls but the call under decision, and of this call. `None`: there are none."""

    before: Amount | None = None
    mine: Amount | None = None
    incomplete: bool = False


NOTHING: Final = Reading()


def read(table: Table, key: str, now: float, ends: Collection[str], own: str | None) -> Reading:
    """Return the amounts of a key. `own` is the call under decision, which counts as open."""
    cell = table.cells.get(key)
    if cell is None:
        return NOTHING._replace(incomplete=bool(table.unkept) or table.is_incomplete(now))
    before = cell.join(floor(now / table.width) - PARTS if table.width else 0)
    mine = None
    if "open" in ends:
        mine = cell.open.get(own) if own is not None else None
        others = [amount for call, amount in cell.open.items() if call != own]
        if others:
            before = _joined(others if before is None else [before, *others])
    incomplete = (
        table.is_incomplete(now) or (before is not None and before.unreadable) or (mine is not None and mine.unreadable)
    )
    return Reading(before, mine, incomplete)


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


def add(one: Amount | None, other: Amount | None) -> Amount | None:
    """Return two amounts as one."""
    if one is None or other is None:
        return one or other
    return _joined((one, other))
