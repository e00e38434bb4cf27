"""The body of a request, read within its bounds of time and size."""

from __future__ import annotations

import asyncio
from typing import Any, Final, cast

from gateway import reasons
from gateway.http.delivery import Channel
from gateway.model.decision import Refusal

BODY_SECONDS: Final = 30.0
"""How long a client may take to send a request's body: a slow one must not hold a place for ever."""

_LENGTH_DIGITS: Final = 19
"""Digits of the longest body that anybody could send."""


async def read_body(channel: Channel, limit: int) -> bytes | Refusal:
    """Return the whole body, of at most `limit` bytes, or the refusal to read it. Raises `ClientGone`."""
    request = channel.request
    if request.is_complete:
        body = channel.take()
        return body if len(body) <= limit else _too_large(limit)
    declared = next((value for name, value in channel.request.headers if name == b"content-length"), b"0").lstrip(b"0")
    # Zeros before a number are legal, and as many as a header has room for; a number of so many digits Python refuses.
    if len(declared) > _LENGTH_DIGITS or int(declared or b"0") > limit:
        return _too_large(limit)
    reader = _ReadingTask(cast("asyncio.Task[Any]", asyncio.current_task()))
    # Not `asyncio.timeout`, which costs several times as much.
    timer = asyncio.get_running_loop().call_later(BODY_SECONDS, reader.stop)
    try:
        return await _read(channel, limit)
    except asyncio.CancelledError:
        if not reader.stopped or reader.task.uncancel() > 0:
            raise
        return reasons.REQUEST_SLOW.refusal()
    finally:
        timer.cancel()


class _ReadingTask:
    """A reading task with a way to stop it."""

    __slots__ = ("stopped", "task")

    def __init__(self, task: asyncio.Task[Any]) -> None:
        self.task = task
        self.stopped = False

    def stop(self) -> None:
        self.stopped = True
        self.task.cancel()


async def _read(channel: Channel, limit: int) -> bytes | Refusal:
    chunks: list[bytes] = []
    size = 0
    while chunk := await channel.read_chunk():
        chunks.append(chunk)
        size += len(chunk)
        if size > limit:
            return _too_large(limit)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _too_large(limit: int) -> Refusal:
    return reasons.REQUEST_TOO_LARGE.refusal(limit=limit)
