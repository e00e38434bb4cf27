"""A journal beside the snapshots of history, which know how far it went."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.record.journal import reader, retention
from gateway.record.journal.chain import timestamp
from gateway.record.journal.verification import Fault, KnownEntry
from tests.unit.record.journal.segments import SMALL, files, lines, rewrite

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from gateway.record.journal.reader import Verification

KEY = b"k" * 32
LAST = 7
"""The number of the `stop` entry of a journal of five entries."""


def verify(folder: Path, seq: int, journal: str = "journal-1") -> Verification:
    return reader.verify(folder, key=KEY, known=KnownEntry(journal, seq), pause=lambda _seconds: None)


def faults(result: Verification) -> list[Fault]:
    return [problem.fault for problem in result.problems]


async def test_a_journal_that_goes_as_far_as_the_snapshots_is_whole(
    write_journal: Callable[..., Awaitable[str]], folder: Path
):
    await write_journal(5)

    for seq in range(LAST + 1):
        found = verify(folder, seq)
        assert (found.ok, found.known) == (True, seq)
    assert reader.verify(folder, key=KEY, pause=lambda _: None).known is None


@pytest.mark.parametrize("kept", range(1, LAST))
async def test_a_journal_that_ends_before_the_snapshots_is_cut(
    write_journal: Callable[..., Awaitable[str]], folder: Path, kept: int
):
    await write_journal(5)
    rewrite(folder, lines(folder)[:kept])

    found = verify(folder, LAST)

    assert faults(found) == [Fault.CUT]
    many = "entry 7 is" if kept == LAST - 1 else f"entries {kept + 1} to 7 are"
    assert found.problems[0].message.startswith(f"{many} missing at the end")
    assert verify(folder, kept).ok


async def test_whole_segments_that_are_gone_from_the_end_are_cut(
    write_journal: Callable[..., Awaitable[str]], folder: Path
):
    await write_journal(20, segment=SMALL)
    whole = reader.verify(folder, key=KEY, pause=lambda _: None)
    for file in files(folder)[-2:]:
        file.unlink()

    found = verify(folder, whole.entries)

    assert faults(found) == [Fault.CUT]
    assert found.entries < whole.entries


async def test_a_torn_end_that_the_snapshots_know_is_cut_too(
    write_journal: Callable[..., Awaitable[str]], folder: Path
):
    await write_journal(5)
    *others, last = lines(folder)
    rewrite(folder, [*others, last[:10]])

    assert faults(verify(folder, LAST)) == [Fault.TORN, Fault.CUT]
    assert faults(verify(folder, LAST - 1)) == [Fault.TORN]


def test_a_journal_that_is_gone_is_missing_and_cut(folder: Path):
    folder.mkdir()

    assert faults(verify(folder, 7)) == [Fault.MISSING_SEGMENT, Fault.CUT]
    assert faults(verify(folder, 0)) == [Fault.MISSING_SEGMENT]


async def test_a_journal_in_the_place_of_the_one_that_the_snapshots_know_is_another(
    write_journal: Callable[..., Awaitable[str]], folder: Path
):
    await write_journal(5)

    found = verify(folder, 3, "journal-2")

    assert faults(found) == [Fault.OTHER_JOURNAL]
    assert "journal-2" in found.problems[0].message
    assert verify(folder, 0, "journal-2").ok
    assert verify(folder, 3, "").ok


async def test_a_cut_behind_another_fault_is_still_seen(write_journal: Callable[..., Awaitable[str]], folder: Path):
    await write_journal(5)
    kept = lines(folder)[:5]
    kept[2] = kept[2].replace(b'"p"', b'"q"')
    rewrite(folder, kept)

    assert faults(verify(folder, LAST)) == [Fault.EDITED, Fault.CUT]


async def test_a_journal_of_which_all_was_pruned_but_its_end_goes_as_far_as_it_did(
    write_journal: Callable[..., Awaitable[str]], folder: Path
):
    await write_journal(30, segment=SMALL)
    last = reader.verify(folder, key=KEY, pause=lambda _: None).entries
    time = timestamp(1_900_000_000)
    retention.prune(folder, key=KEY, before=time, time=time, archive=None)

    assert verify(folder, last).ok
    assert faults(verify(folder, last + 1)) == [Fault.CUT]
