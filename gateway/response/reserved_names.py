"""Keeps an upstream from speaking as the gateway: takes the gateway's own names and error codes out of one answer.

A whole message loses them (`protocol.reserved`). A message too large to be held ends before the first of them has passed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from gateway.credentials.ruleset import compiled
from gateway.errors import UpstreamBroken
from gateway.protocol.reserved import PREFIX, ReservedNameCheck, without_reserved
from gateway.worker_thread import WorkerThread

_NAME: Final = compiled(rf"(?i){PREFIX.rpartition('.')[2]}", groups=False)
_ERROR: Final = compiled('(?i)"error"', groups=False)
_BACKSLASH: Final = ord("\\")
_ESCAPE: Final = b"\\u00"


class ReservedNames:
    """Filter of the reserved names in one answer. Calls `noted` with the number of names found in each message."""

    __slots__ = ("_check", "_noted", "_worker", "count")

    def __init__(self, worker: WorkerThread, noted: Callable[[int], None] = lambda _count: None) -> None:
        self._worker = worker
        self._noted = noted
        self._check: ReservedNameCheck | None = None
        self.count = 0

    async def without(self, message: bytes) -> bytes:
        """Return a whole message without reserved names; the same object if it has none. Raises `UpstreamBroken`."""
        if not may_have(message):
            return message
        found, count = await self._worker.run(len(message), partial(without_reserved, message))
        if count:
            self._note(count)
        return found

    def feed(self, part: bytes) -> None:
        """Look at the next part of a message that is too large to be held. Raises `UpstreamBroken`."""
        self._check = self._check or ReservedNameCheck()
        try:
            self._check.feed(part)
        except UpstreamBroken:
            self._note(1)
            raise

    def end(self) -> None:
        """Note the end of a message that came in parts."""
        self._check = None

    def _note(self, count: int) -> None:
        self.count += count
        self._noted(count)


def may_have(message: bytes) -> bool:
    """Return whether a message is to be looked through for reserved names. Costs a hundredth of what reading it does."""
    return (
        _NAME.search(message) is not None
        or (_BACKSLASH in message and _ESCAPE in message)
        or _ERROR.search(message) is not None
    )
