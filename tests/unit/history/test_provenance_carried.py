"""What an earlier task of the caller had read is told with the task and the call that read it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from gateway.config import HistorySettings
from gateway.history import build_history
from gateway.history.provenance import Provenance
from gateway.model.content import CallContent, ResultContent
from gateway.model.errors import HistoryError
from gateway.model.target import Effect, Sensitivity
from tests.requirements import requirement
from tests.unit.history.recording import AGENT, stream
from tests.unit.history.sessions import Session, holding, showing, target

HOUR = 3600.0


@pytest.fixture
def session() -> Session:
    settings = HistorySettings(idle=timedelta(hours=1), lifetime=timedelta(hours=1))
    session = Session(build_history(settings, clock=lambda: session.now, conceal=lambda goal, _kept: goal))
    return session


def go_on(session: Session) -> str:
    """Begin the caller's next task. Returns the id of the one before."""
    before = session.task.id
    session.now += HOUR - 1
    session.task = session.history.tasks.open_implicit(AGENT, session.now)
    assert session.task.id != before
    return before


def told(session: Session, call_id: str, fact: str) -> list[tuple[str | None, str, str]]:
    causes = session.explain(call_id).causes.get(fact, ())
    return [(cause.call.task, cause.call.id, cause.how) for cause in causes]


@requirement("explain/causes")
def test_labels_name_the_calls_of_both_tasks(session: Session):
    session.call(target("a", sensitivity=Sensitivity.CONFIDENTIAL))
    before = go_on(session)
    session.call(target("b"))
    last = session.begin(target("c", Effect.WRITE))

    assert told(session, last, "labels/untrusted") == [
        (before, "c1", "was the first to read something untrusted"),
    ]
    assert told(session, last, "labels/confidentiality")[0][:2] == (before, "c1")


@requirement("explain/causes")
def test_a_credential_names_the_task_that_was_shown_it(session: Session):
    session.call(target("a"), result=showing("s"))
    session.read(stream("b"), showing("t"))
    before = go_on(session)
    last = session.begin(target("c"), holding("s", "t"))

    assert told(session, last, "credentials/0") == [(before, "c1", "showed the credential in its result")]
    assert told(session, last, "credentials/1")[0][::2] == (before, "showed the credential")


@requirement("explain/causes")
def test_spread_names_the_result_of_the_task_before(session: Session):
    session.call(target("a"), result=showing(tokens=frozenset({1})))
    before = go_on(session)
    session.call(target("b"), CallContent(tokens=frozenset({1})))
    last = session.begin(target("c"), CallContent(tokens=frozenset({1})))

    assert told(session, last, "spread") == [
        (before, "c1", "read the untrusted data"),
        (None, "c2", "carried words of it to b"),
        (None, last, "carried words of it to c"),
    ]


def test_a_result_that_was_not_kept_whole_is_named(session: Session):
    session.call(target("a"), result=ResultContent(complete=False))
    before = go_on(session)
    last = session.begin(target("b"), CallContent(tokens=frozenset({1})))

    assert told(session, last, "spread")[0] == (before, "c1", "read more of a than is kept apart")


def test_calls_of_the_task_before_that_ended_in_each_way_are_told(session: Session):
    session.deny(target("z"))
    cut_off = session.begin(target("a"))
    late = session.begin(target("b"))
    before = go_on(session)
    session.begin(target("c"))
    session.write("abandoned", {"id": cut_off})
    task, session.task = session.task, next(kept.task for kept in session.history.tasks.all() if kept.task.id == before)
    session.history.ledger.observe(session.task, cut_off, ResultContent(complete=False))
    session.settle(late, showing(tokens=frozenset({1})))
    session.task = task
    last = session.begin(target("d"), CallContent(tokens=frozenset({1})))

    explanation = session.explain(last)

    assert explanation.facts.labels == session.facts[last].labels
    assert explanation.facts.spread == session.facts[last].spread == 1
    assert explanation.missing == 0


def test_the_facts_are_those_of_the_decision(session: Session):
    session.call(target("a", sensitivity=Sensitivity.RESTRICTED), result=showing("s", tokens=frozenset({1})))
    go_on(session)
    last = session.begin(target("b"), holding("s"))

    explanation = session.explain(last)

    assert explanation.facts.labels == session.facts[last].labels
    assert explanation.facts.credentials == session.facts[last].credentials
    assert explanation.facts.audiences == {"b"}


def test_a_damaged_entry_of_the_task_before_is_a_sentence(session: Session):
    session.call(target("a"))
    go_on(session)
    last = session.begin(target("b"))

    with pytest.raises(HistoryError, match="entry 1 of the journal cannot be read"):
        session.explain(last, [{**session.entries[0], "history": {"event": "settled", "call": "c1"}}])


def test_other_entries_of_the_task_before_say_nothing(session: Session):
    session.call(target("a"), result=showing("s"))
    before = go_on(session)
    session.write("task", {"task": before, "event": "endorsed"})
    last = session.begin(target("b"), holding("s"))

    assert told(session, last, "credentials/0") == [(before, "c1", "showed the credential in its result")]


def test_entries_of_all_tasks_are_asked_for(session: Session):
    session.call(target("a"))
    before = go_on(session)
    session.begin(target("b"))

    assert Provenance(session.entries[-1]).tasks == {before, session.task.id}
