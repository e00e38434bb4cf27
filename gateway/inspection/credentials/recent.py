"""Keeps the indexes of the tasks that called last: to make one anew for each call takes milliseconds after a large file of
credentials."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from itertools import islice
from typing import Final

from gateway.inspection.credentials.calls import Index

MAX_CREDENTIALS: Final = 20_000
"""Credentials in all indexes that are kept, about 100 MB if all of them have shingles."""


class RecentIndexes:
    """Indexes of the credentials that tasks have seen, by task."""

    def __init__(self, most: int = MAX_CREDENTIALS) -> None:
        self._indexes: OrderedDict[str, tuple[Index, int]] = OrderedDict()
        self._most = most
        self._size = 0

    def of(self, task: str, seen: Mapping[str, frozenset[int]]) -> Index | None:
        """Return the index of the credentials that a task has seen; `None` for none. `seen` has them in their order."""
        if not seen:
            return None
        index, count = self._indexes.pop(task, (None, 0))
        if index is None or count > len(seen):
            self._size -= count
            index, count = Index({}), 0
        for name, shingles in islice(seen.items(), count, None):
            index.add(name, shingles)
        self._indexes[task] = index, len(seen)
        self._size += len(seen) - count
        while self._size > self._most and len(self._indexes) > 1:
            _, (_, left) = self._indexes.popitem(last=False)
            self._size -= left
        return index
