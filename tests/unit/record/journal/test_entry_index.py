"""The index of a journal: it finds what a reading of all lines finds, and no file beside the journal hides or invents an entry."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from gateway.model.errors import JournalError
from gateway.record.journal.chain import GENESIS, timestamp
from gateway.record.journal.columns import ALLOWED, CALLS, EFFECTS, REFUSED, Search
from gateway.record.journal.entry_index import EntryIndex
from gateway.record.journal.index_file import IndexedSegment
from gateway.record.journal.placed import EntryPage, EntryPlace, find_page
from gateway.surfaces.explain.window import JournalWindow
from tests.unit.record.journal.written import KEY, Written, fill, named

DECISIONS = frozenset({*CALLS, REFUSED})


@pytest.fixture
def written(tmp_path: Path) -> Iterator[Written]:
    with closing(Written(tmp_path / "journal")) as found:
        yield found


def fitting(search: Search) -> Callable[[bytes], bool]:
    """Return the same search by a look at a line, as the pages have one."""

    def fits(line: bytes) -> bool:
        entry = msgspec.json.decode(line)
        kind = EFFECTS.get("refused" if entry["kind"] == "refused" else entry.get("effect", ""), 0)
        codes = {reason["code"] for reason in entry.get("reasons", ())}
        return (
            all(named(entry)[name] == value for name, value in search.values.items())
            and (search.code is None or search.code in codes)
            and (not search.kinds or kind in search.kinds)
        )

    return fits


def ids(page: EntryPage) -> list[Any]:
    return [entry.get("id") for _, entry in page.found]


def all_pages(index: EntryIndex, search: Search, *, count: int, budget: int) -> list[Any]:
    found: list[Any] = []
    before: EntryPlace | None = None
    for _ in range(500):
        page = index.find_page(search, fitting(search), before=before, count=count, budget=budget)
        found += ids(page)
        before = page.before
        if before is None:
            return found
    raise AssertionError("the pages do not end")


SEARCHES = [
    Search(kinds=DECISIONS),
    Search({"agent": "ann"}, kinds=DECISIONS),
    Search({"agent": "<script>", "upstream": "mail"}, kinds=DECISIONS),
    Search(code="a/two", kinds=DECISIONS),
    Search({"task": "task-3"}, code="b/three"),
    Search({"upstream": "mail"}, code="a/one", kinds=frozenset({EFFECTS["deny"]})),
    Search(kinds=frozenset({REFUSED})),
    Search({"id": "id-7"}, kinds=DECISIONS),
    Search({"agent": "nobody"}, kinds=DECISIONS),
]


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize(("count", "budget"), [(7, 10**9), (50, 1), (1, 1)])
def test_pages_by_the_index_are_those_of_reading_all_lines(written: Written, search: Search, count: int, budget: int):
    fill(written)
    wanted = ids(find_page(written.folder, fitting(search), count=10_000, budget=10**9, key=KEY))

    assert all_pages(written.index(), search, count=count, budget=budget) == wanted
    assert all_pages(written.index(), search, count=count, budget=budget) == wanted, "the second from its files"


def count_added(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    added: list[int] = []
    follow = EntryIndex._follow

    def counted(self: EntryIndex, segment: IndexedSegment, line: bytes) -> Any:
        added.append(segment.number)
        return follow(self, segment, line)

    monkeypatch.setattr(EntryIndex, "_follow", counted)
    return added


def test_a_closed_segment_is_indexed_once_and_the_last_one_grows(written: Written, monkeypatch: pytest.MonkeyPatch):
    fill(written)
    added = count_added(monkeypatch)
    search = Search({"agent": "ann"})
    first = written.index()
    first.find_page(search, fitting(search), count=10_000)
    whole = len(added)
    written.call("new", agent="ann")
    page = first.find_page(search, fitting(search), count=1)

    assert (ids(page), len(added)) == (["new"], whole + 1)
    added.clear()
    written.index().find_page(search, fitting(search), count=10_000)
    assert set(added) == {written.segment}


def test_a_segment_that_closes_is_not_indexed_again(written: Written, monkeypatch: pytest.MonkeyPatch):
    fill(written, 40, 1)
    added = count_added(monkeypatch)
    index, search = written.index(), Search({"agent": "ann"})
    index.find_page(search, fitting(search))
    before = len(added)
    written.call("last")
    written.begin()
    index.find_page(search, fitting(search))

    assert len(added) == before + 2
    added.clear()
    written.index().find_page(search, fitting(search))
    assert set(added) == {2}


def index_path(written: Written) -> Path:
    return written.folder / "index/entries.db"


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    for place in range(100, len(data), 97):
        data[place] ^= 1
    path.write_bytes(data)


def plant_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def plant_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def plant_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def grow(path: Path) -> None:
    os.truncate(path, 2**40)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def remove(path: Path) -> None:
    path.unlink()


def edit(*statements: str) -> Callable[[Path], None]:
    """Return an edit of the rows, as a person with the rights of the gateway can do it."""

    def carry_out(path: Path) -> None:
        with closing(sqlite3.connect(path)) as database, database:
            for statement in statements:
                database.execute(statement)

    return carry_out


HARMS: dict[str, Callable[[Path], None]] = {
    "truncated": truncate,
    "flipped": flip,
    "pipe": plant_pipe,
    "link": plant_link,
    "folder": plant_folder,
    "grown": grow,
    "empty": empty,
    "removed": remove,
    "hidden": edit("delete from lines where segment = 1"),
    "hidden-one": edit("delete from lines where place = (select max(place) from lines where task is not null)"),
    "unnamed": edit("update lines set task = null"),
    "moved": edit("update lines set place = place + 1"),
    "swapped": edit("update lines set segment = 9 - segment", "update segments set number = 9 - number"),
    "put-over": edit(
        "delete from lines where segment = 1",
        "insert into lines select 1, place, kind, id, task, agent, user, upstream, tool, arguments, codes, hour from lines where segment = 2",
    ),
    "other-table": edit("drop table lines"),
    "other-columns": edit("drop table lines", "create table lines (segment, place)"),
    "later-format": edit("pragma user_version = 9"),
}


@pytest.mark.parametrize("harm", HARMS)
def test_an_index_that_is_not_as_it_was_written_is_made_anew(written: Written, harm: str):
    fill(written)
    search = Search({"task": "task-3"}, kinds=DECISIONS)
    index = written.index()
    wanted = all_pages(index, search, count=50, budget=10**9)
    index.close()
    HARMS[harm](index_path(written))

    assert all_pages(written.index(), search, count=50, budget=10**9) == wanted
    assert all_pages(written.index(), search, count=50, budget=10**9) == wanted


def test_an_index_without_a_journal_key_stays_in_memory_and_checks_nothing(tmp_path: Path):
    written = Written(tmp_path / "journal")
    fill(written)
    with written.path().open("ab") as file:
        file.write(b'{"kind":"call","id":"deep","more":%b\n' % (b"[" * 100_000))
    index = EntryIndex(written.folder, None)
    for _ in range(2):
        page = index.find_page(Search({"id": "id-7"}), lambda line: b'"id-7"' in line)
        assert [entry["kind"] for _, entry in page.found] == ["call"]

    assert index.broken_lines() == 0
    assert not (written.folder / "index").exists()
    index.close()


def test_an_edited_line_is_hidden_from_no_search(written: Written):
    fill(written)
    path = written.path(2)
    data = path.read_bytes()
    at = data.index(b'"effect":"deny"')
    path.write_bytes(data[:at] + b'"effect":"fine"' + data[at + len(b'"effect":"fine"') :])
    index = written.index()

    with pytest.raises(JournalError, match="not as it was written"):
        index.find_page(Search({"agent": "nobody"}), lambda line: b'"effect":"fine"' in line)
    assert index.broken_lines() >= 1


def test_a_removed_line_breaks_the_chain_of_its_segment(written: Written):
    fill(written)
    lines = written.path(1).read_bytes().splitlines(keepends=True)
    written.path(1).write_bytes(b"".join(lines[:5] + lines[6:]))
    index = written.index()
    index.find_page(Search(), lambda _: False)

    assert index.broken_lines() == 1


def test_a_segment_put_back_to_another_content_of_the_same_size_is_indexed_anew(written: Written):
    fill(written)
    search = Search({"id": "id-7"}, kinds=DECISIONS)
    written.index().find_page(search, fitting(search))
    path = written.path(1)
    before = path.read_bytes()
    other = Written(written.folder.parent / "other")
    fill(other)
    lines = [line.replace(b"id-7", b"id-X") for line in other.path(1).read_bytes().splitlines()]
    link = GENESIS
    changed: list[bytes] = []
    for line in lines:
        fields = msgspec.json.decode(line)
        inner = {k: v for k, v in fields.items() if k not in {"seq", "time", "kind", "prev", "check"}}
        again, link = other.chain.linked(
            fields["seq"], fields["time"], fields["kind"], msgspec.json.encode(inner), link
        )
        changed.append(again + b"\n")
    path.write_bytes(b"".join(changed))

    assert path.stat().st_size == len(before)
    assert ids(written.index().find_page(search, fitting(search))) == []
    moved = Search({"id": "id-X"}, kinds=DECISIONS)
    assert ids(written.index().find_page(moved, fitting(moved))) == ["id-X"]


def test_the_index_of_a_removed_segment_goes_with_it(written: Written):
    fill(written)
    index = written.index()
    search = Search({"agent": "ann"})
    index.find_page(search, fitting(search), count=10_000)
    kept = {entry["id"] for segment, entry in written.lines if segment > 1 and named(entry)["agent"] == "ann"}
    written.path(1).unlink()
    page = index.find_page(search, fitting(search), count=10_000)

    assert set(ids(page)) == kept
    index.close()
    with closing(sqlite3.connect(index_path(written))) as database:
        assert database.execute("select distinct segment from lines order by 1").fetchall() == [(2,), (3,), (4,)]


def test_a_half_line_is_no_entry_and_its_rest_makes_it_one(written: Written):
    written.call("a")
    index = written.index()
    search = Search(kinds=DECISIONS)
    line, _ = written.chain.linked(3, timestamp(3), "call", b'{"id":"b","effect":"allow"}', written.link)
    with written.path().open("ab") as file:
        file.write(line[:30])
        file.flush()
        assert ids(index.find_page(search, fitting(search))) == ["a"]
        file.write(line[30:] + b"\n")
        file.flush()
        assert ids(index.find_page(search, fitting(search))) == ["b", "a"]


@pytest.mark.parametrize("statement", ["drop table lines", "delete from lines", "update lines set task = null"])
def test_an_index_that_is_changed_while_it_is_open_is_made_anew(written: Written, statement: str):
    fill(written)
    search = Search({"task": "task-3"}, kinds=DECISIONS)
    index = written.index()
    wanted = all_pages(index, search, count=50, budget=10**9)
    edit(statement)(index_path(written))

    assert all_pages(index, search, count=50, budget=10**9) == wanted


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes to every folder")
def test_a_folder_without_a_right_to_write_is_searched_all_the_same(written: Written):
    fill(written)
    written.folder.chmod(0o500)
    search = Search({"id": "id-7"}, kinds=DECISIONS)
    try:
        assert ids(written.index().find_page(search, fitting(search))) == ["id-7"]
    finally:
        written.folder.chmod(0o700)


def test_a_file_in_the_place_of_the_folder_is_searched_all_the_same(written: Written):
    fill(written)
    (written.folder / "index").write_text("mine")
    search = Search({"id": "id-7"}, kinds=DECISIONS)

    assert ids(written.index().find_page(search, fitting(search))) == ["id-7"]


def test_the_lines_of_a_task_have_the_outcomes_of_its_calls(written: Written):
    fill(written)
    calls = {entry["id"] for _, entry in written.lines if named(entry)["task"] == "task-3"}
    wanted = [entry["seq"] for _, entry in written.lines if entry.get("id") in calls]
    found, is_cut = written.index().find_task_lines(["task-3"], EntryPlace(99, 0), since="")

    assert sorted(msgspec.json.decode(one.line)["seq"] for one in found) == wanted
    assert not is_cut
    assert written.index().find_task_lines(["task-3"], EntryPlace(99, 0), since="", budget=1)[1]


@pytest.mark.parametrize("since", [0.0, 60.0])
def test_the_entries_of_tasks_have_their_calls_before_a_place_and_the_outcomes(written: Written, since: float):
    fill(written)
    for place, decision in find_page(written.folder, lambda line: b'"kind":"call"' in line, count=200, key=KEY).found[
        ::9
    ]:
        found = JournalWindow(written.folder, place, KEY, written.index()).tasks(["task-3", "task-5"], since=since)
        named_so = {"task-3", "task-5"}
        wanted = [
            entry["seq"]
            for _, entry in written.lines
            if named(entry)["task"] in named_so and entry["time"] >= timestamp(since) and entry["seq"] < decision["seq"]
        ]
        seen = [cast("int", entry["seq"]) for entry in found]

        assert [seq for seq in wanted if seq not in seen] == []
        calls = {str(entry["id"]) for entry in found if entry["kind"] == "call"}
        assert all(entry["kind"] == "call" or entry["id"] in calls for entry in found)
        assert {entry["id"] for _, entry in written.lines if entry["kind"] == "settled"} & calls == {
            str(entry["id"]) for entry in found if entry["kind"] == "settled"
        }
        assert seen == sorted(seen)


def test_two_readers_and_a_writer_get_on(written: Written):
    fill(written)
    index = written.index()
    search = Search({"agent": "ann"}, kinds=frozenset({ALLOWED}))

    def look(_: int) -> int:
        return len(index.find_page(search, fitting(search), count=10_000).found)

    before = look(0)
    with ThreadPoolExecutor(4) as pool:
        looks = [pool.submit(look, number) for number in range(30)]
        for number in range(50):
            written.call(f"more-{number}", agent="ann")
        seen = [one.result() for one in looks]

    assert all(before <= one <= before + 50 for one in seen)
    assert look(0) == before + 50
