"""Items that are written together, and callers that wait for a writer which ends early."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from gateway.base.store.batches import Batches


async def wait_forever(_items: Sequence[int]) -> list[int | Exception]:
    await asyncio.Event().wait()
    return []


async def begin(batches: Batches[int, int]) -> asyncio.Task[int]:
    """Return a caller that waits for a write under way."""
    caller = asyncio.create_task(batches.add(1))
    while batches._writer is None or not batches._writer.get_stack():
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    return caller


async def test_a_cancelled_writer_leaves_nobody_waiting():
    batches = Batches[int, int](wait_forever, 1, "writes")
    caller = await begin(batches)
    queued = asyncio.create_task(batches.add(2))
    await asyncio.sleep(0)
    assert batches._writer is not None
    batches._writer.cancel()

    for each in (caller, queued):
        with pytest.raises(asyncio.CancelledError):
            await each
    assert batches._writer is None


def test_a_writer_that_is_dropped_with_its_loop_ends_without_an_error():
    batches = Batches[int, int](wait_forever, 1, "writes")
    loop = asyncio.new_event_loop()
    caller = loop.run_until_complete(begin(batches))
    writer = batches._writer
    loop.close()

    assert writer is not None
    for each in (writer, caller):
        running = each.get_coro()
        assert running is not None
        running.close()
