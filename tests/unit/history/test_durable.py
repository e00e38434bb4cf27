from __future__ import annotations

import asyncio
import itertools
import logging
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from gateway.config import HistorySettings, JournalSettings
from gateway.errors import HistoryError
from gateway.history import History, Restored, Store, rebuild, restore, snapshot
from gateway.history.embedded import RESIDENT
from gateway.history.kept import Kept, row
from gateway.history.state import TaskState
from gateway.history.store import Checkpoint, Row
from gateway.journal import reader
from gateway.journal.writer import Journal
from gateway.model import (
    AuthMethod,
    Call,
    CallContent,
    Contract,
    Effect,
    Labels,
    Principal,
    ResultContent,
    Sensitivity,
    SessionFacts,
    Sighting,
    Target,
    Task,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateway.model import Json, JsonObject

FIGURES = logging.getLogger("figures")
KEY = b"k" * 32
_RUNS = itertools.count(1, 1000)
"""Each history gives other ids, as random ones are."""
ROOT = Path(__file__).resolve().parents[3]
AGENT = Principal("agent", "https://idp.example", AuthMethod.JWT, token_id="t")
DECLARED = Task("declared-1", "declared", 1000.0, 10**9, "mend it", contract=Contract(frozenset({"a"})))


def _history(now: Callable[[], float] = lambda: 1000.0, idle: float = 600) -> History:
    numbers = itertools.count(next(_RUNS))
    return History(
        HistorySettings(idle=timedelta(seconds=idle)), clock=now, new_id=lambda: f"task-{next(numbers)}", conceal=str
    )


class Record:
    """A journal in memory: what the pipeline writes, and where."""

    def __init__(self, name: str = "journal-1") -> None:
        self.name = name
        self.entries: list[JsonObject] = []
        self.append("segment", {"segment": 1, "journal": name})

    def append(self, kind: str, fields: JsonObject) -> None:
        self.entries.append(msgspec.json.decode(msgspec.json.encode({"seq": self.seq + 1, "kind": kind, **fields})))

    @property
    def seq(self) -> int:
        return len(self.entries)

    def position(self) -> tuple[str, int]:
        return self.name, self.seq

    def after(self, seq: int) -> list[JsonObject]:
        """As a reader gives them that begins with a heading."""
        return [self.entries[0], *self.entries[max(seq, 1) :]]


class Gateway:
    """History and its record, wired as the pipeline does it."""

    def __init__(self, history: History, record: Record) -> None:
        self.history = history
        self.record = record
        self.numbers = itertools.count(1)

    def begin(  # noqa: PLR0917 - a call in one line
        self,
        task: Task,
        audience: str = "a",
        content: CallContent | None = None,
        effect: str = "allow",
        at: float = 1000.0,
        recorded: bool = True,  # noqa: FBT001, FBT002 - a call in one line
    ) -> str:
        call_id = f"{self.record.name}-c{next(self.numbers)}"
        target = Target("tool", audience, "use", audience, labels=Labels(Effect.WRITE, sensitivity=Sensitivity.PUBLIC))
        counted = self.history.reserve(
            task, call_id, Call("tools/call", target, {}), content or CallContent(), at, depth=0
        )
        if recorded:
            entry: dict[str, Json] = {"id": call_id, "effect": effect, "history": counted.fields}
            self.record.append("call", {**entry, "task": {"id": task.id}, "principal": {"key": AGENT.key}})
            if effect != "allow":
                self.history.release(task, call_id, denied=True)
        return call_id

    def show(self, task: Task, call_id: str, content: ResultContent) -> None:
        fields = self.history.observe(task, call_id, content)
        if fields is not None:
            self.record.append("observed", fields)

    def settle(self, task: Task, call_id: str) -> None:
        self.history.settle(task, call_id)
        self.record.append("settled", {"id": call_id, "outcome": "completed"})

    def call(self, task: Task, audience: str = "a", content: CallContent | None = None, *shown: ResultContent) -> None:
        call_id = self.begin(task, audience, content)
        for part in shown:
            self.show(task, call_id, part)
        self.settle(task, call_id)

    def open(self, task: Task = DECLARED, content: ResultContent | None = None) -> None:
        self.record.append("task", self.history.open(AGENT, task, content or ResultContent()))


def _busy(gateway: Gateway) -> Task:
    """A task with something of everything."""
    secret = Sighting("fp:1", "jwt")
    gateway.open(DECLARED, ResultContent((Sighting("fp:u", "jwt"),), frozenset({5})))
    task = gateway.history.task(AGENT, "session", 1000.0)
    gateway.call(DECLARED, "a", CallContent({1: "d"}), ResultContent((secret,), frozenset({10, 11})))
    gateway.call(DECLARED, "b", CallContent({2: "d"}, (secret,), tokens=frozenset({10})))
    gateway.begin(DECLARED, "c", CallContent({3: "d"}), "deny")
    gateway.record.append("task", gateway.history.endorse(DECLARED, frozenset({77})))
    gateway.call(task, "x", None, ResultContent(tokens=frozenset({20}), complete=False))
    return task


def _all(history: History, task: Task) -> tuple[SessionFacts, ...]:
    content = CallContent(authority={"/u": frozenset({5}), "/e": frozenset({77}), "/n": frozenset({8})})
    return tuple(history.facts(each, 1000.0, content=content) for each in (DECLARED, task))


def test_facts_are_the_same_when_they_are_folded_again_from_the_journal():
    before = Gateway(_history(), Record())
    task = _busy(before)

    after = _history()
    rebuilt = rebuild(after, before.record.entries, Restored())

    assert after.task(AGENT, "session", 1000.0) == task
    assert after.select(AGENT, "declared-1", 1000.0) == DECLARED
    assert _all(after, task) == _all(before.history, task)
    for name in ("declared-1", task.id):
        old, new = before.history.kept(name), after.kept(name)
        assert old is not None
        assert new is not None
        assert new.state == old.state
    assert (rebuilt.journal, rebuilt.seq) == ("journal-1", before.record.seq)


def test_a_principal_finds_only_its_own_tasks_again():
    before = Gateway(_history(), Record())
    task = _busy(before)
    after = _history()
    rebuild(after, before.record.entries, Restored())
    other = Principal("other", "https://idp.example", AuthMethod.JWT)

    assert after.task(other, "session", 1000.0) != task
    assert after.select(other, "declared-1", 1000.0) != DECLARED


def test_a_call_that_was_open_counts_as_settled():
    """Nobody knows whether it went on: it may have."""
    before = Gateway(_history(), Record())
    before.open()
    before.begin(DECLARED, "a")
    abandoned = before.begin(DECLARED, "b")
    before.record.append("abandoned", {"id": abandoned})
    after = _history()
    rebuild(after, before.record.entries, Restored())

    known = after.facts(DECLARED, 1000.0)

    assert (known.calls, known.in_flight, known.audiences) == (2, 0, {"a", "b"})
    assert known.labels is not None
    assert known.labels.untrusted


def test_a_task_that_was_ended_stays_so():
    before = Gateway(_history(), Record())
    before.open()
    before.record.append("task", before.history.end(DECLARED, "cancelled"))
    after = _history()
    rebuild(after, before.record.entries, Restored())

    assert getattr(after.select(AGENT, "declared-1", 1000.0), "code", None) == "task/ended"


def test_entries_that_say_nothing_of_tasks_are_left_out():
    entries: list[JsonObject] = [
        {"seq": 1, "kind": "start"},
        {"seq": 2, "kind": "call", "id": "c", "effect": "allow"},
        {"seq": 3, "kind": "settled", "id": "c"},
        {"seq": 4, "kind": "observed", "task": "gone", "event": "observed", "call": "c", "sensitivity": "public"},
        {"seq": 5, "kind": "task", "task": "gone", "event": "ended", "how": "completed"},
    ]

    assert rebuild(_history(), entries, Restored()).events == 0


@pytest.mark.parametrize(
    "damage",
    [
        {"history": {"event": "reserved"}},
        {"history": {"event": "settled", "call": "c"}},
        {"history": 5},
        {"task": None},
        {"principal": {}},
        {"effect": None, "history": {"event": "reserved", "key": "zz"}},
    ],
)
def test_a_damaged_entry_is_an_error_that_says_which(damage: dict[str, Any]):
    before = Gateway(_history(), Record())
    before.begin(before.history.task(AGENT, None, 1000.0))
    entries = [before.record.entries[0], {**before.record.entries[1], **damage}]

    with pytest.raises(HistoryError, match=r"entry 2 of the journal") as caught:
        rebuild(_history(), entries, Restored())
    assert "verify" in caught.value.remedy


def test_tasks_whose_time_is_over_are_not_kept():
    before = Gateway(_history(), Record())
    for number in range(50):
        task = before.history.task(AGENT, str(number), number * 1000.0)
        before.settle(task, before.begin(task, at=number * 1000.0))
    after = _history()

    rebuild(after, before.record.entries, Restored())

    assert len(after) == 1


# --- snapshots -------------------------------------------------------------------------------------


async def test_after_a_snapshot_only_the_later_entries_are_folded(tmp_path: Path):
    store = Store(tmp_path, KEY)
    before = Gateway(_history(), Record())
    before.history.attach(store)
    task = _busy(before)
    await snapshot(before.history, store, before.record.position)
    seq = before.record.seq
    before.call(task, "y")
    before.call(DECLARED, "z", CallContent({9: "d"}))

    after = _history()
    restored = restore(after, store)
    rebuilt = rebuild(after, before.record.after(restored.seq), restored)

    assert (restored.journal, restored.seq, restored.problem) == ("journal-1", seq, None)
    assert rebuilt.events == 4
    assert after.task(AGENT, "session", 1000.0) == task
    assert _all(after, task) == _all(before.history, task)


async def test_entries_that_a_snapshot_knows_change_nothing(tmp_path: Path):
    store = Store(tmp_path, KEY)
    before = Gateway(_history(), Record())
    before.history.attach(store)
    task = _busy(before)
    await snapshot(before.history, store, before.record.position)

    after = _history()
    rebuilt = rebuild(after, before.record.entries, restore(after, store))

    assert rebuilt.events == 0
    assert _all(after, task) == _all(before.history, task)


async def test_a_call_that_is_open_in_the_snapshot_ends_with_the_later_entries(tmp_path: Path):
    store = Store(tmp_path, KEY)
    before = Gateway(_history(), Record())
    before.history.attach(store)
    before.open()
    recorded = before.begin(DECLARED, "a")
    unrecorded = before.begin(DECLARED, "b", recorded=False)
    await snapshot(before.history, store, before.record.position)
    before.show(DECLARED, recorded, ResultContent(tokens=frozenset({1})))
    before.settle(DECLARED, recorded)

    after = _history()
    restored = restore(after, store)
    rebuild(after, before.record.after(restored.seq), restored)

    known = after.facts(DECLARED, 1000.0)
    assert (known.calls, known.in_flight, known.audiences) == (2, 0, {"a", "b"})
    kept = after.kept("declared-1")
    assert kept is not None
    assert kept.state is not None
    assert kept.state.tokens == {1: 1}
    with pytest.raises(ValueError, match="no open call"):
        after.settle(DECLARED, unrecorded)


async def test_what_a_snapshot_knows_before_the_journal_does_is_not_counted_twice(tmp_path: Path):
    """Events are folded before they are journalled, so a snapshot can be between the two."""
    store = Store(tmp_path, KEY)
    before = Gateway(_history(), Record())
    before.history.attach(store)
    before.open()
    call = before.begin(DECLARED, "a", CallContent({1: "d"}))
    before.history.settle(DECLARED, call)
    other = before.begin(DECLARED, "b", recorded=False)
    await snapshot(before.history, store, before.record.position)
    before.record.append("settled", {"id": call})
    state = before.history.kept("declared-1")
    assert state is not None
    assert state.state is not None
    fields = {"event": "reserved", "call": other, "number": 2, "at": 1000.0, "audience": "b", "sensitivity": "public"}
    entry: dict[str, Json] = {"id": other, "effect": "allow", "history": {**fields, "write": True, "destinations": ""}}
    before.record.append("call", {**entry, "task": {"id": "declared-1"}, "principal": {"key": AGENT.key}})
    before.settle(DECLARED, other)

    after = _history()
    restored = restore(after, store)
    rebuild(after, before.record.after(restored.seq), restored)

    assert after.facts(DECLARED, 1000.0) == before.history.facts(DECLARED, 1000.0)


async def test_a_task_that_was_over_before_the_snapshot_does_not_come_back_in_the_place_of_its_successor(
    tmp_path: Path,
):
    """Entries before a snapshot are read again as far as they are in the same segment."""
    store = Store(tmp_path, KEY)
    before = Gateway(_history(idle=10), Record())
    before.history.attach(store)
    old = before.history.task(AGENT, "session", 0.0)
    before.settle(old, before.begin(old, "a", at=0.0))
    kept = before.history.kept(old.id)
    assert kept is not None
    kept.used = 0.0
    before.open(replace(DECLARED, id="over", opened=0.0, expires=1.0))
    new = before.history.task(AGENT, "session", 10_000.0)
    before.settle(new, before.begin(new, "b", at=10_000.0))
    await snapshot(before.history, store, before.record.position)

    after = _history(idle=10)
    rebuild(after, before.record.entries, restore(after, store))

    assert new.id != old.id
    assert after.kept(old.id) is None
    assert after.kept("over") is None
    assert after.task(AGENT, "session", 10_001.0) == new


async def test_another_journal_is_read_whole_and_the_old_facts_stay(tmp_path: Path):
    store = Store(tmp_path, KEY)
    first = Gateway(_history(), Record("journal-1"))
    first.history.attach(store)
    first.open()
    for _ in range(5):
        first.call(DECLARED, "a")
    await snapshot(first.history, store, first.record.position)
    second = Gateway(_history(), Record("journal-2"))
    second.history.attach(Store(tmp_path / "other", KEY))
    second.open()
    second.call(DECLARED, "b")

    after = _history()
    rebuild(after, second.record.entries, restore(after, store))

    assert after.facts(DECLARED, 1000.0).audiences == {"a", "b"}


async def test_an_edited_snapshot_is_refused_and_the_journal_read_instead(tmp_path: Path):
    store = Store(tmp_path, KEY)
    before = Gateway(_history(), Record())
    before.history.attach(store)
    task = _busy(before)
    await snapshot(before.history, store, before.record.position)
    with closing(sqlite3.connect(store.path)) as database, database:
        database.execute("delete from tasks where id = ?", (task.id,))

    after = _history()
    restored = restore(after, store)
    rebuild(after, before.record.after(restored.seq), restored)

    assert restored.seq == 0
    assert restored.problem is not None
    assert "were edited" in restored.problem.message
    assert _all(after, task) == _all(before.history, task)
    assert store.load() is None


async def test_a_row_that_this_version_cannot_read_is_refused_and_the_journal_read_instead(tmp_path: Path):
    store = Store(tmp_path, KEY)
    store.save(Checkpoint("journal-1", 5, (Row("t", 5, b"of another version", b""),), ()))

    restored = restore(_history(), store)

    assert restored.problem is not None
    assert "cannot be read" in restored.problem.message


async def test_a_state_that_this_version_cannot_read_is_an_error_and_not_a_fresh_start(tmp_path: Path):
    store = Store(tmp_path, KEY)
    made = row(Kept(Task("t", "implicit", 0), b"k", AGENT.key, 1000.0), TaskState(), str)
    store.save(Checkpoint("journal-1", 5, (replace(made, state=b"of another version"),), ()))
    history = _history()
    restore(history, store)

    with pytest.raises(HistoryError, match="cannot be read"):
        history.facts(Task("t", "implicit", 0), 1000.0)


async def test_a_task_that_is_gone_when_a_snapshot_fails_stays_gone(tmp_path: Path):
    (tmp_path / "file").touch()
    gateway = Gateway(_history(), Record())
    gateway.history.attach(Store(tmp_path, KEY))
    gateway.call(gateway.history.task(AGENT, "s", 1000.0))
    writing = asyncio.create_task(
        snapshot(gateway.history, Store(tmp_path / "file" / "x", KEY), gateway.record.position)
    )
    await asyncio.sleep(0)
    gateway.history.forget(10**9)

    with pytest.raises(HistoryError, match="cannot be written"):
        await writing
    assert len(gateway.history) == 0


async def test_a_snapshot_that_cannot_be_written_is_made_up_for_by_the_next(tmp_path: Path):
    (tmp_path / "file").touch()
    before = Gateway(_history(), Record())
    before.history.attach(Store(tmp_path, KEY))
    task = _busy(before)
    with pytest.raises(HistoryError, match="cannot be written"):
        await snapshot(before.history, Store(tmp_path / "file" / "x", KEY), before.record.position)

    await snapshot(before.history, Store(tmp_path, KEY), before.record.position)

    after = _history()
    restore(after, Store(tmp_path, KEY))
    assert _all(after, task) == _all(before.history, task)


async def test_calls_go_on_while_a_snapshot_is_written(tmp_path: Path):
    store = Store(tmp_path, KEY)
    gateway = Gateway(_history(), Record())
    gateway.history.attach(store)
    tasks = [gateway.history.task(AGENT, str(number), 1000.0) for number in range(300)]
    for task in tasks:
        gateway.call(task, "a")
    writing = asyncio.create_task(snapshot(gateway.history, store, gateway.record.position))
    for task in tasks * 3:
        gateway.call(task, "b")
        await asyncio.sleep(0)
    await writing

    after = _history()
    restored = restore(after, store)
    rebuild(after, gateway.record.after(restored.seq), restored)

    assert {task.id: after.facts(task, 1000.0) for task in tasks} == {
        task.id: gateway.history.facts(task, 1000.0) for task in tasks
    }


async def test_an_unused_task_leaves_memory_and_comes_back_with_its_facts(tmp_path: Path):
    store = Store(tmp_path, KEY)
    gateway = Gateway(_history(idle=10**9), Record())
    gateway.history.attach(store)
    task = _busy(gateway)
    known = _all(gateway.history, task)
    assert gateway.history.shed(1000.0 + RESIDENT + 1) == 0
    await snapshot(gateway.history, store, gateway.record.position)
    assert gateway.history.shed(1000.0 + RESIDENT) == 0

    left = gateway.history.shed(1000.0 + RESIDENT + 1)

    states = [gateway.history.kept(name) for name in ("declared-1", task.id)]
    assert left == 2
    assert all(kept is not None and kept.state is None for kept in states)
    assert gateway.history.task(AGENT, "session", 10**6) == task
    assert _all(gateway.history, task) == known
    gateway.call(DECLARED, "q")
    assert "q" in gateway.history.facts(DECLARED, 1000.0).audiences


async def test_memory_is_given_back_early_when_there_is_much_of_it(tmp_path: Path):
    store = Store(tmp_path, KEY)
    gateway = Gateway(_history(), Record())
    gateway.history.attach(store)
    tasks = [gateway.history.task(AGENT, str(number), 1000.0 + number) for number in range(4)]
    for task in tasks:
        gateway.call(task, "a", None, ResultContent(tokens=frozenset(range(1000))))
    busy = gateway.begin(tasks[0])
    await snapshot(gateway.history, store, gateway.record.position)
    gateway.call(tasks[1])

    left = gateway.history.shed(1010.0, max_weight=2500)

    kept = [gateway.history.kept(task.id) for task in tasks]
    assert left == 2
    assert [each is not None and each.state is not None for each in kept] == [True, True, False, False]
    gateway.settle(tasks[0], busy)


async def test_a_state_that_is_damaged_on_disk_is_an_error_and_not_a_fresh_start(tmp_path: Path):
    store = Store(tmp_path, KEY)
    gateway = Gateway(_history(), Record())
    gateway.history.attach(store)
    task = _busy(gateway)
    await snapshot(gateway.history, store, gateway.record.position)
    gateway.history.shed(10**6)
    with closing(sqlite3.connect(store.path)) as database, database:
        database.execute("update tasks set state = x'00'")

    with pytest.raises(HistoryError, match="were edited"):
        gateway.history.facts(task, 1000.0)
    with pytest.raises(HistoryError, match="were edited"):
        gateway.begin(DECLARED)


async def test_a_task_whose_time_is_over_leaves_the_store(tmp_path: Path):
    store = Store(tmp_path, KEY)
    gateway = Gateway(_history(), Record())
    gateway.history.attach(store)
    gateway.call(gateway.history.task(AGENT, "s", 1000.0))
    await snapshot(gateway.history, store, gateway.record.position)
    gateway.history.forget(10**6)

    await snapshot(gateway.history, store, gateway.record.position)

    stored = store.load()
    assert stored is not None
    assert stored.tasks == ()


async def test_a_snapshot_holds_no_goal_that_must_not_be_written_down(tmp_path: Path):
    store = Store(tmp_path, KEY)
    history = History(HistorySettings(), clock=lambda: 0.0, conceal=lambda goal: "…")
    history.attach(store)
    history.open(AGENT, DECLARED, ResultContent())
    await snapshot(history, store, lambda: ("j", 1))

    assert b"mend it" not in store.path.read_bytes()


# --- the real journal ------------------------------------------------------------------------------

_KILLED = """
import asyncio, os, signal, sys, time
from pathlib import Path
from gateway.config import JournalSettings
from gateway.journal.writer import Journal
from tests.unit.history.test_durable import DECLARED, Gateway, Record, _busy, _history
from gateway.model import CallContent

class Written(Record):
    def append(self, kind, fields):
        if kind != "segment":
            self.pending.append((kind, fields))

async def main(folder):
    journal = Journal.open(JournalSettings(path=folder, fsync="never"), key=b"k" * 32, clock=time.time)
    record = Written.__new__(Written)
    record.name, record.pending, record.entries = "live", [], []
    gateway = Gateway(_history(), record)
    _busy(gateway)
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
        timeout=60,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    expected = Gateway(_history(), Record())
    first = _busy(expected)
    expected.settle(DECLARED, expected.begin(DECLARED, "open", CallContent({99: "d"})))

    journal = Journal.open(JournalSettings(path=folder), key=KEY, clock=time.time)
    after = _history()
    try:
        rebuilt = rebuild(after, reader.entries(folder), Restored())
        assert journal.unsettled() == ("live-c5",)
        assert rebuilt.seq == journal.status().entries
    finally:
        await journal.close()

    task = after.task(AGENT, "session", 1000.0)
    assert _all(after, task) == _all(expected.history, first)


def _long(length: int) -> Iterator[JsonObject]:
    """A journal of so many events in ten tasks, with results of a few hundred words."""
    gateway = Gateway(_history(), Record())
    words = itertools.count(2**62, 200)
    tasks = [gateway.history.task(AGENT, str(number), 1000.0) for number in range(10)]
    for number in range(length // 3):
        first = next(words)
        content = CallContent({number % 50: "d"}, tokens=frozenset({first}))
        gateway.call(
            tasks[number % 10], f"a{number % 3}", content, ResultContent(tokens=frozenset(range(first, first + 200)))
        )
    return iter(gateway.record.entries)


async def test_100_000_events_are_folded_again_in_seconds_and_with_a_snapshot_in_less_than_one(tmp_path: Path):
    lines = [msgspec.json.encode(entry) for entry in _long(100_000)]
    store = Store(tmp_path, KEY)
    history = _history()

    begun = time.perf_counter()
    restored = restore(history, store)
    rebuilt = rebuild(history, map(msgspec.json.decode, lines), restored)
    whole = time.perf_counter() - begun
    await snapshot(history, store, lambda: ("journal-1", rebuilt.seq))
    begun = time.perf_counter()
    again = _history()
    restored = restore(again, store)
    rebuild(again, map(msgspec.json.decode, [lines[0], *lines[-1000:]]), restored)
    late = time.perf_counter() - begun

    FIGURES.info("100,000 events again: %.2f s whole, %.3f s after a snapshot", whole, late)
    assert rebuilt.events >= 66_666
    assert late < 1
    assert whole < 10
