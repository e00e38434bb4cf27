"""Long looks are taken in one thread, in their order; short ones at once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator

import pytest

from gateway.base.concurrency.worker_thread import AT_ONCE, WorkerThread, give_way


@pytest.fixture
def worker() -> Generator[WorkerThread]:
    made = WorkerThread()
    yield made
    made.close()


async def test_a_short_look_is_taken_here_and_a_long_one_in_the_thread(worker: WorkerThread):
    here = threading.current_thread()
    threads = [await worker.run(size, threading.current_thread) for size in (0, AT_ONCE, AT_ONCE + 1, 2**20)]

    assert threads[:2] == [here, here]
    assert threads[2] is threads[3] is not here


async def test_the_event_loop_goes_on_meanwhile_and_long_looks_wait_for_one_another(worker: WorkerThread):
    may_end, order = threading.Event(), list[str]()

    def first() -> None:
        assert may_end.wait(30)
        order.append("first")

    looks = [worker.run(2**20, look) for look in (first, lambda: order.append("second"))]
    running = [asyncio.ensure_future(look) for look in looks]
    await asyncio.sleep(0)
    await worker.run(1, lambda: order.append("short"))
    may_end.set()
    await asyncio.gather(*running)

    assert order == ["short", "first", "second"]


async def test_a_failure_of_a_look_is_that_of_who_asked(worker: WorkerThread):
    def fail() -> None:
        raise ValueError("no")

    for size in (1, 2**20):
        with pytest.raises(ValueError, match="no"):
            await worker.run(size, fail)


async def test_a_closed_one_ends_what_it_was_asked_for_and_looks_at_the_rest_at_once(worker: WorkerThread):
    """A call that is cut off at the stop is settled all the same."""
    may_end = threading.Event()
    looks = [asyncio.ensure_future(worker.run(2**20, lambda: may_end.wait(30))) for _ in range(2)]
    await asyncio.sleep(0)
    worker.close()

    assert await worker.run(2**20, threading.current_thread) is threading.current_thread()
    may_end.set()
    assert await asyncio.gather(*looks) == [True, True]


class Time:
    """A clock that the test moves, and the pauses made by its readers."""

    def __init__(self) -> None:
        self.now, self.pauses = 0.0, 0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, _seconds: float) -> None:
        self.pauses += 1


async def test_long_work_gives_way_to_the_event_loop_once_a_turn(worker: WorkerThread, monkeypatch: pytest.MonkeyPatch):
    time = Time()
    monkeypatch.setattr("gateway.base.concurrency.worker_thread.time", time)

    def work() -> list[int]:
        pauses: list[int] = []
        for milliseconds in (0.1, 0.4, 0.6, 0.7, 1.2):
            time.now = milliseconds / 1000
            give_way()
            pauses.append(time.pauses)
        return pauses

    assert await worker.run(2**20, work) == [0, 0, 1, 1, 2]
    assert (work(), time.pauses) == ([2] * 5, 2), "the event loop's own thread never pauses"
