"""The tasks of a journal by its index: each once, by its last call, with all of its calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gateway.model.wire import JsonObject
from gateway.record.journal.columns import Search
from gateway.record.journal.entry_index import TaskLine
from gateway.record.journal.index_file import TaskRows
from tests.unit.record.journal.written import Written, fill


@pytest.fixture
def written(tmp_path: Path) -> Iterator[Written]:
    with closing(Written(tmp_path / "journal")) as found:
        yield found


def counts(line: TaskLine) -> tuple[Any, int, int, int]:
    task: Any = line.last["task"]
    return task["id"], line.calls, line.asked, line.stopped


def any_task(_last: JsonObject, _task: TaskRows) -> bool:
    return True


@pytest.mark.parametrize(("count", "budget"), [(50, 10**9), (2, 10**9), (3, 1)])
def test_tasks_come_once_by_their_last_call_with_all_their_calls(written: Written, count: int, budget: int):
    fill(written)
    wanted: dict[str, list[str]] = {}
    for _, entry in written.lines:
        if entry["kind"] == "call":
            effects = wanted.pop(entry["task"]["id"], [])
            wanted[entry["task"]["id"]] = [*effects, entry["effect"]]
    index = written.index()
    index.find_page(Search({"id": "none"}), lambda _: False, budget=10**9)
    found: list[TaskLine] = []
    before = None
    for _ in range(100):
        page = index.find_tasks({}, any_task, before=before, count=count, budget=budget)
        found += page.found
        before = page.before
        if before is None:
            break

    assert [counts(one) for one in found] == [
        (task, len(effects), effects.count("ask"), effects.count("deny")) for task, effects in reversed(wanted.items())
    ]
    assert all(one.is_whole for one in found)


def test_tasks_are_found_by_the_values_of_their_last_call(written: Written):
    written.call("1", "one", agent="ann", user="uma")
    written.call("2", "two", agent="ben")
    written.begin()
    written.call("3", "three", "deny", agent="ann", user="uma")

    def found(values: Mapping[Any, str], fits: Callable[[JsonObject, TaskRows], bool] = any_task) -> list[Any]:
        return [counts(one)[0] for one in written.index().find_tasks(values, fits).found]

    assert found({"agent": "ann"}) == ["three", "one"]
    assert found({"user": "uma", "agent": "ben"}) == []
    assert found({}, lambda _, rows: rows.stopped > 0) == ["three"]


def test_a_task_that_went_on_is_on_one_page_alone(written: Written):
    for number in range(6):
        written.call(str(number), f"t{number}")
    index = written.index()
    first = index.find_tasks({}, any_task, count=3)
    written.begin()
    written.call("again", "t0")
    second = index.find_tasks({}, any_task, before=first.before, count=50)

    assert [counts(one)[0] for one in first.found] == ["t5", "t4", "t3"]
    assert [counts(one)[0] for one in second.found] == ["t2", "t1"]
    assert [counts(one)[0] for one in index.find_tasks({}, any_task, count=1).found] == ["t0"]


def test_counts_beyond_the_budget_say_so(written: Written):
    written.call("1", "one", opened=1)
    written.begin()
    written.call("2", "one", opened=1)
    (line,) = written.index().find_tasks({}, any_task, count=1, budget=1).found

    assert (line.calls, line.is_whole) == (1, False)


def test_ten_thousand_tasks_are_paged_without_a_gap(written: Written):
    for number in range(10_000):
        if number in {3_000, 7_000}:
            written.begin()
        written.call(f"c{number}", f"task-{number}")
    index = written.index()
    found: list[Any] = []
    before = None
    for _ in range(30):
        page = index.find_tasks({}, any_task, before=before, count=500, budget=10**9)
        found += [counts(one)[0] for one in page.found]
        before = page.before
        if before is None:
            break

    assert found == [f"task-{number}" for number in reversed(range(10_000))]
