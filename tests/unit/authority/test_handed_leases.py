"""Leases whose credential a process has: renewed before their end, and ended at their issuer after the process."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.authority import ending
from gateway.authority.leases import Lent
from gateway.authority.lending import RENEW_EARLY
from gateway.authority.model import Lease
from tests.unit.authority.lending import Lending


@pytest.fixture
def lending(tmp_path: Path) -> Lending:
    return Lending(tmp_path)


async def lent(lending: Lending, number: int) -> str:
    answer = await lending.leases.lend("bao", lending.request(number, early=RENEW_EARLY), "d1")
    assert isinstance(answer, Lent)
    return answer.lease.id


async def test_a_call_in_the_last_third_of_a_lease_gets_another_and_the_first_lives_on(lending: Lending):
    assert await lent(lending, 1) == "l1"
    lending.now += 39
    assert await lent(lending, 2) == "l1"
    lending.now += 2
    assert [await lent(lending, number) for number in (3, 4)] == ["l3", "l3"]
    assert {lease.id: lease.state for lease in lending.leases.all()} == {"l1": "active", "l3": "active"}


async def test_parallel_calls_share_a_renewal(lending: Lending):
    await lent(lending, 1)
    lending.now += 50
    assert set(await asyncio.gather(*(lent(lending, number) for number in range(2, 99)))) == {"l2"}
    assert lending.broker.asked == 2


@pytest.mark.parametrize(("are_gone", "told"), [(True, "absent"), (False, "left"), (None, None)])
async def test_the_broker_is_asked_after_the_processes_are_gone(
    tmp_path: Path, *, are_gone: bool | None, told: str | None
):
    gone = asyncio.Event()

    async def withdraw(_lease: Lease) -> bool | None:
        await gone.wait()
        return are_gone

    lending = Lending(tmp_path, withdraw=withdraw)
    await lent(lending, 1)
    lending.leases.end_task("t1", "task-completed")
    for _ in range(50):
        await asyncio.sleep(0)
    assert lending.broker.ended == []

    gone.set()
    await lending.leases._ender.settle(5)  # pyright: ignore[reportPrivateUsage]
    withdrawn = [] if told is None else ["withdrawn"]
    assert lending.events() == ["requested", "issued", "ending", *withdrawn, "revoked"]
    assert lending.entries[-1].get("processes") == told
    assert lending.entries[-1]["proof"]["kind"] == "lookup"


async def test_a_process_that_does_not_end_keeps_no_credential_alive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ending, "WITHDRAW", 0.01)

    async def withdraw(_lease: Lease) -> bool | None:
        await asyncio.Event().wait()
        return True

    lending = Lending(tmp_path, withdraw=withdraw)
    await lent(lending, 1)
    lending.leases.end_task("t1", "task-completed")
    await lending.leases._ender.settle(5)  # pyright: ignore[reportPrivateUsage]

    assert lending.entries[-1]["processes"] == "left"
    assert lending.entries[-1]["event"] == "revoked"


async def test_a_defect_in_the_hand_over_keeps_no_credential_alive(tmp_path: Path):
    async def withdraw(_lease: Lease) -> bool | None:
        raise RuntimeError

    lending = Lending(tmp_path, withdraw=withdraw)
    await lent(lending, 1)
    lending.leases.end_task("t1", "task-completed")
    await lending.leases._ender.settle(5)  # pyright: ignore[reportPrivateUsage]

    assert lending.events()[-1] == "revoked"
