"""A clock that is set back or forward: nothing that has ended lives again, and nothing outlives its time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.authority.leases import Lent
from gateway.authority.model import NotEnded
from gateway.base.steady_clock import SteadyClock
from tests.unit.authority.lending import Lending

if TYPE_CHECKING:
    from pathlib import Path

HOUR = 3600.0


@pytest.fixture
def lending(tmp_path: Path) -> Lending:
    return Lending(tmp_path)


async def lent(lending: Lending, number: int = 1, seconds: float = 60.0) -> Lent:
    answer = await lending.leases.lend("bao", lending.request(number, seconds=seconds))
    assert isinstance(answer, Lent)
    return answer


async def settled(lending: Lending) -> None:
    await lending.leases._ender.settle(5.0)  # pyright: ignore[reportPrivateUsage]


def passed(lending: Lending, seconds: float) -> None:
    """Let time pass by both clocks."""
    lending.now += seconds
    lending.elapsed += seconds


async def test_a_clock_that_is_set_back_lengthens_no_lease(lending: Lending):
    await lent(lending)
    lending.now -= HOUR
    passed(lending, 61.0)

    assert lending.leases.find(lending.request()) is None
    await lending.leases.sweep()
    await settled(lending)
    assert lending.leases.all() == ()
    assert [entry["cause"] for entry in lending.entries if entry["event"] == "ending"] == ["lease-expired"]


async def test_a_clock_that_is_set_back_stops_no_lending(lending: Lending):
    await lent(lending)
    lending.now -= HOUR

    again = await lent(lending, 2)

    assert again.lease.id == "l2"
    assert lending.leases.find(lending.request(3)) is not None


async def test_a_clock_that_jumps_forward_ends_all_leases_and_back_revives_none(lending: Lending):
    await lent(lending)
    lending.now += HOUR
    assert lending.leases.find(lending.request()) is None
    await lending.leases.sweep()
    await settled(lending)
    lending.now -= HOUR

    assert lending.leases.all() == ()
    assert (await lent(lending, 2)).lease.id == "l2"


async def test_an_alarm_comes_in_time_though_the_clock_is_set_back(lending: Lending):
    lending.broker.ends = [NotEnded("the database is down")] * 3
    await lent(lending)
    lending.leases.end_task("t1", "task-completed")
    while not lending.leases.all()[0].attempts:
        await settled_once(lending)
    lending.now -= HOUR
    passed(lending, 61.0)
    while lending.leases.all()[0].attempts < 2:
        await settled_once(lending)

    assert lending.leases.all()[0].state == "stuck"
    await settled(lending)


async def settled_once(lending: Lending) -> None:
    await lending.leases._ender.settle(0.02)  # pyright: ignore[reportPrivateUsage]


async def test_three_days_without_a_proof_end_no_secret_that_may_outlive_its_time(tmp_path: Path):
    lending = Lending(tmp_path)
    lending.broker.kind = "openbao"
    lending.broker.ends = [NotEnded("the database is down")] * 2
    await lent(lending)
    lending.leases.end_task("t1", "task-completed")
    passed(lending, 3 * 24 * HOUR)
    while lending.leases.all() and lending.leases.all()[0].attempts < 2:
        await settled_once(lending)
    assert [lease.state for lease in lending.leases.all()] == ["stuck"]

    lending.start()
    assert await lending.restore() == 1
    await settled(lending)

    assert lending.events()[-1] == "revoked"


moves = st.lists(st.tuples(st.floats(-2 * HOUR, 2 * HOUR), st.floats(0.0, HOUR)), max_size=30)


@given(moves)
def test_the_time_never_goes_back_and_is_never_slower_than_what_passes(steps: list[tuple[float, float]]):
    wall, elapsed = 1_800_000_000.0, 5.0
    clock = SteadyClock(lambda: wall, lambda: elapsed)
    before = clock.now()
    for jump, seconds in steps:
        wall, elapsed = wall + jump + seconds, elapsed + seconds
        now = clock.now()
        assert now >= before + seconds - 1e-6
        assert now >= wall
        before = now


@given(st.floats(1.0, HOUR), moves)
def test_no_setting_of_the_clock_lengthens_a_life(life: float, steps: list[tuple[float, float]]):
    wall, elapsed = 1_800_000_000.0, 5.0
    clock = SteadyClock(lambda: wall, lambda: elapsed)
    end = wall + life
    deadline = clock.deadline(end)
    for jump, seconds in steps:
        wall, elapsed = wall + jump + seconds, elapsed + seconds
        if elapsed - 5.0 >= life + 1e-6:
            assert clock.is_over(end, deadline, 0.0)
