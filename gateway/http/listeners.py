"""Open streams of clients, and the order in which the gateway announces changed lists to them."""

from __future__ import annotations

import asyncio
from typing import Final

from gateway.http.exchange import Stream
from gateway.http.keepalive import KeepAlive

_APART_SECONDS: Final = 0.005
"""Between two that are told: each then lists anew, and a list of thirty tools takes the gateway nearly as long."""
_SPREAD_SECONDS: Final = 10.0
"""Within which all are told, however many they are."""


class Listeners:
    """All open streams. Announcements reach the streams in turn, so that calls go on meanwhile."""

    def __init__(self) -> None:
        self._streams: dict[KeepAlive, Stream] = {}
        self._untold: dict[KeepAlive, Stream] = {}
        self._telling: asyncio.TimerHandle | None = None

    def add(self, keep_alive: KeepAlive, stream: Stream) -> None:
        """Tell the reader of a stream from now on."""
        self._streams[keep_alive] = stream

    def remove(self, keep_alive: KeepAlive) -> None:
        self._streams.pop(keep_alive, None)
        self._untold.pop(keep_alive, None)

    def announce(self) -> None:
        """Tell each open stream that a list has changed. A stream already waiting keeps its turn."""
        self._untold |= self._streams
        if self._telling is None:
            self._tell_next(min(_APART_SECONDS, _SPREAD_SECONDS / (len(self._untold) or 1)))

    def _tell_next(self, apart: float) -> None:
        self._telling = None
        while self._untold:
            keep_alive = next(iter(self._untold))
            if events := self._untold.pop(keep_alive).announcement:
                keep_alive.announce(events)
                self._telling = asyncio.get_running_loop().call_later(apart, self._tell_next, apart)
                return
