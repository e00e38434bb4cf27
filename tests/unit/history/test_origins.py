"""Who is told which credentials systems have shown to whose tasks."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gateway.base.keys.key_ring import KeyRing
from gateway.config import HistorySettings
from gateway.history import History, Restored, Store, build_history, rebuild, restore, snapshot
from gateway.history.state import MAX_CREDENTIALS, MAX_MARKED
from gateway.model.call import Call
from gateway.model.caller import AuthMethod, Principal
from gateway.model.content import ResultContent, Sighting
from gateway.model.errors import HistoryError
from gateway.model.shingles import IN_WINDOW, name_of
from gateway.model.target import Effect, Labels, Target
from gateway.model.task import Task
from gateway.model.wire import JsonObject

ADA = Principal("agent", "https://idp.example", AuthMethod.JWT, token_id="t")
DECLARED = Task("declared-1", "declared", 1000.0, 5000.0, "mend it")
READ = Call("tools/call", Target("tool", "crm", "read", "crm-audience", labels=Labels(effect=Effect.READ)), {})


@dataclass
class Told:
    """What was told, task by task."""

    notes: dict[str, set[tuple[str, str, frozenset[int]]]] = field(
        default_factory=dict[str, set[tuple[str, str, frozenset[int]]]]
    )
    lost: set[str] = field(default_factory=set[str])
    owners: set[str] = field(default_factory=set[str])

    def note(self, owner: str, task: str, audience: str, fingerprint: str, shingles: frozenset[int]) -> None:
        self.owners.add(owner)
        self.notes.setdefault(task, set()).add((fingerprint, audience, shingles))

    def note_lost(self, owner: str, task: str, audience: str) -> None:
        assert audience == "crm-audience"
        self.owners.add(owner)
        self.lost.add(task)

    def drop(self, owner: str, task: str) -> None:
        assert owner == ADA.job
        self.notes.pop(task, None)
        self.lost.discard(task)


def history(told: Told | None = None, now: float = 1000.0) -> History:
    return build_history(HistorySettings(), clock=lambda: now, new_id=lambda: "task-1", origins=told)


def sighting(name: str, *shingles: int, ordinary: bool = False) -> Sighting:
    return Sighting(name, "jwt", shingles=frozenset(shingles), ordinary=ordinary)


def read(kept: History, task: Task, *sightings: Sighting, complete: bool = True) -> list[tuple[str, JsonObject]]:
    """A call and its result, as the journal has them."""
    counted = kept.ledger.reserve(task, "c-1", READ, None, 1000.0)
    seen = kept.ledger.observe(task, "c-1", ResultContent(sightings, complete=complete))
    kept.ledger.settle(task, "c-1")
    principal: JsonObject = {"key": ADA.key, "id": ADA.id, "issuer": ADA.issuer}
    call: JsonObject = {
        "id": "c-1", "task": {"id": task.id}, "principal": principal, "effect": "allow", "history": counted.fields,
    }  # fmt: skip
    return [("call", call), ("observed", seen or {}), ("settled", {"id": "c-1"})]


def test_what_a_result_shows_is_told_with_its_system_and_its_owner():
    told = Told()
    kept = history(told)
    task = kept.tasks.open_implicit(ADA, 1000.0)
    read(kept, task, sighting("f1", 1, 2), sighting("f2"))

    assert told.notes == {task.id: {("f1", "crm-audience", frozenset({1, 2})), ("f2", "crm-audience", frozenset())}}
    assert told.owners == {ADA.job}
    assert told.lost == set()


def test_what_ordinary_text_has_too_and_what_the_user_gave_is_not_told():
    told = Told()
    kept = history(told)
    kept.tasks.open(ADA, DECLARED, ResultContent((sighting("given", 1),)))
    read(kept, DECLARED, sighting("given", 1), sighting("word", 2, ordinary=True))
    assert told == Told()


def test_nobody_has_to_listen():
    kept = history()
    read(kept, kept.tasks.open_implicit(ADA, 1000.0), sighting("f1", 1))
    kept.tasks.forget(10**9)
    assert len(kept.tasks) == 0


def test_what_cannot_be_kept_or_told_apart_is_told_as_lost():
    told = Told()
    kept = history(told)
    task = kept.tasks.open_implicit(ADA, 1000.0)
    read(kept, task, *(sighting(f"f{number}") for number in range(MAX_CREDENTIALS + 1)))
    assert told.lost == {task.id}
    assert len(told.notes[task.id]) == MAX_CREDENTIALS


def test_of_credentials_for_which_there_is_no_room_the_mark_is_told():
    told = Told()
    kept = history(told)
    task = kept.tasks.open_implicit(ADA, 1000.0)
    marks = [number << 16 | IN_WINDOW for number in range(1, MAX_CREDENTIALS + MAX_MARKED + 1)]
    read(kept, task, *(sighting(f"f{mark}", 65_536, mark) for mark in marks))
    assert told.lost == set()
    names = {name for name, _, _ in told.notes[task.id]}
    whole, rest = marks[:MAX_CREDENTIALS], marks[MAX_CREDENTIALS:]
    assert names == {*(f"f{mark}" for mark in whole), *map(name_of, rest)}
    assert set(kept.ledger.seen(task)) == names

    read(kept, task, sighting("again", 65_536, rest[0]))
    assert told.lost == set()
    read(kept, task, sighting("more", 65_536, IN_WINDOW))
    assert told.lost == {task.id}


def test_ordinary_words_beyond_those_that_are_kept_are_not_told():
    told = Told()
    kept = history(told)
    task = kept.tasks.open_implicit(ADA, 1000.0)
    marks = [number << 16 | IN_WINDOW for number in range(1, MAX_CREDENTIALS + 3)]
    read(kept, task, *(sighting(f"f{mark}", mark, ordinary=True) for mark in marks))
    assert told == Told()
    assert len(kept.ledger.seen(task)) == len(marks)


def test_what_is_lost_is_told_with_its_system():
    told = Told()
    kept = history(told)
    read(kept, kept.tasks.open_implicit(ADA, 1000.0), complete=False)
    assert told == Told(lost={"task-1"}, owners={ADA.job})


def test_a_task_that_is_over_is_told_as_such_when_it_is_forgotten_and_not_before():
    told = Told()
    kept = history(told)
    kept.tasks.open(ADA, DECLARED, ResultContent())
    read(kept, DECLARED, sighting("f1", 1))
    kept.tasks.end(DECLARED, "completed")
    kept.tasks.forget(5001.0)
    assert told.notes.keys() == {DECLARED.id}
    kept.tasks.forget(10**9)
    assert told.notes == {}


async def _stored(folder: Path, *sightings: Sighting, complete: bool = True) -> Store:
    """A store of a gateway whose task saw these."""
    store = Store(folder, KeyRing(b"k" * 32))
    kept = history()
    restore(kept, store)
    read(kept, kept.tasks.open_implicit(ADA, 1000.0), *sightings, complete=complete)
    await snapshot(kept, store, lambda: ("journal-1", 3))
    return store


@pytest.mark.parametrize("complete", [True, False])
async def test_a_restart_tells_all_of_it_again_from_the_snapshots(tmp_path: Path, *, complete: bool):
    store = await _stored(tmp_path, sighting("f1", 1), sighting("word", 2, ordinary=True), complete=complete)
    told = Told()
    assert restore(history(told), store).problem is None
    assert told.notes == {"task-1": {("f1", "crm-audience", frozenset({1}))}}
    assert told.lost == (set() if complete else {"task-1"})


async def test_a_state_that_holds_none_is_not_read_at_a_restart(tmp_path: Path):
    store = await _stored(tmp_path)
    kept = history(Told())
    restore(kept, store)
    assert [task.state for task in kept.tasks.all()] == [None]


async def test_a_state_that_leaves_memory_leaves_what_was_told(tmp_path: Path):
    store = await _stored(tmp_path, sighting("f1", 1))
    told = Told()
    kept = history(told)
    restore(kept, store)
    assert kept.states.shed(10**6) == 1
    assert told.notes.keys() == {"task-1"}


def test_a_restart_tells_all_of_it_again_from_the_journal():
    written = history()
    entries = read(
        written, written.tasks.open_implicit(ADA, 1000.0), sighting("f1", 1), sighting("word", 2, ordinary=True)
    )
    told = Told()
    kept = history(told)
    numbered: list[JsonObject] = [
        {"seq": number, "kind": kind, **entry} for number, (kind, entry) in enumerate(entries, 1)
    ]
    rebuild(kept, numbered, Restored())
    assert told.notes == {"task-1": {("f1", "crm-audience", frozenset({1}))}}


async def test_a_state_that_was_edited_is_a_problem_at_the_start(tmp_path: Path):
    """Were it read only when it is needed, nobody would look for what it holds until then."""
    store = await _stored(tmp_path, sighting("f1", 1))
    with closing(sqlite3.connect(store.path)) as database, database:
        database.execute("update tasks set state = x'00'")
    kept = history(Told())
    assert isinstance(restore(kept, store).problem, HistoryError)
    assert len(kept.tasks) == 0
