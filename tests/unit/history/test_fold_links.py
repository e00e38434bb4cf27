"""Links in results, and calls that follow them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from gateway.history import state as bounds
from gateway.history.events import Released
from gateway.history.facts import facts
from gateway.history.fold import apply
from gateway.history.new_events import build_observation, changes_nothing
from gateway.model.content import CallContent, ResultContent

if TYPE_CHECKING:
    from tests.unit.history.agents import Agent


POINTED = CallContent(follows_goal=True)
TOLD = CallContent(has_off_goal_text=True)


def _follows(link: int) -> CallContent:
    return CallContent(links={"/url": link}, has_off_goal_text=True)


def _sending(*links: int) -> ResultContent:
    return ResultContent(links=frozenset(links))


def test_a_link_in_what_the_goal_pointed_at_is_followed_once(agent: Agent):
    agent.call("chat", POINTED, _sending(1, 2))

    assert agent.call("web", _follows(1)).followed == ("/url",)
    assert agent.call("web", _follows(1)).followed == ()
    assert agent.call("web", _follows(2)).followed == ("/url",)
    assert agent.call("web", _follows(3)).followed == ()


def test_a_link_that_was_not_read_can_be_followed_after_all(agent: Agent):
    agent.call("chat", POINTED, _sending(1))
    agent.refused("web", _follows(1))
    open_call, known = agent.begin("web", _follows(1))
    assert known.followed == ("/url",)
    assert agent.begin("web", _follows(1))[1].followed == ()
    apply(agent.state, Released(open_call, denied=False))

    assert facts(agent.state, 0, call="c4", content=_follows(1)).followed == ("/url",)


def test_links_elsewhere_send_nobody_on(agent: Agent):
    agent.call("chat", CallContent(), _sending(1))
    agent.call("chat", POINTED, _sending(2))
    agent.call("web", _follows(2), _sending(3))

    assert agent.call("web", _follows(1)).followed == ()
    assert agent.call("web", _follows(3)).followed == ()


def test_what_a_task_may_have_written_itself_is_no_link(agent: Agent):
    agent.call("chat", POINTED, _sending(1))
    agent.refused("notes", TOLD)
    agent.call("web", _follows(1))
    agent.call("chat", POINTED, _sending(2))
    agent.call("notes", TOLD)
    agent.call("chat", POINTED, _sending(3))
    agent.call("chat", TOLD, _sending(4))

    assert [agent.call("web", _follows(link)).followed for link in (2, 3, 4)] == [("/url",), (), ()]


def test_a_call_that_is_still_open_may_be_writing_a_link(agent: Agent):
    agent.begin("notes", TOLD)
    agent.call("chat", POINTED, _sending(1))
    agent.begin("notes", None)

    assert agent.call("web", _follows(1)).followed == ()


def test_a_call_that_was_not_looked_at_whole_follows_nothing(agent: Agent):
    agent.call("chat", POINTED, _sending(1))

    assert agent.call("web", CallContent(links={"/url": 1}, complete=False)).followed is None


def test_of_many_links_none_is_followed(agent: Agent):
    agent.call("chat", POINTED, _sending(*range(bounds.MAX_LINKS)))
    assert agent.call("web", _follows(0)).followed == ("/url",)
    agent.call("chat", POINTED, _sending(0, 1))
    assert agent.call("web", _follows(1)).followed == ("/url",)
    agent.call("chat", POINTED, _sending(*range(100, 200)))

    assert agent.call("web", _follows(2)).followed == ()
    assert len(agent.state.links) == bounds.MAX_LINKS + 1


def test_new_links_are_news(agent: Agent):
    agent.call("chat", POINTED, _sending(1))
    call, _ = agent.begin("chat", POINTED)

    assert changes_nothing(agent.state, build_observation(agent.state, call, _sending(1)))
    assert not changes_nothing(agent.state, build_observation(agent.state, call, _sending(2)))


def test_the_ways_to_read_so_many_links_say_less_than_a_code_of_six_digits():
    ways = sum(math.perm(bounds.MAX_LINKS, count) * 2**count for count in range(bounds.MAX_LINKS + 1))

    assert ways == 75_973
    assert ways < 10**6
