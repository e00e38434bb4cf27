"""Logs of both engines: an append follows exactly the state on which it was decided."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.base.store.engine import Append, Engine, Log
from gateway.model.errors import StoreError
from tests.unit.base.store.engines import Opened
from tests.unit.base.store.postgresql_server import PostgresServer
from tests.unit.base.store.racing_calls import ACCOUNT, LIMIT, TASK, find_problem

PROCESSES, CALLS = 3, 334
OTHER = Log(b"p" * 16, "task")


async def test_an_append_is_carried_out_after_the_versions_that_it_names(engine: Engine, open_engine: Opened):
    assert await engine.append(Append({TASK: 0, ACCOUNT: 0}, [(TASK, b"1"), (TASK, b"2"), (ACCOUNT, b"a")])) == {}
    assert await engine.append(Append({TASK: 2, ACCOUNT: 1}, [(TASK, b"3")])) == {}

    again = open_engine()
    assert await again.read_log(TASK) == [b"1", b"2", b"3"]
    assert await again.read_log(TASK, 2) == [b"3"]
    assert await again.read_log(ACCOUNT) == [b"a"]
    assert await again.read_log(OTHER) == []


async def test_an_append_on_an_old_version_writes_nothing_and_gets_the_events_that_it_lacks(engine: Engine):
    await engine.append(Append({TASK: 0, ACCOUNT: 0}, [(TASK, b"1"), (TASK, b"2"), (ACCOUNT, b"a")]))

    late = Append({TASK: 1, ACCOUNT: 0, OTHER: 0}, [(TASK, b"x"), (ACCOUNT, b"x"), (OTHER, b"x")])
    assert await engine.append(late) == {TASK: [b"2"], ACCOUNT: [b"a"]}
    assert await engine.read_log(TASK) == [b"1", b"2"]
    assert await engine.read_log(OTHER) == []


async def test_the_version_of_a_log_is_the_number_of_its_events(engine: Engine):
    assert await engine.find_version(TASK) == 0
    await engine.append(Append({TASK: 0, ACCOUNT: 0}, [(TASK, b"1"), (TASK, b"2"), (ACCOUNT, b"a")]))

    found = await asyncio.gather(*map(engine.find_version, (TASK, ACCOUNT, OTHER, TASK)))
    assert found == [2, 1, 0, 2]


async def test_a_log_without_new_events_counts_too(engine: Engine):
    await engine.append(Append({ACCOUNT: 0}, [(ACCOUNT, b"a")]))

    assert await engine.append(Append({TASK: 0, ACCOUNT: 0}, [(TASK, b"1")])) == {ACCOUNT: [b"a"]}
    assert await engine.append(Append({TASK: 0, ACCOUNT: 1}, [(TASK, b"1")])) == {}


async def test_events_for_the_end_of_a_log_depend_on_no_version_of_it(engine: Engine):
    await engine.append(Append({ACCOUNT: 0}, [(ACCOUNT, b"a")]))

    events = [(TASK, b"1"), (ACCOUNT, b"b"), (OTHER, b"c"), (ACCOUNT, b"d")]
    assert await engine.append(Append({TASK: 0}, events, frozenset({ACCOUNT, OTHER}))) == {}
    assert await engine.append(Append({}, [(OTHER, b"e")], frozenset({OTHER}))) == {}
    assert await engine.read_log(ACCOUNT) == [b"a", b"b", b"d"]
    assert await engine.read_log(OTHER) == [b"c", b"e"]
    assert await engine.read_log(TASK) == [b"1"]


async def test_an_append_on_an_old_version_adds_nothing_to_the_end_of_another_log(engine: Engine):
    await engine.append(Append({TASK: 0}, [(TASK, b"1")]))

    late = Append({TASK: 0}, [(TASK, b"x"), (ACCOUNT, b"x")], frozenset({ACCOUNT}))
    assert await engine.append(late) == {TASK: [b"1"]}
    assert await engine.read_log(ACCOUNT) == []


async def test_appends_of_several_gateways_to_the_end_of_one_log_are_all_there(engine: Engine, open_engine: Opened):
    engines = [engine, open_engine(), open_engine()]

    async def append(number: int) -> None:
        task = Log(number.to_bytes(16), "task")
        events = [(task, b"t"), (ACCOUNT, b"%d" % number), (ACCOUNT, b"%d" % number)]
        assert await engines[number % 3].append(Append({task: 0}, events, frozenset({ACCOUNT}))) == {}

    await asyncio.gather(*map(append, range(90)))
    found = [int(event) for event in await engine.read_log(ACCOUNT)]
    assert found[::2] == found[1::2]
    assert sorted(found[::2]) == list(range(90))


async def test_logs_of_two_owners_are_apart(engine: Engine):
    await engine.append(Append({TASK: 0}, [(TASK, b"1")]))
    await engine.append(Append({OTHER: 0}, [(OTHER, b"2")]))

    assert (await engine.read_log(TASK), await engine.read_log(OTHER)) == ([b"1"], [b"2"])


async def test_a_store_that_lost_confirmed_events_is_refused(engine: Engine):
    await engine.append(Append({TASK: 0}, [(TASK, b"1")]))

    with pytest.raises(StoreError, match="the log task ends at its event 1, and this gateway has seen event 2"):
        await engine.append(Append({TASK: 2}, [(TASK, b"3")]))
    assert await engine.read_log(TASK) == [b"1"]


def race(place: str) -> list[tuple[int, str]]:
    """Decide calls in several processes, and return the version and the name of each."""
    script = Path(__file__).with_name("racing_calls.py")
    commands = [[sys.executable, str(script), place, f"process-{number}", str(CALLS)] for number in range(PROCESSES)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for command in commands]
    return [(version, call) for one in running for version, call in json.loads(one.communicate()[0])]


async def test_racing_calls_of_three_processes_never_pass_a_hard_limit(engine: Engine, place: str):
    acknowledged = race(place)

    events = await engine.read_log(TASK)
    assert len(events) == PROCESSES * CALLS
    assert find_problem(events, acknowledged) is None
    assert len({json.loads(event)["system"] for event in events if json.loads(event)["allowed"]}) == LIMIT
    assert [event.decode() for event in await engine.read_log(ACCOUNT)] == [json.loads(e)["call"] for e in events]


def test_a_fault_in_a_log_is_found():
    def event(call: str, system: str, *, allowed: bool = True) -> bytes:
        return json.dumps({"call": call, "system": system, "allowed": allowed}).encode()

    calls = [event(f"c{number}", f"s{number}") for number in range(LIMIT)]
    answers = [(number + 1, f"c{number}") for number in range(LIMIT)]

    assert find_problem(calls, answers) is None
    assert find_problem([*calls, event("more", "s-more")], [*answers, (LIMIT + 1, "more")]) is not None
    assert find_problem([*calls, event("known", "s1", allowed=False)], [*answers, (LIMIT + 1, "known")]) is not None
    assert find_problem(calls, answers[1:]) is not None
    assert find_problem(calls, [*answers[1:], (1, "c1")]) is not None


@pytest.mark.parametrize("place", ["postgresql"], indirect=True)
async def test_a_gateway_that_lost_a_race_has_the_next_turn_unless_it_lets_it_pass(
    open_engine: Opened, place: str, postgresql: PostgresServer
):
    one, two, three = open_engine(), open_engine(), open_engine()
    for_long, over = (f"update opagate_logs set turn_until = now() + interval '{time}'" for time in ("1 hour", "-1 s"))
    await one.append(Append({TASK: 0}, [(TASK, b"1")]))
    assert await two.append(Append({TASK: 0}, [(TASK, b"2")])) == {TASK: [b"1"]}
    await postgresql.execute(for_long, url=place)
    assert await three.append(Append({TASK: 1}, [(TASK, b"3")])) == {TASK: ()}
    assert [await each.has_turn(TASK) for each in (one, two, three)] == [False, True, False]
    assert await two.append(Append({TASK: 1}, [(TASK, b"2")])) == {}
    assert [await each.has_turn(TASK) for each in (one, two, three)] == [False, False, True]

    # The one in turn does nothing until its time is over.
    await postgresql.execute(for_long, url=place)
    assert await one.append(Append({TASK: 2}, [(TASK, b"4")])) == {TASK: ()}
    await postgresql.execute(over, url=place)
    assert await one.has_turn(TASK)
    assert await one.append(Append({TASK: 2}, [(TASK, b"4")])) == {}
    assert await one.read_log(TASK) == [b"1", b"2", b"4"]


@pytest.mark.parametrize("place", ["postgresql"], indirect=True)
async def test_a_turn_is_given_back_by_an_append_without_events(open_engine: Opened):
    one, two = open_engine(), open_engine()
    await one.append(Append({TASK: 0}, [(TASK, b"1")]))
    await two.append(Append({TASK: 0}, [(TASK, b"2")]))
    assert await two.append(Append({TASK: 1}, [])) == {}

    assert await one.has_turn(TASK)
    assert await one.append(Append({TASK: 1}, [(TASK, b"2")])) == {}


@pytest.mark.parametrize("place", ["postgresql"], indirect=True)
async def test_a_turn_that_has_passed_is_given_back_without_another_one(
    open_engine: Opened, place: str, postgresql: PostgresServer
):
    one, two = open_engine(), open_engine()
    await one.append(Append({TASK: 0}, [(TASK, b"1")]))
    await two.append(Append({TASK: 0}, [(TASK, b"x")]))
    await postgresql.execute("update opagate_logs set turn_until = now() - interval '1 s'", url=place)
    await one.append(Append({TASK: 1}, [(TASK, b"2")]))
    assert await two.append(Append({TASK: 1}, [])) == {TASK: [b"2"]}

    assert await postgresql.execute("select line from opagate_logs", url=place) == [([],)]


@pytest.mark.parametrize("place", ["postgresql"], indirect=True)
async def test_gateways_that_died_in_line_lose_their_turns_one_after_another(
    open_engine: Opened, place: str, postgresql: PostgresServer
):
    one, *dead = (open_engine() for _ in range(4))
    for_long, over = (f"update opagate_logs set turn_until = now() + interval '{time}'" for time in ("1 hour", "-1 s"))
    await one.append(Append({TASK: 0}, [(TASK, b"1")]))
    for each in dead:
        await each.append(Append({TASK: 0}, [(TASK, b"x")]))
        await postgresql.execute(for_long, url=place)
    assert await one.append(Append({TASK: 1}, [(TASK, b"2")])) == {TASK: ()}

    found = list[object]()
    for _ in dead:
        await postgresql.execute(over, url=place)
        found.append(await one.append(Append({TASK: 1}, [(TASK, b"2")])))
    assert found == [{TASK: ()}, {TASK: ()}, {}]


@pytest.mark.parametrize("place", ["postgresql"], indirect=True)
async def test_events_for_the_end_of_a_log_prolong_no_turn(open_engine: Opened, place: str, postgresql: PostgresServer):
    one, dead = open_engine(), open_engine()
    await one.append(Append({TASK: 0}, [(TASK, b"1")]))
    await dead.append(Append({TASK: 0}, [(TASK, b"x")]))
    find_end = "select turn_until from opagate_logs"
    end = await postgresql.execute("update opagate_logs set turn_until = '2100-01-01'", find_end, url=place)

    assert await one.append(Append({}, [(TASK, b"2")], frozenset({TASK}))) == {}
    assert await postgresql.execute(find_end, url=place) == end
