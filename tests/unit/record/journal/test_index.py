from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.model.errors import JournalError
from gateway.record.journal.index import Index

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gateway.record.journal.writer import Journal


async def write(journal: Journal) -> None:
    await journal.append("task", {"task": "t-2", "event": "opened", "declared": {"goal": "mend it"}})
    for number, name in enumerate(("t-1", "t-2", "t-1"), 1):
        await journal.append("call", {"id": f"d-{number}", "effect": "allow", "task": {"id": name}})
    await journal.append("settled", {"id": "d-3", "outcome": "completed"})
    for event in ("observed", "read", "read"):
        await journal.append("observed", {"id": "d-4", "task": "t-1", "event": event})
    await journal.append("task", {"task": "t-2", "event": "ended"})
    await journal.append("abandoned", {"id": "d-1"})
    await journal.append("settled", {"id": "d-1"})
    await journal.append("refused", {"id": "d-9", "task": None})
    await journal.close()


@pytest.mark.parametrize("segment", [700, 2**20])
async def test_the_calls_of_each_task_come_with_their_outcomes(
    open_journal: Callable[..., Journal], folder: Path, segment: int
):
    await write(open_journal(segment=segment))
    index = Index([folder])

    assert index.tasks() == ("t-2", "t-1")
    told = [(call["id"], end and end["kind"]) for call, end in index.calls("t-1")]
    assert told == [("d-1", "abandoned"), ("d-3", "settled")]
    assert [(call["id"], end) for call, end in index.calls("t-2")] == [("d-2", None)]
    assert index.declared("t-1") is None
    assert (index.readings("t-1"), index.readings("t-2")) == (2, 0)
    declared = index.declared("t-2")
    assert declared is not None
    assert declared["event"] == "opened"


@pytest.mark.parametrize("line", [b"nonsense\n", b"[]\n", b'{"kind":"call","id":"x","task":{}}\n', b"\xff\n"])
async def test_a_line_that_is_no_entry_is_named(open_journal: Callable[..., Journal], folder: Path, line: bytes):
    await write(open_journal())
    with (folder / "00000001.jsonl").open("ab") as file:
        file.write(line)

    with pytest.raises(JournalError, match=r"line 15 is no journal entry"):
        Index([folder])


async def test_a_line_that_is_still_being_written_is_left_out(open_journal: Callable[..., Journal], folder: Path):
    await write(open_journal())
    with (folder / "00000001.jsonl").open("ab") as file:
        file.write(b'{"kind":"call","id":"x","task":{"id"')

    assert len(Index([folder]).tasks()) == 2


async def test_a_segment_that_is_gone_meanwhile_is_told(open_journal: Callable[..., Journal], folder: Path):
    await write(open_journal())
    index = Index([folder])
    (folder / "00000001.jsonl").unlink()

    with pytest.raises(JournalError, match="cannot be read: No such file"):
        list(index.calls("t-1"))


def test_an_empty_folder_has_no_tasks(tmp_path: Path):
    assert Index([tmp_path]).tasks() == ()
