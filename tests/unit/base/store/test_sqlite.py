"""The embedded engine: its file, its shared writes, and its failures."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from gateway.base.store.engine import Change
from gateway.base.store.sqlite import AT_ONCE, FORMAT, SqliteStore, open_database
from gateway.model.errors import StoreError
from tests.unit.base.store.keeping import FILE, edit

LOCKS = Path("/proc/locks")


@pytest.fixture
def store(tmp_path: Path) -> SqliteStore:
    return SqliteStore(tmp_path / FILE)


async def test_a_read_makes_no_file(store: SqliteStore):
    assert await store.list("k") == []
    assert await store.count("k") == 0
    await store.expire("k")
    assert not store.path.exists()


async def test_the_file_is_for_its_owner_alone(store: SqliteStore, tmp_path: Path):
    await store.change(Change("k", "a", b"1"))
    assert store.path.stat().st_mode & 0o777 == 0o600


async def test_a_finished_change_waits_for_the_disk(store: SqliteStore):
    await store.change(Change("k", "a", b"1"))
    database = store._connect_once()  # pyright: ignore[reportPrivateUsage]
    full, wal = (database.execute(f"pragma {name}").fetchone() for name in ("synchronous", "journal_mode"))

    assert (full, wal) == ((2,), ("wal",))


async def test_two_processes_that_make_the_file_wait_for_each_other(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
):
    with closing(sqlite3.connect(store.path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("begin immediate")

        def let_go(_seconds: float) -> None:
            other.execute("rollback")

        monkeypatch.setattr("gateway.base.store.sqlite.time.sleep", let_go)

        assert await store.change(Change("k", "a", b"1")) == 1


@pytest.mark.skipif(not LOCKS.exists(), reason="this system shows no locks")
def test_another_opening_of_the_file_keeps_its_locks(store: SqliteStore):
    asyncio.run(store.change(Change("k", "a", b"1")))
    inode = f":{store.path.stat().st_ino} "
    with closing(open_database(store.path)):
        held = [line for line in LOCKS.read_text("utf-8").splitlines() if inode in line]

    assert any(f" {os.getpid()} " in line for line in held)


async def test_a_link_in_the_place_of_the_file_is_not_followed(store: SqliteStore, tmp_path: Path):
    (tmp_path / FILE).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="cannot be used"):
        await store.change(Change("k", "a", b"1"))
    assert not (tmp_path / "elsewhere").exists()


async def test_a_file_of_a_later_release_is_refused_and_kept(store: SqliteStore, tmp_path: Path):
    await store.change(Change("k", "a", b"1"))
    store.close()
    edit(tmp_path, f"pragma user_version = {FORMAT + 1}")
    with pytest.raises(StoreError, match="a later release"):
        await store.list("k")
    with pytest.raises(StoreError, match="a later release"):
        await store.change(Change("k", "a", b"2"))
    assert edit(tmp_path, "select value from records") == [(b"1",)]


async def test_a_damaged_file_is_an_error_and_no_empty_store(store: SqliteStore):
    store.path.write_bytes(b"no database at all, but long enough to be read as one" * 100)
    with pytest.raises(StoreError, match="cannot be used"):
        await store.list("k")


async def test_changes_that_come_while_the_disk_works_share_writes(store: SqliteStore, monkeypatch: pytest.MonkeyPatch):
    sizes: list[int] = []
    write = store._write  # pyright: ignore[reportPrivateUsage]

    def counting(sets: list[tuple[Change, ...]]) -> list[int | None]:
        sizes.append(len(sets))
        return write(sets)

    monkeypatch.setattr(store, "_write", counting)
    versions = await asyncio.gather(*(store.change(Change("k", f"{n:03d}", b"x")) for n in range(3 * AT_ONCE)))

    assert (sum(sizes), max(sizes)) == (3 * AT_ONCE, AT_ONCE)
    assert versions == sorted(set(versions), key=lambda version: version or 0)
    assert await store.count("k") == 3 * AT_ONCE


async def test_a_failed_write_is_told_to_each_change_of_it(store: SqliteStore, monkeypatch: pytest.MonkeyPatch):
    await store.change(Change("k", "kept", b"1"))

    def fail() -> None:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(store, "_connect_once", fail)
    found = await asyncio.gather(*(store.change(Change("k", f"l{n}", b"2")) for n in range(5)), return_exceptions=True)

    assert [type(each) for each in found] == [StoreError] * 5
    monkeypatch.undo()
    await store.change(Change("k", "later", b"3"))
    assert [record.id for record in await store.list("k")] == ["kept", "later"]


async def test_a_writer_that_is_cancelled_before_its_first_turn_leaves_nobody_waiting(store: SqliteStore):
    waiting = [asyncio.ensure_future(store.change(Change("k", f"l{n}", b"1"))) for n in range(3)]
    batches = store._batches  # pyright: ignore[reportPrivateUsage]
    while batches._writer is None:  # pyright: ignore[reportPrivateUsage]
        await asyncio.sleep(0)
    batches._writer.cancel()  # pyright: ignore[reportPrivateUsage]

    async with asyncio.timeout(300):
        done = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(each) for each in done} == {asyncio.CancelledError}
    await store.change(Change("k", "later", b"1"))
    assert [record.id for record in await store.list("k")] == ["later"]


async def test_a_cancelled_caller_goes_after_its_write(store: SqliteStore):
    change = asyncio.ensure_future(store.change(Change("k", "a", b"1")))
    await asyncio.sleep(0)
    change.cancel()
    with pytest.raises(asyncio.CancelledError):
        await change
    assert await store.count("k") == 1
