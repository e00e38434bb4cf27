from __future__ import annotations

import errno
import json
import os
from typing import TYPE_CHECKING

import pytest

from gateway.record.journal.chain import MAX_LINE, Chain
from gateway.record.journal.reader import verify
from gateway.record.journal.segment import LONGEST_FIELDS, Appender, Pending
from gateway.record.journal.storage import Disk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

KEY = b"k" * 32


class FaultyDisk(Disk):
    """A real disk on which chosen operations fail. `room` is how many bytes can still be written."""

    def __init__(self) -> None:
        self.failing: set[str] = set()
        self.room: int | None = None
        self.done: list[str] = []

    def _maybe_fail(self, what: str) -> None:
        if what in self.failing:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self.done.append(what)

    def create(self, path: Path) -> int:
        self._maybe_fail("create")
        return super().create(path)

    def write(self, fd: int, data: bytes) -> int:
        self._maybe_fail("write")
        if self.room is None:
            return super().write(fd, data)
        if self.room == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = super().write(fd, data[: self.room])
        self.room -= written
        return written

    def truncate(self, fd: int, size: int) -> None:
        self._maybe_fail("truncate")
        super().truncate(fd, size)

    def sync(self, fd: int) -> None:
        self._maybe_fail("sync")
        super().sync(fd)


class FailsToUnlink(FaultyDisk):
    """Makes the new segment impossible to remove: a folder is put where the file was."""

    def sync_folder(self, folder: Path) -> None:
        if "folder" in self.failing:
            last = max(folder.glob("*.jsonl"))
            last.unlink()
            last.mkdir()
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        super().sync_folder(folder)


@pytest.fixture
def disk() -> FaultyDisk:
    return FaultyDisk()


@pytest.fixture
def appender(tmp_path: Path, disk: FaultyDisk) -> Iterator[Appender]:
    made = Appender(tmp_path, Chain.of(KEY), disk, limit=1212, durable=True)
    made.begin("journal-1", "t")
    yield made
    made.close()


def pending(name: str = "x") -> Pending:
    return Pending("policy", json.dumps({"name": name}).encode())


def test_entries_of_one_batch_are_one_write(appender: Appender, disk: FaultyDisk, tmp_path: Path):
    disk.done.clear()

    assert appender.append([pending(), pending(), pending()], "t") == (3, None)
    assert disk.done == ["write"]
    assert verify(tmp_path, key=KEY, head=appender.link).entries == 4


def test_a_segment_is_ended_at_a_line_before_it_grows_too_large(appender: Appender, tmp_path: Path):
    assert appender.append([pending(str(number)) for number in range(30)], "t") == (30, None)

    sizes = [path.stat().st_size for path in tmp_path.glob("*.jsonl")]
    assert len(sizes) > 4
    assert max(sizes) <= 1200
    assert verify(tmp_path, key=KEY).ok


def test_an_entry_larger_than_a_segment_has_one_of_its_own(appender: Appender, tmp_path: Path):
    assert appender.append([pending("x" * 3000), pending(), pending("y" * 3000)], "t") == (3, None)
    assert verify(tmp_path, key=KEY).ok


def test_a_finished_segment_is_on_disk_before_the_next_one_begins(appender: Appender, disk: FaultyDisk):
    disk.done.clear()

    appender.append([pending("x" * 900), pending("y" * 900)], "t")

    assert disk.done[:5] == ["write", "sync", "create", "write", "sync"]


@pytest.mark.parametrize("room", range(0, 330, 11))
def test_a_full_disk_leaves_no_half_line(appender: Appender, disk: FaultyDisk, tmp_path: Path, room: int):
    disk.room = room

    written, error = appender.append([pending("one"), pending("two")], "t")

    assert error is not None
    assert "No space left on device" in error.message
    assert "free space" in error.remedy
    assert written == 0
    assert verify(tmp_path, key=KEY, head=appender.link).ok
    disk.room = None
    assert appender.append([pending("three")], "t") == (1, None)
    assert verify(tmp_path, key=KEY, head=appender.link).entries == 2


def test_a_full_disk_at_a_new_segment_leaves_the_old_one_last(appender: Appender, disk: FaultyDisk, tmp_path: Path):
    appender.append([pending("x" * 700)], "t")
    disk.room = 10

    written, error = appender.append([pending("y" * 700)], "t")

    assert (written, appender.number) == (0, 1)
    assert error is not None
    assert [path.name for path in tmp_path.glob("*.jsonl")] == ["00000001.jsonl"]
    disk.room = None
    assert appender.append([pending("y" * 700)], "t") == (1, None)
    assert appender.number == 2
    assert verify(tmp_path, key=KEY, head=appender.link).ok


def test_what_was_written_before_a_failure_is_said_to_be(appender: Appender, disk: FaultyDisk, tmp_path: Path):
    appender.append([pending("x" * 600)], "t")
    disk.failing.add("create")

    written, error = appender.append([pending("a"), pending("y" * 900)], "t")

    assert written == 1
    assert error is not None
    assert appender.broken is None
    assert verify(tmp_path, key=KEY, head=appender.link).entries == 3


def test_a_half_line_that_cannot_be_cut_off_ends_the_journal(appender: Appender, disk: FaultyDisk):
    disk.room = 5
    disk.failing.add("truncate")

    _, error = appender.append([pending()], "t")

    assert error is appender.broken is not None
    disk.room = None
    disk.failing.clear()
    assert appender.append([pending()], "t") == (0, error)


def test_a_write_that_failed_whole_ends_nothing_although_the_file_cannot_be_cut(
    appender: Appender, disk: FaultyDisk, tmp_path: Path
):
    """A file system that became read-only refuses both. There is nothing to cut off."""
    disk.room = 0
    disk.failing.add("truncate")
    _, error = appender.append([pending()], "t")
    assert error is not None

    disk.room = None
    assert appender.append([pending()], "t") == (1, None)
    assert verify(tmp_path, key=KEY, head=appender.link).ok


def removed(path: Path) -> None:
    path.unlink()


def replaced(path: Path) -> None:
    copy = path.with_name("copy")
    copy.write_bytes(path.read_bytes())
    copy.rename(path)


def emptied(path: Path) -> None:
    os.truncate(path, 0)


def written_to(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"{}\n")


def taken_with_its_folder(path: Path) -> None:
    path.parent.rename(path.parent.with_name("taken"))


@pytest.mark.parametrize(
    ("done", "told"),
    [
        (removed, "removed or moved"),
        (replaced, "another file in its place"),
        (emptied, "it has 0 bytes"),
        (written_to, "has written to it"),
        (taken_with_its_folder, "removed or moved"),
    ],
)
def test_nothing_is_added_to_a_segment_that_somebody_took_away_or_changed(
    tmp_path: Path, done: Callable[[Path], None], told: str
):
    folder = tmp_path / "journal"
    folder.mkdir()
    appender = Appender(folder, Chain.of(KEY), Disk(), limit=1200, durable=True)
    appender.begin("journal-1", "t")
    done(appender.path)

    written, error = appender.append([pending()], "t")

    assert written == 0
    assert error is not None
    assert told in error.message
    assert "put it back as it was" in error.remedy
    appender.close()


def test_a_segment_that_was_put_back_goes_on(appender: Appender, tmp_path: Path):
    away = tmp_path / "away"
    appender.path.rename(away)
    assert appender.append([pending()], "t")[0] == 0

    away.rename(appender.path)
    assert appender.append([pending()], "t") == (1, None)
    assert verify(tmp_path, key=KEY, head=appender.link).ok


def test_no_segment_is_begun_after_one_that_was_taken_away(appender: Appender, tmp_path: Path):
    appender.append([pending("x" * 700)], "t")
    appender.path.unlink()

    assert appender.append([pending("y" * 700)], "t")[0] == 0
    assert list(tmp_path.glob("*.jsonl")) == []


def test_a_sync_that_failed_at_a_new_segment_ends_the_journal(appender: Appender, disk: FaultyDisk):
    appender.append([pending("x" * 700)], "t")
    disk.failing.add("sync")

    written, error = appender.append([pending("y" * 700)], "t")

    assert written == 0
    assert error is not None
    assert error is appender.broken
    assert "start the gateway again" in error.remedy


def test_a_new_segment_that_cannot_be_taken_back_ends_the_journal(tmp_path: Path):
    """Otherwise the chain would go on in two files."""
    disk = FailsToUnlink()
    appender = Appender(tmp_path, Chain.of(KEY), disk, limit=900, durable=False)
    appender.begin("journal-1", "t")
    appender.append([pending("x" * 300)], "t")
    disk.failing.add("folder")

    written, error = appender.append([pending("y" * 300)], "t")

    assert written == 0
    assert error is appender.broken is not None
    appender.close()


def test_a_closed_segment_takes_nothing(appender: Appender):
    appender.close()
    appender.close()

    written, error = appender.append([pending()], "t")

    assert written == 0
    assert error is not None
    assert "the segment is closed" in error.message


def test_calls_are_open_until_they_are_closed(appender: Appender):
    appender.append([Pending("call", b"{}", opens="a"), Pending("call", b"{}", opens="b")], "t")
    appender.append(
        [Pending("settled", b"{}", closes="a"), Pending("settled", b"{}", closes="unknown"), pending()], "t"
    )

    assert list(appender.open) == ["b"]


def test_the_longest_entry_makes_a_line_that_is_read():
    fields = MAX_LINE - 256 - len("policy")

    assert len("policy") + fields == LONGEST_FIELDS
    line = Chain.of(KEY).line(2**63, "2026-11-25T10:00:00.000Z", "policy", b"x" * fields, "0" * 64)
    assert len(line) <= MAX_LINE
