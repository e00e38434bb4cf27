"""Where the commands that wait for something enter an event loop. The others do without one: it is slow to load."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

Result = TypeVar("Result")


def run(waiting: Coroutine[Any, Any, Result]) -> Result:
    """What `waiting` comes to."""
    import asyncio

    return asyncio.run(waiting)
