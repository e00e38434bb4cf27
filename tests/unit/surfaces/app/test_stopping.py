"""What a signal does before, while and after the gateway serves. The signals are real ones."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Generator
from contextlib import contextmanager

import pytest

from gateway.surfaces.app import stopping as stopping_module
from gateway.surfaces.app.stopping import Stopping

HEARD = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@contextmanager
def handled(number: int, handler: signal.Handlers) -> Generator[None]:
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


async def starting(stopping: list[Stopping]) -> None:
    """A gateway that does not come to its start."""
    stopping.append(Stopping())
    with stopping[0].hear_signals():
        await asyncio.get_running_loop().create_future()


@pytest.mark.parametrize("number", HEARD)
async def test_a_signal_at_the_start_ends_the_start_in_order(number: signal.Signals):
    made: list[Stopping] = []
    task = asyncio.create_task(starting(made))
    await asyncio.sleep(0)
    signal.raise_signal(number)

    with pytest.raises(asyncio.CancelledError):
        await task
    assert made[0].told


@pytest.mark.parametrize("number", HEARD)
async def test_a_signal_after_it_has_served_does_not_disturb_the_end(number: signal.Signals):
    stopping = Stopping()
    with stopping.hear_signals():
        stopping.note_start(lambda: None)
        signal.raise_signal(number)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    assert not stopping.told


async def test_a_second_signal_does_not_disturb_the_end_of_the_start():
    ended = asyncio.Event()

    async def slow_to_end() -> None:
        with Stopping().hear_signals():
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                signal.raise_signal(signal.SIGTERM)
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                ended.set()

    task = asyncio.create_task(slow_to_end())
    await asyncio.sleep(0)
    signal.raise_signal(signal.SIGTERM)

    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


@pytest.mark.parametrize("has_terminal", [False, True])
async def test_a_hang_up_asks_for_a_look_and_ends_whoever_has_a_terminal(
    monkeypatch: pytest.MonkeyPatch, *, has_terminal: bool
):
    monkeypatch.setattr(stopping_module, "_has_terminal", lambda: has_terminal)
    told, looked = list[int](), asyncio.Event()
    stopping = Stopping()
    with stopping.hear_signals():
        stopping.note_start(looked.set)
        before = signal.signal(signal.SIGTERM, lambda number, _frame: told.append(number))
        signal.raise_signal(signal.SIGHUP)
        signal.signal(signal.SIGTERM, before)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    assert (told, looked.is_set()) == (([signal.SIGTERM], False) if has_terminal else ([], True))


async def test_a_hang_up_that_is_to_be_ignored_is_ignored():
    stopping = Stopping()
    with handled(signal.SIGHUP, signal.SIG_IGN), stopping.hear_signals():
        signal.raise_signal(signal.SIGHUP)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    assert not stopping.told


async def test_afterwards_signals_do_what_they_did_before():
    before = [signal.getsignal(number) for number in HEARD]
    with Stopping().hear_signals():
        assert [signal.getsignal(number) for number in HEARD] != before

    assert [signal.getsignal(number) for number in HEARD] == before
