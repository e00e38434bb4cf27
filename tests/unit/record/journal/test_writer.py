from __future__ import annotations

import asyncio
import json
from random import Random
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from gateway.base.keys.key_ring import subkey
from gateway.model.errors import JournalError
from gateway.record.journal.chain import timestamp
from gateway.record.journal.entry import closed_by, opened_by
from gateway.record.journal.reader import entries, verify
from tests.unit.record.journal.segments import add

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gateway.record.journal.writer import Journal
    from tests.unit.record.journal.disks import WatchedDisk

KEY = b"k" * 32


async def test_an_entry_is_on_record_when_append_returns(open_journal: Callable[..., Journal], folder: Path):
    journal = open_journal()

    await journal.append("policy", {"name": "p", "revision": "r"})

    last = list(entries(folder))[-1]
    assert (last["seq"], last["kind"], last["name"], last["time"]) == (2, "policy", "p", "2027-01-15T08:00:01.000Z")
    assert verify(folder, key=KEY, head=journal.head).ok
    await journal.close()


@pytest.mark.parametrize(
    ("policy", "done"), [("always", ["write", "sync"]), ("interval", ["write"]), ("never", ["write"])]
)
async def test_entries_of_one_turn_are_written_in_their_order_with_one_write_and_one_sync(
    open_journal: Callable[..., Journal], folder: Path, disk: WatchedDisk, policy: str, done: list[str]
):
    journal = open_journal(fsync=policy, disk=disk)
    disk.done.clear()

    await asyncio.gather(*[journal.append("policy", {"name": str(number)}) for number in range(50)])

    assert disk.done == done
    assert [entry["name"] for entry in entries(folder) if entry["kind"] == "policy"] == [str(n) for n in range(50)]
    await journal.close()


async def test_a_caller_that_is_cancelled_does_not_take_its_entry_or_others_back(
    open_journal: Callable[..., Journal], disk: WatchedDisk, folder: Path
):
    journal = open_journal(fsync="always", disk=disk)
    disk.go.clear()
    cancelled = asyncio.create_task(journal.append("settled", {"id": "cancelled", "outcome": "cancelled"}))
    other = asyncio.create_task(journal.append("policy", {"id": "other"}))
    await asyncio.sleep(0)
    cancelled.cancel()
    disk.go.set()

    await other
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    assert [entry["id"] for entry in entries(folder) if "id" in entry] == ["cancelled", "other"]
    await journal.close()


async def test_a_cancelled_caller_of_a_refused_entry_is_only_cancelled(
    open_journal: Callable[..., Journal], disk: WatchedDisk
):
    journal = open_journal(fsync="always", disk=disk)
    disk.full = True
    cancelled = asyncio.create_task(journal.append("policy", {}))
    await asyncio.sleep(0)
    cancelled.cancel()

    with pytest.raises(asyncio.CancelledError):
        await cancelled
    disk.full = False
    await journal.close()


async def test_a_stopped_journal_keeps_its_head_and_takes_nothing_more(
    open_journal: Callable[..., Journal], folder: Path
):
    journal = open_journal(fsync="interval")
    await journal.append("policy", {})
    before = journal.head
    await journal.close()
    await journal.close()

    last = list(entries(folder))[-1]
    assert (last["kind"], last["entries"], last["head"]) == ("stop", 2, before)
    with pytest.raises(JournalError, match="the journal is closed"):
        await journal.append("policy", {})


@pytest.mark.parametrize("fsync", ["always", "never"])
async def test_what_waits_is_written_before_the_journal_stops(
    open_journal: Callable[..., Journal], folder: Path, fsync: str
):
    journal = open_journal(fsync=fsync)
    waiting = [asyncio.create_task(journal.append("policy", {"name": str(number)})) for number in range(5)]
    await asyncio.sleep(0)
    await journal.close()
    await asyncio.gather(*waiting)

    assert [entry["kind"] for entry in entries(folder)] == ["segment", *["policy"] * 5, "stop"]


async def test_a_new_segment_says_its_head_in_the_log(open_journal: Callable[..., Journal]):
    journal = open_journal(segment=900)
    heads: list[str] = []
    with capture_logs() as logs:
        for _ in range(5):
            await journal.append("policy", {"name": "x" * 100})
            heads.append(journal.head)

    assert [(entry["event"], entry["segment"]) for entry in logs] == [("journal.segment", 2), ("journal.segment", 3)]
    assert all(entry["head"] in heads for entry in logs)
    await journal.close()


async def test_a_second_writer_is_refused(open_journal: Callable[..., Journal], folder: Path):
    journal = open_journal()

    with pytest.raises(JournalError, match="another gateway writes to the journal"):
        open_journal()
    await journal.append("policy", {})
    await journal.close()
    assert verify(folder, key=KEY).ok


async def test_a_journal_that_is_damaged_is_not_opened_and_not_kept_locked(
    open_journal: Callable[..., Journal], folder: Path
):
    journal = open_journal()
    await journal.close()
    written = (folder / "00000001.jsonl").read_bytes()
    (folder / "00000001.jsonl").write_bytes(written.replace(b'"kind":"stop"', b'"kind":"sstop"'))

    for _ in range(2):
        with pytest.raises(JournalError, match="the journal is damaged"):
            open_journal()
    assert (folder / "00000001.jsonl").read_bytes() != written


async def test_a_torn_line_is_noted_and_the_chain_goes_on(open_journal: Callable[..., Journal], folder: Path):
    await open_journal().close()
    add(folder / "00000001.jsonl", b'{"seq":3,"time"')

    journal = open_journal()

    noted = list(entries(folder))[-1]
    assert (noted["kind"], noted["file"], noted["bytes"]) == ("recovered", "00000001.jsonl.torn", 15)
    await journal.close()
    assert verify(folder, key=KEY, head=journal.head).ok


async def test_calls_without_an_outcome_are_abandoned_once(open_journal: Callable[..., Journal], folder: Path):
    journal = open_journal()
    await journal.append("call", {"id": "a", "effect": "allow"})
    await journal.append("call", {"id": "b", "effect": "allow"})
    await journal.append("settled", {"id": "a", "outcome": "completed"})
    assert journal.open_calls == 1
    await journal.close()

    journal = open_journal()
    assert [(entry["kind"], entry.get("id")) for entry in entries(folder)][-1] == ("abandoned", "b")
    assert journal.open_calls == 0
    await journal.close()
    await open_journal().close()
    assert [entry["id"] for entry in entries(folder) if entry["kind"] == "abandoned"] == ["b"]


async def test_any_mapping_and_sequence_is_written(open_journal: Callable[..., Journal], folder: Path):
    journal = open_journal()

    await journal.append("policy", MappingProxyType({"a": MappingProxyType({"b": range(2)})}))

    assert list(entries(folder))[-1]["a"] == {"b": [0, 1]}
    await journal.close()


@pytest.mark.parametrize("value", ["\ud800", object(), 10**5000], ids=["surrogate", "object", "huge"])
async def test_what_is_no_json_is_refused(open_journal: Callable[..., Journal], value: object):
    journal = open_journal()

    with pytest.raises(JournalError, match="an entry 'policy' cannot be written as JSON"):
        await journal.append("policy", {"a": value})  # pyright: ignore[reportArgumentType] - the point of the test
    await journal.close()


async def test_an_entry_that_is_too_long_to_be_read_is_refused(open_journal: Callable[..., Journal]):
    journal = open_journal()

    with pytest.raises(JournalError, match="too long"):
        await journal.append("policy", {"a": "x" * 2**20})
    await journal.close()


@pytest.mark.parametrize("name", ["seq", "time", "kind", "prev", "check"])
async def test_fields_cannot_take_the_place_of_the_lines_own(open_journal: Callable[..., Journal], name: str):
    journal = open_journal()

    with pytest.raises(ValueError, match=name):
        await journal.append("policy", {name: 1})
    await journal.close()


async def test_more_open_calls_than_a_segment_can_name_are_refused(
    open_journal: Callable[..., Journal], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("gateway.record.journal.writer._MAX_OPEN", 2)
    journal = open_journal()
    await journal.append("call", {"id": "a", "effect": "allow"})
    await journal.append("call", {"id": "b", "effect": "allow"})

    with pytest.raises(JournalError, match="too many calls are open"):
        await journal.append("call", {"id": "c", "effect": "allow"})
    await journal.append("settled", {"id": "a"})
    await journal.append("call", {"id": "c", "effect": "allow"})
    await journal.close()


async def test_the_state_of_a_journal_is_told(open_journal: Callable[..., Journal], folder: Path):
    journal = open_journal()

    assert (journal.entries, journal.open_calls, journal.problem()) == (1, 0, None)
    assert verify(folder, key=KEY, head=journal.head).ok
    await journal.close()


def sorted_files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def modes(paths: list[Path]) -> set[int]:
    return {path.stat().st_mode & 0o777 for path in paths}


async def test_files_are_their_owners_only(open_journal: Callable[..., Journal], folder: Path):
    await open_journal().close()

    assert modes([folder]) == {0o700}
    assert modes(sorted_files(folder)) == {0o600}


async def test_fingerprints_have_a_key_of_their_own(open_journal: Callable[..., Journal], folder: Path):
    journal = open_journal()

    assert journal.fingerprint_key == subkey(KEY, "fingerprints")
    await journal.close()
    assert KEY.hex() not in json.dumps(list(entries(folder)))


async def test_an_entry_opens_and_closes_a_call_as_a_reader_sees_it(open_journal: Callable[..., Journal]):
    journal, random = open_journal(), Random(1)
    for _ in range(300):
        kind = random.choice(("call", "settled", "abandoned", "policy", "refused"))
        found: dict[str, Any] = {
            "id": random.choice(("d-1", 1, None, "")),
            "effect": random.choice(("allow", "deny", None)),
        }
        fields = {name: value for name, value in found.items() if random.random() < 0.8}
        queued = journal.begin(kind, fields)
        assert (queued.opens, queued.closes) == (opened_by(kind, fields), closed_by(kind, fields))
    journal.flush()
    await journal.close()


async def test_the_time_of_an_entry_is_its_timestamp(open_journal: Callable[..., Journal], folder: Path):
    random = Random(2)
    times = [random.uniform(0, 4e9) for _ in range(50)] + [0.0, 0.999, 1.001, 1e9 + 0.0005]
    journal, now = open_journal(), iter(times)
    journal._clock = lambda: next(now)
    for _ in times:
        journal.begin("policy", {"name": "p"})
        journal.flush()

    assert [entry["time"] for entry in entries(folder)][-len(times) :] == [timestamp(time) for time in times]
    journal._clock = lambda: 5e9
    await journal.close()
