"""Signal handling from the first step of the process to its last. While the gateway serves, its server hears SIGTERM
and SIGINT (`wire.http.server`), and SIGHUP asks for a look at all files. Before that, a signal would end the process between two journal entries, or do nothing to
the first process of a container. Afterwards, a signal would end the gateway while it closes its parts, and leave its
servers behind."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from types import FrameType

_TOLD: Final = (signal.SIGTERM, signal.SIGINT)


class Stopping:
    """A record of signals, made in the task that runs the gateway. `told`: a signal came before the gateway served."""

    def __init__(self) -> None:
        self.told = False
        self._loop = asyncio.get_running_loop()
        self._starting = cast("asyncio.Task[object] | None", asyncio.current_task())
        self._look: Callable[[], None] | None = None

    def note_start(self, look: Callable[[], None]) -> None:
        """Note that the gateway serves from now on. The server hears later signals itself, until the gateway stops.

        SIGHUP calls `look`, unless it is the end of the gateway's terminal.
        """
        self._starting = None
        self._look = None if _has_terminal() else look

    @contextmanager
    def hear_signals(self) -> Generator[None]:
        """Hear signals for as long as the block lasts. A signal ignored by the parent process, as `nohup` does with
        SIGHUP, stays ignored."""
        handlers = dict.fromkeys(_TOLD, self._tell) | {signal.SIGHUP: self._hang_up}
        before = {number: signal.getsignal(number) for number in handlers}
        for number, handler in handlers.items():
            if before[number] is not signal.SIG_IGN:
                signal.signal(number, handler)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _tell(self, _number: int, _frame: FrameType | None) -> None:
        starting, self._starting = self._starting, None
        if starting is not None:
            self.told = True
            self._loop.call_soon_threadsafe(starting.cancel)

    def _hang_up(self, _number: int, _frame: FrameType | None) -> None:
        """Look at all files now. The end of a terminal ends the gateway, and so does SIGHUP before the gateway serves."""
        if self._look is None:
            signal.raise_signal(signal.SIGTERM)
        else:
            self._loop.call_soon_threadsafe(self._look)


def _has_terminal() -> bool:
    """Return whether the process belongs to a terminal, which sends SIGHUP at its end."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
