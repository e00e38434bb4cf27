"""A task is the same task at each gateway of a shared store."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from gateway.base.store.postgresql import PostgresStore
from gateway.base.store.postgresql_connection import Server
from gateway.base.store.sqlite import SqliteStore
from gateway.history.events import Settled
from gateway.model.call import Call
from gateway.model.caller import User
from gateway.model.content import CallContent, ResultContent, Sighting
from gateway.model.errors import HistoryError, TaskExpired
from gateway.model.facts import TaskLabels
from gateway.model.target import Sensitivity
from gateway.model.task import Parent, Task
from tests.unit.base.store.postgresql_server import PostgresServer
from tests.unit.history.recording import AGENT
from tests.unit.history.shared.replicas import LIMIT, Replica, another, digest_of, shown, target_of

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.history import Reservation
    from gateway.model.caller import Principal
    from gateway.model.target import Target
    from tests.unit.clock import Clock

CLEAN = TaskLabels(untrusted=False, confidentiality=Sensitivity.PUBLIC)
Answer = TypeVar("Answer")
Start = Callable[[str], Replica]


async def test_gateways_give_the_requests_of_one_caller_the_same_task(start: Start):
    a, b = start("a"), start("b")

    tasks = await asyncio.gather(*(replica.enter() for replica in (a, b) * 10))

    assert len({task.id for task in tasks}) == 1


async def test_callers_have_tasks_of_their_own(start: Start):
    a, b = start("a"), start("b")

    assert (await a.enter()).id != (await b.enter(another("other"))).id


async def test_racing_calls_over_gateways_reach_no_more_systems_than_the_limit(start: Start):
    replicas = [start("a"), start("b"), start("c")]
    systems = [f"system-{number}" for number in range(40)]
    reached: set[str] = set()

    async def call(number: int) -> None:
        system = random.choice(systems)
        if await replicas[number % 3].call(system):
            reached.add(system)

    await asyncio.gather(*map(call, range(60)))
    await asyncio.gather(*map(call, range(60)))

    assert 1 <= len(reached) <= LIMIT
    known = [await replica.facts() for replica in replicas]
    assert known[0] == known[1] == known[2]
    assert known[0]["in_flight"] == 0
    assert known[0]["audiences"] == reached


async def test_a_credential_shown_at_one_gateway_is_known_at_the_next_request_to_another(start: Start):
    replicas = [start("a"), start("b")]

    for number in range(20):
        here, there = random.sample(replicas, 2)
        assert await here.call("vault", shows=shown(f"secret-{number}"))
        task = await there.enter()
        assert f"secret-{number}" in there.history.ledger.seen(task)
        carried = CallContent(sightings=(Sighting(f"secret-{number}", "jwt", "/x"),))
        call, _, counted = await there.reserve("mail", carried, task)
        assert [fact.origin.audience for fact in counted.facts.credentials or ()] == ["vault"]
        there.history.ledger.release(task, call, denied=True)


async def test_a_declared_task_is_known_at_each_gateway_until_it_is_ended_at_one(start: Start, clock: Clock):
    a, b = start("a"), start("b")
    declared = Task("task-d", "declared", clock(), clock() + 600, "mend it")
    a.history.tasks.open(AGENT, declared, ResultContent(tokens=frozenset({7})))
    assert await a.log.confirm(AGENT.job)

    await b.log.catch_up(AGENT.job)
    assert b.history.tasks.select(AGENT, "task-d", clock()) == declared
    await b.reserve("github", task=declared)
    b.history.tasks.end(declared, "completed")
    assert await b.log.confirm(AGENT.job)

    await a.log.catch_up(AGENT.job)
    assert getattr(a.history.tasks.select(AGENT, "task-d", clock()), "code", None) == "task/ended"
    with pytest.raises(TaskExpired):
        await a.reserve("github", task=declared)


async def test_a_child_that_one_gateway_opens_while_another_ends_its_parent_is_over_at_both(start: Start, clock: Clock):
    a, b = start("a"), start("b")
    root = Task("root", "declared", clock(), clock() + 600)
    a.history.tasks.open(AGENT, root, ResultContent())
    assert await a.log.confirm(AGENT.job)
    await b.log.catch_up(AGENT.job)
    child = Task("child", "declared", clock(), clock() + 600, parent=Parent("root", "root", 1, clock() + 600))

    a.history.tasks.end(root, "cancelled")
    b.history.tasks.open(AGENT, child, ResultContent())
    await asyncio.gather(a.log.confirm(AGENT.job), b.log.confirm(AGENT.job))

    for replica in (a, b):
        await replica.log.catch_up(AGENT.job)
        assert getattr(replica.history.tasks.select(AGENT, "child", clock()), "code", None) == "task/ended"
        with pytest.raises(TaskExpired):
            await replica.reserve("github", task=child)


async def test_children_at_several_gateways_reach_no_more_systems_than_one_task_may(start: Start, clock: Clock):
    replicas, until = [start("a"), start("b")], clock() + 600
    above = Parent("root", "root", 1, until)
    for name in ("root", "left", "right"):
        parent = None if name == "root" else above
        task = Task(name, "declared", clock(), until, parent=parent)
        replicas[0].history.tasks.open(AGENT, task, ResultContent())
    assert await replicas[0].log.confirm(AGENT.job)
    await replicas[1].log.catch_up(AGENT.job)
    reached: set[str] = set()

    async def call(number: int) -> None:
        system = f"system-{number % 20}"
        replica, name = replicas[number % 2], ("left", "right")[number // 2 % 2]
        child = Task(name, "declared", clock(), until, parent=above)
        call, task, counted = await replica.reserve(system, task=child)
        is_denied = counted.facts.trees[0].raises.get("audiences", 0) > LIMIT
        if is_denied:
            replica.history.ledger.release(task, call, denied=True)
            return
        replica.history.ledger.let_pass(task, call)
        replica.history.ledger.settle(task, call)
        reached.add(system)

    for _ in range(3):
        await asyncio.gather(*map(call, range(40)))

    assert 1 <= len(reached) <= LIMIT


async def test_the_end_of_a_call_reaches_other_gateways_without_a_later_call(start: Start):
    a, b = start("a"), start("b")
    assert await a.call("github")

    task = await b.enter()
    async with asyncio.timeout(MARGIN):
        while (await b.facts(task))["in_flight"]:
            await asyncio.sleep(0.005)
    assert (await b.facts(task))["calls"] == 1


async def test_a_store_that_lost_events_is_refused_for_as_long_as_it_lacks_them(start: Start, place: str):
    a = start("a")
    task = await a.enter()
    assert await a.call("github")
    assert await a.log.confirm(AGENT.job)
    lost = await forget_last_event(place)

    for _ in range(3):
        with pytest.raises(HistoryError, match="this gateway has seen event"):
            await a.reserve("vault", task=task)
    await give_back(place, lost)

    await until_answered(lambda: a.reserve("vault", task=task))
    assert await a.log.confirm(AGENT.job)


async def test_a_look_at_a_log_waits_for_no_append_under_way(schema_url: str, clock: Clock):
    a = Replica("a", PostgresStore(Server(schema_url), clock), clock)
    await until_answered(lambda: a.call("github"))
    assert await a.log.confirm(AGENT.job)
    connection = await PostgresServer.connect(schema_url)
    async with connection.transaction():
        await connection.execute("select from opagate_logs for update")
        await until_answered(lambda: a.log.catch_up(AGENT.job))
    await connection.close()
    await a.close()


async def test_the_end_of_a_task_is_told_at_each_gateway_that_knows_it(start: Start, clock: Clock):
    a, b = start("a"), start("b")
    told: list[tuple[str, str]] = []
    b.history.tasks.subscribe(lambda task, how: told.append((task, how)))
    declared = Task("task-d", "declared", clock(), clock() + 600)
    a.history.tasks.open(AGENT, declared, ResultContent())
    assert await a.log.confirm(AGENT.job)
    await b.log.catch_up(AGENT.job)
    a.history.tasks.end(declared, "cancelled")
    assert await a.log.confirm(AGENT.job)

    await b.log.catch_up(AGENT.job)
    await b.log.catch_up(AGENT.job)

    assert told == [("task-d", "cancelled")]


async def test_a_task_used_elsewhere_is_not_over_here(start: Start, clock: Clock):
    a, b = start("a"), start("b")
    task = await a.enter()
    for _ in range(3):
        clock.now += 400
        assert await b.call("github")

    assert await a.enter() == task
    a.history.tasks.forget(clock())
    assert await a.enter() == task


async def test_a_task_used_elsewhere_at_its_end_outlives_a_lost_race_here(start: Start, clock: Clock):
    a, b = start("a"), start("b")
    for _ in range(20):
        assert await a.call("github")
    assert await a.log.confirm(AGENT.job)
    task = await a.enter()
    clock.now += 601
    b.log._owner(AGENT.job).is_in_line = True  # pyright: ignore[reportPrivateUsage]  # another gateway was first
    await b.log.catch_up(AGENT.job)
    assert b.history.tasks.find(task.id) is None

    clock.now -= 2  # the call was on its way to the log meanwhile
    assert await a.call("vault")
    assert await a.log.confirm(AGENT.job)
    assert await b.enter() == task
    assert await b.facts(task) == await a.facts(task)


async def test_an_unused_task_is_over_at_each_gateway(start: Start, clock: Clock):
    a, b = start("a"), start("b")
    await a.call("vault", shows=shown("secret"))
    assert await a.log.confirm(AGENT.job)
    first = await b.enter()
    clock.now += 601

    second = await b.enter()
    assert second != first
    assert await a.enter() == second
    assert not a.history.ledger.seen(second)


async def test_a_gateway_that_starts_later_knows_a_long_task(start: Start):
    a = start("a")
    for number in range(150):
        await a.call(f"system-{number % 4}", shows=ResultContent(tokens=frozenset({number})))
    await a.log.confirm(AGENT.job)

    b = start("b")

    assert await b.facts() == await a.facts()
    assert await a.engine.read("history", digest_of(AGENT.job).hex()) is not None


async def test_the_open_calls_of_a_gateway_that_has_ended_are_closed_elsewhere(start: Start):
    a, b, c = start("a"), start("b"), start("c")
    await a.reserve("github")
    _, task, _ = await b.reserve("github")
    assert (await b.facts(task))["in_flight"] == 2
    for replica in (b, c):
        replica.living = {"b", "c"}

    await b.log.close_lost_calls()

    for replica in (b, c):
        await replica.log.catch_up(AGENT.job)
        await replica.log.confirm(AGENT.job)
    assert (await c.facts(task))["in_flight"] == (await b.facts(task))["in_flight"] == 1


async def test_a_call_whose_gateway_was_taken_for_ended_shows_nothing_more(start: Start):
    a, b = start("a"), start("b")
    call, task, _ = await a.reserve("vault")
    b.living = {"b"}
    await b.facts()
    await b.log.confirm(AGENT.job)
    await a.log.catch_up(AGENT.job)

    with pytest.raises(ValueError, match="no open call"):
        a.history.ledger.observe(task, call, shown("secret"))


async def test_a_gateway_goes_on_with_its_own_calls_before_its_claim_is_renewed(start: Start):
    a, b = start("a"), start("b")
    first, task, _ = await a.reserve("github")
    second, _, _ = await a.reserve("github")
    assert await b.call("github")
    assert await b.log.confirm(AGENT.job)
    a.living = {"b"}

    a.history.ledger.settle(task, first)
    assert await a.log.confirm(AGENT.job)

    a.history.ledger.observe(task, second, shown("secret"))
    a.history.ledger.settle(task, second)
    assert (await a.facts(task))["in_flight"] == 0


async def test_callers_that_leave_memory_come_back_with_all_they_did(start: Start):
    a = start("a")
    assert await a.call("vault", shows=shown("secret"))
    assert await a.log.confirm(AGENT.job)
    before = await a.facts()

    a.log.shed(0)
    assert len(a.history.tasks) == 0

    assert await a.facts() == before
    assert "secret" in a.history.ledger.seen(await a.enter())


async def test_a_caller_with_an_open_call_stays_in_memory(start: Start):
    a = start("a")
    call, task, _ = await a.reserve("vault")

    a.log.shed(0)

    a.history.ledger.observe(task, call, shown("secret"))
    a.history.ledger.settle(task, call)


async def test_without_its_database_a_gateway_refuses_in_time_and_forgets_nothing(clock: Clock):
    server = PostgresServer()
    try:
        server.make()
        a = Replica("a", PostgresStore(Server(server.url, 0.15), clock), clock, patience=0.15)
        await until_answered(a.enter)
        call, task, _ = await until_answered(lambda: a.reserve("github"))
        server.kill()

        begun = asyncio.get_running_loop().time()
        with pytest.raises(HistoryError, match="the shared history cannot be used"):
            await a.enter()
        taken = asyncio.get_running_loop().time() - begun
        a.history.ledger.let_pass(task, call)
        a.history.ledger.settle(task, call)
        with pytest.raises(HistoryError):
            await a.log.confirm(AGENT.job)
        server.start()

        known = await until_answered(lambda: a.facts(task))
        await until_answered(lambda: a.log.confirm(AGENT.job))
        assert (known["calls"], known["in_flight"], known["denials"]) == (1, 0, 0)
        assert taken < 0.15 + MARGIN
        await a.close()
    finally:
        server.remove()


async def test_a_writer_is_cancelled_also_while_an_event_comes(tmp_path: Path):
    (tmp_path / "file").touch()
    a = Replica("a", SqliteStore(tmp_path / "file" / "records.db"))
    with pytest.raises(HistoryError):
        await a.enter()
    (writer,) = (task for task in asyncio.all_tasks() if task.get_name() == "shared history")

    a.history.ledger.log.note(a.history.tasks.all()[0], None, None)
    writer.cancel()

    done, _ = await asyncio.wait({writer}, timeout=MARGIN)
    for left in asyncio.all_tasks() - {asyncio.current_task()}:
        left.cancel()
    assert done == {writer}
    assert writer.cancelled()


async def forget_last_event(place: str) -> list[tuple[Any, ...]]:
    """Take the last event of each log out of a store, as a failover to a standby behind does. Return the rows."""
    if not place.startswith("postgresql:"):
        last = "from events where version = (select max(version) from events)"
        with closing(sqlite3.connect(place)) as database, database:
            rows = database.execute(f"select * {last}").fetchall()
            database.execute(f"delete {last}")
        return rows
    columns = "e.owner, e.name, e.version, e.event"
    taken = f"delete from opagate_events as e using opagate_logs as l where e.version = l.version returning {columns}"
    connection = await PostgresServer.connect(place)
    rows = [tuple(row) for row in await connection.fetch(taken)]
    await connection.execute("update opagate_logs set version = version - 1")
    await connection.close()
    return rows


async def give_back(place: str, rows: list[tuple[Any, ...]]) -> None:
    """Put the last events of logs back."""
    if not place.startswith("postgresql:"):
        with closing(sqlite3.connect(place)) as database, database:
            database.executemany("insert into events values (?, ?, ?, ?)", rows)
        return
    connection = await PostgresServer.connect(place)
    await connection.executemany(
        "insert into opagate_events (owner, name, version, event) values ($1, $2, $3, $4)", rows
    )
    await connection.execute("update opagate_logs set version = version + 1")
    await connection.close()


MARGIN = 5.0
"""Seconds more on a busy machine."""


async def until_answered(ask: Callable[[], Awaitable[Answer]]) -> Answer:
    """Ask again until the database answers in time."""
    for _ in range(600):
        try:
            return await ask()
        except HistoryError:
            await asyncio.sleep(0.05)
    raise AssertionError("the database did not come back")


async def test_a_close_leaves_no_writer_behind(tmp_path: Path):
    a = Replica("a", SqliteStore(tmp_path / "records.db"), patience=0.05)
    await until_answered(a.enter)
    with closing(sqlite3.connect(tmp_path / "records.db")) as other:
        other.execute("begin immediate")
        a.history.ledger.log.note(a.history.tasks.all()[0], Settled("call", "unknown"), None)
        asyncio.get_running_loop().call_later(0.3, other.rollback)

        await a.log.close()

        assert "shared history" not in {task.get_name() for task in asyncio.all_tasks()}
    a.engine.close()


async def test_an_agent_at_one_gateway_marks_another_agent_of_the_user_at_another(start: Start):
    reader, actor = (replace(AGENT, id=name, user=User("ann")) for name in ("reader", "actor"))
    a, b = start("a"), start("b")
    untrusted = replace(target_of("mail"), trust="untrusted")

    for number in range(20):
        here, there = random.sample([a, b], 2)
        user = User(f"user-{number}")
        reader, actor = (replace(one, user=user) for one in (reader, actor))
        acting = await there.enter(actor)
        assert (await count(there, acting, actor, f"before-{number}", target_of("files"))).facts.labels == CLEAN
        task = await here.enter(reader)
        await count(here, task, reader, f"read-{number}", untrusted)
        here.history.ledger.settle(task, f"read-{number}")
        assert await here.log.confirm(reader.job)

        acting = await there.enter(actor)
        found = await count(there, acting, actor, f"after-{number}", target_of("files"))
        assert found.facts.labels is not None
        assert found.facts.labels.untrusted
        assert marking_agents(there, actor) == {"reader"}
    later = start("c")
    found = await count(later, await later.enter(actor), actor, "last", target_of("files"))
    assert found.facts.labels is not None
    assert found.facts.labels.untrusted
    assert marking_agents(later, actor) == {"reader"}


def marking_agents(replica: Replica, caller: Principal) -> set[str]:
    return {mark.agent for mark in replica.history.states.jobs.list_marks(caller.job)}


async def count(replica: Replica, task: Task, caller: Principal, call: str, target: Target) -> Reservation:
    wanted = Call("tools/call", target, {})
    return await replica.history.ledger.count(
        task, call, wanted, CallContent(), replica.clock(), depth=0, principal=caller
    )
