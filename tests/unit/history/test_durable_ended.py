"""Tasks that are over, and what the store still has of them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.history import Store, restore, snapshot
from gateway.history.store import StoredTask
from gateway.model.errors import HistoryError
from tests.unit.history.recording import AGENT, KEY, Gateway, Record, new_history


async def test_a_task_that_is_gone_when_a_snapshot_fails_stays_gone(tmp_path: Path):
    (tmp_path / "file").touch()
    gateway = Gateway(new_history(), Record())
    gateway.history.states.attach(Store(tmp_path, KEY))
    gateway.call(gateway.history.tasks.open_implicit(AGENT, 1000.0))
    writing = asyncio.create_task(
        snapshot(gateway.history, Store(tmp_path / "file" / "x", KEY), gateway.record.position)
    )
    await asyncio.sleep(0)
    gateway.history.tasks.forget(10**9)

    with pytest.raises(HistoryError, match="cannot be used"):
        await writing
    assert len(gateway.history.tasks) == 0


async def test_of_tasks_that_no_snapshot_has_nothing_is_left_to_be_removed(tmp_path: Path):
    """While none can be written, tasks come and go as before, and their ids would fill the memory."""
    (tmp_path / "file").touch()
    gateway = Gateway(new_history(), Record())
    gateway.history.states.attach(Store(tmp_path / "file" / "x", KEY))
    gateway.call(gateway.history.tasks.open_implicit(AGENT, 1000.0))
    with pytest.raises(HistoryError, match="cannot be used"):
        await snapshot(gateway.history, Store(tmp_path / "file" / "x", KEY), gateway.record.position)
    gateway.history.tasks.forget(10**9)

    assert gateway.history.states.changes(lambda: 0)[1] == ()


async def test_a_task_that_goes_while_a_snapshot_of_it_is_written_goes_from_the_next(store: Store, gateway: Gateway):
    gateway.call(gateway.history.tasks.open_implicit(AGENT, 1000.0))
    writing = asyncio.create_task(snapshot(gateway.history, store, gateway.record.position))
    await asyncio.sleep(0)
    gateway.history.tasks.forget(10**9)
    gateway.history.states.jobs.sweep(10**9)
    await writing
    assert [stored.id for stored in tasks_of(store)] != []

    await snapshot(gateway.history, store, gateway.record.position)
    assert tasks_of(store) == ()
    assert gateway.history.states.changes(lambda: 0)[1] == ()


async def test_a_task_of_a_snapshot_goes_from_the_next_also_after_a_restart(store: Store, gateway: Gateway):
    gateway.call(gateway.history.tasks.open_implicit(AGENT, 1000.0))
    await snapshot(gateway.history, store, gateway.record.position)
    after = new_history()
    restore(after, store)
    after.tasks.forget(10**9)
    after.states.jobs.sweep(10**9)

    await snapshot(after, store, gateway.record.position)
    assert tasks_of(store) == ()


def tasks_of(store: Store) -> tuple[StoredTask, ...]:
    stored = store.load()
    assert stored is not None
    return stored.tasks


async def test_a_task_whose_time_is_over_leaves_the_store(store: Store, gateway: Gateway):
    gateway.call(gateway.history.tasks.open_implicit(AGENT, 1000.0))
    await snapshot(gateway.history, store, gateway.record.position)
    gateway.history.tasks.forget(10**6)
    gateway.history.states.jobs.sweep(10**6)

    await snapshot(gateway.history, store, gateway.record.position)

    stored = store.load()
    assert stored is not None
    assert stored.tasks == ()
    assert gateway.history.states.changes(lambda: 0)[1] == ()
