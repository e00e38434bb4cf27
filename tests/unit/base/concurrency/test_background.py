"""Jobs beside calls: they end when they are told to, wait for their threads, and outlive defects."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from functools import partial

import pytest
import uvloop

from gateway.base.concurrency import background
from gateway.base.concurrency.background import Job, Pause, in_parallel, in_thread
from gateway.model.errors import UpstreamUnreachable


class Thread:
    """Work in a thread that a test holds and lets go."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.proceed = threading.Event()
        self.done = 0

    def __call__(self) -> int:
        self.begun.set()
        assert self.proceed.wait(30)
        self.done += 1
        return self.done


async def stop_while_a_thread_works() -> tuple[bool, int]:
    """Return whether the stop was over before its thread, and how often the thread had worked then."""
    thread = Thread()

    async def work() -> None:
        while True:
            await in_thread(thread)

    job = Job(work, "writes")
    while not thread.begun.is_set():
        await asyncio.sleep(0)
    stopping = asyncio.create_task(job.stop())
    for _ in range(100):
        await asyncio.sleep(0)
    early = stopping.done()
    thread.proceed.set()
    await stopping
    return early, thread.done


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_stop_waits_for_the_thread_and_begins_no_other(loop: Callable[[], asyncio.AbstractEventLoop]):
    with asyncio.Runner(loop_factory=loop) as runner:
        assert runner.run(stop_while_a_thread_works()) == (False, 1)


async def test_whoever_is_cancelled_goes_when_the_thread_is_done():
    thread = Thread()
    writing = asyncio.create_task(in_thread(thread))
    while not thread.begun.is_set():
        await asyncio.sleep(0)
    writing.cancel()
    for _ in range(100):
        await asyncio.sleep(0)
    assert not writing.done()
    thread.proceed.set()
    with pytest.raises(asyncio.CancelledError):
        await writing

    assert thread.done == 1


async def test_the_way_out_of_a_job_may_wait():
    left = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(10):
                await asyncio.sleep(0)
            left.set()

    job = Job(work, "leaves")
    await asyncio.sleep(0)
    await job.stop()

    assert left.is_set()


async def test_who_waits_may_leave_and_the_job_goes_on():
    proceed, done = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        await proceed.wait()
        done.set()

    job = Job(work, "waits")
    waiting = [asyncio.create_task(job.wait()) for _ in range(2)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting[0]
    proceed.set()
    await waiting[1]

    assert done.is_set()


async def test_a_job_can_be_stopped_before_it_begins_and_twice():
    begun: list[int] = []

    async def work() -> None:
        begun.append(1)
        await asyncio.Event().wait()
        begun.append(2)

    job = Job(work, "waits")
    await job.stop()
    await job.stop()

    assert 2 not in begun


async def test_a_defect_is_logged_and_ends_only_its_step(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(background, "_AFTER_DEFECT", 0.0)
    steps, fourth = 0, asyncio.Event()

    async def step() -> None:
        nonlocal steps
        steps += 1
        if steps < 4:
            raise ZeroDivisionError
        fourth.set()
        await asyncio.Event().wait()

    job = Job.begin_repeating(step, "falls")
    await fourth.wait()
    await job.stop()

    assert capsys.readouterr().out.count("job=falls") == 3


async def test_a_defect_reaches_nobody_who_waits(capsys: pytest.CaptureFixture[str]):
    async def fail() -> None:
        raise ZeroDivisionError

    job = Job(fail, "falls")
    await job.wait()
    await job.stop()

    assert "job=falls" in capsys.readouterr().out


async def test_the_result_and_the_error_of_a_thread_come_back():
    def fail() -> None:
        raise OSError("no")

    assert await in_thread(lambda: 7) == 7
    with pytest.raises(OSError, match="no"):
        await in_thread(fail)


async def test_the_first_failure_ends_the_others_and_is_raised_as_it_is():
    ended: list[str] = []

    async def wait(name: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(name)

    async def fail() -> None:
        await asyncio.sleep(0)
        raise UpstreamUnreachable("the server is away")

    with pytest.raises(UpstreamUnreachable, match="away"):
        await in_parallel(partial(wait, "a"), fail, partial(wait, "b"))

    assert sorted(ended) == ["a", "b"]


async def test_works_at_once_are_all_done():
    together = asyncio.Barrier(3)

    async def meet() -> None:
        await together.wait()

    await in_parallel(meet, meet, meet)
    await in_parallel()


async def test_a_pause_that_somebody_ends_is_followed_by_a_short_one(monkeypatch: pytest.MonkeyPatch):
    """A change counts once it has been still for one look, so who asks for a look gets two of them soon."""
    monkeypatch.setattr(background, "_HURRIED_SECONDS", 0.0)
    pause = Pause()
    resting = asyncio.create_task(pause.rest(3600))
    await asyncio.sleep(0)
    assert not resting.done()
    pause.end()
    await resting
    await pause.rest(3600)
    third = asyncio.create_task(pause.rest(3600))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not third.done()
    third.cancel()


async def test_a_pause_that_was_ended_before_it_began_is_none():
    pause = Pause()
    pause.end()
    await pause.rest(3600)
