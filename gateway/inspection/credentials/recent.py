"""Keeps the indexes of the tasks that called last: to make one anew for each call takes milliseconds after a large file of
credentials."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

from gateway.inspection.credentials.calls import CredentialIndex

MAX_CREDENTIALS: Final = 20_000
"""Credentials in all indexes that are kept, about 100 MB if all of them have shingles."""


class RecentIndexes:
    """Indexes of the credentials that tasks have seen, by task."""

    def __init__(self, most: int = MAX_CREDENTIALS) -> None:
        self._indexes: OrderedDict[str, tuple[CredentialIndex, frozenset[str]]] = OrderedDict()
        self._most = most
        self._size = 0

    def of(self, task: str, seen: Mapping[str, frozenset[int]]) -> CredentialIndex | None:
        """Return the index of the credentials that a task has seen; `None` for none."""
        if not seen:
            return None
        index, known = self._indexes.pop(task, (None, frozenset[str]()))
        index, names = index or CredentialIndex({}), frozenset(seen)
        for name in names - known:
            index.add(name, seen[name])
        for name in known - names:
            index.remove(name)
        self._indexes[task] = index, names
        self._size += len(names) - len(known)
        while self._size > self._most and len(self._indexes) > 1:
            _, (_, left) = self._indexes.popitem(last=False)
            self._size -= len(left)
        return index
