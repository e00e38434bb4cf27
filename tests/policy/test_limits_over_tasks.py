"""Limits on a user and on an agent over all tasks, as the shipped policy holds them against ways around."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from gateway.calls.pipeline.context import SUPPORTED_OBLIGATIONS
from gateway.config import PolicySettings, TaskLimit
from gateway.history.events import Passed, Released, Settled, TaskOpened
from gateway.history.fold import apply
from gateway.history.state import TaskState
from gateway.model.call import Call
from gateway.model.caller import AuthMethod, Principal, User
from gateway.model.content import CallContent
from gateway.model.target import Effect, Labels, Pin, Role, Sensitivity, Target
from gateway.model.task import Task
from gateway.policy.policy import Policy
from gateway.surfaces.replay.engine import DeclaredHistory, ask

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from gateway.model.decision import Decision
    from gateway.model.wire import JsonObject

GRANTS = """
upstreams:
  "*": [{id: all, agents: ["*"], issuers: ["*"], tools: ["*"], effects: [read, write]}]
"""
LIMITS = {f"{owner}.repeats": TaskLimit(soft=20, hard=200) for owner in ("user", "agent")} | {
    f"{owner}.amount": TaskLimit(soft=1000, hard=5000) for owner in ("user", "agent")
}
MAIL: JsonObject = {"to": "ann@corp.example", "body": "Hello  Ann", "copies": 1}


def tool(name: str = "send", effect: Effect = Effect.WRITE, **labels: Any) -> Target:
    described = Labels(effect, egress=False, sensitivity=Sensitivity.INTERNAL, **labels)
    return Target("tool", "mail", name, "mail", None, "test", "trusted", labels=described, pin=Pin.MATCH)


SEND = tool()
PAY = tool("pay", roles={"/amount": Role.AMOUNT})


def caller(agent: str = "agent", user: str | None = "ada") -> Principal:
    return Principal(agent, "https://idp.example", AuthMethod.JWT, user=None if user is None else User(user))


class Day:
    """A day of calls under the shipped policy. Each task has a state, and all tasks have the same accounts."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        declared = DeclaredHistory.begin(lambda: policy.facts)
        assert declared is not None
        self._declared = declared
        self._states: dict[str, TaskState] = {}
        self._number = 0

    async def begin(
        self, arguments: JsonObject, to: Target = SEND, who: Principal | None = None, task: str = "task"
    ) -> tuple[str, Decision]:
        """Decide a call. An allowed call stays open."""
        self._number += 1
        state = self._states.setdefault(task, apply(TaskState(), TaskOpened()))
        asked = ask(
            who or caller(),
            Call("tools/call", to, arguments),
            Task(task, "implicit", 1_000_000.0),
            CallContent(),
            state,
            number=self._number,
            now=1_000_000.0 + self._number / 1000,
            declared=self._declared,
        )
        decision, call = await self._policy.decide(asked), str(self._number)
        if decision.allowed:
            apply(state, Passed(call))
        else:
            released = Released(call, decision.is_denial, decision.effect == "ask")
            apply(state, released)
            self._declared.accounts.close(released)
        return call, decision

    async def call(
        self, arguments: JsonObject, to: Target = SEND, who: Principal | None = None, task: str = "task"
    ) -> str:
        """Return the code of the first reason, or `allow`."""
        call, decision = await self.begin(arguments, to, who, task)
        if decision.allowed:
            apply(self._states[task], Settled(call))
            self._declared.accounts.close(Settled(call))
        return "allow" if decision.allowed else f"{decision.effect} {decision.reasons[0].code}"


@pytest.fixture
async def day(tmp_path: Path) -> AsyncGenerator[Day]:
    (tmp_path / "grants.yaml").write_text(GRANTS, "utf-8")
    settings = PolicySettings(grants=tmp_path / "grants.yaml").with_limits(LIMITS)
    policy = Policy.build(settings, supported=frozenset(SUPPORTED_OBLIGATIONS), clock=lambda: 0.0)
    await policy.start()
    try:
        yield Day(policy)
    finally:
        await policy.stop()


async def spend(day: Day, who: Principal | None = None) -> None:
    """Send as many equal mails as pass unasked."""
    assert [await day.call(MAIL, who=who, task=f"task-{number % 7}") for number in range(20)] == ["allow"] * 20


async def test_equal_mails_of_one_task_ask_early(day: Day):
    found = [await day.call(MAIL) for _ in range(300)]

    assert found == ["allow"] * 20 + ["ask limit/repeats"] * 280


@pytest.mark.parametrize(
    "arguments",
    [
        {"copies": 1.0, "body": "Hello  Ann", "to": "ann@corp.example"},
        {**MAIL, "to": "ANN@corp.example "},
        {**MAIL, "body": "\uff28ello\u00a0ann"},
    ],
)
async def test_equal_arguments_are_equal_however_they_are_written(day: Day, arguments: JsonObject):
    await spend(day)

    assert await day.call(arguments) == "ask limit/repeats"
    assert await day.call({**MAIL, "body": "Another text"}) == "allow"


@pytest.mark.parametrize("user", ["ada", "Ada", " ADA", "\uff41da"])
async def test_another_task_agent_or_form_of_the_subject_begins_no_other_number(day: Day, user: str):
    await spend(day)

    assert await day.call(MAIL, who=caller("a new agent", user), task="a new task") == "ask limit/repeats"
    through = replace(caller("sub agent", user), session="another", token_id="another", email="ada@corp.example")
    assert await day.call(MAIL, who=through, task="a third task") == "ask limit/repeats"


async def test_other_users_and_agents_without_a_user_have_numbers_of_their_own(day: Day):
    await spend(day)

    assert await day.call(MAIL, who=caller(user="bob")) == "allow"
    await spend(day, caller(user=None))
    assert await day.call(MAIL, who=caller(user=None), task="a new task") == "ask limit/repeats"
    assert await day.call(MAIL, who=caller("ada", user=None)) == "allow", "an agent is no user of this name"


async def test_racing_calls_count_one_another(day: Day):
    decisions = [await day.begin({"amount": 3}, PAY, task=f"task-{number}") for number in range(1000)]

    assert sum(decision.allowed for _, decision in decisions) == 20, "equal payments, none of which has ended"
    others = [await day.begin({"amount": 7, "order": number}, PAY, task=f"task-{number}") for number in range(1000)]
    allowed = sum(decision.allowed for _, decision in others)
    assert 20 * 3 + allowed * 7 <= 1000 < 20 * 3 + (allowed + 1) * 7


@pytest.mark.parametrize("amount", [600, "600", "EUR 600.00", " 600,00 EUR", -600])
async def test_an_amount_counts_however_it_is_written(day: Day, amount: Any):
    assert await day.call({"amount": amount, "order": 1}, PAY) == "allow"

    assert (
        await day.call({"amount": amount, "order": 2}, PAY, caller("a new agent"), "a new task") == "ask limit/amount"
    )


@pytest.mark.parametrize("amount", ["all", "6 million", {"value": 5}, True])
async def test_an_amount_that_nobody_can_read_is_refused(day: Day, amount: Any):
    assert await day.call({"amount": amount}, PAY) == "deny fact/incomplete"
    assert await day.call({"amount": 5}, PAY) == "allow", "a refused call leaves nothing"


async def test_reads_and_tools_without_a_label_repeat_freely(day: Day):
    read, unlabelled = tool("read", Effect.READ), tool("use", assumed=frozenset({"effect"}))

    assert {await day.call(MAIL, to) for to in (read, unlabelled) for _ in range(50)} == {"allow"}
