from __future__ import annotations

import asyncio
import itertools
import logging
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from gateway.base.keys.key_ring import KeyRing
from gateway.config import JournalSettings
from gateway.history import Restored, Store, rebuild, restore, snapshot
from gateway.model.caller import AuthMethod, Principal
from gateway.model.content import CallContent, ResultContent
from gateway.model.errors import HistoryError
from gateway.record.journal import reader
from gateway.record.journal.writer import Journal
from tests import effort
from tests.unit.history.recording import AGENT, DECLARED, Gateway, Record, all_facts, another, busy, new_history, stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateway.model.task import Task
    from gateway.model.wire import JsonObject

FIGURES = logging.getLogger("figures")
KEY = b"k" * 32
ROOT = Path(__file__).resolve().parents[3]


def test_facts_are_the_same_when_they_are_folded_again_from_the_journal():
    before = Gateway(new_history(), Record())
    task = busy(before)

    after = new_history()
    rebuilt = rebuild(after, before.record.entries, Restored())

    assert after.tasks.open_implicit(AGENT, 1000.0) == task
    assert after.tasks.select(AGENT, "declared-1", 1000.0) == DECLARED
    assert all_facts(after, task) == all_facts(before.history, task)
    for name in ("declared-1", task.id):
        old, new = before.history.tasks.find(name), after.tasks.find(name)
        assert old is not None
        assert new is not None
        assert new.state == old.state
    assert (rebuilt.journal, rebuilt.seq) == ("journal-1", before.record.seq)


def test_a_principal_finds_only_its_own_tasks_again():
    before = Gateway(new_history(), Record())
    task = busy(before)
    after = new_history()
    rebuild(after, before.record.entries, Restored())
    other = Principal("other", "https://idp.example", AuthMethod.JWT)

    assert after.tasks.open_implicit(other, 1000.0) != task
    assert after.tasks.select(other, "declared-1", 1000.0) != DECLARED


def test_a_call_that_was_open_counts_as_settled():
    """Nobody knows whether it went on: it may have."""
    before = Gateway(new_history(), Record())
    before.open()
    before.begin(DECLARED, "a")
    abandoned = before.begin(DECLARED, "b")
    before.record.append("abandoned", {"id": abandoned})
    after = new_history()
    rebuild(after, before.record.entries, Restored())

    known = after.ledger.facts(DECLARED, 1000.0)

    assert (known.calls, known.in_flight, known.audiences) == (2, 0, {"a", "b"})
    assert known.labels is not None
    assert known.labels.untrusted


@pytest.mark.parametrize("recorded", [True, False])
def test_nobody_knows_the_words_of_a_result_that_a_crash_cut_off(*, recorded: bool):
    """They may have reached the caller: its next words, to another system, may be some of them."""
    before = Gateway(new_history(), Record())
    before.open()
    abandoned = before.begin(DECLARED, "a")
    if recorded:
        before.record.append("abandoned", {"id": abandoned})
    after = Gateway(new_history(), before.record)
    rebuild(after.history, before.record.entries, Restored())

    after.begin(DECLARED, "b", CallContent(tokens=frozenset({99})))

    assert after.history.ledger.facts(DECLARED, 1000.0).spread == 1


def test_the_words_that_are_recorded_with_the_outcome_are_known_again():
    before = Gateway(new_history(), Record())
    before.open()
    before.settle(DECLARED, before.begin(DECLARED, "a"), ResultContent(tokens=frozenset({10})))
    after = Gateway(new_history(), before.record)
    rebuild(after.history, before.record.entries, Restored())

    after.begin(DECLARED, "b", CallContent(tokens=frozenset({99})))
    assert after.history.ledger.facts(DECLARED, 1000.0).spread == 0
    after.begin(DECLARED, "b", CallContent(tokens=frozenset({10})))
    assert after.history.ledger.facts(DECLARED, 1000.0).spread == 1


def test_a_task_that_was_ended_stays_so():
    before = Gateway(new_history(), Record())
    before.open()
    before.record.append("task", before.history.tasks.end(DECLARED, "cancelled")[0])
    after = new_history()
    rebuild(after, before.record.entries, Restored())

    assert getattr(after.tasks.select(AGENT, "declared-1", 1000.0), "code", None) == "task/ended"


def test_entries_that_say_nothing_of_tasks_are_left_out():
    entries: list[JsonObject] = [
        {"seq": 1, "kind": "start"},
        {"seq": 2, "kind": "call", "id": "c", "effect": "allow"},
        {"seq": 3, "kind": "settled", "id": "c"},
        {"seq": 4, "kind": "observed", "task": "gone", "event": "observed", "call": "c", "sensitivity": "public"},
        {"seq": 5, "kind": "task", "task": "gone", "event": "ended", "how": "completed"},
        {"seq": 6, "kind": "abandoned", "id": "c"},
    ]

    assert rebuild(new_history(), entries, Restored()).events == 0


def test_of_a_declared_task_whose_opening_is_no_longer_in_the_journal_nothing_is_kept():
    """Its segment was deleted when its time was over."""
    before = Gateway(new_history(), Record())
    before.open()
    before.call(DECLARED, "a")
    before.read(DECLARED, stream(), ResultContent(tokens=frozenset({1})))
    history = new_history()

    assert rebuild(history, before.record.entries[2:], Restored()).events == 0
    assert len(history.tasks) == 0


def test_a_journal_without_entries_ends_before_the_first():
    """What snapshots know beyond that is of entries that are lost (`rewind`)."""
    assert rebuild(new_history(), [], Restored("journal-1", 5)).seq == 0


@pytest.mark.parametrize(
    "damage",
    [
        {"history": {"event": "reserved"}},
        {"history": {"event": "settled", "call": "c"}},
        {"history": 5},
        {"task": None},
        {"principal": {}},
        {"effect": None, "history": {"event": "reserved", "key": "zz"}},
        {"history": {"opened": 1000.0}},
    ],
)
def test_a_damaged_entry_is_an_error_that_says_which(damage: dict[str, Any]):
    before = Gateway(new_history(), Record())
    before.begin(before.history.tasks.open_implicit(AGENT, 1000.0))
    entries = [before.record.entries[0], {**before.record.entries[1], **damage}]

    with pytest.raises(HistoryError, match=r"entry 2 of the journal") as caught:
        rebuild(new_history(), entries, Restored())
    assert "verify" in caught.value.remedy


def _settles(gateway: Gateway, task: Task, at: float) -> None:
    gateway.settle(task, gateway.begin(task, at=at))


def _abandons(gateway: Gateway, task: Task, at: float) -> None:
    call = gateway.begin(task, at=at)
    gateway.history.ledger.settle(task, call)
    gateway.record.append("abandoned", {"id": call})


def _reads(gateway: Gateway, task: Task, at: float) -> None:
    gateway.read(task, stream(), ResultContent(tokens=frozenset({int(at)})), at)


@pytest.mark.parametrize("does", [_settles, _abandons, _reads])
def test_tasks_whose_time_is_over_are_not_kept(does: Callable[[Gateway, Task, float], None]):
    before = Gateway(new_history(), Record())
    for number in range(50):
        does(before, before.history.tasks.open_implicit(another(number), number * 1000.0), number * 1000.0)
    after = new_history()

    rebuild(after, before.record.entries, Restored())

    assert len(after.tasks) == 1


# --- the real journal ------------------------------------------------------------------------------

_KILLED = """
import asyncio, os, signal, sys, time
from pathlib import Path
from gateway.config import JournalSettings
from gateway.record.journal.writer import Journal
from tests.unit.history.recording import DECLARED, Gateway, Record, busy, new_history
from gateway.model.content import CallContent

class Written(Record):
    def append(self, kind, fields):
        if kind != "segment":
            self.pending.append((kind, fields))

async def main(folder):
    journal = Journal.open(JournalSettings(path=folder, fsync="never"), key=b"k" * 32, fingerprints=b"k" * 32, clock=time.time)
    record = Written.__new__(Written)
    record.name, record.pending, record.entries = "live", [], []
    gateway = Gateway(new_history(), record)
    busy(gateway)
    gateway.begin(DECLARED, "open", CallContent({99: "d"}))
    for kind, fields in record.pending:
        await journal.append(kind, fields)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main(Path(sys.argv[1])))
"""


async def test_nothing_is_forgotten_when_the_gateway_is_killed(tmp_path: Path):
    folder = tmp_path / "journal"
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", _KILLED, str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    expected = Gateway(new_history(), Record())
    first = busy(expected)
    expected.settle(DECLARED, expected.begin(DECLARED, "open", CallContent({99: "d"})))

    journal = Journal.open(JournalSettings(path=folder), key=KEY, fingerprints=KEY, clock=time.time)
    after = new_history()
    try:
        rebuilt = rebuild(after, reader.entries(folder), Restored())
        assert [e["id"] for e in reader.entries(folder) if e["kind"] == "abandoned"] == ["live-c5"]
        assert rebuilt.seq == journal.entries
    finally:
        await journal.close()

    task = after.tasks.open_implicit(AGENT, 1000.0)
    assert all_facts(after, task) == all_facts(expected.history, first)


def long_record(length: int) -> Iterator[JsonObject]:
    """A journal of so many events in ten tasks, with results of a few hundred words."""
    gateway = Gateway(new_history(), Record())
    words = itertools.count(2**62, 200)
    tasks = [gateway.history.tasks.open_implicit(another(number), 1000.0) for number in range(10)]
    for number in range(length // 3):
        first = next(words)
        content = CallContent({number % 50: "d"}, tokens=frozenset({first}))
        gateway.call(
            tasks[number % 10], f"a{number % 3}", content, ResultContent(tokens=frozenset(range(first, first + 200)))
        )
    return iter(gateway.record.entries)


async def test_30_000_events_are_folded_again_in_seconds_and_with_a_snapshot_in_less_than_one(tmp_path: Path):
    lines = [msgspec.json.encode(entry) for entry in long_record(30_000)]
    store = Store(tmp_path, KeyRing(KEY))
    history = new_history()

    with effort.at_most(3) as whole:
        restored = restore(history, store)
        rebuilt = rebuild(history, map(msgspec.json.decode, lines), restored)
    await snapshot(history, store, lambda: ("journal-1", rebuilt.seq))
    with effort.at_most(1) as late:
        again = new_history()
        restored = restore(again, store)
        rebuild(again, map(msgspec.json.decode, [lines[0], *lines[-1000:]]), restored)

    FIGURES.info("30,000 events again: %.2f s whole, %.3f s after a snapshot", whole.seconds, late.seconds)
    assert rebuilt.events >= 20_000
