"""What a journal waits for, and what it does when its disk is full or broken."""

from __future__ import annotations

import asyncio
import errno
import os
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from gateway.model.errors import JournalError
from gateway.record.journal import reader
from gateway.record.journal.reader import entries, verify
from tests.unit.record.journal.disks import ShortDisk

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gateway.record.journal.writer import Journal
    from tests.unit.record.journal.disks import WatchedDisk

KEY = b"k" * 32


async def test_with_always_an_entry_is_on_disk_when_append_returns(
    open_journal: Callable[..., Journal], disk: WatchedDisk
):
    journal = open_journal(fsync="always", disk=disk)
    disk.done.clear()
    disk.go.clear()
    waiting = asyncio.create_task(journal.append("policy", {}))
    await asyncio.to_thread(disk.syncing.wait)

    assert disk.done == ["write"]
    assert not waiting.done()
    disk.go.set()
    await waiting
    assert disk.done == ["write", "sync"]
    await journal.close()


async def test_with_always_entries_that_come_during_a_sync_share_the_next(
    open_journal: Callable[..., Journal], disk: WatchedDisk
):
    journal = open_journal(fsync="always", disk=disk)
    disk.done.clear()
    disk.go.clear()
    disk.syncing.clear()
    first = asyncio.create_task(journal.append("policy", {"name": "first"}))
    await asyncio.to_thread(disk.syncing.wait)
    others = [asyncio.create_task(journal.append("policy", {"name": str(number)})) for number in range(20)]
    await asyncio.sleep(0)
    disk.go.set()
    await asyncio.gather(first, *others)

    assert disk.done == ["write", "sync", "write", "sync"]
    await journal.close()


async def test_with_interval_the_disk_is_waited_for_later_and_once(
    open_journal: Callable[..., Journal], disk: WatchedDisk, monkeypatch: pytest.MonkeyPatch, folder: Path
):
    monkeypatch.setattr("gateway.record.journal.writer._INTERVAL", 0.01)
    journal = open_journal(fsync="interval", disk=disk)
    disk.done.clear()
    disk.syncing.clear()
    disk.go.clear()
    await journal.append("policy", {"name": "a"})
    await journal.append("policy", {"name": "b"})
    assert disk.done == ["write", "write"]

    await asyncio.to_thread(disk.syncing.wait)
    during = asyncio.create_task(journal.append("policy", {"name": "c"}))
    await asyncio.sleep(0)
    disk.go.set()
    await during
    await journal.close()

    assert disk.done[:4] == ["write", "write", "sync", "write"]
    assert verify(folder, key=KEY, head=journal.head).ok


async def test_a_flush_that_meets_a_sync_is_made_after_it(
    open_journal: Callable[..., Journal], disk: WatchedDisk, folder: Path
):
    """An interval's sync must not find the segment changing under it."""
    journal = open_journal(fsync="interval", disk=disk)
    disk.go.clear()
    journal._sync()  # pyright: ignore[reportPrivateUsage] - what the timer calls
    waiting = asyncio.create_task(journal.append("policy", {"name": "a"}))
    disk.done.clear()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert disk.done == []
    disk.go.set()
    await waiting
    assert disk.done == ["sync", "write"]

    assert verify(folder, key=KEY, head=journal.head).entries == 2
    await journal.close()


async def test_a_flush_that_finds_nothing_left_does_nothing(open_journal: Callable[..., Journal], disk: WatchedDisk):
    """The end of a sync has written what waited; the problem that it met is still the problem."""
    journal = open_journal(fsync="interval", disk=disk)
    disk.full = True
    journal._sync()  # pyright: ignore[reportPrivateUsage] - what the timer calls
    waiting = asyncio.create_task(journal.append("policy", {}))
    with pytest.raises(JournalError):
        await waiting
    journal.flush()
    disk.done.clear()

    assert "No space left" in (journal.problem() or "")
    assert disk.done == []
    disk.full = False
    await journal.close()


async def test_with_never_the_disk_is_not_waited_for(open_journal: Callable[..., Journal], disk: WatchedDisk):
    journal = open_journal(fsync="never", disk=disk)
    disk.done.clear()

    await journal.append("policy", {})
    await journal.close()

    assert disk.done == ["write", "write"]


async def append_for_ever(journal: Journal) -> None:
    while True:
        await journal.append("policy", {})
        await asyncio.sleep(0)


@pytest.mark.parametrize("policy", ["always", "interval"])
async def test_a_sync_that_fails_ends_the_journal(
    open_journal: Callable[..., Journal], disk: WatchedDisk, policy: str, monkeypatch: pytest.MonkeyPatch
):
    """After it nobody knows what is on disk: https://wiki.postgresql.org/wiki/Fsync_Errors."""
    monkeypatch.setattr("gateway.record.journal.writer._INTERVAL", 0.0)
    journal = open_journal(fsync=policy, disk=disk)
    disk.failure = OSError(errno.EIO, os.strerror(errno.EIO))

    with pytest.raises(JournalError, match="Input/output error"):
        await append_for_ever(journal)
    disk.failure = None
    with pytest.raises(JournalError, match="Input/output error") as caught:
        await journal.append("policy", {})
    assert caught.value.code == "journal/unavailable"
    assert "start the gateway again" in caught.value.remedy
    assert journal.problem() == caught.value.message
    with pytest.raises(JournalError, match="Input/output error"):
        await journal.close()


async def test_entries_that_wait_when_a_sync_fails_are_refused(open_journal: Callable[..., Journal], disk: WatchedDisk):
    journal = open_journal(fsync="always", disk=disk)
    disk.go.clear()
    disk.syncing.clear()
    first = asyncio.create_task(journal.append("policy", {}))
    await asyncio.to_thread(disk.syncing.wait)
    second = asyncio.create_task(journal.append("policy", {}))
    await asyncio.sleep(0)
    disk.failure = OSError(errno.EIO, os.strerror(errno.EIO))
    disk.go.set()

    results = await asyncio.gather(first, second, return_exceptions=True)

    assert [type(result) for result in results] == [JournalError, JournalError]
    assert results[0] is not results[1]
    with pytest.raises(JournalError):
        await journal.close()


async def test_a_full_disk_refuses_and_a_mended_one_goes_on(
    open_journal: Callable[..., Journal], disk: WatchedDisk, folder: Path
):
    journal = open_journal(disk=disk)
    disk.full = True

    results = await asyncio.gather(*[journal.append("policy", {}) for _ in range(3)], return_exceptions=True)

    assert [type(result) for result in results] == [JournalError] * 3
    assert "No space left on device" in (journal.problem() or "")
    disk.full = False
    await journal.append("policy", {})
    assert journal.problem() is None
    assert [entry["kind"] for entry in reader.entries(folder)] == ["segment", "resumed", "policy"]
    assert verify(folder, key=KEY, head=journal.head).ok
    await journal.close()


async def mended(journal: Journal) -> None:
    async with asyncio.timeout(300):
        while journal.problem() is not None:
            await asyncio.sleep(0)


@pytest.mark.parametrize("policy", ["always", "interval", "never"])
async def test_a_mended_disk_is_found_without_a_call(
    open_journal: Callable[..., Journal],
    disk: WatchedDisk,
    folder: Path,
    policy: str,
    monkeypatch: pytest.MonkeyPatch,
):
    """Who asks whether the gateway is ready before sending calls would else never send one."""
    monkeypatch.setattr("gateway.record.journal.writer._RETRY", 0.01)
    journal = open_journal(fsync=policy, disk=disk)
    disk.full = True
    for kind in ("policy", "refused", "refused"):
        with pytest.raises(JournalError):
            await journal.append(kind, {})
    disk.full = False

    with capture_logs() as logs:
        await mended(journal)

    assert [(entry["event"], entry["lost"]) for entry in logs] == [("journal.resumed", 3)]
    await journal.close()
    last = list(reader.entries(folder))[-2]
    assert (last["kind"], last["lost"]) == ("resumed", {"policy": 1, "refused": 2})
    assert verify(folder, key=KEY, head=journal.head).ok


async def test_a_call_whose_outcome_was_lost_is_not_open_for_ever(
    open_journal: Callable[..., Journal], disk: WatchedDisk, folder: Path
):
    journal = open_journal(disk=disk)
    for call in ("a", "b", "c"):
        await journal.append("call", {"id": call, "effect": "allow"})
    disk.full = True
    for call in ("a", "b"):
        with pytest.raises(JournalError):
            await journal.append("settled", {"id": call})
    disk.full = False
    await journal.append("settled", {"id": "c"})

    assert journal.open_calls == 0
    await journal.close()
    told = [(entry["kind"], entry.get("id")) for entry in reader.entries(folder)]
    assert told[4:] == [("resumed", None), ("abandoned", "a"), ("abandoned", "b"), ("settled", "c"), ("stop", None)]
    assert verify(folder, key=KEY).ok


async def test_a_stop_after_a_mend_says_what_was_lost(
    open_journal: Callable[..., Journal], disk: WatchedDisk, folder: Path
):
    journal = open_journal(disk=disk)
    disk.full = True
    with pytest.raises(JournalError):
        await journal.append("policy", {})
    disk.full = False

    await journal.close()

    assert [entry["kind"] for entry in reader.entries(folder)] == ["segment", "resumed", "stop"]
    assert verify(folder, key=KEY).stopped


async def test_a_segment_that_somebody_took_away_is_a_problem_before_anybody_calls(
    open_journal: Callable[..., Journal], folder: Path
):
    journal = open_journal()
    segment, away = folder / "00000001.jsonl", folder / "away"
    segment.rename(away)

    assert "removed or moved" in (journal.problem() or "")
    with pytest.raises(JournalError, match="removed or moved"):
        await journal.append("policy", {})
    away.rename(segment)
    await journal.append("policy", {})
    assert journal.problem() is None
    await journal.close()
    assert verify(folder, key=KEY).ok


async def test_a_stop_that_cannot_be_written_still_gives_the_journal_up(
    open_journal: Callable[..., Journal], disk: WatchedDisk, folder: Path
):
    journal = open_journal(disk=disk)
    disk.full = True

    with pytest.raises(JournalError, match="No space left"):
        await journal.close()
    await open_journal().close()
    assert verify(folder, key=KEY).ok


async def test_a_sync_that_fails_at_the_stop_is_said(open_journal: Callable[..., Journal], disk: WatchedDisk):
    journal = open_journal(fsync="interval", disk=disk)
    disk.failure = OSError(errno.EIO, os.strerror(errno.EIO))

    with pytest.raises(JournalError, match="Input/output error"):
        await journal.close()


def test_a_full_disk_at_the_start_is_said(open_journal: Callable[..., Journal], disk: WatchedDisk):
    disk.full = True

    with pytest.raises(JournalError, match="cannot be opened: No space left on device"):
        open_journal(disk=disk)


async def test_what_was_found_that_cannot_be_written_down_keeps_the_journal_closed(
    open_journal: Callable[..., Journal], disk: WatchedDisk
):
    journal = open_journal()
    await journal.append("call", {"id": "a", "effect": "allow"})
    await journal.close()
    disk.full = True

    with pytest.raises(JournalError, match="No space left on device"):
        open_journal(disk=disk)


async def test_a_write_that_fails_refuses_exactly_the_entries_that_are_not_on_record(
    open_journal: Callable[..., Journal], folder: Path
):
    disk = ShortDisk()
    journal = open_journal(disk=disk)
    await journal.append("policy", {"name": "before"})
    disk.left = 150

    ended = await asyncio.gather(
        *[journal.append("policy", {"name": str(number)}) for number in range(4)], return_exceptions=True
    )
    disk.left = None
    await journal.append("policy", {"name": "after"})

    refused = [number for number, end in enumerate(ended) if isinstance(end, JournalError)]
    written = [entry["name"] for entry in entries(folder) if entry["kind"] == "policy"]
    assert written == ["before", *(str(number) for number in range(4) if number not in refused), "after"]
    assert refused
    await journal.close()
    assert verify(folder, key=KEY).ok


async def test_a_full_disk_at_a_new_segment_refuses_only_the_entries_after_the_written_ones(
    open_journal: Callable[..., Journal], folder: Path, disk: WatchedDisk, monkeypatch: pytest.MonkeyPatch
):
    journal = open_journal(disk=disk, segment=900)

    def create(_path: Path) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(disk, "create", create)
    ended = await asyncio.gather(
        *[journal.append("policy", {"name": "x" * 100, "number": number}) for number in range(6)],
        return_exceptions=True,
    )
    monkeypatch.undo()

    refused = [number for number, end in enumerate(ended) if isinstance(end, JournalError)]
    written = [entry["number"] for entry in entries(folder) if entry["kind"] == "policy"]
    assert written == [number for number in range(6) if number not in refused]
    assert 0 < len(refused) < 6
    assert refused == list(range(refused[0], 6))
    await journal.close()


async def test_an_entry_that_no_caller_waits_for_is_written_in_its_place_and_its_loss_is_told(
    open_journal: Callable[..., Journal], folder: Path, disk: WatchedDisk
):
    journal, lost = open_journal(disk=disk), list[JournalError]()
    journal.begin("settled", {"id": "first"}, lost.append)
    await journal.append("policy", {"name": "second"})
    assert [entry["kind"] for entry in entries(folder)] == ["segment", "settled", "policy"]
    assert lost == []

    disk.full = True
    journal.begin("settled", {"id": "third"}, lost.append)
    with pytest.raises(JournalError):
        await journal.append("policy", {"name": "fourth"})
    assert ["No space left" in error.message for error in lost] == [True]
    disk.full = False
    await journal.close()


async def test_a_sync_that_fails_is_told_also_of_entries_that_no_caller_waits_for(
    open_journal: Callable[..., Journal], disk: WatchedDisk
):
    journal, lost = open_journal(fsync="always", disk=disk), list[JournalError]()
    disk.failure = OSError(errno.EIO, os.strerror(errno.EIO))

    journal.begin("settled", {"id": "first"}, lost.append)
    with pytest.raises(JournalError):
        await journal.append("policy", {})

    assert len(lost) == 1
    with pytest.raises(JournalError):
        await journal.close()


async def test_a_wait_that_outlasts_its_caller_ends_with_the_write_and_hands_the_cancellation_back(
    open_journal: Callable[..., Journal], folder: Path, disk: WatchedDisk
):
    journal = open_journal(fsync="always", disk=disk)
    disk.go.clear()
    waiting = asyncio.create_task(journal.begin("policy", {"name": "kept"}).outlast())
    for _ in range(2):
        await asyncio.sleep(0)
        waiting.cancel()
    await asyncio.sleep(0)
    assert not waiting.done()
    disk.go.set()

    assert isinstance(await waiting, asyncio.CancelledError)
    assert [entry["name"] for entry in entries(folder) if entry["kind"] == "policy"] == ["kept"]
    await journal.close()


async def test_a_refused_entry_refuses_the_caller_that_outlasts_its_cancellation_too(
    open_journal: Callable[..., Journal], disk: WatchedDisk
):
    journal = open_journal(fsync="always", disk=disk)
    disk.full = True
    waiting = asyncio.create_task(journal.begin("policy", {}).outlast())
    await asyncio.sleep(0)
    waiting.cancel()

    with pytest.raises(JournalError):
        await waiting
    disk.full = False
    await journal.close()


async def test_the_file_is_looked_at_once_for_the_entries_of_a_turn(
    open_journal: Callable[..., Journal], monkeypatch: pytest.MonkeyPatch
):
    journal, looked, look = open_journal(), list[object](), os.lstat

    def counted(path: str) -> os.stat_result:
        looked.append(path)
        return look(path)

    monkeypatch.setattr(os, "lstat", counted)
    await asyncio.gather(*[journal.append("policy", {"name": str(number)}) for number in range(20)])

    assert len(looked) == 1
    await journal.close()
