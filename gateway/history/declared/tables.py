"""The fold of declared facts. Pure: no I/O, no clock, no randomness.

A call puts a mark on each fact that counts it. The mark goes into the event of the call with all that its fold needs, so a
journal is folded alike under any later declaration. A table holds one fact: its keys, each with its open calls, and with the
closed calls in parts of the window. Beyond a bound a table is incomplete; it never counts less.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from decimal import Context, Decimal
from functools import lru_cache, reduce
from math import floor
from typing import Any, Final, Literal, TypeAlias, cast

from msgspec import Struct, field

Aggregate: TypeAlias = Literal["count", "sum", "distinct", "first", "last"]
Amount: TypeAlias = int | float | Decimal | set[str]
"""What some calls come to: their number, a time, their sum, or their different values."""

MAX_MEMBERS: Final = 1_024
"""Different values that one call may add. With more, nobody can read them."""
BEYOND: Final = 10**9
"""The least number of different values where some were not kept: above every limit."""
PARTS: Final = 60
_EXACT: Final = Context(prec=80)
_ZERO: Final = Decimal(0)
_UNKNOWN: Final = frozenset({"unknown", "open"})
"""The states in which a call of unknown outcome counts."""


_read_number: Final = lru_cache(maxsize=4096)(Decimal)


class Mark(Struct, frozen=True, array_like=True):
    """One call as one fact counts it.

    `table` is the fact with the digest of its declaration, and `owner` the account that holds it, empty for the task. `key` is a
    keyed digest, empty for a call whose key could not be read. `ends` are the states in which the call counts. `width` is the
    length of a part of the window in seconds, 0 without a window. `number` and `members` are what the call adds. `begins`: the
    call only begins the fact anew. `values` bounds the different values of the key. `caller` is the digest of who called,
    for a fact whose keys are the same for all callers.
    """

    table: str
    owner: str
    key: str
    aggregate: Aggregate
    ends: tuple[str, ...]
    width: float
    most: int
    number: str = "0"
    members: tuple[str, ...] = ()
    unreadable: bool = False
    begins: bool = False
    values: int = MAX_MEMBERS
    caller: str = ""


class Cell(Struct, array_like=True):
    """One key of a fact.

    `closed` has the closed calls by the part of the window. `joined` has all of `closed` as one, or `None` before it is made.
    `oldest` is no later than the earliest part. `unclear` is the latest part with an unreadable closed call. `opened` counts
    the open calls, and `unread` the unreadable open calls. `total` is the sum of the open calls. `open` has their times and
    values. `beyond` is the latest part with different values that were not kept. `caller` is who took the key.
    """

    closed: dict[int, Amount] = field(default_factory=dict[int, Amount])
    joined: Amount | None = None
    oldest: int = 0
    unclear: int | None = None
    opened: int = 0
    unread: int = 0
    total: Decimal = _ZERO
    open: dict[str, Amount] = field(default_factory=dict[str, Amount])
    beyond: int | None = None
    caller: str = ""

    def begin(self, call: str, at: float, mark: Mark) -> None:
        """Count an open call."""
        self.opened += 1
        if mark.aggregate == "count":
            return
        if mark.aggregate == "sum":
            self.total = _EXACT.add(self.total, _read_number(mark.number))
        else:
            self.open[call] = _amount_of(mark, at)
        if mark.unreadable:
            self.unread += 1

    def end(self, call: str, mark: Mark) -> None:
        """Count a call as open no longer."""
        self.opened -= 1
        if mark.aggregate == "count":
            return
        if mark.aggregate == "sum":
            self.total = _EXACT.subtract(self.total, _read_number(mark.number)) if self.opened else _ZERO
        else:
            self.open.pop(call, None)
        if mark.unreadable:
            self.unread -= 1

    def keep(self, at: float, mark: Mark) -> None:
        """Add a closed call to its part of the window."""
        part = floor(at / mark.width) if mark.width else 0
        closed, aggregate = self.closed, mark.aggregate
        if part < self.oldest or not closed:
            self.oldest = part
        if aggregate == "count":
            closed[part] = cast("int", closed.get(part, 0)) + 1
            self.joined = None if self.joined is None else cast("int", self.joined) + 1
            return
        amount = _amount_of(mark, at)
        if mark.unreadable:
            self.unclear = part if self.unclear is None else max(part, self.unclear)
        if isinstance(amount, set):
            self._keep_members(part, amount, mark.values)
            return
        held = closed.get(part)
        closed[part] = amount if held is None else _add(aggregate, held, amount)
        if self.joined is not None:
            self.joined = _add(aggregate, self.joined, amount)

    def _keep_members(self, part: int, members: set[str], most: int) -> None:
        if self.joined is None:
            self.joined = _join("distinct", self.closed.values()) or set[str]()
        known = cast("set[str]", self.joined)
        held = cast("set[str]", self.closed.setdefault(part, set[str]()))
        if len(known | members) > most:
            self.beyond = part if self.beyond is None else max(part, self.beyond)
            members = members & known | set(sorted(members - known)[: max(0, most - len(known))])
        held |= members
        known |= members

    def begin_anew(self) -> None:
        """Forget the closed calls."""
        self.closed.clear()
        self.joined = self.unclear = self.beyond = None

    def take_back(self, at: float, mark: Mark) -> None:
        """Count a closed call no longer. A time and different values stay."""
        part = floor(at / mark.width) if mark.width else 0
        held = self.closed.get(part)
        if held is None:
            return
        if mark.aggregate == "sum":
            self.closed[part] = _EXACT.subtract(cast("Decimal", held), _read_number(mark.number))
        elif mark.aggregate == "count":
            self.closed[part] = cast("int", held) - 1
            if held == 1:
                del self.closed[part]
        self.joined = None

    def join(self, aggregate: Aggregate, earliest: int) -> Any:
        """Return the closed calls from a part of the window on, and drop earlier parts."""
        if self.closed and self.oldest < earliest:
            for part in [part for part in self.closed if part < earliest]:
                del self.closed[part]
            self.oldest, self.joined = min(self.closed, default=earliest), None
            if self.unclear is not None and self.unclear < earliest:
                self.unclear = None
            if self.beyond is not None and self.beyond < earliest:
                self.beyond = None
        if self.joined is None and self.closed:
            self.joined = _join(aggregate, self.closed.values())
        return self.joined

    @property
    def is_empty(self) -> bool:
        return not self.opened and not self.closed


class Table(Struct, array_like=True):
    """One fact. `lost` is the last time at which a call could not be kept, `None` for never. `unkept` has the keys of open calls
    that found no room. `shares` are the numbers of keys that callers took. `swept` is the earliest part of the window at the last search for room. `anew`: a key began anew, so nobody
    knows whether an earlier call is still in it."""

    width: float
    cells: dict[str, Cell] = field(default_factory=dict[str, Cell])
    lost: float | None = None
    unkept: dict[str, str] = field(default_factory=dict[str, str])
    swept: int | None = None
    anew: bool = False
    shares: dict[str, int] = field(default_factory=dict[str, int])

    def add(self, mark: Mark, now: float) -> Cell | None:
        """Return the cell of a new key, `None` without room for it.

        A caller takes no more keys than are left. So one caller fills half of a table, and others find room.
        """
        if not self._has_room(mark) and not (_make_room(self, now) and self._has_room(mark)):
            return None
        if mark.caller:
            self.shares[mark.caller] = self.shares.get(mark.caller, 0) + 1
        cell = self.cells[mark.key] = Cell(caller=mark.caller)
        return cell

    def _has_room(self, mark: Mark) -> bool:
        left = mark.most - len(self.cells)
        return left > 0 and (not mark.caller or self.shares.get(mark.caller, 0) < left)

    def drop(self, key: str) -> None:
        """Drop the cell of a key."""
        caller = self.cells.pop(key).caller
        if caller:
            self.shares[caller] -= 1
            if not self.shares[caller]:
                del self.shares[caller]

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
            cell = table.add(mark, at)
        if cell is None:
            table.unkept[call] = mark.key
            continue
        cell.begin(call, at, mark)


def close(tables: Tables, call: str, at: float, marks: Iterable[Mark], ends: Collection[str]) -> None:
    """End an open call. `at` is its beginning, and `ends` says how it ended: it counts if its mark has any of these."""
    wanted = frozenset(ends)
    for mark in marks:
        counts = not wanted.isdisjoint(mark.ends)
        table = tables.get(mark.table)
        cell = None if table is None else table.cells.get(mark.key)
        if mark.begins:
            if counts and table is not None and cell is not None:
                cell.begin_anew()
                table.anew = True
        else:
            is_kept = cell is not None and table is not None and call not in table.unkept
            if cell is not None and is_kept:
                cell.end(call, mark)
                if counts:
                    cell.keep(at, mark)
            elif counts:
                # There was no room for its key, or its key could not be read.
                table = tables.setdefault(mark.table, Table(mark.width))
                table.lost = at
            if table is not None and not is_kept:
                table.unkept.pop(call, None)
        if table is not None and cell is not None and cell.is_empty:
            table.drop(mark.key)


def correct(tables: Tables, call: str, at: float, marks: Iterable[Mark], end: str) -> None:
    """Count a closed call of unknown outcome as `end` says. It counted wherever an open call does."""
    for mark in marks:
        counted, counts = not _UNKNOWN.isdisjoint(mark.ends), end in mark.ends
        table = tables.get(mark.table)
        cell = None if table is None else table.cells.get(mark.key)
        if mark.begins or counted == counts:
            continue
        if counts:
            reserve(tables, call, at, (mark,))
            close(tables, call, at, (mark,), (end,))
        elif cell is not None and table is not None and not table.anew:
            cell.take_back(at, mark)
            if cell.is_empty:
                table.drop(mark.key)


def _amount_of(mark: Mark, at: float) -> Amount:
    """Return what one call adds to a sum, to different values, or to a time."""
    if mark.aggregate == "sum":
        return _read_number(mark.number)
    return set(mark.members) if mark.aggregate == "distinct" else at


def _add(aggregate: Aggregate, one: Any, other: Any) -> Amount:
    """Return two amounts as one."""
    if aggregate == "count":
        return one + other
    if aggregate == "sum":
        return _EXACT.add(one, other)
    if aggregate == "distinct":
        return one if other <= one else one | other
    return min(one, other) if aggregate == "first" else max(one, other)


def _join(aggregate: Aggregate, amounts: Iterable[Amount]) -> Amount | None:
    """Return some amounts as one; `None` for none."""
    found = list(amounts)
    if not found:
        return None
    first = set(found[0]) if isinstance(found[0], set) else found[0]
    return reduce(lambda one, other: _add(aggregate, one, other), found[1:], first)


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
    over = [
        key
        for key, cell in table.cells.items()
        if not cell.opened and cell.oldest < earliest and max(cell.closed, default=0) < earliest
    ]
    for key in over:
        table.drop(key)
    return len(table.cells) < before


def sweep(tables: Tables, now: float) -> None:
    """Drop keys whose window is over, and tables without any."""
    for name, table in tuple(tables.items()):
        _make_room(table, now)
        if not table.cells and not table.is_incomplete(now):
            del tables[name]


Reading: TypeAlias = tuple[Amount | None, Amount | None, bool]
"""What one key comes to, without the call under decision, and with it, and whether that may be too little. `None`: there
are no calls."""
_NOTHING: Final[Reading] = None, None, False
_LACKING: Final[Reading] = None, None, True


def read(table: Table, key: str, now: float, how: tuple[Aggregate, bool], own: tuple[str, Mark | None]) -> Reading:
    """Return what a key comes to. `how` is the aggregate, and whether open calls count.

    `own` is the call under decision. It counts as open by its mark, if that has the key and found room.
    """
    (aggregate, counts_open), (call, mine) = how, own
    lost, cell = table.lost is not None and table.is_incomplete(now), table.cells.get(key)
    if table.unkept and key in table.unkept.values():
        # Its open call found no room, and may have found some since.
        lost = True
    if cell is None:
        return _LACKING if lost else _NOTHING
    closed = cell.join(aggregate, floor(now / table.width) - PARTS if table.width else 0)
    lacks = lost or cell.unclear is not None
    if not counts_open or not cell.opened:
        if cell.beyond is not None:
            closed = BEYOND + len(closed or ())
        return closed, closed, lacks
    if mine is not None and (mine.key != key or call in table.unkept):
        mine = None
    lacks = lacks or cell.unread > 0
    if aggregate == "count":
        counted = cell.opened if closed is None else cell.opened + closed
        return (counted if mine is None else counted - 1) or None, counted, lacks
    if aggregate == "sum":
        return *_read_total(cell, closed, mine), lacks
    past, value = _read_open(cell, closed, aggregate, call, mine)
    if cell.beyond is not None:
        # Also here, so that a call with another value raises the number.
        return BEYOND + len(cast("set[str]", past or ())), BEYOND + len(cast("set[str]", value or ())), lacks
    return past, value, lacks


def _read_total(cell: Cell, closed: Decimal | None, mine: Mark | None) -> tuple[Decimal | None, Decimal]:
    """Return a sum with the open calls. It is at hand, as many calls may be open."""
    total = cell.total if closed is None else _EXACT.add(cell.total, closed)
    if mine is None:
        return total, total
    return None if closed is None and cell.opened == 1 else _EXACT.subtract(total, _read_number(mine.number)), total


def _read_open(
    cell: Cell, closed: Any, aggregate: Aggregate, call: str, mine: Mark | None
) -> tuple[Amount | None, Amount | None]:
    """Return a time, or different values, with the open calls."""
    others = [amount for each, amount in cell.open.items() if each != call or mine is None]
    before = _join(aggregate, others if closed is None else [closed, *others]) if others else closed
    if mine is None:
        return before, before
    added = cell.open[call]
    return before, added if before is None else _add(aggregate, before, added)
