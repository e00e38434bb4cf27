"""The history of tasks over a start."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from gateway.errors import JournalError
from tests.requirements import requirement
from tests.unit.harness import bench, call


@requirement("history/journal-edited")
async def test_an_older_segment_that_was_edited_does_not_become_history(tmp_path: Path):
    more = "journal: {segment: 3000}\n"
    async with bench(tmp_path, more=more) as there:
        for _ in range(6):
            assert (await there.ask(call(path="a"))).status == 200
    segments = sorted((tmp_path / "state/journal").glob("*.jsonl"))
    edited = next(file for file in segments if b'"kind":"call"' in file.read_bytes())
    assert edited in segments[:-2]
    edited.write_bytes(edited.read_bytes().replace(b'"kind":"call"', b'"kind":"look"', 1))

    async with bench(tmp_path, more=more) as there:
        assert len(there.gateway.history) > 0, "what the snapshots know is not read again"
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
    (segment,) = (tmp_path / "state/journal").glob("*.jsonl")
    segment.write_bytes(b"".join(segment.read_bytes().splitlines(keepends=True)[:8]))
    capsys.readouterr()

    async with bench(tmp_path) as there:
        assert "history.journal-cut" in capsys.readouterr().out
        (kept,) = there.gateway.history.tasks()
        assert there.gateway.history.facts(kept.task, there.gateway.clock()).calls == 20
    async with bench(tmp_path):
        assert "history.journal-cut" not in capsys.readouterr().out
