"""The file of open leases under cancelled writers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from gateway.authority.store import LeaseStore
from tests.unit.authority.brokers.asking import lease_of, lease_request

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def store(tmp_path: Path) -> LeaseStore:
    return LeaseStore(tmp_path / "leases", b"k" * 32)


async def test_a_writer_that_is_cancelled_before_its_first_turn_leaves_nobody_waiting(store: LeaseStore):
    waiting = [asyncio.ensure_future(store.put(lease_of(lease_request(id=f"l{n}"), {}))) for n in range(3)]
    while store._writer is None:  # pyright: ignore[reportPrivateUsage]
        await asyncio.sleep(0)
    store._writer.cancel()  # pyright: ignore[reportPrivateUsage]

    async with asyncio.timeout(60):
        done = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(each) for each in done} == {asyncio.CancelledError}
    await store.put(lease_of(lease_request(id="later"), {}))
    leases, unreadable = await store.load()
    assert ([lease.id for lease in leases], unreadable) == (["later"], 0)
    store.close()


async def test_changes_that_come_while_the_disk_works_are_written_too(store: LeaseStore):
    await asyncio.gather(*(store.put(lease_of(lease_request(id=f"l{n}"), {})) for n in range(300)))
    await store.put(lease_of(lease_request(id="last"), {}))

    assert len((await store.load())[0]) == 301
    store.close()
