"""A journal on a disk that is full, for real: a small file system where one can be mounted, a size limit elsewhere."""

from __future__ import annotations

import resource
import signal
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from gateway.config import JournalSettings
from gateway.model.errors import JournalError
from gateway.record.journal.reader import entries, verify
from gateway.record.journal.writer import Journal
from tests import machine

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

KEY = b"k" * 32


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 128 KiB."""
    with machine.small_disk(tmp_path / "disk", "128k") as place:
        yield place


@contextmanager
def file_size_limit(size: int) -> Generator[None]:
    """Writes beyond `size` fail with EFBIG, as they fail with ENOSPC on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def opened(folder: Path, fsync: str, segment: int) -> Journal:
    settings = JournalSettings.model_validate({"path": folder, "fsync": fsync, "segment": segment})
    return Journal.open(settings, key=KEY, fingerprints=KEY, clock=time.time)


async def fill(journal: Journal) -> int:
    """Append until the journal refuses; how many entries went in."""
    for number in range(10_000):
        try:
            await journal.append("policy", {"name": "x" * (number % 700)})
        except JournalError:
            return number
    pytest.fail("the disk never filled")


def resumed(folder: Path) -> int:
    """How often it was said that entries were lost: at least once, and again each time that there was room for a while."""
    told = [entry["kind"] for entry in entries(folder)].count("resumed")
    assert told > 0
    return told


async def fill_up(journal: Journal) -> int:
    """Append until there is no room for a long entry either: closed files that are compressed beside it make room for more."""
    written = 0
    while True:
        written += await fill(journal)
        try:
            await journal.append("policy", {"name": "x" * 5000})
        except JournalError:
            return written
        written += 1


@pytest.mark.parametrize("fsync", ["always", "never"])
@pytest.mark.parametrize("segment", [20_000, 10**6])
async def test_a_full_file_system_refuses_until_there_is_space_again(small_disk: Path, fsync: str, segment: int):
    folder, ballast = small_disk / "journal", small_disk / "ballast"
    ballast.write_bytes(bytes(40_000))
    journal = opened(folder, fsync, segment)

    written = await fill_up(journal)

    assert "No space left on device" in (journal.problem() or "")
    full = verify(folder, key=KEY, head=journal.head)
    assert full.ok, full.problems
    ballast.unlink()
    await journal.append("policy", {"name": "x" * 5000})
    await journal.close()
    result = verify(folder, key=KEY, head=journal.head)
    assert result.ok, result.problems
    assert result.entries == written + 2 + resumed(folder) + result.segments


async def test_a_file_at_its_size_limit_refuses_until_the_limit_is_raised(tmp_path: Path):
    """The same where no file system can be mounted (RLIMIT_FSIZE, EFBIG)."""
    folder = tmp_path / "journal"
    journal = opened(folder, "never", 10**6)

    with file_size_limit(50_000):
        written = await fill(journal)
        assert "File too large" in (journal.problem() or "")
        assert verify(folder, key=KEY, head=journal.head).ok

    await journal.append("policy", {})
    await journal.close()
    result = verify(folder, key=KEY, head=journal.head)
    assert result.ok, result.problems
    assert result.entries == written + 3 + resumed(folder)
