"""The question to the policy about open leases: which end, under which revision, and what a race or a failure leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any, cast

import pytest
from msgspec import structs

from gateway.authority.leases import Lent
from gateway.authority.model import LeaseGrounds
from gateway.calls.pipeline.lease_review import ASKED_AT_ONCE, LeaseReview
from gateway.model.caller import Principal
from gateway.model.errors import HistoryFull
from gateway.model.facts import SessionFacts
from gateway.model.target import Labels, Pin, Target
from gateway.model.task import Task
from gateway.policy.observing import ObservedUpstream, ObserveMode
from tests.unit.authority.lending import AGENT, Lending

TARGET = Target("tool", "crm", "find", "https://crm.example", labels=Labels(), pin=Pin.MATCH)


class ScriptedPolicy:
    """Keeps the leases whose ids are in `keeps`. `while_asked` runs during a question."""

    def __init__(self, *keeps: str) -> None:
        self.keeps = frozenset(keeps)
        self.revision = "new"
        self.questions: list[dict[str, Any]] = []
        self.listeners: list[Callable[[], object]] = []
        self.while_asked: Callable[[], object] = lambda: None

    def status(self) -> SimpleNamespace:
        return SimpleNamespace(revision=self.revision)

    def on_change(self, told: Callable[[], object]) -> None:
        self.listeners.append(told)

    async def kept(self, document: Any, asked: frozenset[str]) -> frozenset[str]:
        self.questions.append(document)
        self.while_asked()
        return self.keeps & asked


class Histories:
    """Tasks without a past. With `is_full` there is no room for a new one."""

    is_full = False

    def open_implicit(self, principal: Principal, now: float) -> Task:
        if self.is_full:
            raise HistoryFull("there is no room", "wait")
        return Task("implicit", "implicit", opened=now)

    def facts(self, task: Task, now: float) -> Any:
        return SessionFacts(0, 0, frozenset(), frozenset(), frozenset(), frozenset(), 0)


class Pins:
    """A catalogue in which each definition has one pin."""

    pin = Pin.MATCH

    def target(self, upstream: str, type: Any, name: str) -> Target:  # noqa: A002 - the catalogue's own name
        if upstream == "gone":
            raise KeyError(upstream)
        return replace(TARGET, pin=self.pin)


@pytest.fixture
async def lending(tmp_path: Path) -> AsyncGenerator[Lending]:
    found = Lending(tmp_path)
    yield found
    await found.leases.drain(5.0)


def review_of(
    lending: Lending,
    policy: ScriptedPolicy,
    histories: Histories | None = None,
    pins: Pins | None = None,
    observed: Mapping[str, ObservedUpstream] = MappingProxyType({}),
) -> LeaseReview:
    history = histories or Histories()
    parts: tuple[Any, Any, Any, Any] = policy, history, history, pins or Pins()
    observing = ObserveMode(observed, frozenset(), lambda: lending.now)
    return LeaseReview(lending.leases, *parts, observing=observing, clock=lambda: lending.now)


async def lend(lending: Lending, number: int, revision: str = "old", **more: Any) -> Lent:
    request = lending.request(number, scope=(f"s{number}",), **more)
    grounds = LeaseGrounds(AGENT, TARGET, revision, Task(request.task, "declared", opened=lending.now))
    lent = await lending.leases.lend("bao", structs.replace(request, grounds=grounds))
    return cast("Lent", lent)


def active(lending: Lending) -> set[str]:
    return {lease.id for lease in lending.leases.all() if lease.state == "active"}


async def test_exactly_the_leases_that_a_new_revision_does_not_keep_end(lending: Lending):
    for number in (1, 2, 3):
        await lend(lending, number)
    policy = ScriptedPolicy("l1", "l3")

    assert await review_of(lending, policy).review_outdated() == 1

    assert active(lending) == {"l1", "l3"}
    lease = lending.register.get("l2")
    assert lease is None or lease.cause == "policy-changed"


async def test_a_kept_lease_is_asked_about_once_a_revision(lending: Lending):
    await lend(lending, 1)
    policy = ScriptedPolicy("l1")
    review = review_of(lending, policy)

    assert [await review.review_outdated() for _ in range(3)] == [0, 0, 0]
    assert len(policy.questions) == 1
    policy.revision, policy.keeps = "newer", frozenset[str]()
    assert await review.review_outdated() == 1


async def test_the_same_revision_ends_no_lease(lending: Lending):
    await lend(lending, 1, "new")
    policy = ScriptedPolicy()

    assert await review_of(lending, policy).review_outdated() == 0
    assert policy.questions == []


async def test_a_lease_that_the_old_revision_permitted_during_the_change_is_asked_about(lending: Lending):
    policy = ScriptedPolicy()
    review = review_of(lending, policy)
    await review.review_outdated()
    await lend(lending, 1, "old")

    assert await review.review_outdated() == 1


async def test_a_lease_that_is_still_requested_never_serves_a_call(lending: Lending):
    lending.broker.gate = asyncio.Event()
    flight = asyncio.ensure_future(lend(lending, 1))
    while lending.broker.asked == 0:
        await asyncio.sleep(0)

    await review_of(lending, ScriptedPolicy()).review_outdated()
    lending.broker.gate.set()

    assert not isinstance(await flight, Lent)
    assert active(lending) == set()


async def test_a_lease_that_becomes_active_during_the_question_ends(lending: Lending):
    lending.broker.gate = asyncio.Event()
    flight = asyncio.ensure_future(lend(lending, 1))
    while lending.broker.asked == 0:
        await asyncio.sleep(0)
    policy = ScriptedPolicy()
    review = review_of(lending, policy)
    asking = policy.kept

    async def slow(document: Any, asked: frozenset[str]) -> frozenset[str]:
        assert lending.broker.gate is not None
        lending.broker.gate.set()
        await flight
        return await asking(document, asked)

    policy.kept = slow
    await review.review_outdated()

    assert active(lending) == set()


async def test_a_revision_that_comes_during_the_question_asks_again(lending: Lending):
    await lend(lending, 1)
    policy = ScriptedPolicy("l1")
    review = review_of(lending, policy)
    policy.while_asked = lambda: setattr(policy, "revision", "newer")
    await review.review_outdated()
    policy.keeps = frozenset()

    assert await review.review_outdated() == 1


async def test_a_question_names_the_caller_the_task_and_the_present_pin(lending: Lending):
    await lend(lending, 1)
    policy = ScriptedPolicy("l1")
    pins = Pins()
    pins.pin = Pin.CHANGED
    await review_of(lending, policy, pins=pins).review(lambda lease, _grounds: lease.upstream == "crm", "pin-changed")

    (question,) = policy.questions
    (lease,) = question["leases"]
    assert (question["subject"]["id"], question["context"]["task"]["id"]) == ("agent", "t1")
    assert (lease["id"], list(lease["scope"]), lease["kind"]) == ("l1", ["s1"], "exchange")
    assert (lease["resource"]["id"], lease["resource"]["properties"]["pin"]) == ("crm/find", "changed")


async def test_a_question_has_few_leases_of_one_task(lending: Lending):
    for number in range(ASKED_AT_ONCE + 1):
        await lend(lending, number, task="t1")
    await lend(lending, 99, task="t2")
    policy = ScriptedPolicy(*(f"l{number}" for number in range(100)))

    await review_of(lending, policy).review_outdated()

    assert sorted(len(question["leases"]) for question in policy.questions) == [1, 1, ASKED_AT_ONCE]


async def test_a_lease_that_cannot_be_asked_about_ends(lending: Lending):
    request = lending.request(1)
    await lending.leases.lend("bao", structs.replace(request, grounds=LeaseGrounds(AGENT, TARGET, "old")))
    histories = Histories()
    histories.is_full = True

    assert await review_of(lending, ScriptedPolicy("l1"), histories).review_outdated() == 1


async def test_a_lease_of_no_caller_is_not_asked_about(lending: Lending):
    await lending.leases.lend("bao", lending.request(1))

    assert await review_of(lending, ScriptedPolicy()).review_outdated() == 0
    assert active(lending) == {"l1"}


async def test_the_grounds_of_an_ended_lease_are_gone(lending: Lending):
    lent = await lend(lending, 1)
    lending.leases.end([lent.lease], "operator")

    assert lending.leases.permitted() == ()


async def test_a_question_in_observe_mode_says_so_until_its_end(lending: Lending):
    upstream = (await lend(lending, 1)).lease.upstream
    policy = ScriptedPolicy("l1")
    review = review_of(lending, policy, observed={upstream: ObservedUpstream("crm", lending.now + 10)})
    await review.review_outdated()
    lending.now += 10
    await review.review(lambda _lease, _grounds: True, "policy-changed")

    assert [question["context"].get("enforced") for question in policy.questions] == [False, None]


async def test_leases_are_judged_again_when_observe_mode_ends(lending: Lending):
    upstream = (await lend(lending, 1, "new")).lease.upstream
    review = review_of(lending, ScriptedPolicy())
    watching = review.start()
    review.note_enforced(["other"])
    await asyncio.sleep(0)
    assert active(lending) == {"l1"}
    review.note_enforced([upstream])
    for _ in range(100):
        await asyncio.sleep(0)
    await watching.stop()

    assert active(lending) == set()
