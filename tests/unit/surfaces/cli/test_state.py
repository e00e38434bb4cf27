"""All records moved aside: noted in the journal, and never without their latest changes."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import pytest

from gateway.config.keys import RECORDS
from gateway.model.errors import StoreError
from gateway.surfaces.cli.state import _forget_all, _move_aside
from tests.unit.harness import bench, call


class Killed(BaseException):
    """The end of a process."""


def crash_with_a_log(folder: Path) -> Path:
    """Return a file of records as a crash leaves it: a row is in its log alone."""
    whole = folder / "whole"
    whole.mkdir()
    with closing(sqlite3.connect(whole / RECORDS, isolation_level=None)) as database:
        database.execute("pragma journal_mode = wal")
        database.execute("create table records (id text)")
        database.execute("pragma wal_checkpoint(truncate)")
        database.execute("insert into records values ('stop')")
        for suffix in ("", "-wal"):
            shutil.copy(whole / f"{RECORDS}{suffix}", folder / f"{RECORDS}{suffix}")
    return folder / RECORDS


def rows(path: Path) -> list[tuple[str]]:
    with closing(sqlite3.connect(path)) as database:
        return database.execute("select id from records").fetchall()


@pytest.mark.parametrize("moves", [0, 1, 2])
def test_a_crash_leaves_no_records_without_their_latest_changes(
    moves: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    records, aside, rename = crash_with_a_log(tmp_path), tmp_path / "aside", Path.rename
    done: list[Path] = []

    def move(path: Path, target: Path) -> Path:
        if len(done) == moves:
            raise Killed
        done.append(path)
        return rename(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", move)
        with suppress(Killed):
            _move_aside(records, aside)

    assert rows(records if records.exists() else aside) == [("stop",)]


def test_a_file_that_is_no_database_is_moved_too(tmp_path: Path):
    (tmp_path / RECORDS).write_bytes(b"x" * 5000)

    _move_aside(tmp_path / RECORDS, tmp_path / "aside")

    assert [path.name for path in tmp_path.iterdir()] == ["aside"]


async def test_the_journal_says_who_moved_all_records_also_without_the_sealing_key(tmp_path: Path):
    async with bench(tmp_path) as there:
        await there.ask(call())
    (tmp_path / "state" / RECORDS).write_bytes(b"sealed")
    (tmp_path / "state/sealing-key").unlink()

    aside = await _forget_all(there.configuration)

    (entry,) = there.entries("forgotten")
    assert (entry["record"], entry["moved"]) == ("all", aside.name)
    assert entry["by"]["channel"] == "command"
    assert aside.read_bytes() == b"sealed"
    with pytest.raises(StoreError, match="there is no file"):
        await _forget_all(there.configuration)
