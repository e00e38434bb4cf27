"""Many leases at once: they share waits for the disk, and their ends leave turns of the event loop to calls."""

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest

from gateway.authority.ending import STARTS
from gateway.authority.leases import SWEPT, Lent
from gateway.base.store.sqlite import AT_ONCE, SqliteStore
from tests.unit.authority.lending import Lending

MANY = 3 * max(STARTS, AT_ONCE, SWEPT)


@pytest.fixture
async def lending(tmp_path: Path) -> Lending:
    """Leases of many tasks."""
    found = Lending(tmp_path, open_tasks={f"t{number}" for number in range(MANY)})
    requests = [found.request(number, task=f"t{number}") for number in range(MANY)]
    answers = await asyncio.gather(*(found.leases.lend("bao", request) for request in requests))
    assert all(isinstance(answer, Lent) for answer in answers)
    return found


def counted_writes(lending: Lending, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that gets the number of changes of each write."""
    engine, sizes = cast("SqliteStore", lending.store._store.engine), list[int]()  # pyright: ignore[reportPrivateUsage]
    write = engine._write  # pyright: ignore[reportPrivateUsage]

    def counting(sets: Any) -> list[int | None]:
        sizes.append(len(sets))
        return write(sets)

    monkeypatch.setattr(engine, "_write", counting)
    return sizes


async def test_ends_at_the_same_time_share_writes_and_each_is_proven(lending: Lending, monkeypatch: pytest.MonkeyPatch):
    sizes = counted_writes(lending, monkeypatch)

    assert lending.leases.end_all(lambda _lease: True, "operator") == MANY
    await lending.leases._ender.settle(60)  # pyright: ignore[reportPrivateUsage]

    assert lending.leases.all() == ()
    assert await lending.stored() == ()
    assert sum(sizes) == 2 * MANY
    assert max(sizes) <= AT_ONCE
    assert len(sizes) <= MANY / 4


async def test_calls_go_on_between_the_ends(lending: Lending):
    lending.leases.end_all(lambda _lease: True, "operator")
    assert lending.broker.ended == []
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    running = lending.leases._ender._jobs  # pyright: ignore[reportPrivateUsage]
    assert 0 < len(running) <= 2 * STARTS
    assert lending.leases._values == {}, "no call carries a value"  # pyright: ignore[reportPrivateUsage]


async def test_a_sweep_of_many_leases_leaves_turns_to_calls(lending: Lending):
    turns, sweep = 0, asyncio.ensure_future(lending.leases.sweep())
    while not sweep.done():
        await asyncio.sleep(0)
        turns += 1

    assert turns >= MANY // SWEPT


async def test_a_sweep_ends_no_lease_that_ended_during_it(lending: Lending):
    lending.open_tasks.clear()
    sweep = asyncio.ensure_future(lending.leases.sweep())
    await asyncio.sleep(0)
    lending.leases.end_all(lambda _lease: True, "operator")
    await sweep
    await lending.leases._ender.settle(60)  # pyright: ignore[reportPrivateUsage]

    ids = [identifier for identifier, _ in lending.broker.ended]
    assert len(ids) == len(set(ids)) == MANY
    assert lending.events().count("ending") == MANY


async def test_an_end_that_is_given_up_before_it_started_asks_nobody(lending: Lending):
    lending.leases.end_all(lambda _lease: True, "operator")

    assert await lending.leases.abandon(f"l{MANY - 1}", "the database is gone") is not None
    await lending.leases._ender.settle(60)  # pyright: ignore[reportPrivateUsage]

    assert f"l{MANY - 1}" not in {identifier for identifier, _ in lending.broker.ended}
    assert len(lending.broker.ended) == MANY - 1
