"""What is written of a history from time to time, so that a start need not read the whole journal."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gateway.config import HistorySettings
from gateway.history import History, Store, build_history, lost_end, rebuild, restore, rewind, snapshot, states
from gateway.history.state import TaskState
from gateway.history.states import RESIDENT, encode_row
from gateway.history.store import Checkpoint, Row
from gateway.history.task_history import TaskHistory
from gateway.model.content import CallContent, ResultContent
from gateway.model.errors import HistoryError
from gateway.model.facts import SessionFacts
from gateway.model.task import Task
from tests.unit.history.recording import (
    AGENT,
    CALLER,
    DECLARED,
    KEY,
    Gateway,
    Record,
    all_facts,
    another,
    busy,
    new_history,
    stream,
)

if TYPE_CHECKING:
    from gateway.model.wire import Json


async def test_after_a_snapshot_only_the_later_entries_are_folded(store: Store, gateway: Gateway):
    task = busy(gateway)
    await snapshot(gateway.history, store, gateway.record.position)
    seq = gateway.record.seq
    gateway.call(task, "y")
    gateway.call(DECLARED, "z", CallContent({9: "d"}))

    after = new_history()
    restored = restore(after, store)
    rebuilt = rebuild(after, gateway.record.after(restored.seq), restored)

    assert (restored.journal, restored.seq, restored.problem) == ("journal-1", seq, None)
    assert rebuilt.events == 6
    assert after.tasks.open_implicit(AGENT, 1000.0) == task
    assert all_facts(after, task) == all_facts(gateway.history, task)


async def test_entries_that_a_snapshot_knows_change_nothing(store: Store, gateway: Gateway):
    task = busy(gateway)
    await snapshot(gateway.history, store, gateway.record.position)

    after = new_history()
    rebuilt = rebuild(after, gateway.record.entries, restore(after, store))

    assert rebuilt.events == 0
    assert all_facts(after, task) == all_facts(gateway.history, task)


async def test_a_call_that_is_open_in_the_snapshot_ends_with_the_later_entries(store: Store, gateway: Gateway):
    gateway.open()
    recorded = gateway.begin(DECLARED, "a")
    unrecorded = gateway.begin(DECLARED, "b", recorded=False)
    await snapshot(gateway.history, store, gateway.record.position)
    gateway.show(DECLARED, recorded, ResultContent(tokens=frozenset({1})))
    gateway.settle(DECLARED, recorded)

    after = new_history()
    restored = restore(after, store)
    rebuild(after, gateway.record.after(restored.seq), restored)

    known = after.ledger.facts(DECLARED, 1000.0)
    assert (known.calls, known.in_flight, known.audiences) == (2, 0, {"a", "b"})
    kept = after.tasks.find("declared-1")
    assert kept is not None
    assert kept.state is not None
    assert kept.state.tokens == {1: 1}
    with pytest.raises(ValueError, match="no open call"):
        after.ledger.settle(DECLARED, unrecorded)


async def test_what_a_snapshot_knows_before_the_journal_does_is_not_counted_twice(store: Store, gateway: Gateway):
    """Events are folded before they are journalled, so a snapshot can be between the two."""
    gateway.open()
    call = gateway.begin(DECLARED, "a", CallContent({1: "d"}))
    gateway.history.ledger.settle(DECLARED, call)
    other = gateway.begin(DECLARED, "b", recorded=False)
    await snapshot(gateway.history, store, gateway.record.position)
    gateway.record.append("settled", {"id": call})
    state = gateway.history.tasks.find("declared-1")
    assert state is not None
    assert state.state is not None
    fields = {"event": "reserved", "call": other, "number": 2, "at": 1000.0, "audience": "b", "sensitivity": "public"}
    entry: dict[str, Json] = {"id": other, "effect": "allow", "history": {**fields, "write": True, "destinations": ""}}
    gateway.record.append("call", {**entry, "task": {"id": "declared-1"}, "principal": CALLER})
    gateway.settle(DECLARED, other)

    after = new_history()
    restored = restore(after, store)
    rebuild(after, gateway.record.after(restored.seq), restored)

    assert after.ledger.facts(DECLARED, 1000.0) == gateway.history.ledger.facts(DECLARED, 1000.0)


async def test_a_task_that_was_over_before_the_snapshot_does_not_come_back_in_the_place_of_its_successor(store: Store):
    """Entries before a snapshot are read again as far as they are in the same segment."""
    before = Gateway(new_history(idle=10), Record())
    before.history.states.attach(store)
    old = before.history.tasks.open_implicit(AGENT, 0.0)
    before.settle(old, before.begin(old, "a", at=0.0))
    before.read(old, stream(), ResultContent(tokens=frozenset({1})), 0.0)
    kept = before.history.tasks.find(old.id)
    assert kept is not None
    kept.used = 0.0
    before.open(replace(DECLARED, id="over", opened=0.0, expires=1.0))
    new = before.history.tasks.open_implicit(AGENT, 10_000.0)
    before.settle(new, before.begin(new, "b", at=10_000.0))
    await snapshot(before.history, store, before.record.position)

    after = new_history(idle=10)
    rebuild(after, before.record.entries, restore(after, store))

    assert new.id != old.id
    assert after.tasks.find(old.id) is None
    assert after.tasks.find("over") is None
    assert after.tasks.open_implicit(AGENT, 10_001.0) == new


async def test_another_journal_is_read_whole_and_the_old_facts_stay(tmp_path: Path):
    store = Store(tmp_path, KEY)
    first = Gateway(new_history(), Record("journal-1"))
    first.history.states.attach(store)
    first.open()
    for _ in range(5):
        first.call(DECLARED, "a")
    await snapshot(first.history, store, first.record.position)
    second = Gateway(new_history(), Record("journal-2"))
    second.history.states.attach(Store(tmp_path / "other", KEY))
    second.open()
    second.call(DECLARED, "b")

    after = new_history()
    rebuild(after, second.record.entries, restore(after, store))

    assert after.ledger.facts(DECLARED, 1000.0).audiences == {"a", "b"}


async def test_the_tasks_of_another_journal_begin_at_its_beginning(store: Store):
    """Its numbers are lower than the last one that the snapshots know."""
    first = Gateway(new_history(), Record("journal-1"))
    first.history.states.attach(store)
    busy(first)
    await snapshot(first.history, store, first.record.position)
    second = Gateway(new_history(), Record("journal-2"))
    task = second.history.tasks.open_implicit(another("second"), 1000.0)
    second.call(task, "b")

    after = new_history()
    rebuild(after, second.record.entries, restore(after, store))

    assert after.tasks.open_implicit(another("second"), 1000.0) == task
    assert after.ledger.facts(task, 1000.0) == second.history.ledger.facts(task, 1000.0)


async def test_after_another_journal_was_begun_its_calls_count_though_no_snapshot_had_the_time_to_know(tmp_path: Path):
    store = Store(tmp_path, KEY)
    first = Gateway(new_history(), Record("journal-1"))
    first.history.states.attach(store)
    first.open()
    for _ in range(5):
        first.call(DECLARED, "a")
    await snapshot(first.history, store, first.record.position)
    second = Gateway(new_history(), Record("journal-2"))
    rebuild(second.history, second.record.entries, restore(second.history, store))
    await snapshot(second.history, store, second.record.position)
    second.call(DECLARED, "b")

    after = new_history()
    rebuild(after, second.record.entries, restore(after, store))

    assert facts_of(after) == facts_of(second.history)
    assert after.ledger.facts(DECLARED, 1000.0).audiences == {"a", "b"}


async def test_calls_after_a_journal_that_lost_its_end_are_not_taken_for_those_that_were_lost(store: Store):
    """The machine lost its power: the snapshot is on the disk, the last lines of the journal are not."""
    first = Gateway(new_history(), Record())
    first.history.states.attach(store)
    first.open()
    for _ in range(5):
        first.call(DECLARED, "a")
    await snapshot(first.history, store, first.record.position)
    second = Gateway(new_history(), Record())
    second.record.entries = first.record.entries[:4]
    restored = restore(second.history, store)
    rebuilt = rebuild(second.history, second.record.after(restored.seq), restored)
    lost = lost_end(second.history, restored, rebuilt, second.record.seq)
    assert lost == {"journal": "journal-1", "entries": 4, "known": first.record.seq}
    rewind(second.history, second.record.seq)
    await snapshot(second.history, store, second.record.position)
    second.call(DECLARED, "b")

    after = new_history()
    restored = restore(after, store)
    rebuilt = rebuild(after, second.record.after(restored.seq), restored)

    assert restored.seq == 4
    assert facts_of(after) == facts_of(second.history)
    assert after.ledger.facts(DECLARED, 1000.0).audiences == {"a", "b"}
    assert lost_end(after, restored, rebuilt, second.record.seq) is None


def facts_of(history: History) -> SessionFacts:
    return history.ledger.facts(DECLARED, 1000.0)


async def test_an_edited_snapshot_is_refused_and_the_journal_read_instead(store: Store, gateway: Gateway):
    task = busy(gateway)
    await snapshot(gateway.history, store, gateway.record.position)
    with closing(sqlite3.connect(store.path)) as database, database:
        database.execute("delete from tasks where id = ?", (task.id,))

    after = new_history()
    restored = restore(after, store)
    rebuild(after, gateway.record.after(restored.seq), restored)

    assert restored.seq == 0
    assert restored.problem is not None
    assert "were edited" in restored.problem.message
    assert all_facts(after, task) == all_facts(gateway.history, task)
    assert store.load() is None


async def test_of_the_snapshots_of_another_version_no_use_is_made(
    store: Store, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
):
    task = gateway.history.tasks.open_implicit(AGENT, 1000.0)
    gateway.call(task, "x")
    with monkeypatch.context() as older:
        older.setattr(states, "VERSION", states.VERSION - 1)
        await snapshot(gateway.history, store, gateway.record.position)

    after = new_history()
    restored = restore(after, store)
    rebuild(after, gateway.record.after(restored.seq), restored)

    assert restored.seq == 0
    assert restored.problem is not None
    assert f"version {states.VERSION - 1}, and this gateway reads version {states.VERSION}" in restored.problem.message
    assert after.ledger.facts(task, 1000.0) == gateway.history.ledger.facts(task, 1000.0)


async def test_a_row_that_this_version_cannot_read_is_refused_and_the_journal_read_instead(store: Store):
    store.save(Checkpoint("journal-1", 5, (Row("t", 5, b"of another version", b""),), ()))

    restored = restore(new_history(), store)

    assert restored.problem is not None
    assert "cannot be read" in restored.problem.message
    assert store.load() is None


async def test_so_is_a_damaged_state_with_a_credential_of_which_other_tasks_must_know(store: Store, gateway: Gateway):
    """Other tasks of its caller are asked about it, so that it does not wait until its own is used."""
    task = busy(gateway)
    await snapshot(gateway.history, store, gateway.record.position)
    with closing(sqlite3.connect(store.path)) as database, database:
        database.execute("update tasks set state = x'00'")

    after = new_history()
    restored = restore(after, store)
    rebuild(after, gateway.record.after(restored.seq), restored)

    assert restored.seq == 0
    assert restored.problem is not None
    assert "were edited" in restored.problem.message
    assert all_facts(after, task) == all_facts(gateway.history, task)


async def test_a_state_that_this_version_cannot_read_is_an_error_and_not_a_fresh_start(store: Store):
    made = encode_row(TaskHistory(Task("t", "implicit", 0), AGENT.key, (), 1000.0), TaskState(), str)
    store.save(Checkpoint("journal-1", 5, (replace(made, state=b"of another version"),), ()))
    history = new_history()
    restore(history, store)

    with pytest.raises(HistoryError, match="cannot be read"):
        history.ledger.facts(Task("t", "implicit", 0), 1000.0)


async def test_a_snapshot_that_cannot_be_written_is_made_up_for_by_the_next(tmp_path: Path):
    (tmp_path / "file").touch()
    before = Gateway(new_history(), Record())
    before.history.states.attach(Store(tmp_path, KEY))
    task = busy(before)
    with pytest.raises(HistoryError, match="cannot be used"):
        await snapshot(before.history, Store(tmp_path / "file" / "x", KEY), before.record.position)

    await snapshot(before.history, Store(tmp_path, KEY), before.record.position)

    after = new_history()
    restore(after, Store(tmp_path, KEY))
    assert all_facts(after, task) == all_facts(before.history, task)


async def test_calls_go_on_while_a_snapshot_is_written(store: Store, gateway: Gateway):
    tasks = [gateway.history.tasks.open_implicit(another(number), 1000.0) for number in range(300)]
    for task in tasks:
        gateway.call(task, "a")
    writing = asyncio.create_task(snapshot(gateway.history, store, gateway.record.position))
    for task in tasks * 3:
        gateway.call(task, "b")
        await asyncio.sleep(0)
    await writing

    after = new_history()
    restored = restore(after, store)
    rebuild(after, gateway.record.after(restored.seq), restored)

    assert {task.id: after.ledger.facts(task, 1000.0) for task in tasks} == {
        task.id: gateway.history.ledger.facts(task, 1000.0) for task in tasks
    }


async def test_an_unused_task_leaves_memory_and_comes_back_with_its_facts(store: Store):
    gateway = Gateway(new_history(idle=10**9), Record())
    gateway.history.states.attach(store)
    task = busy(gateway)
    known = all_facts(gateway.history, task)
    assert gateway.history.states.shed(1000.0 + RESIDENT + 1) == 0
    await snapshot(gateway.history, store, gateway.record.position)
    assert gateway.history.states.shed(1000.0 + RESIDENT) == 0

    left = gateway.history.states.shed(1000.0 + RESIDENT + 1)

    states = [gateway.history.tasks.find(name) for name in ("declared-1", task.id)]
    assert left == 2
    assert all(kept is not None and kept.state is None for kept in states)
    assert gateway.history.tasks.open_implicit(AGENT, 10**6) == task
    assert all_facts(gateway.history, task) == known
    gateway.call(DECLARED, "q")
    assert "q" in gateway.history.ledger.facts(DECLARED, 1000.0).audiences


async def test_memory_is_given_back_early_when_there_is_much_of_it(store: Store, gateway: Gateway):
    tasks = [gateway.history.tasks.open_implicit(another(number), 1000.0 + number) for number in range(4)]
    for task in tasks:
        gateway.call(task, "a", None, ResultContent(tokens=frozenset(range(1000))))
    held = gateway.begin(tasks[0])
    await snapshot(gateway.history, store, gateway.record.position)
    gateway.call(tasks[1])

    left = gateway.history.states.shed(1010.0, max_weight=2500)

    kept = [gateway.history.tasks.find(task.id) for task in tasks]
    assert left == 2
    assert [each is not None and each.state is not None for each in kept] == [True, True, False, False]
    gateway.settle(tasks[0], held)


async def test_a_state_that_is_damaged_on_disk_is_an_error_and_not_a_fresh_start(store: Store, gateway: Gateway):
    task = busy(gateway)
    await snapshot(gateway.history, store, gateway.record.position)
    gateway.history.states.shed(10**6)
    with closing(sqlite3.connect(store.path)) as database, database:
        database.execute("update tasks set state = x'00'")

    with pytest.raises(HistoryError, match="were edited"):
        gateway.history.ledger.facts(task, 1000.0)
    with pytest.raises(HistoryError, match="were edited"):
        gateway.begin(DECLARED)


async def test_a_snapshot_holds_no_goal_that_must_not_be_written_down(store: Store):
    history = build_history(HistorySettings(), clock=lambda: 0.0, conceal=lambda _goal, _kept: "…")
    history.states.attach(store)
    history.tasks.open(AGENT, DECLARED, ResultContent())
    await snapshot(history, store, lambda: ("j", 1))

    assert b"mend it" not in store.path.read_bytes()


# --- a store that somebody takes away while the gateway runs -----------------------------------------


def _taken(store: Store, old: bytes | None) -> None:
    """Removed, or put back as it was."""
    for path in store.path.parent.glob("tasks.db*"):
        path.unlink()
    if old is not None:
        store.path.write_bytes(old)


def _as_it_is(store: Store) -> bytes:
    with closing(sqlite3.connect(store.path)) as database:
        database.execute("pragma wal_checkpoint(truncate)")
    return store.path.read_bytes()


@pytest.mark.parametrize("removed", [True, False])
async def test_what_is_written_after_the_snapshots_were_taken_away_has_all_tasks(
    store: Store, gateway: Gateway, *, removed: bool
):
    """Changes alone would say that the journal need not be read for the others."""
    await snapshot(gateway.history, store, gateway.record.position)
    old = None if removed else _as_it_is(store)
    task = busy(gateway)
    await snapshot(gateway.history, store, gateway.record.position)
    _taken(store, old)
    other = gateway.history.tasks.open_implicit(another("other"), 1000.0)
    gateway.call(other, "w")

    replaced = await snapshot(gateway.history, store, gateway.record.position)
    again = await snapshot(gateway.history, store, gateway.record.position)

    assert replaced is not None
    assert "removed or replaced" in replaced.message
    assert again is None
    after = new_history()
    restored = restore(after, store)
    rebuild(after, gateway.record.after(restored.seq), restored)
    assert restored.seq == gateway.record.seq
    assert all_facts(after, task) == all_facts(gateway.history, task)
    assert after.tasks.open_implicit(another("other"), 1000.0) == other


async def test_for_a_state_that_only_the_taken_snapshots_had_the_journal_is_read_again(store: Store, gateway: Gateway):
    task = busy(gateway)
    before = all_facts(gateway.history, task)
    await snapshot(gateway.history, store, gateway.record.position)
    assert gateway.history.states.shed(1000.0 + RESIDENT + 1) == 2
    _taken(store, None)
    other = gateway.history.tasks.open_implicit(another("other"), 1000.0)
    gateway.call(other, "w")

    assert await snapshot(gateway.history, store, gateway.record.position) is not None

    with pytest.raises(HistoryError, match="is not as it was written"):
        gateway.history.ledger.facts(task, 1000.0)
    after = new_history()
    restored = restore(after, store)
    rebuild(after, gateway.record.after(restored.seq), restored)
    assert restored.seq == 0
    assert all_facts(after, task) == before
    assert after.tasks.open_implicit(another("other"), 1000.0) == other
    assert after.ledger.facts(other, 1000.0).calls == 1
