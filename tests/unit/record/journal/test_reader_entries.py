"""What is read from journals: listed, searched and followed."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Self

import pytest

from gateway.model.errors import JournalError
from gateway.record.journal import reader
from gateway.record.journal.reader import entries, find, tail, tasks
from tests.unit.record.journal.segments import SMALL, files, lines, rewrite

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from gateway.model.wire import JsonObject
    from gateway.record.journal.writer import Journal

KEY = b"k" * 32


async def test_entries_are_listed_oldest_first_over_segments(
    write_journal: Callable[..., Awaitable[str]], folder: Path
):
    await write_journal(10, segment=SMALL)
    with files(folder)[-1].open("ab") as file:
        file.write(b'{"seq":')

    listed = list(entries(folder))

    assert [entry["revision"] for entry in listed if entry["kind"] == "policy"] == [str(n) for n in range(10)]
    assert [entry["seq"] for entry in listed] == list(range(1, len(listed) + 1))


@pytest.mark.parametrize("line", [b"nonsense\n", b"[]\n", b"\xff\n"])
async def test_a_line_that_is_no_entry_is_an_error(
    write_journal: Callable[..., Awaitable[str]], folder: Path, line: bytes
):
    await write_journal(1)
    with (folder / "00000001.jsonl").open("ab") as file:
        file.write(line)

    with pytest.raises(JournalError, match="line 4 is no journal entry"):
        list(entries(folder))


async def test_everything_about_a_decision_is_found(open_journal: Callable[..., Journal], folder: Path):
    journal = open_journal(segment=SMALL)
    for number in range(10):
        await journal.append("call", {"id": f"d-{number}", "effect": "allow"})
    await journal.append("settled", {"id": "d-3", "outcome": "completed"})
    await journal.append("policy", {"name": "d-3"})
    await journal.close()

    assert [entry["kind"] for entry in find(folder, "d-3")] == ["call", "settled"]
    assert find(folder, "d-99") == ()
    assert find(folder, 'd"3') == ()


async def write_two_tasks(journal: Journal) -> None:
    """Calls of the tasks `t-1` and `t-2`, and entries that only name them."""
    for number, name in enumerate(("t-1", "t-2", "t-1"), 1):
        await journal.append("call", {"id": f"d-{number}", "effect": "allow", "task": {"id": name}})
        await journal.append("observed", {"id": f"d-{number}", "task": name})
    await journal.append("call", {"id": "d-4", "effect": "deny", "task": {"id": "t-1"}})
    for number in (1, 1, 2, 4):
        await journal.append("settled", {"id": f"d-{number}", "outcome": "completed"})
    await journal.append("policy", {"name": "t-1"})
    await journal.append("task", {"task": "t-1", "event": "ended"})
    await journal.append("call", {"id": "d-5", "effect": "allow", "task": {"id": "t-2"}, "name": "t-1"})
    await journal.append("abandoned", {"id": "d-3"})
    await journal.close()


async def test_the_entries_of_a_task_and_the_outcomes_of_its_calls_are_found(
    open_journal: Callable[..., Journal], folder: Path
):
    await write_two_tasks(open_journal(segment=SMALL))

    found = [(entry["kind"], entry.get("id")) for entry in tasks(folder, {"t-1"}, key=KEY)]
    assert found == [
        ("call", "d-1"),
        ("observed", "d-1"),
        ("call", "d-3"),
        ("observed", "d-3"),
        ("call", "d-4"),
        ("settled", "d-1"),
        ("task", None),
        ("abandoned", "d-3"),
    ]
    assert list(tasks(folder, {"t-3"})) == []


async def test_what_was_edited_is_not_told(open_journal: Callable[..., Journal], folder: Path):
    await write_two_tasks(open_journal())
    written = lines(folder)
    at = next(number for number, line in enumerate(written) if b'"id":"d-1"' in line)
    rewrite(folder, [*written[:at], written[at].replace(b'"allow"', b'"deny"'), *written[at + 1 :]])

    with pytest.raises(JournalError, match=f"line {at + 1} is not as it was written"):
        find(folder, "d-1", key=KEY)
    with pytest.raises(JournalError, match=f"line {at + 1} is not as it was written"):
        list(tasks(folder, {"t-1"}, key=KEY))
    assert len(list(tasks(folder, {"t-2"}, key=KEY))) == 4
    assert find(folder, "d-1")[0]["effect"] == "deny"


def begin(folder: Path) -> None:
    folder.mkdir()


def read_new(followed: Iterator[JsonObject | None]) -> list[JsonObject]:
    """Return the entries that a follower has not given yet."""
    return list(iter(partial(next, followed), None))


async def test_a_journal_is_followed_over_segments(
    write_journal: Callable[..., Awaitable[str]], folder: Path, tmp_path: Path
):
    """A journal that is written bit by bit is seen whole, whatever the bits are."""
    await write_journal(20, segment=SMALL, path=tmp_path / "whole")
    begin(folder)
    bits = (
        (path.name, path.read_bytes()[at : at + 97]) for path in files(tmp_path / "whole") for at in range(0, 900, 97)
    )

    seen: list[JsonObject] = []
    followed = tail(folder)
    for name, bit in bits:
        with (folder / name).open("ab") as file:
            file.write(bit)
        seen += read_new(followed)

    assert seen == list(entries(tmp_path / "whole"))


def test_a_journal_that_has_not_begun_is_waited_for(tmp_path: Path):
    followed = tail(tmp_path)

    assert read_new(followed) == []
    (tmp_path / "00000001.jsonl").write_bytes(b'{"seq":1}\n{"seq":2')
    assert read_new(followed) == [{"seq": 1}]
    assert read_new(followed) == []
    assert read_new(tail(tmp_path / ".")) == [{"seq": 1}]


def test_a_segment_that_cannot_be_read_is_said_to_be_so(tmp_path: Path):
    (tmp_path / "00000001.jsonl").mkdir()

    with pytest.raises(JournalError, match="cannot be read: Is a directory"):
        reader.verify(tmp_path, key=KEY)
    (tmp_path / "00000001.jsonl").rmdir()
    (tmp_path / "00000001.jsonl").symlink_to("none")
    with pytest.raises(JournalError, match="cannot be read: No such file"):
        reader.verify(tmp_path, key=KEY)


def test_a_disk_that_fails_while_reading_is_said_to_be_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    class Failing:
        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            return None

        def readline(self, _: int) -> bytes:
            raise OSError(5, "Input/output error")

    (tmp_path / "00000001.jsonl").touch()

    def opened(_path: Path) -> Failing:
        return Failing()

    monkeypatch.setattr("gateway.record.journal.reader._open_file", opened)

    with pytest.raises(JournalError, match="Input/output error"):
        list(entries(tmp_path))
