from __future__ import annotations

import asyncio
import inspect

import pytest

from gateway.calls.pipeline.completion import run_to_completion
from gateway.model.errors import UpstreamBroken, UpstreamError


async def test_a_cancellation_waits_until_the_work_is_done():
    going, proceed = asyncio.Event(), asyncio.Event()
    done: list[str] = []

    async def work() -> None:
        going.set()
        await proceed.wait()
        done.append("done")

    task = asyncio.create_task(run_to_completion(work()))
    await going.wait()
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    proceed.set()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert done == ["done"]


async def test_what_fails_after_it_has_waited_fails_for_who_waits_for_it():
    async def work() -> None:
        await asyncio.sleep(0)
        raise UpstreamBroken("it broke")

    with pytest.raises(UpstreamBroken, match="it broke"):
        await run_to_completion(work())


async def test_what_is_waited_for_may_fail_and_be_taken_care_of():
    failing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    done: list[str] = []

    async def work() -> None:
        try:
            await failing
        except UpstreamError:
            await asyncio.sleep(0)
            done.append("cared for")

    task = asyncio.create_task(run_to_completion(work()))
    await asyncio.sleep(0)
    failing.set_exception(UpstreamBroken("it broke"))
    await task

    assert done == ["cared for"]


async def test_the_task_that_does_the_rest_is_one_that_every_version_of_python_takes():
    """From 3.12 on, asyncio takes coroutines alone, and no generators that stand for them."""
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def work() -> None:
        await done

    waiting = asyncio.create_task(run_to_completion(work()))
    await asyncio.sleep(0)
    (rest,) = asyncio.all_tasks() - {waiting, asyncio.current_task()}
    assert inspect.iscoroutine(rest.get_coro())
    done.set_result(None)
    await waiting


async def test_what_never_waits_is_done_in_the_same_task():
    doers: list[asyncio.Task[None] | None] = []

    async def work() -> None:
        doers.append(asyncio.current_task())

    await run_to_completion(work())

    assert doers == [asyncio.current_task()]
