"""The event loop of commands, and their end by Ctrl-C. A command without waiting has no loop: loading a loop is
slow."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine, Generator

Result = TypeVar("Result")


def run(waiting: Coroutine[Any, Any, Result]) -> Result:
    """Return the result of `waiting`."""
    import asyncio

    return asyncio.run(waiting)


@contextmanager
def interruptible() -> Generator[None]:
    """Have Ctrl-C end the process at once while the engine evaluates: Python hears no signal before the engine returns."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
