"""Values in records with a word of the goal give ground to arguments that select a record, and to no other argument."""

from __future__ import annotations

import pytest

from gateway.history import Restored, rebuild
from gateway.history.carried import carried
from gateway.history.events import Endorsed, from_fields, make_opening, pack, to_fields
from gateway.history.facts import facts
from gateway.history.fold import apply
from gateway.history.new_events import build_observation, build_reading, build_reservation, changes_nothing
from gateway.history.state import MAX_RECORDED, MAX_UNRECORDED
from gateway.history.states import decode_state, encode_state
from gateway.model.call import Call
from gateway.model.content import CallContent, ResultContent
from gateway.model.target import Effect, Labels, Target
from tests.requirements import requirement
from tests.unit.history.agents import Agent
from tests.unit.history.recording import AGENT, Gateway, Record, new_history, stream

CARD = 7
SELECTS = CallContent(authority={"/card": frozenset({CARD})}, selects=frozenset({"/card"}))


def records(*values: int) -> ResultContent:
    return ResultContent(records=frozenset(values))


def tells(*values: int) -> CallContent:
    return CallContent(told=dict.fromkeys(values))


def ungrounded(agent: Agent, content: CallContent = SELECTS) -> tuple[str, ...] | None:
    return agent.begin("shop", content)[1].ungrounded


@requirement("history/records")
def test_a_record_grounds_what_selects_it(agent: Agent):
    assert ungrounded(agent) == ("/card",)
    agent.call("shop", result=records(CARD))

    assert ungrounded(agent) == ()


@requirement("history/records")
def test_a_record_grounds_no_destination(agent: Agent):
    agent.call("shop", result=records(CARD))

    assert ungrounded(agent, CallContent(authority={"/to": frozenset({CARD})})) == ("/to",)


@requirement("history/records")
def test_a_record_of_another_system_gives_no_ground(agent: Agent):
    """An id selects an item of the called system. A page or a mail may be JSON that a stranger wrote."""
    agent.call("web", result=records(CARD))

    assert ungrounded(agent) == ("/card",)


def test_a_result_of_an_aggregator_has_no_records(agent: Agent):
    hub = Target("tool", "hub", "use", "hub", labels=Labels(Effect.READ), aggregates=("shop", "web"))
    apply(agent.state, build_reservation(agent.state, "c", Call("tools/call", hub, {}), CallContent(), 1.0))
    apply(agent.state, build_observation(agent.state, "c", records(CARD)))

    assert agent.state.records == {}


def test_each_value_needs_a_record(agent: Agent):
    agent.call("shop", result=records(CARD))
    both = CallContent(authority={"/cards": frozenset({CARD, 8})}, selects=frozenset({"/cards"}))

    assert ungrounded(agent, both) == ("/cards",)


def test_a_trusted_result_the_goal_and_a_person_ground_a_selection_too(agent: Agent):
    agent.call("hr", result=ResultContent(tokens=frozenset({CARD})), trusted=True)
    assert ungrounded(agent) == ()
    agent.state = apply(type(agent.state)(), make_opening({CARD}))
    assert ungrounded(agent) == ()
    agent.state = apply(type(agent.state)(), Endorsed(pack({CARD})))
    assert ungrounded(agent) == ()


@requirement("history/records")
def test_a_value_that_the_task_told_before_gives_no_ground(agent: Agent):
    """A system would repeat it: the attacker has it written into the customer's own record, and read from there."""
    agent.call("web")
    agent.call("shop", tells(CARD))
    agent.call("shop", result=records(CARD))

    assert ungrounded(agent) == ("/card",)


def test_a_value_that_a_record_had_may_be_told(agent: Agent):
    agent.call("web")
    agent.call("shop", result=records(CARD))
    agent.call("shop", tells(CARD))
    agent.call("shop", result=records(CARD))

    assert ungrounded(agent) == ()


def test_a_value_that_the_user_gave_may_be_told_before_anything_untrusted_was_read(agent: Agent):
    agent.call("shop", tells(CARD), records(CARD), trusted=True)

    assert ungrounded(agent) == ()


@pytest.mark.parametrize("shown", [False, True])
def test_a_value_that_no_result_had_shown_may_be_repeated(agent: Agent, *, shown: bool):
    agent.call("web", result=ResultContent(tokens=frozenset({70} if shown else {1})))
    agent.call("shop", CallContent(told={CARD: frozenset({70, 71})}))
    agent.call("shop", result=records(CARD))

    assert ungrounded(agent) == (("/card",) if shown else ())


def test_a_refused_call_has_told_nothing(agent: Agent):
    agent.call("web")
    agent.refused("shop", tells(CARD))
    agent.call("shop", result=records(CARD))

    assert ungrounded(agent) == ()


def test_after_too_many_told_values_no_record_gives_ground(agent: Agent):
    agent.call("web")
    agent.call("shop", tells(*range(100, 200 + MAX_UNRECORDED)))
    agent.call("shop", result=records(CARD))

    assert len(agent.state.unrecorded) == MAX_UNRECORDED + 1
    assert ungrounded(agent) == ("/card",)


def test_values_beyond_the_bound_give_no_ground(agent: Agent):
    agent.call("shop", result=ResultContent(records=frozenset(range(100, 100 + MAX_RECORDED + 1))))

    assert len(agent.state.records["shop"]) == MAX_RECORDED
    agent.call("shop", result=records(CARD))
    assert ungrounded(agent) == ("/card",)


def test_records_are_news(agent: Agent):
    call_id, _ = agent.begin("shop")
    apply(agent.state, build_observation(agent.state, call_id, ResultContent()))
    event = build_observation(agent.state, call_id, records(CARD))

    assert not changes_nothing(agent.state, event)
    apply(agent.state, event)
    assert changes_nothing(agent.state, build_observation(agent.state, call_id, records(CARD)))


def test_events_and_snapshots_keep_records(agent: Agent):
    agent.call("web")
    call_id, _ = agent.begin("shop", tells(1, 2))
    event = build_observation(agent.state, call_id, records(CARD))
    apply(agent.state, event)

    assert from_fields(to_fields(event)) == event
    assert from_fields(to_fields(agent.state.open[call_id])) == agent.state.open[call_id]
    assert decode_state(encode_state(agent.state)) == agent.state


@pytest.mark.parametrize("told", [False, True])
def test_the_next_implicit_task_knows_records_and_told_values(agent: Agent, *, told: bool):
    agent.call("web")
    agent.call("shop", tells(CARD) if told else None, records() if told else records(CARD))
    before = carried([agent.state])
    for earlier in (before, carried([agent.state, type(agent.state)()])):
        later = Agent(agent.make_call)
        call_id = "c"
        apply(
            later.state, build_reservation(later.state, call_id, agent.make_call("shop"), SELECTS, 1.0, carried=earlier)
        )
        apply(later.state, build_observation(later.state, call_id, records(CARD), carried=earlier))
        known = facts(later.state, 1.0, call=call_id, content=SELECTS, carried=earlier)

        assert known.ungrounded == (("/card",) if told else ())


def test_records_are_found_again_after_a_crash():
    before = Gateway(new_history(), Record())
    task = before.history.tasks.open_implicit(AGENT, 1000.0)
    before.call(task, "shop", None, records(CARD))
    after = new_history()
    rebuild(after, before.record.entries, Restored())

    target = Target("tool", "shop", "use", "shop", labels=Labels(Effect.WRITE))
    counted = after.ledger.reserve(task, "later", Call("tools/call", target, {}), SELECTS, 1000.0, depth=0)
    assert counted.facts.ungrounded == ()


UNREAD = CallContent(
    authority=SELECTS.authority, selects=SELECTS.selects, pieces_of={"/card": {CARD: frozenset({70, 71})}}
)


def unread(agent: Agent, content: CallContent = UNREAD) -> tuple[str, ...]:
    return agent.begin("shop", content)[1].unread


@requirement("history/records")
def test_a_record_grounds_a_place_inside_its_system(agent: Agent):
    inside = CallContent(authority={"/to": frozenset({1})}, places={"/to": frozenset({CARD})})
    assert agent.begin("shop", inside)[1].recorded == ()
    agent.call("shop", result=records(CARD))
    found = agent.begin("shop", inside)[1]

    assert (found.recorded, found.ungrounded) == (("/to",), ("/to",))
    assert agent.begin("web", inside)[1].recorded == ()


OTHER = 8
BOTH = CallContent(
    authority={"/card": frozenset({CARD, OTHER})},
    selects=SELECTS.selects,
    pieces_of={"/card": {CARD: frozenset({70}), OTHER: frozenset({80})}},
)


@requirement("history/records")
def test_each_value_of_a_list_is_judged_by_itself(agent: Agent):
    agent.call("shop", result=ResultContent(records=frozenset({CARD}), tokens=frozenset({70})))
    assert unread(agent, BOTH) == ("/card",)

    agent.call("web", result=words(80))
    assert unread(agent, BOTH) == ()
    assert ungrounded(agent, BOTH) == ("/card",)


def test_a_value_of_the_goal_needs_no_other_source(agent: Agent):
    agent.call("web", result=words(80))
    given = CallContent(authority=SELECTS.authority, selects=SELECTS.selects, pieces_of=BOTH.pieces_of)

    assert unread(agent, given) == ("/card",)


def words(*values: int, complete: bool = True, sampled: bool = False) -> ResultContent:
    return ResultContent(tokens=frozenset(values), complete=complete, sampled=sampled)


def test_a_record_that_no_result_has_shown_is_unread(agent: Agent):
    assert unread(agent) == ("/card",)
    agent.call("web", result=words(1, 2))
    assert unread(agent) == ("/card",)


@requirement("history/records")
@pytest.mark.parametrize(
    "result",
    [words(71), words(1, sampled=True), words(1, complete=False)],
    ids=["a part of it", "more words than are kept", "a result that was not kept whole"],
)
def test_in_doubt_a_record_was_read(agent: Agent, result: ResultContent):
    agent.call("web", result=result)

    assert unread(agent) == ()


def test_what_a_trusted_result_shows_is_no_foreign_value(agent: Agent):
    agent.call("hr", result=words(71), trusted=True)

    assert unread(agent) == ("/card",)


def test_a_common_value_counts_as_read(agent: Agent):
    assert (
        unread(
            agent, CallContent(authority=SELECTS.authority, selects=SELECTS.selects, pieces_of={"/card": {CARD: None}})
        )
        == ()
    )


def test_arguments_that_were_not_looked_at_whole_count_as_read(agent: Agent):
    assert unread(agent, CallContent(pieces_of=UNREAD.pieces_of, complete=False)) == ()


@pytest.mark.parametrize("result", [words(71), words(1, sampled=True), words(1, complete=False)])
def test_the_next_implicit_task_knows_what_the_one_before_has_read(agent: Agent, result: ResultContent):
    agent.call("web", result=result)
    for earlier in (carried([agent.state]), carried([type(agent.state)(), agent.state])):
        later = Agent(agent.make_call)
        apply(later.state, build_reservation(later.state, "c", agent.make_call("shop"), UNREAD, 1.0, carried=earlier))

        assert facts(later.state, 1.0, call="c", content=UNREAD, carried=earlier).unread == ()


def test_that_words_are_missing_is_news_and_is_kept(agent: Agent):
    call_id, _ = agent.begin("web")
    apply(agent.state, build_observation(agent.state, call_id, words(1)))
    event = build_observation(agent.state, call_id, words(1, sampled=True))
    late = build_reading(agent.state, stream("web"), words(2, sampled=True), 1.0)

    assert not changes_nothing(agent.state, event)
    assert from_fields(to_fields(event)) == event
    assert from_fields(to_fields(late)) == late
    apply(agent.state, late)
    assert agent.state.sampled
    assert changes_nothing(agent.state, event)
    assert decode_state(encode_state(agent.state)) == agent.state
