"""Journals whose key was replaced: verified over all of them, and closed to whoever reads an earlier key."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.base.keys.key_ring import KeyRing
from gateway.config import JournalSettings
from gateway.model.errors import JournalError
from gateway.record.journal import reader, verified_entries
from gateway.record.journal.chain import Chain, timestamp
from gateway.record.journal.columns import Search
from gateway.record.journal.entry_index import EntryIndex
from gateway.record.journal.retention import prune
from gateway.record.journal.storage import segments
from gateway.record.journal.verification import Fault
from gateway.record.journal.writer import Journal

OLD, NEW, NEWER = b"o" * 32, b"n" * 32, b"w" * 32
BOTH = (NEW, OLD)


def opened(folder: Path, key: Any) -> Journal:
    settings = JournalSettings(path=folder, compress=False)
    return Journal.open(settings, key=key, fingerprints=b"f" * 32, clock=time.time)


async def rotated(folder: Path, *, while_running: bool = True) -> None:
    """Write a journal of two segments: the first under the old key, the second under the new one."""
    ring = KeyRing(OLD)
    journal = opened(folder, ring)
    await journal.append("policy", {"at": "before"})
    if while_running:
        ring.renew(BOTH)
        await journal.change_key()
    else:
        await journal.close()
        journal = opened(folder, BOTH)
    await journal.append("policy", {"id": "after", "at": "after"})
    await journal.close()


def faults(folder: Path, key: Any) -> list[tuple[Fault, str]]:
    return [(problem.fault, problem.segment) for problem in reader.verify(folder, key=key).problems]


def forged(folder: Path, key: bytes, *, segment: int, **fields: Any) -> None:
    """Append a line to a segment, as whoever knows a key can."""
    path = dict(segments(folder))[segment]
    chain = Chain.of(key)
    last = path.read_bytes().splitlines()[-1]
    seq = msgspec.json.decode(last)["seq"]
    for each in Chain.of(BOTH).all:
        if (link := each.checked(last)) is not None:
            line = chain.line(seq + 1, timestamp(time.time()), "policy", msgspec.json.encode(fields), link)
            path.write_bytes(path.read_bytes() + line + b"\n")
            return
    raise AssertionError("the last line has no known key")


@pytest.mark.parametrize("while_running", [True, False])
async def test_a_journal_is_verified_over_a_change_of_its_key(folder: Path, *, while_running: bool):
    await rotated(folder, while_running=while_running)

    found = reader.verify(folder, key=BOTH)

    assert (found.ok, found.segments) == (True, 2)
    entries = list(verified_entries.entries(folder, key=BOTH))
    assert [entry["at"] for entry in entries if entry["kind"] == "policy"] == ["before", "after"]


async def test_the_running_gateway_writes_no_line_with_the_old_key_after_the_change(folder: Path):
    await rotated(folder)

    lines = [line for _, path in segments(folder) for line in path.read_bytes().splitlines()]
    under_new = [Chain.of(NEW).intact(line) for line in lines]
    assert under_new == sorted(under_new)
    assert [Chain.of(OLD).intact(line) for line in lines] == [not new for new in under_new]


async def test_without_an_earlier_key_its_segments_are_named(folder: Path):
    await rotated(folder)

    assert faults(folder, NEW) == [(Fault.WRONG_KEY, "00000001.jsonl")]


async def test_a_line_under_an_earlier_key_is_no_line_of_a_later_segment(folder: Path):
    """Whoever reads a replaced key could forge the record again."""
    await rotated(folder)
    forged(folder, OLD, segment=2, at="forged")

    assert faults(folder, BOTH) == [(Fault.EDITED, "00000002.jsonl")]
    with pytest.raises(JournalError, match="not what was written"):
        list(verified_entries.entries(folder, key=BOTH))


async def test_no_segment_under_an_earlier_key_follows_one_under_a_later_key(folder: Path):
    await rotated(folder)
    journal = opened(folder, (NEWER, NEW, OLD))
    await journal.close()
    # Put back in the order of the keys before: as if the oldest key were the newest.
    assert (Fault.WRONG_KEY, "00000002.jsonl") in faults(folder, (OLD, NEW, NEWER))


async def test_what_was_written_before_a_change_cannot_be_changed_with_the_old_key(folder: Path):
    await rotated(folder)
    path = dict(segments(folder))[1]
    first, *rest = path.read_bytes().splitlines()
    old = Chain.of(OLD)
    link, lines = old.link(first), [first]
    for line in rest:
        entry = msgspec.json.decode(line)
        fields = {name: value for name, value in entry.items() if name not in {"seq", "time", "kind", "prev", "check"}}
        fields = {**fields, "at": "edited"} if "at" in fields else fields
        made, link = old.linked(entry["seq"], entry["time"], entry["kind"], msgspec.json.encode(fields), link)
        lines.append(made)
    path.write_bytes(b"\n".join(lines) + b"\n")

    assert faults(folder, BOTH) == [(Fault.BROKEN_LINK, "00000002.jsonl")]


async def test_a_change_to_the_same_key_begins_no_segment(folder: Path):
    journal = opened(folder, KeyRing(NEW))
    await journal.change_key()
    await journal.close()

    assert len(segments(folder)) == 1


async def test_a_change_that_fails_leaves_the_former_key(folder: Path):
    ring = KeyRing(OLD)
    journal = opened(folder, ring)
    (folder / "00000002.jsonl").write_text("taken")
    ring.renew(BOTH)

    with pytest.raises(JournalError):
        await journal.change_key()
    (folder / "00000002.jsonl").unlink()
    await journal.append("policy", {"at": "before"})
    await journal.close()

    assert reader.verify(folder, key=OLD).ok


async def test_an_open_call_is_settled_over_a_change(folder: Path):
    ring = KeyRing(OLD)
    journal = opened(folder, ring)
    await journal.append("call", {"id": "c", "effect": "allow"})
    ring.renew(BOTH)
    await journal.change_key()
    assert journal.open_calls == 1
    await journal.append("settled", {"id": "c"})
    assert journal.open_calls == 0
    await journal.close()

    assert [entry["kind"] for entry in reader.find(folder, "c", key=BOTH)] == ["call", "settled"]


async def test_a_journal_is_pruned_over_a_change(folder: Path):
    await rotated(folder)

    prune(folder, key=BOTH, before=timestamp(time.time() + 60), time=timestamp(time.time()))

    assert reader.verify(folder, key=BOTH).ok
    assert reader.verify(folder, key=NEW).ok


async def test_the_index_finds_entries_over_a_change_also_while_it_is_open(folder: Path):
    ring = KeyRing(OLD)
    journal, index = opened(folder, ring), EntryIndex(folder, ring, rest=lambda _: None)
    await journal.append("call", {"id": "one", "effect": "deny"})
    assert len(index.find_page(Search({}), lambda line: b'"call"' in line).found) == 1
    ring.renew(BOTH)
    await journal.change_key()
    await journal.append("call", {"id": "two", "effect": "deny"})

    found = index.find_page(Search({}), lambda line: b'"call"' in line).found

    assert [entry["id"] for _, entry in found] == ["two", "one"]
    assert index.broken_lines() == 0
    index.close()
    await journal.close()
