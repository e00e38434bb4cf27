"""Old segments go, and what stays can be verified; without the floor, or with another, it cannot."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from gateway.model.errors import JournalError
from gateway.record.journal import reader, verification
from gateway.record.journal.chain import Chain
from gateway.record.journal.retention import Pruned, prune
from gateway.record.journal.storage import Disk, segments
from gateway.record.journal.verification import Fault, PruningMark
from tests.requirements import requirement
from tests.unit.record.journal.disks import WatchedDisk
from tests.unit.record.journal.segments import SMALL

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from gateway.record.journal.writer import Journal

KEY = b"k" * 32
NOW = "2030-01-01T00:00:00.000Z"


@pytest.fixture
async def head(write_journal: Callable[..., Awaitable[str]]) -> str:
    return await write_journal(20, segment=SMALL)


def numbers(folder: Path) -> list[int]:
    return [number for number, _ in segments(folder)]


def begun(folder: Path, number: int) -> str:
    return str(next(reader.lines_of(folder / f"{number:08d}.jsonl"))["time"])


def pruned(folder: Path, *, keep_from: int, archive: Path | None = None, disk: Disk | None = None) -> Pruned:
    """Prune all segments before this one: those whose successor was begun before just after it."""
    return prune(folder, key=KEY, before=begun(folder, keep_from) + "~", time=NOW, archive=archive, disk=disk)


def faults(folder: Path, head: str | None = None) -> list[Fault]:
    found = reader.verify(folder, key=KEY, head=head, pause=lambda _seconds: None)
    return [problem.fault for problem in found.problems]


@requirement("operations/prune")
def test_what_stays_can_be_verified(folder: Path, head: str):
    last = numbers(folder)[-1]

    done = pruned(folder, keep_from=4)

    assert numbers(folder) == list(range(4, last + 1))
    assert (done.segments, done.floor and done.floor.segment) == (3, 3)
    result = reader.verify(folder, key=KEY, head=head)
    assert (result.ok, result.stopped, result.head, result.journal) == (True, True, head, "journal-1")


async def test_the_gateway_goes_on_in_a_pruned_journal(folder: Path, head: str, open_journal: Callable[..., Journal]):
    pruned(folder, keep_from=4)

    journal = open_journal(segment=SMALL)
    await journal.append("policy", {"name": "p", "revision": "next"})
    await journal.close()

    assert faults(folder, head) == []


def test_segments_with_anything_later_stay(folder: Path, head: str):
    done = prune(folder, key=KEY, before=begun(folder, 2), time=NOW)

    assert (done.segments, done.bytes, done.floor) == (0, 0, None)
    assert faults(folder, head) == []


def test_the_last_segment_always_stays(folder: Path, head: str):
    last = numbers(folder)[-1]

    prune(folder, key=KEY, before="9", time=NOW)

    assert numbers(folder) == [last]
    assert faults(folder, head) == []
    assert prune(folder, key=KEY, before="9", time=NOW).segments == 0


def test_pruning_again_moves_the_floor(folder: Path, head: str):
    pruned(folder, keep_from=3)
    done = pruned(folder, keep_from=6)

    assert (done.segments, done.floor and done.floor.segment) == (3, 5)
    assert faults(folder, head) == []


def test_a_head_at_the_floor_is_known(folder: Path, head: str):
    del head
    done = pruned(folder, keep_from=4)

    assert done.floor is not None
    assert faults(folder, done.floor.link) == []


def test_segments_that_somebody_else_removed_are_missing(folder: Path, head: str):
    del head
    pruned(folder, keep_from=3)
    for number in (3, 4):
        (folder / f"{number:08d}.jsonl").unlink()

    assert faults(folder) == [Fault.MISSING_SEGMENT]


@requirement("operations/prune")
def test_without_its_floor_a_pruned_journal_is_not_whole(folder: Path, head: str):
    del head
    pruned(folder, keep_from=4)
    (folder / verification.FLOOR_FILE).unlink()

    assert faults(folder)[0] is Fault.MISSING_SEGMENT


@requirement("operations/prune")
@pytest.mark.parametrize("key", [b"o" * 32, None])
def test_who_cannot_read_the_key_cannot_make_a_floor(folder: Path, head: str, key: bytes | None):
    del head
    heading = next(reader.lines_of(folder / "00000004.jsonl"))
    forged = PruningMark("journal-1", 3, int(str(heading["seq"])) - 1, str(heading["prev"]), NOW)
    for number in (1, 2, 3):
        (folder / f"{number:08d}.jsonl").unlink()
    (folder / verification.FLOOR_FILE).write_bytes(verification.write_mark(Chain.of(key), forged))

    assert faults(folder) == [Fault.EDITED, Fault.MISSING_SEGMENT]


def test_an_older_floor_shows_that_more_is_gone(folder: Path, head: str):
    del head
    pruned(folder, keep_from=3)
    older = (folder / verification.FLOOR_FILE).read_bytes()
    pruned(folder, keep_from=6)
    (folder / verification.FLOOR_FILE).write_bytes(older)

    assert faults(folder) == [Fault.MISSING_SEGMENT]


async def test_a_floor_of_another_journal_is_found(
    folder: Path, head: str, write_journal: Callable[..., Awaitable[str]], tmp_path: Path
):
    del head
    pruned(folder, keep_from=4)
    own = reader.floor_of(folder, Chain.of(KEY))
    assert own is not None
    other = PruningMark("journal-2", own.segment, own.seq, own.link, own.time)
    (folder / verification.FLOOR_FILE).write_bytes(verification.write_mark(Chain.of(KEY), other))

    assert Fault.FOREIGN_SEGMENT in faults(folder)


def test_a_journal_in_which_something_is_wrong_is_not_pruned(folder: Path, head: str):
    del head
    path = folder / "00000002.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"name":"p"', b'"name":"q"', 1))
    before = numbers(folder)

    with pytest.raises(JournalError, match="not as it was written"):
        pruned(folder, keep_from=4)
    assert numbers(folder) == before
    assert not (folder / verification.FLOOR_FILE).exists()


def test_an_archive_is_verified_like_a_journal(folder: Path, head: str, tmp_path: Path):
    archive = tmp_path / "deep/archive"
    originals = {path.name: path.read_bytes() for _, path in segments(folder)}

    pruned(folder, keep_from=3, archive=archive)
    pruned(folder, keep_from=6, archive=archive)

    assert numbers(archive) == [1, 2, 3, 4, 5]
    assert all(path.read_bytes() == originals[path.name] for _, path in segments(archive))
    assert {path.stat().st_mode & 0o777 for path in archive.iterdir()} == {0o600}
    assert archive.stat().st_mode & 0o777 == 0o700
    assert faults(archive) == []
    for _, path in segments(archive):
        shutil.copy(path, folder)
    assert faults(folder, head) == []


def test_copies_and_floor_are_on_disk_before_anything_is_removed(folder: Path, head: str, tmp_path: Path):
    disk = WatchedDisk()

    pruned(folder, keep_from=3, archive=tmp_path / "archive", disk=disk)

    copies, floor, removed = ["sync"] * 3, ["write", "sync", "sync"], ["sync"]
    assert disk.done == [*copies, *floor, *removed]


def test_an_archive_that_begins_later_says_where(folder: Path, head: str, tmp_path: Path):
    del head
    pruned(folder, keep_from=3)
    pruned(folder, keep_from=6, archive=tmp_path / "archive")

    assert numbers(tmp_path / "archive") == [3, 4, 5]
    assert faults(tmp_path / "archive") == []


def test_an_archive_is_not_written_over(folder: Path, head: str, tmp_path: Path):
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive/00000002.jsonl").write_text("another journal\n")

    with pytest.raises(JournalError, match="is there already, with other content"):
        pruned(folder, keep_from=4, archive=tmp_path / "archive")
    assert faults(folder, head) == []
    assert not (folder / verification.FLOOR_FILE).exists()


def test_an_archive_that_was_written_in_part_is_completed(folder: Path, head: str, tmp_path: Path):
    archive = tmp_path / "archive"
    archive.mkdir()
    shutil.copy(folder / "00000001.jsonl", archive)
    (archive / ".00000002.jsonl.new").write_text("half")

    pruned(folder, keep_from=4, archive=archive)

    assert sorted(path.name for path in archive.iterdir()) == [f"0000000{number}.jsonl" for number in (1, 2, 3)]
    assert faults(archive) == []
    assert faults(folder, head) == []


class Failing(Disk):
    """Fails at a folder's sync number `at`: 1 is after the floor, 2 after the removal."""

    def __init__(self, at: int) -> None:
        self._left = at

    def sync_folder(self, folder: Path) -> None:
        self._left -= 1
        if self._left == 0:
            raise OSError(5, "Input/output error", str(folder))
        super().sync_folder(folder)


@pytest.mark.parametrize("at", [1, 2])
def test_a_failure_in_between_is_said_and_the_next_run_goes_on(folder: Path, head: str, at: int):
    with pytest.raises(JournalError, match="cannot be pruned: Input/output error"):
        pruned(folder, keep_from=4, disk=Failing(at))
    assert faults(folder, head) == []

    prune(folder, key=KEY, before="0", time=NOW)

    assert numbers(folder)[0] == 4
    assert faults(folder, head) == []


def test_below_the_floor_an_edit_is_found_too(folder: Path, head: str):
    del head
    with pytest.raises(JournalError):
        pruned(folder, keep_from=4, disk=Failing(1))
    path = folder / "00000002.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"name":"p"', b'"name":"q"', 1))

    assert faults(folder) == [Fault.EDITED]


def test_two_do_not_prune_at_once(folder: Path, head: str):
    del head

    class Second(Disk):
        def create(self, path: Path) -> int:
            with pytest.raises(JournalError, match="being pruned or compressed already"):
                pruned(folder, keep_from=4)
            return super().create(path)

    assert pruned(folder, keep_from=4, disk=Second()).segments == 3


def test_a_folder_that_is_none_is_said_to_be_so(tmp_path: Path):
    with pytest.raises(JournalError, match="cannot be pruned: No such file or directory"):
        prune(tmp_path / "nowhere", key=KEY, before=NOW, time=NOW)


def test_a_successor_that_has_no_line_yet_keeps_its_segment(folder: Path, head: str):
    del head
    last = numbers(folder)[-1]
    (folder / f"{last + 1:08d}.jsonl").touch()

    prune(folder, key=KEY, before="9", time=NOW)

    assert numbers(folder) == [last, last + 1]


def test_a_floor_that_cannot_be_read_is_said_to_be_so(folder: Path, head: str):
    del head
    (folder / verification.FLOOR_FILE).mkdir()

    with pytest.raises(JournalError, match=r"floor\.json cannot be read"):
        reader.verify(folder, key=KEY)
