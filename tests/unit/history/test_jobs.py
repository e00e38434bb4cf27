"""The tasks of one subject are one job: what one has read marks the others while the job is warm."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from gateway.base.keys.key_ring import KeyRing
from gateway.history import History, Restored, Store, jobs, rebuild, restore, snapshot
from gateway.model.call import Call, Source
from gateway.model.caller import Actor, AuthMethod, Principal, User
from gateway.model.content import CallContent, ResultContent
from gateway.model.facts import TaskLabels
from gateway.model.target import Effect, Labels, Sensitivity, Target
from tests.unit.history.recording import Record, new_history

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.history import Reservation
    from gateway.model.task import Task
    from gateway.model.wire import Json

ISSUER = "https://idp.example"
READER = Principal("reader", ISSUER, AuthMethod.JWT, user=User("ann"))
ACTOR = Principal("actor", ISSUER, AuthMethod.JWT, user=User("ann"))
DELEGATE = Principal("sub-agent", ISSUER, AuthMethod.JWT, user=User("ann"), delegation=(Actor("sub-agent", ISSUER),))
ANN = Principal("ann", ISSUER, AuthMethod.JWT, bound=True, logged_in=900.0)
STRANGERS = (
    replace(ACTOR, user=User("bob")),
    replace(ACTOR, issuer="https://other.example"),
    replace(ACTOR, user=None),
)
WARM = 4 * 3600.0
MINUTE = 60.0
"""A mark is renewed once a minute at most, and lasts so much longer."""
CLEAN = TaskLabels(untrusted=False, confidentiality=Sensitivity.PUBLIC)
UNTRUSTED = TaskLabels(untrusted=True, confidentiality=Sensitivity.PUBLIC)


class Run:
    """A history with its record, and calls of several agents."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.record = Record()
        self.history: History = new_history(lambda: self.now)
        self.count = 0

    def target(self, audience: str, trust: str, sensitivity: Sensitivity) -> Target:
        labels = Labels(Effect.READ, sensitivity=sensitivity)
        return Target("tool", audience, "use", audience, labels=labels, trust="trusted" if trust else "untrusted")

    def begin(
        self,
        caller: Principal,
        audience: str = "files",
        *,
        trust: str = "trusted",
        sensitivity: Sensitivity = Sensitivity.PUBLIC,
        task: Task | None = None,
    ) -> tuple[Task, str, Reservation]:
        self.count += 1
        ledger, call = self.history.ledger, f"c{self.count}"
        task = task or self.history.tasks.open_implicit(caller, self.now)
        called = Call("tools/call", self.target(audience, trust, sensitivity), {})
        found = ledger.reserve(task, call, called, CallContent(), self.now, depth=0, principal=caller)
        user = None if caller.user is None else caller.user.id
        principal: Json = {"key": caller.key, "id": caller.id, "issuer": caller.issuer, "user": user}
        entry: dict[str, Json] = {"id": call, "effect": "allow", "history": found.fields, "task": {"id": task.id}}
        self.record.append("call", {**entry, "principal": principal})
        ledger.let_pass(task, call)
        return task, call, found

    def labels(self, caller: Principal, audience: str = "files", **more: object) -> TaskLabels | None:
        """Make a whole call, and return the labels with which it was decided."""
        task, call, found = self.begin(caller, audience, **more)  # pyright: ignore[reportArgumentType]
        self.history.ledger.settle(task, call)
        self.record.append("settled", {"id": call, "outcome": "completed"})
        return found.facts.labels

    def read(self, caller: Principal = READER, audience: str = "mail") -> None:
        self.labels(caller, audience, trust="")

    def labels_later(self, caller: Principal, seconds: float) -> TaskLabels | None:
        self.now += seconds
        self.history.tasks.forget(self.now)
        self.history.states.jobs.sweep(self.now)
        return self.labels(caller)


@pytest.fixture
def run() -> Run:
    return Run()


@pytest.mark.parametrize("caller", [READER, ACTOR, DELEGATE], ids=lambda caller: caller.id)
def test_untrusted_text_of_one_agent_marks_each_agent_of_the_user(run: Run, caller: Principal):
    assert run.labels(caller) == CLEAN
    run.read()

    assert run.labels(caller) == UNTRUSTED


def test_an_agent_does_not_get_rid_of_a_mark_by_another_token_client_or_pause(run: Run):
    run.read(ACTOR)

    assert run.labels(replace(ACTOR, token_id="another")) == UNTRUSTED
    assert run.labels(replace(ACTOR, id="a-new-client")) == UNTRUSTED
    assert run.labels_later(ACTOR, 3600.0) == UNTRUSTED, "the implicit task of the reading is gone"


@pytest.mark.parametrize("caller", STRANGERS, ids=("another user", "another issuer", "an agent for itself"))
def test_a_job_is_of_one_subject(run: Run, caller: Principal):
    run.read()

    assert run.labels(caller) == CLEAN


@pytest.mark.parametrize("spelled", ["ANN", " Ann", "\uff41nn"])
def test_another_spelling_of_the_user_is_no_other_job(run: Run, spelled: str):
    run.read()

    assert run.labels(replace(ACTOR, user=User(spelled))) == UNTRUSTED


def test_an_agent_without_a_user_is_a_job_with_its_delegates(run: Run):
    service = Principal("service", ISSUER, AuthMethod.JWT)
    run.read(service)

    assert run.labels(Principal("worker", ISSUER, AuthMethod.JWT, user=User("service"))) == UNTRUSTED


def test_the_highest_confidentiality_of_the_job_counts_with_its_system(run: Run):
    run.labels(READER, "vault", sensitivity=Sensitivity.RESTRICTED)
    run.labels(READER, "wiki", sensitivity=Sensitivity.INTERNAL)

    task, _, found = run.begin(ACTOR)

    assert found.facts.labels == TaskLabels(untrusted=False, confidentiality=Sensitivity.RESTRICTED)
    assert [system.audience for system in found.facts.confidential_systems] == ["vault"]
    assert run.history.ledger.facts(task, run.now).labels == found.facts.labels


def test_a_mark_names_the_call_the_agent_and_the_time(run: Run):
    run.read()

    _, _, found = run.begin(ACTOR)

    inherited = json.loads(json.dumps(found.fields["inherited"]))
    assert [mark["agent"] for mark in inherited] == ["reader"]
    assert [(mark["call"], mark["number"], mark["audience"]) for mark in inherited] == [("c1", 1, "mail")]
    sources = run.history.ledger.find_latest_reads(run.history.tasks.open_implicit(ACTOR, run.now), 3)
    assert [(source.agent, source.decision, source.at) for source in sources] == [("reader", "c1", 1000.0)]


def test_a_mark_is_cold_after_the_warm_time_and_not_before(run: Run):
    run.read()

    assert run.labels_later(ACTOR, WARM) == UNTRUSTED
    run.now = 1000.0
    assert run.labels_later(DELEGATE, WARM + MINUTE + 0.1) == CLEAN


def test_a_task_keeps_its_mark_when_the_job_is_cold_and_renews_none(run: Run):
    run.read()
    run.now += WARM - 1
    task, _, _ = run.begin(ACTOR)
    run.now += MINUTE + 2

    assert run.labels(ACTOR, task=task) == UNTRUSTED, "its agent may still know the text"
    assert run.labels(DELEGATE) == CLEAN, "nothing was read for the warm time"


def test_a_reading_renews_a_cold_mark_for_tasks_that_had_looked_before(run: Run):
    run.read()
    run.now += WARM + MINUTE + 1
    assert run.labels(ACTOR) == CLEAN
    run.read()

    assert run.labels(ACTOR) == UNTRUSTED


def test_a_job_that_was_forgotten_marks_its_long_tasks_anew(run: Run):
    """The marks of a later job have other numbers: a task that had looked at the job before looks again."""
    task, _, _ = run.begin(ACTOR)
    run.read()
    assert run.labels(ACTOR, task=task) == UNTRUSTED
    run.labels(ACTOR, task=task)
    run.now += WARM + MINUTE + 1
    run.history.states.jobs.sweep(run.now)
    assert run.history.states.jobs.list_marks(ACTOR.job) == ()
    run.labels(READER, "vault", sensitivity=Sensitivity.RESTRICTED)

    assert run.labels(ACTOR, task=task) == TaskLabels(untrusted=True, confidentiality=Sensitivity.RESTRICTED)


def test_a_call_that_began_while_the_mark_was_warm_renews_it_for_tasks_that_looked_meanwhile(run: Run):
    run.read()
    run.now += WARM - 1
    task, call, _ = run.begin(READER, "mail", trust="")
    run.now += MINUTE + 2
    actor, _, found = run.begin(ACTOR)
    assert found.facts.labels == CLEAN
    assert run.history.ledger.observe(task, call, ResultContent(tokens=frozenset({7}))) is not None

    assert run.labels(ACTOR, task=actor) == UNTRUSTED


def test_a_refused_call_takes_no_mark_back(run: Run):
    run.read()
    task, call, _ = run.begin(ACTOR)
    run.history.ledger.settle(task, call)
    assert run.labels(ACTOR) == UNTRUSTED
    found = run.history.ledger.reserve(
        run.history.tasks.open_implicit(DELEGATE, run.now),
        "refused",
        Call("tools/call", run.target("files", "trusted", Sensitivity.PUBLIC), {}),
        CallContent(),
        run.now,
    )
    assert found.facts.labels == UNTRUSTED
    run.history.ledger.release(run.history.tasks.open_implicit(DELEGATE, run.now), "refused", denied=True)

    assert run.labels(DELEGATE) == UNTRUSTED


def test_a_call_of_the_user_in_person_takes_over_no_mark_but_leaves_its_own(run: Run):
    run.read()
    assert run.labels(ANN) == CLEAN

    run.now += WARM + MINUTE + 1
    run.read(ANN)
    assert run.labels(ACTOR) == UNTRUSTED


@pytest.mark.parametrize(
    "caller",
    [
        replace(ANN, bound=False),
        replace(ANN, logged_in=None),
        replace(ANN, logged_in=0.0),
        replace(ANN, user=User("ann")),
        DELEGATE,
    ],
    ids=("a bearer token, maybe stolen", "no login", "a service account", "a client for the user", "a delegate"),
)
def test_nobody_else_is_in_person(run: Run, caller: Principal):
    run.read()

    assert run.labels(caller) == UNTRUSTED


def test_a_reading_outside_of_a_call_marks_the_job(run: Run):
    task = run.history.tasks.open_implicit(READER, run.now)
    target = Target("resource", "feed", "", "feed", labels=Labels(Effect.READ))
    source = Source(target, untrusted=True, sensitivity=Sensitivity.PUBLIC)
    fields = run.history.ledger.add_reading(task, "r1", source, ResultContent(), run.now)
    assert fields is not None
    run.record.append("observed", fields)

    assert run.labels(ACTOR) == UNTRUSTED
    after = new_history(lambda: run.now)
    rebuild(after, run.record.entries, Restored())
    assert after.states.jobs.list_marks(READER.job) == run.history.states.jobs.list_marks(READER.job)


def test_a_reading_that_tells_its_task_nothing_new_renews_the_mark(run: Run):
    task = run.history.tasks.open_implicit(READER, run.now)
    target = Target("resource", "feed", "", "feed", labels=Labels(Effect.READ))
    source = Source(target, untrusted=True, sensitivity=Sensitivity.PUBLIC)

    def read_again() -> object:
        return run.history.ledger.add_reading(task, "r1", source, ResultContent(), run.now)

    assert read_again() is not None
    assert read_again() is None, "no entry for each reading"
    run.now += WARM + MINUTE + 1
    run.history.states.jobs.sweep(run.now)
    assert read_again() is not None

    assert run.labels(ACTOR) == UNTRUSTED


def test_the_words_of_all_jobs_have_a_bound_and_none_becomes_ground(run: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(jobs, "MAX_WORDS", 40)
    callers = [replace(READER, user=User(f"user-{number}")) for number in range(10)]
    for number, caller in enumerate(callers):
        run.now += 1
        task, call, _ = run.begin(caller, "mail", trust="")
        words = frozenset(range(8 * number, 8 * number + 8))
        run.history.ledger.observe(task, call, ResultContent(tokens=words))
        run.history.ledger.settle(task, call)

    found = [run.history.states.jobs.find_words(caller.job, run.now) for caller in callers]

    assert all(one is not None for one in found)
    assert sum(len(one.words) for one in found if one is not None) <= 40
    assert [one.are_whole for one in found if one is not None] == [False] * 8 + [True] * 2


def test_a_kill_forgets_no_mark(run: Run):
    run.read()
    assert run.labels_later(ACTOR, 3600.0) == UNTRUSTED
    run.history = new_history(lambda: run.now)
    rebuild(run.history, run.record.entries, Restored())

    assert run.history.tasks.find_present(READER, run.now) is None, "the reader's task is gone, and its mark is not"
    assert run.labels(DELEGATE) == UNTRUSTED


async def test_a_restart_from_snapshots_forgets_no_mark_of_a_forgotten_task(run: Run, tmp_path: Path):
    store = Store(tmp_path / "tasks.db", KeyRing(b"k" * 32))
    run.history.states.attach(store)
    run.read()
    run.now += 3600.0
    run.history.tasks.forget(run.now)
    await snapshot(run.history, store, run.record.position)
    assert len(run.history.tasks) == 0

    after = new_history(lambda: run.now)
    restored = restore(after, store)
    assert restored.problem is None
    run.history = after
    assert run.labels(ACTOR) == UNTRUSTED

    after.states.jobs.sweep(run.now + 2 * WARM)
    after.tasks.forget(run.now + 2 * WARM)
    await snapshot(after, store, run.record.position)
    stored = store.load()
    assert stored is not None
    assert stored.tasks == (), "a cold job leaves the store"


# --- values that nobody has read ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("caller", "unread"), [(ACTOR, ()), (DELEGATE, ()), (STRANGERS[0], ("/id",))], ids=["actor", "delegate", "stranger"]
)
def test_a_record_that_untrusted_text_named_to_another_agent_of_the_job_is_not_unread(
    caller: Principal, unread: tuple[str, ...]
):
    run = Run()
    task, call, _ = run.begin(READER, "mail", trust="")
    run.history.ledger.observe(task, call, ResultContent(tokens=frozenset({7})))
    run.history.ledger.settle(task, call)

    chosen = CallContent(authority={"/id": frozenset({5})}, pieces_of={"/id": {5: frozenset({7})}})
    made = Call("tools/call", run.target("ledger", "trusted", Sensitivity.PUBLIC), {})
    task = run.history.tasks.open_implicit(caller, run.now)
    found = run.history.ledger.reserve(task, "pays", made, chosen, run.now, depth=0, principal=caller)
    assert found.facts.unread == unread
    assert run.history.ledger.facts(task, run.now, call="pays", content=chosen).unread == unread


# --- labels that a caller names ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("taint", "labels"),
    [
        ({"labels": ["untrusted-external"]}, UNTRUSTED),
        ({"labels": [" Untrusted:web"]}, UNTRUSTED),
        ({"labels": ["pii"]}, TaskLabels(untrusted=False, confidentiality=Sensitivity.CONFIDENTIAL)),
        ("untrusted", UNTRUSTED),
        ({"labels": []}, CLEAN),
        (None, CLEAN),
    ],
    ids=["untrusted", "in capitals", "confidential", "unreadable", "no label", "without"],
)
def test_labels_that_a_caller_names_for_its_context_only_add(taint: object, labels: TaskLabels):
    run = Run()
    task = run.history.tasks.open_implicit(ACTOR, run.now)
    made = Call("tools/call", run.target("files", "trusted", Sensitivity.PUBLIC), {})
    found = run.history.ledger.reserve(task, "a", made, CallContent(), run.now, depth=0, principal=ACTOR, taint=taint)
    assert found.facts.labels == labels
    later = run.history.ledger.reserve(task, "b", made, CallContent(), run.now, depth=0, principal=ACTOR)
    assert later.facts.labels == labels
