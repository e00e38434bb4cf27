from __future__ import annotations

import pytest

from gateway.calls.pipeline.record import append_or_log
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
