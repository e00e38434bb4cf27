"""What each engine for durable records promises. An engine joins by its own fixture parameter."""

from __future__ import annotations

import asyncio
import subprocess
import sys

from gateway.base.store.engine import ABSENT, Change, Engine
from tests.unit.base.store.engines import Opened
from tests.unit.clock import Clock


async def values_of(engine: Engine, kind: str = "k") -> dict[str, bytes]:
    return {record.id: record.value for record in await engine.list(kind)}


async def test_a_written_record_is_there_for_the_next_process(engine: Engine, open_engine: Opened):
    version = await engine.change(Change("k", "b", b"2"), Change("k", "a", b"1"), Change("other", "a", b"3"))
    again = open_engine()

    assert list(await values_of(again)) == ["a", "b"]
    assert await again.read("k", "a") == ("a", version, b"1")
    assert await again.read("k", "c") is None
    assert await again.count("k") == 2


async def test_some_records_are_read_together_without_absent_ended_and_foreign_ones(engine: Engine):
    names = [f"n{number}" for number in range(1_500)]
    await engine.change(*(Change("k", name, name.encode()) for name in names))
    await engine.change(Change("other", "x", b"3"), Change("k", "over", b"4", expires=1.0))

    found = await engine.read_some("k", ["n7", "x", "over", "n1"])
    assert {record.id: record.value for record in found} == {"n7": b"n7", "n1": b"n1"}
    assert await engine.read("k", "n1") in found
    assert len(await engine.read_some("k", names)) == len(names)
    assert list(await engine.read_some("k", [])) == []


async def test_a_change_needs_the_version_that_it_expects(engine: Engine):
    first = await engine.change(Change("k", "a", b"1", version=ABSENT))
    assert await engine.change(Change("k", "a", b"x", version=ABSENT)) is None
    second = await engine.change(Change("k", "a", b"2", version=first))
    assert await engine.change(Change("k", "a", b"x", version=first)) is None
    assert await engine.change(Change("k", "a", None, version=first)) is None

    assert await engine.read("k", "a") == ("a", second, b"2")


async def test_a_set_of_changes_is_carried_out_whole_or_not_at_all(engine: Engine):
    await engine.change(Change("k", "a", b"1"))

    assert await engine.change(Change("k", "b", b"2"), Change("k", "a", b"x", version=ABSENT)) is None
    assert await values_of(engine) == {"a": b"1"}


async def test_a_version_does_not_come_back_after_a_removal(engine: Engine):
    first = await engine.change(Change("k", "a", b"1"))
    await engine.change(Change("k", "a", None))
    await engine.change(Change("k", "a", b"2"))

    assert await engine.change(Change("k", "a", b"x", version=first)) is None


async def test_a_log_takes_one_event_after_each_version(open_engine: Opened):
    engines = [open_engine() for _ in range(2)]
    taken = 0
    for number in range(1, 21):
        event = Change("log", f"{number:08d}", b"event", version=ABSENT)
        taken += sum(done is not None for done in await asyncio.gather(*(engine.change(event) for engine in engines)))

    assert taken == 20
    assert len(await engines[0].list("log")) == 20


async def test_one_of_many_claims_wins_until_its_end(open_engine: Opened, clock: Clock):
    engines = [open_engine() for _ in range(4)]

    async def claims() -> list[int]:
        found = await asyncio.gather(
            *(
                engine.change(Change("claim", "job", b"%d" % number, version=ABSENT, expires=clock.now + 10))
                for number, engine in enumerate(engines)
            )
        )
        return [number for number, version in enumerate(found) if version is not None]

    assert len(await claims()) == 1
    clock.now += 9.9
    assert await claims() == []
    clock.now += 0.2
    assert len(await claims()) == 1


async def test_a_claim_that_another_took_over_cannot_be_given_back(engine: Engine, clock: Clock):
    mine = await engine.change(Change("claim", "job", b"me", version=ABSENT, expires=clock.now + 10))
    clock.now += 11
    assert await engine.change(Change("claim", "job", b"you", version=ABSENT, expires=clock.now + 10)) is not None

    assert await engine.change(Change("claim", "job", None, version=mine)) is None
    assert await values_of(engine, "claim") == {"job": b"you"}


async def test_ended_records_are_hidden_at_once_and_removed_by_a_sweep(engine: Engine, clock: Clock):
    await engine.change(Change("k", "short", b"1", expires=1_010.0), Change("k", "long", b"2", expires=1_020.0))
    await engine.change(Change("k", "ever", b"3"), Change("other", "short", b"4", expires=1_010.0))
    clock.now = 1_010.0

    assert await engine.read("k", "short") is None
    assert list(await values_of(engine)) == ["ever", "long"]
    assert await engine.count("k") == 2
    await engine.expire("k")
    clock.now = 1_000.0
    assert list(await values_of(engine)) == ["ever", "long"]
    assert list(await values_of(engine, "other")) == ["short"]


async def test_racing_changes_of_one_record_win_once_each_round(open_engine: Opened):
    engines = [open_engine() for _ in range(3)]
    version = await engines[0].change(Change("k", "a", b"0"))
    for _ in range(10):
        found = await asyncio.gather(*(engine.change(Change("k", "a", b"x", version=version)) for engine in engines))
        won = [each for each in found if each is not None]
        assert len(won) == 1
        version = won[0]


def _start(script: str, place: str) -> subprocess.Popen[str]:
    """Start a process that works with the same records."""
    command = [sys.executable, "-c", script, place]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


_COUNTER = """
import asyncio, sys, time
from gateway.base.store.engine import ABSENT, Change
from tests.unit.base.store.engines import open_store

async def main():
    engine, done = open_store(sys.argv[1], time.time), 0
    while done < 50:
        found = await engine.read("k", "counter")
        value, version = (0, ABSENT) if found is None else (int(found.value), found.version)
        done += await engine.change(Change("k", "counter", b"%d" % (value + 1), version=version)) is not None
    engine.close()

asyncio.run(main())
"""


async def test_two_processes_lose_no_change(engine: Engine, place: str):
    with _start(_COUNTER, place) as one, _start(_COUNTER, place) as other:
        assert (one.wait(), other.wait()) == (0, 0)

    assert await values_of(engine) == {"counter": b"100"}


_WRITER = """
import asyncio, sys, time
from gateway.base.store.engine import Change
from tests.unit.base.store.engines import open_store

async def main():
    engine = open_store(sys.argv[1], time.time)
    for number in range(100_000):
        await engine.change(Change("k", f"{number:08d}", b"x"), Change("twin", f"{number:08d}", b"x"))
        print(number, flush=True)

asyncio.run(main())
"""


async def test_a_killed_process_loses_no_finished_change_and_leaves_no_half_of_one(engine: Engine, place: str):
    with _start(_WRITER, place) as process:
        assert process.stdout is not None
        told = [process.stdout.readline() for _ in range(40)]
        process.kill()
        told += process.stdout.readlines()

    finished = [int(line) for line in told if line.endswith("\n")]
    records, twins = await values_of(engine), await values_of(engine, "twin")
    assert {f"{number:08d}" for number in finished} <= records.keys()
    assert records.keys() == twins.keys()


async def test_a_look_at_all_records_makes_nothing(engine: Engine, open_engine: Opened, clock: Clock):
    assert (await engine.survey(), await engine.read_all()) == ({}, [])
    value = b"\x02" + bytes(range(8)) + b"sealed"
    await engine.change(Change("k", "b", value), Change("k", "a", value, expires=1_010.0), Change("j", "a", value))
    again = open_engine()

    assert await again.survey() == {("j", "0001020304050607"): 1, ("k", "0001020304050607"): 2}
    assert await again.read_all() == [
        Change("j", "a", value),
        Change("k", "a", value, expires=1_010.0),
        Change("k", "b", value),
    ]
    clock.now = 1_010.0
    assert [change.id for change in await again.read_all()] == ["a", "b"]
