"""The rows of an index: the work of a search follows what it finds, and not the lines of a segment."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.record.journal.columns import ALLOWED, CALLS, ENDED, IndexedLine, Search
from gateway.record.journal.index_file import IndexedSegment, IndexFile

_END = 2**62


def filled(folder: Path, calls: int) -> IndexFile:
    """Return an index of calls with their outcomes, each call of another task."""
    index = IndexFile(folder / "entries.db", None)

    def lines() -> Iterator[tuple[IndexedSegment, int, IndexedLine]]:
        for number in range(calls):
            place, identifier = 1 + 20 * number, f"id-{number}"
            call = IndexedLine(ALLOWED, {"id": identifier, "task": f"task-{number}"})
            yield IndexedSegment(1, place + 10), place, call
            yield IndexedSegment(1, place + 20), place + 10, IndexedLine(ENDED, {"id": identifier})

    index.add(IndexedSegment(1), lines())
    return index


def count_steps(index: IndexFile, search: Callable[[IndexFile], list[int]]) -> tuple[list[int], int]:
    """Return what a search finds, and the steps of SQLite's machine in it."""
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1

    index._database.set_progress_handler(count, 1)
    found = search(index)
    index._database.set_progress_handler(None, 1)
    return found, steps


SEARCHES: dict[str, tuple[Callable[[IndexFile], list[int]], list[int]]] = {
    "id": (lambda index: [*index.find(1, Search({"id": "id-7"}), _END)], [151, 141]),
    "id and kind": (lambda index: [*index.find(1, Search({"id": "id-7"}, kinds=CALLS), _END)], [141]),
    "task": (lambda index: [*index.find(1, Search({"task": "task-7"}), _END)], [141]),
    "task and kind": (lambda index: [*index.find(1, Search({"task": "task-7"}, kinds=CALLS), _END)], [141]),
    "before a place": (lambda index: [*index.find(1, Search({"id": "id-7"}), 151)], [141]),
    "outcomes": (lambda index: index.find_ends(1, ["id-3", "id-7"], _END), [151, 71]),
}


@pytest.mark.parametrize("name", SEARCHES)
def test_a_search_by_id_or_task_costs_the_same_in_a_larger_segment(tmp_path: Path, name: str):
    search, wanted = SEARCHES[name]
    small, large = (count_steps(filled(tmp_path, calls), search) for calls in (20, 2_000))

    assert small[0] == large[0] == wanted
    assert 0 < large[1] < 2 * small[1]
