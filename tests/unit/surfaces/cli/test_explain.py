from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from gateway import config
from gateway.config import keys
from gateway.record.journal.writer import Journal
from gateway.surfaces.cli.explain import outcome, sent, task
from tests.unit.surfaces.cli.conftest import Status


@pytest.mark.parametrize(
    ("recorded", "told"),
    [
        ({"mode": "none"}, "the journal keeps nothing of them"),
        ({"mode": "digest", "bytes": 51, "names": ["body", "to"]}, "body, to; the journal keeps a digest of 51 bytes"),
        ({"mode": "digest", "bytes": 2, "names": []}, "none"),
        ({"mode": "full", "bytes": 9, "names": ["to"], "value": {"to": "é"}}, '{"to": "é"}'),
    ],
)
def test_arguments_are_told_as_far_as_they_are_recorded(recorded: dict[str, Any], told: str):
    assert sent(recorded) == told


def test_an_outcome_says_what_was_concealed():
    settled: dict[str, Any] = {
        "kind": "settled",
        "outcome": "completed",
        "duration_ms": 2.5,
        "bytes": 10,
        "status": 200,
    }

    assert outcome({}, settled) == "completed after 2.5 ms, 10 bytes, HTTP 200"
    assert "; 1 handle put back; 0 credentials" in outcome({}, {**settled, "put_back": 1, "concealed": 0})
    assert outcome({}, {**settled, "concealed": 2}).endswith("; 2 credentials concealed")
    assert "withheld from the caller (result/schema)" in outcome({}, {**settled, "withheld": "result/schema"})


def test_the_tasks_whose_readings_counted_are_named():
    entry: dict[str, Any] = {"task": {"id": "task-2", "kind": "implicit"}, "history": {"carried": ["task-1", "task-0"]}}

    assert task(entry) == "task-2 (implicit), and all that task-1 and task-0 had read"
    assert task({**entry, "history": {}}) == task({**entry, "history": None}) == "task-2 (implicit)"


def test_a_request_that_policy_never_saw_has_no_policy_input(
    status: Status, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "gateway.yaml").write_text("journal: {path: journal}\n", "utf-8")
    configuration = config.load(tmp_path / "gateway.yaml")
    held = keys.load(configuration, begun=False)

    async def written() -> None:
        journal = Journal.open(
            configuration.journal, key=held.chain, fingerprints=held.fingerprints, clock=lambda: 1_800_000_000.0
        )
        reasons: Any = [{"code": "identity/missing", "message": "No token.", "facts": []}]
        await journal.append("refused", {"id": "a" * 24, "reasons": reasons, "client": {}, "principal": None})
        await journal.close()

    asyncio.run(written())

    assert status("journal", "explain", "a" * 24, "--input") == 1
    assert "policy was not asked about this request" in capsys.readouterr().err
    assert status("journal", "explain", "a" * 24) == 0
