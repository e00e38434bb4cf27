"""The end of a lease: the earliest of all ends that apply. Pure. Times are seconds since the epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

if TYPE_CHECKING:
    from gateway.authority.model import Cause

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


def name_end(ends: Ends, expires: float) -> Cause:
    """Return the cause of a lease's end at a time that `choose_end` chose."""
    if ends.task_ends is not None and ends.task_ends <= expires:
        return "task-expired"
    if ends.caller_ends is not None and ends.caller_ends <= expires:
        return "caller-expired"
    return "lease-expired"
