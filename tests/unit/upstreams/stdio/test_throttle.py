"""Servers that flood the gateway rest between their turns, the longer the more of them do."""

from __future__ import annotations

import asyncio

import pytest

from gateway.upstreams.stdio.child import REST, Throttle, weight


async def test_the_more_rest_the_longer_each_rests():
    throttle, loop = Throttle(), asyncio.get_running_loop()
    rested: list[asyncio.Future[float]] = [loop.create_future() for _ in range(3)]
    began = loop.time()
    for future in rested:
        throttle.rest(lambda future=future: future.set_result(loop.time() - began))
    took = await asyncio.gather(*rested)

    assert took == sorted(took)
    assert all(seconds > REST * number * 0.9 for number, seconds in enumerate(took, start=1))
    assert throttle._resting == 0


@pytest.mark.parametrize(("size", "counts"), [(0, 1), (4095, 1), (4096, 2), (1_000_000, 245)])
def test_a_long_line_counts_for_more(size: int, counts: int):
    assert weight(b"x" * size) == counts
