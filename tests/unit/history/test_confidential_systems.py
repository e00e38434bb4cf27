"""Which systems the confidential data of a task came from. In doubt a system counts."""

from __future__ import annotations

from datetime import timedelta

import pytest

from gateway.config import HistorySettings
from gateway.history import Restored, build_history, rebuild
from gateway.history.events import from_fields, to_fields
from gateway.history.fold import apply
from gateway.history.new_events import build_observation, build_reading, changes_nothing
from gateway.history.states import decode_state, encode_state
from gateway.model.content import ResultContent
from gateway.model.facts import SystemFact
from gateway.model.target import Effect, Labels, Sensitivity, System, Target
from tests.requirements import requirement
from tests.unit.history.agents import Agent
from tests.unit.history.recording import AGENT, Gateway, Record, new_history, stream
from tests.unit.history.sessions import Session, target

NOTHING = ResultContent()
SECRET = Sensitivity.CONFIDENTIAL


def show(agent: Agent, audience: str, sensitivity: Sensitivity) -> None:
    call_id, _ = agent.begin(audience)
    apply(agent.state, build_observation(agent.state, call_id, NOTHING, sensitivity))


@pytest.mark.parametrize("sensitivity", [Sensitivity.CONFIDENTIAL, Sensitivity.RESTRICTED])
def test_a_system_counts_with_its_tenant_and_environment(agent: Agent, sensitivity: Sensitivity):
    show(agent, "crm", sensitivity)

    _, known = agent.begin("mail")
    assert known.confidential_systems == (SystemFact("crm", "acme", "staging"),)


@pytest.mark.parametrize("sensitivity", [Sensitivity.PUBLIC, Sensitivity.INTERNAL])
def test_a_system_without_confidential_data_does_not_count(agent: Agent, sensitivity: Sensitivity):
    show(agent, "crm", sensitivity)

    _, known = agent.begin("mail")
    assert known.confidential_systems == ()


def test_a_second_system_is_news_although_the_task_has_read_something_as_confidential(agent: Agent):
    show(agent, "crm", Sensitivity.RESTRICTED)
    call_id, _ = agent.begin("hr")
    apply(agent.state, build_observation(agent.state, call_id, NOTHING))
    event = build_observation(agent.state, call_id, NOTHING, SECRET)

    assert not changes_nothing(agent.state, event)
    apply(agent.state, event)
    assert changes_nothing(agent.state, event)
    assert {system.audience for system in agent.state.confidential_systems} == {"crm", "hr"}


def test_a_refused_call_has_read_nothing(agent: Agent):
    agent.refused("crm")

    _, known = agent.begin("mail")
    assert known.confidential_systems == ()


def test_each_system_behind_an_aggregator_counts(agent: Agent):
    hub = Target("tool", "hub", "use", "hub", "acme", labels=Labels(Effect.READ), aggregates=("crm", "hr"))
    event = build_reading(agent.state, stream("hub", target=hub, sensitivity=SECRET), NOTHING, 1.0)
    apply(agent.state, event)

    assert agent.state.confidential_systems == {System(name, "acme") for name in ("crm", "hr", "hub")}
    assert from_fields(to_fields(event)) == event


def test_a_snapshot_keeps_the_systems(agent: Agent):
    show(agent, "crm", SECRET)

    assert decode_state(encode_state(agent.state)).confidential_systems == {System("crm", "acme", "staging")}


@requirement("history/own-system")
def test_the_systems_are_found_again_after_a_crash():
    before = Gateway(new_history(), Record())
    task = before.history.tasks.open_implicit(AGENT, 1000.0)
    call_id = before.begin(task, "crm")
    fields = before.history.ledger.observe(task, call_id, NOTHING, label=SECRET)
    assert fields is not None
    before.record.append("observed", fields)
    before.read(task, stream("hr", sensitivity=SECRET), NOTHING)
    after = new_history()
    rebuild(after, before.record.entries, Restored())

    assert after.ledger.facts(task, 1000.0).confidential_systems == (SystemFact("crm"), SystemFact("hr"))


@pytest.fixture
def session() -> Session:
    settings = HistorySettings(idle=timedelta(hours=1), lifetime=timedelta(hours=1))
    session = Session(build_history(settings, clock=lambda: session.now, conceal=lambda goal, _kept: goal))
    return session


def test_the_next_implicit_task_knows_the_systems_of_the_one_before(session: Session):
    session.call(target("crm", sensitivity=SECRET))
    before = session.task.id
    session.now += 3599
    session.task = session.history.tasks.open_implicit(AGENT, session.now)
    session.call(target("hr", sensitivity=SECRET))
    last = session.begin(target("mail", Effect.WRITE))

    assert session.task.id != before
    assert {system.audience for system in session.facts[last].confidential_systems} == {"crm", "hr"}


@requirement("explain/causes")
def test_an_explanation_names_the_call_that_read_from_each_system(session: Session):
    session.call(target("crm", sensitivity=SECRET))
    session.call(target("hr", sensitivity=Sensitivity.RESTRICTED))
    session.call(target("crm", sensitivity=SECRET))
    last = session.begin(target("mail", Effect.WRITE))

    explanation = session.explain(last)
    assert explanation.facts.confidential_systems == session.facts[last].confidential_systems
    assert [(cause.call.id, cause.how) for cause in explanation.causes["confidential_systems"]] == [
        ("c1", "was the first to read something confidential from crm"),
        ("c2", "was the first to read something confidential from hr"),
    ]
