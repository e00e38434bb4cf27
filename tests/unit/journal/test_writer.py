from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import threading
from types import MappingProxyType
from typing import TYPE_CHECKING

import pytest

from gateway.errors import JournalError
from gateway.journal.chain import subkey
from gateway.journal.reader import entries, verify
from gateway.journal.storage import Disk

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gateway.journal.writer import Journal

KEY = b"k" * 32


class WatchedDisk(Disk):
    """A real disk that notes what is asked of it; a sync can be held up, and made to fail."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.go = threading.Event()
        self.go.set()
        self.failure: OSError | None = None
        self.full = False
        self.syncing = threading.Event()

    def write(self, fd: int, data: bytes) -> int:
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.done.append("write")
        return super().write(fd, data)

    def sync(self, fd: int) -> None:
        self.syncing.set()
        assert self.go.wait(10)
        if self.failure is not None:
            raise self.failure
        self.done.append("sync")
        super().sync(fd)


@pytest.fixture
def disk() -> WatchedDisk:
    return WatchedDisk()


def add(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


async def test_an_entry_is_on_record_when_append_returns(open_journal: Callable[..., Journal], folder: Path):
    journal = open_journal()

    await journal.append("policy", {"name": "p", "revision": "r"})

    last = list(entries(folder))[-1]
    assert (last["seq"], last["kind"], last["name"], last["time"]) == (2, "policy", "p", "2027-01-15T08:00:01.000Z")
    assert verify(folder, key=KEY, head=journal.head).ok
    await journal.close()


@pytest.mark.parametrize(("policy", "done"), [("always", ["write", "sync"]), ("interval", ["write"] * 50)])
async def test_entries_of_one_turn_are_written_in_their_order_and_share_a_sync(
    open_journal: Callable[..., Journal], folder: Path, disk: WatchedDisk, policy: str, done: list[str]
):
    journal = open_journal(fsync=policy, disk=disk)
    disk.done.clear()

    await asyncio.gather(*[journal.append("policy", {"name": str(number)}) for number in range(50)])

    assert disk.done == done
    assert [entry["name"] for entry in entries(folder) if entry["kind"] == "policy"] == [str(n) for n in range(50)]
    await journal.close()


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
    monkeypatch.setattr("gateway.journal.writer._INTERVAL", 0.01)
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


async def test_a_commit_that_meets_a_sync_is_made_after_it(
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


async def test_a_commit_that_finds_nothing_left_does_nothing(open_journal: Callable[..., Journal], disk: WatchedDisk):
    """The end of a sync has written what waited; the problem that it met is still the problem."""
    journal = open_journal(fsync="interval", disk=disk)
    disk.full = True
    journal._sync()  # pyright: ignore[reportPrivateUsage] - what the timer calls
    waiting = asyncio.create_task(journal.append("policy", {}))
    with pytest.raises(JournalError):
        await waiting
    journal._commit()  # pyright: ignore[reportPrivateUsage] - what the turn calls
    disk.done.clear()

    assert "No space left" in (journal.status().problem or "")
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
    monkeypatch.setattr("gateway.journal.writer._INTERVAL", 0.0)
    journal = open_journal(fsync=policy, disk=disk)
    disk.failure = OSError(errno.EIO, os.strerror(errno.EIO))

    with pytest.raises(JournalError, match="Input/output error"):
        await append_for_ever(journal)
    disk.failure = None
    with pytest.raises(JournalError, match="Input/output error") as caught:
        await journal.append("policy", {})
    assert caught.value.code == "journal/unavailable"
    assert "start the gateway again" in caught.value.remedy
    assert journal.status().problem == caught.value.message
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
    assert "No space left on device" in (journal.status().problem or "")
    disk.full = False
    await journal.append("policy", {})
    assert journal.status().problem is None
    assert verify(folder, key=KEY, head=journal.head).entries == 2
    await journal.close()


async def test_a_caller_that_is_cancelled_does_not_take_its_entry_or_others_back(
    open_journal: Callable[..., Journal], disk: WatchedDisk, folder: Path
):
    journal = open_journal(fsync="always", disk=disk)
    disk.go.clear()
    cancelled = asyncio.create_task(journal.append("settled", {"id": "cancelled", "outcome": "cancelled"}))
    other = asyncio.create_task(journal.append("policy", {"id": "other"}))
    await asyncio.sleep(0)
    cancelled.cancel()
    disk.go.set()

    await other
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    assert [entry["id"] for entry in entries(folder) if "id" in entry] == ["cancelled", "other"]
    await journal.close()


async def test_a_cancelled_caller_of_a_refused_entry_is_only_cancelled(
    open_journal: Callable[..., Journal], disk: WatchedDisk
):
    journal = open_journal(fsync="always", disk=disk)
    disk.full = True
    cancelled = asyncio.create_task(journal.append("policy", {}))
    await asyncio.sleep(0)
    cancelled.cancel()

    with pytest.raises(asyncio.CancelledError):
        await cancelled
    disk.full = False
    await journal.close()


async def test_a_stopped_journal_says_its_head_and_takes_nothing_more(
    open_journal: Callable[..., Journal], folder: Path, caplog: pytest.LogCaptureFixture
):
    journal = open_journal(fsync="interval")
    await journal.append("policy", {})
    before = journal.head
    with caplog.at_level(logging.INFO):
        await journal.close()
    await journal.close()

    last = list(entries(folder))[-1]
    assert (last["kind"], last["entries"], last["head"]) == ("stop", 2, before)
    assert getattr(caplog.records[-1], "head") == journal.head  # noqa: B009 - set through `extra`
    with pytest.raises(JournalError, match="the journal is closed"):
        await journal.append("policy", {})


@pytest.mark.parametrize("fsync", ["always", "never"])
async def test_what_waits_is_written_before_the_journal_stops(
    open_journal: Callable[..., Journal], folder: Path, fsync: str
):
    journal = open_journal(fsync=fsync)
    waiting = [asyncio.create_task(journal.append("policy", {"name": str(number)})) for number in range(5)]
    await asyncio.sleep(0)
    await journal.close()
    await asyncio.gather(*waiting)

    assert [entry["kind"] for entry in entries(folder)] == ["segment", *["policy"] * 5, "stop"]


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


async def test_a_new_segment_says_its_head_in_the_log(
    open_journal: Callable[..., Journal], caplog: pytest.LogCaptureFixture
):
    journal = open_journal(segment=900)
    with caplog.at_level(logging.INFO):
        for _ in range(5):
            await journal.append("policy", {"name": "x" * 100})

    assert "journal segment begun" in caplog.messages
    await journal.close()


async def test_a_second_writer_is_refused(open_journal: Callable[..., Journal], folder: Path):
    journal = open_journal()

    with pytest.raises(JournalError, match="another gateway writes to the journal"):
        open_journal()
    await journal.append("policy", {})
    await journal.close()
    assert verify(folder, key=KEY).ok


async def test_a_journal_that_is_damaged_is_not_opened_and_not_kept_locked(
    open_journal: Callable[..., Journal], folder: Path
):
    journal = open_journal()
    await journal.close()
    written = (folder / "00000001.jsonl").read_bytes()
    (folder / "00000001.jsonl").write_bytes(written.replace(b'"kind":"stop"', b'"kind":"sstop"'))

    for _ in range(2):
        with pytest.raises(JournalError, match="the journal is damaged"):
            open_journal()
    assert (folder / "00000001.jsonl").read_bytes() != written


async def test_a_torn_line_is_noted_and_the_chain_goes_on(open_journal: Callable[..., Journal], folder: Path):
    await open_journal().close()
    add(folder / "00000001.jsonl", b'{"seq":3,"time"')

    journal = open_journal()

    noted = list(entries(folder))[-1]
    assert (noted["kind"], noted["file"], noted["bytes"]) == ("recovered", "00000001.jsonl.torn", 15)
    await journal.close()
    assert verify(folder, key=KEY, head=journal.head).ok


async def test_calls_without_an_outcome_are_abandoned_once(open_journal: Callable[..., Journal], folder: Path):
    journal = open_journal()
    await journal.append("call", {"id": "a", "effect": "allow"})
    await journal.append("call", {"id": "b", "effect": "allow"})
    await journal.append("settled", {"id": "a", "outcome": "completed"})
    assert journal.status().unsettled == 1
    assert journal.unsettled() == ()
    await journal.close()

    journal = open_journal()
    assert journal.unsettled() == ("b",)
    assert [(entry["kind"], entry.get("id")) for entry in entries(folder)][-1] == ("abandoned", "b")
    await journal.close()
    journal = open_journal()
    assert journal.unsettled() == ()
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


async def test_any_mapping_and_sequence_is_written(open_journal: Callable[..., Journal], folder: Path):
    journal = open_journal()

    await journal.append("policy", MappingProxyType({"a": MappingProxyType({"b": range(2)})}))

    assert list(entries(folder))[-1]["a"] == {"b": [0, 1]}
    await journal.close()


@pytest.mark.parametrize("value", ["\ud800", object(), 10**5000], ids=["surrogate", "object", "huge"])
async def test_what_is_no_json_is_refused(open_journal: Callable[..., Journal], value: object):
    journal = open_journal()

    with pytest.raises(JournalError, match="an entry 'policy' cannot be written as JSON"):
        await journal.append("policy", {"a": value})  # pyright: ignore[reportArgumentType] - the point of the test
    await journal.close()


async def test_an_entry_that_is_too_long_to_be_read_is_refused(open_journal: Callable[..., Journal]):
    journal = open_journal()

    with pytest.raises(JournalError, match="too long"):
        await journal.append("policy", {"a": "x" * 2**20})
    await journal.close()


@pytest.mark.parametrize("name", ["seq", "time", "kind", "prev", "check"])
async def test_fields_cannot_take_the_place_of_the_lines_own(open_journal: Callable[..., Journal], name: str):
    journal = open_journal()

    with pytest.raises(ValueError, match=name):
        await journal.append("policy", {name: 1})
    await journal.close()


async def test_more_open_calls_than_a_segment_can_name_are_refused(
    open_journal: Callable[..., Journal], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("gateway.journal.writer._MAX_OPEN", 2)
    journal = open_journal()
    await journal.append("call", {"id": "a", "effect": "allow"})
    await journal.append("call", {"id": "b", "effect": "allow"})

    with pytest.raises(JournalError, match="too many calls are open"):
        await journal.append("call", {"id": "c", "effect": "allow"})
    await journal.append("settled", {"id": "a"})
    await journal.append("call", {"id": "c", "effect": "allow"})
    await journal.close()


async def test_the_state_of_a_journal_is_told(open_journal: Callable[..., Journal], folder: Path):
    journal = open_journal()
    status = journal.status()

    assert (status.segment, status.entries, status.unsettled, status.fsync, status.problem) == (
        "00000001.jsonl",
        1,
        0,
        "never",
        None,
    )
    assert status.head == journal.head
    assert status.bytes == (folder / "00000001.jsonl").stat().st_size
    await journal.close()


def sorted_files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def modes(paths: list[Path]) -> set[int]:
    return {path.stat().st_mode & 0o777 for path in paths}


async def test_files_are_their_owners_only(open_journal: Callable[..., Journal], folder: Path):
    await open_journal().close()

    assert modes([folder]) == {0o700}
    assert modes(sorted_files(folder)) == {0o600}


async def test_fingerprints_have_a_key_of_their_own(open_journal: Callable[..., Journal], folder: Path):
    journal = open_journal()

    assert journal.fingerprint_key == subkey(KEY, "fingerprints")
    await journal.close()
    assert KEY.hex() not in json.dumps(list(entries(folder)))
