"""Where the words of results go, and which of them give ground."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.history import state as bounds
from gateway.history.events import Endorsed, Settled, make_opening, pack
from gateway.history.fold import apply
from gateway.history.new_events import build_observation
from gateway.model.content import CallContent, ResultContent

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.history.agents import Agent


def test_spread_counts_the_systems_that_one_untrusted_result_went_to(
    agent: Agent, make_content: Callable[..., CallContent], make_result: Callable[..., ResultContent]
):
    agent.call("issues", result=make_result({1, 2}))
    agent.call("wiki", result=make_result({3}))

    spread = [
        agent.call(audience, make_content(tokens)).spread
        for audience, tokens in [
            ("mail", {1}),
            ("mail", {2}),
            ("chat", {3}),
            ("chat", {9}),
            ("chat", {2}),
            ("bank", {1}),
        ]
    ]

    assert spread == [1, 1, 1, 1, 2, 3]


def test_data_that_goes_back_to_where_it_came_from_is_not_spread(
    agent: Agent, make_content: Callable[..., CallContent], make_result: Callable[..., ResultContent]
):
    agent.call("issues", result=make_result({1}))

    assert agent.call("issues", make_content({1})).spread == 0


def test_words_of_the_goal_and_of_trusted_results_are_not_spread(
    agent: Agent, make_content: Callable[..., CallContent], make_result: Callable[..., ResultContent]
):
    apply(agent.state, make_opening({1}))
    agent.call("issues", result=make_result({1, 2}))
    agent.call("directory", result=make_result({2}), trusted=True)

    assert agent.call("mail", make_content({1, 2})).spread == 0


def test_a_word_belongs_to_the_first_result_that_held_it(
    agent: Agent, make_content: Callable[..., CallContent], make_result: Callable[..., ResultContent]
):
    """So that reading the same thing again for each system does not hide that it is spread."""
    spread: list[int | None] = []
    for audience in ("mail", "chat", "bank"):
        agent.call("issues", result=make_result({1}))
        spread.append(agent.call(audience, make_content({1})).spread)

    assert spread == [1, 2, 3]


def test_after_a_result_that_was_too_much_each_further_system_counts_as_fed(
    agent: Agent, make_content: Callable[..., CallContent], make_result: Callable[..., ResultContent]
):
    agent.call("early", make_content({5}))
    agent.call("files", result=make_result({1}, complete=False))

    spread = [agent.call(audience, make_content({77})).spread for audience in ("files", "mail", "chat")]

    assert spread == [0, 1, 2]


def test_a_call_whose_words_the_user_or_a_trusted_source_wrote_carries_nothing_of_what_was_too_much(
    agent: Agent, make_content: Callable[..., CallContent], make_result: Callable[..., ResultContent]
):
    apply(agent.state, make_opening({1}))
    agent.call("files", result=make_result({5}, complete=False))

    assert agent.call("mail", make_content({1})).spread == 0
    assert agent.call("chat", make_content({1, 2})).spread == 1


def test_the_end_of_a_result_beyond_the_words_of_one_result_is_not_forgotten(
    agent: Agent, make_content: Callable[..., CallContent], make_result: Callable[..., ResultContent]
):
    call_id, _ = agent.begin("files")
    for part in range(5):
        tokens = range(part * 1000, (part + 1) * 1000)
        apply(agent.state, build_observation(agent.state, call_id, make_result(tokens)))
    apply(agent.state, Settled(call_id))

    assert len(agent.state.tokens) == bounds.MAX_RESULT_TOKENS
    assert agent.call("mail", make_content({4999})).spread == 1
    assert agent.call("chat", make_content({4999})).spread == 2


def test_what_no_longer_fits_counts_as_spread(
    agent: Agent, make_content: Callable[..., CallContent], make_result: Callable[..., ResultContent]
):
    """Words that are kept are told apart; of what came later, each system counts."""
    full = bounds.MAX_TOKENS // 1000 + 1
    for number in range(full):
        agent.call("files", result=make_result(range(number * 1000, (number + 1) * 1000)))
    agent.call("wiki", result=make_result({10**9}))

    spread = [agent.call(audience, make_content({1})).spread for audience in ("mail", "wiki", "files")]

    assert len(agent.state.tokens) == bounds.MAX_TOKENS
    assert spread == [1, 2, 2]


def test_results_beyond_those_kept_apart_count_as_spread(
    agent: Agent, make_content: Callable[..., CallContent], make_result: Callable[..., ResultContent]
):
    for number in range(bounds.MAX_RESULTS):
        agent.call("files", result=make_result({number}))
    assert not agent.state.partial_sources
    agent.call("files", result=make_result({10**9}))

    assert agent.state.partial_sources == {"files"}
    assert agent.call("mail", make_content({10**9})).spread == 1


# --- grounding -------------------------------------------------------------------------------------


def _authority(grounded: frozenset[str] = frozenset(), **digests: set[int]) -> CallContent:
    return CallContent(authority={f"/{name}": frozenset(values) for name, values in digests.items()}, grounded=grounded)


def test_a_value_that_came_from_nowhere_trusted_is_ungrounded(agent: Agent, make_result: Callable[..., ResultContent]):
    apply(agent.state, make_opening({1}))
    agent.call("directory", result=make_result({2}), trusted=True)
    agent.call("issues", result=make_result({3, 4}))
    apply(agent.state, Endorsed(pack({4})))

    known = agent.call("mail", _authority(goal={1}, trusted={2}, untrusted={3}, endorsed={4}, mixed={1, 3}, new={9}))

    assert known.ungrounded == ("/mixed", "/new", "/untrusted")
    assert known.approvals_used == 1


def test_a_trusted_system_gives_no_ground_to_what_the_task_told_it(
    agent: Agent, make_result: Callable[..., ResultContent]
):
    """An answer repeats its question, and a note says what was written into it."""
    agent.call("directory", CallContent(told_values=frozenset({1})), make_result({1, 2}), trusted=True)
    agent.call("issues", result=make_result({3, 4}))
    agent.call("directory", CallContent(told_values=frozenset({1, 3})), make_result({1, 3, 5}), trusted=True)
    agent.call("wiki", CallContent(told_values=frozenset({4})), trusted=True)
    agent.call("wiki", result=make_result({4, 6}), trusted=True)

    known = agent.call("mail", _authority(before={1}, answer={2, 5, 6}, echo={3}, note={4}))

    assert known.ungrounded == ("/echo", "/note")


def test_what_a_refused_call_would_have_told_a_trusted_system_can_be_given_by_it(
    agent: Agent, make_result: Callable[..., ResultContent]
):
    agent.call("issues", result=make_result({3}))
    agent.refused("directory", CallContent(told_values=frozenset({3})), trusted=True)
    agent.call("directory", result=make_result({3}), trusted=True)

    assert agent.call("mail", _authority(to={3})).ungrounded == ()


def test_a_task_that_tells_trusted_systems_too_much_is_given_no_more_ground(
    agent: Agent, make_result: Callable[..., ResultContent]
):
    agent.call("issues")
    agent.call("wiki", CallContent(told_values=frozenset(range(bounds.MAX_TOLD_TO_TRUSTED))), trusted=True)
    agent.call("directory", result=make_result({10**6}), trusted=True)
    agent.call("wiki", CallContent(told_values=frozenset(range(5000, 6000))), trusted=True)
    agent.call("directory", result=make_result({10**7}), trusted=True)

    assert len(agent.state.told_to_trusted) == bounds.MAX_TOLD_TO_TRUSTED + 1
    assert agent.call("mail", _authority(cc={10**6}, to={10**7})).ungrounded == ("/to",)


def test_a_value_that_stands_in_the_goal_is_grounded(agent: Agent):
    assert agent.call("mail", _authority(frozenset({"/to"}), to={9}, cc={9})).ungrounded == ("/cc",)


def test_trusted_words_beyond_the_bound_ground_nothing(agent: Agent, make_result: Callable[..., ResultContent]):
    for part in range(bounds.MAX_TRUSTED // 1000 + 1):
        agent.call("directory", result=make_result(range(part * 1000, (part + 1) * 1000)), trusted=True)

    assert len(agent.state.trusted) == bounds.MAX_TRUSTED
    assert agent.call("mail", _authority(to={16_999})).ungrounded == ("/to",)


def test_endorsements_are_bounded(agent: Agent):
    apply(agent.state, Endorsed(pack(range(bounds.MAX_ENDORSED + 5))))

    assert len(agent.state.endorsed) == bounds.MAX_ENDORSED
