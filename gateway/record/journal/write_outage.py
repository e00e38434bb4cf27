"""Events of a journal outage, and their record after it. Pure."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from gateway.record.journal.segment import Pending

if TYPE_CHECKING:
    from collections.abc import Sequence


class WriteOutage:
    """An outage of writes, from the first unwritten entry at `since`, until the journal records the outage."""

    def __init__(self, since: str) -> None:
        self._since = since
        self._lost: Counter[str] = Counter()
        self._unclosed: dict[str, None] = {}
        self.is_told = False
        """Whether the log tells of this outage."""

    def lose(self, entries: Sequence[Pending]) -> None:
        """Count lost entries, and note the calls whose outcomes are lost. Otherwise these calls would stay open for ever."""
        self._lost.update(entry.kind for entry in entries)
        self._unclosed.update(dict.fromkeys(entry.closes for entry in entries if entry.closes is not None))

    @property
    def lost(self) -> int:
        return self._lost.total()

    def entries(self) -> list[Pending]:
        """Return the entries about the outage."""
        fields = msgspec.json.encode({"since": self._since, "lost": self._lost})
        return [Pending("resumed", fields), *map(abandoned, self._unclosed)]

    def recorded(self, count: int, time: str) -> None:
        """Note that so many of these entries were written, and then no more."""
        if count:
            self._since, self._lost = time, Counter()
            for call in list(self._unclosed)[: count - 1]:
                del self._unclosed[call]


def abandoned(call: str) -> Pending:
    """Return the outcome of a call without a known outcome."""
    return Pending("abandoned", msgspec.json.encode({"id": call}), closes=call)
