"""Bounds on the reading speed of one upstream's servers. A flooding server would take the event loop's time from all
other callers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

TURN: Final = 100
"""Messages of one server that are taken in at once; a long one counts for more."""
REST: Final = 0.01
"""Seconds between two turns of a server that has more to say."""
_LONG: Final = 4096
"""Bytes that count for as much as a message."""


class Throttle:
    """A throttle shared by the servers of one upstream: the more servers flood, the longer each rests."""

    def __init__(self) -> None:
        self._resting = 0

    def rest(self, then: Callable[[], None]) -> None:
        """Call `then` after a rest."""
        self._resting += 1
        asyncio.get_running_loop().call_later(REST * self._resting, self._end_rest, then)

    def _end_rest(self, then: Callable[[], None]) -> None:
        self._resting -= 1
        then()


def weight(line: bytes) -> int:
    """Return the number of messages that a line counts for."""
    return 1 + len(line) // _LONG
