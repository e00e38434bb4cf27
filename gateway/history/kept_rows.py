"""Records that stand beside the tasks in the snapshots: jobs, and accounts of declared facts.

A record has a row of its own, which is written when the record has changed, and dropped when it is in memory no longer.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Generic, TypeVar

from msgspec import Struct

from gateway.history.store import Row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


class Kept(Struct):
    """A record by name. `seq` is the last journal entry in its row. `changed`: the store has an older form, or none."""

    name: str
    seq: int = 0
    changed: bool = False
    stored: bool = False


Record = TypeVar("Record", bound=Kept)


class KeptRows(ABC, Generic[Record]):
    """The records of one kind by name. The id of a row is its `prefix` and the name of the record."""

    prefix: str

    def __init__(self) -> None:
        self._by_name: dict[str, Record] = {}
        self._gone: set[str] = set()
        """Names without a record whose row the store still has."""

    @abstractmethod
    def encode(self, record: Record, /) -> tuple[bytes, bytes]:
        """Return the description and the state of a record, as a row has them."""

    def add(self, record: Record) -> Record:
        """Keep a new record. It takes over a row that the store still has."""
        record.stored |= record.name in self._gone
        self._gone.discard(record.name)
        self._by_name[record.name] = record
        return record

    def drop(self, name: str) -> None:
        """Keep a record in memory no longer, and have the store drop its row."""
        record = self._by_name.pop(name, None)
        if record is not None and record.stored:
            self._gone.add(name)

    def rewind(self, end: int) -> None:
        """Know nothing of journal entries after `end`, and keep the content."""
        for record in self._by_name.values():
            if record.seq > end:
                record.seq, record.changed = end, True

    def forget_all(self) -> None:
        """Forget all records, also those of the snapshots: the whole journal is read."""
        self._by_name.clear()
        self._gone.clear()

    def find_name(self, row: str) -> str | None:
        """Return the name of the record of a row, `None` if the row is of another kind."""
        return row.removeprefix(self.prefix) if row.startswith(self.prefix) else None

    def changes(self, position: Callable[[], int]) -> tuple[Iterator[Row], tuple[str, ...]]:
        """Return changed records as rows, and the ids of rows that the store should drop. The first row is made when it is asked for."""
        return self._rows(position), tuple(self.prefix + name for name in self._gone)

    def _rows(self, position: Callable[[], int]) -> Iterator[Row]:
        for record in [record for record in self._by_name.values() if record.changed]:
            record.seq, record.changed = position(), False
            yield Row(self.prefix + record.name, record.seq, *self.encode(record))

    def note_saved(self, ids: Iterable[str], gone: Iterable[str], *, done: bool) -> frozenset[str]:
        """Note that rows were written, or could not be. Return the ids of rows of this kind."""
        own = {row: name for row in ids if (name := self.find_name(row)) is not None}
        if done:
            self._gone.difference_update(name.removeprefix(self.prefix) for name in gone)
        for name in own.values():
            record = self._by_name.get(name)
            if record is not None:
                record.stored, record.changed = record.stored or done, record.changed or not done
            elif done:
                self._gone.add(name)
        return frozenset(own)

    def note_lost(self) -> None:
        """Note that the store lost everything. All is written again."""
        self._gone.clear()
        for record in self._by_name.values():
            record.stored, record.changed = False, True
