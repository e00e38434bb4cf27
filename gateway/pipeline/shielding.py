"""Work that a cancellation does not cut short: what is recorded of a call is recorded also when its caller leaves.

`asyncio.shield` lets the work go on and its caller leave it. Here the caller waits for its end, and is cancelled then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from functools import partial
from types import coroutine
from typing import Any, TypeVar, cast

Done = TypeVar("Done")


async def shielded(work: Coroutine[Any, Any, None]) -> None:
    """Do `work` to its end. A cancellation that comes meanwhile is raised after it."""
    _, cancelled = await shielded_result(work)
    if cancelled is not None:
        raise cancelled


async def shielded_result(work: Coroutine[Any, Any, Done]) -> tuple[Done, asyncio.CancelledError | None]:
    """Do `work` to its end. Return its result, and the cancellation that came meanwhile: the caller has to raise it.

    What never waits cannot be cancelled meanwhile. Nearly all work is so, and is done at once: to make a task of it costs
    more than the work does. So its beginning runs in the caller's task, and must not begin an `asyncio.timeout`.
    """
    try:
        waits_for = work.send(None)
    except StopIteration as end:
        return cast("Done", end.value), None
    loop = asyncio.get_running_loop()
    task = loop.create_task(_resumed(work, waits_for))
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        # What `asyncio.shield` does, for a third of its cost: to cancel this future is not to cancel the task.
        ended = loop.create_future()
        task.add_done_callback(partial(_tell, ended))
        try:
            await ended
        except asyncio.CancelledError as error:
            cancelled = error
    return task.result(), cancelled


async def _resumed(work: Coroutine[Any, Any, Done], waits_for: Any) -> Done:
    """A coroutine of its own: from Python 3.12 on, a task is made of nothing else."""
    return await _rest(work, waits_for)


@coroutine
def _rest(work: Coroutine[Any, Any, Done], waits_for: Any) -> Generator[Any, Any, Done]:
    """Return the rest of a started coroutine that waits for something, for another task to run."""
    try:
        while True:
            try:
                sent = yield waits_for
            except BaseException as error:  # noqa: BLE001 - whatever is raised here is raised there
                waits_for = work.throw(error)
            else:
                waits_for = work.send(sent)
    except StopIteration as end:
        return cast("Done", end.value)


def _tell(ended: asyncio.Future[None], _task: asyncio.Task[Any]) -> None:
    if not ended.done():
        ended.set_result(None)
