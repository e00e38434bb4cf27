"""Bounds of processor time, in seconds of a usual machine.

A test owns no clock of the machine: a busy or slow one takes several times as long. A fixed piece of work is therefore
measured before and after the tested work, which may take a number of times as long.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

_TURNS = 100_000
_USUAL = 0.00275
"""Seconds that the fixed work takes on the machine on which the bounds were chosen."""


@dataclass(slots=True)
class Effort:
    """The processor time of the work of a block, once it has ended."""

    seconds: float = 0.0


@contextmanager
def at_most(seconds: float = float("inf")) -> Generator[Effort]:
    """Measure the work of a block. Refuse more than so many seconds of a usual machine."""
    effort, before, begun = Effort(), _fixed_work(), time.thread_time()
    yield effort
    took = time.thread_time() - begun
    effort.seconds = took * _USUAL / max(before, _fixed_work())
    assert effort.seconds < seconds, f"it took {effort.seconds:.2f} of {seconds:.2f} s of a usual machine"


def here(seconds: float) -> float:
    """Return seconds of a usual machine as seconds of this machine, if it is slower now."""
    return seconds * max(1.0, _fixed_work() / _USUAL)


def _fixed_work() -> float:
    """Return the seconds of a processor that a fixed piece of work takes now."""
    begun = time.thread_time()
    total = 0
    for number in range(_TURNS):
        total += number & 7
    return time.thread_time() - begun
