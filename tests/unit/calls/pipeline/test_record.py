from __future__ import annotations

import asyncio

import pytest

from gateway.calls.pipeline.record import append_or_log, record_or_log
from gateway.model.errors import JournalError
from gateway.model.wire import JsonObject
from tests.unit.harness import Bench


async def test_what_has_happened_and_cannot_be_recorded_is_logged_and_counted(
    there: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    async def append(_kind: str, _entry: JsonObject) -> None:
        raise JournalError("the disk is full")

    monkeypatch.setattr(there.gateway.journal, "append", append)
    await append_or_log(there.gateway, "settled", {"id": "d-1"})

    (line,) = capsys.readouterr().out.splitlines()
    assert "journal.lost" in line
    assert "the disk is full" in line
    assert "d-1" in line
    assert b"opagate_journal_failures_total 1.0" in there.gateway.metrics.exposition()


async def test_the_log_tells_once_of_an_outage_of_the_journal_and_how_many_entries_it_took(
    there: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """A line for each call would fill the disk of the log after that of the journal."""
    monkeypatch.setattr("gateway.record.journal.writer._RETRY", 0.01)
    gateway, folder = there.gateway, there.configuration.journal.path
    for _ in range(2):
        folder.rename(folder.with_name("away"))
        for number in range(3):
            record_or_log(gateway, "refused", {"id": f"e-{number}"})
            await append_or_log(gateway, "refused", {"id": f"d-{number}"})
        folder.with_name("away").rename(folder)
        async with asyncio.timeout(300):
            while gateway.journal.problem() is not None:
                await asyncio.sleep(0)

    lines = [line for line in capsys.readouterr().out.splitlines() if "journal." in line]
    assert ["journal.lost" in line for line in lines] == [True, False] * 2
    assert all("journal.resumed" in line and "lost=6" in line for line in lines[1::2])
    assert "e-0" in lines[0]
    assert b"opagate_journal_failures_total 12.0" in gateway.metrics.exposition()


async def test_the_log_tells_of_each_entry_that_is_lost_without_an_outage(
    there: Bench, capsys: pytest.CaptureFixture[str]
):
    for number in range(2):
        await append_or_log(there.gateway, "refused", {"id": f"d-{number}", "text": "x" * 20_000_000})

    lines = [line for line in capsys.readouterr().out.splitlines() if "journal.lost" in line]
    assert ["d-0" in lines[0], "d-1" in lines[1], len(lines)] == [True, True, 2]
