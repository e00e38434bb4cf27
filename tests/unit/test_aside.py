"""Long looks are taken in one thread, in their order; short ones at once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator

import pytest

from gateway.aside import AT_ONCE, Aside


@pytest.fixture
def aside() -> Generator[Aside]:
    made = Aside()
    yield made
    made.close()


async def test_a_short_look_is_taken_here_and_a_long_one_in_the_thread(aside: Aside):
    here = threading.current_thread()
    threads = [await aside.look(size, threading.current_thread) for size in (0, AT_ONCE, AT_ONCE + 1, 2**20)]

    assert threads[:2] == [here, here]
    assert threads[2] is threads[3] is not here
    assert [aside.takes(AT_ONCE), aside.takes(AT_ONCE + 1)] == [False, True]


async def test_the_event_loop_goes_on_meanwhile_and_long_looks_wait_for_one_another(aside: Aside):
    may_end, order = threading.Event(), list[str]()

    def first() -> None:
        assert may_end.wait(30)
        order.append("first")

    looks = [aside.look(2**20, look) for look in (first, lambda: order.append("second"))]
    running = [asyncio.ensure_future(look) for look in looks]
    await asyncio.sleep(0)
    await aside.look(1, lambda: order.append("short"))
    may_end.set()
    await asyncio.gather(*running)

    assert order == ["short", "first", "second"]


async def test_a_failure_of_a_look_is_that_of_who_asked(aside: Aside):
    def fail() -> None:
        raise ValueError("no")

    for size in (1, 2**20):
        with pytest.raises(ValueError, match="no"):
            await aside.look(size, fail)


async def test_a_closed_one_ends_what_it_was_asked_for_and_looks_at_the_rest_at_once(aside: Aside):
    """A call that is cut off at the stop is settled all the same."""
    may_end = threading.Event()
    looks = [asyncio.ensure_future(aside.look(2**20, lambda: may_end.wait(30))) for _ in range(2)]
    await asyncio.sleep(0)
    aside.close()

    assert await aside.look(2**20, threading.current_thread) is threading.current_thread()
    may_end.set()
    assert await asyncio.gather(*looks) == [True, True]
