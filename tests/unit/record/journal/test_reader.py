"""What is found in whole journals. The exhaustive tests change journals in every way that they can be changed in."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.record.journal import reader
from gateway.record.journal.chain import MAX_LINE, Chain
from gateway.record.journal.verification import Fault
from tests.unit.record.journal.segments import SMALL, files, lines, rewrite

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from gateway.record.journal.reader import Verification
    from gateway.record.journal.writer import Journal

KEY = b"k" * 32


def verify(
    folder: Path,
    *,
    key: bytes | None,
    head: str | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    pause: Callable[[float], None] = lambda _seconds: None,
) -> Verification:
    return reader.verify(folder, key=key, head=head, on_progress=on_progress, pause=pause)


def faults(result: Verification) -> list[tuple[Fault, int]]:
    return [(problem.fault, problem.line) for problem in result.problems]


async def test_a_journal_that_was_not_touched_is_whole(write_journal: Callable[..., Awaitable[str]], folder: Path):
    head = await write_journal(5)

    result = verify(folder, key=KEY, head=head)

    assert result.ok
    assert (result.journal, result.segments, result.entries, result.head) == ("journal-1", 1, 7, head)
    assert result.stopped
    assert result.problems == ()


async def test_a_journal_in_several_segments_is_whole(write_journal: Callable[..., Awaitable[str]], folder: Path):
    head = await write_journal(20, segment=SMALL)

    result = verify(folder, key=KEY, head=head)

    assert result.ok
    assert result.segments > 5
    assert result.entries == 21 + result.segments


async def test_any_byte_changed_in_any_way_is_found(write_journal: Callable[..., Awaitable[str]], folder: Path):
    """Every byte of a small journal, the newlines and the last line included."""
    await write_journal(2)
    path = folder / "00000001.jsonl"
    written = path.read_bytes()

    for at in range(len(written)):
        for change in (0x01, 0x20, 0x80):
            changed = bytearray(written)
            changed[at] ^= change
            path.write_bytes(changed)
            assert not verify(folder, key=KEY).ok, f"byte {at} ^ {change}"


async def test_any_line_removed_is_found(write_journal: Callable[..., Awaitable[str]], folder: Path):
    head = await write_journal(4)
    written = lines(folder)

    for at in range(len(written)):
        rewrite(folder, written[:at] + written[at + 1 :])
        assert not verify(folder, key=KEY, head=head).ok, f"line {at + 1}"


async def test_any_two_lines_swapped_are_found(write_journal: Callable[..., Awaitable[str]], folder: Path):
    await write_journal(4)
    written = lines(folder)

    for one in range(len(written)):
        for other in range(one):
            swapped = list(written)
            swapped[one], swapped[other] = swapped[other], swapped[one]
            rewrite(folder, swapped)
            assert not verify(folder, key=KEY).ok, f"lines {other + 1} and {one + 1}"


async def test_any_line_repeated_anywhere_is_found(write_journal: Callable[..., Awaitable[str]], folder: Path):
    await write_journal(4)
    written = lines(folder)

    for at in range(len(written)):
        for to in range(len(written) + 1):
            rewrite(folder, [*written[:to], written[at], *written[to:]])
            assert not verify(folder, key=KEY).ok, f"line {at + 1} at {to + 1}"


async def test_any_truncation_is_found_with_the_head(write_journal: Callable[..., Awaitable[str]], folder: Path):
    head = await write_journal(3)
    path = folder / "00000001.jsonl"
    written = path.read_bytes()

    for size in range(len(written)):
        path.write_bytes(written[:size])
        result = verify(folder, key=KEY, head=head)
        assert not result.ok, f"{size} bytes"
        assert result.problems[-1].fault is Fault.HEAD_MISSING


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
async def test_any_edit_of_a_longer_journal_is_found(
    data: st.DataObject, write_journal: Callable[..., Awaitable[str]], folder: Path
):
    shutil.rmtree(folder, ignore_errors=True)
    await write_journal(20, segment=SMALL)
    path = data.draw(st.sampled_from(files(folder)))
    written = path.read_bytes()
    start = data.draw(st.integers(0, len(written) - 1))
    end = data.draw(st.integers(start, len(written)))
    changed = written[:start] + data.draw(st.binary(max_size=40)) + written[end:]
    path.write_bytes(changed)

    last = path.name == files(folder)[-1].name
    cut_at_a_line = last and written.startswith(changed) and changed.endswith(b"\n")
    assert verify(folder, key=KEY).ok == (changed == written or cut_at_a_line)


async def test_an_edit_is_reported_once_and_where_it_is(write_journal: Callable[..., Awaitable[str]], folder: Path):
    await write_journal(5)
    written = lines(folder)
    written[2] = written[2].replace(b'"revision":"1"', b'"revision":"7"')
    rewrite(folder, written)

    result = verify(folder, key=KEY)

    assert faults(result) == [(Fault.EDITED, 3)]
    assert result.problems[0].segment == "00000001.jsonl"


async def test_a_gap_is_reported_once_and_where_it_is(write_journal: Callable[..., Awaitable[str]], folder: Path):
    await write_journal(5)
    written = lines(folder)
    rewrite(folder, written[:2] + written[4:])

    result = verify(folder, key=KEY)

    assert faults(result) == [(Fault.GAP, 3)]
    assert result.problems[0].message == "entries 3 to 4 are missing before entry 5"


async def test_a_reordering_is_reported_as_one(write_journal: Callable[..., Awaitable[str]], folder: Path):
    await write_journal(5)
    written = lines(folder)
    written[2], written[3] = written[3], written[2]
    rewrite(folder, written)

    assert faults(verify(folder, key=KEY)) == [(Fault.GAP, 3), (Fault.REORDERED, 4)]


async def test_a_repeated_line_is_reported_as_one(write_journal: Callable[..., Awaitable[str]], folder: Path):
    await write_journal(5)
    written = lines(folder)
    rewrite(folder, [*written[:3], written[2], *written[3:]])

    assert faults(verify(folder, key=KEY)) == [(Fault.DUPLICATE, 4)]


async def test_a_missing_segment_is_named(write_journal: Callable[..., Awaitable[str]], folder: Path):
    await write_journal(20, segment=SMALL)
    (folder / "00000002.jsonl").unlink()
    (folder / "00000003.jsonl").unlink()

    result = verify(folder, key=KEY)

    assert [problem.message for problem in result.problems] == ["segments 2 to 3 are missing before it"]
    assert result.problems[0].segment == "00000004.jsonl"
    assert faults(result) == [(Fault.MISSING_SEGMENT, 0)]


async def test_a_missing_first_segment_is_named(write_journal: Callable[..., Awaitable[str]], folder: Path):
    await write_journal(10, segment=SMALL)
    (folder / "00000001.jsonl").unlink()

    result = verify(folder, key=KEY)

    assert [problem.message for problem in result.problems] == ["segment 1 is missing before it"]


async def test_a_missing_last_segment_is_found_with_the_head(
    write_journal: Callable[..., Awaitable[str]], folder: Path
):
    head = await write_journal(10, segment=SMALL)
    files(folder)[-1].unlink()

    assert verify(folder, key=KEY).stopped is False
    assert faults(verify(folder, key=KEY, head=head)) == [(Fault.HEAD_MISSING, 0)]


async def test_an_emptied_segment_is_found(write_journal: Callable[..., Awaitable[str]], folder: Path):
    await write_journal(10, segment=SMALL)
    rewrite(folder, [], 2)

    assert verify(folder, key=KEY).problems[0].message == "the segment is empty"


async def test_a_segment_without_its_last_newline_is_an_edit(
    write_journal: Callable[..., Awaitable[str]], folder: Path
):
    await write_journal(10, segment=SMALL)
    written = lines(folder, 2)
    rewrite(folder, [*written[:-1], written[-1][:-1]], 2)

    assert faults(verify(folder, key=KEY))[0] == (Fault.EDITED, len(written))


async def test_a_segment_of_another_journal_under_the_same_key_is_found(
    write_journal: Callable[..., Awaitable[str]], folder: Path, tmp_path: Path
):
    await write_journal(10, segment=SMALL)
    await write_journal(10, segment=SMALL, path=tmp_path / "other")
    shutil.copy(folder / "00000001.jsonl", folder / "00000003.jsonl")

    assert (Fault.FOREIGN_SEGMENT, 1) in faults(verify(folder, key=KEY))


async def test_swapped_segments_are_found(write_journal: Callable[..., Awaitable[str]], folder: Path):
    await write_journal(20, segment=SMALL)
    one, other, aside = folder / "00000002.jsonl", folder / "00000003.jsonl", folder / "aside"
    one.rename(aside)
    other.rename(one)
    aside.rename(other)

    assert (Fault.FOREIGN_SEGMENT, 1) in faults(verify(folder, key=KEY))


async def test_a_torn_last_line_is_named(write_journal: Callable[..., Awaitable[str]], folder: Path):
    await write_journal(3)
    with (folder / "00000001.jsonl").open("ab") as file:
        file.write(b'{"seq":6,"ti')

    result = verify(folder, key=KEY)

    assert faults(result) == [(Fault.TORN, 6)]
    assert "the last 12 bytes are no whole line" in result.problems[0].message


@pytest.mark.parametrize("key", [None, b"o" * 32])
async def test_a_wrong_key_is_said_once_for_each_segment(
    write_journal: Callable[..., Awaitable[str]], folder: Path, key: bytes | None
):
    await write_journal(5)

    assert faults(verify(folder, key=key)) == [(Fault.WRONG_KEY, 1)]


async def test_a_journal_made_anew_without_the_key_is_found(write_journal: Callable[..., Awaitable[str]], folder: Path):
    """The attacker can write the files, and knows how the journal is made, and not the key."""
    await write_journal(3)
    plain, made, prev = Chain.of(None), list[bytes](), "0" * 64
    for line in lines(folder):
        entry = json.loads(line)
        fields = {name: entry[name] for name in entry if name not in {"seq", "time", "kind", "prev", "check"}}
        if entry["kind"] == "segment":
            fields |= {"chain": plain.name, "key": None}
        forged = plain.line(entry["seq"], entry["time"], entry["kind"], json.dumps(fields).encode(), prev)
        prev = plain.link(forged)
        made.append(forged + b"\n")
    rewrite(folder, made)

    assert verify(folder, key=None).ok
    assert faults(verify(folder, key=KEY)) == [(Fault.WRONG_KEY, 1)]


async def test_a_journal_that_has_grown_since_a_head_was_noted_is_whole(
    write_journal: Callable[..., Awaitable[str]], folder: Path
):
    head = await write_journal(3)
    await write_journal(3)

    assert verify(folder, key=KEY, head=head).ok
    assert faults(verify(folder, key=KEY, head="f" * 64)) == [(Fault.HEAD_MISSING, 0)]


def test_an_empty_folder_is_no_journal(tmp_path: Path):
    result = verify(tmp_path, key=KEY)

    assert [problem.message for problem in result.problems] == ["there is no journal in this folder"]
    assert (result.head, result.entries) == (None, 0)


async def test_a_line_that_is_too_long_is_not_read_whole(write_journal: Callable[..., Awaitable[str]], folder: Path):
    await write_journal(3)
    with (folder / "00000001.jsonl").open("ab") as file:
        file.write(b"x" * (MAX_LINE + 10) + b"\n")

    result = verify(folder, key=KEY)

    assert faults(result) == [(Fault.EDITED, 6)]
    assert "longer than" in result.problems[0].message


async def test_a_hundred_problems_are_listed_and_all_counted(
    write_journal: Callable[..., Awaitable[str]], folder: Path
):
    await write_journal(0)
    rewrite(folder, [*lines(folder), *[b"{}\n"] * 150])

    result = verify(folder, key=KEY)

    assert (len(result.problems), result.problem_count) == (100, 150)


async def test_progress_is_told(open_journal: Callable[..., Journal], folder: Path):
    journal = open_journal()
    for _ in range(30):
        await journal.append("policy", {"name": "x" * 100_000})
    await journal.close()
    told: list[tuple[int, int]] = []

    verify(folder, key=KEY, on_progress=lambda done, total: told.append((done, total)))

    size = sum(path.stat().st_size for path in files(folder))
    assert [done // 2**20 for done, _ in told] == [1, 2, size // 2**20]
    assert told[-1] == (size, size)


def restore(path: Path, content: bytes) -> None:
    path.write_bytes(content)


async def test_a_line_that_is_being_written_is_waited_for(open_journal: Callable[..., Journal], folder: Path):
    journal = open_journal()
    await journal.append("start", {})
    await journal.append("policy", {"name": "p"})
    path = folder / "00000001.jsonl"
    written = path.read_bytes()
    path.write_bytes(written[:-20])

    result = verify(folder, key=KEY, pause=lambda _seconds: restore(path, written))

    assert (result.ok, result.entries, result.stopped) == (True, 3, False)
    await journal.close()
