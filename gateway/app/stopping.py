"""What a signal does to the process, from its first step to its last.

While it serves, uvicorn hears SIGTERM and SIGINT (`transport.server`). Before, they would end the process between two
entries of the journal, or do nothing where it is the first process of a container; after, they would end it while it
closes its parts, and leave servers that it has started behind.
"""

from __future__ import annotations

import asyncio
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, cast

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import FrameType

_TOLD: Final = (signal.SIGTERM, signal.SIGINT)


class Stopping:
    """Made in the task that runs the gateway. `told`: it was told to stop before it served."""

    def __init__(self) -> None:
        self.told = False
        self._loop = asyncio.get_running_loop()
        self._starting = cast("asyncio.Task[object] | None", asyncio.current_task())

    def started(self) -> None:
        """It serves from now on. What is told after that is told to the server, or comes when it is stopping anyway."""
        self._starting = None

    @contextmanager
    def heard(self) -> Generator[None]:
        """Hear signals for as long as the block lasts. One that whoever started the process has it ignore, as `nohup` does
        with SIGHUP, is ignored."""
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
        """The policy is read anew without being told, so there is nothing else that SIGHUP could ask for."""
        signal.raise_signal(signal.SIGTERM)
