"""Compressed segments: the same lines at the same places, and each change of a byte is found."""

from __future__ import annotations

import errno
import os
import random
import shutil
import struct
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest

from gateway.model.errors import JournalError
from gateway.record.journal.compression import FRAME, DamagedSegment, open_compressed
from gateway.record.journal.placed import EntryPlace, lines_before, lines_from, place_after, read_at
from gateway.record.journal.reader import entries, find, tail, verify
from gateway.record.journal.retention import prune
from gateway.record.journal.storage import Disk, compress_closed, find_segment, hold_pruning, open_segment, segments
from gateway.record.journal.verification import Fault
from gateway.record.journal.writer import Journal
from tests.unit.record.journal.conftest import KEY
from tests.unit.record.journal.written import Written, fill

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

SMALL = 900


EDITS: list[Callable[[bytes], bytes]] = [
    lambda _data: b"",
    lambda data: data[:-1],
    lambda data: data[: len(data) // 2],
    lambda data: data + b"x",
    lambda data: zstd.compress(b"{}\n") + data,
    lambda data: data + zstd.compress(b"{}\n"),
    lambda data: b"x" * len(data),
]


def compress(folder: Path) -> None:
    compress_closed(folder, Disk(), lambda: False)


@pytest.fixture
def twins(tmp_path: Path) -> tuple[Path, Path]:
    """Return two folders with the same journal: plain, and compressed. One segment has several frames."""
    written = Written(tmp_path / "plain")
    fill(written, count=40, segments=2)
    written.begin()
    for number in range(1_500):
        written.call(f"long-{number}", codes=[f"code/{number}"])
    written.begin()
    written.call("last")
    shutil.copytree(tmp_path / "plain", tmp_path / "compressed")
    compress(tmp_path / "compressed")
    return tmp_path / "plain", tmp_path / "compressed"


def test_closed_segments_are_compressed_and_the_last_one_is_not(twins: tuple[Path, Path]):
    plain, compressed = twins
    assert [path.name for _, path in segments(compressed)] == [
        *(f"0000000{number}.jsonl.zst" for number in (1, 2, 3)),
        "00000004.jsonl",
    ]
    sizes = [sum(path.stat().st_size for _, path in segments(folder)[:-1]) for folder in twins]
    assert sizes[1] < sizes[0] / 3
    assert segments(plain)[2][1].stat().st_size > FRAME


def test_every_reader_sees_the_same_lines_at_the_same_places(twins: tuple[Path, Path]):
    plain, compressed = twins
    placed = list(lines_before(plain))

    assert list(lines_before(compressed)) == placed
    assert list(lines_from(compressed, EntryPlace(2, 0))) == list(lines_from(plain, EntryPlace(2, 0)))
    assert list(entries(compressed)) == list(entries(plain))
    assert find(compressed, "long-700", key=KEY) == find(plain, "long-700", key=KEY)
    for place, _ in random.Random(3).sample(placed, 30):
        assert read_at(compressed, place, key=KEY) == read_at(plain, place, key=KEY)
        assert place_after(compressed, place, 300_000) == place_after(plain, place, 300_000)


def test_a_compressed_journal_verifies_with_the_same_head(twins: tuple[Path, Path]):
    before, after = (verify(folder, key=KEY) for folder in twins)
    assert (after.head, after.entries, after.problems) == (before.head, before.entries, before.problems)


def test_other_programs_read_a_compressed_segment(twins: tuple[Path, Path]):
    plain, compressed = twins
    with zstd.open(compressed / "00000003.jsonl.zst") as file:
        assert file.read() == (plain / "00000003.jsonl").read_bytes()


def test_each_change_of_a_line_by_a_changed_byte_is_found(twins: tuple[Path, Path]):
    plain, compressed = twins
    lines, unfound = (plain / "00000003.jsonl").read_bytes(), 0
    path = compressed / "00000003.jsonl.zst"
    whole, chance = path.read_bytes(), random.Random(5)
    assert verify(compressed, key=KEY).ok
    places = {*range(12), *range(len(whole) - 40, len(whole)), *chance.sample(range(len(whole)), 60)}
    for place in sorted(places):
        edited = bytearray(whole)
        edited[place] ^= 1 << chance.randrange(8)
        path.write_bytes(edited)
        if verify(compressed, key=KEY).ok:
            # Zstandard has bits without a meaning.
            unfound += 1
            with open_segment(path) as file:
                assert file.read() == lines, place
    assert unfound < 3


@pytest.mark.parametrize("edit", EDITS)
def test_a_cut_or_longer_file_is_reported_as_edited(twins: tuple[Path, Path], edit: Callable[[bytes], bytes]):
    path = twins[1] / "00000002.jsonl.zst"
    path.write_bytes(edit(path.read_bytes()))

    found = verify(twins[1], key=KEY)
    assert {(problem.fault, problem.segment) for problem in found.problems} == {(Fault.EDITED, path.name)}
    with pytest.raises(JournalError, match="not as it was written"):
        list(entries(twins[1]))


def test_an_edit_before_the_compression_is_still_found(tmp_path: Path):
    written = Written(tmp_path / "journal")
    fill(written, count=20, segments=2)
    path = written.path(1)
    path.write_bytes(path.read_bytes().replace(b'"id-3"', b'"id-9"', 1))
    compress(written.folder)

    assert [problem.fault for problem in verify(written.folder, key=KEY).problems] == [Fault.EDITED]


def test_a_crafted_frame_takes_no_memory(tmp_path: Path):
    path = tmp_path / "00000001.jsonl.zst"
    frame = zstd.compress(bytes(2**28))
    table = struct.pack("<IIIIIBI", 0x184D2A5E, 17, len(frame), FRAME, 1, 0, 0x8F92EAB1)
    path.write_bytes(frame + table)
    with open_compressed(path) as file, pytest.raises(DamagedSegment):
        file.read()


@pytest.mark.parametrize("left", [".00000001.jsonl.zst.new", "00000001.jsonl.zst"])
def test_a_crash_during_the_compression_leaves_the_segment_whole(tmp_path: Path, left: str):
    written = Written(tmp_path / "journal")
    fill(written, count=20, segments=2)
    before = list(entries(written.folder))
    (written.folder / left).write_bytes(b"half of it")

    assert list(entries(written.folder)) == before
    compress(written.folder)
    assert list(entries(written.folder)) == before
    assert [path.suffix for _, path in segments(written.folder)] == [".zst", ".jsonl"]
    assert sorted(path.name for path in written.folder.iterdir() if path.name.startswith(".")) == []


def test_a_stopped_compression_leaves_the_segment_as_it_was(tmp_path: Path):
    written = Written(tmp_path / "journal")
    fill(written, count=20, segments=2)
    names = {path.name for path in written.folder.iterdir()}
    compress_closed(written.folder, Disk(), lambda: True)

    assert {path.name for path in written.folder.iterdir()} - names == {"prune.lock"}


def test_a_full_disk_leaves_the_segment_and_nothing_beside_it(tmp_path: Path):
    class FullDisk(Disk):
        """A disk whose room ends during the compression."""

        def sync(self, fd: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    written = Written(tmp_path / "journal")
    fill(written, count=20, segments=2)
    before = list(entries(written.folder))
    with pytest.raises(OSError, match="No space"):
        compress_closed(written.folder, FullDisk(), lambda: False)

    assert {path.name for path in written.folder.iterdir()} == {"00000001.jsonl", "00000002.jsonl", "prune.lock"}
    assert list(entries(written.folder)) == before


def test_nothing_is_compressed_while_another_process_prunes(tmp_path: Path):
    written = Written(tmp_path / "journal")
    fill(written, count=20, segments=2)
    with hold_pruning(written.folder):
        compress(written.folder)
    assert [path.suffix for _, path in segments(written.folder)] == [".jsonl", ".jsonl"]


def test_a_reader_goes_on_while_its_segment_is_compressed(tmp_path: Path):
    written = Written(tmp_path / "journal")
    fill(written, count=20, segments=2)
    reading = entries(written.folder)
    first = next(reading)
    path = find_segment(written.folder, 1)
    assert path is not None
    compress(written.folder)

    assert first["seq"] == 1
    assert len(list(reading)) == len(written.lines) - 1
    with open_segment(path) as file:
        assert len(file.readlines()) == sum(segment == 1 for segment, _ in written.lines)


async def test_the_writer_compresses_closed_segments(open_journal: Callable[..., Journal], folder: Path):
    journal = open_journal(segment=SMALL, compress=True)
    for number in range(12):
        await journal.append("policy", {"revision": str(number)})
    while sum(path.suffix == ".zst" for _, path in segments(folder)) < len(segments(folder)) - 1:
        await journal.append("policy", {"revision": "more"})
    await journal.close()

    assert verify(folder, key=KEY).ok
    assert verify(folder, key=KEY, head=journal.head).stopped


async def test_the_next_gateway_compresses_what_the_last_one_left(
    write_journal: Callable[..., Awaitable[str]], open_journal: Callable[..., Journal], folder: Path
):
    await write_journal(12, segment=SMALL)
    journal = open_journal(segment=2**20, compress=True)
    await journal.append("policy", {"revision": "later"})
    while find_segment(folder, 1) == folder / "00000001.jsonl":
        await journal.append("policy", {"revision": "more"})
    await journal.close()
    assert verify(folder, key=KEY).ok


async def test_a_journal_whose_last_segment_is_compressed_goes_on_with_the_next(
    write_journal: Callable[..., Awaitable[str]], open_journal: Callable[..., Journal], folder: Path
):
    await write_journal(12, segment=SMALL)
    compress(folder)
    segments(folder)[-1][1].unlink()
    last = segments(folder)[-1]
    whole = last[1].read_bytes()

    journal = open_journal()
    await journal.append("policy", {"revision": "later"})
    await journal.close()

    assert segments(folder)[-1][0] == last[0] + 1
    assert last[1].read_bytes() == whole
    assert verify(folder, key=KEY).ok


async def test_compressed_segments_are_pruned_and_verify_in_their_archive(
    write_journal: Callable[..., Awaitable[str]], folder: Path, tmp_path: Path
):
    head = await write_journal(12, segment=SMALL)
    compress(folder)
    time = "2999-01-01T00:00:00.000Z"
    done = prune(folder, key=KEY, before=time, time=time, archive=tmp_path / "archive")

    assert done.segments > 2
    assert [path.suffix for _, path in segments(tmp_path / "archive")] == [".zst"] * done.segments
    assert verify(tmp_path / "archive", key=KEY).ok
    assert verify(folder, key=KEY, head=head).ok


def test_following_goes_over_compressed_segments(tmp_path: Path):
    written = Written(tmp_path / "journal")
    written.call("a")
    followed = tail(written.folder)
    seen = [entry.get("id") for entry in iter(partial(next, followed), None)]
    written.begin()
    written.call("b")
    written.begin()
    compress(written.folder)
    written.call("c")
    seen += [entry.get("id") for entry in iter(partial(next, followed), None)]

    assert seen == [None, "a", None, "b", None, "c"]
