"""What becomes history is what was written, all of it, or nothing does."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, cast

import pytest

from gateway.model.errors import JournalError
from gateway.record.journal import reader, verification
from gateway.record.journal.retention import prune
from gateway.record.journal.verified_entries import entries
from tests.requirements import requirement
from tests.unit.record.journal.segments import SMALL, add, files, lines, rewrite

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from gateway.model.wire import JsonObject

KEY = b"k" * 32


@pytest.fixture
async def written(write_journal: Callable[..., Awaitable[str]], folder: Path) -> list[JsonObject]:
    """The entries of a journal of several segments."""
    await write_journal(20, segment=SMALL)
    assert len(files(folder)) > 4
    return list(reader.entries(folder))


def taken(folder: Path, after: int = 0, journal: str = "journal-1") -> list[JsonObject]:
    return list(entries(folder, key=KEY, journal=journal, after=after))


def first_of(folder: Path, number: int) -> int:
    return cast("int", json.loads(lines(folder, number)[0])["seq"])


def test_all_entries_are_taken_over_oldest_first(written: list[JsonObject], folder: Path):
    assert taken(folder) == written


def test_a_folder_without_a_journal_has_none(tmp_path: Path):
    assert taken(tmp_path) == []


def test_only_what_came_after_is_taken_over_behind_the_heading_of_its_segment(written: list[JsonObject], folder: Path):
    for after in range(1, len(written) + 3):
        later = [entry for entry in written if cast("int", entry["seq"]) > after]
        found = taken(folder, after)

        assert found[-len(later) or len(found) :] == later
        assert [entry["kind"] for entry in found[: len(found) - len(later)]] in ([], ["segment"])


def test_what_was_before_is_not_read(written: list[JsonObject], folder: Path):
    third = first_of(folder, 3)
    for number in (1, 2):
        rewrite(folder, [lines(folder, number)[0], b"not to be read\n"], number)

    assert taken(folder, third)[0] == written[third - 1]
    assert taken(folder, third - 1) == written[third - 1 :]
    with pytest.raises(JournalError, match="is damaged"):
        taken(folder, third - 2)


def test_a_number_of_another_journal_says_nothing(written: list[JsonObject], folder: Path):
    assert taken(folder, after=9, journal="another") == written


@requirement("history/journal-edited")
@pytest.mark.parametrize("segment", [1, 2, -2])
@pytest.mark.parametrize("line", [1, 2, -1])
def test_an_edit_in_any_segment_is_an_error_that_says_where(
    written: list[JsonObject], folder: Path, segment: int, line: int
):
    number = segment if segment > 0 else len(files(folder)) + 1 + segment
    there = lines(folder, number)
    place = line if line > 0 else len(there)
    there[place - 1] = there[place - 1].replace(b'"revision":"', b'"revision":"1').replace(b'"open":[', b'"open":["a"')
    there[place - 1] = there[place - 1].replace(b'"version":"', b'"version":"1')
    assert there != lines(folder, number)
    rewrite(folder, there, number)

    with pytest.raises(JournalError, match=rf"{number:08d}\.jsonl, line {place}: its content") as caught:
        taken(folder)
    assert "journal verify" in caught.value.remedy
    assert written


@requirement("history/journal-edited")
@pytest.mark.parametrize("segment", [1, 2])
def test_a_line_that_is_missing_moved_or_stands_twice_is_an_error(
    written: list[JsonObject], folder: Path, segment: int
):
    there = lines(folder, segment)
    for changed in (
        [there[0], *there[2:]],
        [there[0], there[2], there[1], *there[3:]],
        [*there[:2], there[1], *there[2:]],
        there[:-1],
        [*there[:-1], there[-1][:-1]],
        [*there[:-1], there[-1][:-20]],
        there[1:],
    ):
        rewrite(folder, changed, segment)
        with pytest.raises(JournalError, match="is damaged"):
            taken(folder)
    rewrite(folder, there, segment)
    assert taken(folder) == written


@requirement("history/journal-edited")
def test_a_segment_that_is_missing_is_an_error_wherever_one_begins_to_read(written: list[JsonObject], folder: Path):
    second, fourth = first_of(folder, 2), first_of(folder, 4)
    assert second > 2
    for gone in (2, 3):
        (folder / f"{gone:08d}.jsonl").rename(folder / f"{gone}.away")
    for after in (0, 1, second - 1, fourth - 2):
        with pytest.raises(JournalError, match="missing before"):
            taken(folder, after)
    (folder / "00000001.jsonl").unlink()
    for after in (0, 1, fourth - 2):
        with pytest.raises(JournalError, match="missing before"):
            taken(folder, after)
    assert taken(folder, fourth - 1) == written[fourth - 1 :]


@requirement("history/journal-edited")
def test_a_line_that_says_that_it_is_older_than_it_is_does_not_go_unseen(written: list[JsonObject], folder: Path):
    after = first_of(folder, 2) + 1
    there = lines(folder, 2)
    there[2] = there[2].replace(b'{"seq":%d,' % (after + 1), b'{"seq":%d,' % (after - 1))
    assert there != lines(folder, 2)
    rewrite(folder, there, 2)

    with pytest.raises(JournalError, match="is missing before"):
        taken(folder, after)
    assert written


def test_another_key_is_an_error(written: list[JsonObject], folder: Path):
    with pytest.raises(JournalError, match="another key"):
        list(entries(folder, key=b"o" * 32))
    assert written


def test_a_last_line_without_an_end_is_left_out(written: list[JsonObject], folder: Path):
    add(files(folder)[-1], b'{"seq":')

    assert taken(folder) == written


def test_a_pruned_journal_begins_at_its_floor(written: list[JsonObject], folder: Path):
    kept = first_of(folder, 4)
    copies = [shutil.copy(folder / f"{number:08d}.jsonl", folder / f"{number}.copy") for number in (2, 3)]
    begun = str(json.loads(lines(folder, 4)[0])["time"])
    prune(folder, key=KEY, before=begun + "~", time="2030-01-01T00:00:00.000Z")

    assert taken(folder) == written[kept - 1 :]
    for number, copy in zip((2, 3), copies, strict=True):
        shutil.copy(copy, folder / f"{number:08d}.jsonl")
    assert taken(folder) == written[first_of(folder, 2) - 1 :], "what could not be removed is read"


@requirement("history/journal-edited")
def test_a_floor_that_was_edited_or_is_missing_is_an_error(written: list[JsonObject], folder: Path):
    begun = str(json.loads(lines(folder, 4)[0])["time"])
    prune(folder, key=KEY, before=begun + "~", time="2030-01-01T00:00:00.000Z")
    floor = folder / verification.FLOOR_FILE
    floor.write_bytes(floor.read_bytes().replace(b'"segment":3', b'"segment":2'))

    with pytest.raises(JournalError, match=r"floor\.json"):
        taken(folder)
    floor.unlink()
    with pytest.raises(JournalError, match="missing before"):
        taken(folder)
    assert written
