"""First writes, under foreign influence, to systems that neither goal nor contract names."""

from __future__ import annotations

from gateway.history.events import Passed, Released, Settled
from gateway.history.fold import apply
from gateway.model.content import CallContent
from gateway.model.facts import SessionFacts
from gateway.model.target import Effect
from tests.unit.history.agents import Agent

NAMED = CallContent(named_systems=frozenset({"crm"}))
WRITE = Effect.WRITE


def number(known: SessionFacts) -> int:
    assert known.raises is not None
    return known.raises.get("unnamed_systems", 0)


def test_each_system_counts_once_after_something_untrusted(agent: Agent):
    assert number(agent.call("notes", effect=WRITE, trusted=True)) == 0
    agent.call("web")

    assert [number(agent.call(name, effect=WRITE, trusted=True)) for name in ("mail", "crm", "mail", "chat")] == [
        1,
        2,
        0,
        3,
    ]
    assert agent.call("notes", effect=WRITE, trusted=True).unnamed_systems == ("chat", "crm", "mail")


def test_a_named_system_and_a_read_do_not_count(agent: Agent):
    agent.call("web")

    assert number(agent.call("crm", NAMED, effect=WRITE)) == 0
    assert number(agent.call("mail")) == 0


def test_the_only_source_does_not_count_until_there_is_another(agent: Agent):
    agent.call("tickets")
    assert number(agent.begin("tickets", effect=WRITE)[1]) == 0

    agent.call("web")
    assert number(agent.begin("web", effect=WRITE)[1]) == 1


def test_parallel_first_writes_all_count_until_one_has_passed(agent: Agent):
    agent.call("web")
    first, known = agent.begin("crm", effect=WRITE)
    second, again = agent.begin("crm", effect=WRITE)
    _, other = agent.begin("mail", effect=WRITE)

    assert [number(each) for each in (known, again, other)] == [1, 1, 2]
    apply(agent.state, Passed(first))
    assert number(agent.begin("crm", effect=WRITE)[1]) == 0
    apply(agent.state, Released(second, denied=False))
    assert agent.state.unnamed == {"crm": 1, "mail": 1}


def test_a_refused_write_makes_no_system_known(agent: Agent):
    agent.call("web")
    agent.refused("crm", effect=WRITE)

    assert agent.state.unnamed == {}
    assert number(agent.call("crm", effect=WRITE)) == 1


def test_an_answer_under_way_is_no_influence_yet(agent: Agent):
    reading, _ = agent.begin("web")

    assert number(agent.begin("crm", effect=WRITE)[1]) == 0
    apply(agent.state, Settled(reading))
    assert number(agent.begin("mail", effect=WRITE)[1]) == 1


def test_destinations_that_are_all_named_are_named_places(agent: Agent):
    agent.call("web")
    named = CallContent(destinations={1: "ana@corp.example", 2: "bo@corp.example"}, named=frozenset({1, 2}))
    partly = CallContent(destinations={1: "ana@corp.example", 3: "eve@evil.test"}, named=frozenset({1}))
    unseen = CallContent(destinations={1: "ana@corp.example"}, named=frozenset({1}), complete=False)

    assert number(agent.begin("mail", named, effect=WRITE)[1]) == 0
    assert number(agent.begin("post", partly, effect=WRITE)[1]) == 1
    assert number(agent.begin("chat", unseen, effect=WRITE)[1]) == 2
