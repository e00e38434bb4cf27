"""The journals behind the console: pages over several of them, tasks in two, and peers that cannot be read."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from typing import Any, cast

import pytest

from gateway.model import reasons
from gateway.model.errors import JournalError
from gateway.record.journal.columns import CALLS, Search
from gateway.record.journal.entry_index import EntryIndex
from gateway.record.journal.segment_index import Allowance
from gateway.record.journal.several import NamedJournal, time_of
from gateway.surfaces.console.feed import Topic, find_view, render_region
from gateway.surfaces.console.journals import (
    NEWEST,
    ConsoleJournals,
    JournalPlace,
    read_cursor,
    read_place,
    write_cursor,
    write_place,
)
from tests.unit.record.journal.written import KEY, Written
from tests.unit.surfaces.console.visiting import person, visited

OTHER = b"o" * 32


@pytest.fixture
def written(tmp_path: Path) -> tuple[Written, Written]:
    """Two journals with calls of the same tasks, at times that overlap."""
    chance = random.Random(5)
    both = Written(tmp_path / "own"), Written(tmp_path / "two", OTHER)
    for number in range(160):
        one = chance.choice(both)
        if chance.random() < 0.05:
            one.begin()
        one.seq = max(each.seq for each in both)  # the times of both go on together
        one.call(f"id-{number}", f"task-{chance.randrange(30)}", chance.choice(["allow", "deny"]), agent="ann")
    return both


@pytest.fixture
def journals(written: tuple[Written, Written]) -> Generator[ConsoleJournals]:
    own, two = written
    found = ConsoleJournals(
        NamedJournal("one", own.folder, KEY), lambda name: NamedJournal(name, two.folder, OTHER), ["two"]
    )
    yield found
    found.close()


def calls_of(written: tuple[Written, Written]) -> list[dict[str, Any]]:
    found = [entry for each in written for _, entry in each.lines if entry["kind"] == "call"]
    return sorted(found, key=time_of, reverse=True)


@pytest.mark.parametrize("is_indexed", [False, True])
def test_pages_have_each_entry_of_both_once_and_the_newest_first(
    journals: ConsoleJournals, written: tuple[Written, Written], *, is_indexed: bool
):
    cursor, seen, places = NEWEST, list[str](), Counter[str]()
    while True:
        page = (
            journals.find_page(Search({"agent": "ann"}, kinds=CALLS), lambda _: True, cursor, count=7)
            if is_indexed
            else journals.find_latest(lambda line: b'"kind":"call"' in line, cursor, count=7)
        )
        seen += [str(entry["id"]) for _, entry in page.found]
        places.update(journals.name_of(place) for place, _ in page.found)
        if not page.before:
            break
        cursor = read_cursor(write_cursor(page.before))

    assert seen == [entry["id"] for entry in calls_of(written)]
    assert set(places) == {"one", "two"}


def test_a_task_over_two_gateways_is_listed_once_with_all_of_its_calls(
    journals: ConsoleJournals, written: tuple[Written, Written]
):
    cursor, seen = NEWEST, list[tuple[str, int, int]]()
    while True:
        page = journals.find_tasks({}, lambda _: True, cursor, count=4)
        seen += [(cast("Any", line.last)["task"]["id"], line.calls, line.stopped) for _, line in page.found]
        if not page.before:
            break
        cursor = read_cursor(write_cursor(page.before))

    calls = calls_of(written)
    order = list(dict.fromkeys(entry["task"]["id"] for entry in calls))
    counts = Counter(entry["task"]["id"] for entry in calls)
    stopped = Counter(entry["task"]["id"] for entry in calls if entry["effect"] == "deny")
    assert seen == [(task, counts[task], stopped[task]) for task in order]


def test_a_task_whose_other_journal_is_not_indexed_yet_is_not_told_as_whole(
    journals: ConsoleJournals, written: tuple[Written, Written]
):
    page = journals.find_tasks({}, lambda _: True, count=1)
    (_, line), used_up = page.found[0], Allowance(0)
    used_up.take(1)
    index = EntryIndex(written[0].folder, KEY)

    assert index.find_task("task-none", line.last, used_up) == (None, False)
    index.close()


ODD: dict[str, tuple[bytes, Topic]] = {
    "another sort of value": (b'"target":["x"]', "decisions"),
    "a time beyond all": (b'"effect":"allow","task":{"id":"t"},"history":{"opened":1e300}', "tasks"),
}


@pytest.mark.parametrize("odd", ODD)
async def test_an_unchecked_journal_of_any_form_is_told_as_damaged(tmp_path: Path, odd: str):
    fields, path = ODD[odd]
    (tmp_path / "two").mkdir()
    (tmp_path / "two/00000001.jsonl").write_bytes(b'{"seq":1,"time":"2999","kind":"call","id":"x",%b}\n' % fields)
    async with visited(tmp_path, f"journal: {{peers: {{two: {{path: '{tmp_path}/two'}}}}}}\n") as stranger:
        inside = stranger.visit(person("vera", "viewer"))
        page = await inside.get(f"/console/{path}")
        with pytest.raises(JournalError, match="an entry is damaged"):
            await render_region(stranger.console.parts, find_view(path, {}))

    assert page.status == reasons.status_of(reasons.JOURNAL_DAMAGED.code)
    assert reasons.JOURNAL_DAMAGED.reason().message.encode()[:20] in page.body


async def test_each_page_tells_of_journals_that_were_read_without_a_key(tmp_path: Path):
    two = Written(tmp_path / "two")
    two.call("foreign")
    async with visited(tmp_path, f"journal: {{peers: {{two: {{path: '{tmp_path}/two'}}}}}}\n") as stranger:
        inside = stranger.visit(person("vera", "viewer"))
        for path in ("decisions", "decisions?agent=ann", "search?q=foreign", "tasks", "agents", "agents/one?name=ann"):
            page = await inside.get(f"/console/{path}")
            assert page.status == 200, path
            assert page.body.count(b"so not checked: <bdi>two</bdi>") == 1, path
            assert b"not as they were written" not in page.body, path
            assert (b"/console/decisions/foreign" in page.body) == path.startswith(("decisions", "search")), path


def test_the_entries_of_a_task_come_from_both(journals: ConsoleJournals, written: tuple[Written, Written]):
    page = journals.find_page(Search({"task": "task-3"}, kinds=CALLS), lambda _: True, count=1)
    found = journals.open_window(page.found[0][0]).tasks({"task-3"}, since=0.0)

    wanted = [entry["id"] for entry in reversed(calls_of(written)) if entry["task"]["id"] == "task-3"]
    assert [entry["id"] for entry in found if entry["kind"] == "call"] == wanted


def test_refusals_of_both_are_counted_together(journals: ConsoleJournals, written: tuple[Written, Written]):
    found = journals.count_recent(0)

    stopped = sum(entry["effect"] == "deny" for entry in calls_of(written))
    assert [(one.name, one.calls) for one in found.agents] == [("ann", stopped)]
    assert sum(found.hours.values()) == 160


def test_a_peer_without_a_journal_or_key_is_named_and_the_rest_is_read(tmp_path: Path):
    own = Written(tmp_path / "own")
    own.call("a")

    def find(name: str) -> NamedJournal:
        if name == "three":
            raise JournalError("there is no key of a journal in k", "look at `journal.peers`")
        return NamedJournal(name, tmp_path / "nowhere")

    found = ConsoleJournals(NamedJournal("one", own.folder, KEY), find, ["two", "three"])
    page = found.find_latest(lambda line: b'"kind":"call"' in line, NEWEST, count=5)
    found.close()

    assert [entry["id"] for _, entry in page.found] == ["a"]
    assert found.unread == {
        "two": f"there is no journal in {tmp_path / 'nowhere'}",
        "three": "there is no key of a journal in k",
    }


@pytest.mark.parametrize(
    "text", ["", "x", "1", "two:", "../x:1-2", "a" * 64 + ":1-2", "1-2-3", "two:1-2,", ",,,", ":end"]
)
def test_odd_places_of_an_address_are_no_defect(journals: ConsoleJournals, text: str):
    journals.find_latest(lambda line: b'"kind":"call"' in line, read_cursor(text), count=3)
    place = read_place(text)
    assert place is None or journals.read_at(place) is None


def test_a_place_names_its_journal_unless_it_is_the_own_one():
    for place in (JournalPlace(3, 500), JournalPlace(3, 500, "two")):
        assert read_place(write_place(place)) == place
    assert write_place(JournalPlace(3, 500)) == "3-500"
