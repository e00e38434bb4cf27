"""Journals of a few lines, made by the writer itself."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from gateway.config import JournalSettings
from gateway.record.journal.writer import Journal
from tests.unit.record.journal.disks import WatchedDisk

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from gateway.record.journal.storage import Disk

KEY = b"k" * 32


@pytest.fixture
def key() -> bytes:
    return KEY


@pytest.fixture
def clock() -> Callable[[], float]:
    seconds: Iterator[int] = itertools.count(1_800_000_000)
    return lambda: float(next(seconds))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
def open_journal(folder: Path, clock: Callable[[], float]) -> Callable[..., Journal]:
    def opened(
        *,
        fsync: str = "never",
        segment: int = 2**20,
        compress: bool = False,
        key: bytes = KEY,
        fingerprints: bytes = KEY,
        disk: Disk | None = None,
        path: Path = folder,
    ) -> Journal:
        settings = JournalSettings.model_validate(
            {"path": path, "fsync": fsync, "segment": segment, "compress": compress}
        )
        return Journal.open(
            settings, key=key, fingerprints=fingerprints, clock=clock, new_id=lambda: "journal-1", disk=disk
        )

    return opened


@pytest.fixture
def write_journal(open_journal: Callable[..., Journal]) -> Callable[..., Awaitable[str]]:
    """Write a journal of `count` entries and stop it; its head."""

    async def write(count: int, **options: object) -> str:
        journal = open_journal(**options)
        for number in range(count):
            await journal.append("policy", {"name": "p", "revision": str(number)})
        await journal.close()
        return journal.head

    return write


@pytest.fixture
def disk() -> WatchedDisk:
    return WatchedDisk()
