"""Where the credentials of a task come from, and what of it is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import structs

from gateway.history import state as bounds
from gateway.history.events import ShownCredential, make_opening
from gateway.history.fold import apply
from gateway.model.content import CallContent, ResultContent
from gateway.model.target import Effect

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.history.agents import Agent


def test_a_credential_comes_from_the_result_that_showed_it_first(
    agent: Agent, make_content: Callable[..., CallContent], make_result: Callable[..., ResultContent]
):
    agent.call("files", result=make_result(credentials=["s"]))
    agent.call("vault", result=make_result(credentials=["s"]))

    known = agent.call("railway", make_content(credentials=["s"])).credentials

    assert known is not None
    assert [(fact.origin.kind, fact.origin.audience, fact.origin.call) for fact in known] == [("result", "files", 1)]
    assert (known[0].chain_depth, known[0].minted_in_task) == (0, False)


def test_a_credential_of_the_goal_is_the_users(
    agent: Agent, make_content: Callable[..., CallContent], make_result: Callable[..., ResultContent]
):
    apply(agent.state, make_opening((), (ShownCredential("s"),)))
    agent.call("files", result=make_result(credentials=["s"]))

    known = agent.call("railway", make_content(credentials=["s"])).credentials

    assert known is not None
    assert (known[0].origin.kind, known[0].origin.audience) == ("user", None)


def test_a_credential_that_was_nowhere_is_of_unknown_origin_and_remembered(
    agent: Agent, make_content: Callable[..., CallContent]
):
    first = agent.refused("a", make_content(credentials=["s"])).credentials
    again = agent.call("b", make_content(credentials=["s"])).credentials

    assert first is not None
    assert (first[0].origin.kind, first[0].origin.call) == ("unknown", None)
    assert again is not None
    assert (again[0].origin.kind, again[0].origin.audience, again[0].origin.call) == ("unknown", None, 1)


def test_an_unknown_origin_becomes_known_when_a_result_shows_it(
    agent: Agent, make_content: Callable[..., CallContent], make_result: Callable[..., ResultContent]
):
    agent.refused("b", make_content(credentials=["s"]))
    agent.call("a", result=make_result(credentials=["s"]))

    known = agent.call("b", make_content(credentials=["s"])).credentials

    assert known is not None
    assert (known[0].origin.kind, known[0].origin.audience) == ("result", "a")


def test_the_depth_of_a_credential_counts_those_that_were_used_to_get_it(
    agent: Agent, make_content: Callable[..., CallContent], make_result: Callable[..., ResultContent]
):
    agent.call("files", result=make_result(credentials=["one"]))
    agent.call("login", make_content(credentials=["one"]), make_result(credentials=["two"]))
    agent.call("login", make_content(credentials=["two", "mine"]), make_result(credentials=["three"]))
    agent.call("login", make_content(credentials=["three"]), make_result(credentials=["one", "three"]))

    known = agent.call("x", make_content(credentials=["one", "two", "three", "mine"])).credentials

    assert known is not None
    assert [fact.chain_depth for fact in known] == [0, 1, 2, 0]


def test_a_credential_that_comes_back_to_who_sent_it_is_no_chain(
    agent: Agent, make_content: Callable[..., CallContent], make_result: Callable[..., ResultContent]
):
    agent.call("login", make_content(credentials=["mine"]), make_result(credentials=["mine"]))

    known = agent.call("login", make_content(credentials=["mine"])).credentials

    assert known is not None
    assert (known[0].origin.kind, known[0].chain_depth) == ("result", 0)


def test_a_credential_that_was_made_in_the_task_is_said_so(
    agent: Agent, make_content: Callable[..., CallContent], make_result: Callable[..., ResultContent]
):
    agent.call("cloud", result=make_result(credentials=["key"]), effect=Effect.MINT)

    known = agent.call("cloud", make_content(credentials=["key"])).credentials

    assert known is not None
    assert known[0].minted_in_task


def test_when_credentials_cannot_be_kept_a_call_that_may_hold_one_makes_the_fact_unknown(
    agent: Agent, make_content: Callable[..., CallContent], make_result: Callable[..., ResultContent]
):
    many = [f"s{number}" for number in range(bounds.MAX_CREDENTIALS + 1)]
    agent.call("files", result=make_result(credentials=many))

    assert agent.state.lost == {"files"}
    unsure = structs.replace(make_content(credentials=[many[-1]]), unsure=True)
    assert agent.call("x", unsure).credentials is None
    kept = agent.call("x", make_content(credentials=[many[0]])).credentials
    assert kept is not None
    assert kept[0].origin.audience == "files"
    assert agent.call("x", make_content()).credentials == ()


def test_credentials_of_an_agent_that_makes_them_up_do_not_take_the_room_of_others(
    agent: Agent, make_content: Callable[..., CallContent], make_result: Callable[..., ResultContent]
):
    agent.refused("x", make_content(credentials=[f"s{number}" for number in range(10_000)]))
    agent.call("files", result=make_result(credentials=["real"]))

    known = agent.call("x", make_content(credentials=["real", "s9999"])).credentials

    assert known is not None
    assert [(fact.origin.kind, fact.origin.call) for fact in known] == [("result", 2), ("unknown", None)]
    assert len(agent.state.presented) <= bounds.MAX_PRESENTED


def test_a_result_with_more_credentials_than_are_told_apart_loses_some_of_its_system(
    agent: Agent, make_content: Callable[..., CallContent], make_result: Callable[..., ResultContent]
):
    agent.call("files", result=make_result(credentials=["told"]))
    assert agent.state.lost == frozenset()
    agent.call("files", result=make_result(credentials=["first"], complete=False), trusted=True)

    assert agent.state.lost == {"files"}
    held = agent.call("mail", make_content(credentials=["told", "first"])).credentials
    assert held is not None
    assert [credential.origin.kind for credential in held] == ["result", "result"]


def test_a_result_with_more_words_than_are_kept_leaves_the_origin_of_credentials_known(
    agent: Agent, make_content: Callable[..., CallContent], make_result: Callable[..., ResultContent]
):
    agent.call("files", result=make_result(range(bounds.MAX_RESULT_TOKENS + 1)))

    held = agent.call("mail", make_content(credentials=["another"])).credentials
    assert held is not None
    assert [credential.origin.kind for credential in held] == ["unknown"]
