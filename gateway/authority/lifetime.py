"""The end of a lease: the earliest of all ends that apply. Pure. Times are seconds since the epoch."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

SKEW: Final = 30.0
"""Seconds by which the clocks of issuers, upstreams and the gateway may differ."""


class Ends(Struct, frozen=True):
    """Limits on one lease. Lives are in seconds, ends are times; `None` limits nothing."""

    default: float
    longest: float
    of_policy: float | None = None
    of_sensitivity: float | None = None
    of_upstream: float | None = None
    task_ends: float | None = None
    caller_ends: float | None = None
    approval_ends: float | None = None


def choose_end(ends: Ends, now: float) -> float:
    """Return the time at which a lease that begins now ends at the latest. The policy's life replaces the default."""
    life = ends.default if ends.of_policy is None else ends.of_policy
    lives = (life, ends.longest, ends.of_sensitivity, ends.of_upstream)
    times = (ends.task_ends, ends.caller_ends, ends.approval_ends)
    shortest = min(each for each in lives if each is not None)
    return min([now + shortest, *(each for each in times if each is not None)])
