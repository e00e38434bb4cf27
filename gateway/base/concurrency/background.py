"""Work beside calls: jobs to keep something fresh, and threads of anyio for files.

A call waits here only for a first listing, or for keys still unknown. A cancelled task would leave its thread behind,
and two threads would then write one file. So `in_thread` waits for the thread first. A job is cancelled once, and not
again and again as in a scope of anyio. Its way out may wait, such as for the end of an upstream's session.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, Final, TypeVar

import anyio
import anyio.to_thread
import structlog

log = structlog.get_logger("gateway.background")

Result = TypeVar("Result")

_TURN: Final = 0.001
_REST: Final = 0.0005
_HURRIED_SECONDS: Final = 0.2
"""Until the second of two looks that somebody has asked for."""
_AFTER_DEFECT: Final = 1.0
"""Seconds until a job goes on after a defect."""


async def in_thread(work: Callable[[], Result]) -> Result:
    """Do work in a thread. A cancelled caller goes when the thread is done."""
    thread = asyncio.ensure_future(anyio.to_thread.run_sync(work))
    try:
        return await asyncio.shield(thread)
    except asyncio.CancelledError:
        await asyncio.wait([thread])
        raise


async def to_the_end(work: Coroutine[Any, Any, Result]) -> Result:
    """Do work to its end. A cancelled caller goes at once, and the work goes on."""
    return await asyncio.shield(asyncio.ensure_future(work))


async def in_parallel(*works: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Do several works at once. The first failure cancels the others, and is raised after all have ended."""
    try:
        async with anyio.create_task_group() as group:
            for work in works:
                group.start_soon(work)
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None


class ThreadTurns:
    """Rests of a thread with long work. Without these rests the event loop waits 5 ms for the interpreter, again and
    again."""

    def __init__(self, rest: Callable[[float], None] = time.sleep) -> None:
        self._rest = rest
        self._until = time.monotonic() + _TURN

    def give(self) -> None:
        """Rest if a millisecond of work is over."""
        if time.monotonic() >= self._until:
            self._rest(_REST)
            self._until = time.monotonic() + _TURN


class Pause:
    """A pause between two looks at files or lists, which `end` cuts short.

    A change counts if the next look finds the same content. So the pause after an early end is short.
    """

    def __init__(self) -> None:
        self._asked = asyncio.Event()
        self._is_hurried = False

    def end(self) -> None:
        """End the pause under way, or the next one."""
        self._asked.set()

    async def rest(self, seconds: float) -> None:
        """Wait for `seconds`, or until `end`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(min(seconds, _HURRIED_SECONDS) if self._is_hurried else seconds):
                await self._asked.wait()
        self._is_hurried = self._asked.is_set()
        self._asked.clear()


class Job:
    """A task beside calls. A defect in the task is logged, and does not reach the waiters for its end."""

    def __init__(self, work: Callable[[], Awaitable[None]], name: str) -> None:
        """Begin the work. `name` is for the log."""
        self._name = name
        self._task = asyncio.create_task(self._run(work), name=name)

    @classmethod
    def begin_repeating(cls, step: Callable[[], Awaitable[None]], name: str) -> Job:
        """Begin a job of repeated steps. A step waits for its own time. A defect ends only its step."""

        async def repeat() -> None:
            while True:
                try:
                    await step()
                except Exception:
                    log.exception("defect", job=name)
                    await asyncio.sleep(_AFTER_DEFECT)

        return cls(repeat, name)

    async def _run(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except Exception:
            log.exception("defect", job=self._name)

    def is_done(self) -> bool:
        """Return whether the job has ended."""
        return self._task.done()

    async def wait(self) -> None:
        """Wait for the end. The job goes on if the caller is cancelled."""
        await asyncio.wait([self._task])

    async def stop(self) -> None:
        """Cancel the job, and wait for its end and that of its thread."""
        self._task.cancel()
        await self.wait()
