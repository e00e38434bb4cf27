from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.base.keys.key_ring import key_id
from gateway.model.errors import JournalError
from gateway.record.journal.chain import MAX_LINE, Chain
from gateway.record.journal.recovery import recover, require_end
from gateway.record.journal.storage import Disk
from tests.unit.record.journal.disks import WatchedDisk
from tests.unit.record.journal.segments import SMALL, add, files

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from gateway.record.journal.writer import Journal

KEY = b"k" * 32
CHAIN = Chain.of(KEY)


def test_an_empty_folder_has_no_end(tmp_path: Path):
    assert recover(tmp_path, CHAIN, Disk()) == (None, ())


async def test_a_whole_journal_ends_after_its_last_line(write_journal: Callable[..., Awaitable[str]], folder: Path):
    head = await write_journal(3)

    end, torn = recover(folder, CHAIN, Disk())

    assert torn == ()
    assert end is not None
    assert (end.number, end.lines, end.seq, end.link, end.journal) == (1, 5, 5, head, "journal-1")
    assert end.size == (folder / "00000001.jsonl").stat().st_size
    assert end.unsettled == ()


async def test_a_torn_line_is_moved_aside_at_every_place_it_can_be_torn_at(
    write_journal: Callable[..., Awaitable[str]], folder: Path
):
    await write_journal(2)
    path, aside = folder / "00000001.jsonl", folder / "00000001.jsonl.torn"
    written = path.read_bytes()
    last = written[:-1].rfind(b"\n") + 1

    for size in range(last + 1, len(written)):
        path.write_bytes(written[:size])
        end, torn = recover(folder, CHAIN, Disk())
        assert end is not None
        assert (end.size, end.lines) == (last, 3)
        assert [(each.data, each.file) for each in torn] == [(written[last:size], aside.name)]
        assert path.read_bytes() == written[:last]
        assert aside.read_bytes() == written[last:size] + b"\n"
        aside.unlink()


async def test_what_was_moved_aside_is_safe_before_it_is_cut_off_and_the_cut_before_the_journal_goes_on(
    write_journal: Callable[..., Awaitable[str]], folder: Path
):
    await write_journal(2)
    add(folder / "00000001.jsonl", b'{"seq":9,"time"')
    disk = WatchedDisk()

    recover(folder, CHAIN, disk)

    cut = disk.done.index("truncate")
    assert "sync" in disk.done[disk.done.index("write") : cut]
    assert disk.done[cut + 1 :] == ["sync"]


async def test_zeros_that_a_power_loss_left_are_moved_aside(write_journal: Callable[..., Awaitable[str]], folder: Path):
    await write_journal(2)
    add(folder / "00000001.jsonl", bytes(3 * MAX_LINE))

    end, torn = recover(folder, CHAIN, Disk())

    assert end is not None
    assert end.lines == 4
    assert [each.data for each in torn] == [bytes(3 * MAX_LINE)]


@pytest.mark.parametrize("begun", [b"", b'{"seq":9,"time"'])
async def test_a_segment_without_a_whole_line_is_given_up(
    write_journal: Callable[..., Awaitable[str]], folder: Path, begun: bytes
):
    head = await write_journal(10, segment=SMALL)
    last = files(folder)[-1]
    fresh = last.with_name(f"{int(last.stem) + 1:08d}.jsonl")
    add(fresh, begun)

    end, torn = recover(folder, CHAIN, Disk())

    assert end is not None
    assert (end.path, end.link) == (last, head)
    assert [each.data for each in torn] == ([begun] if begun else [])
    assert not fresh.exists()


def test_a_journal_whose_first_line_is_torn_has_no_end(tmp_path: Path):
    add(tmp_path / "00000001.jsonl", b'{"seq":1')

    end, torn = recover(tmp_path, CHAIN, Disk())

    assert end is None
    assert [each.data for each in torn] == [b'{"seq":1']
    assert files(tmp_path) == []


async def test_an_edited_line_with_an_end_is_no_crash(write_journal: Callable[..., Awaitable[str]], folder: Path):
    await write_journal(2)
    add(folder / "00000001.jsonl", b"{}\n")

    with pytest.raises(JournalError, match=r"is damaged: .*00000001\.jsonl, line 5: its content") as caught:
        recover(folder, CHAIN, Disk())
    assert "opagate journal verify" in caught.value.remedy


@pytest.mark.parametrize(("before", "kept"), [(b"", -1), (b"", 40), (b"x", None), (b"", 0)])
async def test_a_last_line_that_was_edited_and_has_its_end_is_no_crash(
    write_journal: Callable[..., Awaitable[str]], folder: Path, before: bytes, kept: int | None
):
    await write_journal(2)
    path = folder / "00000001.jsonl"
    *others, last = path.read_bytes().splitlines()
    edited = b"\n".join([*others, before + last[:kept]]) + b"\n"
    path.write_bytes(edited)

    with pytest.raises(JournalError, match=rf"is damaged: .*00000001\.jsonl, line {len(others) + 1}: "):
        recover(folder, CHAIN, Disk())
    assert path.read_bytes() == edited


async def test_a_line_that_is_too_long_is_no_crash(write_journal: Callable[..., Awaitable[str]], folder: Path):
    await write_journal(2)
    add(folder / "00000001.jsonl", b"x" * (MAX_LINE + 5) + b"\n{")

    with pytest.raises(JournalError, match="line 5 is too long"):
        recover(folder, CHAIN, Disk())


async def test_another_key_is_refused(write_journal: Callable[..., Awaitable[str]], folder: Path):
    await write_journal(2)

    with pytest.raises(JournalError, match="written with another key"):
        recover(folder, Chain.of(b"o" * 32), Disk())


@pytest.mark.parametrize("segment", [2**20, SMALL])
async def test_another_key_of_fingerprints_is_refused_before_anything_is_changed(
    open_journal: Callable[..., Journal], write_journal: Callable[..., Awaitable[str]], folder: Path, segment: int
):
    """No task would know its credentials again."""
    await write_journal(12, segment=segment)
    last = files(folder)[-1]
    with last.open("ab") as file:
        file.write(b"torn")
    before = [path.read_bytes() for path in files(folder)]

    for attempt in (lambda: open_journal(fingerprints=b"o" * 32), lambda: require_end(folder, CHAIN, "other")):
        with pytest.raises(JournalError, match=f"the digests in {last} were made with another key") as caught:
            attempt()
        assert "put that key back" in caught.value.remedy
    assert [path.read_bytes() for path in files(folder)] == before
    require_end(folder, CHAIN, key_id(KEY))
    await open_journal().close()


async def test_calls_without_an_outcome_are_found_over_segments(open_journal: Callable[..., Journal], folder: Path):
    journal = open_journal(segment=SMALL)
    await journal.append("call", {"id": "early", "effect": "allow"})
    for number in range(6):
        await journal.append("call", {"id": f"d-{number}", "effect": "allow"})
        await journal.append("settled", {"id": f"d-{number}", "outcome": "completed"})
    await journal.append("call", {"id": "late", "effect": "allow"})
    await journal.append("call", {"id": "denied", "effect": "deny"})
    await journal.close()

    end, _ = recover(folder, CHAIN, Disk())

    assert end is not None
    assert end.number > 2
    assert end.unsettled == ("early", "late")
