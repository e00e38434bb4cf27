from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING

from msgspec import structs

from gateway.history.facts import facts
from gateway.history.fold import apply
from gateway.history.new_events import (
    build_observation,
    build_reservation,
    changes_nothing,
    lost_result,
    name_target,
)
from gateway.history.state import TaskState
from gateway.model.content import CallContent, ResultContent
from gateway.model.target import Pin, Sensitivity, Target

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.model.call import Call
    from tests.unit.history.agents import Agent


def test_a_part_that_says_nothing_new_need_not_be_written(agent: Agent, make_result: Callable[..., ResultContent]):
    call_id, _ = agent.begin("a")
    parts = [
        (make_result(), False),  # it was read: that is new
        (make_result(), True),
        (make_result({1}, ["s"]), False),
        (make_result({1}, ["s"]), True),
        (make_result(complete=False), False),
        (make_result(complete=False), True),
    ]

    for content, nothing in parts:
        event = build_observation(agent.state, call_id, content)
        before = copy.deepcopy(agent.state)
        assert changes_nothing(agent.state, event) is nothing
        assert (apply(agent.state, event) == before) is nothing


def test_a_credential_and_that_there_may_be_more_are_news_of_a_trusted_system_too(
    agent: Agent, make_result: Callable[..., ResultContent]
):
    call_id, _ = agent.begin("a", trusted=True)
    apply(agent.state, build_observation(agent.state, call_id, make_result()))

    for content in (make_result((), ["s"]), make_result(complete=False)):
        assert not changes_nothing(agent.state, build_observation(agent.state, call_id, content))
        apply(agent.state, build_observation(agent.state, call_id, content))
        assert changes_nothing(agent.state, build_observation(agent.state, call_id, content))


def test_that_something_untrusted_was_read_and_not_kept_whole_is_news_of_each_system(
    agent: Agent, make_result: Callable[..., ResultContent]
):
    """Even if all else that it says is known already."""
    trusted, _ = agent.begin("t", trusted=True)
    apply(agent.state, build_observation(agent.state, trusted, make_result(complete=False), Sensitivity.RESTRICTED))
    first, second = agent.begin("a")[0], agent.begin("b")[0]

    for call_id, content, nothing in (
        (first, make_result(), False),
        (first, make_result(), True),
        (second, make_result(), False),
        (second, make_result(), True),
        (first, make_result(complete=False), False),
        (first, make_result(complete=False), True),
        (second, make_result(complete=False), False),
        (second, make_result(complete=False), True),
    ):
        assert changes_nothing(agent.state, build_observation(agent.state, call_id, content)) is nothing
        apply(agent.state, build_observation(agent.state, call_id, content))


def test_a_link_that_may_be_followed_is_news(
    agent: Agent, make_content: Callable[..., CallContent], make_result: Callable[..., ResultContent]
):
    call_id, _ = agent.begin("a", make_content(follows_goal=True, has_off_goal_text=False))
    apply(agent.state, build_observation(agent.state, call_id, make_result()))
    content = ResultContent(links=frozenset({7}))

    assert not changes_nothing(agent.state, build_observation(agent.state, call_id, content))
    apply(agent.state, build_observation(agent.state, call_id, content))
    assert changes_nothing(agent.state, build_observation(agent.state, call_id, content))


def test_a_higher_label_is_news(agent: Agent, make_result: Callable[..., ResultContent]):
    call_id, _ = agent.begin("a", trusted=True)
    apply(agent.state, build_observation(agent.state, call_id, make_result()))

    assert changes_nothing(agent.state, build_observation(agent.state, call_id, make_result()))
    assert not changes_nothing(
        agent.state, build_observation(agent.state, call_id, make_result(), Sensitivity.RESTRICTED)
    )


def test_a_result_that_nobody_knows_was_as_sensitive_as_its_target_and_not_known_whole(make_call: Callable[..., Call]):
    call, state = make_call("a"), TaskState()
    secret = replace(call.target, labels=replace(call.target.labels, sensitivity=Sensitivity.RESTRICTED))
    apply(state, build_reservation(state, "c", structs.replace(call, target=secret), CallContent(), 0.0))
    event = lost_result(state, "c")
    apply(state, event)

    assert (event.sensitivity, event.incomplete) == (Sensitivity.RESTRICTED, True)
    assert (state.confidentiality, state.untrusted) == (Sensitivity.RESTRICTED, True)


def test_without_content_what_depends_on_it_is_unknown(make_call: Callable[..., Call]):
    state = TaskState()
    apply(state, build_reservation(state, "c", make_call(), None, 0))

    known = facts(state, 0, call="c")

    assert (known.credentials, known.call_destinations, known.ungrounded) == (None, None, None)
    assert (known.destinations, known.spread) == (None, None)


def test_a_tool_that_no_list_has_is_not_named_in_the_record():
    """A caller chose the name, and it may be a password."""
    listed, unlisted = (
        Target("tool", "crm", name, "crm", None, "test", "untrusted", pin=pin)
        for name, pin in (("read", Pin.MATCH), ("k7Qz-93mW", Pin.UNKNOWN))
    )

    assert [name_target(TaskState(), target) for target in (listed, unlisted)] == ["crm/read", "crm/"]
