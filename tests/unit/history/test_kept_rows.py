"""Records beside the tasks: each change reaches the store once, and a record that is gone leaves no row."""

from __future__ import annotations

import pytest

from gateway.history.kept_rows import Kept, KeptRows


class Notes(KeptRows[Kept]):
    prefix = "note:"

    def encode(self, record: Kept, /) -> tuple[bytes, bytes]:
        return record.name.encode(), b""


@pytest.fixture
def notes() -> Notes:
    return Notes()


def write(notes: Notes, seq: int, *, done: bool = True) -> tuple[list[tuple[str, int]], tuple[str, ...]]:
    """Write the changes at a place of the journal, and return what was written and dropped."""
    rows, gone = notes.changes(lambda: seq)
    written = [(row.id, row.seq) for row in rows]
    assert notes.note_saved([*(row for row, _ in written), "a task"], gone, done=done) == {row for row, _ in written}
    return written, gone


def test_a_changed_record_is_written_once(notes: Notes):
    notes.add(Kept("one", changed=True))

    assert write(notes, 5) == ([("note:one", 5)], ())
    assert write(notes, 6) == ([], ())


def test_a_record_whose_row_could_not_be_written_is_written_again(notes: Notes):
    notes.add(Kept("one", changed=True))
    write(notes, 5, done=False)

    assert write(notes, 6) == ([("note:one", 6)], ())


def test_the_row_of_a_dropped_record_leaves_the_store_once(notes: Notes):
    notes.add(Kept("one", changed=True))
    write(notes, 5)
    notes.drop("one")

    assert write(notes, 6) == ([], ("note:one",))
    assert write(notes, 7) == ([], ())


def test_a_record_that_is_dropped_during_its_write_leaves_no_row(notes: Notes):
    notes.add(Kept("one", changed=True))
    rows, gone = notes.changes(lambda: 5)
    (row,) = rows
    notes.drop("one")
    notes.note_saved([row.id], gone, done=True)

    assert write(notes, 6) == ([], ("note:one",))


def test_a_record_that_was_never_stored_leaves_nothing_to_drop(notes: Notes):
    notes.add(Kept("one", changed=True))
    notes.drop("one")

    assert write(notes, 5) == ([], ())


def test_a_new_record_takes_over_the_row_of_a_dropped_one(notes: Notes):
    notes.add(Kept("one", stored=True))
    notes.drop("one")
    notes.add(Kept("one"))
    assert write(notes, 5) == ([], ())
    notes.drop("one")

    assert write(notes, 6) == ([], ("note:one",))


def test_records_are_written_again_after_the_journal_or_the_store_lost_its_end(notes: Notes):
    notes.add(Kept("one", seq=3, stored=True))
    notes.add(Kept("two", seq=9, stored=True))

    notes.rewind(5)
    assert write(notes, 5) == ([("note:two", 5)], ())
    notes.note_lost()
    assert write(notes, 5) == ([("note:one", 5), ("note:two", 5)], ())
