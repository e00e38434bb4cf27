"""Entries of a journal by their places: pages from the end, with every line once, wherever blocks and segments end."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import msgspec
import pytest

from gateway.model.errors import JournalError
from gateway.record.journal import placed
from gateway.record.journal.placed import EntryPlace, find_page, lines_before, lines_from, read_at


def write(folder: Path, *segments: list[str], tail: bytes = b"") -> list[str]:
    """Write segments of entries with these texts. Returns all texts."""
    folder.mkdir(exist_ok=True)
    for number, texts in enumerate(segments, 1):
        lines = [msgspec.json.encode({"kind": "call", "id": text}) + b"\n" for text in texts]
        (folder / f"{number:08d}.jsonl").write_bytes(b"".join(lines) + (tail if number == len(segments) else b""))
    return [text for texts in segments for text in texts]


def ids(lines: object) -> list[str]:
    return [msgspec.json.decode(one.line)["id"] for one in lines]  # type: ignore[attr-defined]


@pytest.mark.parametrize("block", [1, 7, 64, 4096])
def test_every_line_comes_once_from_the_end_and_from_each_place(
    tmp_path: Path, block: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(placed, "_BLOCK", block)
    texts = write(tmp_path, [f"a{number}" * (number + 1) for number in range(9)], [], ["b", "c" * 300])
    found = list(lines_before(tmp_path))

    assert ids(found) == texts[::-1]
    for index, one in enumerate(found):
        assert ids(lines_before(tmp_path, one.place)) == texts[::-1][index + 1 :]
        assert ids(lines_from(tmp_path, one.place)) == texts[len(texts) - 1 - index :]
        assert read_at(tmp_path, one.place)["id"] == texts[::-1][index]


@pytest.mark.parametrize("block", [3, 4096])
def test_a_line_that_is_being_written_is_left_out(tmp_path: Path, block: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(placed, "_BLOCK", block)
    write(tmp_path, ["a", "b"], tail=b'{"kind":"call","id":"ha')

    assert ids(lines_before(tmp_path)) == ["b", "a"]
    assert ids(lines_from(tmp_path, EntryPlace(1, 0))) == ["a", "b"]
    write(tmp_path, [], tail=b'{"kind":')
    assert ids(lines_before(tmp_path)) == []


def test_pages_follow_each_other_without_a_gap(tmp_path: Path):
    texts = write(tmp_path, [f"x{number}" for number in range(25)], [f"y{number}" for number in range(25)])
    seen: list[str] = []
    before = None
    for _ in range(20):
        page = find_page(tmp_path, lambda line: b"3" not in line, before=before, count=7, budget=200)
        seen += [str(entry["id"]) for _, entry in page.found]
        before = page.before
        if before is None:
            break

    assert seen == [text for text in texts[::-1] if "3" not in text]


def test_a_page_of_a_large_journal_reads_the_page_alone(tmp_path: Path):
    write(tmp_path, *([f"{segment}-{number}" * 20 for number in range(2_000)] for segment in range(3)))
    page = find_page(tmp_path, lambda _line: True, count=50)

    assert len(page.found) == 50
    assert page.searched < 50 * 300


@pytest.mark.parametrize("place", [EntryPlace(1, 3), EntryPlace(1, 10_000), EntryPlace(7, 0)])
def test_a_place_where_no_entry_begins_is_refused(tmp_path: Path, place: EntryPlace):
    write(tmp_path, ["a", "b"])

    with pytest.raises(JournalError):
        read_at(tmp_path, place)


def test_an_edited_entry_is_not_shown(tmp_path: Path):
    write(tmp_path, ["a"])

    with pytest.raises(JournalError, match="not as it was written"):
        find_page(tmp_path, lambda _line: True, key=b"k" * 32)


def test_a_place_far_beyond_the_end_costs_no_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    texts = write(tmp_path, ["a", "b"])
    reads: list[int] = []

    class Counted(BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            reads.append(self.tell())
            return super().read(size)

    def open_counted(path: Path) -> Counted:
        return Counted(path.read_bytes())

    monkeypatch.setattr(placed, "open_segment", open_counted)
    assert ids(lines_before(tmp_path, EntryPlace(1, 10**9))) == texts[::-1]
    assert reads == [0]


def test_a_value_that_is_too_deep_is_no_entry(tmp_path: Path):
    (tmp_path / "00000001.jsonl").write_bytes(b'{"kind":"call","more":%b\n' % (b"[" * 100_000))

    with pytest.raises(JournalError, match="is no journal entry"):
        find_page(tmp_path, lambda _: True)
