"""The journals that a console reads: of its own gateway, and of the peers that the configuration names.

A page has entries of all, the newest first. A peer whose folder or key cannot be read is told on the page.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeVar

from gateway.model.errors import JournalError
from gateway.record.journal import index_file
from gateway.record.journal.entry_index import EntryIndex, TaskLine
from gateway.record.journal.placed import BUDGET, EntryPage, EntryPlace, find_page, read_at
from gateway.record.journal.recent import CallCount, NamedCount, RecentDecisions
from gateway.record.journal.segment_index import Allowance
from gateway.record.journal.several import NamedJournal, time_of
from gateway.record.journal.storage import has_begun
from gateway.surfaces.explain.window import JointWindow, JournalWindow

if TYPE_CHECKING:
    from gateway.model.wire import JsonObject
    from gateway.record.journal.columns import Column, Search

Found = TypeVar("Found")
_PLACE: Final = re.compile(r"(?:([A-Za-z0-9._-]{1,63}):)?([0-9]{1,8})-([0-9]{1,15})")
_OVER: Final = "end"
"""The mark of a journal without earlier entries, in an address."""
_LONGEST: Final = 4_000
"""Characters of a cursor."""
_ROUNDS: Final = 8
"""Pages of each journal that one page of tasks reads at most."""
_NAMES: Final = 50
"""Names of each journal from which the largest counts of all come."""


class JournalPlace(NamedTuple):
    """A place in one of the journals. The own journal has no name."""

    segment: int
    offset: int
    journal: str = ""

    @property
    def entry(self) -> EntryPlace:
        """Return the place in its journal."""
        return EntryPlace(self.segment, self.offset)


Cursor = Mapping[str, EntryPlace | None]
"""Journal → the place to go on from, `None` at its beginning. A journal that is not here begins with its newest entry."""
NEWEST: Final[Cursor] = MappingProxyType({})


class JointPage(NamedTuple, Generic[Found]):
    """Findings of all journals, the newest first. `before` is empty at the end. `searched` counts bytes."""

    found: list[tuple[JournalPlace, Found]]
    before: Cursor
    searched: int


@dataclass(frozen=True, slots=True)
class ReadJournal:
    """A journal with its index. The own journal has no name."""

    name: str
    source: NamedJournal
    index: EntryIndex


class JointCounts(NamedTuple):
    """Calls by the values of a column. `is_whole` tells whether the indexes cover all of the time."""

    counts: list[CallCount]
    is_whole: bool


class _Item(NamedTuple, Generic[Found]):
    """A finding with its place and time."""

    place: EntryPlace
    time: str
    found: Found


class _Items(NamedTuple, Generic[Found]):
    """Findings of one journal, the newest first. `before` is the place to go on from, `None` at the beginning."""

    items: list[_Item[Found]]
    before: EntryPlace | None
    searched: int


class _Stream(Generic[Found]):
    """The findings of one journal, page by page. `place` is the place to go on from, `None` at the beginning of the journal."""

    def __init__(self, name: str, find: Callable[[EntryPlace | None], _Items[Found]], before: Cursor) -> None:
        self.name = name
        self.place = before.get(name)
        self.searched = 0
        self._find = find
        self._waiting: list[_Item[Found]] = []
        self._resume = self.place
        self._is_over = name in before and self.place is None
        self.has_begun = name in before
        self._rounds = _ROUNDS

    @property
    def is_finished(self) -> bool:
        """Return whether the journal has nothing earlier."""
        return self._is_over and not self._waiting

    def peek(self) -> _Item[Found] | None:
        """Return the next finding without taking it, `None` if no more are read for this page."""
        while not self._waiting and not self._is_over and self._rounds:
            page = self._find(self.place)
            self._rounds -= 1
            self.searched += page.searched
            self._waiting, self._resume = page.items[::-1], page.before
            if not page.items:
                self.place, self._rounds, self.has_begun = page.before, 0, True
            self._is_over = page.before is None
        return self._waiting[-1] if self._waiting else None

    def take(self) -> _Item[Found]:
        """Take the next finding."""
        item = self._waiting.pop()
        self.has_begun = True
        self.place = item.place if self._waiting else self._resume
        return item


def _read(
    streams: Sequence[_Stream[Found]], count: int, choose: Callable[[str, Found], Found | None]
) -> JointPage[Found]:
    """Return the first findings of all journals that `choose` takes."""
    found: list[tuple[JournalPlace, Found]] = []
    while len(found) < count and (ready := [each for each in streams if each.peek() is not None]):
        stream = max(ready, key=_time_of)
        item = stream.take()
        chosen = choose(stream.name, item.found)
        if chosen is not None:
            found.append((JournalPlace(*item.place, stream.name), chosen))
    searched = sum(each.searched for each in streams)
    if all(each.is_finished for each in streams):
        return JointPage(found, {}, searched)
    return JointPage(found, {each.name: each.place for each in streams if each.has_begun}, searched)


def _time_of(stream: _Stream[Any]) -> str:
    item = stream.peek()
    return "" if item is None else item.time


class ConsoleJournals:
    """The own journal and those of peers. Its methods read files, and may be called from any thread."""

    def __init__(self, own: NamedJournal, find_peer: Callable[[str], NamedJournal], peers: Iterable[str]) -> None:
        self._own = ReadJournal("", own, EntryIndex(own.folder, own.keys))
        self._find_peer = find_peer
        self._names = tuple(peers)
        self._peers: dict[str, ReadJournal] = {}
        self.unread: dict[str, str] = {}
        """Peer → why it cannot be read."""

    @property
    def name(self) -> str:
        """Return the name of the own gateway."""
        return self._own.source.name

    @property
    def is_several(self) -> bool:
        """Return whether the configuration names peers."""
        return bool(self._names)

    @property
    def unchecked(self) -> list[str]:
        """Return the read journals whose key is not known here."""
        # A reading thread may open another one meanwhile.
        return [each.name for each in tuple(self._peers.values()) if each.source.keys is None]

    def list(self) -> list[ReadJournal]:
        """Return the journals that can be read now."""
        found = [self._own]
        for name in self._names:
            try:
                found.append(self._open(name))
                self.unread.pop(name, None)
            except JournalError as error:
                self.unread[name] = error.message
        return found

    def _open(self, name: str) -> ReadJournal:
        if name not in self._peers:
            source = self._find_peer(name)
            rows = self._own.source.folder / index_file.FILE
            index = EntryIndex(source.folder, source.keys, file=rows.with_name(f"peer-{name}.db"))
            self._peers[name] = ReadJournal(name, source, index)
        if not has_begun(self._peers[name].source.folder):
            raise JournalError(f"there is no journal in {self._peers[name].source.folder}", "look at `journal.peers`")
        return self._peers[name]

    def find_latest(self, fits: Callable[[bytes], bool], before: Cursor, *, count: int) -> JointPage[JsonObject]:
        """Return the entries before the places of a cursor whose line fits, read from the ends of the journals."""

        def find(each: ReadJournal, place: EntryPlace | None) -> EntryPage:
            return find_page(each.source.folder, fits, before=place, count=count, key=each.source.keys)

        return self._read_entries(find, before, count)

    def find_page(
        self,
        search: Search,
        fits: Callable[[bytes], bool],
        before: Cursor = NEWEST,
        *,
        count: int,
        budget: int = BUDGET,
    ) -> JointPage[JsonObject]:
        """Return the entries before the places of a cursor whose line fits. The indexes find them. Raises `JournalError`."""

        def find(each: ReadJournal, place: EntryPlace | None) -> EntryPage:
            return each.index.find_page(search, fits, before=place, count=count, budget=budget)

        return self._read_entries(find, before, count)

    def _read_entries(
        self, find: Callable[[ReadJournal, EntryPlace | None], EntryPage], before: Cursor, count: int
    ) -> JointPage[JsonObject]:
        def read(each: ReadJournal, place: EntryPlace | None) -> _Items[JsonObject]:
            page = find(each, place)
            return _Items([_Item(at, time_of(entry), entry) for at, entry in page.found], page.before, page.searched)

        streams = [_Stream(each.name, partial(read, each), before) for each in self.list()]
        return _read(streams, count, lambda _name, entry: entry)

    def find_tasks(
        self, values: Mapping[Column, str], fits: Callable[[TaskLine], bool], before: Cursor = NEWEST, *, count: int
    ) -> JointPage[TaskLine]:
        """Return the tasks whose latest call is before the places of a cursor, with the counts of all journals.

        Raises `JournalError`, also for an edited entry.
        """
        journals = self.list()
        # One bound for all rows: a page indexes no more of a journal than a search does.
        allowances = {each.name: Allowance(BUDGET) for each in journals}

        def read(each: ReadJournal, place: EntryPlace | None) -> _Items[TaskLine]:
            page = each.index.find_tasks(values, lambda _last, _rows: True, before=place, count=count)
            lines = [_Item(line.place, time_of(line.last), line) for line in page.found]
            return _Items(lines, page.before, page.searched)

        def choose(name: str, line: TaskLine) -> TaskLine | None:
            others = {each: allowances[each.name] for each in journals if each.name != name}
            whole = _add_others(name, line, others)
            return whole if whole is not None and fits(whole) else None

        return _read([_Stream(each.name, partial(read, each), before) for each in journals], count, choose)

    def count_recent(self, since: int, *, most: int = 5) -> RecentDecisions:
        """Return the decisions since an hour (since the epoch), and the agents and reasons with the most refusals."""
        journals = self.list()
        found = [each.index.count_recent(since, most=most if len(journals) == 1 else _NAMES) for each in journals]
        hours: Counter[tuple[int, int]] = Counter()
        for one in found:
            hours.update(one.hours)
        return RecentDecisions(
            hours,
            _add_names((one.agents for one in found), most),
            _add_names((one.codes for one in found), most),
            all(one.is_whole for one in found),
        )

    def count_calls(
        self, by: Column, since: int, where: Mapping[Column, str] | None = None, *, most: int
    ) -> JointCounts:
        """Return the calls since an hour by the values of a column, the most frequent ones."""
        totals: dict[str, CallCount] = {}
        is_whole = True
        for each in self.list():
            found, is_all = each.index.count_calls(by, since, where or {}, most=most)
            is_whole = is_whole and is_all
            for one in found:
                totals[one.name] = _add_counts(totals[one.name], one) if one.name in totals else one
        ordered = sorted(totals.values(), key=lambda one: -(one.allowed + one.asked + one.stopped))
        return JointCounts(ordered[:most], is_whole)

    def read_at(self, place: JournalPlace) -> JsonObject | None:
        """Return the entry at a place; `None` if none begins there."""
        try:
            each = self._find(place.journal)
            return None if each is None else read_at(each.source.folder, place.entry, key=each.source.keys)
        except JournalError:
            return None

    def open_window(self, place: JournalPlace) -> JointWindow:
        """Return the entries around a place: before it in its own journal, and of the same tasks in the others."""
        journals = self.list()
        own = next(each for each in journals if each.name == place.journal)
        others = [each for each in journals if each is not own]
        return JointWindow([_open(own, place.entry), *(_open(each, None) for each in others)])

    def name_of(self, place: JournalPlace) -> str:
        """Return the name of the gateway of a place."""
        return place.journal or self._own.source.name

    def broken_lines(self) -> int:
        """Return the number of damaged lines in the segments that were searched."""
        return sum(each.index.broken_lines() for each in (self._own, *self._peers.values()))

    def close(self) -> None:
        """Close the files of the indexes. The next search opens them again."""
        for each in (self._own, *self._peers.values()):
            each.index.close()

    def _find(self, name: str) -> ReadJournal | None:
        return next((each for each in self.list() if each.name == name), None)


def _open(journal: ReadJournal, place: EntryPlace | None) -> JournalWindow:
    return JournalWindow(journal.source.folder, place, journal.source.keys, journal.index)


def _add_others(journal: str, line: TaskLine, others: Mapping[ReadJournal, Allowance]) -> TaskLine | None:
    """Return a task with the counts of other journals; `None` if its latest call is in one of these."""
    named: Any = line.last["task"]
    name, is_whole = str(named["id"]), line.is_whole
    counts = [line.calls, line.asked, line.stopped]
    for each, allowance in others.items():
        found, is_all = each.index.find_task(name, line.last, allowance)
        is_whole = is_whole and is_all
        if found is None:
            continue
        if (time_of(found.last), each.name) > (time_of(line.last), journal):
            return None
        counts = [mine + its for mine, its in zip(counts, (found.calls, found.asked, found.stopped), strict=True)]
    return line._replace(calls=counts[0], asked=counts[1], stopped=counts[2], is_whole=is_whole)


def _add_counts(one: CallCount, other: CallCount) -> CallCount:
    last = max(one.last, other.last, key=time_of)
    return CallCount(one.name, one.allowed + other.allowed, one.asked + other.asked, one.stopped + other.stopped, last)


def _add_names(found: Iterable[list[NamedCount]], most: int) -> list[NamedCount]:
    counts: Counter[str] = Counter()
    for names in found:
        counts.update(dict(names))
    return [NamedCount(name, count) for name, count in counts.most_common(most)]


def write_place(place: JournalPlace) -> str:
    """Return a place for an address."""
    return f"{f'{place.journal}:' if place.journal else ''}{place.segment}-{place.offset}"


def read_place(text: str) -> JournalPlace | None:
    """Return the place in an address, `None` without one."""
    match = _PLACE.fullmatch(text)
    return None if match is None else JournalPlace(int(match[2]), int(match[3]), match[1] or "")


def write_cursor(cursor: Cursor) -> str:
    """Return a cursor for an address."""
    return ",".join(
        write_place(JournalPlace(*place, name)) if place is not None else f"{name}:{_OVER}"
        for name, place in cursor.items()
    )


def read_cursor(text: str) -> Cursor:
    """Return the cursor in an address. Parts that are none are left out."""
    found: dict[str, EntryPlace | None] = {}
    for part in text[:_LONGEST].split(","):
        place = read_place(part)
        if place is not None:
            found[place.journal] = place.entry
        elif part.endswith(f":{_OVER}"):
            found[part.removesuffix(f":{_OVER}")] = None
    return found
