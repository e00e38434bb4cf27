"""How a catalogue stops: its threads are done, sessions are ended, and nothing is lost."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from gateway.upstreams.catalogue import lockfile
from tests.unit.upstreams.catalogue.world import World


async def test_stopping_waits_for_the_thread_that_writes_the_lock_file(world: World, monkeypatch: pytest.MonkeyPatch):
    """Two threads would write it at once, and the last word would be that of the older one."""
    amend, begun, proceed = lockfile.amend, threading.Event(), threading.Event()
    writing, most = 0, 0

    def slowly(*arguments: Any, **options: Any) -> Any:
        nonlocal writing, most
        writing += 1
        most = max(most, writing)
        begun.set()
        assert proceed.wait(30)
        try:
            return amend(*arguments, **options)
        finally:
            writing -= 1

    monkeypatch.setattr(lockfile, "amend", slowly)
    catalogue = world.catalogue()
    refreshing = asyncio.create_task(catalogue.refresh())
    while not begun.is_set():
        await asyncio.sleep(0)
    stopping = asyncio.create_task(catalogue.stop())
    for _ in range(200):
        await asyncio.sleep(0)
    early = stopping.done()
    proceed.set()
    await stopping
    await refreshing

    assert (early, most) == (False, 1)
    assert lockfile.load(world.lock).upstreams.keys() == {"files", "mail"}
