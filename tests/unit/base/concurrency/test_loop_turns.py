"""Long work takes one piece a turn of the event loop, with the callers in rotation."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from gateway.base.concurrency.loop_turns import LoopTurns


async def pieces(turns: LoopTurns, caller: str, count: int, done: list[str]) -> None:
    for _ in range(count):
        await turns.take(caller)
        done.append(caller)


async def turns_of_the_loop(done: list[str], until: int) -> list[int]:
    """Return how many pieces were done in each turn of the event loop."""
    found: list[int] = []
    before = 0
    while len(done) < until:
        await asyncio.sleep(0)
        found.append(len(done) - before)
        before = len(done)
    return found


async def test_one_piece_is_done_in_a_turn_however_many_wait():
    turns, done = LoopTurns(), list[str]()
    working = [asyncio.ensure_future(pieces(turns, caller, 5, done)) for caller in "abcdefgh"]

    in_turns = await turns_of_the_loop(done, 40)

    assert max(in_turns) == 1
    assert sum(in_turns) == 40
    await asyncio.gather(*working)


async def test_a_caller_with_many_results_takes_no_more_turns_than_another_one():
    turns, done = LoopTurns(), list[str]()
    many = [asyncio.ensure_future(pieces(turns, "many", 10, done)) for _ in range(20)]
    one = asyncio.ensure_future(pieces(turns, "one", 10, done))

    await one

    assert done.count("one") == 10
    assert done.count("many") <= 12
    await asyncio.gather(*many)
    assert done.count("many") == 200


async def test_a_piece_that_is_cancelled_takes_no_turn():
    turns, done = LoopTurns(), list[str]()
    leaving = [asyncio.ensure_future(pieces(turns, "leaving", 1, done)) for _ in range(10)]
    staying = asyncio.ensure_future(pieces(turns, "staying", 1, done))
    await asyncio.sleep(0)
    for task in leaving:
        task.cancel()

    in_turns = await turns_of_the_loop(done, 1)

    assert len(in_turns) <= 3
    await staying
    assert done == ["staying"]
    for task in leaving:
        with suppress(asyncio.CancelledError):
            await task


async def test_turns_begin_again_after_all_were_given():
    turns, done = LoopTurns(), list[str]()
    for caller in "ab":
        await pieces(turns, caller, 2, done)

    assert done == ["a", "a", "b", "b"]
