"""The declared facts of agents, users and all callers are the same at each gateway of a shared store."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import pytest

from gateway.base.store.engine import Log
from gateway.history import shared_accounts
from gateway.history.declared.marks import FactReader
from gateway.model.call import Call
from gateway.model.errors import HistoryError
from gateway.model.task import Task
from tests.unit.history.declared.counting import ADA, READ, REFUND, book, caller
from tests.unit.history.shared.replicas import Replica

if TYPE_CHECKING:
    from gateway.model.caller import Principal
    from gateway.model.facts import DeclaredFacts
    from gateway.model.target import Target
    from tests.unit.clock import Clock

Start = Callable[[str], Replica]
TOTAL: Final = 100
FACTS: Final = book(
    """
refunded:
  sum: /arguments/amount
  of: {tool: payments/refund, outcome: [open, done, unknown]}
  by: [/arguments/customer]
  within: 1h
of_agent:
  count: calls
  of: {tool: payments/refund, outcome: [open, done]}
  by: [agent]
  within: 1h
of_task:
  count: calls
  of: {tool: payments/refund, outcome: [open, done]}
  by: [task]
"""
)
_NUMBERS = itertools.count(1)


def declare(*replicas: Replica) -> None:
    for replica in replicas:
        replica.history.ledger.declared = FactReader(b"k" * 32, lambda: FACTS)


async def begin(
    replica: Replica, amount: int, who: Principal = ADA, to: Target = REFUND
) -> tuple[Task, str, DeclaredFacts]:
    """Reserve a call as the pipeline does."""
    ledger, call = replica.history.ledger, f"{replica.name}-{next(_NUMBERS)}"
    task = await replica.enter(who)
    wanted = Call("tools/call", to, {"amount": amount, "customer": "c1"})
    counted = await ledger.count(task, call, wanted, None, replica.clock(), principal=who)
    return task, call, counted.declared


async def pay(replica: Replica, amount: int, who: Principal = ADA) -> bool:
    """Make a whole call under a policy that allows no total beyond the limit."""
    task, call, facts = await begin(replica, amount, who)
    ledger = replica.history.ledger
    if facts.incomplete or float(facts.values["refunded"]) > TOTAL:
        ledger.release(task, call, denied=True)
        await replica.log.confirm(who.job)
        return False
    ledger.let_pass(task, call)
    ledger.settle(task, call)
    await replica.log.confirm(who.job)
    return True


async def test_racing_payments_of_many_callers_over_gateways_never_pass_a_total(start: Start):
    replicas = [start("a"), start("b"), start("c")]
    declare(*replicas)
    callers = [caller(agent, user) for agent in ("one", "two") for user in ("ada", "eve", None)]
    paid: list[int] = []

    async def pay_once(number: int) -> None:
        amount = random.randint(1, 9)
        if await pay(replicas[number % 3], amount, callers[number % len(callers)]):
            paid.append(amount)

    await asyncio.gather(*map(pay_once, range(90)))

    assert TOTAL - 9 <= sum(paid) <= TOTAL
    for replica in replicas:
        _, _, facts = await begin(replica, 0)
        assert facts.before["refunded"] == sum(paid)


async def test_no_call_is_refused_for_a_later_one(start: Start):
    replicas = [start("a"), start("b")]
    declare(*replicas)

    found = await asyncio.gather(*(begin(replicas[number % 2], 1, caller(f"agent-{number}")) for number in range(20)))

    assert sorted(facts.values["refunded"] for _, _, facts in found) == list(range(1, 21))


async def test_each_account_counts_its_own_calls_at_all_gateways(start: Start):
    a, b = start("a"), start("b")
    declare(a, b)
    for replica in (a, b, a):
        assert await pay(replica, 1)
    assert await pay(b, 1, caller("other"))

    _, _, facts = await begin(b, 5)

    assert (facts.values["refunded"], facts.values["of_agent"], facts.values["of_task"]) == (9, 4, 4)


async def test_a_call_that_no_fact_counts_reads_what_other_gateways_counted(start: Start):
    a, b = start("a"), start("b")
    declare(a, b)
    await begin(b, 0, to=READ)
    assert await pay(a, 7)

    _, _, facts = await begin(b, 0, to=READ)

    assert facts.values["refunded"] == 7


async def test_a_refused_call_gives_its_amount_back_at_all_gateways(start: Start):
    a, b = start("a"), start("b")
    declare(a, b)
    assert await pay(a, TOTAL - 1)
    assert not await pay(b, 2)

    assert await pay(a, 1)


async def test_the_open_calls_of_a_gateway_that_has_ended_count_as_unknown(start: Start, clock: Clock):
    a, b = start("a"), start("b")
    declare(a, b)
    await begin(a, 30, caller("gone"))
    _, _, facts = await begin(b, 1)
    assert (facts.values["refunded"], facts.before["refunded"]) == (31, 30)

    b.living = {"b"}
    await b.log.close_lost_calls()
    await b.log.close_lost_calls()
    clock.now += 2 * 3600
    _, _, later = await begin(b, 1, caller("one more"))

    # The call of the ended gateway leaves the window. An open one would count on.
    assert later.values["refunded"] == 2


async def test_a_snapshot_and_the_log_give_the_same_facts(start: Start, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shared_accounts, "_SNAPSHOT_AFTER", 4)
    a, b = start("a"), start("b")
    declare(a, b)
    for _ in range(5):
        assert await pay(a, 2)
    await begin(a, 3)
    await a.log.accounts.write_snapshots()
    assert await a.engine.count(shared_accounts.ACCOUNTS.name) == 2

    _, _, facts = await begin(b, 1)

    assert (facts.values["refunded"], facts.values["of_agent"]) == (14, 7)


async def test_an_account_that_left_memory_is_read_again(start: Start, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shared_accounts, "_KEPT", 0)
    a = start("a")
    declare(a)
    assert await pay(a, 5)
    a.log.shed()

    assert (await begin(a, 1))[2].values["refunded"] == 6


async def test_a_call_is_refused_if_an_account_has_lost_its_reservation(start: Start, monkeypatch: pytest.MonkeyPatch):
    a = start("a")
    declare(a)
    assert await pay(a, 1)
    read = a.engine.read_log

    async def lose(log: Log, after: int = 0) -> list[bytes]:
        return [] if log.name == "facts" else await read(log, after)

    monkeypatch.setattr(a.engine, "read_log", lose)

    with pytest.raises(HistoryError, match="an account lacks a call that it had"):
        await begin(a, 1)
