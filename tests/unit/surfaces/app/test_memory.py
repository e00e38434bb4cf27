"""The history of tasks over a start."""

from __future__ import annotations

import asyncio
import shutil
import threading
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from gateway import config
from gateway.base.concurrency import background
from gateway.base.concurrency.background import in_thread
from gateway.config import keys
from gateway.history.store import Store
from gateway.model.errors import JournalError
from gateway.record.journal import reader
from gateway.record.journal.verification import KnownEntry
from gateway.surfaces.app import memory
from tests.requirements import requirement
from tests.unit.harness import bench, call


def verified(folder: Path) -> tuple[bool, int]:
    """Whether the journal verifies beside the snapshots, and how many lost ends it tells of."""
    configuration = config.parse("state: state", base=folder)
    key, snapshots = keys.read_chain(configuration), keys.read_snapshots(configuration)
    assert key is not None
    assert snapshots is not None
    stored = Store(folder / "state/history", snapshots).load()
    assert stored is not None
    found = reader.verify(folder / "state/journal", key=key, known=KnownEntry(stored.journal, stored.known))
    return found.ok, found.cuts


def lines_of(folder: Path) -> list[bytes]:
    (segment,) = (folder / "state/journal").glob("*.jsonl")
    return segment.read_bytes().splitlines(keepends=True)


def cut(folder: Path, keep: int) -> None:
    (segment,) = (folder / "state/journal").glob("*.jsonl")
    segment.write_bytes(b"".join(lines_of(folder)[:keep]))


@requirement("history/journal-edited")
async def test_an_older_segment_that_was_edited_does_not_become_history(tmp_path: Path):
    more = "journal: {segment: 3000, compress: false}\n"
    async with bench(tmp_path, more=more) as there:
        for _ in range(6):
            assert (await there.ask(call(path="a"))).status == 200
    segments = sorted((tmp_path / "state/journal").glob("*.jsonl"))
    edited = next(file for file in segments if b'"kind":"call"' in file.read_bytes())
    assert edited in segments[:-2]
    edited.write_bytes(edited.read_bytes().replace(b'"kind":"call"', b'"kind":"look"', 1))

    async with bench(tmp_path, more=more) as there:
        assert len(there.gateway.history.tasks) > 0, "what the snapshots know is not read again"
    shutil.rmtree(tmp_path / "state/history")
    with pytest.raises(JournalError, match=edited.name):
        async with bench(tmp_path, more=more):
            pytest.fail("it started")


@requirement("history/journal-edited")
async def test_a_journal_that_lost_its_end_is_told_and_what_was_done_still_counts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    async with bench(tmp_path) as there:
        for _ in range(20):
            assert (await there.ask(call(path="a"))).status == 200
    assert verified(tmp_path) == (True, 0)
    cut(tmp_path, keep=8)
    assert verified(tmp_path) == (False, 0)
    capsys.readouterr()

    async with bench(tmp_path) as there:
        assert "history.journal-cut" in capsys.readouterr().out
        (kept,) = there.gateway.history.tasks.all()
        assert there.gateway.history.ledger.facts(kept.task, there.gateway.clock()).calls == 20
        (entry,) = there.entries("cut")
        assert (entry["entries"], entry["known"] > 40) == (8, True)
    assert verified(tmp_path) == (True, 1)
    async with bench(tmp_path):
        assert "history.journal-cut" not in capsys.readouterr().out
    assert verified(tmp_path) == (True, 1)


@requirement("history/journal-edited")
@pytest.mark.parametrize("lines", [1, 2, 3, 5])
async def test_fewer_lines_than_a_start_writes_are_missed_too(tmp_path: Path, lines: int):
    async with bench(tmp_path) as there:
        for _ in range(4):
            await there.ask(call(path="a"))
    whole = len(lines_of(tmp_path))
    # The last line, `stop`, is written after the last snapshot.
    cut(tmp_path, keep=whole - 1 - lines)
    assert verified(tmp_path) == (False, 0)

    async with bench(tmp_path) as there:
        (entry,) = there.entries("cut")

    assert (entry["entries"], entry["known"]) == (whole - 1 - lines, whole - 1)


async def test_a_journal_in_the_place_of_another_is_told(tmp_path: Path):
    async with bench(tmp_path) as there:
        await there.ask(call(path="a"))
    shutil.rmtree(tmp_path / "state/journal")
    (tmp_path / "state/journal").mkdir(mode=0o700)
    assert verified(tmp_path) == (False, 0)

    async with bench(tmp_path) as there:
        (entry,) = there.entries("cut")
    assert (entry["entries"], entry["known"] > 3) == (0, True)
    assert verified(tmp_path) == (True, 1)


async def test_a_gateway_that_was_killed_has_a_whole_journal(tmp_path: Path):
    """Its snapshot is older than its journal."""
    async with bench(tmp_path) as there:
        await there.ask(call(path="a"))
        shutil.copytree(tmp_path / "state", tmp_path / "killed", ignore=shutil.ignore_patterns("*.sock"))
    shutil.rmtree(tmp_path / "state")
    shutil.move(tmp_path / "killed", tmp_path / "state")
    assert verified(tmp_path) == (True, 0)

    async with bench(tmp_path) as there:
        assert there.entries("cut") == []


async def test_memory_is_not_written_down_for_the_last_time_while_a_thread_still_writes(
    monkeypatch: pytest.MonkeyPatch,
):
    """Two threads would write the same snapshots."""
    monkeypatch.setattr(memory, "_HOUSEKEEPING_SECONDS", 0.0)
    begun, proceed, told = threading.Event(), threading.Event(), list[str]()

    def write() -> None:
        begun.set()
        assert proceed.wait(30)
        told.append("the thread has written")

    async def write_in_thread() -> None:
        await in_thread(write)

    async def stop() -> None:
        async with AsyncExitStack() as stack:
            stack.callback(told.append, "the last writing begins")
            memory.keep_house(stack, write_in_thread)
            while not begun.is_set():
                await asyncio.sleep(0)

    stopping = asyncio.create_task(stop())
    while not begun.is_set():
        await asyncio.sleep(0)
    for _ in range(100):
        await asyncio.sleep(0)
    proceed.set()
    await stopping

    assert told == ["the thread has written", "the last writing begins"]


async def test_a_chore_that_fails_ends_neither_the_others_nor_the_next_round(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(memory, "_HOUSEKEEPING_SECONDS", 0.0)
    monkeypatch.setattr(background, "_AFTER_DEFECT", 0.0)
    rounds, third = 0, asyncio.Event()

    def fail() -> None:
        nonlocal rounds
        rounds += 1
        if rounds < 3:
            raise ZeroDivisionError

    async def remember() -> None:
        third.set()
        await asyncio.sleep(0)

    async with AsyncExitStack() as stack:
        memory.keep_house(stack, remember, fail)
        await third.wait()

    assert rounds >= 3
    assert capsys.readouterr().out.count("job=housekeeping") == 2
