"""Leases of several gateways over one real store, once for each engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.authority.leases import Lent
from gateway.authority.model import BrokerRefusal, Credential, Lease, NotEnded
from gateway.base.store.engine import Engine
from gateway.model.errors import HistoryError
from tests.unit.authority.lending import Lending, ScriptedBroker
from tests.unit.base.store.engines import open_store
from tests.unit.clock import Clock
from tests.unit.history.recording import AGENT as TASK_AGENT
from tests.unit.history.shared.replicas import Replica

Start = Callable[..., Lending]


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "records.db") if request.param == "sqlite" else request.getfixturevalue("schema_url")


@pytest.fixture
async def start(place: str, tmp_path: Path) -> AsyncGenerator[Start]:
    """Give a way to start one more gateway over the same records, at the same issuer."""
    broker, living, engines, started = ScriptedBroker(), set[str](), list[Engine](), list[Lending]()

    def start_one(name: str, **fields: Any) -> Lending:
        engines.append(open_store(place, Clock(1000.0)))
        started.append(Lending(tmp_path, broker, engine=engines[-1], name=name, living=living, **fields))
        return started[-1]

    yield start_one
    for lending in started:
        await lending.leases.drain(0.0)
    for engine in engines:
        engine.close()
    await asyncio.sleep(0)


async def lend(lending: Lending, number: int = 1, **terms: Any) -> Lease:
    lent = await lending.leases.lend("bao", lending.request(number, **terms))
    assert isinstance(lent, Lent)
    return lent.lease


async def settle(*gateways: Lending) -> None:
    """Have each gateway take in what the others did, and wait for the ends that begin."""
    for gateway in gateways:
        await gateway.fleet.look()
    for gateway in gateways:
        await gateway.leases._ender.settle(30.0)  # pyright: ignore[reportPrivateUsage]


def ends(lending: Lending) -> list[str]:
    """Return the leases whose end the issuer saw, each as often as it was asked."""
    return sorted(identifier for identifier, _ in lending.broker.ended)


async def test_a_lease_of_another_gateway_is_listed_and_counted(start: Start):
    a, b = start("a"), start("b")
    await lend(a)
    await b.fleet.look()

    assert [(lease.id, lease.replica) for lease in b.leases.all()] == [("l1", "a1")]
    assert b.leases.own() == ()
    count = b.leases.count("t1")
    assert count is not None
    assert count.open == 1
    a.leases.end_task("t1", "task-completed")
    await settle(a)
    await b.fleet.look()
    assert b.leases.all() == ()


async def test_an_operator_ends_the_leases_of_all_gateways_at_any_of_them(start: Start):
    a, b = start("a"), start("b")
    await lend(a, 1)
    await lend(b, 2, task="t2")

    assert await b.fleet.end(lambda lease: lease.agent == "agent", "operator") == 2
    assert await b.fleet.end(lambda lease: lease.agent == "agent", "operator") == 0, "an order is given once"
    await settle(a, b)
    assert ends(a) == ["l1", "l2"]
    assert [entry["cause"] for entry in a.entries if entry["event"] == "ending"] == ["operator"]
    assert await a.stored() == ()
    assert await a.store.load_orders() == {}


async def test_a_lease_that_is_being_issued_is_ended_by_an_order_too(start: Start):
    a, b = start("a"), start("b")
    a.broker.gate = asyncio.Event()
    lending = asyncio.ensure_future(a.leases.lend("bao", a.request(1)))
    while not a.broker.asked:
        await asyncio.sleep(0)

    assert await b.fleet.end(lambda _lease: True, "operator") == 1
    await a.fleet.look()
    a.broker.gate.set()
    assert isinstance(await lending, BrokerRefusal)
    await settle(a)
    assert ends(a) == ["l1"]


async def test_the_leases_of_a_dead_gateway_are_ended_once_by_racing_survivors(start: Start):
    dead, survivors = start("dead", keeps_values=True), [start(name) for name in "bcd"]
    for number in range(20):
        await lend(dead, number, scope=(f"s{number}",))
    for survivor in survivors:
        assert await survivor.fleet.look() == 0, "its gateway lives"

    dead.living.discard("dead1")
    taken = await asyncio.gather(*(survivor.fleet.look() for survivor in survivors))
    await settle(*survivors)
    assert sum(taken) == 20
    assert ends(dead) == sorted(f"l{number}" for number in range(20))
    assert {value for _, value in dead.broker.ended} == {Credential(f"secret-{number}") for number in range(1, 21)}
    assert await dead.stored() == ()
    assert await dead.stored_values() == {}
    for survivor in survivors:
        assert {entry["cause"] for entry in survivor.entries} <= {"restart"}


async def test_the_leases_that_a_survivor_took_over_are_taken_over_again(start: Start):
    dead, second, third = start("dead"), start("second"), start("third")
    await lend(dead)
    dead.broker.ends = [NotEnded("down")] * 1000
    dead.living.discard("dead1")
    assert await second.fleet.look() == 1
    assert await third.fleet.look() == 0
    assert [lease.replica for lease in third.leases.all()] == ["second1"]

    second.living.discard("second1")
    await second.leases._ender.aclose()  # pyright: ignore[reportPrivateUsage]
    assert await third.fleet.look() == 1
    dead.broker.ends.clear()
    await settle(third)
    assert await dead.stored() == ()


async def test_a_lease_taken_over_without_an_answer_is_ended_by_the_next_look(
    start: Start, monkeypatch: pytest.MonkeyPatch
):
    dead, second = start("dead"), start("second")
    await lend(dead)
    await second.fleet.look()
    dead.living.discard("dead1")
    take = second.store.take

    async def take_without_answer(lease: Lease, version: int) -> bool:
        await take(lease, version)
        raise HistoryError("no answer", "look again")

    monkeypatch.setattr(second.store, "take", take_without_answer)
    with pytest.raises(HistoryError):
        await second.fleet.look()
    monkeypatch.undo()
    assert await second.fleet.look() == 1
    await settle(second)
    assert ends(second) == ["l1"]


async def test_a_stuck_end_blocks_its_broker_at_every_gateway(start: Start):
    a, b = start("a"), start("b")
    a.broker.ends = [NotEnded("down")] * 1000
    await lend(a)
    a.leases.end_task("t1", "task-completed")
    a.now += 61
    a.elapsed += 61
    while not any(lease.state == "stuck" for lease in await a.stored()):
        await asyncio.sleep(0.01)
    await b.fleet.look()

    refused = await b.leases.lend("bao", b.request(2, task="t2"))
    assert isinstance(refused, BrokerRefusal)
    assert refused.code == "credential/stuck"
    count = b.leases.count("t1")
    assert count is not None
    assert count.stuck == 1
    assert (await b.fleet.abandon("l1", "the issuer is gone")) is not None
    await a.fleet.look()
    await b.fleet.look()
    assert await a.stored() == ()
    assert [entry["problem"] for entry in a.entries if entry["event"] == "abandoned"] == ["the issuer is gone"]
    assert isinstance(await b.leases.lend("bao", b.request(3, task="t2")), Lent)


async def test_only_a_lease_that_waits_for_its_end_is_given_up_elsewhere(start: Start):
    a, b = start("a"), start("b")
    await lend(a)
    assert await b.fleet.abandon("l1", "gone") is None
    assert await b.fleet.abandon("unknown", "gone") is None
    assert await a.store.load_orders() == {}


async def test_a_lease_whose_task_another_gateway_ended_before_its_record_serves_no_call(start: Start):
    async def fold_the_end(_task: str) -> None:
        a.leases.end_task("t1", "task-completed")

    a = start("a", catch_up=fold_the_end)
    assert isinstance(await a.leases.lend("bao", a.request(1)), BrokerRefusal)
    await settle(a)
    assert ends(a) == ["l1"]


async def test_a_lease_is_not_lent_while_the_tasks_of_others_are_unknown(start: Start):
    async def fail(_task: str) -> None:
        raise HistoryError("away", "wait")

    a = start("a", catch_up=fail)
    with pytest.raises(HistoryError):
        await a.leases.lend("bao", a.request(1))
    await settle(a)
    assert ends(a) == ["l1"]


async def test_the_tasks_with_open_leases_are_followed(start: Start):
    a = start("a")
    a.open_tasks |= {"catalogue", "messages:agent"}
    await lend(a, 1, task="catalogue")
    await lend(a, 2, task="messages:agent")
    assert a.leases.list_tasks() == frozenset()
    await lend(a, 3)
    assert a.leases.list_tasks() == {"t1"}
    a.leases.end_task("t1", "task-completed")
    assert a.leases.list_tasks() == frozenset()


# --- the tasks of other gateways -----------------------------------------------------------------------------


class Working:
    """A gateway with its own view of a shared history, and leases for the tasks there."""

    def __init__(self, start: Start, place: str, name: str) -> None:
        self.history = Replica(name, open_store(place, Clock(1000.0)))
        self.lending = start(name, catch_up=self.catch_up)
        self.history.history.tasks.subscribe(lambda task, _how: self.note_end(task))

    async def catch_up(self, _task: str) -> None:
        await self.history.log.catch_up(TASK_AGENT.job)

    def note_end(self, task: str) -> None:
        self.lending.leases.end_task(task, "task-completed")

    async def close(self) -> None:
        await self.history.close()


@pytest.fixture
async def working(start: Start, place: str) -> AsyncGenerator[Callable[[str], Working]]:
    begun: list[Working] = []

    def begin(name: str) -> Working:
        begun.append(Working(start, place, name))
        return begun[-1]

    yield begin
    for each in begun:
        await each.close()


async def test_a_task_that_ends_at_one_gateway_ends_its_leases_at_the_others(working: Callable[[str], Working]):
    a, b = working("a"), working("b")
    task = await a.history.enter()
    assert await b.history.enter() == task
    a.lending.open_tasks.add(task.id)
    await lend(a.lending, task=task.id)

    b.history.history.tasks.end(task, "completed")
    await b.history.log.confirm(TASK_AGENT.job)
    await a.catch_up("")
    await settle(a.lending)
    assert ends(a.lending) == ["l1"]


async def test_a_denial_at_one_gateway_is_told_with_its_codes_at_the_others_once(working: Callable[[str], Working]):
    a, b = working("a"), working("b")
    told: list[tuple[str, tuple[str, ...]]] = []
    a.history.history.ledger.on_denied = lambda task, codes: told.append((task, codes))
    task = await a.history.enter()
    a.lending.open_tasks.add(task.id)
    await lend(a.lending, task=task.id)

    call, at_b, _ = await b.history.reserve("crm")
    b.history.history.ledger.release(at_b, call, denied=True, codes=("budget/calls",))
    await b.history.log.confirm(TASK_AGENT.job)
    await a.catch_up("")
    await a.catch_up("")
    assert told == [(task.id, ("budget/calls",))]
