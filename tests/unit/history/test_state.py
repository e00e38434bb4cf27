from __future__ import annotations

import copy
import gc
import logging
import math
import time
import tracemalloc
from statistics import median
from typing import TYPE_CHECKING, Any

import pytest

from gateway.history import state as bounds
from gateway.history.events import Ended, Endorsed, Event, Observed, Opened, Released, Settled, Shown
from gateway.history.facts import facts
from gateway.history.state import Known, TaskState, apply, observed, reserved, says_nothing
from gateway.model import CallContent, Effect, ResultContent, Sensitivity, SessionFacts, Sighting

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.model import Call

FIGURES = logging.getLogger("figures")


class Agent:
    """Makes calls of one task, one after another."""

    def __init__(self, make_call: Callable[..., Call]) -> None:
        self.state = TaskState()
        self.make_call = make_call
        self.count = 0

    def begin(self, audience: str, content: CallContent | None = None, **labels: Any) -> tuple[str, SessionFacts]:
        self.count += 1
        call_id, content = f"c{self.count}", content if content is not None else CallContent()
        apply(self.state, reserved(self.state, call_id, self.make_call(audience, **labels), content, self.count))
        return call_id, facts(self.state, self.count, call=call_id, content=content)

    def call(
        self, audience: str, content: CallContent | None = None, result: ResultContent | None = None, **labels: Any
    ) -> SessionFacts:
        call_id, known = self.begin(audience, content, **labels)
        apply(self.state, observed(self.state, call_id, result or ResultContent()))
        apply(self.state, Settled(call_id))
        return known

    def refused(self, audience: str, content: CallContent | None = None, **labels: Any) -> SessionFacts:
        call_id, known = self.begin(audience, content, **labels)
        apply(self.state, Released(call_id, denied=True))
        return known


@pytest.fixture
def agent(make_call: Callable[..., Call]) -> Agent:
    return Agent(make_call)


# --- counting --------------------------------------------------------------------------------------


def test_a_call_that_went_on_leaves_its_marks(agent: Agent):
    agent.call("a", effect=Effect.WRITE)

    known = facts(agent.state, 1)

    assert (known.calls, known.in_flight, known.audiences, known.write_audiences) == (1, 0, {"a"}, {"a"})


def test_a_refused_call_leaves_a_denial_and_nothing_else(agent: Agent, make_content: Callable[..., CallContent]):
    agent.call("a", result=ResultContent(tokens=frozenset({1})))
    before = facts(agent.state, 2)

    during = agent.refused("b", make_content({1}, ["s"], {7, 8}))
    after = facts(agent.state, 2)

    assert (during.audiences, during.destinations, during.spread) == ({"a", "b"}, 2, 1)
    assert after.denials == 1
    assert (after.calls, after.audiences, after.destinations, after.spread) == (
        before.calls,
        before.audiences,
        before.destinations,
        before.spread,
    )


@pytest.mark.parametrize("event", [Settled("x"), Released("x", denied=True), Observed("x", tokens=frozenset({1}))])
def test_what_happens_to_a_call_that_is_not_open_is_an_error_and_changes_nothing(agent: Agent, event: Event):
    agent.begin("a")
    before = copy.deepcopy(agent.state)

    with pytest.raises(ValueError, match="no open call x"):
        apply(agent.state, event)
    assert agent.state == before


def test_a_call_is_not_reserved_twice(agent: Agent):
    event = reserved(agent.state, "same", agent.make_call(), CallContent(), 0)
    apply(agent.state, event)
    before = copy.deepcopy(agent.state)

    with pytest.raises(ValueError, match="open already"):
        apply(agent.state, event)
    assert agent.state == before


def test_destinations_are_counted_over_the_task_and_of_the_call(agent: Agent, make_content: Callable[..., CallContent]):
    agent.call("mail", make_content(destinations={1, 2}))

    known = agent.call("mail", make_content(destinations={2, 3}))

    assert (known.destinations, known.call_destinations) == (3, ("d2", "d3"))


def test_arguments_that_were_not_looked_at_whole_make_facts_unknown(
    agent: Agent, make_content: Callable[..., CallContent]
):
    known = agent.call("mail", make_content(destinations={1}, complete=False))
    after = agent.call("mail", make_content(destinations={2}))

    assert (known.destinations, known.call_destinations, known.spread) == (None, None, None)
    assert (known.credentials, known.ungrounded) == (None, None)
    assert (after.destinations, after.spread) == (None, None)
    assert after.call_destinations == ("d2",)


def test_arguments_that_were_not_looked_at_do_not_matter_when_the_call_did_not_go_on(
    agent: Agent, make_content: Callable[..., CallContent]
):
    agent.refused("mail", make_content(complete=False))

    assert agent.call("mail", make_content(destinations={2})).destinations == 1


def test_more_destinations_than_are_kept_apart_are_above_any_limit(
    agent: Agent, make_content: Callable[..., CallContent]
):
    for number in range(bounds.MAX_DESTINATIONS):
        agent.call("mail", make_content(destinations={number}))
    taken_back = agent.refused("mail", make_content(destinations={5000}))
    before = len(agent.state.destinations)

    known = agent.call("mail", make_content(destinations={5001}))

    assert (taken_back.destinations, known.destinations) == (bounds.ENDLESS, bounds.ENDLESS)
    assert len(agent.state.destinations) == before == bounds.MAX_DESTINATIONS


# --- labels ----------------------------------------------------------------------------------------


def test_a_task_that_has_read_nothing_is_clean(agent: Agent):
    _, known = agent.begin("a")

    assert known.labels is not None
    assert (known.labels.untrusted, known.labels.confidentiality) == (False, Sensitivity.PUBLIC)


def test_labels_are_the_worst_of_all_that_was_read(agent: Agent):
    agent.call("a", trusted=True)
    trusted = facts(agent.state, 9).labels
    agent.call("b")
    both = facts(agent.state, 9).labels

    assert trusted is not None
    assert (trusted.untrusted, trusted.confidentiality) == (False, Sensitivity.INTERNAL)
    assert both is not None
    assert both.untrusted


def test_a_result_counts_as_read_when_its_first_part_has_come(agent: Agent):
    call_id, _ = agent.begin("a")
    apply(agent.state, observed(agent.state, call_id, ResultContent(), Sensitivity.RESTRICTED))

    _, known = agent.begin("b")

    assert known.labels is not None
    assert (known.labels.untrusted, known.labels.confidentiality) == (True, Sensitivity.RESTRICTED)


def test_a_result_that_was_not_inspected_counts_as_read_when_the_call_has_ended(agent: Agent):
    call_id, _ = agent.begin("a")
    apply(agent.state, Settled(call_id))

    assert agent.state.untrusted


# --- credentials -----------------------------------------------------------------------------------


def test_a_credential_comes_from_the_result_that_showed_it_first(
    agent: Agent, make_content: Callable[..., CallContent], make_result: Callable[..., ResultContent]
):
    agent.call("files", result=make_result(credentials=["s"]))
    agent.call("vault", result=make_result(credentials=["s"]))

    known = agent.call("railway", make_content(credentials=["s"])).credentials

    assert known is not None
    assert [(fact.origin, fact.origin_audience, fact.origin_call) for fact in known] == [("result", "files", 1)]
    assert (known[0].chain_depth, known[0].minted_in_task) == (0, False)


def test_a_credential_of_the_goal_is_the_users(
    agent: Agent, make_content: Callable[..., CallContent], make_result: Callable[..., ResultContent]
):
    apply(agent.state, Opened(credentials=(Shown("s"),)))
    agent.call("files", result=make_result(credentials=["s"]))

    known = agent.call("railway", make_content(credentials=["s"])).credentials

    assert known is not None
    assert (known[0].origin, known[0].origin_audience) == ("user", None)


def test_a_credential_that_was_nowhere_is_of_unknown_origin_and_remembered(
    agent: Agent, make_content: Callable[..., CallContent]
):
    first = agent.refused("a", make_content(credentials=["s"])).credentials
    again = agent.call("b", make_content(credentials=["s"])).credentials

    assert first is not None
    assert (first[0].origin, first[0].origin_call) == ("unknown", None)
    assert again is not None
    assert (again[0].origin, again[0].origin_audience, again[0].origin_call) == ("unknown", None, 1)


def test_an_unknown_origin_becomes_known_when_a_result_shows_it(
    agent: Agent, make_content: Callable[..., CallContent], make_result: Callable[..., ResultContent]
):
    agent.refused("b", make_content(credentials=["s"]))
    agent.call("a", result=make_result(credentials=["s"]))

    known = agent.call("b", make_content(credentials=["s"])).credentials

    assert known is not None
    assert (known[0].origin, known[0].origin_audience) == ("result", "a")


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
    assert (known[0].origin, known[0].chain_depth) == ("result", 0)


def test_a_credential_that_was_made_in_the_task_is_said_so(
    agent: Agent, make_content: Callable[..., CallContent], make_result: Callable[..., ResultContent]
):
    agent.call("cloud", result=make_result(credentials=["key"]), effect=Effect.MINT)

    known = agent.call("cloud", make_content(credentials=["key"])).credentials

    assert known is not None
    assert known[0].minted_in_task


def test_when_credentials_cannot_be_kept_unknown_ones_make_the_fact_unknown(
    agent: Agent, make_content: Callable[..., CallContent], make_result: Callable[..., ResultContent]
):
    many = [f"s{number}" for number in range(bounds.MAX_CREDENTIALS + 1)]
    agent.call("files", result=make_result(credentials=many))

    assert agent.call("x", make_content(credentials=[many[-1]])).credentials is None
    kept = agent.call("x", make_content(credentials=[many[0]])).credentials
    assert kept is not None
    assert kept[0].origin_audience == "files"
    assert agent.call("x", make_content()).credentials == ()


def test_credentials_of_an_agent_that_makes_them_up_do_not_take_the_room_of_others(
    agent: Agent, make_content: Callable[..., CallContent], make_result: Callable[..., ResultContent]
):
    agent.refused("x", make_content(credentials=[f"s{number}" for number in range(10_000)]))
    agent.call("files", result=make_result(credentials=["real"]))

    known = agent.call("x", make_content(credentials=["real", "s9999"])).credentials

    assert known is not None
    assert [(fact.origin, fact.origin_call) for fact in known] == [("result", 2), ("unknown", None)]
    assert len(agent.state.presented) <= bounds.MAX_PRESENTED


# --- spread ----------------------------------------------------------------------------------------


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
    apply(agent.state, Opened(known=frozenset({1})))
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
    apply(agent.state, Opened(known=frozenset({1})))
    agent.call("files", result=make_result({5}, complete=False))

    assert agent.call("mail", make_content({1})).spread == 0
    assert agent.call("chat", make_content({1, 2})).spread == 1


def test_the_end_of_a_result_beyond_the_words_of_one_result_is_not_forgotten(
    agent: Agent, make_content: Callable[..., CallContent], make_result: Callable[..., ResultContent]
):
    call_id, _ = agent.begin("files")
    for part in range(5):
        tokens = range(part * 1000, (part + 1) * 1000)
        apply(agent.state, observed(agent.state, call_id, make_result(tokens)))
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
    assert not agent.state.unkept
    agent.call("files", result=make_result({10**9}))

    assert agent.state.unkept == {"files"}
    assert agent.call("mail", make_content({10**9})).spread == 1


# --- grounding -------------------------------------------------------------------------------------


def _authority(grounded: frozenset[str] = frozenset(), **digests: set[int]) -> CallContent:
    return CallContent(authority={f"/{name}": frozenset(values) for name, values in digests.items()}, grounded=grounded)


def test_a_value_that_came_from_nowhere_trusted_is_ungrounded(agent: Agent, make_result: Callable[..., ResultContent]):
    apply(agent.state, Opened(known=frozenset({1})))
    agent.call("directory", result=make_result({2}), trusted=True)
    agent.call("issues", result=make_result({3, 4}))
    apply(agent.state, Endorsed(frozenset({4})))

    known = agent.call("mail", _authority(goal={1}, trusted={2}, untrusted={3}, endorsed={4}, mixed={1, 3}, new={9}))

    assert known.ungrounded == ("/mixed", "/new", "/untrusted")
    assert known.approvals_used == 1


def test_a_value_that_stands_in_the_goal_is_grounded(agent: Agent):
    assert agent.call("mail", _authority(frozenset({"/to"}), to={9}, cc={9})).ungrounded == ("/cc",)


def test_trusted_words_beyond_the_bound_ground_nothing(agent: Agent, make_result: Callable[..., ResultContent]):
    for part in range(bounds.MAX_TRUSTED // 1000 + 1):
        agent.call("directory", result=make_result(range(part * 1000, (part + 1) * 1000)), trusted=True)

    assert len(agent.state.trusted) == bounds.MAX_TRUSTED
    assert agent.call("mail", _authority(to={16_999})).ungrounded == ("/to",)


def test_endorsements_are_bounded(agent: Agent):
    apply(agent.state, Endorsed(frozenset(range(bounds.MAX_ENDORSED + 5))))

    assert len(agent.state.endorsed) == bounds.MAX_ENDORSED


# --- the rest --------------------------------------------------------------------------------------


def test_a_task_that_ended_says_how(agent: Agent):
    assert apply(agent.state, Ended("cancelled")).ended == "cancelled"


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
        event = observed(agent.state, call_id, content)
        before = copy.deepcopy(agent.state)
        assert says_nothing(agent.state, event) is nothing
        assert (apply(agent.state, event) == before) is nothing


def test_a_result_with_more_credentials_than_are_told_apart_makes_the_origin_of_others_unknown(
    agent: Agent, make_content: Callable[..., CallContent], make_result: Callable[..., ResultContent]
):
    agent.call("files", result=make_result(credentials=["told"]))
    agent.call("files", result=make_result(credentials=["first"], complete=False), trusted=True)

    assert agent.call("mail", make_content(credentials=["another"])).credentials is None
    held = agent.call("mail", make_content(credentials=["told", "first"])).credentials
    assert held is not None
    assert [credential.origin for credential in held] == ["result", "result"]


def test_a_result_with_more_words_than_are_kept_leaves_the_origin_of_credentials_known(
    agent: Agent, make_content: Callable[..., CallContent], make_result: Callable[..., ResultContent]
):
    agent.call("files", result=make_result(range(bounds.MAX_RESULT_TOKENS + 1)))

    held = agent.call("mail", make_content(credentials=["another"])).credentials
    assert held is not None
    assert [credential.origin for credential in held] == ["unknown"]


def test_a_higher_label_is_news(agent: Agent, make_result: Callable[..., ResultContent]):
    call_id, _ = agent.begin("a", trusted=True)
    apply(agent.state, observed(agent.state, call_id, make_result()))

    assert says_nothing(agent.state, observed(agent.state, call_id, make_result()))
    assert not says_nothing(agent.state, observed(agent.state, call_id, make_result(), Sensitivity.RESTRICTED))


def test_without_content_what_depends_on_it_is_unknown(make_call: Callable[..., Call]):
    state = TaskState()
    apply(state, reserved(state, "c", make_call(), None, 0))

    known = facts(state, 0, call="c")

    assert (known.credentials, known.call_destinations, known.ungrounded) == (None, None, None)
    assert (known.destinations, known.spread) == (None, None)


def _long_task(make_call: Callable[..., Call], length: int, words: int) -> TaskState:
    """`length` events of calls to three systems, with new words, a new destination and two new credentials each."""
    state, word = TaskState(), 2**63
    for number in range(length // 3):
        content = CallContent({number: "d"}, (Sighting(f"fp:{number:024}", "jwt"),), tokens=frozenset({2**63 + number}))
        call = make_call(f"system-{number % 3}")
        apply(state, reserved(state, "c", call, content, number))
        secret = Sighting(f"fr:{number:024}", "jwt", shingles=frozenset(range(word, word + 64)))
        result = ResultContent((secret,), frozenset(range(word, word + words)))
        apply(state, observed(state, "c", result))
        apply(state, Settled("c"))
        word += words
    return state


def test_a_task_of_100_000_events_takes_less_than_16_mb(make_call: Callable[..., Call]):
    gc.collect()
    tracemalloc.start()
    try:
        state = _long_task(make_call, 15_000, 40)
        gc.collect()
        short, _ = tracemalloc.get_traced_memory()
        del state
        gc.collect()
        tracemalloc.reset_peak()
        state = _long_task(make_call, 100_000, 40)
        gc.collect()
        long, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    FIGURES.info("15,000 and 100,000 events take %d and %d bytes", short, long)
    assert state.settled == 33_333
    assert long < 16 * 2**20
    assert long < short * 1.5


@pytest.mark.parametrize("credentials", [(), (Sighting("fp:x", "jwt"),)], ids=["plain", "credential"])
def test_an_event_takes_the_same_time_in_a_long_task(make_call: Callable[..., Call], credentials: tuple[Sighting, ...]):
    """Medians of many rounds, and a factor that no machine's noise reaches; a scan would be a thousand times longer."""
    content = CallContent({1: "d"}, credentials, tokens=frozenset(range(300)))
    took: dict[int, float] = {}
    for length in (30, 3_000, 100_000):
        state, call = _long_task(make_call, length, 500), make_call("system-0")
        rounds: list[float] = []
        for _ in range(300):
            begun = time.perf_counter()
            apply(state, reserved(state, "c", call, content, 0))
            facts(state, 0, call="c", content=content)
            apply(state, Settled("c"))
            rounds.append(time.perf_counter() - begun)
        took[length] = median(rounds)

    FIGURES.info("%s", {length: f"{seconds * 1e6:.1f} µs" for length, seconds in took.items()})
    assert took[100_000] < took[30] * 5


def test_a_known_credential_is_a_small_value():
    assert Known("user") == ("user", None, None, 0, False, False)


# --- links -------------------------------------------------------------------------------------------

POINTED = CallContent(directed=True)
TOLD = CallContent(own=True)


def _follows(link: int) -> CallContent:
    return CallContent(links={"/url": link}, own=True)


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

    assert says_nothing(agent.state, observed(agent.state, call, _sending(1)))
    assert not says_nothing(agent.state, observed(agent.state, call, _sending(2)))


def test_the_ways_to_read_so_many_links_say_less_than_a_code_of_six_digits():
    ways = sum(math.perm(bounds.MAX_LINKS, count) * 2**count for count in range(bounds.MAX_LINKS + 1))

    assert ways == 75_973
    assert ways < 10**6
