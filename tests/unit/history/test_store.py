from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from gateway.base.keys.key_ring import KeyRing
from gateway.history.store import Checkpoint, Row, Store, StoredTask, digest_of
from gateway.model.errors import HistoryError

if TYPE_CHECKING:
    from pathlib import Path

KEY = KeyRing(b"k" * 32)
ROWS = (Row("t1", 5, b"meta one", b"state one"), Row("t2", 6, b"meta two", b"state two"))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "history", KEY)
    made.save(Checkpoint("journal", 4, ROWS, ()))
    return made


def _edit(store: Store, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(store.path)) as database, database:
        database.execute(statement, values)


def test_a_store_that_was_never_written_has_nothing(tmp_path: Path):
    assert Store(tmp_path, KEY).load() is None


def test_what_was_written_is_read(store: Store):
    stored = store.load()

    assert stored is not None
    assert (stored.journal, stored.seq) == ("journal", 4)
    assert stored.tasks == tuple(StoredTask(row.id, row.seq, row.meta, digest_of(row.state)) for row in ROWS)
    assert store.state("t2", digest_of(b"state two")) == b"state two"


def test_a_checkpoint_replaces_and_removes(store: Store):
    store.save(Checkpoint("journal", 9, (Row("t2", 9, b"meta", b"later"), Row("t3", 9, b"m", b"s")), ("t1", "never")))

    stored = store.load()

    assert stored is not None
    assert (stored.seq, [task.id for task in stored.tasks]) == (9, ["t2", "t3"])
    assert store.state("t2", digest_of(b"later")) == b"later"


def test_a_checkpoint_of_any_size_is_written_and_removed(store: Store):
    rows = tuple(Row(f"task-{number:04}", 9, b"meta", f"state {number}".encode()) for number in range(1000))

    store.save(Checkpoint("journal", 9, rows, ("t1", "t2")))
    written = store.load()
    store.save(Checkpoint("journal", 10, (), tuple(row.id for row in rows[:-1])))
    left = store.load()

    assert written is not None
    assert [task.id for task in written.tasks] == [row.id for row in rows]
    assert left is not None
    assert [task.id for task in left.tasks] == ["task-0999"]
    assert store.state("task-0999", digest_of(b"state 999")) == b"state 999"


def test_only_the_owner_can_read_it(store: Store):
    assert store.path.stat().st_mode & 0o077 == 0
    assert store.path.parent.stat().st_mode & 0o077 == 0


def test_an_empty_file_is_a_store_that_was_never_written(tmp_path: Path):
    store = Store(tmp_path, KEY)
    store.path.touch()

    assert store.load() is None


@pytest.mark.parametrize(
    "edit",
    [
        "update tasks set state = x'00' where id = 't1'",
        "update tasks set digest = x'00' where id = 't1'",
        "update tasks set meta = x'00' where id = 't1'",
        "update tasks set seq = 99 where id = 't1'",
        "update tasks set id = 't9' where id = 't1'",
        "update tasks set mac = (select mac from tasks where id = 't2') where id = 't1'",
        "delete from tasks where id = 't1'",
        "insert into tasks select 't9', seq, meta, digest, mac, state from tasks where id = 't1'",
        "update checkpoints set seq = 99",
        "update checkpoints set journal = 'other'",
        "delete from checkpoints",
    ],
)
def test_an_edit_is_refused(store: Store, edit: str):
    _edit(store, edit)

    with pytest.raises(HistoryError, match="were edited") as caught:  # noqa: PT012 - the state is read when it is used
        store.load()
        store.state("t1", digest_of(b"state one"))
    assert caught.value.code == "history/unavailable"
    assert str(store.path) in caught.value.message


def test_a_single_row_that_is_put_back_is_refused(store: Store):
    """The row is as the gateway wrote it, but not the one that it wrote last."""
    _edit(store, "create table old as select * from tasks")
    store.save(Checkpoint("journal", 9, (Row("t1", 9, b"meta one", b"state later"),), ()))
    _edit(store, "insert or replace into tasks select * from old where id = 't1'")

    with pytest.raises(HistoryError, match="were edited"):
        store.load()
    with pytest.raises(HistoryError, match="t1 is not as it was written"):
        store.state("t1", digest_of(b"state later"))


def test_another_key_is_refused(store: Store):
    with pytest.raises(HistoryError, match="were edited"):
        Store(store.path.parent, KeyRing(b"x" * 32)).load()


def test_a_file_that_is_no_database_is_an_error(store: Store):
    store.path.write_bytes(b"no database at all" * 500)

    with pytest.raises(HistoryError, match="cannot be used"):
        store.load()
    with pytest.raises(HistoryError, match="cannot be used"):
        store.state("t1", b"")
    with pytest.raises(HistoryError, match="cannot be used"):
        store.save(Checkpoint("journal", 1, (), ()))


def test_a_checkpoint_is_written_whole_or_not_at_all(store: Store):
    rows = (Row("t1", 9, b"meta", b"later"), Row("t3", None, b"", b""))  # type: ignore[arg-type] - what cannot be written

    with pytest.raises((HistoryError, AttributeError)):
        store.save(Checkpoint("journal", 9, rows, ("t2",)))

    stored = store.load()
    assert stored is not None
    assert (stored.seq, len(stored.tasks)) == (4, 2)
    assert store.state("t1", digest_of(b"state one")) == b"state one"


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path):
    (tmp_path / "file").touch()

    with pytest.raises(HistoryError, match="cannot be used"):
        Store(tmp_path / "file" / "history", KEY).save(Checkpoint("journal", 1, (), ()))


def test_a_link_is_not_followed(tmp_path: Path):
    (tmp_path / "tasks.db").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(HistoryError, match="cannot be used"):
        Store(tmp_path, KEY).save(Checkpoint("journal", 1, (), ()))
    assert not (tmp_path / "elsewhere").exists()


def test_a_discarded_store_has_nothing(store: Store):
    store.discard()
    store.discard()

    assert store.load() is None
    assert list(store.path.parent.iterdir()) == []


def test_a_folder_in_the_place_of_the_file_is_an_error(tmp_path: Path):
    (tmp_path / "tasks.db").mkdir()

    with pytest.raises(HistoryError, match="cannot be used"):
        Store(tmp_path, KEY).load()
