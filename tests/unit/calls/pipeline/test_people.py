"""Holds of requests that wait for a person: bounded, and taken back by their name."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

import pytest

from gateway.calls.pipeline.people import Holds, RequestName

NAME: RequestName = ("echo", "k1", "s1", int, 1)


def test_a_hold_is_taken_back_by_its_name_alone():
    holds = Holds()
    with holds.open(NAME) as hold, holds.open(("echo", "k1", "s1", str, "1")) as other:
        holds.take_back(("echo", "k2", "s1", int, 1))
        assert not hold.is_taken_back
        holds.take_back(NAME)
        assert (hold.is_taken_back, other.is_taken_back) == (True, False)
    assert holds._open == {}
    holds.take_back(NAME)


async def test_who_waits_is_woken():
    holds = Holds()
    with holds.open(NAME) as hold:
        woken = asyncio.get_running_loop().create_future()
        hold.wake_with(woken)
        holds.take_back(NAME)
        await woken


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2), (1, 2, 0), (0, 2, 1), (2, 0, 1)])
def test_an_id_that_is_used_again_takes_back_all_that_wait(order: tuple[int, ...]):
    holds = Holds()
    stacks = [ExitStack() for _ in order]
    found = [stack.enter_context(holds.open(NAME)) for stack in stacks]
    stacks[order[0]].close()
    holds.take_back(NAME)
    assert [hold.is_taken_back for hold in found] == [number != order[0] for number in range(3)]
    for number in order[1:]:
        stacks[number].close()
    assert holds._open == {}


def test_many_requests_of_one_name_end_in_any_order():
    holds = Holds()
    stacks = [ExitStack() for _ in range(2_000)]
    for stack in stacks:
        stack.enter_context(holds.open(NAME))
    for stack in stacks:
        stack.close()
    assert holds._open == {}


def test_holds_are_bounded_for_each_caller_and_in_all():
    holds = Holds(per_caller=2, in_all=3)
    with ExitStack() as stack:
        waits = [stack.enter_context(holds.enter(caller)) for caller in ("a", "a", "a", "b", "c")]
        assert waits == [True, True, False, True, False]
    with holds.enter("c") as may_wait:
        assert may_wait
